# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cannot stand side by side in a fleet: subnets, bridges, MAC addresses, guests. Both parties are named. Pure."""

from __future__ import annotations

import bisect
import itertools

from ansible_collections.virtnet.kvm.plugins.module_utils import model_checks, values
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet import declared
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet.problems import some


def check(hosts, placed, guests, overcommit, problems):
    """Note all that clashes.

    :param placed: {host: [Placed]}.
    :param guests: {host: [Guest]}.
    :param overcommit: how many times a host's memory its guests may have.
    """
    told = set()
    for machine in hosts:
        mine = placed[machine.name]
        for error in model_checks.conflicts([one.network for one in mine if one.network is not None]):
            problems.add(machine.name, error)
            if error.option.endswith(".addresses"):
                told.add((machine.name, error.subject))
        _policies(machine, mine, problems)
        _forwards(mine, problems)
    _subnets(placed, told, problems)
    _vnis(placed, problems)
    _surroundings(hosts, placed, problems)
    for machine in hosts:
        if machine.found is not None:
            _capacity(machine, placed[machine.name], guests[machine.name], overcommit, problems)
    _guests(hosts, placed, guests, problems)


def _wanted(mine):
    return [one for one in mine if one.network is not None and one.network.wanted]


def _policies(machine, mine, problems):
    """What a policy opens must be there, be it that others declare it."""
    names = {one.name for one in mine if one.item.get("state") != "absent"} | set(machine.stored)
    for one in _wanted(mine):
        for number, access in enumerate(one.network.policy.allow_to):
            if access.network not in names:
                problems.refuse(
                    one.host, f"the network {access.network} is not on this host", one.name,
                    f"{one.option}.policy.allow_to[{number}].network", "Declare it for this host too.",
                )  # fmt: skip


def _forwards(mine, problems):
    """A port forward by a guest's name needs the address that is reserved for it."""
    for one in _wanted(mine):
        rows = (one.network.dhcp.reservations if one.network.dhcp else None) or ()
        names = {row.name for row in rows}
        for number, forward in enumerate(one.network.port_forwards):
            if forward.to_guest is not None and forward.to_guest not in names:
                problems.refuse(
                    one.host, f"the guest {forward.to_guest} has no reservation in this network, nor a NIC that asks it for DHCP",
                    one.name, f"{one.option}.port_forwards[{number}].to.guest", "Declare it in kvm_guests, or give to.address.",
                )  # fmt: skip


def _subnets(placed, told, problems):
    """Subnets of networks of several hosts, as far as anybody must be able to tell them apart.

    :param told: {(host, network)} of those that clash already; one clash a network is enough to find it.
    """
    by_network = {id(one.network): one for mine in placed.values() for one in _wanted(mine)}
    # Nobody outside ever sees the addresses of isolated guests.
    shown = [one.network for one in by_network.values() if one.network.model != "isolated"]
    for later, mine, earlier, theirs in model_checks.overlaps(shown, lambda network: _party(by_network[id(network)])):
        one, other = by_network[id(later)], by_network[id(earlier)]
        if (one.host, one.name) in told or not _apart(one, other):
            continue
        told.add((one.host, one.name))
        problems.refuse(
            one.host, f"its subnet {mine} overlaps {theirs} of {other.label}", one.name, f"{one.option}.addresses",
            "Give each its own.",
        )  # fmt: skip


def _party(one):
    """Return what is one party against all others: the same NAT network on each host, say, is no clash in itself."""
    if one.stretched or one.network.model == "bridged":
        return (one.network.model, one.name)
    return (one.host, one.name) if one.network.model == "routed" else one.network.model


def _apart(one, other):
    """Return whether two hosts' networks need subnets of their own: NAT guests nobody sees, of routed ones anybody does."""
    if one.name == other.name and one.stretched and other.stretched:
        return False
    models = {one.network.model, other.network.model}
    return "routed" in models or models == {"nat", "bridged"}


def _vnis(placed, problems):
    """A VXLAN network identifier is one network's, and a network has one, wherever it is."""
    by_vni, by_name = {}, {}
    for mine in placed.values():
        for one in _wanted(mine):
            if not one.stretched:
                continue
            vni = one.network.stretch.vni
            other = by_vni.setdefault(vni, one)
            if other.name != one.name and other.host != one.host:
                problems.refuse(
                    one.host, f"the VNI {vni} is also that of {other.label}", one.name, f"{one.option}.stretch.vni",
                    "Give each stretched network its own.",
                )  # fmt: skip
            other = by_name.setdefault(one.name, one)
            if other.network.stretch.vni != vni:
                problems.refuse(
                    one.host, f"its VNI is {vni}, and {other.network.stretch.vni} as {other.label}", one.name,
                    f"{one.option}.stretch.vni", "Declare it alike on all its hosts.",
                )  # fmt: skip
            elif other.network.model != one.network.model or other.network.addresses != one.network.addresses:
                problems.refuse(
                    one.host, f"it is not what it is as {other.label}", one.name, f"{one.option}.stretch",
                    "Declare model and addresses of a stretched network alike on all its hosts.",
                )  # fmt: skip


