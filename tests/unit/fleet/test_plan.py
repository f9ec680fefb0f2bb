# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet's plan: what is allocated and stays so, and every kind of clash, each told with both parties."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.virtnet.kvm.plugins.filter import fleet
from ansible_collections.virtnet.kvm.plugins.module_utils import models

POOLS = ({"subnet": "10.80.0.0/16", "prefix": 24}, {"subnet": "fd00:80::/48"})
NAT = {"name": "office", "model": "nat", "dhcp": {}}
ROUTED = {"name": "services", "model": "routed"}


def link(name="eth0", addresses=("10.77.0.11/24",), routes=(), **more):
    row = {"name": name, "owned": False, "manager": "networkd", "type": "physical", "ports": []}
    row["addresses"] = [{"address": text, "scope": "global", "dynamic": False} for text in addresses]
    row["routes"] = [{"to": to, "via": via} for to, via in routes]
    return {**row, **more}


def found(networks=(), interfaces=None, memory_mb=4000, guests=()):
    return {
        "networks": list(networks), "interfaces": [link()] if interfaces is None else interfaces, "memory_mb": memory_mb,
        "processors": 4, "guests": list(guests), "libvirt_networks": [one["name"] for one in networks], "changed": False,
    }  # fmt: skip


def plan(networks, guests=None, facts=None, groups=None, pools=POOLS, overcommit=1.0):
    """Plan hosts; C(networks) is {host: items}."""
    facts = {host: found() for host in networks} if facts is None else facts
    return fleet.fleet_plan(networks, guests or {}, facts, {"all": list(networks), **(groups or {})}, pools, overcommit)


def addresses(result):
    return {
        f"{one['name']}@{host}": one.get("addresses") for host, items in result["networks"].items() for one in items
    }  # fmt: skip


def only_error(result):
    assert len(result["errors"]) == 1, result["errors"]
    return result["errors"][0]


# -- allocation


def test_networks_without_addresses_get_the_lowest_subnets_of_the_pools_each_host_its_own():
    result = plan({"kvm1": [NAT, ROUTED], "kvm2": [ROUTED]})
    assert result["errors"] == []
    assert addresses(result) == {
        "office@kvm1": ["10.80.0.1/24", "fd00:80::1/64"],
        "services@kvm1": ["10.80.1.1/24", "fd00:80:0:1::1/64"],
        "services@kvm2": ["10.80.2.1/24", "fd00:80:0:2::1/64"],
    }
    # DHCP without ranges gets the upper half; where there is none, none is made.
    assert result["networks"]["kvm1"][0]["dhcp"]["ranges"] == [{"start": "10.80.0.128", "end": "10.80.0.254"}]
    assert "dhcp" not in result["networks"]["kvm1"][1]


def test_what_a_host_was_told_of_stays_whoever_comes_or_goes():
    before = plan({"kvm1": [NAT, ROUTED], "kvm2": [NAT, ROUTED]})
    stores = {host: found(networks=items) for host, items in before["networks"].items()}
    # kvm0 comes first and has networks; office is gone from kvm1, and services stands before a new one.
    after = plan(
        {"kvm0": [NAT], "kvm1": [{"name": "new", "model": "nat"}, ROUTED], "kvm2": [NAT, ROUTED]},
        facts={"kvm0": found(), **stores},
    )
    assert after["errors"] == []
    now, then = addresses(after), addresses(before)
    for one in ("services@kvm1", "office@kvm2", "services@kvm2"):
        assert now[one] == then[one]
    # What kvm1 still has of office is not given to others before it is gone.
    given = [now["office@kvm0"][0], now["new@kvm1"][0]]
    assert given == ["10.80.4.1/24", "10.80.5.1/24"]
    assert after["warnings"] == ["kvm1: the network office was made there and is declared for it no more; it stays as it is."]
    stores["kvm1"]["networks"] = [one for one in stores["kvm1"]["networks"] if one["name"] != "office"]
    again = plan({"kvm1": [{"name": "new", "model": "nat"}, ROUTED], "kvm2": [NAT, ROUTED]}, facts=stores)
    assert addresses(again)["new@kvm1"][0] == "10.80.0.1/24", "the gap is filled"


