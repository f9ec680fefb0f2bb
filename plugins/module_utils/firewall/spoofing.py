# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Anti-spoofing: a guest keeps its network's addresses, its reserved one, and never is the gateway. Pure.

Two places. What leaves the segment passes table inet, where the bridge's name is known: its source must be of the network.
What stays in the segment passes table bridge only, where a frame's port is known but, on kernels without nft_meta_bridge,
not its bridge: rules there go by addresses, which are unique on a host. Neighbour discovery, ARP probes and DHCP speak
from no address or a link-local one and pass.

A pair of MAC and address can be forged as a whole, so the NICs that we wire are bound to their ports: those have names that
stay, and the store knows which MAC is behind which. Since a port is also of a network, it is held there to what that network
has guests for: no router, no DHCP server beside the host's. Ports that others wired (vnetN) are of any bridge, the LAN's
too, and are held to two things only: they bear no MAC that is bound, and are not the host.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import drops, stretch
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import LEARNT, concat, quoted

#: Before conntrack (-200) and, in table bridge, before br_netfilter hands frames to IP (0).
PRIORITY = -310

#: The set of table bridge that the host's own packets fill: no rule can know beforehand what the kernel and others make up.
LINK_LOCALS = LEARNT + "link_locals"
#: An IPv6 packet's source as plain bytes: of one type with what neighbour advertisements tell of (_ADVERTISED).
SOURCE6 = "@nh,64,128"
#: Links whose names libvirt gives itself, to guests that others wired.
OTHERS = f'"{names.LIBVIRT_TAP}*"'


def _guarded(networks):
    return [one for one in networks if one.policy.anti_spoofing and one.subnets]


def add_source_guard(table, networks, refuse):
    """Add what holds guests to their network's subnets (and to those that a guest routes)."""
    guarded = _guarded(networks)
    if not guarded:
        return
    table.add_set(
        "guarded_bridges", "ifname", {quoted(one.bridge): one.name for one in guarded},
        about="Their guests keep to their network's addresses",
    )
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        elements = {}
        for one in guarded:
            for subnet in (*one.subnets, *(to for to, via in one.routes or ())):
                if subnet.version == version:
                    elements[concat(quoted(one.bridge), subnet)] = one.name
        table.add_set(f"sources{version}", f"ifname . {kind}", elements, interval=True)
        table.add_set(f"gateways{version}", kind, _gateways(guarded, version))
    rules = stretch.add_passage(table, guarded)
    for version, family in ((4, "ip"), (6, "ip6")):
        if f"gateways{version}" in table:
            rules.append(f"{family} saddr @gateways{version} {refuse}")
        if f"sources{version}" in table:
            rules.append(f"iifname . {family} saddr @sources{version} accept")
    rules += [
        "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
        "ip saddr 0.0.0.0 meta l4proto igmp accept",
        "ip6 saddr { ::, fe80::/10 } accept",
        refuse,
    ]
    table.add_chain("guard", rules)
    table.add_chain(
        "prerouting_guard", ["iifname @guarded_bridges goto guard"], hook=f"filter hook prerouting priority {PRIORITY}"
    )


def _gateways(networks, version):
    return {
        str(one.ip): network.name
        for network in networks
        for one in network.addresses or () if one.version == version
    }


def reserved(network, version):
    """Return [(mac, address, routes)] of the reservations of an IP version; a guest that routes speaks for others too.

    A reservation by name alone (IPv6) belongs to the MAC that the same name has in another one.
    """
    rows = (network.dhcp.reservations if network.dhcp else None) or ()
    macs = {one.name: one.mac for one in rows if one.name and one.mac}
    routers = {via for to, via in network.routes or ()}
    found = []
    for one in rows:
        mac = one.mac or macs.get(one.name)
        if mac and one.address.version == version:
            found.append((mac, one.address, one.address in routers))
    return found


def claims(networks, ends):
    """Return {(one of C(ends), what it must come with)}: what the rules for frames say of addresses, of any link layer."""
    guarded = _guarded(networks)
    found = {(address, "nobody") for version in (4, 6) for address in _gateways(guarded, version)}
    for network in guarded:
        for version in (4, 6):
            for mac, address, routes in reserved(network, version):
                found.add((str(address), mac))
                if not routes:
                    found.add((mac, str(address)))
    return {pair for pair in found if pair[0] in ends}


