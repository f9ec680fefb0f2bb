# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which links the controller's way to this host leads through."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass
from typing import Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, iproute2

_TAPS = ("tap", "tun")


def _connection():
    """Return the words of SSH_CONNECTION (sshd(8)): the client's address and port, this host's; empty without.

    sudo(8) drops it from the environment, so the processes above this one are asked.
    """
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as handle:
                found = [one for one in handle.read().split(b"\0") if one.startswith(b"SSH_CONNECTION=")]
            if found:
                return found[0].decode().partition("=")[2].split()
            pid = int((files.read(f"/proc/{pid}/stat") or "0").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return []
    return []


def client():
    """Return the address that this run's SSH connection comes from, a link-local one with its link (fe80::1%eth0), or None."""
    words = _connection()
    return words[0] if words else None


def _link_towards(host, address):
    row, _why = iproute2.way_to(host, address)
    return row.get("dev") if row else None


@dataclass(frozen=True)
class Entrance:
    """Where this run's SSH connection came in: the addresses of both ends, this host's port and link."""

    client: object
    address: object
    port: int
    link: Optional[str]


def entrance(host):
    """Return the Entrance of this run; None without SSH."""
    words = _connection()
    if len(words) != 4:
        return None
    address, _percent, link = words[0].partition("%")
    ends = [ipaddress.ip_address(one.partition("%")[0]) for one in (words[0], words[2])]
    # A daemon that listens for both versions on one socket may see an IPv4 address inside one of IPv6.
    client_end, own_end = (getattr(one, "ipv4_mapped", None) or one for one in ends)
    return Entrance(client_end, own_end, int(words[3]), link or _link_towards(host, address))


def look(host):
    """Return (links of the way, those of them that are bridges, addresses at its other ends and their MAC addresses)."""
    links = iproute2.read(host)
    names, ends = way(host, links)
    bridges = {name for name in names if links[name].kind == "bridge"}
    # Only a bridge looks at MAC addresses.
    return names, bridges, ends | (_macs(host, ends) if bridges else set())


def _macs(host, addresses):
    _rc, out, _err = host.run(["ip", "-j", "neigh"], check=False)
    return {row["lladdr"] for row in json.loads(out or "[]") if row.get("dst") in addresses and "lladdr" in row}


def way(host, links):
    """Return (names of links, addresses): those that lead to the SSH client and to the default gateways, and these themselves.

    :param links: {name: forms.Link} of the host.
    """
    ends, towards = set(), set()
    peer = client()
    if peer is not None:
        address, _percent, link = peer.partition("%")
        ends.add(address)
        towards.add(link or _link_towards(host, address))
    for link in links.values():
        for one in [*forms.all_routes(link.form), *filter(None, map(forms.route, link.dynamic_routes))]:
            if forms.is_default(one["to"]):
                towards.add(link.name)
                ends |= {one["via"]} - {None}
    return below(links, towards), ends


def below(links, names):
    """Return the links C(names), with those they stand on and the bridges they are in. Pure."""
    found, todo = set(), [name for name in names if name in links]
    while todo:
        name = todo.pop()
        if name in found or links[name].kind == "loopback":
            continue
        found.add(name)
        link = links[name]
        todo += [one for one in (link.form["bridge"], link.row.get("link")) if one in links]
        # Guests come in through taps, the controller does not.
        todo += [one for one in link.ports if links[one].kind not in _TAPS]
    return found


def leads_elsewhere(lines, ends):
    """Return whether lines of ip -batch may draw the way to one of C(ends) onto another link. Pure."""
    known = [ipaddress.ip_address(one) for one in ends]
    for words in (line.split() for line in lines):
        if words[:2] in (["route", "replace"], ["address", "replace"]):
            to = ipaddress.ip_interface(words[2]).network
            if any(to.version == one.version and one in to for one in known):
                return True
    return False
