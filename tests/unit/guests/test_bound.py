# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests' ports are bound before a NIC is plugged in and freed after it went, and nobody else's are touched."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.bound import Bound
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan


class Ports:
    """firewall.ports.Ports, in memory."""

    def __init__(self, **ports):
        self.ports = {(link, mac): {"guest": guest, "network": network} for link, (mac, guest, network) in ports.items()}
        self.changes, self.broken = 0, False

    def load(self):
        return dict(self.ports)

    def change(self, gone, new):
        if self.broken:
            raise CommandFailed("nft says no")
        self.changes += 1
        self.ports = {**{key: port for key, port in self.ports.items() if key not in gone}, **new}


OTHERS = {"vp9": ("m9", "other", "a")}


def nic(dev, mac, network="a"):
    return {"dev": dev, "mac": mac, "network": network}


def planned(ports, wants, domains=("other", "vm0", "vm1")):
    """Return (Bound, its operations) when C(wants), {guest: NICs}, are declared."""
    bound, plan = Bound("guest", ports), Plan({}, [Op("guest", name, "start") for name in wants])
    bound.gather()
    for guest, nics in wants.items():
        bound.want(guest, guest, nics)
    bound.plan(plan, domains)
    return bound, plan.ops


def told(ops):
    return [(op.name, op.op) for op in ops]


def test_before_and_after_all_else_and_once():
    ports = Ports(vg1=("m1", "vm0", "a"), vg3=("m3", "vm1", "a"), **OTHERS)
    bound, ops = planned(ports, {"vm0": [nic("vg2", "m2")], "vm1": [nic("vg4", "m4")]})
    assert told(ops) == [
        ("vm0", "bind"), ("vm1", "bind"), ("vm0", "start"), ("vm1", "start"), ("vm0", "unbind"), ("vm1", "unbind"),
    ]  # fmt: skip
    for op in ops[:2]:
        bound.apply(op)
    assert ports.changes == 1 and set(ports.ports) == {(f"vg{one}", f"m{one}") for one in (1, 2, 3, 4)} | {("vp9", "m9")}
    for op in ops[4:]:
        bound.apply(op)
    assert ports.changes == 2 and set(ports.ports) == {("vg2", "m2"), ("vg4", "m4"), ("vp9", "m9")}
    assert told(planned(ports, {"vm0": [nic("vg2", "m2")], "vm1": [nic("vg4", "m4")]})[1]) == [("vm0", "start"), ("vm1", "start")]


def test_links_without_a_name_of_their_own_or_a_network():
    wants = {"vm0": [nic("vnet3", "m1"), nic(None, "m2"), nic("macvtap0", "m3"), nic("vg1", "m4", None), nic("vnetx", "m5")]}
    _bound, ops = planned(Ports(), wants)
    assert ops[0].args["new"] == {("vnetx", "m5"): {"guest": "vm0", "network": "a"}}


def test_a_port_of_two_networks_is_of_the_first():
    _bound, ops = planned(Ports(), {"vm0": [nic("vg1", "m1", "b"), nic("vg1", "m1", "a")]})
    assert ops[0].args["new"]["vg1", "m1"]["network"] == "b"


def test_ports_of_domains_that_are_gone_go():
    ports = Ports(vg1=("m1", "gone", "a"), **OTHERS)
    bound, ops = planned(ports, {"vm0": []})
    assert told(ops) == [("vm0", "start"), ("gone", "unbind")] and "domain is gone" in ops[1].note
    bound.apply(ops[1])
    assert set(ports.ports) == {("vp9", "m9")}


def test_what_is_taken_back():
    ports = Ports(vg1=("m1", "vm0", "a"), **OTHERS)
    before = ports.load()
    bound, ops = planned(ports, {"vm0": [nic("vg1", "m1", "b"), nic("vg2", "m2")]})
    bound.apply(ops[0])
    assert ports.ports["vg1", "m1"]["network"] == "b"
    bound.revert(ops[0])
    assert ports.ports == before
    bound, ops = planned(ports, {"vm0": []})
    bound.apply(ops[-1])
    bound.revert(ops[-1])
    assert ports.ports == before


def test_an_object_that_failed_keeps_its_ports():
    ports = Ports(vg1=("m1", "vm0", "a"), vg3=("m3", "vm1", "a"))
    bound, ops = planned(ports, {"vm0": [], "vm1": []})
    bound.failed.add("vm0")
    bound.apply(ops[-1])
    assert set(ports.ports) == {("vg1", "m1")}


def test_a_failure_is_everybodys_until_it_works():
    ports = Ports()
    bound, ops = planned(ports, {"vm0": [nic("vg1", "m1")], "vm1": [nic("vg2", "m2")]})
    ports.broken = True
    for op in ops[:2]:
        with pytest.raises(CommandFailed):
            bound.apply(op)
    assert ports.ports == {}


def test_without_ports_nothing_is_asked():
    bound, ops = planned(None, {"vm0": [nic("vg1", "m1")]})
    assert told(ops) == [("vm0", "start")] and bound.of("vm0") == {}
