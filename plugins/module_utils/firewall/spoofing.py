# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Anti-spoofing: a guest keeps its network's addresses, its reserved one, and never is the gateway. Pure.

Two places. What leaves the segment passes table inet, where the bridge's name is known: its source must be of the network.
What stays in the segment passes table bridge only, where a frame's port is known but, on kernels without nft_meta_bridge,
not its bridge: rules there go by addresses, which are unique on a host. Neighbour discovery, ARP probes and DHCP speak
from no address or a link-local one and pass.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import concat, quoted

#: Before conntrack (-200) and, in table bridge, before br_netfilter hands frames to IP (0).
PRIORITY = -310


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
    rules = []
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
        for network in networks if not entries.stretched(network)
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


def add_segment_guard(table, networks):
    """Fill table bridge: the gateway's addresses, and reserved addresses with their MACs."""
    guarded = _guarded(networks)
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
            rules = _ipv4(table)
            if rules:
                table.add_chain("frames_ipv4", rules)
                table.add_chain("frames_arp", _arp(table))
                jumps.update({"ip": "frames_ipv4", "arp": "frames_arp"})
        else:
            rules = _ipv6(table, gateways, addresses, pairs)
            if rules:
                table.add_chain("frames_ipv6", rules)
                jumps["ip6"] = "frames_ipv6"
    if jumps:
        # 'meta protocol' sees through one VLAN tag, 'ether type' would not. Receivers take tags of VLAN 0 off, however
        # many; nobody needs two.
        table.add_chain(
            "prerouting",
            [
                "vlan id 0 meta protocol { 8021q, 8021ad } drop",
                # Without its type a tag is one of 802.1Q.
                "ether type 8021ad vlan id 0 meta protocol { 8021q, 8021ad } drop",
                f"meta protocol vmap {{ {', '.join(f'{key} : jump {name}' for key, name in jumps.items())} }}",
            ],
            hook=f"filter hook prerouting priority {PRIORITY}",
        )


def _ipv4(table):
    rules = []
    if "gateways4" in table:
        rules.append("ip saddr @gateways4 drop")
    if "pairs4" in table:
        rules.append("ip saddr @reserved4 ether saddr . ip saddr != @pairs4 drop")
    if "macs4" in table:
        rules.append("ether saddr @macs4 ip saddr != 0.0.0.0 ether saddr . ip saddr != @pairs4 drop")
    return rules


def _arp(table):
    rules = []
    if "gateways4" in table:
        rules.append("meta protocol arp arp saddr ip @gateways4 drop")
    if "pairs4" in table:
        rules += [
            "meta protocol arp arp saddr ip @reserved4 arp saddr ether . arp saddr ip != @pairs4 drop",
            "meta protocol arp arp saddr ip @reserved4 ether saddr . arp saddr ip != @pairs4 drop",
        ]
    if "macs4" in table:
        rules.append(
            "meta protocol arp ether saddr @macs4 arp saddr ip != 0.0.0.0 ether saddr . arp saddr ip != @pairs4 drop"
        )
    return rules


def _ipv6(table, gateways, addresses, pairs):
    rules = []
    if "gateways6" in table:
        rules.append("ip6 saddr @gateways6 drop")
        rules.append(f"{_ADVERTISED} {{ {', '.join(_number(text) for text in gateways)} }} drop")
    if "pairs6" in table:
        rules.append("ip6 saddr @reserved6 ether saddr . ip6 saddr != @pairs6 drop")
        known = ", ".join(_number(text) for text in addresses)
        allowed = ", ".join(concat(mac, _number(text)) for mac, text in (pair.split(" . ") for pair in pairs))
        rules.append(f"{_ADVERTISED} {{ {known} }} ether saddr . @th,64,128 != {{ {allowed} }} drop")
    if "macs6" in table:
        rules.append("ether saddr @macs6 ip6 saddr { ::, fe80::/10 } accept")
        rules.append("ether saddr @macs6 ether saddr . ip6 saddr != @pairs6 drop")
    return rules


#: The address that a neighbour advertisement is about: 16 bytes, 8 into ICMPv6 (RFC 4861); nft before 1.0.9 has no name for it.
_ADVERTISED = "meta protocol ip6 meta l4proto ipv6-icmp icmpv6 type nd-neighbor-advert @th,64,128"


def _number(text):
    return f"0x{int(ipaddress.IPv6Address(text)):032x}"