def test_planning_what_was_planned_changes_nothing():
    networks = {"kvm1": [NAT, ROUTED], "kvm2": [NAT]}
    first = plan(networks)
    again = plan(networks, facts={host: found(networks=items) for host, items in first["networks"].items()})
    assert again["networks"] == first["networks"]
    assert [line for line in again["table"] if " new" in line] == []


def test_hosts_that_are_not_asked_count_by_what_is_declared_and_nothing_new_is_given_if_that_is_not_known():
    fixed = {**ROUTED, "addresses": ["10.80.0.1/24"]}
    result = plan({"kvm1": [NAT], "kvm2": [fixed]}, facts={"kvm1": found(), "kvm2": {"unreachable": True}})
    assert result["errors"] == []
    assert addresses(result)["office@kvm1"][0] == "10.80.1.1/24"
    result = plan({"kvm1": [NAT], "kvm2": [ROUTED]}, facts={"kvm1": found(), "kvm2": {"unreachable": True}})
    said = only_error(result)
    assert "new subnets are wanted for office on kvm1 (kvm_networks[0]), but kvm2 did not say" in said
    assert "reachable" in said
    # What is known already needs no answer from others.
    kept = found(networks=[{"name": "office", "model": "nat", "addresses": ["10.80.7.1/24"]}])
    result = plan({"kvm1": [NAT], "kvm2": [ROUTED]}, facts={"kvm1": kept, "kvm2": {}})
    assert result["errors"] == []
    assert addresses(result)["office@kvm1"] == ["10.80.7.1/24"]


def test_a_stretched_network_has_one_subnet_on_all_its_hosts():
    item = {"name": "span", "model": "routed", "stretch": {"mode": "vxlan", "vni": 7}}
    result = plan({"kvm1": [item, NAT], "kvm2": [item]})
    assert result["errors"] == []
    assert addresses(result)["span@kvm1"] == addresses(result)["span@kvm2"] == ["10.80.0.1/24", "fd00:80::1/64"]
    # The roles look for the other hosts' addresses.
    assert [one.get("hosts") for one in result["networks"]["kvm1"]] == [["kvm1", "kvm2"], None]
    stores = {"kvm1": found(networks=[{**item, "addresses": ["10.80.9.1/24"]}]), "kvm2": found()}
    result = plan({"kvm1": [item], "kvm2": [item]}, facts=stores)
    assert addresses(result) == {"span@kvm1": ["10.80.9.1/24"], "span@kvm2": ["10.80.9.1/24"]}


def test_subnets_that_hosts_have_or_route_are_not_given():
    ways = [("10.80.1.0/24", "10.80.0.1"), ("10.0.0.0/8", "10.80.0.1"), ("0.0.0.0/0", "10.80.0.1")]
    eth0 = link(addresses=["10.80.0.5/24"], routes=ways)
    result = plan({"kvm1": [NAT], "kvm2": []}, facts={"kvm1": found(), "kvm2": found(interfaces=[eth0])})
    assert result["errors"] == []
    # The site's 10.0.0.0/8 has room for the whole pool, and is no hindrance.
    assert addresses(result)["office@kvm1"][0] == "10.80.2.1/24"


def test_a_pool_that_is_used_up():
    said = only_error(plan({"kvm1": [NAT, ROUTED]}, pools=[{"subnet": "10.80.0.0/24"}]))
    assert said.startswith("kvm1: kvm_address_pools: services: no IPv4 subnet is left in the pools (10.80.0.0/24 in /24)")


def test_nat_without_addresses_and_pools():
    said = only_error(plan({"kvm1": [NAT], "kvm2": [NAT]}, pools=[]))
    assert said.startswith("kvm1, kvm2: kvm_networks[0].addresses: office: it has no addresses")


