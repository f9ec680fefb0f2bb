# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks that reach over several hosts: who gets frames into them, and a gateway that is on all of the hosts. Pure.

Each host of a routed one has the gateway, with the same addresses and the same MAC address, so that guests use their own
host's, wherever they run. Frames that are about the gateway end at the VXLAN device of the host that they reach: questions for
it, what it says of itself, router advertisements. What it sends to guests of another host bears a MAC address of its host's,
for a bridge complains of frames that come in with its own. An answer to its question (ARP, neighbour discovery) goes to the
gateway of the guest's own host, who has not asked, perhaps; so it is sent to all of them.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import model_stretch, names
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import concat, quoted

#: The network identifier in a VXLAN packet: 3 bytes, 4 into what follows UDP's 8 (RFC 7348).
VNI = "@th,96,24"
_EVERYBODY = "ff:ff:ff:ff:ff:ff"
_ALL_NODES = "33:33:00:00:00:01"
_ICMP6 = "meta protocol ip6 meta l4proto ipv6-icmp icmpv6 type"
#: What neighbour solicitations and advertisements are about: 16 bytes, 8 into ICMPv6 (RFC 4861).
_ABOUT = "@th,64,128"


def _stretched(networks):
    return sorted((one for one in networks if one.stretch is not None), key=lambda one: one.stretch.vni)


def _anycast(networks):
    return [one for one in _stretched(networks) if one.gateway_mac]


def _port(network):
    return quoted(names.vxlan_name(network.name))


def _bridges(networks):
    return {quoted(one.bridge): one.name for one in networks}


def link_local(mac):
    """Return the link-local address that the kernel makes of a MAC address (RFC 4291, appendix A)."""
    octets = [int(one, 16) for one in mac.split(":")]
    octets = [octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]]
    return ipaddress.IPv6Address(0xFE80 << 112 | int.from_bytes(bytes(octets), "big"))


# -- table inet --------------------------------------------------------------------------------------------------


def _vnis(networks):
    return ", ".join(str(one.stretch.vni) for one in networks)


def encapsulated(networks, refuse):
    """Return the rules that keep guests from sending what the other hosts would take for VXLAN of this host."""
    mine = _stretched(networks)
    return [f"udp dport {model_stretch.PORT} {VNI} {{ {_vnis(mine)} }} {refuse}"] if mine else []


def add_underlay(table, networks, models, refuse):
    """Add what lets nobody but the other hosts send into stretched networks; return the rules for hook input that lead there.

    Networks of others on the same port have other identifiers, and pass.

    :param models: names of the sets of bridges by model.
    """
    mine = _stretched(networks)
    if not mine:
        return []
    ours = f"{VNI} {{ {_vnis(mine)} }}"
    rules = [f"iifname @{one}_bridges {ours} {refuse}" for one in models if f"{one}_bridges" in table]
    for version, family in ((4, "ip"), (6, "ip6")):
        peers = [concat(peer, one.stretch.vni) for one in mine for peer in one.stretch.peers or () if peer.version == version]
        if peers:
            rules.append(f"{family} saddr . {VNI} {{ {', '.join(peers)} }} return")
    table.add_chain("underlay", [*rules, f"{ours} {refuse}"], about="VXLAN of stretched networks, from their other hosts only")
    found = [f"udp dport {model_stretch.PORT} jump underlay"]
    absent = [one for one in _anycast(networks) if one.dhcp is not None and not one.serves_dhcp]
    if table.add_set("served_elsewhere", "ifname", _bridges(absent), about="Another host serves DHCP there"):
        found.append(f"iifname @served_elsewhere udp dport 67 {refuse}")
    return found


def add_passage(table, networks):
    """Return the rules for the source guard that let pass what stays in a stretched segment.

    With br_netfilter frames from other hosts come by here: of their gateway, and what it routes to guests of this host.
    """
    mine = _stretched(networks)
    if not table.add_set("stretched_bridges", "ifname", _bridges(mine), about="Segments over several hosts"):
        return []
    rules = []
    for version, family in ((4, "ip"), (6, "ip6")):
        inside = {concat(quoted(one.bridge), each): one.name for one in mine for each in one.subnets if each.version == version}
        if table.add_set(f"inside{version}", f"ifname . ipv{version}_addr", inside, interval=True):
            but = f"{family} daddr != @gateways{version} " if f"gateways{version}" in table else ""
            rules.append(f"{but}iifname . {family} daddr @inside{version} accept")
    return [
        *rules, "iifname @stretched_bridges udp sport 67 udp dport 68 accept",
        "iifname @stretched_bridges icmpv6 type nd-neighbor-solicit accept",
    ]  # fmt: skip


