# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a network gives the NICs that join it: virtual port, VLAN, bandwidth, port groups. Pure.

Each is returned in its normal form, the one that a definition is read into: None is not declared, left alone; an empty
dictionary or list is none. Each is declared whole.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

#: Parameters of a virtual port: our name, libvirt's, and what it holds (a UUID, a text, or a number up to that).
PORT_PARAMETERS = (
    ("profile_id", "profileid", "text"),
    ("interface_id", "interfaceid", "uuid"),
    ("instance_id", "instanceid", "uuid"),
    ("manager_id", "managerid", 255),
    ("type_id", "typeid", 0xFFFFFF),
    ("type_id_version", "typeidversion", 255),
)
#: Which of them a type has (https://libvirt.org/formatnetwork.html); one without a type may have them all.
PORT_TYPES = {
    "openvswitch": ("profile_id", "interface_id"),
    "midonet": ("interface_id",),
    "802.1Qbg": ("manager_id", "type_id", "type_id_version", "instance_id"),
    "802.1Qbh": ("profile_id",),
}
RATES = ("average", "peak", "burst")


def parse_virtualport(item, option, name):
    """Return {type, parameter: value, ...}."""
    if item is None:
        return None
    kind = item.get("type")
    port = {} if kind is None else {"type": kind}
    for key, _dummy, holds in PORT_PARAMETERS:
        value = item.get(key)
        if value is None:
            continue
        if kind is not None and key not in PORT_TYPES[kind]:
            raise InvalidInput(
                f"a virtual port of the type {kind} has no {key}",
                name,
                f"{option}.{key}",
                f"It has {', '.join(PORT_TYPES[kind])}.",
            )
        if holds == "uuid":
            value = values.uuid(value, f"{option}.{key}", name)
        elif holds == "text":
            value = values.text(value, f"{option}.{key}", name)
            if not 0 < len(value) < 40:
                raise InvalidInput(f"{value!r} has {len(value)} characters", name, f"{option}.{key}", "Use 1 to 39.")
        else:
            values.number(value, 0, holds, key, f"{option}.{key}", name)
        port[key] = value
    if kind == "midonet" and "interface_id" not in port:
        raise InvalidInput("a midonet port without its interface_id", name, f"{option}.interface_id", "Give its UUID.")
    return port


def parse_vlan(item, option, name):
    """Return {trunk, tags: [{id, native_mode}]}, sorted by id."""
    if item is None:
        return None
    tags, seen = [], set()
    for number, one in enumerate(item.get("tags") or ()):
        tag = values.number(one["id"], 1, 4094, "the VLAN", f"{option}.tags[{number}].id", name)
        if tag in seen:
            raise InvalidInput(f"the VLAN {tag} is given twice", name, f"{option}.tags[{number}].id", "Give it once.")
        seen.add(tag)
        tags.append({"id": tag, "native_mode": one.get("native_mode")})
    trunk = item.get("trunk")
    if not tags:
        if trunk:
            raise InvalidInput("a trunk without VLANs", name, f"{option}.tags", "Give its tags.")
        return {}
    if len(tags) > 1 and trunk is False:
        raise InvalidInput(f"{len(tags)} VLANs without a trunk", name, f"{option}.trunk", "Leave trunk out, or give one tag.")
    trunk = bool(trunk) or len(tags) > 1
    native = [one["id"] for one in tags if one["native_mode"]]
    if native and not trunk:
        raise InvalidInput("a native VLAN without a trunk", name, f"{option}.trunk", "Say trunk: true, or leave native_mode out.")
    if len(native) > 1:
        raise InvalidInput(
            f"two native VLANs, {native[0]} and {native[1]}", name, f"{option}.tags", "A trunk has one at most."
        )
    return {"trunk": trunk, "tags": sorted(tags, key=lambda row: row["id"])}


def parse_bandwidth(item, option, name):
    """Return {inbound: {average, peak, burst}, outbound: ...}; in KiB per second, burst in KiB."""
    if item is None:
        return None
    bandwidth = {}
    for way in ("inbound", "outbound"):
        given = item.get(way)
        if given is None:
            continue
        if given.get("average") is None:
            raise InvalidInput(f"a limit {way} without its average", name, f"{option}.{way}.average", "Give it in KiB a second.")
        bandwidth[way] = {
            # 4294967295 is what libvirt 9.0 takes.
            key: values.number(given[key], 1, 2**32 - 1, key, f"{option}.{way}.{key}", name)
            for key in RATES
            if given.get(key) is not None
        }
    return bandwidth


def parse_portgroups(items, option, name):
    """Return [{name, default, trust_guest_rx_filters, virtualport, vlan, bandwidth}], sorted by name."""
    if items is None:
        return None
    groups = []
    for number, one in enumerate(items):
        path = f"{option}[{number}]"
        group = {
            "name": values.name(one["name"], f"{path}.name", name),
            "default": bool(one.get("default")),
            "trust_guest_rx_filters": one.get("trust_guest_rx_filters"),
            "virtualport": parse_virtualport(one.get("virtualport"), f"{path}.virtualport", name) or None,
            "vlan": parse_vlan(one.get("vlan"), f"{path}.vlan", name) or None,
            "bandwidth": parse_bandwidth(one.get("bandwidth"), f"{path}.bandwidth", name) or None,
        }
        for earlier, other in enumerate(groups):
            if other["name"] == group["name"]:
                raise InvalidInput(
                    f"the port group {group['name']} is declared twice", name, f"{path}.name", "Give each a name of its own."
                )
            if other["default"] and group["default"]:
                raise InvalidInput(
                    f"two default port groups, {other['name']} and {group['name']}", name, f"{path}.default",
                    f"Keep that of portgroups[{earlier}] or this one.",
                )
        groups.append(group)
    return sorted(groups, key=lambda row: row["name"])
