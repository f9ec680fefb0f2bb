# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import matrix


def rows(plan, family="ipv4", protocol="icmp", control=False):
    """{(from, to, address): expected} of one family and protocol."""
    return {
        (cell["from"], cell["to"], cell["address"]): cell["expected"]
        for cell in plan["cells"]
        if (cell["family"], cell["protocol"], cell["control"]) == (family, protocol, control)
    }


def cells(plan, **wanted):
    return [cell for cell in plan["cells"] if all(cell[key] == value for key, value in wanted.items())]


def send_of(plan, cell):
    host, process = cell["sender"]
    return next(one for one in plan["sends"][host][process] if one["token"] == cell["token"])


def test_a_nat_lab(fleet):
    plan = matrix.plan(fleet.lab())
    expected = {
        ("vm0@kvm1", "vm1@kvm1", "10.64.100.3"): "yes",
        ("vm1@kvm1", "vm0@kvm1", "10.64.100.2"): "yes",
        ("vm0@kvm1", "kvm1", "10.64.100.1"): "yes",
        ("vm0@kvm1", "kvm1", "10.77.0.11"): "yes",
        ("kvm1", "vm0@kvm1", "10.64.100.2"): "yes",
        ("vm1@kvm1", "kvm1", "10.64.100.1"): "yes",
        ("vm1@kvm1", "kvm1", "10.77.0.11"): "yes",
        ("kvm1", "vm1@kvm1", "10.64.100.3"): "yes",
        ("vm0@kvm1", "outside", "10.77.0.50"): "yes",
        ("vm1@kvm1", "outside", "10.77.0.50"): "yes",
        ("outside", "vm0@kvm1", "10.64.100.2"): "no",
        ("outside", "vm1@kvm1", "10.64.100.3"): "no",
    }
    for protocol in matrix.PROTOCOLS:
        assert rows(plan, "ipv4", protocol) == expected
        assert len(rows(plan, "ipv6", protocol)) == len(expected)
    assert not cells(plan, control=True)
    json.dumps(plan)


def test_guests_arrive_outside_as_the_host_and_at_the_host_as_themselves(fleet):
    plan = matrix.plan(fleet.lab())
    out = cells(plan, **{"from": "vm0@kvm1", "to": "outside", "family": "ipv4", "protocol": "tcp"})[0]
    assert out["source_expected"] == ["10.77.0.11"]
    home = cells(plan, **{"from": "vm0@kvm1", "to": "kvm1", "family": "ipv6", "protocol": "tcp"})[0]
    assert home["source_expected"] == ["fd00:64::2"]


def test_the_outside_hands_its_packet_to_the_host_itself(fleet):
    plan = matrix.plan(fleet.lab())
    four, six = cells(plan, **{"from": "outside", "to": "vm0@kvm1", "protocol": "udp"})
    assert (four["via"], six["via"]) == ("10.77.0.11", "fd00:77::11")
    assert send_of(plan, four) == {
        "token": four["token"], "to": "10.64.100.2", "family": 4, "protocol": "udp", "port": 46464, "wanted": False,
        "sport": send_of(plan, four)["sport"], "via": "10.77.0.11", "source": "10.77.0.50",
    }  # fmt: skip


def test_every_cell_has_its_own_token_and_source_port_at_its_sender(fleet):
    plan = matrix.plan(fleet.lab())
    tokens = [cell["token"] for cell in plan["cells"]]
    assert len(set(tokens)) == len(tokens)
    assert plan["tokens"] == [min(tokens), max(tokens)]
    assert max(tokens) < 1 << 32
    for processes in plan["sends"].values():
        for items in processes.values():
            assert len({item["sport"] for item in items}) == len(items)
            assert all(12000 <= item["sport"] < 32000 for item in items)


