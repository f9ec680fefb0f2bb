# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A network's XML and our normal form of it (https://libvirt.org/formatnetwork.html). Pure but for lxml.

edit() writes the declared parts into a definition and leaves everything else of it alone; parse() reads the normal
form back. Two definitions are the same to us if and only if their normal forms are equal.
"""

from __future__ import annotations

import copy
import ipaddress

try:
    from lxml import etree
except ImportError:  # pragma: no cover - deps.require() answers for it
    etree = None

from ansible_collections.virtnet.kvm.plugins.module_utils.names import NAMESPACE

MARK = f"{{{NAMESPACE}}}network"


def _parser():
    # Definitions come from the daemon, yet nothing in them may reach for files or the net.
    return etree.XMLParser(remove_blank_text=True, resolve_entities=False, no_network=True)


def load(xml):
    return etree.fromstring(xml, _parser())


def dump(tree):
    etree.indent(tree)
    return etree.tostring(tree, encoding="unicode")


def seconds_to_lease(seconds):
    """Return a lease time in its one spelling: infinite, or the largest of h, m, s that divides it."""
    if seconds == 0:
        return "infinite"
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def lease_to_seconds(text):
    """Return the seconds of 3600, 3600s, 90m, 12h, 7d; infinite is 0, as in libvirt."""
    if text == "infinite":
        return 0
    size = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1])
    return int(text) if size is None else int(text[:-1]) * size


# -- reading -----------------------------------------------------------------------------------------------------


def _interface(node):
    prefix = node.get("prefix") or node.get("netmask")
    if prefix is None:
        # libvirt's virSocketAddrGetIPPrefix(): the old classes for IPv4, 64 for IPv6.
        address = ipaddress.ip_address(node.get("address"))
        if address.version == 6:
            prefix = "64"
        else:
            first = int(address) >> 24
            prefix = "8" if first < 128 else "16" if first < 192 else "24"
    return ipaddress.ip_interface(f"{node.get('address')}/{prefix}")


def _lease(node):
    lease = node.find("lease")
    if lease is None:
        return None
    size = {"seconds": 1, "minutes": 60, "hours": 3600}[lease.get("unit", "minutes")]
    return seconds_to_lease(int(lease.get("expiry", "0")) * size)


def _parse_dhcp(nodes):
    ranges, reservations, lease = [], [], None
    for node in nodes:
        dhcp = node.find("dhcp")
        if dhcp is None:
            continue
        for one in dhcp.iterfind("range"):
            start, end = ipaddress.ip_address(one.get("start")), ipaddress.ip_address(one.get("end"))
            ranges.append({"start": str(start), "end": str(end)})
            lease = lease or _lease(one)
        for one in dhcp.iterfind("host"):
            mac = one.get("mac")
            reservations.append(
                {
                    "name": one.get("name"),
                    "mac": mac.lower() if mac else None,
                    "address": str(ipaddress.ip_address(one.get("ip"))) if one.get("ip") else None,
                }
            )
            lease = lease or _lease(one)
    if all(node.find("dhcp") is None for node in nodes):
        return None
    return {"ranges": sort_ranges(ranges), "reservations": sort_reservations(reservations), "lease_time": lease}


def _address_key(text):
    if text is None:
        return (0, 0)
    address = ipaddress.ip_address(text)
    return (address.version, int(address))


def sort_ranges(rows):
    return sorted(rows, key=lambda row: _address_key(row["start"]))


def sort_reservations(rows):
    return sorted(rows, key=lambda row: (_address_key(row["address"]), row["mac"] or "", row["name"] or ""))


def sort_hosts(rows):
    return sorted(rows, key=lambda row: _address_key(row["address"]))


def _parse_dns(tree):
    node, domain = tree.find("dns"), tree.find("domain")
    hosts, forwarders = [], []
    if node is not None:
        for one in node.iterfind("host"):
            hosts.append(
                {
                    "address": str(ipaddress.ip_address(one.get("ip"))),
                    "names": sorted(name.text for name in one.iterfind("hostname")),
                }
            )
        # A forwarder with a domain is for that domain only; the model does not have it, so it is left alone.
        forwarders = [
            str(ipaddress.ip_address(one.get("addr")))
            for one in node.iterfind("forwarder")
            if one.get("addr") and not one.get("domain")
        ]
    return {
        "enabled": node is None or node.get("enable") != "no",
        "domain": domain.get("name") if domain is not None else None,
        "local_only": domain is not None and domain.get("localOnly") == "yes",
        "forwarders": forwarders,
        "hosts": sort_hosts(hosts),
    }


def _parse_routes(tree):
    rows = []
    for one in tree.iterfind("route"):
        prefix = one.get("prefix") or one.get("netmask") or ("128" if one.get("family") == "ipv6" else "32")
        to = ipaddress.ip_network(f"{one.get('address')}/{prefix}", strict=False)
        rows.append({"to": str(to), "via": str(ipaddress.ip_address(one.get("gateway")))})
    return sorted(rows, key=lambda row: (row["to"], row["via"]))


def parse_mark(tree):
    """Return our mark {model, firewall} of a definition, or None if it is not ours."""
    node = tree.find(f"metadata/{MARK}")
    return None if node is None else {"model": node.get("model"), "firewall": node.get("firewall")}


def parse(tree, mark=None):
    """Return the normal form of a definition.

    :param mark: our mark where the definition itself does not carry it (libvirt 9.0's live XML).
    """
    mark = parse_mark(tree) or mark
    forward = tree.find("forward")
    mode = "none" if forward is None else forward.get("mode", "nat")
    bridge, mtu, port = tree.find("bridge"), tree.find("mtu"), tree.find("port")
    dev = None
    if forward is not None:
        first = forward.find("interface")
        dev = forward.get("dev") or (first.get("dev") if first is not None else None)
    inferred = {"none": "isolated", "nat": "nat", "bridge": "bridged"}.get(mode, "routed")
    nodes = tree.findall("ip")
    return {
        "name": tree.findtext("name"),
        "model": mark["model"] if mark else inferred,
        "firewall": mark["firewall"] if mark else ("libvirt" if mode == "nat" else "nftables"),
        "forward": mode,
        "uplink": dev,
        "bridge": bridge.get("name") if bridge is not None else None,
        "stp": mode != "bridge" and bridge is not None and bridge.get("stp", "on") == "on",
        "mtu": int(mtu.get("size")) if mtu is not None and mtu.get("size") else None,
        "port_isolation": port is not None and port.get("isolated") == "yes",
        "addresses": [_interface(node).with_prefixlen for node in nodes],
        "dhcp": _parse_dhcp(nodes),
        "dns": _parse_dns(tree),
        "routes": _parse_routes(tree),
    }


# -- writing -----------------------------------------------------------------------------------------------------


def _child(parent, tag, **attributes):
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


def _drop(parent, *tags):
    for tag in tags:
        for node in parent.findall(tag):
            parent.remove(node)


def forward_mode(network):
    """Return libvirt's forward mode for a network of ours."""
    if network.bridge_owner == "host":
        return "bridge"
    if network.model == "isolated":
        return "none"
    if network.model == "nat" and network.firewall == "libvirt":
        return "nat"
    return "open"


def _edit_forward(tree, network):
    mode = forward_mode(network)
    old = tree.find("forward")
    if mode == "none":
        _drop(tree, "forward")
        return
    if old is not None and old.get("mode", "nat") != mode:
        tree.remove(old)
    forward = _child(tree, "forward", mode=mode)
    macvtap = mode == "bridge" and network.attach == "macvtap"
    if mode == "nat":
        if network.uplink is not None:
            _drop(forward, "interface")
            forward.set("dev", network.uplink)
        if any(one.version == 6 for one in network.addresses or ()):
            # Without it libvirt routes IPv6 with no state match: open inbound.
            _child(forward, "nat", ipv6="yes")
    elif mode == "bridge":
        # Interfaces are macvtap's alone, a bridge's what it is without; libvirt repeats the first one as an attribute.
        _drop(forward, "interface")
        forward.attrib.pop("dev", None)
        if macvtap:
            etree.SubElement(forward, "interface", dev=network.uplink)


def _edit_bridge(tree, network):
    if network.model == "bridged" and network.attach == "macvtap":
        _drop(tree, "bridge")
        return
    bridge = _child(tree, "bridge", name=network.bridge)
    if forward_mode(network) == "bridge":
        for key in ("stp", "delay"):
            bridge.attrib.pop(key, None)
    else:
        bridge.set("stp", "on" if network.stp else "off")
        bridge.set("delay", bridge.get("delay", "0"))


def _edit_addresses(tree, network):
    if network.addresses is None:
        return
    known = {_interface(node).with_prefixlen: node for node in tree.findall("ip")}
    if list(known) == [one.with_prefixlen for one in network.addresses]:
        return
    _drop(tree, "ip")
    for one in network.addresses:
        node = known.get(one.with_prefixlen)
        if node is None:
            node = etree.Element("ip", address=str(one.ip), prefix=str(one.network.prefixlen))
            if one.version == 6:
                node.set("family", "ipv6")
        tree.append(node)


def _lease_element(parent, text):
    if text is None:
        return
    seconds = lease_to_seconds(text)
    _drop(parent, "lease")
    if seconds % 60 == 0:
        etree.SubElement(parent, "lease", expiry=str(seconds // 60), unit="minutes")
    else:
        etree.SubElement(parent, "lease", expiry=str(seconds), unit="seconds")


def range_element(row, lease=None):
    node = etree.Element("range", start=row["start"], end=row["end"])
    _lease_element(node, lease)
    return node


def reservation_element(row, lease=None):
    node = etree.Element("host")
    # DHCPv6 knows no MAC; libvirt refuses mac= inside an IPv6 element, the name stands for it there.
    if row["mac"] and ":" not in row["address"]:
        node.set("mac", row["mac"])
    if row["name"]:
        node.set("name", row["name"])
    node.set("ip", row["address"])
    _lease_element(node, lease)
    return node


def host_element(row):
    node = etree.Element("host", ip=row["address"])
    for name in row["names"]:
        etree.SubElement(node, "hostname").text = name
    return node


def declared_dhcp(network, current):
    """Return the normal form of the DHCP that shall be: what is declared, else what C(current) has."""
    if network.dhcp is None:
        return current
    current = current or {"ranges": [], "reservations": [], "lease_time": None}
    ranges, reservations, lease = current["ranges"], current["reservations"], current["lease_time"]
    if network.dhcp.ranges is not None:
        ranges = sort_ranges([{"start": str(one.start), "end": str(one.end)} for one in network.dhcp.ranges])
    if network.dhcp.reservations is not None:
        reservations = sort_reservations(
            [
                {
                    "name": one.name,
                    "mac": one.mac if one.address.version == 4 else None,
                    "address": str(one.address),
                }
                for one in network.dhcp.reservations
            ]
        )
    if network.dhcp.lease_time is not None:
        lease = seconds_to_lease(lease_to_seconds(network.dhcp.lease_time))
    return {"ranges": ranges, "reservations": reservations, "lease_time": lease}


def _edit_dhcp(tree, network):
    nodes = tree.findall("ip")
    before = _parse_dhcp(nodes)
    wanted = declared_dhcp(network, before)
    if wanted == before or wanted is None:
        return
    for node in nodes:
        home = _interface(node).network
        dhcp = node.find("dhcp")
        made = []
        for tag, rows, field, element in (
            ("range", wanted["ranges"], "start", range_element),
            ("host", wanted["reservations"], "address", reservation_element),
        ):
            # An element that stays keeps what we do not model, such as a DUID.
            old = [] if dhcp is None else dhcp.findall(tag)
            kept = {_row_key(one): one for one in old}
            for row in rows:
                if ipaddress.ip_address(row[field]) not in home:
                    continue
                fresh = element(row, wanted["lease_time"])
                one = kept.get(_row_key(fresh), fresh)
                _lease_element(one, wanted["lease_time"])
                made.append(one)
        if dhcp is not None:
            _drop(dhcp, "range", "host")
            if not made and len(dhcp) == 0:
                node.remove(dhcp)
        if made:
            # libvirt's schema wants ranges, then hosts, then bootp.
            dhcp = _child(node, "dhcp")
            for place, one in enumerate(made):
                dhcp.insert(place, one)


def _row_key(node):
    return tuple((node.get(key) or "").lower() for key in ("start", "end", "mac", "name", "ip"))


def declared_dns(network, current):
    """Return the normal form of the DNS that shall be."""
    if network.dns is None:
        return current
    dns = network.dns
    wanted = dict(current, enabled=dns.enabled)
    if dns.domain is not None:
        wanted.update(domain=dns.domain, local_only=dns.local_only)
    if dns.forwarders is not None:
        wanted["forwarders"] = [str(one) for one in dns.forwarders]
    if dns.hosts is not None:
        wanted["hosts"] = sort_hosts([{"address": str(ip), "names": sorted(names)} for ip, names in dns.hosts])
    return wanted


def _edit_dns(tree, network):
    before = _parse_dns(tree)
    wanted = declared_dns(network, before)
    if wanted == before:
        return
    if wanted["domain"] is not None:
        _child(tree, "domain", name=wanted["domain"], localOnly="yes" if wanted["local_only"] else None)
    node = _child(tree, "dns", enable=None if wanted["enabled"] else "no")
    if wanted["forwarders"] != before["forwarders"]:
        for one in node.findall("forwarder"):
            if not one.get("domain"):
                node.remove(one)
        for place, address in enumerate(wanted["forwarders"]):
            node.insert(place, etree.Element("forwarder", addr=address))
    if wanted["hosts"] != before["hosts"]:
        _drop(node, "host")
        node.extend(host_element(row) for row in wanted["hosts"])
    if len(node) == 0 and not node.attrib:
        tree.remove(node)


def _edit_routes(tree, network):
    if network.routes is None:
        return
    wanted = sorted(({"to": str(to), "via": str(via)} for to, via in network.routes), key=lambda row: (row["to"], row["via"]))
    if wanted == _parse_routes(tree):
        return
    _drop(tree, "route")
    for to, via in network.routes:
        etree.SubElement(
            tree, "route", family=f"ipv{to.version}", address=str(to.network_address), prefix=str(to.prefixlen), gateway=str(via)
        )


def _edit_mark(tree, network):
    metadata = _child(tree, "metadata")
    node = metadata.find(MARK)
    if node is None:
        node = etree.SubElement(metadata, MARK, nsmap={"virtnet": NAMESPACE})
    node.set("model", network.model)
    node.set("firewall", network.firewall)


def edit(network, tree=None):
    """Return a definition that holds all that C(network) declares, and whatever else C(tree) held."""
    if tree is None:
        tree = etree.Element("network")
        etree.SubElement(tree, "name").text = network.name
    else:
        tree = copy.deepcopy(tree)
    tree.attrib.pop("connections", None)
    _edit_mark(tree, network)
    _edit_forward(tree, network)
    _edit_bridge(tree, network)
    if forward_mode(network) == "bridge":
        # The host's links have these (host_bridge); libvirt refuses them here, and what it serves on bridges of its own.
        _drop(tree, "mtu", "domain", "dns", "ip", "route")
    elif network.mtu is not None:
        _child(tree, "mtu", size=str(network.mtu))
    if network.policy.port_isolation:
        _child(tree, "port", isolated="yes")
    elif tree.find("port") is not None and "policy" in network.declared:
        _drop(tree, "port")
    if forward_mode(network) != "bridge":
        _edit_addresses(tree, network)
        _edit_dhcp(tree, network)
        _edit_dns(tree, network)
        _edit_routes(tree, network)
    return tree