def _surroundings(hosts, placed, problems):
    """Networks of all hosts against what each host has of itself: its links, its LAN, its routes."""
    index = Index(one for mine in placed.values() for one in _wanted(mine) if one.network.model != "bridged")
    found = {}
    for machine in hosts:
        if machine.found is None:
            continue
        interfaces = machine.found["interfaces"]
        _links(machine, placed[machine.name], {row["name"]: row for row in interfaces}, problems)
        inward = _inward(machine, placed[machine.name])
        here = [(link, subnet) for link, subnet in declared.attached(interfaces) if link not in inward]
        for link, subnet in here:
            found.setdefault((subnet, "link", False), {}).setdefault(machine.name, link)
        attached = {subnet for _link, subnet in here}
        for link, via, subnet in declared.routes(interfaces):
            # A route to a planned network is how its host is found.
            if link not in inward and subnet not in attached and not (via and subnet in index.subnets):
                found.setdefault((subnet, "route", bool(via)), {}).setdefault(machine.name, link)
    for (subnet, kind, via), links in found.items():
        for mine, one in reversed(list(index.overlapping(subnet))):
            if not model_checks.in_the_way(mine, subnet, via):
                continue
            # Others meet routed networks only.
            host = one.host if one.host in links else next(iter(links)) if one.network.model == "routed" else None
            if host is not None:
                whose = "this host's" if host == one.host else f"{host}'s"
                what = f"{subnet} of {whose} link" if kind == "link" else f"{whose} route to {subnet} on"
                problems.refuse(
                    one.host, f"its subnet {mine} overlaps {what} {links[host]}", one.name, f"{one.option}.addresses",
                    "Choose another subnet.",
                )  # fmt: skip


class Index:
    """Subnets of networks, to be asked which overlap another one."""

    def __init__(self, rows):
        self._rows: dict = {4: [], 6: []}
        self.subnets = set()
        for one in rows:
            for subnet in one.network.subnets:
                self.subnets.add(subnet)
                self._rows[subnet.version].append((int(subnet.network_address), int(subnet.broadcast_address), subnet, one))
        self._starts, self._reach = {}, {}
        for version, mine in self._rows.items():
            mine.sort(key=lambda row: row[:2])
            self._starts[version] = [row[0] for row in mine]
            self._reach[version] = list(itertools.accumulate((row[1] for row in mine), max))

    def overlapping(self, subnet):
        """Yield (its subnet, network) of each that overlaps C(subnet), from the last to the first."""
        rows, reach = self._rows[subnet.version], self._reach[subnet.version]
        place = bisect.bisect_right(self._starts[subnet.version], int(subnet.broadcast_address)) - 1
        while place >= 0 and reach[place] >= int(subnet.network_address):
            if rows[place][1] >= int(subnet.network_address):
                yield rows[place][2:]
            place -= 1


def _inward(machine, mine):
    """Return the names of links that lead into networks that are planned, or were made: no strangers."""
    names = {one.network.bridge for one in _wanted(mine)} | {item.get("bridge") for item in machine.stored.values()}
    return names | {row["name"] for row in machine.found["interfaces"] if row["owned"] or row["manager"] == "libvirt"}


def _links(machine, mine, links, problems):
    """A link of a bridge's name that is somebody else's; a bridged network takes a bridge as it is."""
    for one in _wanted(mine):
        row = links.get(one.network.bridge)
        if row is None or one.network.model == "bridged" or one.name in machine.stored:
            continue
        if not row["owned"] and row["manager"] != "libvirt":
            problems.refuse(
                one.host, f"the link {one.network.bridge} is there already and is not this network's", one.name,
                f"{one.option}.bridge", "Choose another name, or remove the link.",
            )  # fmt: skip


def _capacity(machine, mine, guests, overcommit, problems):
    """What a host has room for: its guests' memory, and of each its processors."""
    running = [guest for guest in guests if guest.state == "running"]
    names = {guest.name for guest in guests}
    others = [one for one in machine.found.get("guests") or () if one["active"] and one["name"] not in names]
    wanted, there = sum(guest.memory_mb for guest in running), machine.found["memory_mb"]
    taken = sum(one["memory_mb"] for one in others)
    if running and wanted + taken > there * overcommit:
        besides = f", {len(others)} others have {taken}" if others else ""
        problems.refuse(
            machine.name, f"its {len(running)} guests want {wanted} MiB of memory{besides}, the host has {there}", None,
            "kvm_guests", "Give them less, place some elsewhere, or raise kvm_memory_overcommit.",
        )  # fmt: skip
    for guest in running:
        if guest.vcpus > machine.found["processors"]:
            problems.refuse(
                machine.name, f"{guest.vcpus} processors, the host has {machine.found['processors']}", guest.name,
                f"{guest.option}.vcpus", "Give it fewer.",
            )  # fmt: skip


