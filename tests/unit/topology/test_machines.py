# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest


def by_name(rows):
    return {one["name"]: one for one in rows}


@pytest.fixture
def machines(lab):
    return by_name(lab.shown()["machines"])


def test_what_each_machine_is(machines):
    assert {name: one["kind"] for name, one in machines.items()} == {
        "kvm1": "kvm", "kvm2": "kvm", "outside1": "machine", "gateway1": "machine",
    }  # fmt: skip
    assert {one["state"] for one in machines.values()} == {"reached"}


def test_the_ways_out(machines):
    assert [(one["name"], one["ports"], one["addresses"]) for one in machines["kvm1"]["uplinks"]] == [
        ("eth0", [], ["10.77.0.11/24", "fd77::11/64"])
    ]
    # The uplink is a port of the bridge, as the tap of a guest is, which is none of its ways out.
    assert [(one["name"], one["ports"], one["addresses"]) for one in machines["kvm2"]["uplinks"]] == [
        ("br0", ["eth0"], ["10.77.0.12/24", "fd77::12/64"])
    ]


def test_all_are_on_one_lan(lab):
    shown = lab.shown()
    assert [(one["name"], one["subnets"]) for one in shown["segments"]] == [("LAN", ["10.77.0.0/24", "fd77::/64"])]
    assert {link["segment"] for one in shown["machines"] for link in one["uplinks"]} == {"s0"}


def test_a_router_leads_to_another_lan(lab):
    second = {**lab.looked["gateway1"]["interfaces"][1], "name": "eth1"}
    second["addresses"] = [{"address": "192.0.2.1/24", "scope": "global", "dynamic": False}]
    lab.looked["gateway1"]["interfaces"].append(second)
    assert [one["name"] for one in lab.shown()["segments"]] == ["LAN", "outside"]


def test_the_networks(machines):
    found = by_name(machines["kvm2"]["networks"])
    assert {name: one["model"] for name, one in found.items()} == {
        "fleet-backend": "isolated", "fleet-campus": "bridged", "fleet-office": "nat", "fleet-services": "routed",
    }  # fmt: skip
    assert found["fleet-office"]["addresses"] == ["10.80.4.1/24", "fd00:80:0:4::1/64"]
    assert (found["fleet-backend"]["vni"], found["fleet-services"]["return_routes"]) == (4711, "bgp")


def test_libvirts_own_network_is_drawn_only_if_it_is_used(lab):
    assert "default" in [one["name"] for one in lab.networks["kvm1"]["networks"]]
    assert "default" not in by_name(by_name(lab.shown()["machines"])["kvm1"]["networks"])
    lab.guests("kvm1")[0]["nics"][0]["network"] = "default"
    assert "default" in by_name(by_name(lab.shown()["machines"])["kvm1"]["networks"])


def test_the_guests_and_their_addresses(machines):
    found = by_name(machines["kvm1"]["guests"])
    assert {name: one["nics"][0]["network"] for name, one in found.items()} == {
        "backend0": "fleet-backend", "office0": "fleet-office", "services0": "fleet-services",
    }  # fmt: skip
    assert found["office0"]["nics"][0]["addresses"] == ["10.80.2.2/24", "fd00:80:0:2:5054:ff:fe0e:f7ac/64"]
    assert found["office0"]["nics"][0]["told_by"] == "guest"


def test_a_guest_without_an_agent_has_what_dhcp_gave_it(lab):
    nic = next(one for one in lab.guests("kvm1") if one["name"] == "office0")["nics"][0]
    nic["addresses"] = None
    found = by_name(by_name(lab.shown()["machines"])["kvm1"]["guests"])["office0"]["nics"][0]
    assert (found["addresses"], found["told_by"]) == (["10.80.2.2/24"], "lease")
    nic["mac"] = "52:54:00:00:00:01"
    found = by_name(by_name(lab.shown()["machines"])["kvm1"]["guests"])["office0"]["nics"][0]
    assert (found["addresses"], found["told_by"]) == ([], None)


def test_a_guest_that_names_a_bridge_is_on_its_network(lab):
    nic = lab.guests("kvm2")[1]["nics"][0]
    nic.update(network=None, link="br0")
    assert by_name(lab.shown()["machines"])["kvm2"]["guests"][1]["nics"][0]["network"] == "fleet-campus"


def test_the_forwards(lab):
    office = by_name(by_name(lab.shown()["machines"])["kvm1"]["networks"])["fleet-office"]
    assert [(one["ports"], one["to"], one["to_ports"], one["mark"]) for one in office["forwards"]] == [
        ("8080", ["10.80.2.2"], "80", "good")
    ]


def test_a_forward_of_no_network_is_that_of_its_target_or_nobodys(lab):
    rows = lab.looked["kvm1"]["forwards"]
    rows[0]["network"] = None
    rows.append({**rows[0], "name": "elsewhere", "to": ["192.0.2.9"]})
    lab.looked["kvm1"]["forwards_total"] = 10000
    host = by_name(lab.shown()["machines"])["kvm1"]
    assert [one["name"] for one in by_name(host["networks"])["fleet-office"]["forwards"]] == ["web"]
    assert ([one["name"] for one in host["forwards"]], host["forwards_more"]) == (["elsewhere"], 9998)


def test_a_session_that_two_tell_of_is_one(lab):
    found = lab.shown()["bgp"]
    assert [(one["asn"], sorted(one["speakers"]), one["sessions"], one["up"]) for one in found] == [
        (64512, ["gateway1", "kvm1", "kvm2", "outside1"], 10, 10)
    ]
    lab.looked["kvm1"]["bgp"]["sessions"][0]["state"] = "Active"
    assert (lab.shown()["bgp"][0]["sessions"], lab.shown()["bgp"][0]["up"]) == (10, 9)


def test_a_segment_over_both_hosts(lab):
    assert [(one["vni"], one["control"], one["ends"]) for one in lab.shown()["tunnels"]] == [
        (4711, "evpn", [["kvm1", "fleet-backend"], ["kvm2", "fleet-backend"]])
    ]


@pytest.mark.parametrize(
    ("result", "state", "why"),
    [
        ({"unreachable": True, "msg": "timed out"}, "unreachable", "timed out"),
        ({"failed": True, "msg": "no libvirt"}, "failed", "no libvirt"), ({}, "failed", ""), (None, "left_out", None),
    ],
)  # fmt: skip
def test_who_could_not_be_asked_is_there_all_the_same(lab, result, state, why):
    del lab.looked["kvm2"]
    if result is not None:
        lab.looked["kvm2"] = result
    found = by_name(lab.shown()["machines"])["kvm2"]
    assert (found["kind"], found["state"], found["why"], found["networks"]) == ("kvm", state, why, [])


def test_a_host_without_libvirt(lab):
    lab.looked["kvm1"]["guests"] = None
    del lab.networks["kvm1"]
    found = by_name(lab.shown()["machines"])["kvm1"]
    assert (found["kind"], found["guests"], found["networks"]) == ("kvm", [], [])
    lab.kvm_hosts = []
    assert by_name(lab.shown()["machines"])["kvm1"]["kind"] == "machine"