# -- table bridge ------------------------------------------------------------------------------------------------


def add_frames(table, networks, refuse, priority):
    """Fill table bridge with what holds for frames from and to other hosts; return the rules for hook prerouting that lead there.

    :param priority: of hook prerouting.
    """
    mine, anycast = _stretched(networks), _anycast(networks)
    if not mine:
        return []
    table.add_set("stretch_ports", "ifname", {_port(one): one.name for one in mine}, about="VXLAN devices to other hosts")
    serving = [one for one in mine if one.serves_dhcp]
    table.add_set("serving_ports", "ifname", {_port(one): one.name for one in serving}, about="This host serves DHCP there")
    rules = _about_gateways(table, anycast, refuse)
    if serving:
        rules.append(f"iifname @serving_ports udp dport {{ 68, 546 }} {refuse}")
    # Whatever else the other hosts hand over they have looked at.
    table.add_chain("from_stretch", [*rules, "accept"], about="Frames from other hosts")
    if anycast:
        _add_answers(table, anycast, priority)
        _add_own(table, anycast, priority)
    return ["iifname @stretch_ports goto from_stretch"]


def _about_gateways(table, anycast, refuse):
    rules = []
    if table.add_set("gateway_macs", "ether_addr", {one.gateway_mac: one.name for one in anycast}, about="Gateways of all hosts"):
        rules.append(f"ether saddr @gateway_macs {refuse}")
    fours = {str(each.ip): one.name for one in anycast for each in one.addresses or () if each.version == 4}
    if table.add_set("anycast4", "ipv4_addr", fours):
        rules += [
            f"meta protocol arp arp operation request arp daddr ip @anycast4 {refuse}",
            f"meta protocol arp arp operation reply arp saddr ip @anycast4 {refuse}",
            f"meta protocol arp arp saddr ip @anycast4 arp saddr ether != @gateway_macs {refuse}",
        ]
    sixes = []
    for one in anycast:
        mine = [each.ip for each in one.addresses or () if each.version == 6]
        sixes += [*mine, link_local(one.gateway_mac)] if mine else []
    if sixes:
        listed = ", ".join(f"0x{int(one):032x}" for one in sixes)
        kinds = "nd-neighbor-solicit, nd-neighbor-advert"
        rules.append(f"{_ICMP6} {{ {kinds} }} {_ABOUT} {{ {listed} }} {refuse}")
    if table.add_set("anycast_ports", "ifname", {_port(one): one.name for one in anycast}):
        rules.append(f"iifname @anycast_ports icmpv6 type {{ nd-router-advert, nd-router-solicit, nd-redirect }} {refuse}")
    return rules


def _add_answers(table, anycast, priority):
    """Whichever host has asked hears the answer, and so does the DHCP server whom a guest means by the gateway's address."""
    rules = [
        "iifname @stretch_ports accept",
        f"meta protocol arp arp operation reply ether daddr @gateway_macs ether daddr set {_EVERYBODY}",
        f"{_ICMP6} nd-neighbor-advert ether daddr @gateway_macs ether daddr set {_ALL_NODES}",
    ]
    absent = {one.gateway_mac: one.name for one in anycast if one.dhcp is not None and not one.serves_dhcp}
    if table.add_set("served_elsewhere", "ether_addr", absent, about="Another host serves DHCP there"):
        rules.append(f"ether daddr @served_elsewhere udp sport 68 udp dport 67 ether daddr set {_EVERYBODY}")
    table.add_chain(
        "prerouting_answers", rules, hook=f"filter hook prerouting priority {priority + 1}",
        about="Answers to gateways of all hosts",
    )


def _add_own(table, anycast, priority):
    table.add_map(
        "underlay_macs", "ether_addr : ether_addr",
        {f"{one.gateway_mac} : {names.underlay_mac(one.name, one.stretch.local)}": one.name for one in anycast},
        about="As whom a gateway sends to other hosts",
    )
    table.add_chain(
        "output_stretch", ["oifname @stretch_ports ether saddr set ether saddr map @underlay_macs"],
        hook=f"filter hook output priority {priority}",
    )
