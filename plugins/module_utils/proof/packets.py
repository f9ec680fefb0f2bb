# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe's packets and DNS messages: built and understood by hand, pure; shipped with probe_agent, see there."""

from __future__ import annotations

import _socket as socket
import struct

ASK, SAID = b"VNP?", b"VNP!"
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
SYN, RST, ACK = 2, 4, 16
ECHO = {4: (8, 0), 6: (128, 129)}  # types of ICMP echo request and reply: RFC 792, RFC 4443
UNREACHABLE = {4: (3, 11), 6: (1, 3)}  # destination unreachable, time exceeded


def checksum(data):
    """Return the Internet checksum (RFC 1071) of C(data)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo(source, target, protocol, length):
    """Return the pseudo header over which TCP, UDP and ICMPv6 checksums go (RFC 793, RFC 8200)."""
    if len(source) == 4:
        return source + target + struct.pack("!BBH", 0, protocol, length)
    return source + target + struct.pack("!I3xB", length, protocol)


def segment(source, target, protocol, token, sport=0, dport=0):
    """Return (protocol number, bytes) of the probe C(token); C(protocol) is tcp, udp or icmp, addresses are packed."""
    version = 4 if len(source) == 4 else 6
    payload = ASK + struct.pack("!I", token)
    # head and tail are what stands before and behind the checksum
    if protocol == "tcp":
        number = TCP
        head = struct.pack("!HHIIBBH", sport, dport, token, 0, 6 << 4, SYN, 64240)  # 6 words of header
        tail = b"\0\0\2\4" + struct.pack("!H", 1220)  # no urgent data; MSS that every path of IPv6 carries
    elif protocol == "udp":
        number = UDP
        head, tail = struct.pack("!HHH", sport, dport, 8 + len(payload)), payload
    else:
        number = ICMP if version == 4 else ICMP6
        head, tail = struct.pack("!BB", ECHO[version][0], 0), struct.pack("!HH", sport, token & 0xFFFF) + payload
    body = head + b"\0\0" + tail
    start = b"" if number == ICMP else pseudo(source, target, number, len(body))
    value = checksum(start + body)
    if number == UDP and value == 0:
        value = 0xFFFF
    return number, head + struct.pack("!H", value) + tail


def packet(source, target, protocol, token, sport=0, dport=0):
    """Return the whole IPv4 or IPv6 packet of the probe C(token)."""
    number, body = segment(source, target, protocol, token, sport, dport)
    if len(source) == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), token & 0xFFFF, 0, 64, number, 0) + source + target
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body
    return struct.pack("!IHBB", 6 << 28, len(body), number, 64) + source + target + body


def split(data):
    """Return (version, protocol number, source, target, segment) of an IP packet, or None."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        if struct.unpack("!H", data[6:8])[0] & 0x1FFF:  # a later fragment has no header of its own
            return None
        return 4, data[9], data[12:16], data[16:20], data[(data[0] & 15) * 4 :]
    if len(data) >= 40 and data[0] >> 4 == 6:
        return 6, data[6], data[8:24], data[24:40], data[40:]
    return None


def token_of(payload, magic):
    if payload[:4] == magic and len(payload) >= 8:
        return struct.unpack("!I", payload[4:8])[0]
    return None


def meaning(version, number, data):
    """Return (what, protocol, token) of a segment: C(ask), C(said), C(refused); or None if it is no probe."""
    if number == TCP and len(data) >= 14:
        seq, ack, flags = struct.unpack("!IIxB", data[4:14])
        if flags & SYN:
            return ("said", "tcp", (ack - 1) & 0xFFFFFFFF) if flags & ACK else ("ask", "tcp", seq)
        return ("refused", "tcp", (ack - 1) & 0xFFFFFFFF) if flags & RST and flags & ACK else None
    if number == UDP:
        for what, magic in (("ask", ASK), ("said", SAID)):
            token = token_of(data[8:], magic)
            if token is not None:
                return what, "udp", token
    if number == (ICMP if version == 4 else ICMP6) and len(data) >= 8:
        if data[0] in ECHO[version]:
            token = token_of(data[8:], ASK)
            return None if token is None else (("ask", "said")[ECHO[version].index(data[0])], "icmp", token)
        if data[0] in UNREACHABLE[version]:
            inner = split(data[8:])
            # Eight bytes of the refused segment are certain (RFC 792): enough for a SYN, its number is in them.
            if inner and inner[1] == TCP and len(inner[4]) >= 8:
                return "refused", "tcp", struct.unpack("!I", inner[4][4:8])[0]
            found = meaning(inner[0], inner[1], inner[4]) if inner and inner[1] in (UDP, ICMP, ICMP6) else None
            return ("refused", *found[1:]) if found and found[0] == "ask" else None
    return None


# -- DNS (RFC 1035) -----------------------------------------------------------------------------------------------


def dns_query(token, name, kind):
    labels = b"".join(struct.pack("!B", len(part)) + part for part in name.rstrip(".").encode("ascii").split(b"."))
    return struct.pack("!HHHHHH", token & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


def dns_skip(data, at):
    """Return the place behind the name at C(at)."""
    while data[at]:
        if data[at] >= 0xC0:
            return at + 2
        at += 1 + data[at]
    return at + 1


def dns_answer(token, data):
    """Return (rcode, addresses) of the answer to the query C(token), or None if it is not that."""
    try:
        ident, flags, asked, count = struct.unpack("!HHHH", data[:8])
        if ident != token & 0xFFFF or not flags & 0x8000:
            return None
        at, found = 12, []
        for _record in range(min(asked, 4)):
            at = dns_skip(data, at) + 4
        for _record in range(min(count, 32)):
            at = dns_skip(data, at)
            kind, length = struct.unpack("!H6xH", data[at : at + 10])
            value = data[at + 10 : at + 10 + length]
            at += 10 + length
            if kind in (1, 28) and len(value) == (4 if kind == 1 else 16):
                found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, value))
        return flags & 15, found
    except (IndexError, struct.error):
        return None
