# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small helpers for a definition's XML; the only place that loads and writes it. Pure but for lxml."""

from __future__ import annotations

try:
    from lxml import etree
except ImportError:  # pragma: no cover - deps.require() answers for it
    etree = None

from ansible_collections.virtnet.kvm.plugins.module_utils.values import ip_address


def load(xml):
    # Definitions come from the daemon, yet nothing in them may reach for files or the net.
    parser = etree.XMLParser(remove_blank_text=True, resolve_entities=False, no_network=True)
    return etree.fromstring(xml, parser)


def dump(tree):
    etree.indent(tree)
    return etree.tostring(tree, encoding="unicode")


def element(tag, **attributes):
    """Return a new element; an attribute that is None is left out."""
    return etree.Element(tag, {key: str(value) for key, value in attributes.items() if value is not None})


def child(parent, tag, **attributes):
    """Return the first child of that tag, made if need be, with the attributes set (None removes one)."""
    node = parent.find(tag)
    if node is None:
        node = etree.SubElement(parent, tag)
    for key, value in attributes.items():
        if value is None:
            node.attrib.pop(key, None)
        else:
            node.set(key, value)
    return node


def drop(parent, *tags):
    for tag in tags:
        for node in parent.findall(tag):
            parent.remove(node)


def replace(parent, tag, nodes):
    """Put C(nodes) where the children of that tag were."""
    old = parent.findall(tag)
    place = parent.index(old[0]) if old else len(parent)
    for node in old:
        parent.remove(node)
    for number, node in enumerate(nodes):
        parent.insert(place + number, node)


def yes_no(value):
    """Return libvirt's word for True, False, None."""
    return None if value is None else "yes" if value else "no"


def tristate(text):
    return None if text is None else text == "yes"


def address_key(text):
    """Return what addresses as text are sorted by."""
    if text is None:
        return (0, 0)
    address = ip_address(text)
    return (address.version, int(address))