def test_isolated_guests_are_helped_to_try(fleet):
    guests = [fleet.guest("iso0", "isonet", "10.64.130.2/24"), fleet.guest("iso1", "isonet", "10.64.130.3/24")]
    plan = matrix.plan(fleet.lab([fleet.ISOLATED], guests))
    found = rows(plan)
    assert found == {
        ("iso0@kvm1", "iso1@kvm1", "10.64.130.3"): "yes",
        ("iso1@kvm1", "iso0@kvm1", "10.64.130.2"): "yes",
        ("iso0@kvm1", "kvm1", "10.77.0.11"): "no",
        ("kvm1", "iso0@kvm1", "10.64.130.2"): "no",
        ("iso1@kvm1", "kvm1", "10.77.0.11"): "no",
        ("kvm1", "iso1@kvm1", "10.64.130.3"): "no",
        ("iso0@kvm1", "outside", "10.77.0.50"): "no",
        ("outside", "iso0@kvm1", "10.64.130.2"): "no",
        ("iso1@kvm1", "outside", "10.77.0.50"): "no",
        ("outside", "iso1@kvm1", "10.64.130.3"): "no",
    }
    out = cells(plan, **{"from": "iso0@kvm1", "to": "outside", "protocol": "tcp"})[0]
    how = send_of(plan, out)
    assert (how["via"], how["dev"], how["source"]) == ("02:aa:00:00:00:0a", "eth0", "10.64.130.2")
    inward = cells(plan, **{"from": "kvm1", "to": "iso0@kvm1", "protocol": "tcp"})[0]
    assert send_of(plan, inward)["dev"] == "isobr0"


def test_listeners_that_hear_nobody_get_a_control(fleet):
    guests = [fleet.guest("iso0", "isonet", "10.64.130.2/24")]
    plan = matrix.plan(fleet.lab([fleet.ISOLATED], guests))
    assert rows(plan, control=True) == {
        ("outside", "kvm1", "10.77.0.11"): "yes",
        ("kvm1", "outside", "10.77.0.50"): "yes",
        ("iso0@kvm1", "iso0@kvm1", "10.64.130.2"): "yes",
    }


def test_networks_of_one_host(fleet):
    guests = [
        fleet.guest("vm0", "natnet", "10.64.100.2/24"), fleet.guest("rt0", "rtnet", "10.64.120.2/24"),
        fleet.guest("iso0", "isonet", "10.64.130.2/24"),
    ]
    plan = matrix.plan(fleet.lab([fleet.NAT, fleet.ROUTED, fleet.ISOLATED], guests))
    found = {key[:2]: value for key, value in rows(plan).items() if "@" in key[0] and "@" in key[1]}
    assert found == {
        ("vm0@kvm1", "rt0@kvm1"): "yes", ("rt0@kvm1", "vm0@kvm1"): "no", ("vm0@kvm1", "iso0@kvm1"): "no",
        ("iso0@kvm1", "vm0@kvm1"): "no", ("rt0@kvm1", "iso0@kvm1"): "no", ("iso0@kvm1", "rt0@kvm1"): "no",
    }  # fmt: skip
    as_host = cells(plan, **{"from": "vm0@kvm1", "to": "rt0@kvm1", "protocol": "tcp"})[0]
    assert "10.64.120.1" in as_host["source_expected"]
    assert "10.64.100.1" not in as_host["source_expected"]


def test_no_reply_is_owed_where_nobody_was_told_the_way_back(fleet):
    guests = [fleet.guest("rt0", "rtnet", "10.64.120.2/24")]
    plan = matrix.plan(fleet.lab([fleet.ROUTED], guests))
    assert not cells(plan, **{"from": "rt0@kvm1", "to": "outside"})[0]["reply"]
    told = {**fleet.ROUTED, "return_routes": {"mode": "static", "peers": ["outside"]}}
    plan = matrix.plan(fleet.lab([told], guests))
    assert cells(plan, **{"from": "rt0@kvm1", "to": "outside"})[0]["reply"]
    assert cells(plan, **{"from": "outside", "to": "rt0@kvm1"})[0]["expected"] == "yes"


def test_a_reply_is_owed_by_those_who_were_told(fleet):
    def owed(*peers):
        told = {**fleet.ROUTED, "return_routes": {"mode": "static", "peers": list(peers)}}
        facts = fleet.lab([told], [fleet.guest("rt0", "rtnet", "10.64.120.2/24")])
        facts["far"] = fleet.outside(fleet.link("eth0", "10.77.0.51/24"))
        return {cell["to"] for cell in matrix.plan(facts)["cells"] if cell["from"] == "rt0@kvm1" and cell["reply"]} - {"kvm1"}

    assert owed("outside") == {"outside"} and owed("far", "outside") == {"outside", "far"}
    # Whom a gateway or a group stands for is not known here.
    assert owed() == owed("gateway") == owed("outside", "routers") == {"outside", "far"}