def test_hosts_and_groups_say_where_a_network_is():
    items = [{**NAT, "hosts": ["west"]}, {**ROUTED, "hosts": ["kvm3"]}]
    result = plan(dict.fromkeys(("kvm1", "kvm2", "kvm3"), items), groups={"west": ["kvm1", "kvm2"]})
    assert {host: [one["name"] for one in mine] for host, mine in result["networks"].items()} == {
        "kvm1": ["office"], "kvm2": ["office"], "kvm3": ["services"],
    }  # fmt: skip
    assert all("hosts" not in one for mine in result["networks"].values() for one in mine)
    result = plan({"kvm1": [{**NAT, "hosts": ["kvm1", "nobody"]}]})
    assert "neither a host nor a group nobody" in only_error(result)
    result = plan({"kvm1": [{**ROUTED, "return_routes": {"mode": "static", "peers": ["kvm1", "gateway", "nobody"]}}]},
                  groups={"gateway": ["gw"]})  # fmt: skip
    assert only_error(result).startswith("kvm_networks[0].return_routes.peers[2]: services: the inventory has neither")
    result = plan({"kvm1": [{**NAT, "hosts": ["kvm1", "gw"]}]}, groups={"gateway": ["gw"]})
    assert "gw is not among the KVM hosts" in only_error(result)


def test_an_absent_network_goes_to_the_role_of_the_model_that_it_had():
    store = found(networks=[{"name": "services", "model": "routed", "addresses": ["10.80.0.1/24"]}])
    result = plan({"kvm1": [{"name": "services", "state": "absent"}]}, facts={"kvm1": store})
    assert result["networks"]["kvm1"][0]["model"] == "routed"
    assert plan({"kvm1": [{"name": "x", "state": "absent"}]})["networks"]["kvm1"][0]["model"] == "isolated"


# -- clashes


def fixed(name, address, model="routed", **more):
    return {"name": name, "model": model, "addresses": [address], **more}


