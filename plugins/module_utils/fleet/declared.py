# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which networks and guests are each host's, complete with the addresses that pools gave. Pure."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import model_stretch, models, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet import pools as pool_of
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet import reservations
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet.problems import some
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import spec
from ansible_collections.virtnet.kvm.plugins.module_utils.links import return_routes

#: Where a network's addresses come from, in the plan's table.
DECLARED, KEPT, GIVEN = "declared", "kept", "new"


@dataclass(eq=False)
class Placed:
    """A network on one of its hosts. C(network) is None until it is complete, and if it cannot be meant."""

    host: str
    option: str
    item: dict
    network: Any = None
    origin: str = DECLARED

    @property
    def name(self):
        return self.item["name"]

    @property
    def stretched(self):
        return model_stretch.is_wanted(self.item)

    @property
    def label(self):
        return f"{self.name} on {self.host} ({self.option})"


@dataclass(frozen=True)
class Machine:
    """A host of the inventory, and what was found there; C(found) is None if nobody asked it or it did not answer."""

    name: str
    networks: list
    guests: list
    found: Optional[dict]

    @functools.cached_property
    def stored(self):
        """Return {name: item} of the networks that the host was told of before."""
        return {one["name"]: one for one in (self.found or {}).get("networks", ())}


def machines(fleet):
    return [
        Machine(name, facts.get("networks") or [], facts.get("guests") or [], facts.get("found"))
        for name, facts in fleet.items()
    ]  # fmt: skip


def place(hosts, groups, problems):
    """Return {host: [Placed]}: of each host's networks those that are for it."""
    everybody = {one for group in groups.values() for one in group} | {one.name for one in hosts}
    kvm = {one.name for one in hosts}
    placed = {}
    for machine in hosts:
        mine = placed.setdefault(machine.name, [])
        for number, item in enumerate(machine.networks):
            option = f"kvm_networks[{number}]"
            wanted = item.get("hosts")
            if wanted is not None and not _is_meant(machine.name, item, option, everybody, kvm, groups, problems):
                continue
            for place, peer in enumerate((item.get("return_routes") or {}).get("peers") or ()):
                _hosts_of(peer, everybody, groups, item["name"], f"{option}.return_routes.peers[{place}]", problems)
            if item.get("state") == "absent" and not item.get("model"):
                # Which role takes it down is known from what the host was told.
                item = {**item, "model": machine.stored.get(item["name"], {}).get("model") or "isolated"}
            mine.append(Placed(machine.name, option, item))
    return placed


def _is_meant(host, item, option, everybody, kvm, groups, problems):
    """Return whether a host is among C(hosts) of an item, hosts or groups; say which of those nobody knows."""
    meant = False
    for number, name in enumerate(item["hosts"]):
        path = f"{option}.hosts[{number}]"
        found = _hosts_of(name, everybody, groups, item["name"], path, problems)
        if found == [name] and name not in kvm:
            problems.refuse(
                None, f"{name} is not among the KVM hosts", item["name"], path, f"Those are {some(sorted(kvm))}."
            )
        meant = meant or host in found
    return meant


def _hosts_of(name, everybody, groups, subject, option, problems):
    """Return the hosts of a name of a host or group; none of one that the inventory does not know, which is noted."""
    try:
        return return_routes.hosts_of(name, everybody, groups, option, subject)
    except VirtnetError as error:
        problems.add(None, error)
        return []


def wants_addresses(item):
    """Return whether a network needs an address of the host's and has none."""
    if item.get("addresses") is not None or item.get("state") == "absent":
        return False
    return item.get("model") in ("routed", "nat") or (item.get("model") == "isolated" and item.get("dhcp") is not None)


def complete(hosts, placed, guests, pools, problems):
    """Give networks without addresses those that they have already, else new ones; then read all of them.

    :param guests: {host: [Guest]}, for port forwards that name one.

    Hosts that nobody could ask may have what they were given before, so nothing new is given as long as such a host has
    networks that live on pools.
    """
    by_name = {one.name: one for one in hosts}
    waiting = {}
    for host, mine in placed.items():
        stored = by_name[host].stored
        for one in mine:
            if not wants_addresses(one.item):
                continue
            before = stored.get(one.name, {})
            if before.get("addresses"):
                _give(one, before["addresses"], KEPT)
            else:
                waiting[one] = None
    waiting = _agree(placed, waiting)

    def read(one):
        one.item = reservations.complete(one.item, guests[one.host], by_name[one.host].stored.get(one.name, {}))
        try:
            one.network = models.parse_network(one.item, one.option)
        except VirtnetError as error:
            problems.add(one.host, error)

    for mine in placed.values():
        for one in mine:
            if one not in waiting:
                read(one)
    if waiting:
        _allocate(hosts, placed, waiting, pools, problems, read)