def test_guests_of_two_hosts_reach_each_other_where_both_were_told(fleet):
    def routed(name, subnet, *peers):
        more = {"return_routes": {"mode": "static", "peers": list(peers)}} if peers else {}
        return {**fleet.ROUTED, "name": name, "addresses": [f"10.64.{subnet}.1/24"], **more}

    def between(first, second):
        guests = [fleet.guest("vm0", "r1", "10.64.1.2/24"), fleet.guest("vm2", "r2", "10.64.2.2/24")]
        plan = matrix.plan(two(fleet, routed("r1", 1, *first), routed("r2", 2, *second), guests))
        found = [cell for cell in plan["cells"] if "@" in cell["from"] and "@" in cell["to"] and cell["protocol"] == "tcp"]
        assert all(cell["expected"] == "yes" and len(cell["source_expected"]) == 1 for cell in found)
        return {cell["from"][:3]: cell["reply"] for cell in found}

    assert between(["kvm2"], ["kvm1"]) == {"vm0": True, "vm2": True}
    # Only kvm2 was told the way to r1: packets of vm2 arrive there, the answers do not come back to r2.
    assert between(["kvm2"], []) == {"vm2": False}
    assert between([], []) == {}


def test_hosts_that_speak_bgp_hear_of_each_other_unasked(fleet):
    def by_bgp(name, subnet, mode, *peers):
        more = {"return_routes": {"mode": mode, "peers": list(peers)}}
        return {**fleet.ROUTED, "name": name, "addresses": [f"10.64.{subnet}.1/24"], **more}

    def owed(first, second):
        guests = [fleet.guest("vm0", "r1", "10.64.1.2/24"), fleet.guest("vm2", "r2", "10.64.2.2/24")]
        facts = two(fleet, first, second, guests)
        facts["far"] = fleet.outside(fleet.link("eth0", "10.77.0.51/24"))
        found = [cell for cell in matrix.plan(facts)["cells"] if cell["protocol"] == "tcp" and cell["from"] == "vm0@kvm1"]
        return {cell["to"][:4]: cell["reply"] for cell in found if not cell["to"].startswith("kvm1")}

    assert owed(by_bgp("r1", 1, "bgp"), by_bgp("r2", 2, "bgp")) == {"vm2@": True, "kvm2": True, "far": False}
    assert owed(by_bgp("r1", 1, "bgp", "far"), by_bgp("r2", 2, "bgp"))["far"]
    # One that announces nothing hears nothing, unless it is a peer.
    assert not owed(by_bgp("r1", 1, "bgp"), by_bgp("r2", 2, "static", "kvm1"))["vm2@"]
    assert owed(by_bgp("r1", 1, "bgp", "kvm2"), by_bgp("r2", 2, "static", "kvm1"))["vm2@"]


def two(fleet, first, second, guests=()):
    one, other = guests or [
        fleet.guest(name, network["name"], "10.64.100.2/24") for name, network in (("vm0", first), ("vm2", second))
    ]
    return {
        "kvm1": fleet.kvm([first], [one], fleet.link("eth0", "10.77.0.11/24")),
        "kvm2": fleet.kvm([second], [other], fleet.link("eth0", "10.77.0.12/24"), session="b"),
    }


def test_guests_of_two_hosts_with_one_subnet_are_left_out_and_it_is_said(fleet):
    plan = matrix.plan(two(fleet, fleet.NAT, fleet.NAT))
    assert not [cell for cell in plan["cells"] if "@kvm1" in cell["from"] and "@kvm2" in cell["to"]]
    assert any("kvm1 and kvm2 both have 10.64.100.0/24" in note for note in plan["notes"])
    assert any("No outside machine" in note for note in plan["notes"])