CLASHES = {
    "routed networks of two hosts": (
        {"kvm1": [fixed("a", "10.1.0.1/24")], "kvm2": [fixed("b", "10.1.0.129/25")]},
        "kvm2: kvm_networks[0].addresses: b: its subnet 10.1.0.128/25 overlaps 10.1.0.0/24 of a on kvm1 (kvm_networks[0])",
    ),
    "the same routed network on two hosts": (
        {"kvm1": [fixed("a", "10.1.0.1/24")], "kvm2": [fixed("a", "10.1.0.1/24")]},
        "kvm2: kvm_networks[0].addresses: a: its subnet 10.1.0.0/24 overlaps 10.1.0.0/24 of a on kvm1",
    ),
    "a routed and a NAT network of two hosts": (
        {"kvm1": [fixed("a", "10.1.0.1/24", "nat")], "kvm2": [fixed("b", "10.1.0.1/24")]},
        "overlaps 10.1.0.0/24 of a on kvm1",
    ),
    "two networks of one host": (
        {"kvm1": [fixed("a", "10.1.0.1/24", "nat"), fixed("b", "10.1.0.1/25", "nat")]},
        "kvm1: kvm_networks[1].addresses: b: its subnet 10.1.0.0/25 overlaps 10.1.0.0/24 of a (kvm_networks[0])",
    ),
    "two networks of the second host, like one of the first": (
        {"kvm1": [fixed("a", "10.1.0.1/24", "nat")],
         "kvm2": [fixed("b", "10.1.0.1/24", "nat"), fixed("c", "10.1.0.1/24", "nat")]},
        "kvm2: kvm_networks[1].addresses: c: its subnet 10.1.0.0/24 overlaps 10.1.0.0/24 of b (kvm_networks[0])",
    ),
    "a network and the LAN": (
        {"kvm1": [fixed("a", "10.77.0.129/25", "nat")]},
        "kvm1: kvm_networks[0].addresses: a: its subnet 10.77.0.128/25 overlaps 10.77.0.0/24 of this host's link eth0",
    ),
    "one bridge for two networks": (
        {"kvm1": [fixed("a", "10.1.0.1/24", bridge="br5"), fixed("b", "10.2.0.1/24", bridge="br5")]},
        "kvm1: kvm_networks[1].bridge: b: the bridge br5 is also that of a (kvm_networks[0])",
    ),
    "a network twice": (
        {"kvm1": [fixed("a", "10.1.0.1/24", bridge="br5"), fixed("a", "10.2.0.1/24", bridge="br6")]},
        "kvm1: kvm_networks[1].name: a: the network is declared twice, as kvm_networks[0] too",
    ),
    "an opening towards a network that is elsewhere": (
        {"kvm1": [fixed("a", "10.1.0.1/24", policy={"allow_to": [{"network": "b"}]})], "kvm2": [fixed("b", "10.2.0.1/24")]},
        "kvm1: kvm_networks[0].policy.allow_to[0].network: a: the network b is not on this host",
    ),
    "what the model itself refuses": (
        {"kvm1": [fixed("a", "10.1.0.1/24", "nat", bridge_owner="host")]},
        "kvm1: kvm_networks[0].bridge_owner: a: bridge_owner: host with the model nat",
    ),
    "two names with one VNI": (
        {"kvm1": [fixed("a", "10.1.0.1/24", stretch={"mode": "vxlan", "vni": 7})],
         "kvm2": [fixed("b", "10.2.0.1/24", stretch={"mode": "vxlan", "vni": 7})]},
        "kvm2: kvm_networks[0].stretch.vni: b: the VNI 7 is also that of a on kvm1",
    ),
    "one name with two VNIs": (
        {"kvm1": [fixed("a", "10.1.0.1/24", stretch={"mode": "vxlan", "vni": 7})],
         "kvm2": [fixed("a", "10.1.0.1/24", stretch={"mode": "vxlan", "vni": 8})]},
        "kvm2: kvm_networks[0].stretch.vni: a: its VNI is 8, and 7 as a on kvm1",
    ),
    "one stretched network with two gateways": (
        {"kvm1": [fixed("a", "10.1.0.1/24", stretch={"mode": "vxlan", "vni": 7})],
         "kvm2": [fixed("a", "10.1.0.2/24", stretch={"mode": "vxlan", "vni": 7})]},
        "kvm2: kvm_networks[0].stretch: a: it is not what it is as a on kvm1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CLASHES)
def test_a_clash_is_told_with_both_parties(case):
    networks, said = CLASHES[case]
    assert said in only_error(plan(networks))


def test_two_networks_clash_once_by_however_many_subnets():
    both = {"model": "routed", "addresses": ["10.1.0.1/24", "fd00:1::1/64"]}
    assert "10.1.0.0/24" in only_error(plan({"kvm1": [{"name": "a", **both}], "kvm2": [{"name": "b", **both}]}))


def test_what_is_no_clash():
    networks = {
        "kvm1": [fixed("nat", "10.64.100.1/24", "nat"), {"name": "iso", "model": "isolated", "subnets": ["10.1.0.0/24"]},
                 {"name": "lan", "model": "bridged", "bridge": "br0", "subnets": ["10.77.0.0/24"]}],
        "kvm2": [fixed("nat", "10.64.100.1/24", "nat"), fixed("r", "10.1.0.1/24"),
                 {"name": "lan", "model": "bridged", "bridge": "br0", "subnets": ["10.77.0.0/24"]}],
    }  # fmt: skip
    # The bridge of the LAN is there, made by the administrator; the return route to r is how kvm1 finds it.
    there = [link(routes=[("10.1.0.0/24", "10.77.0.12")]), link("br0", addresses=["10.77.0.12/24"], type="bridge")]
    assert plan(networks, facts={"kvm1": found(interfaces=[link()]), "kvm2": found(interfaces=there)})["errors"] == []


def test_all_that_is_wrong_is_told_at_once_and_each_thing_once():
    items = [fixed("a", "10.1.0.1/24", "nat", uplink="a-name-that-is-too-long"), fixed("b", "10.77.0.1/24", "nat")]
    errors = plan({f"kvm{number}": copy.deepcopy(items) for number in range(5)})["errors"]
    assert len(errors) == 2
    assert errors[0].startswith("kvm0, kvm1 and 3 more hosts: kvm_networks[0].uplink: a: the link name")
    assert errors[1].startswith("kvm0, kvm1 and 3 more hosts: kvm_networks[1].addresses: b: its subnet 10.77.0.0/24 overlaps")


def test_a_route_of_one_host_and_a_routed_network_of_another():
    ways = [("10.1.0.0/25", "10.77.0.9"), ("10.0.0.0/8", "10.77.0.1")]
    facts = {"kvm1": found(), "kvm2": found(interfaces=[link(routes=ways)])}
    said = only_error(plan({"kvm1": [fixed("a", "10.1.0.1/24")], "kvm2": []}, facts=facts))
    assert "its subnet 10.1.0.0/24 overlaps kvm2's route to 10.1.0.0/25 on eth0" in said
    assert plan({"kvm1": [fixed("a", "10.1.0.1/24", "nat")], "kvm2": []}, facts=facts)["errors"] == []


def test_a_link_of_the_bridges_name():
    links = [link(), link("br5", addresses=[])]
    networks = {"kvm1": [fixed("a", "10.1.0.1/24", bridge="br5")]}
    said = only_error(plan(networks, facts={"kvm1": found(interfaces=links)}))
    assert said.startswith("kvm1: kvm_networks[0].bridge: a: the link br5 is there already")
    mine = found(networks=networks["kvm1"], interfaces=[link(), link("br5", ["10.1.0.1/24"], manager="libvirt")])
    assert plan(networks, facts={"kvm1": mine})["errors"] == []


# -- guests


def guest(name, network="a", **nic):
    return {"name": name, "nics": [{"network": network, **nic}]}


def with_guests(*guests, network=None, **more):
    item = network or fixed("a", "10.1.0.1/24", dhcp={"ranges": [{"start": "10.1.0.100", "end": "10.1.0.101"}]})
    return plan({"kvm1": [item], "kvm2": [fixed("far", "10.2.0.1/24")]}, guests={"kvm1": list(guests)}, **more)


GUESTS = {
    "a network of another host": ([guest("v", "far")], "kvm_guests", "the network far is not on this host. It is on kvm2."),
    "a network of nobody": ([guest("v", "none")], "nics[0].network", "Declare it in kvm_networks."),
    "a name twice": ([guest("v"), guest("v", mac="52:54:00:00:00:09")], "v", "declared twice"),
    "a MAC address twice": (
        [guest("v", mac="52:54:00:00:00:01"), guest("w", mac="52:54:00:00:00:01")], "w",
        "the MAC address 52:54:00:00:00:01 is also that of v on kvm1",
    ),
    "an address twice": (
        [guest("v", addresses=["10.1.0.9/24"]), guest("w", addresses=["10.1.0.9/24"])], "w",
        "the address 10.1.0.9 is also that of v on kvm1",
    ),
    "the gateway's address": ([guest("v", addresses=["10.1.0.1/24"])], "v", "is also that of the gateway of a"),
    "an address of another subnet": ([guest("v", addresses=["10.9.0.9/24"])], "v", "is in no subnet of a"),
    "an address with another prefix": ([guest("v", addresses=["10.1.0.9/16"])], "v", "is in no subnet of a"),
    "more guests than leases": (
        [guest("u"), guest("v"), guest("w")], "ranges", "3 guests ask it for DHCP, and its ranges have 2",
    ),
    "a host that is none": ([{**guest("v"), "host": "kvm9"}], "kvm_guests[0].host", "kvm9 is not among the KVM hosts"),
    "more memory than there is": (
        [{**guest("v"), "memory_mb": 5000}], "kvm1", "its 1 guests want 5000 MiB of memory, the host has 4000",
    ),
    "more processors than there are": ([{**guest("v"), "vcpus": 5}], "vcpus", "5 processors, the host has 4"),
    "what guest_vm itself refuses": ([{**guest("v"), "memory_mb": 1}], "memory_mb", "1 MiB is too little"),
}  # fmt: skip


@pytest.mark.parametrize("case", GUESTS)
def test_a_guest_that_cannot_be(case):
    guests, where, said = GUESTS[case]
    error = only_error(with_guests(*guests))
    assert where in error
    assert said in error


def test_networks_of_others_are_there_too():
    """libvirt's own default, and what another role was told of."""
    mine = {**found(networks=[fixed("dmz", "10.3.0.1/24")]), "libvirt_networks": ["default", "dmz"]}
    facts = {"kvm1": mine, "kvm2": found()}
    assert with_guests(guest("u", "default"), guest("v", "dmz"), facts=facts)["errors"] == []
    opened = fixed("a", "10.1.0.1/24", policy={"allow_to": [{"network": "dmz"}]})
    assert with_guests(network=opened, facts=facts)["errors"] == []
    assert "the network gone is not on this host" in only_error(with_guests(guest("u", "gone"), facts=facts))
    leaving = {"name": "dmz", "state": "absent"}
    assert "the network dmz is not on this host" in only_error(with_guests(guest("u", "dmz"), network=leaving, facts=facts))


def test_dhcp_where_there_is_none():
    error = only_error(with_guests(guest("v"), network=fixed("a", "10.1.0.1/24")))
    assert "kvm_guests[0].nics[0].addresses[0]: v: it asks for DHCP, and a (kvm_networks[0]) has none" in error
    # Router advertisements do for IPv6.
    both = {"name": "a", "model": "routed", "addresses": ["10.1.0.1/24", "fd00:1::1/64"]}
    assert with_guests(guest("v"), network=both)["errors"] == []


def test_an_address_that_is_reserved_for_another():
    rows = [{"name": "x", "mac": "52:54:00:00:00:07", "address": "10.1.0.9"}]
    network = fixed("a", "10.1.0.1/24", dhcp={"reservations": rows})
    error = only_error(with_guests(guest("v", addresses=["10.1.0.9/24"]), network=network))
    assert "the address 10.1.0.9 is also that of kvm_networks[0].dhcp.reservations[0]" in error
    mine = guest("v", addresses=["10.1.0.9/24"], mac="52:54:00:00:00:07")
    assert with_guests(mine, network=network)["errors"] == []


def test_one_lan_over_all_hosts_has_each_address_once():
    lan = {"name": "lan", "model": "bridged", "bridge": "br0", "uplink": "eth0"}
    guests = {"kvm1": [guest("v", "lan", mac="52:54:00:00:00:01")], "kvm2": [guest("w", "lan", mac="52:54:00:00:00:01")]}
    error = only_error(plan({"kvm1": [lan], "kvm2": [lan]}, guests=guests))
    assert error.startswith("kvm2: kvm_guests[0].nics[0].mac: w: the MAC address 52:54:00:00:00:01 is also that of v on kvm1")
    apart = {host: [guest("v", "a", mac="52:54:00:00:00:01")] for host in ("kvm1", "kvm2")}
    iso = {"name": "a", "model": "isolated"}
    assert plan({"kvm1": [iso], "kvm2": [iso]}, guests=apart)["errors"] == []


def test_memory_that_guests_of_others_have_counts_and_overcommit_is_ones_own_choice():
    theirs = [{"name": "db", "active": True, "memory_mb": 3900}, {"name": "off", "active": False, "memory_mb": 9000}]
    facts = {"kvm1": found(guests=theirs), "kvm2": found()}
    error = only_error(with_guests(guest("v"), facts=facts))
    assert "its 1 guests want 128 MiB of memory, 1 others have 3900, the host has 4000" in error
    assert with_guests(guest("v"), facts=facts, overcommit=1.5)["errors"] == []
    assert with_guests(facts=facts)["errors"] == [], "nothing of ours is at fault"


WEB = {"name": "web", "listen": {"ports": "8080"}, "to": {"guest": "v", "ports": "80"}}


def reserved(result):
    return (result["networks"]["kvm1"][0]["dhcp"].get("reservations")) or []


def test_a_guest_that_a_port_forward_names_gets_a_reservation_and_keeps_it():
    network = {**NAT, "name": "a", "port_forwards": [WEB, {**WEB, "name": "w", "listen": {"ports": "81"}, "to": {"guest": "w"}}]}
    still = guest("s", addresses=["10.80.0.2/24"])
    result = with_guests(guest("w", mac="52:54:00:00:00:02"), still, network=network, facts={"kvm1": found(), "kvm2": found()})
    # w alone is there; that v is not is told.
    assert "the guest v has no reservation in this network, nor a NIC that asks it for DHCP" in only_error(result)
    assert reserved(result) == [{"name": "w", "mac": "52:54:00:00:00:02", "address": "10.80.0.3"}]
    store = found(networks=[result["networks"]["kvm1"][0]])
    both = [guest("v", mac="52:54:00:00:00:01"), guest("w", mac="52:54:00:00:00:02")]
    result = with_guests(*both, network=network, facts={"kvm1": store, "kvm2": found()})
    assert result["errors"] == []
    assert [(one["name"], one["address"]) for one in reserved(result)] == [("v", "10.80.0.2"), ("w", "10.80.0.3")]
    again = with_guests(*both, network=network, facts={"kvm1": found(networks=result["networks"]["kvm1"]), "kvm2": found()})
    assert again["networks"] == result["networks"]


def test_a_reservation_whose_address_is_taken_meanwhile_is_made_anew():
    network = {**NAT, "name": "a", "port_forwards": [WEB]}
    first = with_guests(guest("v", mac="52:54:00:00:00:01"), network=network)
    assert [one["address"] for one in reserved(first)] == ["10.80.0.2"]
    facts = {"kvm1": found(networks=first["networks"]["kvm1"]), "kvm2": found()}
    still = guest("s", addresses=["10.80.0.2/24"])
    again = with_guests(guest("v", mac="52:54:00:00:00:01"), still, network=network, facts=facts)
    assert again["errors"] == []
    assert [one["address"] for one in reserved(again)] == ["10.80.0.3"]


def test_a_reservation_that_is_declared_stays_the_only_one():
    rows = [{"name": "v", "mac": "52:54:00:00:00:01", "address": "10.80.0.9"}]
    network = {**NAT, "name": "a", "dhcp": {"reservations": rows}, "port_forwards": [WEB]}
    result = with_guests(guest("v", mac="52:54:00:00:00:01"), network=network)
    assert result["errors"] == []
    assert [one["address"] for one in reserved(result)] == ["10.80.0.9"]


def test_no_address_is_left_to_reserve():
    dhcp = {"ranges": [{"start": "10.1.0.2", "end": "10.1.0.6"}]}
    result = with_guests(guest("v"), network=fixed("a", "10.1.0.1/29", "nat", dhcp=dhcp, port_forwards=[WEB]))
    assert "the guest v has no reservation" in only_error(result)


def test_user_data_is_in_no_result():
    item = {**guest("v"), "image": "/t.qcow2", "user_data": {"password": "hunter2"}}
    assert "hunter2" not in repr(with_guests(item))


def test_the_table():
    result = with_guests(guest("v", addresses=["10.1.0.9/24"]), {**guest("w"), "state": "absent"})
    assert result["table"] == [
        "host  network  model   bridge      subnets      guests  addresses",
        "kvm1  a        routed  vn" + models.names.bridge_name("a")[2:] + "  10.1.0.0/24  1       declared",
        "kvm2  far      routed  " + models.names.bridge_name("far") + "  10.2.0.0/24  0       declared",
        "kvm1: 1 networks, 1 guests, 128 of 4000 MiB",
        "kvm2: 1 networks, 0 guests, 0 of 4000 MiB",
    ]


def test_two_hundred_hosts_with_fifty_networks_each():
    """What this costs is measured by the benchmarks; here it is the result that counts."""
    models_of = ("nat", "routed", "isolated", "nat")
    items = [{"name": f"n{number}", "model": models_of[number % 4]} for number in range(50)]
    result = plan({f"kvm{number}": items for number in range(200)}, pools=[{"subnet": "10.64.0.0/10"}])
    assert result["errors"] == []
    given = [one for one in addresses(result).values() if one]
    assert len(given) == 200 * 38
    assert len({one[0] for one in given}) == len(given)
