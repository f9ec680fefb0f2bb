# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Frames and packets, honest and hostile, as bytes. Pure; addresses are text. Numbers: IANA, and the RFCs named beside them."""

from __future__ import annotations

import ipaddress
import struct

ICMP, IGMP, IPIP, TCP, UDP, SIX_IN_FOUR, GRE, ICMP6 = 1, 2, 4, 6, 17, 41, 47, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MORE = 0x2000
VLAN, PROVIDER = 0x8100, 0x88A8
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def packed(address):
    return ipaddress.ip_address(address).packed


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def link_local(text):
    """The address that a link of this MAC address gives itself (RFC 4291)."""
    first, *rest = mac(text)
    raw = bytes([0xFE, 0x80, *bytes(6), first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
    return str(ipaddress.ip_address(raw))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _summed(source, target, protocol, body, place):
    """Put the checksum over pseudo header and body at its place."""
    ends = packed(source) + packed(target)
    if len(ends) == 8:
        pseudo = ends + struct.pack("!BBH", 0, protocol, len(body))
    else:
        pseudo = ends + struct.pack("!I3xB", len(body), protocol)
    value = checksum(pseudo + body) or 0xFFFF
    return body[:place] + struct.pack("!H", value) + body[place + 2 :]


def udp(source, target, sport, dport, data, protocol=UDP):
    """UDP, or UDP-Lite, which covers all of itself here."""
    return _summed(source, target, protocol, struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data, 6)


def tcp(source, target, sport, dport, data, flags=SYN, seq=0):
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, 1 if flags & ACK else 0, 5 << 4, flags, 64240, 0, 0)
    return _summed(source, target, TCP, head + data, 16)


def icmp(source, target, kind, rest, data, code=0):
    """ICMP of the addresses' version; rest is the header's second word."""
    body = struct.pack("!BBH", kind, code, 0) + rest + data
    if ":" in target:
        return _summed(source, target, ICMP6, body, 2)
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def echo(source, target, ident, data, reply=False):
    kind = ((8, 0), (128, 129))[":" in target][reply]
    return icmp(source, target, kind, struct.pack("!HH", ident & 0xFFFF, 1), data)


def icmp_of(target):
    return ICMP6 if ":" in target else ICMP


def ip(source, target, protocol, body, ident=1, offset=0, options=b"", before=(), hops=64):
    """Return the packet.

    :param offset: flags and fragment offset (IPv4).
    :param options: of IPv4, padded here.
    :param before: headers between IPv6's and the body, [(protocol number, bytes without their next header)].
    """
    if ":" not in target:
        options += b"\0" * (-len(options) % 4)
        words = 5 + len(options) // 4
        head = struct.pack("!BBHHHBBH", 4 << 4 | words, 0, words * 4 + len(body), ident & 0xFFFF, offset, hops, protocol, 0)
        head += packed(source) + packed(target) + options
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body
    numbers = [number for number, _rest in before] + [protocol]
    body = b"".join(bytes([after]) + rest for after, (_number, rest) in zip(numbers[1:], before)) + body
    return struct.pack("!IHBB", 6 << 28, len(body), numbers[0], hops) + packed(source) + packed(target) + body


def fragments(source, target, protocol, pieces, ident):
    """Return packets that are fragments: pieces are (offset in bytes, a multiple of 8, whether more follow, data)."""
    rows = []
    for offset, more, data in pieces:
        if ":" in target:
            header = (FRAGMENT, struct.pack("!xHI", offset | more, ident))
            rows.append(ip(source, target, protocol, data, before=[header]))
        else:
            rows.append(ip(source, target, protocol, data, ident=ident, offset=offset // 8 | MORE * more))
    return rows


#: Six bytes of padding: PadN of 4 (RFC 8200).
PADDED = b"\0\1\4\0\0\0\0"
#: One address, no segment left (RFC 5095 is why it is left).
ROUTED_0 = struct.pack("!BBBI", 2, 0, 0, 0)


def source_route(kind, pointer, hops):
    """LSRR (131) or SSRR (137), RFC 791; pointer behind the last hop: the route has been gone."""
    return struct.pack("!BBB", kind, 3 + 4 * len(hops), pointer) + b"".join(map(packed, hops)) + b"\0"


def gre(inner):
    return struct.pack("!HH", 0, 0x86DD if inner[0] >> 4 == 6 else 0x0800) + inner


def ether(target, source, packet, tags=(), kind=None):
    """Return the frame; tags are (ethertype, VLAN)."""
    if kind is None:
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    marks = b"".join(struct.pack("!HH", number, vlan) for number, vlan in tags)
    return mac(target) + mac(source) + marks + struct.pack("!H", kind) + packet


def arp(operation, sender_mac, sender, target_mac, target, data):
    """ARP with data in the padding of the frame (RFC 826)."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + mac(sender_mac) + packed(sender) + mac(target_mac) + packed(target) + data.ljust(18, b"\0")


def option(kind, text):
    """A link-layer address option of neighbour discovery (RFC 4861)."""
    return bytes([kind, 1]) + mac(text)


def nonce(data):
    """An option that receivers pass over, for data (RFC 3971's nonce)."""
    return bytes([14, 1 + (1 + len(data)) // 8]) + data.ljust(8 * (1 + (1 + len(data)) // 8) - 2, b"\0")


def advertisement(source, target, about, link, data):
    """A neighbour advertisement, unsolicited, overriding."""
    rest = packed(about) + option(2, link) + nonce(data)
    return icmp(source, target, 136, struct.pack("!I", 0x20000000), rest)


def solicitation(source, target, about, link, data):
    return icmp(source, target, 135, bytes(4), packed(about) + option(1, link) + nonce(data))


def router_advertisement(source, target, link, data):
    return icmp(source, target, 134, struct.pack("!BBH", 64, 0, 1800), bytes(8) + option(1, link) + nonce(data))


def multicast_mac(address):
    raw = packed(address)
    if len(raw) == 16:
        return "33:33:" + raw[-4:].hex(":")
    if raw[0] >> 4 != 14:
        return EVERYBODY
    return "01:00:5e:" + bytes([raw[1] & 127, raw[2], raw[3]]).hex(":")
