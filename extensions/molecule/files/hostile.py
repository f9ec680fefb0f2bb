# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile guest sends, as frames. Pure.

Tables of {name: function}. A function takes a Shot and returns its frames, [] if it means nothing for that Shot. PACKETS go to
somebody whom the contract forbids; FORGED to anybody, for nobody may speak under a name that is not his; CLAIMS and FOR_MANY
stay in the segment.
"""

from __future__ import annotations

import dataclasses

import frames as f

PORT = 5000
FOREIGN = {4: "203.0.113.9", 6: "2001:db8:9::9"}
TAGS = {"VLAN 0": ((f.VLAN, 0),), "VLAN 0 twice": ((f.VLAN, 0), (f.VLAN, 0)), "802.1ad 0, VLAN 0": ((f.PROVIDER, 0), (f.VLAN, 0))}
#: Receivers take a tag of this VLAN for no traffic of theirs, unless they are in it.
TAG_5 = ((f.VLAN, 5),)


@dataclasses.dataclass(frozen=True)
class Shot:
    """Who sends to whom, and what may be forged: addresses are those of the IP version that is meant."""

    version: int
    token: int
    mac: str
    source: str
    gate: str  # MAC by which the sender's packets are to go
    target: str
    forge: dict  # {whose: address}
    macs: dict  # {whose: MAC}
    inner: str  # a target that the contract forbids
    way: str  # an address of the host
    groups: tuple = ()

    def data(self, magic=b"VNQ?"):
        return magic + self.token.to_bytes(4, "big")

    def udp(self, source=None, target=None, dport=PORT, sport=None):
        sport = sport or 10000 + self.token % 50000
        return f.udp(source or self.source, target or self.target, sport, dport, self.data())

    def tcp(self, flags=f.SYN):
        return f.tcp(self.source, self.target, 10000 + self.token % 50000, PORT, self.data(), flags, 0x5A000000 + self.token)

    def ip(self, protocol, body, **how):
        return f.ip(self.source, self.target, protocol, body, ident=self.token, **how)

    def send(self, *packets, mac=None, gate=None, tags=()):
        return [f.ether(gate or self.gate, mac or self.mac, packet, tags) for packet in packets]


def _flags(flags):
    return lambda x: x.send(x.ip(f.TCP, x.tcp(flags)))


def _echo_reply(x):
    return x.send(x.ip(f.icmp_of(x.target), f.echo(x.source, x.target, x.token, x.data(b"VNX?"), reply=True)))


def _from_port(sport, dport=None):
    return lambda x: x.send(x.ip(f.UDP, x.udp(sport=sport, dport=dport or 10000 + x.token % 50000)))


def _protocol(number):
    return lambda x: x.send(x.ip(number, x.data() * 3))


def _udp_lite(x):
    return x.send(x.ip(136, f.udp(x.source, x.target, 10000, PORT, x.data(), protocol=136)))


def _pieces(*cuts):
    """A datagram in pieces, each with the token in it; cuts are (from, to) of the UDP datagram, in bytes."""

    def made(x):
        # The token is in each eight bytes, behind the header.
        whole = f.udp(x.source, x.target, 10000 + x.token % 50000, PORT, x.data() * 8)
        last = cuts[-1]
        rows = [(start, (start, end) != last, whole[start:end]) for start, end in cuts]
        return x.send(*f.fragments(x.source, x.target, f.UDP, rows, x.token))

    return made


def _tiny_tcp(x):
    """Ports in the first fragment, flags in the second: RFC 1858."""
    whole = f.tcp(x.source, x.target, 10000 + x.token % 50000, PORT, x.data() * 4, f.SYN, x.token)
    rows = [(0, True, whole[:8]), (8, False, whole[8:])]
    return x.send(*f.fragments(x.source, x.target, f.TCP, rows, x.token))


def _tagged(tags):
    return lambda x: x.send(x.ip(f.UDP, x.udp()), tags=tags)


def _headers(*before, tcp=False):
    def made(x):
        if x.version == 4:
            return []
        headers = [(number, rest + f.packed(x.target) if number == f.ROUTING else rest) for number, rest in before]
        return x.send(x.ip(f.TCP if tcp else f.UDP, x.tcp() if tcp else x.udp(), before=headers))

    return made


def _options(options):
    return lambda x: x.send(x.ip(f.UDP, x.udp(), options=options(x))) if x.version == 4 else []


def _routed_by_the_host(kind):
    """To the host, with the target as the next hop of the sender's own choice."""

    def made(x):
        if x.version == 6 or x.target == x.way:
            return []
        # The checksum is over the last destination (RFC 1122).
        options = f.source_route(kind, 4, [x.target])
        return x.send(f.ip(x.source, x.way, f.UDP, x.udp(), ident=x.token, options=options))

    return made