def _agree(placed, waiting):
    """Give a stretched network on a new host what it has on the others, declared or kept; return who still waits."""
    known = {}
    for mine in placed.values():
        for one in mine:
            if one.stretched and one.item.get("addresses"):
                known.setdefault(one.name, one.item["addresses"])
    left = {}
    for one in waiting:
        if one.stretched and one.name in known:
            _give(one, known[one.name], KEPT)
        else:
            left[one] = None
    return left


def _allocate(hosts, placed, waiting, pools, problems, read):
    waits = {one.host for one in waiting}
    silent = [machine.name for machine in hosts if machine.found is None and machine.name in waits]
    if not pools.pools:
        for one in waiting:
            if one.item.get("model") == "nat":
                problems.refuse(
                    one.host, "it has no addresses", one.name, f"{one.option}.addresses",
                    "Give the gateway as 10.64.100.1/24, or have kvm_address_pools.",
                )
            else:
                read(one)
        return
    asked = [one for one in waiting if one.host not in silent]
    if silent and asked:
        wanted = some(list(dict.fromkeys(one.label for one in asked)))
        problems.refuse(
            None, f"new subnets are wanted for {wanted}, but {some(silent)} did not say what was given there", None,
            "kvm_address_pools", "Make them reachable, give addresses, or take them out of the inventory.",
        )  # fmt: skip
        return
    if silent:
        # Nobody gets anything new, and what these hosts have is theirs.
        return
    pools.take(_taken(hosts, placed, [one.subnet for one in pools.pools]))
    given = {}
    for one in waiting:
        key = one.name if one.stretched else (one.host, one.name)
        try:
            if key not in given:
                given[key] = [pool_of.gateway(subnet) for subnet in pools.give(one.name)]
        except VirtnetError as error:
            problems.add(one.host, error)
            continue
        _give(one, given[key], GIVEN)
        read(one)


def _give(one, addresses, origin):
    """Complete an item with its addresses, and a DHCP range if it has DHCP and says none."""
    one.item = {**one.item, "addresses": list(addresses)}
    one.origin = origin
    dhcp = one.item.get("dhcp")
    if dhcp is None or dhcp.get("ranges") is not None:
        return
    subnets = [values.ip_interface(text).network for text in addresses]
    ranges = [pool_of.dhcp_range(subnet) for subnet in subnets if subnet.version == 4][:1]
    one.item["dhcp"] = {**dhcp, "ranges": ranges}


def _taken(hosts, placed, pools):
    """Return all subnets that are somebody's: networks declared anywhere, told to any host, attached to or routed by one.

    A route through a gateway that has room for a whole pool is a site's 10.0.0.0/8, and no hindrance.
    """
    found = []
    for mine in placed.values():
        for one in mine:
            if one.network is not None:
                found += one.network.subnets
    for machine in hosts:
        if machine.found is None:
            continue
        for item in machine.found["networks"]:
            texts = [*(item.get("addresses") or ()), *(item.get("subnets") or ())]
            found += [values.ip_interface(text).network for text in texts]
        found += [subnet for _link, subnet in attached(machine.found["interfaces"])]
        found += [
            subnet for _link, via, subnet in routes(machine.found["interfaces"])
            if not (via and any(one.version == subnet.version and one.subnet_of(subnet) for one in pools))
        ]  # fmt: skip
    return found


def attached(interfaces):
    """Return [(link, subnet)] of a host's own global addresses."""
    return [
        (row["name"], values.ip_interface(one["address"]).network)
        for row in interfaces
        for one in row["addresses"]
        if one["scope"] == "global"
    ]


def routes(interfaces):
    """Return [(link, gateway or None, subnet)] of a host's routes that are narrower than everything."""
    found = []
    for row in interfaces:
        for one in row["routes"]:
            subnet = values.ip_network(one["to"])
            if subnet.prefixlen and not subnet.is_link_local and not subnet.is_multicast:
                found.append((row["name"], one["via"], subnet))
    return found


def guests(hosts, problems):
    """Return {host: [spec.Guest]}: of each host's guests those that are for it and not to go."""
    known = {one.name for one in hosts}
    found = {}
    for machine in hosts:
        mine = found.setdefault(machine.name, [])
        for number, item in enumerate(machine.guests):
            option = f"kvm_guests[{number}]"
            where = item.get("host")
            if where is not None and where not in known:
                problems.refuse(
                    None, f"{where} is not among the KVM hosts", item["name"], f"{option}.host",
                    f"Those are {some(sorted(known))}.",
                )
            if where not in (None, machine.name) or item.get("state") == "absent":
                continue
            try:
                mine.append(spec.parse_guest(item, machine.name, option))
            except VirtnetError as error:
                problems.add(machine.name, error)
    return found