def _guests(hosts, placed, guests, problems):
    """Guests against networks, one another and the addresses that are reserved."""
    # Networks that others made there, libvirt's own default say; nothing is known of them but that they are there.
    others = {
        one.name: ({*((one.found or {}).get("libvirt_networks") or ()), *one.stored} - {each.name for each in placed[one.name]})
        for one in hosts
    }
    where = {}
    for mine in placed.values():
        for one in mine:
            if one.item.get("state") != "absent":
                where.setdefault(one.name, []).append(one.host)
    segments = {}
    for host, mine in guests.items():
        here = {one.name: one for one in placed[host] if one.item.get("state") != "absent"}
        names = {}
        clients = {}
        for guest in mine:
            other = names.setdefault(guest.name, guest)
            if other is not guest:
                problems.refuse(
                    host, f"the guest is declared twice, as {other.option} too", guest.name, f"{guest.option}.name",
                    "Declare it once.",
                )  # fmt: skip
            for nic in guest.nics:
                one = here.get(nic.network)
                if one is None and nic.network not in others[host]:
                    _no_network(host, guest, nic, where, problems)
                elif one is not None and one.network is not None:
                    _in_network(host, guest, nic, one, segments, clients, problems)
        for name, count in clients.items():
            _leases(here[name], count, problems)


def _no_network(host, guest, nic, where, problems):
    others = where.get(nic.network)
    cure = f"It is on {some(others)}." if others else "Declare it in kvm_networks."
    problems.refuse(host, f"the network {nic.network} is not on this host", guest.name, f"{nic.option}.network", cure)


def _segment(one):
    """Return what tells the segments of guests apart: that of bridged networks is the LAN, on whichever host."""
    if one.network.model == "bridged":
        return ("bridged", one.name)
    return ("stretched", one.name) if one.stretched else (one.host, one.name)


def _in_network(host, guest, nic, one, segments, clients, problems):
    network, who = one.network, f"{guest.name} on {host} ({nic.option})"
    taken = segments.setdefault(_segment(one), {})
    if not taken:
        for number, row in enumerate((network.dhcp.reservations if network.dhcp else None) or ()):
            taken[str(row.address)] = (row.mac, f"{one.option}.dhcp.reservations[{number}]")
        for each in network.addresses or ():
            taken[str(each.ip)] = (None, f"the gateway of {one.name}")
    other = taken.setdefault(nic.mac, (nic.mac, who))
    if other[1] != who:
        problems.refuse(
            host, f"the MAC address {nic.mac} is also that of {other[1]}", guest.name, f"{nic.option}.mac", "Choose another one."
        )
    for number, text in enumerate(nic.addresses):
        option = f"{nic.option}.addresses[{number}]"
        if text == "dhcp":
            clients[one.name] = clients.get(one.name, 0) + (0 if _reserved(network, nic) else 1)
            if network.model != "bridged" and network.dhcp is None and network.addresses is not None and not _foreign(one):
                problems.refuse(
                    host, f"it asks for DHCP, and {one.name} ({one.option}) has none", guest.name, option,
                    "Give the network dhcp, or the guest an address.",
                )  # fmt: skip
            continue
        address = text.partition("/")[0]
        subnets = [each for each in network.subnets if (each.version == 6) == (":" in text)]
        if subnets and not any(_holds(each, text) for each in subnets):
            problems.refuse(
                host, f"the address {text} is in no subnet of {one.name} ({one.option})", guest.name, option,
                f"Keep it inside {' or '.join(str(each) for each in subnets)}.",
            )  # fmt: skip
        owner = taken.setdefault(address, (nic.mac, who))
        if owner[0] != nic.mac:
            problems.refuse(
                host, f"the address {address} is also that of {owner[1]}", guest.name, option, "Choose another one."
            )


def _holds(subnet, text):
    interface = values.ip_interface(text)
    return interface.ip in subnet and interface.network.prefixlen == subnet.prefixlen


def _foreign(one):
    """IPv6 guests have their addresses of router advertisements, without DHCP."""
    return any(each.version == 6 for each in one.network.addresses or ())


def _reserved(network, nic):
    rows = network.dhcp.reservations if network.dhcp else None
    return any(row.mac == nic.mac and row.address.version == 4 for row in rows or ())


def _leases(one, count, problems):
    """A DHCP range must have an address for each guest that nothing is reserved for."""
    ranges = [row for row in (one.network.dhcp.ranges if one.network.dhcp else None) or () if row.start.version == 4]
    room = sum(int(row.end) - int(row.start) + 1 for row in ranges)
    if ranges and count > room:
        problems.refuse(
            one.host, f"{count} guests ask it for DHCP, and its ranges have {room} addresses", one.name,
            f"{one.option}.dhcp.ranges", "Widen the ranges.",
        )  # fmt: skip