def _tunnel(number):
    def made(x):
        # Whom the guest means is inside; its token makes that known, wherever it comes out.
        other = 6 if number == f.SIX_IN_FOUR else 4 if number == f.IPIP else x.version
        ends = ("fd81:ff::1", "fd81:ff::2") if other == 6 else ("10.81.255.1", "10.81.255.2")
        inner = f.ip(*ends, f.UDP, f.udp(*ends, 1, 2, x.data()))
        return x.send(x.ip(number, f.gre(inner) if number == f.GRE else inner))

    return made


def _inside_the_host(number):
    """To the host itself, which would have to unpack it."""

    def made(x):
        inner = f.ip(x.source, x.inner, f.UDP, f.udp(x.source, x.inner, 1, 2, x.data()))
        number_of = {4: f.IPIP, 6: f.SIX_IN_FOUR}[x.version] if number == f.IPIP else number
        return x.send(f.ip(x.source, x.way, number_of, f.gre(inner) if number == f.GRE else inner))

    return made


PACKETS = {
    "TCP ACK": _flags(f.ACK | f.PSH),
    "TCP SYN-ACK": _flags(f.SYN | f.ACK),
    "TCP RST": _flags(f.RST),
    "TCP FIN": _flags(f.FIN),
    "TCP no flags": _flags(0),
    "TCP all flags": _flags(f.FIN | f.PSH | f.URG | f.SYN | f.RST | f.ACK),
    "echo reply": _echo_reply,
    "UDP from 53": _from_port(53),
    "UDP from 67 to 68": _from_port(67, 68),
    "UDP to 53": lambda x: x.send(x.ip(f.UDP, x.udp(dport=53))),
    "UDP to 67": lambda x: x.send(x.ip(f.UDP, x.udp(dport=67, sport=68))),
    "SCTP": _protocol(132),
    "UDP-Lite": _udp_lite,
    "protocol 253": _protocol(253),
    "MAC of a bridge's port": lambda x: x.send(x.ip(f.UDP, x.udp()), gate=x.macs["port"]),
    "MAC of the neighbour": lambda x: x.send(x.ip(f.UDP, x.udp()), mac=x.macs["neighbour"]),
    "MAC of the gateway": lambda x: x.send(x.ip(f.UDP, x.udp()), mac=x.gate),
    "small first fragment": _pieces((0, 8), (8, 72)),
    "overlapping fragments": _pieces((0, 24), (8, 72)),
    "fragments, last first": _pieces((24, 72), (0, 24)),
    "a later fragment alone": _pieces((16, 72)),
    "ports hidden in TCP fragments": _tiny_tcp,
    **{name: _tagged(tags) for name, tags in TAGS.items()},
    "VLAN 5": _tagged(TAG_5),
    "hop-by-hop header": _headers((f.HOP_BY_HOP, f.PADDED)),
    "hop-by-hop header, TCP": _headers((f.HOP_BY_HOP, f.PADDED), tcp=True),
    "destination options": _headers((f.DESTINATION, f.PADDED)),
    "destination options, TCP": _headers((f.DESTINATION, f.PADDED), tcp=True),
    "routing header 0": _headers((f.ROUTING, f.ROUTED_0)),
    "routing header 0, TCP": _headers((f.ROUTING, f.ROUTED_0), tcp=True),
    "fragment header": _headers((f.FRAGMENT, bytes(3) + b"vnet")),
    "all four headers, TCP": _headers(
        (f.HOP_BY_HOP, f.PADDED), (f.DESTINATION, f.PADDED), (f.ROUTING, f.ROUTED_0), (f.FRAGMENT, bytes(3) + b"many"), tcp=True
    ),
    "loose route behind it": _options(lambda x: f.source_route(131, 8, [x.way])),
    "loose route by the host": _routed_by_the_host(131),
    "strict route by the host": _routed_by_the_host(137),
    "router alert": _options(lambda x: b"\x94\4\0\0"),
    "protocol 41": _tunnel(f.SIX_IN_FOUR),
    "protocol 4": _tunnel(f.IPIP),
    "GRE": _tunnel(f.GRE),
    "IP for the host to unpack": _inside_the_host(f.IPIP),
    "GRE for the host to unpack": _inside_the_host(f.GRE),
}


