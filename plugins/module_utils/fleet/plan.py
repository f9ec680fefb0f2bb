# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a fleet: what each host gets, and all that is wrong with it, before anything is touched. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import columns, names
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet import clashes, declared
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet.pools import Pools
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet.problems import Problems

_HEADS = ("host", "network", "model", "bridge", "subnets", "guests", "addresses")


def plan(fleet, groups, pools=(), overcommit=1.0):
    """Return the plan of a fleet.

    :param fleet: {host: {networks: [...], guests: [...], found}}, of all KVM hosts of the inventory, in its order; networks and
        guests with the types of their modules' options, found as kvm_host_info returns it, or None.
    :param groups: the inventory's groups, {name: [hosts]}.
    :param pools: [{subnet, prefix}], from which networks without addresses get theirs.
    :param overcommit: how many times a host's memory its guests may have.
    :returns: {networks: {host: [items, complete]}, errors: [text], warnings: [text], table: [text]}
    """
    problems = Problems()
    try:
        rooms = Pools(pools)
    except VirtnetError as error:
        problems.add(None, error)
        rooms = Pools(())
    hosts = declared.machines(fleet)
    placed = declared.place(hosts, groups, problems)
    guests = declared.guests(hosts, problems)
    declared.complete(hosts, placed, guests, rooms, problems)
    everywhere = {}
    for mine in placed.values():
        for one in mine:
            everywhere.setdefault(one.name, []).append(one.host)
    clashes.check(hosts, placed, guests, overcommit, problems)
    return {
        "networks": {host: [_declaration(one, everywhere) for one in mine] for host, mine in placed.items()},
        "errors": problems.lines(),
        "warnings": _warnings(hosts, placed),
        "table": _table(hosts, placed, guests),
    }


def _declaration(one, everywhere):
    """Return an item as somebody would write it for one host: what says nothing is left out.

    Of a stretched network the host has to know the other hosts.
    """
    found = {key: value for key, value in one.item.items() if value is not None and key != "hosts"}
    return {**found, "hosts": everywhere[one.name]} if one.stretched else found


def _warnings(hosts, placed):
    found = []
    for machine in hosts:
        mine = {one.name for one in placed[machine.name]}
        found += [
            f"{machine.name}: the network {name} was made there and is declared for it no more; it stays as it is."
            for name in sorted(machine.stored)
            if name not in mine
        ]
    return found


def _table(hosts, placed, guests):
    rows = [_HEADS]
    for machine in hosts:
        counts = {}
        for guest in guests[machine.name]:
            for network in {nic.network for nic in guest.nics}:
                counts[network] = counts.get(network, 0) + 1
        for one in placed[machine.name]:
            item = one.item
            gone = item.get("state") == "absent"
            bridge = "(macvtap)" if item.get("attach") == "macvtap" else item.get("bridge") or names.bridge_name(one.name)
            subnets = "" if one.network is None or gone else ", ".join(str(each) for each in one.network.subnets)
            rows.append(
                (
                    machine.name, one.name, item.get("model") or "?", bridge, subnets or "-",
                    str(counts.get(one.name, 0)), "absent" if gone else one.origin if subnets else "-",
                )
            )  # fmt: skip
    lines = columns.lines(rows)
    for machine in hosts:
        running = [guest for guest in guests[machine.name] if guest.state == "running"]
        room = "no answer" if machine.found is None else f"of {machine.found['memory_mb']} MiB"
        lines.append(
            f"{machine.name}: {len(placed[machine.name])} networks, {len(guests[machine.name])} guests, "
            f"{sum(guest.memory_mb for guest in running)} {room}"
        )
    return lines
