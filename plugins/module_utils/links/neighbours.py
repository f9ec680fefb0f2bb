# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking and telling neighbours, without a program for it: whether one answers, and that an address has another MAC."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import struct
import time

_ANSWERED = {"REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT"}


def answers(host, link, address, wait_s=5):
    """Return whether C(address) answers on C(link) within C(wait_s) seconds."""
    host.run(["ip", "neigh", "del", address, "dev", link], check=False)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    deadline = time.monotonic() + wait_s
    while True:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            # The discard port: what matters is that the kernel must find the neighbour (RFC 863).
            target = socket.getaddrinfo(f"{address}%{link}" if address.startswith("fe80") else address, 9, family)[0][4]
            sender.sendto(b"", target)
        time.sleep(0.05)
        _rc, out, _err = host.run(["ip", "-j", "neigh", "show", "to", address, "dev", link], check=False)
        if any(_ANSWERED & set(row.get("state", ())) and row.get("lladdr") for row in json.loads(out or "[]")):
            return True
        if time.monotonic() > deadline:
            return False


ETH_P_ARP, ETH_P_IPV6, ICMPV6 = 0x0806, 0x86DD, 58
ALL_NODES, ALL_NODES_MAC = "ff02::1", bytes.fromhex("333300000001")


def announce(link, addresses):
    """Tell all on a link that its addresses are at its MAC address.

    :param addresses: those of C(link), with or without prefix length. IPv4 is announced by ARP (RFC 5227, 3), IPv6 by an
        unsolicited neighbour advertisement (RFC 4861, 7.2.6).
    """
    with open(f"/sys/class/net/{link}/address", encoding="ascii") as handle:
        mac = bytes.fromhex(handle.read().strip().replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((link, 0))
        for address in (ipaddress.ip_interface(text).ip for text in addresses):
            # A link that has just come up has room for it; one that has gone again needs no announcement.
            with contextlib.suppress(OSError):
                sender.send(_arp(mac, address) if address.version == 4 else _advertisement(mac, address))


def _arp(mac, address):
    """Return an ARP announcement as a frame: a request for the sender's own address (RFC 826)."""
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    body = header + mac + address.packed + bytes(6) + address.packed
    return b"\xff" * 6 + mac + struct.pack("!H", ETH_P_ARP) + body


def _advertisement(mac, address):
    """Return an unsolicited neighbour advertisement of a router as a frame."""
    # Flags router and override (RFC 4861, 4.4), and the option target link-layer address (4.6.1).
    body = struct.pack("!BBHI", 136, 0, 0, 0xA0000000) + address.packed + struct.pack("!BB", 2, 1) + mac
    source, target = address.packed, ipaddress.ip_address(ALL_NODES).packed
    whole = source + target + struct.pack("!II", len(body), ICMPV6) + body
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 255) + source + target
    return ALL_NODES_MAC + mac + struct.pack("!H", ETH_P_IPV6) + header + body