def _forged(whose):
    def made(x):
        if whose not in x.forge or x.forge[whose] == x.source:
            return []
        source = x.forge[whose]
        return x.send(f.ip(source, x.target, f.UDP, x.udp(source=source), ident=x.token))

    return made


def _land(x):
    return x.send(f.ip(x.target, x.target, f.UDP, x.udp(source=x.target), ident=x.token))


FORGED = {
    "source outside": _forged("outside"),
    "source another network's": _forged("other"),
    "source the neighbour's": _forged("neighbour"),
    "source the gateway's": _forged("gateway"),
    "source the host's uplink": _forged("uplink"),
    "source foreign": _forged("foreign"),
    "source = target (land)": _land,
}


# -- what stays in the segment: the target is the neighbour there --------------------------------------------------------


def _says(whose, operation=2, everybody=True, tags=(), own_address=False):
    """ARP: this address is at my MAC."""

    def made(x):
        if x.version == 6 or whose not in x.forge:
            return []
        target = x.forge[whose] if everybody else x.target
        to = f.EVERYBODY if everybody else x.macs["neighbour"]
        link = x.gate if own_address else x.mac
        body = f.arp(operation, link, x.forge[whose], to if operation == 2 else "00:00:00:00:00:00", target, x.data())
        return [f.ether(to, x.mac, body, tags, kind=0x0806)]

    return made


def _advertises(whose, tags=(), before=(), link_local=False, everybody=True):
    def made(x):
        if x.version == 4 or whose not in x.forge:
            return []
        to = "ff02::1" if everybody else x.target
        source = x.source if not link_local else x.forge["link-local"]
        body = f.advertisement(source, to, x.forge[whose], x.mac, x.data())
        packet = f.ip(source, to, f.ICMP6, body, hops=255, before=before)
        return [f.ether(f.multicast_mac(to) if everybody else x.macs["neighbour"], x.mac, packet, tags)]

    return made


def _solicits(x):
    if x.version == 4 or "gateway" not in x.forge:
        return []
    body = f.solicitation(x.forge["gateway"], x.target, x.target, x.mac, x.data())
    return [f.ether(x.macs["neighbour"], x.mac, f.ip(x.forge["gateway"], x.target, f.ICMP6, body, hops=255))]


def _speaks_as(whose, tags=()):
    def made(x):
        if whose not in x.forge:
            return []
        source = x.forge[whose]
        packet = f.ip(source, x.target, f.UDP, x.udp(source=source), ident=x.token)
        return x.send(packet, gate=x.macs["neighbour"], tags=tags)

    return made


def _redirect(x):
    """The way is by me, says the gateway."""
    if "gateway" not in x.forge:
        return []
    gateway = x.forge["gateway"]
    quoted = f.ip(x.target, x.way, f.UDP, f.udp(x.target, x.way, 1, 2, b""))
    if x.version == 4:
        body = f.icmp(gateway, x.target, 5, f.packed(x.source), quoted + x.data(b"VNX?"), code=1)
    else:
        body = f.icmp(gateway, x.target, 137, bytes(4), f.packed(x.source) + f.packed(x.way) + f.nonce(x.data(b"VNX?")))
    return x.send(f.ip(gateway, x.target, f.icmp_of(x.target), body, hops=255), gate=x.macs["neighbour"])


CLAIMS = {
    "ARP: the gateway is here, to all": _says("gateway"),
    "ARP: the gateway is here, to one": _says("gateway", everybody=False),
    "ARP: the gateway asks": _says("gateway", operation=1),
    "ARP: the gateway is where it is": _says("gateway", own_address=True),
    "ARP: the neighbour is here": _says("neighbour"),
    **{f"ARP: the gateway is here, {name}": _says("gateway", tags=tags) for name, tags in (*TAGS.items(), ("VLAN 5", TAG_5))},
    "ND: the gateway is here, to all": _advertises("gateway"),
    "ND: the gateway is here, to one": _advertises("gateway", everybody=False),
    "ND: so from a link-local address": _advertises("gateway", link_local=True),
    "ND: the neighbour is here": _advertises("neighbour"),
    "ND: the gateway asks": _solicits,
    "ND: so behind hop-by-hop": _advertises("gateway", before=((f.HOP_BY_HOP, f.PADDED),)),
    "ND: so behind destination options": _advertises("gateway", before=((f.DESTINATION, f.PADDED),)),
    **{f"ND: so, {name}": _advertises("gateway", tags=tags) for name, tags in (*TAGS.items(), ("VLAN 5", TAG_5))},
    "a packet from the gateway": _speaks_as("gateway"),
    "a packet from the neighbour": _speaks_as("neighbour"),
    **{f"a packet from the gateway, {name}": _speaks_as("gateway", tags) for name, tags in (*TAGS.items(), ("VLAN 5", TAG_5))},
    "a redirect from the gateway": _redirect,
}


