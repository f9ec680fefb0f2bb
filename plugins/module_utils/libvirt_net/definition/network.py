# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A network's XML and our normal form of it (https://libvirt.org/formatnetwork.html). Pure but for lxml.

edit() writes the declared parts into a definition and leaves everything else of it alone; parse() reads the normal
form back. Two definitions are the same to us if and only if their normal forms are equal.
"""

from __future__ import annotations

import copy
import dataclasses
import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import addresses, names, ports, xml
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition.xml import dump, load
from ansible_collections.virtnet.kvm.plugins.module_utils.model_services import Dhcp
from ansible_collections.virtnet.kvm.plugins.module_utils.names import NAMESPACE

__all__ = ["MARK", "dump", "edit", "forward_mode", "load", "mark", "parse", "parse_mark", "with_uuid"]

MARK = f"{{{NAMESPACE}}}network"

# -- reading -----------------------------------------------------------------------------------------------------


def _route(node):
    prefix = node.get("prefix") or node.get("netmask") or ("128" if node.get("family") == "ipv6" else "32")
    to = ipaddress.ip_network(f"{node.get('address')}/{prefix}", strict=False)
    return {"to": str(to), "via": str(ipaddress.ip_address(node.get("gateway")))}


def _sort_routes(rows):
    return sorted(rows, key=lambda row: (row["to"], row["via"]))


def parse_mark(tree):
    """Return our mark {model, firewall} of a definition, or None if it is not ours."""
    node = tree.find(f"metadata/{MARK}")
    return None if node is None else {"model": node.get("model"), "firewall": node.get("firewall")}


def _mode(tree):
    forward = tree.find("forward")
    return "none" if forward is None else forward.get("mode", "nat")


def _uplink(tree):
    forward = tree.find("forward")
    if forward is None:
        return None
    first = forward.find("interface")
    return forward.get("dev") or (first.get("dev") if first is not None else None)


def _nat_ipv6(tree):
    """Return whether libvirt translates IPv6 as well; None where it translates nothing."""
    if _mode(tree) != "nat":
        return None
    nat = tree.find("forward/nat")
    return nat is not None and nat.get("ipv6") == "yes"


def _text(tree, tag):
    return (tree.findtext(tag) or "").strip() or None


def parse(tree, mark=None):
    """Return the normal form of a definition.

    :param mark: our mark where the definition itself does not carry it (libvirt 9.0's live XML).
    """
    mark = parse_mark(tree) or mark
    mode = _mode(tree)
    bridge, mtu, port, mac = tree.find("bridge"), tree.find("mtu"), tree.find("port"), tree.find("mac")
    own = mode not in ("none", "nat", "route", "open")
    inferred = {"none": "isolated", "nat": "nat", "bridge": "bridged"}.get(mode, "routed")
    return {
        "name": tree.findtext("name"),
        "title": _text(tree, "title"),
        "description": _text(tree, "description"),
        "model": mark["model"] if mark else inferred,
        "firewall": mark["firewall"] if mark else ("libvirt" if mode == "nat" else "nftables"),
        "forward": mode,
        "nat_ipv6": _nat_ipv6(tree),
        "uplink": _uplink(tree),
        "bridge": bridge.get("name") if bridge is not None else None,
        "mac": mac.get("address").lower() if mac is not None else None,
        "stp": not own and bridge is not None and bridge.get("stp", "on") == "on",
        "delay": int(bridge.get("delay", "0")) if not own and bridge is not None else None,
        "zone": bridge.get("zone") if bridge is not None else None,
        "mtu": int(mtu.get("size")) or None if mtu is not None and mtu.get("size") else None,
        "port_isolation": port is not None and port.get("isolated") == "yes",
        "addresses": addresses.parse_addresses(tree),
        "dhcp": addresses.parse_dhcp(tree),
        "dns": names.parse_dns(tree),
        "dnsmasq_options": names.parse_options(tree),
        "routes": _sort_routes([_route(one) for one in tree.iterfind("route")]),
        "virtualport": ports.parse_virtualport(tree),
        "vlan": ports.parse_vlan(tree),
        "bandwidth": ports.PARSERS["bandwidth"](tree),
        "portgroups": ports.parse_portgroups(tree),
    }


# -- writing -----------------------------------------------------------------------------------------------------


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
        xml.drop(tree, "forward")
        return
    switched = old is None or old.get("mode", "nat") != mode
    if old is not None and switched:
        tree.remove(old)
    forward = xml.child(tree, "forward", mode=mode)
    if mode == "nat":
        if network.uplink is not None and network.uplink != _uplink(tree):
            xml.drop(forward, "interface")
            forward.set("dev", network.uplink)
        elif network.declared.get("uplink") == "":
            xml.drop(forward, "interface")
            forward.attrib.pop("dev", None)
        ipv6 = network.nat_ipv6
        has = any(one.version == 6 for one in map(addresses.interface, tree.findall("ip")))
        if ipv6 is None and (switched or not has):
            # Without it libvirt routes IPv6 with no state match: open inbound. What libvirt translates already, and IPv6 not,
            # stays as it is; what it begins to translate has its IPv6 translated too.
            ipv6 = (network.addresses is None and has) or any(one.version == 6 for one in network.addresses or ()) or None
        if ipv6 is not None and ipv6 != _nat_ipv6(tree):
            nat = xml.child(forward, "nat", ipv6="yes" if ipv6 else None)
            if len(nat) == 0 and not nat.attrib:
                forward.remove(nat)
    elif mode == "bridge" and network.attach != "macvtap":
        # Interfaces are macvtap's alone; libvirt repeats the first one as an attribute.
        xml.drop(forward, "interface", "pf")
        forward.attrib.pop("dev", None)
    elif mode == "bridge" and network.uplink is not None and network.uplink != _uplink(tree):
        # A pool of several links that begins with the declared one stays.
        xml.drop(forward, "interface", "pf")
        forward.attrib.pop("dev", None)
        forward.append(xml.element("interface", dev=network.uplink))


def _edit_bridge(tree, network):
    if network.model == "bridged" and network.attach == "macvtap":
        xml.drop(tree, "bridge")
        return
    bridge = xml.child(tree, "bridge", name=network.bridge)
    if forward_mode(network) == "bridge":
        for key in ("stp", "delay", "zone"):
            bridge.attrib.pop(key, None)
        xml.drop(tree, "mac")
        return
    bridge.set("stp", "on" if network.stp else "off")
    bridge.set("delay", bridge.get("delay", "0") if network.delay is None else str(network.delay))
    if network.zone is not None:
        xml.child(tree, "bridge", zone=network.zone or None)
    if network.mac is not None:
        mac = tree.find("mac")
        if mac is None or mac.get("address").lower() != network.mac:
            xml.child(tree, "mac", address=network.mac)


def _edit_words(tree, network):
    for tag in ("title", "description"):
        text = getattr(network, tag)
        if text is not None and (text or None) != _text(tree, tag):
            xml.drop(tree, tag)
            if text:
                node = xml.element(tag)
                node.text = text
                tree.insert(1, node)


def _edit_routes(tree, network):
    if network.routes is None:
        return
    wanted = [{"to": str(to), "via": str(via)} for to, via in network.routes]
    nodes = tree.findall("route")
    if _sort_routes(wanted) == _sort_routes([_route(one) for one in nodes]):
        return
    made = []
    for (to, via), row in zip(network.routes, wanted):
        # A route that stays keeps what we do not model, such as its metric.
        node = next((one for one in nodes if _route(one) == row and one not in made), None)
        if node is None:
            node = xml.element(
                "route", family=f"ipv{to.version}", address=to.network_address, prefix=to.prefixlen, gateway=via
            )
        made.append(node)
    xml.replace(tree, "route", made)


def _edit_mark(tree, network):
    metadata = xml.child(tree, "metadata")
    node = metadata.find(MARK)
    if node is None:
        node = xml.etree.SubElement(metadata, MARK, nsmap={"virtnet": NAMESPACE})
    for key, value in _mark_of(network).items():
        node.set(key, value)


def _mark_of(network):
    return {"model": network.model, "firewall": network.firewall}


def mark(network):
    """Return our mark of a network, as libvirt's call for metadata takes it: without its namespace."""
    return dump(xml.element("network", **_mark_of(network)))


def _of_this_host(network):
    """Return the network as far as this host serves it: of the hosts of a stretched one, one has all of it."""
    if network.stretch is None or network.stretch.serves:
        return network
    none = Dhcp(ranges=(), reservations=(), tftp_root="", boot={})
    return dataclasses.replace(network, addresses=network.host_addresses, dhcp=network.dhcp and none)


def edit(network, tree=None, purge=True):
    """Return a definition that holds all that C(network) declares, and whatever else C(tree) held.

    :param purge: a declared list of reservations, DNS records or port groups is the whole of it; else others stay.
    """
    if tree is None:
        tree = xml.element("network")
        xml.child(tree, "name").text = network.name
    else:
        tree = copy.deepcopy(tree)
    network = _of_this_host(network)
    tree.attrib.pop("connections", None)
    _edit_words(tree, network)
    _edit_mark(tree, network)
    _edit_forward(tree, network)
    _edit_bridge(tree, network)
    host_owned = forward_mode(network) == "bridge"
    if host_owned:
        # The host's links have these (host_bridge); libvirt refuses them here, and what it serves on bridges of its own.
        xml.drop(tree, "mtu", "domain", "dns", "ip", "route", "bandwidth", names.OPTIONS)
    elif network.mtu:
        xml.child(tree, "mtu", size=str(network.mtu))
    elif network.mtu == 0:
        xml.drop(tree, "mtu")
    if network.policy.port_isolation:
        xml.child(tree, "port", isolated="yes")
    elif tree.find("port") is not None and "policy" in network.declared:
        xml.drop(tree, "port")
    if not host_owned:
        addresses.edit_addresses(tree, network)
        addresses.edit_dhcp(tree, network, purge)
        names.edit_dns(tree, network, purge)
        names.edit_options(tree, network)
        _edit_routes(tree, network)
    ports.edit_ports(tree, network, purge)
    return tree


def with_uuid(text, uuid):
    """Return a definition's XML under a UUID: libvirt refuses to redefine a network without its own."""
    tree = load(text)
    xml.child(tree, "uuid").text = uuid
    return dump(tree)
