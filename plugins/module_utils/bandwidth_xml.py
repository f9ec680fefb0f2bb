# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""<bandwidth> of networks, port groups and guests' NICs alike (https://libvirt.org/formatnetwork.html#quality-of-service).

Pure but for lxml.
"""

from __future__ import annotations

try:
    from lxml import etree
except ImportError:  # pragma: no cover - deps.require() answers for it
    etree = None

from ansible_collections.virtnet.kvm.plugins.module_utils.model_ports import RATES


def parse(parent):
    """Return what an element limits as model_ports.parse_bandwidth() has it; None if it limits nothing."""
    node = parent.find("bandwidth")
    if node is None:
        return None
    bandwidth = {}
    for way in ("inbound", "outbound"):
        one = node.find(way)
        if one is not None:
            bandwidth[way] = {key: int(one.get(key)) for key in RATES if one.get(key)}
    return bandwidth or None


def element(bandwidth):
    """Return the element of such limits."""
    node = etree.Element("bandwidth")
    for way, rates in bandwidth.items():
        etree.SubElement(node, way, {key: str(value) for key, value in rates.items()})
    return node