def test_another_host_is_outside(fleet):
    plan = matrix.plan(two(fleet, fleet.NAT, fleet.NAT))
    assert rows(plan)[("vm0@kvm1", "kvm2", "10.77.0.12")] == "yes"
    refused = cells(plan, **{"from": "kvm2", "to": "vm0@kvm1", "protocol": "icmp"})[0]
    assert (refused["expected"], refused["via"]) == ("no", "10.77.0.11")


def test_guests_of_two_hosts_with_their_own_subnets(fleet):
    other = {**fleet.NAT, "addresses": ["10.64.101.1/24"]}
    guests = fleet.guest("vm0", "natnet", "10.64.100.2/24"), fleet.guest("vm2", "natnet", "10.64.101.2/24")
    plan = matrix.plan(two(fleet, {**fleet.NAT, "addresses": ["10.64.100.1/24"]}, other, guests))
    assert rows(plan)[("vm0@kvm1", "vm2@kvm2", "10.64.101.2")] == "no"


def test_a_guest_without_its_address_is_not_forgotten(fleet):
    item, found = fleet.guest("vm0", "natnet", "10.64.100.2/24")
    found["links"][0]["addresses"] = ["10.64.100.150/24"]
    plan = matrix.plan(fleet.lab(guests=[(item, found)]))
    mine = [cell for cell in plan["cells"] if "vm0@kvm1" in (cell["from"], cell["to"])]
    assert mine
    assert all("lacks the address 10.64.100.2" in cell["problem"] and cell["token"] is None for cell in mine)


def test_a_reserved_address_is_the_one_to_have(fleet):
    reserved = {**fleet.NAT, "dhcp": {"reservations": [{"name": "vm0", "mac": "52:54:00:00:00:01", "address": "10.64.100.2"}]}}
    item = {"name": "vm0", "nics": [{"network": "natnet", "mac": "52:54:00:00:00:01"}]}
    for has, problem in (("10.64.100.2/24", None), ("10.64.100.9/24", "vm0@kvm1: it lacks the address 10.64.100.2")):
        found = fleet.end("guest", fleet.link("eth0", has, "fd00:64::2/64", mac="52:54:00:00:00:01"))
        plan = matrix.plan(fleet.lab([reserved], [(item, found)]))
        cell = cells(plan, **{"from": "vm0@kvm1", "family": "ipv4"})[0]
        assert (cell["problem"] or "").startswith(problem or "")
        assert bool(cell["problem"]) == bool(problem)


def test_a_guest_that_does_not_answer_is_not_forgotten(fleet):
    item, _found = fleet.guest("vm0", "natnet", "10.64.100.2/24")
    plan = matrix.plan(fleet.lab(guests=[(item, {"kind": "guest", "error": "the guest agent does not answer"})]))
    assert cells(plan, **{"from": "vm0@kvm1"})
    assert all("does not answer" in cell["problem"] for cell in plan["cells"])


def test_stopped_guests_and_networks_take_no_part(fleet):
    item, found = fleet.guest("vm0", "natnet", "10.64.100.2/24")
    assert matrix.plan(fleet.lab(guests=[({**item, "state": "stopped"}, found)]))["cells"] == []
    assert matrix.plan(fleet.lab(guests=[({**item, "host": "kvm9"}, found)]))["cells"] == []
    assert matrix.plan(fleet.lab([{**fleet.NAT, "state": "inactive"}], [(item, found)]))["cells"] == []


def test_dns_is_asked_where_the_host_serves_it(fleet):
    plan = matrix.plan(fleet.lab(), ["www.lab"])
    found = cells(plan, protocol="dns")
    assert {(cell["from"], cell["address"], cell["expected"]) for cell in found} == {
        (guest, address, "yes") for guest in ("vm0@kvm1", "vm1@kvm1") for address in ("10.64.100.1", "fd00:64::1")
    }
    assert send_of(plan, found[0])["name"] == "www.lab"
    assert not cells(matrix.plan(fleet.lab([{**fleet.NAT, "dns": {"enabled": False}}]), ["www.lab"]), protocol="dns")