def _bound(networks, ports):
    """Return {(link, MAC): Network} of the ports that are held to their NICs."""
    by_name = {one.name: one for one in networks if one.policy.anti_spoofing}
    return {key: by_name[port["network"]] for key, port in sorted(ports.items()) if port["network"] in by_name}


def add_port_guard(table, networks, bound, refuse):
    """Add what holds ports to their guests' NICs; return the rules that lead there.

    :param bound: {(link, MAC): Network}. A link has two MACs while a guest that runs waits for a restart.
    :param refuse: the statement that ends a frame.
    """
    table.add_set(
        "bound_ports",
        "ifname",
        {quoted(link): network.name for (link, _mac), network in bound.items()},
        about="Guests' NICs that were wired by us",
    )
    table.add_set(
        "port_macs",
        "ifname . ether_addr",
        {concat(quoted(link), mac): network.name for (link, mac), network in bound.items()},
        about="and the MAC addresses that come in by them",
    )
    table.add_set("bound_macs", "ether_addr", {mac: network.name for (_link, mac), network in bound.items()})
    # A guest that routes for others advertises itself. Which port it has is known by its reservation only.
    exempt = {one.name: _router_macs(one) for one in bound.values()}
    table.add_set(
        "no_routers",
        "ifname",
        {
            quoted(link): network.name
            for (link, mac), network in bound.items()
            if exempt[network.name] is not None and mac not in exempt[network.name]
        },
        about="Where the host is the router",
    )
    table.add_set(
        "no_dhcp_servers",
        "ifname",
        {quoted(link): network.name for (link, _mac), network in bound.items() if network.dhcp is not None},
        about="Where the host serves DHCP",
    )
    impostors = []
    if any(one.version == 6 for network in _guarded(networks) for one in network.subnets):
        table.add_learnt(LINK_LOCALS, SOURCE6, about="The host's link-local addresses: what it speaks from itself")
        impostors = [f"meta protocol ip6 {SOURCE6} @{LINK_LOCALS} {refuse}", f"{_ADVERTISED} @{LINK_LOCALS} {refuse}"]
        table.add_chain(
            "output",
            [f"meta protocol ip6 ip6 saddr fe80::/10 update @{LINK_LOCALS} {{ {SOURCE6} }}"],
            hook=f"filter hook output priority {PRIORITY}",
        )
    rules = []
    if bound:
        checks = [
            f"iifname . ether saddr != @port_macs {refuse}",
            f"meta protocol arp iifname . arp saddr ether != @port_macs {refuse}",
        ]
        if "no_dhcp_servers" in table:
            checks.append(f"iifname @no_dhcp_servers udp dport {{ 68, 546 }} {refuse}")
        if "no_routers" in table:
            checks.append(f"iifname @no_routers icmpv6 type {{ nd-router-advert, nd-redirect }} {refuse}")
        table.add_chain("from_bound", checks + impostors)
        rules.append("iifname @bound_ports jump from_bound")
        impostors = [f"ether saddr @bound_macs {refuse}", f"meta protocol arp arp saddr ether @bound_macs {refuse}", *impostors]
    if impostors:
        table.add_chain("from_others", impostors, about="Guests that others wired")
        rules.append(f"iifname {OTHERS} jump from_others")
    return rules


def _router_macs(network):
    """Return the MACs of guests that route IPv6 for others; None if one of them is not known by its MAC."""
    routers = {via for _to, via in network.routes or () if via.version == 6}
    found = {address: mac for mac, address, _routes in reserved(network, 6) if address in routers}
    return set(found.values()) if len(found) == len(routers) else None


