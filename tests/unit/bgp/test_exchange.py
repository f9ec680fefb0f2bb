# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.filter import bgp_exchange as filters
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import speaker

GROUPS = {"kvm_hosts": ["kvm1", "kvm2", "kvm3"], "gateway": ["gateway1"], "outside": ["outside1"]}


def network(number, mode="bgp", peers=None, **more):
    return {
        "name": "routenet", "model": "routed", "addresses": [f"10.10.{number}.100/24", f"fd00:10:{number}::100/64"],
        "return_routes": {"mode": mode, **({"peers": peers} if peers is not None else {})}, **more,
    }  # fmt: skip


def offer(host, *networks, peers=(), asn=64512, neighbors=(), accept=()):
    return filters.bgp_offer(list(networks), host, asn, peers, GROUPS, neighbors, accept)


def link(*addresses, name="eth0", kind="physical", default=True):
    rows = [{"address": one, "scope": "global", "dynamic": False} for one in addresses]
    routes = [{"to": "0.0.0.0/0", "via": "10.77.0.1", "metric": None, "protocol": "static"}] if default else []
    return {"name": name, "type": kind, "addresses": rows, "routes": routes, "ports": [], "manager": None}


LINKS = {
    **{f"kvm{n}": [link(f"10.77.0.1{n}/24", f"fd77::1{n}/64")] for n in (1, 2, 3)},
    "gateway1": [link("10.77.0.1/24", "fd77::1/64")], "outside1": [link("10.77.0.2/24")],
}  # fmt: skip
MESH = {f"kvm{n}": offer(f"kvm{n}", network(109 + n, peers=["gateway"] if n == 1 else None)) for n in (1, 2, 3)}


def part(me, offers=None, links=None, asns=None):
    asns = asns or {"gateway1": 64512, "outside1": 65001}
    found = filters.bgp_part(MESH if offers is None else offers, me, links or LINKS, asns)
    # Whatever comes out, the module takes it.
    speaker.parse(found).on(None)
    return found


def test_all_hosts_speak_with_each_other_and_with_their_peers():
    found = part("kvm1")
    assert (found["state"], found["asn"], found["router_id"]) == ("present", 64512, "10.77.0.11")
    assert [one["name"] for one in found["neighbors"]] == ["gateway1", "kvm2", "kvm3"]
    assert found["neighbors"][1] == {
        "name": "kvm2", "asn": 64512, "addresses": ["10.77.0.12", "fd77::12"], "sources": ["10.77.0.11", "fd77::11"],
        "evpn": True,
    }  # fmt: skip
    assert found["announce"] == [{"name": "kvm1/routenet", "prefixes": ["10.10.110.0/24", "fd00:10:110::/64"]}]
    assert [(one["name"], len(one["prefixes"])) for one in found["accept"]] == [
        ("kvm2/routenet", 2), ("kvm3/routenet", 2), ("allowed", 0),
    ]  # fmt: skip
    assert [one["name"] for one in part("kvm2")["neighbors"]] == ["kvm1", "kvm3"]


def test_both_ends_of_a_session_agree():
    """Whatever other addresses they have, and whichever link either has its default route on."""
    links = {
        **LINKS,
        "kvm1": [link("192.168.5.1/24"), link("10.77.0.11/24", name="eth1", default=False)],
        "kvm2": [link("10.77.0.12/24", "10.77.0.120/24"), link("192.168.5.2/24", name="eth1", default=False)],
    }
    mine = next(one for one in part("kvm1", links=links)["neighbors"] if one["name"] == "kvm2")
    its = next(one for one in part("kvm2", links=links)["neighbors"] if one["name"] == "kvm1")
    assert mine["addresses"] == its["sources"] and mine["sources"] == its["addresses"] == ["192.168.5.1"]


def test_a_peer_hears_those_that_name_it():
    found = part("gateway1")
    assert [one["name"] for one in found["neighbors"] if one.get("addresses")] == ["kvm1"]
    assert [one["name"] for one in found["neighbors"] if not one.get("addresses")] == ["kvm2", "kvm3"]
    assert found["announce"] == []
    assert {one["name"]: bool(one["prefixes"]) for one in found["accept"]} == {
        "kvm1/routenet": True, "kvm2/routenet": False, "kvm3/routenet": False,
    }  # fmt: skip


def test_a_host_that_has_no_such_network_any_more_leaves():
    offers = {**MESH, "kvm3": offer("kvm3", network(112, "none"))}
    assert part("kvm3", offers) == {
        "state": "absent", "announce": [{"name": "kvm3/routenet"}], "vnis": [{"name": "kvm3/routenet"}],
    }  # fmt: skip
    found = part("kvm1", offers)
    assert {"name": "kvm3"} in found["neighbors"] and {"name": "kvm3/routenet", "prefixes": []} in found["accept"]


def test_all_leave():
    offers = {f"kvm{n}": offer(f"kvm{n}", network(109 + n, "none", ["gateway"])) for n in (1, 2)}
    assert offers["kvm1"]["heard"] == ["gateway1"] and offers["kvm1"]["peers"] == []
    assert speaker.parse(part("gateway1", offers)).on(None) is None


def test_a_kvm_host_that_is_only_a_peer():
    offers = {"kvm1": offer("kvm1", network(110, peers=["kvm2"])), "kvm2": offer("kvm2", network(111, "static", ["kvm1"]))}
    found = part("kvm2", offers)
    assert found["state"] == "present" and [one["name"] for one in found["neighbors"]] == ["kvm1"]
    assert found["announce"] == [{"name": "kvm2/routenet", "prefixes": []}]