@pytest.mark.parametrize(("bridge", "where"), [(None, "in no bridge"), ("br9", "in br9"), ("natbr0", None)])
def test_a_guest_that_is_not_in_its_bridge_proves_nothing(fleet, bridge, where):
    """Else every cell of an isolated one that somebody has cut off would be as the contract says."""
    lab = fleet.lab([fleet.NAT], [fleet.guest("vm0", "natnet", "10.64.100.2/24")])
    link = names.tap_name("vm0", 0)
    lab["kvm1"]["endpoints"]["host"]["plugged"] = {link: bridge}
    found = [cell for cell in matrix.plan(lab)["cells"] if "vm0@kvm1" in (cell["from"], cell["to"])]
    assert found
    assert {cell["problem"] for cell in found} == {
        f"vm0@kvm1: its NIC {link} is {where}, and not in natbr0 of natnet" if where else None
    }


def test_an_isolated_networks_dns_asks_nobody_outside(fleet):
    served = {**fleet.ISOLATED, "addresses": ["10.64.130.1/24"], "dhcp": {}, "subnets": []}
    guests = [fleet.guest("iso0", "isonet", "10.64.130.2/24")]

    def expected(dns):
        found = cells(matrix.plan(fleet.lab([{**served, "dns": dns}], guests), ["www.lab"]), protocol="dns")
        return [cell["expected"] for cell in found]

    assert expected(None) == ["no"]
    assert expected({"enabled": True}) == ["no"]
    assert expected({"hosts": [{"address": "10.64.130.9", "names": ["www.lab"]}]}) == ["yes"]
    assert expected({"forwarders": ["10.77.0.1"]}) == ["yes"]


def test_exceptions_by_port_are_tried(fleet):
    open_to = {**fleet.ISOLATED, "policy": {
        "allow_to": [{"network": "natnet", "protocol": "tcp", "ports": ["5432"]}],
        "host_access": [{"protocol": "tcp", "ports": ["22"]}],
    }}  # fmt: skip
    guests = [fleet.guest("vm0", "natnet", "10.64.100.2/24"), fleet.guest("iso0", "isonet", "10.64.130.2/24")]
    plan = matrix.plan(fleet.lab([fleet.NAT, open_to], guests))
    found = {(cell["to"], cell["port"]): cell["expected"] for cell in cells(plan, protocol="tcp", **{"from": "iso0@kvm1"})}
    assert found[("vm0@kvm1", 5432)] == found[("kvm1", 22)] == "yes"
    assert found[("vm0@kvm1", 46464)] == found[("kvm1", 46464)] == "no"


@pytest.mark.parametrize(("pairs", "guest_pairs"), [("all", 20), ("one", 1)])
def test_large_fleets_are_bounded(fleet, pairs, guest_pairs):
    guests = [fleet.guest(f"vm{number}", "natnet", f"10.64.100.{number + 10}/24") for number in range(5)]
    plan = matrix.plan(fleet.lab(guests=guests), pairs=pairs)
    found = [key for key in rows(plan) if "@" in key[0] and "@" in key[1]]
    assert len(found) == guest_pairs


def test_nothing_takes_part():
    assert matrix.plan({})["cells"] == []


def test_pairs_are_named_or_refused():
    with pytest.raises(ValueError, match="all, one"):
        matrix.plan({}, pairs="some")


def test_an_address_of_the_host_in_an_isolated_subnet_is_tried_too(fleet):
    facts = fleet.lab([fleet.ISOLATED], [fleet.guest("a", "isonet", "10.64.130.2/24")])
    bridge = next(one for one in facts["kvm1"]["endpoints"]["host"]["links"] if one["name"] == "isobr0")
    bridge["addresses"] = ["10.64.130.11/24", "10.64.131.11/24", "fe80::1/64"]
    plan = matrix.plan(facts)
    tried = cells(plan, to="kvm1", family="ipv4", protocol="tcp", control=False, **{"from": "a@kvm1"})
    # The one in the subnet by the guest's own route, the one on the LAN by force; the third is none of either.
    assert [(one["address"], one["expected"], bool(one["via"])) for one in tried] == [
        ("10.64.130.11", "no", False), ("10.77.0.11", "no", True),
    ]  # fmt: skip


def forwarded(plan, **wanted):
    """{(from, to, forward): (expected, sources)} of the cells that go by a port forward."""
    return {
        (cell["from"], cell["to"], cell["forward"]): (cell["expected"], cell["source_expected"])
        for cell in cells(plan, control=False, **wanted) if cell["forward"]
    }


