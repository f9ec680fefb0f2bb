# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a neighbour answers, without a program for it: ask for its MAC address and look into the kernel's table."""

from __future__ import annotations

import contextlib
import json
import socket
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