def test_as_numbers_of_their_own():
    offers = {**MESH, "kvm2": offer("kvm2", network(111), asn="64513")}
    numbers = {one["name"]: one["asn"] for one in part("kvm1", offers)["neighbors"]}
    assert numbers == {"gateway1": 64512, "kvm2": 64513, "kvm3": 64512} and part("kvm2", offers)["asn"] == 64513


def test_routers_of_others():
    core = {"name": "core1", "asn": 65001, "addresses": ["10.77.0.254", "2001:db8::1"]}
    offers = {**MESH, "kvm2": offer("kvm2", network(111), neighbors=[core], accept=["10.20.0.0/16 le 24"])}
    found = part("kvm2", offers)
    assert found["neighbors"][2] == {**core, "sources": ["10.77.0.12"]}
    assert found["accept"][-1] == {"name": "allowed", "prefixes": ["10.20.0.0/16 le 24"]}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: offer("kvm1", network(110, peers=["gatewya"])), r"bgp_offer: .*peers\[0\]: gatewya"),
        (lambda: offer("kvm1", network(110, model="nat")), "return routes to a network of the model nat"),
        (lambda: offer("kvm1", {**network(110), "addresses": []}), "mode: routenet: there is no subnet|addresses"),
        (lambda: offer("kvm1", network(110), asn="x"), "route_exchange_asn: 'x' is no number"),
        (lambda: offer("kvm1", network(110), asn=0), "route_exchange_asn: the AS number 0"),
        (lambda: part("kvm1", links={**LINKS, "kvm2": [link("10.78.0.2/24")]}), "bgp_part: .*kvm1 and kvm2 share no subnet"),
        (lambda: part("kvm9"), "what was found of kvm9"),
    ],
)
def test_refusals(call, says):
    with pytest.raises(AnsibleFilterError, match=says):
        call()


def test_they_are_named():
    assert set(filters.FilterModule().filters()) == {"bgp_offer", "bgp_part", "untold_segments"}


def stretched(control="evpn", **more):
    return {"name": "lab", "model": "isolated", "stretch": {"mode": "vxlan", "vni": 4711, "control": control}, **more}


def test_hosts_of_a_stretched_network_tell_each_other_of_it():
    offers = {f"kvm{n}": offer(f"kvm{n}", stretched(), stretched("static", name="old", stretch=None)) for n in (1, 2)}
    offers["kvm3"] = offer("kvm3", network(112, peers=["gateway"]))
    found = part("kvm1", offers)
    assert found["vnis"] == [{"name": "kvm1/lab", "vnis": [4711]}, {"name": "kvm1/old", "vnis": []}]
    assert found["announce"] == [] and [(one["name"], one.get("evpn")) for one in found["neighbors"]] == [
        ("kvm2", True), ("kvm3", True),
    ]  # fmt: skip
    # A router, or a peer that has no such networks, hears of none.
    assert [(one["name"], one["evpn"]) for one in part("kvm3", offers)["neighbors"]] == [
        ("gateway1", None), ("kvm1", True), ("kvm2", True),
    ]  # fmt: skip
    # Nor does a host that takes no part in this run: it keeps what it has.
    alone = {"kvm2": offer("kvm2", network(111, peers=["kvm_hosts"]))}
    asns = {"kvm1": 64512, "kvm3": 64512}
    assert {one["evpn"] for name in ("kvm1", "kvm2") for one in part(name, alone, asns=asns)["neighbors"]} == {None}
    gone = {**offers, "kvm2": offer("kvm2", stretched(state="absent"))}
    assert part("kvm2", gone) == {"state": "absent", "announce": [], "vnis": [{"name": "kvm2/lab"}]}
    assert not offer("kvm2", stretched("static"))["speaks"] and offer("kvm2", stretched("static"))["vnis"] == {"kvm2/lab": []}


def test_what_frr_is_to_tell_of_no_more():
    nat = {"name": "n", "model": "nat", "addresses": ["10.9.0.1/24"]}
    old = {**stretched(name="old"), "stretch": {"mode": "vxlan", "vni": 9}}
    items = [stretched(), old, {"name": "alone", "model": "isolated"}, nat]
    found = filters.untold_segments(items, "kvm1")
    assert found == [{"name": "kvm1/old", "vnis": []}, {"name": "kvm1/alone", "vnis": []}]
    told = [{"name": "kvm1/old", "vnis": [9]}, {"name": "kvm1/lab", "vnis": [7]}]
    both = speaker.parse({"state": "present", "asn": 1, "vnis": told})
    assert speaker.parse({"state": "absent", "vnis": found}).on(both.on(None)).segments == [7]


def test_segments_need_ipv4_between_their_hosts():
    six = {**LINKS, "kvm2": [link("fd77::12/64")]}
    offers = {f"kvm{n}": offer(f"kvm{n}", stretched()) for n in (1, 2)}
    with pytest.raises(AnsibleFilterError, match="kvm1 and kvm2 share no IPv4 subnet"):
        part("kvm1", offers, six)
    both = {"kvm1": MESH["kvm1"], "kvm2": MESH["kvm2"]}
    assert [one["evpn"] for one in part("kvm2", both, six)["neighbors"]] == [False]


def test_a_peer_that_is_lost_in_the_middle_is_left_as_it_is():
    offers = {"kvm1": offer("kvm1", network(110, peers=["kvm_hosts", "gateway"]))}
    found = part("kvm1", offers, {name: LINKS[name] for name in ("kvm1", "gateway1", "kvm3")}, {"gateway1": 64512, "kvm3": 64512})
    assert [one["name"] for one in found["neighbors"]] == ["gateway1", "kvm3"]
