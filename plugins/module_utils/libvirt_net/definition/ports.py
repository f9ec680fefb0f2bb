# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a definition gives the NICs that join: <virtualport>, <vlan>, <bandwidth>, <portgroup>. Pure but for lxml."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import bandwidth_xml
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import xml
from ansible_collections.virtnet.kvm.plugins.module_utils.model_ports import PORT_PARAMETERS
from ansible_collections.virtnet.kvm.plugins.module_utils.values import plain_uuid


def parse_virtualport(parent):
    node = parent.find("virtualport")
    if node is None:
        return None
    port = {"type": node.get("type")} if node.get("type") else {}
    parameters = node.find("parameters")
    for key, attribute, holds in PORT_PARAMETERS:
        value = None if parameters is None else parameters.get(attribute)
        if value is not None:
            port[key] = value if holds == "text" else plain_uuid(value) if holds == "uuid" else int(value, 0)
    return port or None


def parse_vlan(parent):
    node = parent.find("vlan")
    if node is None:
        return None
    tags = [{"id": int(one.get("id")), "native_mode": one.get("nativeMode")} for one in node.iterfind("tag")]
    # libvirt takes several tags for a trunk, said or not.
    trunk = node.get("trunk") == "yes" or len(tags) > 1
    return {"trunk": trunk, "tags": sorted(tags, key=lambda row: row["id"])}


def parse_portgroups(tree):
    groups = [
        {
            "name": node.get("name"),
            "default": node.get("default") == "yes",
            "trust_guest_rx_filters": xml.tristate(node.get("trustGuestRxFilters")),
            **{key: PARSERS[key](node) for key in PARSERS},
        }
        for node in tree.iterfind("portgroup")
    ]
    return sorted(groups, key=lambda row: row["name"])


PARSERS = {"virtualport": parse_virtualport, "vlan": parse_vlan, "bandwidth": bandwidth_xml.parse}


# -- writing -----------------------------------------------------------------------------------------------------


def _virtualport(port):
    node = xml.element("virtualport", type=port.get("type"))
    parameters = {attribute: port[key] for key, attribute, dummy in PORT_PARAMETERS if key in port}
    if parameters:
        node.append(xml.element("parameters", **parameters))
    return node


def _vlan(vlan):
    node = xml.element("vlan", trunk="yes" if vlan["trunk"] else None)
    for one in vlan["tags"]:
        node.append(xml.element("tag", id=one["id"], nativeMode=one["native_mode"]))
    return node


MAKERS = {"virtualport": _virtualport, "vlan": _vlan, "bandwidth": bandwidth_xml.element}


def portgroup_element(row):
    node = xml.element(
        "portgroup",
        name=row["name"],
        default="yes" if row["default"] else None,
        trustGuestRxFilters=xml.yes_no(row["trust_guest_rx_filters"]),
    )
    _edit(node, row)
    return node


def _edit(node, wanted):
    """Write what C(wanted) has of MAKERS where it differs; None there is none."""
    for key, make in MAKERS.items():
        if wanted[key] != PARSERS[key](node):
            xml.replace(node, key, [make(wanted[key])] if wanted[key] else [])


def edit_ports(tree, network, purge=True):
    declared = {key: getattr(network, key) for key in MAKERS}
    _edit(tree, {key: PARSERS[key](tree) if value is None else value or None for key, value in declared.items()})
    if network.portgroups is None:
        return
    before = parse_portgroups(tree)
    rows = list(network.portgroups)
    if not purge:
        names = {row["name"] for row in rows}
        default = any(row["default"] for row in rows)
        # There is one default; a declared one takes it from the others.
        rows += [dict(row, default=row["default"] and not default) for row in before if row["name"] not in names]
        rows.sort(key=lambda row: row["name"])
    if rows == before:
        return
    kept = {node.get("name"): node for node in tree.findall("portgroup")}
    old = {row["name"]: row for row in before}
    xml.replace(
        tree, "portgroup", [kept[row["name"]] if row == old.get(row["name"]) else portgroup_element(row) for row in rows]
    )