def add_segment_guard(table, networks, ports):
    """Fill table bridge: what holds ports to their guests, the gateway's addresses, and reserved addresses with their MACs.

    :param ports: {(link, MAC): {C(network), …}} of guests' NICs.
    """
    guarded = _guarded(networks)
    bound = _bound(networks, ports)
    # On kernels without nft_meta_bridge a frame is known to be of a network by its port only.
    refuse = drops.add(table, {link: network for (link, _mac), network in bound.items()})
    rules_of_ports = stretch.add_frames(table, networks, refuse, PRIORITY) + add_port_guard(table, networks, bound, refuse)
    jumps = {}
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        gateways = _gateways(guarded, version)
        pairs, addresses, macs = {}, {}, {}
        for network in guarded:
            for mac, address, routes in reserved(network, version):
                pairs[concat(mac, address)] = network.name
                addresses[str(address)] = network.name
                if not routes:
                    macs[mac] = network.name
        table.add_set(f"gateways{version}", kind, gateways, about=f"The host's own IPv{version} addresses in its networks")
        table.add_set(f"reserved{version}", kind, addresses, about=f"IPv{version} addresses that one MAC has")
        table.add_set(f"macs{version}", "ether_addr", macs)
        table.add_set(f"pairs{version}", f"ether_addr . {kind}", pairs)
        if version == 4:
            rules = _ipv4(table, refuse)
            if rules:
                table.add_chain("frames_ipv4", rules)
                table.add_chain("frames_arp", _arp(table, refuse))
                jumps.update({"ip": "frames_ipv4", "arp": "frames_arp"})
        else:
            rules = _ipv6(table, gateways, addresses, pairs, refuse)
            if rules:
                table.add_chain("frames_ipv6", rules)
                jumps["ip6"] = "frames_ipv6"
    if jumps or rules_of_ports:
        # 'meta protocol' sees through one VLAN tag, 'ether type' would not. Receivers take tags of VLAN 0 off, however
        # many; nobody needs two.
        table.add_chain(
            "prerouting",
            [
                f"vlan id 0 meta protocol {{ 8021q, 8021ad }} {refuse}",
                # Without its type a tag is one of 802.1Q.
                f"ether type 8021ad vlan id 0 meta protocol {{ 8021q, 8021ad }} {refuse}",
                *rules_of_ports,
                *_by_protocol(jumps),
            ],
            hook=f"filter hook prerouting priority {PRIORITY}",
        )


def _by_protocol(jumps):
    if jumps:
        yield f"meta protocol vmap {{ {', '.join(f'{key} : jump {name}' for key, name in jumps.items())} }}"


def _ipv4(table, refuse):
    rules = []
    if "gateways4" in table:
        rules.append(f"ip saddr @gateways4 {refuse}")
    if "pairs4" in table:
        rules.append(f"ip saddr @reserved4 ether saddr . ip saddr != @pairs4 {refuse}")
    if "macs4" in table:
        rules.append(f"ether saddr @macs4 ip saddr != 0.0.0.0 ether saddr . ip saddr != @pairs4 {refuse}")
    return rules


def _arp(table, refuse):
    rules = []
    if "gateways4" in table:
        rules.append(f"meta protocol arp arp saddr ip @gateways4 {refuse}")
    if "pairs4" in table:
        rules += [
            f"meta protocol arp arp saddr ip @reserved4 arp saddr ether . arp saddr ip != @pairs4 {refuse}",
            f"meta protocol arp arp saddr ip @reserved4 ether saddr . arp saddr ip != @pairs4 {refuse}",
        ]
    if "macs4" in table:
        rules.append(
            f"meta protocol arp ether saddr @macs4 arp saddr ip != 0.0.0.0 ether saddr . arp saddr ip != @pairs4 {refuse}"
        )
    return rules


def _ipv6(table, gateways, addresses, pairs, refuse):
    rules = []
    if "gateways6" in table:
        rules.append(f"ip6 saddr @gateways6 {refuse}")
        rules.append(f"{_ADVERTISED} {{ {', '.join(_number(text) for text in gateways)} }} {refuse}")
    if "pairs6" in table:
        rules.append(f"ip6 saddr @reserved6 ether saddr . ip6 saddr != @pairs6 {refuse}")
        known = ", ".join(_number(text) for text in addresses)
        allowed = ", ".join(concat(mac, _number(text)) for mac, text in (pair.split(" . ") for pair in pairs))
        rules.append(f"{_ADVERTISED} {{ {known} }} ether saddr . @th,64,128 != {{ {allowed} }} {refuse}")
    if "macs6" in table:
        rules.append("ether saddr @macs6 ip6 saddr { ::, fe80::/10 } accept")
        rules.append(f"ether saddr @macs6 ether saddr . ip6 saddr != @pairs6 {refuse}")
    return rules


#: The address that a neighbour advertisement is about: 16 bytes, 8 into ICMPv6 (RFC 4861); nft before 1.0.9 has no name for it.
_ADVERTISED = "meta protocol ip6 meta l4proto ipv6-icmp icmpv6 type nd-neighbor-advert @th,64,128"


def _number(text):
    return f"0x{int(ipaddress.IPv6Address(text)):032x}"
