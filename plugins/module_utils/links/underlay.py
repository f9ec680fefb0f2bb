# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks over several hosts: by which addresses these reach each other, how large a packet may be, who serves DHCP. Pure.

Each host works this out for itself, from the same facts, and comes to the same.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from ansible_collections.virtnet.kvm.plugins.module_utils import model_stretch, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.links import return_routes

#: The variable with which a host says its address on the underlay itself.
VARIABLE = "kvm_underlay_address"


@dataclass(frozen=True)
class Facts:
    """What is known of a host: rows of host_iface_info, the address that it was given, and the one that Ansible knows it by."""

    links: Any = None
    address: Any = None
    reached: Any = None

    def facing(self, version):
        """Return the addresses of an IP version by which others know it, as interfaces."""
        if self.links is not None:
            return return_routes.facing(self.links, version)
        return [ipaddress.ip_interface(self.reached)] if self.reached is not None and self.reached.version == version else []


def members(item, here, play, order, where):
    """Return the names of the hosts of an item, in the inventory's order."""
    named = list(dict.fromkeys(item.get("hosts") or play))
    if here not in named:
        raise InvalidInput(f"{here} is not one of its hosts", item["name"], f"{where}.hosts", "Leave it out on this host.")
    if len(named) < 2:
        raise InvalidInput(
            f"its only host is {here}", item["name"], f"{where}.hosts",
            "Name all of its hosts, which a run of some of them (--limit) has to know, too.",
        )  # fmt: skip
    for number, name in enumerate(item.get("hosts") or ()):
        if name not in order:
            raise InvalidInput(
                f"the inventory has no host {name}", item["name"], f"{where}.hosts[{number}]", "See ansible-inventory --list."
            )
    return sorted(named, key=order.index)


def complete(items, here, play, order, facts, option="networks"):
    """Return the items, those that are stretched with C(local), C(peers), C(serves) and their MTU.

    :param here: the host whose items they are.
    :param play: names of the hosts of the play, who have a network that names none.
    :param order: names of all hosts of the inventory.
    :param facts: {host: Facts}.
    """
    found = []
    for number, item in enumerate(items):
        found.append(_one(item, here, play, order, facts, f"{option}[{number}]") if model_stretch.is_wanted(item) else item)
    return found


def _one(item, here, play, order, facts, where):
    stretch = item["stretch"]
    hosts = members(item, here, play, order, where)
    server = stretch.get("dhcp_host") or hosts[0]
    if server not in hosts:
        raise InvalidInput(f"{server} is not one of its hosts", item["name"], f"{where}.stretch.dhcp_host", "Name one of them.")
    given = dict(stretch)
    if given.get("local") is None or given.get("peers") is None:
        known = addresses(hosts, facts, item["name"], where)
        given["local"] = str(known[here])
        given["peers"] = [str(known[one]) for one in hosts if one != here]
    else:
        known = {here: values.address(given["local"], f"{where}.stretch.local", item["name"])}
    if given.get("serves") is None:
        given["serves"] = here == server
    return {**item, "stretch": given, **_mtu(item, known, facts, where)}


def addresses(hosts, facts, subject, where):
    """Return {host: its address on the underlay}: of a subnet that all share, else that by which each faces the world.

    Of a host that could not be asked, Ansible's own address for it counts if it is in that subnet.
    """
    given = {one: facts[one].address for one in hosts if facts.get(one, Facts()).address is not None}
    asked = [one for one in hosts if one not in given]
    silent = [one for one in asked if facts.get(one, Facts()).links is None]
    versions = {one.version for one in given.values()}
    if len(versions) > 1:
        names = " and ".join(given)
        raise InvalidInput(f"{names} have addresses of two IP versions", subject, VARIABLE, "Give all of them one version.")
    for version in sorted(versions or {4, 6}):
        facing = {one: facts.get(one, Facts()).facing(version) for one in asked}
        found = _chosen(facing, silent) if all(facing.values()) else None
        if found is not None:
            return {**given, **found}
    if silent:
        raise InvalidInput(
            f"the address of {silent[0]} is not known: it takes no part in this run", subject, f"{where}.stretch.peers",
            f"Run it on all of its hosts, or give {silent[0]} the variable {VARIABLE}.",
        )
    raise InvalidInput(
        f"{' and '.join(asked)} have no addresses of one IP version", subject, f"{where}.stretch",
        f"Give each host the variable {VARIABLE}.",
    )


def _chosen(facing, silent):
    """Return {host: address}; the first subnet, as the first host sees them, in which all have one. None if it cannot be said."""
    first = next((its for host, its in facing.items() if host not in silent), [])
    for mine in first:
        shared = {
            host: next((one for one in its if one.network == mine.network or (host in silent and one.ip in mine.network)), None)
            for host, its in facing.items()
        }
        if all(shared.values()):
            return {host: one.ip for host, one in shared.items()}
    return None if silent else {host: its[0].ip for host, its in facing.items()}


def _mtu(item, known, facts, where):
    """Return {mtu} of a network, as large as all underlays that are known carry it."""
    found = []
    for host, address in known.items():
        for row in facts.get(host, Facts()).links or ():
            if any(ipaddress.ip_interface(one["address"]).ip == address for one in row["addresses"]):
                found.append((row["mtu"] - model_stretch.OVERHEAD[address.version], host, row["name"], row["mtu"]))
    if not found:
        return {}
    most, host, link, carries = min(found)
    declared = item.get("mtu")
    if declared is None:
        return {"mtu": most}
    if declared == 0 or declared > most:
        raise InvalidInput(
            f"the MTU {declared or 'of a bridge'} is too large for VXLAN over {link} of {host}, which has {carries}",
            item["name"], f"{where}.mtu", f"Use at most {most}, or leave it out.",
        )  # fmt: skip
    return {}