def own_claim(x):
    """What a guest may say: of itself."""
    if x.version == 4:
        return [f.ether(f.EVERYBODY, x.mac, f.arp(2, x.mac, x.source, f.EVERYBODY, x.source, x.data()), kind=0x0806)]
    body = f.advertisement(x.source, "ff02::1", x.source, x.mac, x.data())
    return [f.ether(f.multicast_mac("ff02::1"), x.mac, f.ip(x.source, "ff02::1", f.ICMP6, body, hops=255))]


# -- what is for many ----------------------------------------------------------------------------------------------------


def _to_group(number, protocol=f.UDP, port=5353):
    def made(x):
        if len(x.groups) <= number:
            return []
        group = x.groups[number]
        # A kind of IGMP that nobody knows: of the others bridges make something of their own.
        body = x.udp(target=group, dport=port) if protocol == f.UDP else f.icmp(x.source, group, 0x30, bytes(4), x.data() * 2)
        return [f.ether(f.multicast_mac(group), x.mac, f.ip(x.source, group, protocol, body, hops=8))]

    return made


#: The group's place in GROUPS of its IP version; IGMP is IPv4's only.
GROUPS = {
    4: ("224.0.0.251", "239.1.2.3", "224.0.0.1", "255.255.255.255"),
    6: ("ff02::fb", "ff0e::1:2:3", "ff05::1:3"),
}
FOR_MANY = {
    "mDNS": _to_group(0),
    "a group of the world": _to_group(1),
    "IGMP, or a group of the site": lambda x: _to_group(2, f.IGMP if x.version == 4 else f.UDP)(x),
    "limited broadcast": _to_group(3),
}


def to_broadcast_of(x, address):
    """By the host, to the broadcast address of another network."""
    return x.send(f.ip(x.source, address, f.UDP, x.udp(target=address), ident=x.token))


# -- what only a bound port is kept from ---------------------------------------------------------------------------------


def mac_and_address(x):
    """A neighbour's MAC and address together."""
    source = x.forge["neighbour"]
    packet = f.ip(source, x.target, f.UDP, x.udp(source=source), ident=x.token)
    return x.send(packet, mac=x.macs["neighbour"])


def advertised_router(x):
    if x.version == 4:
        return []
    body = f.router_advertisement(x.forge["link-local"], "ff02::1", x.mac, x.data())
    return [f.ether(f.multicast_mac("ff02::1"), x.mac, f.ip(x.forge["link-local"], "ff02::1", f.ICMP6, body, hops=255))]


#: What a guest that heard the host's router advertisements has as its gateway.
link_local_claim = _advertises("gateway's own")


def dhcp_offer(x):
    ports = (67, 68) if x.version == 4 else (547, 546)
    return x.send(f.ip(x.source, x.target, f.UDP, f.udp(x.source, x.target, *ports, x.data())), gate=x.macs["neighbour"])


def asks_for(x, address):
    """ARP: who has this address of the host?"""
    body = f.arp(1, x.mac, x.source, "00:00:00:00:00:00", address, x.data())
    return [f.ether(f.EVERYBODY, x.mac, body, kind=0x0806)]


def error_about(x, conversation):
    """An ICMP error about somebody else's conversation, to one of its ends.

    :param conversation: (the end it goes to, the other end, its port, the other's).
    """
    end, other, port, others_port = conversation
    quoted = f.ip(end, other, f.UDP, f.udp(end, other, port, others_port, b"12345678"))
    kind, code = (3, 3) if x.version == 4 else (1, 4)
    body = f.icmp(x.source, end, kind, bytes(4), quoted + x.data(b"VNX?"), code)
    return x.send(f.ip(x.source, end, f.icmp_of(end), body))
