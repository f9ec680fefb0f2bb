# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What iproute2 says of the host's links, addresses and routes (ip -j, ip-address(8), ip-route(8))."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import re
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, vlans


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


def rows(host):
    """Return the rows of all links, addresses and routes of the main table; four commands, whatever their number."""
    return (
        _json(host, "-d", "link"),
        _json(host, "address"),
        _json(host, "-4", "route", "show", "table", "main") + _json(host, "-6", "route", "show", "table", "main"),
    )


def read(host, unused_vlans=False):
    """Return all of the host's links as {name: forms.Link}; C(unused_vlans), see with_vlans()."""
    return with_vlans(host, forms.links(*rows(host)), unused_vlans)


def with_vlans(host, links, unused=False):
    """Return links with the VLANs of bridges and their ports, if any bridge filters them; C(unused), also if none does."""
    filters = {link.name: forms.filters_vlans(link.row) for link in links.values() if link.kind == "bridge"}
    if any(filters.values()) or (unused and any(one is not None for one in filters.values())):
        _rc, out, _err = host.run(["bridge", "-j", "vlan", "show"], what="reading the VLANs of bridges")
        known = vlans.of_rows(json.loads(out or "[]"))
        for link in links.values():
            if link.name in filters or link.form["bridge"] in filters:
                link.vlans = known.get(link.name, vlans.NONE)
    return links


def know_vlans(host, links):
    """Return whether the kernel's bridges can filter VLANs: a bridge says so, one in a namespace of its own if there is none."""
    for link in links.values():
        if link.kind == "bridge":
            return forms.filters_vlans(link.row) is not None
    probe = "ip link add name probe type bridge && ip -d -j link show dev probe"
    _rc, out, _err = host.run(["unshare", "--net", "/bin/sh", "-c", probe], what="looking whether bridges can filter VLANs")
    return forms.filters_vlans(json.loads(out)[0]) is not None


def main_routes(host):
    """Return [(link, route)] of the main table: routes as in forms, whoever made them."""
    found = []
    for row in _json(host, "-4", "route", "show", "table", "main") + _json(host, "-6", "route", "show", "table", "main"):
        one = forms.route(row)
        if one is not None and "dev" in row:
            found.append((row["dev"], one))
    return found


def way_to(host, target, source=None, iif=None):
    """Return (the row of C(ip route get), None), or (None, why the host has no route).

    :param iif: the link by which the packet came in, with its C(source); without, it is the host's own.
    """
    words = ["ip", "-j", "route", "get", target]
    words += ["from", source, "iif", iif] if source and iif else ["iif", iif] if iif else []
    rc, out, err = host.run(words, check=False)
    try:
        row = json.loads(out)[0] if rc == 0 else None
    except (ValueError, IndexError):
        row = None
    if row is None:
        return None, (err or out).strip().replace("RTNETLINK answers: ", "") or "no answer"
    return row, None


def batch(host, lines, what, subject=None, force=False):
    """Carry out C(lines) with one ip(8), those of VLANs with bridge(8); without C(force) it stops at the first that fails.

    The CommandFailed says in C(details['line']) which one it was, counted from 0.
    """
    begin = 0
    for is_vlan, group in itertools.groupby(lines, vlans.is_line):
        part = list(group)
        _batch(host, "bridge" if is_vlan else "ip", part, what, subject, force, begin)
        begin += len(part)


def batches(lines):
    """Return {command of the shell: what it reads} for lines that may fail each; those of VLANs last, when all ports are back."""
    parts = {tool: [line for line in lines if vlans.is_line(line) == (tool == "bridge")] for tool in ("ip", "bridge")}
    return {f"{tool} -force -batch -": "\n".join(part) + "\n" for tool, part in parts.items() if part}


def _batch(host, tool, lines, what, subject, force, begin):
    command = [tool, *(["-force"] if force else []), "-batch", "-"]
    rc, out, err = host.run(command, data="\n".join(lines) + "\n", check=False)
    if rc == 0 or force:
        return
    match = re.search(r"Command failed -:(\d+)", err)
    line = int(match.group(1)) - 1 if match else 0
    reason = re.sub(r"\s*Command failed -:\d+\s*", "", err or out).strip() or "no message"
    cure = "This needs root. Set become: true." if os.geteuid() != 0 and "not permitted" in reason else None
    raise CommandFailed(
        f"{what} failed: {reason}", subject, None, cure, cmd=[tool, *(lines[line].split() if line < len(lines) else ())], rc=rc,
        stderr=err, line=begin + line,
    )
