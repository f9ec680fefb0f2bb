# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the probe asks the kernel for: source addresses, neighbours; shipped with probe_agent, see there."""

from __future__ import annotations

import _socket as socket
import errno
import struct
import time

SO_BINDTODEVICE = 25  # linux/socket.h


def family(version):
    return socket.AF_INET if version == 4 else socket.AF_INET6


def text(packed):
    return packed and socket.inet_ntop(family(4 if len(packed) == 4 else 6), packed)


def bind_device(sock, dev):
    if dev:
        sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, dev.encode() + b"\0")


def neighbours(version):
    """Return {packed address: (dev, MAC)} of the kernel's neighbour table, by netlink."""
    found = {}
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    try:
        sock.settimeout(1)
        # nlmsghdr with RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP; then ndmsg: linux/netlink.h, linux/neighbour.h.
        sock.send(struct.pack("=IHHIIB11x", 28, 30, 0x301, 1, 0, family(version)))
        while True:
            data = sock.recv(65536)
            while len(data) >= 16:
                length, kind = struct.unpack("=IH", data[:6])
                if kind in (2, 3) or length < 16:  # NLMSG_ERROR, NLMSG_DONE
                    return found
                index, rest, values = struct.unpack("=i", data[20:24])[0], data[28:length], {}
                while len(rest) >= 4:
                    size, name = struct.unpack("=HH", rest[:4])
                    if size < 4:
                        break
                    values[name] = rest[4:size]
                    rest = rest[(size + 3) & ~3 :]
                if 1 in values and len(values.get(2, b"")) == 6:  # NDA_DST, NDA_LLADDR
                    found[values[1]] = (socket.if_indextoname(index), values[2])
                data = data[(length + 3) & ~3 :]
    finally:
        sock.close()


def towards(version, target, dev):
    """Return a UDP socket that is connected to a port where nobody has to listen (RFC 863, discard)."""
    sock = socket.socket(family(version), socket.SOCK_DGRAM)
    try:
        bind_device(sock, dev)
        sock.connect((target, 9))
    except OSError:
        sock.close()
        raise
    return sock


def next_hop(version, via, dev):
    """Return (dev, MAC) of a neighbour: C(via) is its address, or its MAC when C(dev) is known."""
    if via.count(":") == 5 and "::" not in via and len(via) == 17:
        return dev, bytes(int(part, 16) for part in via.split(":"))
    packed = socket.inet_pton(family(version), via)
    poke = towards(version, via, dev)
    try:
        for attempt in range(25):
            if attempt % 10 == 0:
                poke.send(b"")  # makes the kernel look the neighbour up
            found = neighbours(version).get(packed)
            if found:
                return found
            time.sleep(0.02)
    finally:
        poke.close()
    raise OSError(errno.EHOSTUNREACH, "the next hop does not answer")


def source_of(version, target, dev):
    """Return the packed source address that the kernel would take towards C(target)."""
    sock = towards(version, target, dev)
    try:
        return socket.inet_pton(family(version), sock.getsockname()[0].partition("%")[0])
    finally:
        sock.close()


def settle(limit_s):
    """Wait until no IPv6 address is tentative any more: nothing can be sent from one."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            with open("/proc/net/if_inet6") as table:
                rows = [line.split() for line in table]
        except OSError:
            return
        if not any(int(row[4], 16) & 0x40 for row in rows):  # IFA_F_TENTATIVE
            return
        time.sleep(0.05)