def with_forwards(network, *items):
    found = [{"name": f"f{number}", "to": {"address": "10.64.100.2"}, **item} for number, item in enumerate(items)]
    return {**network, "port_forwards": found}


def test_a_port_forward_is_asked_for_from_everywhere(fleet):
    guests = [
        fleet.guest("vm0", "natnet", "10.64.100.2/24"), fleet.guest("vm1", "natnet", "10.64.100.3/24"),
        fleet.guest("rt0", "rtnet", "10.64.120.2/24"), fleet.guest("iso0", "isonet", "10.64.130.2/24"),
    ]
    nat = with_forwards(fleet.NAT, {"listen": {"ports": "8080"}, "to": {"address": "10.64.100.2", "ports": "80"}})
    facts = fleet.lab([nat, fleet.ROUTED, fleet.ISOLATED], guests)
    away = {**fleet.NAT, "addresses": ["10.64.101.1/24"]}
    facts["kvm2"] = fleet.kvm(
        [away], [fleet.guest("vm2", "natnet", "10.64.101.2/24")], fleet.link("eth0", "10.77.0.12/24"), session="b"
    )
    plan = matrix.plan(facts)
    found = forwarded(plan)
    assert found == {
        (src, "vm0@kvm1", "kvm1:8080"): (("yes", [source]) if source else ("no", None))
        for src, source in (
            ("outside", "10.77.0.50"), ("vm1@kvm1", "10.64.100.1"), ("rt0@kvm1", "10.64.120.2"),
            ("iso0@kvm1", None), ("vm2@kvm2", "10.77.0.12"),
        )
    } | {
        ("kvm1", "vm0@kvm1", "kvm1:8080"): ("yes", ["10.77.0.11", "10.64.100.1", "10.64.120.1"]),
        ("kvm2", "vm0@kvm1", "kvm1:8080"): ("yes", ["10.77.0.12", "10.64.101.1"]),
    }
    [cell] = cells(plan, forward="kvm1:8080", **{"from": "outside"})
    assert cell["name"] == "outside → vm0@kvm1 via kvm1:8080 ipv4 tcp"
    assert (cell["address"], cell["port"]) == ("10.77.0.11", 8080)
    assert send_of(plan, cell)["port"] == 8080
    [shut] = cells(plan, forward="kvm1:8080", **{"from": "iso0@kvm1"})
    assert send_of(plan, shut)["via"]


def test_forwards_with_conditions(fleet):
    nat = with_forwards(
        fleet.NAT,
        {"listen": {"ports": "1000"}, "hairpin": False},
        {"listen": {"ports": "2000", "interface": "eth9"}},
        {"listen": {"ports": "3000"}, "sources": ["10.64.100.0/24"]},
        {"listen": {"ports": "4000", "address": "10.64.100.1"}},
    )
    plan = matrix.plan(fleet.lab([nat]))
    found = {key: expected for key, (expected, _sources) in forwarded(plan).items()}
    assert found == {
        (src, "vm0@kvm1", f"{at}"): word
        for at, words in (
            ("kvm1:1000", ("yes", "no", "no")), ("kvm1:2000", ("no", "no", "no")), ("kvm1:3000", ("no", "no", "yes")),
            ("10.64.100.1:4000", ("yes", "yes", "yes")),
        )
        for src, word in zip(("outside", "kvm1", "vm1@kvm1"), words)
    }
    # An address of the host's that is not on the LAN: the asker hands the packet to the host.
    [cell] = cells(plan, forward="10.64.100.1:4000", **{"from": "outside"})
    assert (cell["address"], cell["via"]) == ("10.64.100.1", "10.77.0.11")


def test_ranges_by_their_ends_in_each_protocol_and_family(fleet):
    nat = with_forwards(
        fleet.NAT, {"protocol": "both", "listen": {"ports": "9000-9009"}, "to": {"address": "10.64.100.2", "ports": "90-99"}},
        {"listen": {"ports": "9000"}, "to": {"address": "fd00:64::2"}},
    )
    plan = matrix.plan(fleet.lab([nat]))
    found = {(cell["family"], cell["protocol"], cell["forward"]) for cell in plan["cells"] if cell["forward"]}
    assert found == {
        ("ipv4", protocol, f"kvm1:{port}") for protocol in ("tcp", "udp") for port in (9000, 9009)
    } | {("ipv6", "tcp", "kvm1:9000")}


