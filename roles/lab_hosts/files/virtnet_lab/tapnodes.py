# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a KVM host of the lab, by itself: gives each macvtap link its /dev/tapN, as udev does on a machine.

There is no udev in a host, and libvirt opens the node within 200 ms of having made the link (N is the link's index).
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import struct
from pathlib import Path

LINKS = Path("/sys/class/net")
DEV = Path("/dev")
NODE = re.compile(r"tap[0-9]+")
# linux/rtnetlink.h, linux/if_link.h
RTMGRP_LINK, RTM_NEWLINK, RTM_DELLINK, IFLA_IFNAME = 1, 16, 17, 3
HEADER = struct.Struct("=IHHII")
IFINFO = struct.Struct("=BxHiII")


def messages(data: bytes) -> list[tuple[int, int, str]]:
    """The links that a netlink datagram speaks of: (kind of message, index, name)."""
    found = []
    while len(data) >= HEADER.size:
        length, kind = HEADER.unpack_from(data)[:2]
        if length < HEADER.size:
            break
        body = data[HEADER.size : length]
        if kind in (RTM_NEWLINK, RTM_DELLINK) and len(body) >= IFINFO.size:
            found.append((kind, IFINFO.unpack_from(body)[2], _name(body[IFINFO.size :])))
        data = data[(length + 3) & ~3 :]
    return found


def _name(attributes: bytes) -> str:
    while len(attributes) >= 4:
        size, kind = struct.unpack_from("=HH", attributes)
        if size < 4:
            break
        if kind == IFLA_IFNAME:
            return attributes[4:size].rstrip(b"\0").decode()
        attributes = attributes[(size + 3) & ~3 :]
    return ""


def have(index: int, name: str) -> None:
    """Make the node of a link, if it is a macvtap."""
    try:
        major, minor = (LINKS / name / f"tap{index}" / "dev").read_text(encoding="ascii").strip().split(":")
    except OSError:
        return
    number, node = os.makedev(int(major), int(minor)), DEV / f"tap{index}"
    with contextlib.suppress(FileNotFoundError):
        if node.stat().st_rdev == number:
            return
        node.unlink()
    os.mknod(node, 0o600 | stat.S_IFCHR, number)


def forget(index: int) -> None:
    (DEV / f"tap{index}").unlink(missing_ok=True)


def look() -> None:
    """Make all nodes as they are to be: at the start, and when messages were lost."""
    present = {}
    for link in LINKS.iterdir():
        with contextlib.suppress(OSError, ValueError):
            present[int((link / "ifindex").read_text(encoding="ascii"))] = link.name
    for node in DEV.glob("tap*"):
        if NODE.fullmatch(node.name) and int(node.name[3:]) not in present:
            forget(int(node.name[3:]))
    for index, name in present.items():
        have(index, name)


def ready() -> None:
    """Tell systemd that from now on nothing is missed (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", "\0" + address[1:] if address[0] == "@" else address)


def main() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, RTMGRP_LINK))
        look()
        ready()
        while True:
            try:
                data = sock.recv(1 << 18)
            except OSError:  # ENOBUFS: more than fits has happened
                look()
                continue
            for kind, index, name in messages(data):
                if kind == RTM_DELLINK:
                    forget(index)
                else:
                    have(index, name)


if __name__ == "__main__":
    main()
