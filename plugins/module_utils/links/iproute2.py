# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What iproute2 says of the host's links, addresses and routes (ip -j, ip-address(8), ip-route(8))."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed


@dataclass(frozen=True)
class Route:
    """A route of the main table: its destination, its link, and the gateway if it has one."""

    to: Any
    link: Optional[str]
    via: Optional[str]


def _json(host, *arguments):
    _rc, out, _err = host.run(["ip", "-j", *arguments], what="reading the host's links")
    try:
        return json.loads(out or "[]")
    except ValueError as error:
        raise CommandFailed(f"ip -j {' '.join(arguments)} answered no JSON") from error


def addresses(host):
    """Return {link: [IPv4Interface or IPv6Interface, ...]} of all links, those without an address too."""
    return {
        row["ifname"]: [
            ipaddress.ip_interface(f"{one['local']}/{one['prefixlen']}") for one in row.get("addr_info", ()) if "local" in one
        ]
        for row in _json(host, "address")
        if "ifname" in row
    }


def routes(host):
    """Return the Routes of the main table, both IP versions, without defaults, link-local and multicast ones."""
    found = []
    for option, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for row in _json(host, option, "route", "show", "table", "main"):
            if row.get("dst") in (None, "default") or row.get("type") in ("multicast", "unreachable", "blackhole"):
                continue
            try:
                to = ipaddress.ip_network(row["dst"], strict=False)
            except ValueError:
                continue
            if str(to) == everything or to.is_link_local or to.is_multicast:
                continue
            found.append(Route(to, row.get("dev"), row.get("gateway")))
    return found