def test_a_forward_to_nobody_is_a_note(fleet):
    nat = with_forwards(fleet.NAT, {"listen": {"ports": "8080"}, "to": {"address": "10.64.100.99"}})
    plan = matrix.plan(fleet.lab([nat]))
    assert not forwarded(plan)
    assert any("no guest takes part to whom the port forward f0 (10.64.100.99)" in note for note in plan["notes"])


def test_a_forward_to_a_guest_that_does_not_answer_is_not_forgotten(fleet):
    item, _found = fleet.guest("vm0", "natnet", "10.64.100.2/24")
    nat = {
        **with_forwards(fleet.NAT, {"listen": {"ports": "8080"}, "to": {"guest": "vm0"}}),
        "dhcp": {"reservations": [{"name": "vm0", "mac": "52:54:00:00:00:01", "address": "10.64.100.2"}]},
    }
    plan = matrix.plan(fleet.lab([nat], [(item, {"kind": "guest", "error": "the guest agent does not answer"})]))
    asked = [cell for cell in plan["cells"] if cell["forward"]]
    assert {cell["from"] for cell in asked} == {"outside", "kvm1"}
    assert all("does not answer" in cell["problem"] for cell in asked)


def test_the_control_of_a_closed_forward_asks_the_guest_itself(fleet):
    nat = with_forwards(fleet.NAT, {"protocol": "udp", "listen": {"ports": "8080"}, "sources": ["192.0.2.0/24"]})
    builder = matrix.Builder(fleet.lab([nat], [fleet.guest("vm0", "natnet", "10.64.100.2/24")]))
    builder.forwards()
    builder.controls()
    [control] = [cell for cell in builder.cells if cell["control"]]
    assert (control["from"], control["address"]) == ("kvm1", "10.64.100.2")


def stretched(fleet, network, *addresses):
    """Two hosts with one stretched network, a guest on each."""
    network = {**network, "stretch": {"mode": "vxlan", "vni": 7}}
    found = fleet.lab([network], [fleet.guest("vm0", network["name"], addresses[0])])
    link = fleet.link("eth0", "10.77.0.12/24", mac="02:00:00:00:00:0c")
    found["kvm2"] = fleet.kvm([network], [fleet.guest("vm1", network["name"], addresses[1])], link, session="b")
    found["kvm2"]["endpoints"]["host"]["links"][1]["mac"] = "02:aa:00:00:00:0b"
    return matrix.plan(found)


def test_a_stretched_network_is_one_segment(fleet):
    plan = stretched(fleet, fleet.ISOLATED, "10.64.130.2/24", "10.64.130.3/24")
    found = rows(plan)
    assert found.pop(("vm0@kvm1", "vm1@kvm2", "10.64.130.3")) == found.pop(("vm1@kvm2", "vm0@kvm1", "10.64.130.2")) == "yes"
    assert set(found.values()) == {"no"} and len(found) == 12
    # And the shortest way to another host is by its bridge.
    far = cells(plan, **{"from": "vm0@kvm1", "to": "kvm2", "protocol": "tcp"})[0]
    near = cells(plan, **{"from": "vm0@kvm1", "to": "outside", "protocol": "tcp"})[0]
    assert (send_of(plan, far)["via"], send_of(plan, near)["via"]) == ("02:aa:00:00:00:0b", "02:aa:00:00:00:0a")
    assert not plan["notes"] or "both have" not in " ".join(plan["notes"])


def test_hosts_of_a_stretched_network_know_the_way_back(fleet):
    plan = stretched(fleet, fleet.ROUTED, "10.64.120.2/24", "10.64.120.3/24")
    assert rows(plan)[("vm0@kvm1", "vm1@kvm2", "10.64.120.3")] == "yes"
    replies = {to: cells(plan, **{"from": "vm0@kvm1", "to": to, "protocol": "tcp"})[0]["reply"] for to in ("kvm2", "outside")}
    assert replies == {"kvm2": True, "outside": False}
