# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bridged networks in the proof: one segment over all hosts, and addresses that nobody knows beforehand."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import ends, matrix

LAN = "10.77.0.0/24"


def guest(fleet, name, *has, network="lannet", mac=None):
    """A guest with addresses of the LAN's."""
    item = {"name": name, "nics": [{"network": network, **({"mac": mac} if mac else {})}]}
    return item, fleet.end("guest", fleet.link("eth0", *has, "fe80::1/64", mac=mac or "52:54:00:00:00:01"))


def lab(fleet, network=None, more=(), guests=(), **changes):
    """Two hosts whose LAN address is on br0, each with a guest on the LAN, and the outside."""
    network = {**fleet.LAN, **(network or {}), **changes}
    found = {"outside": fleet.outside(fleet.link("eth0", "10.77.0.50/24", "fd77::50/64"))}
    for number, name in ((11, "kvm1"), (12, "kvm2")):
        on = "eth0" if network.get("attach") == "macvtap" else "br0"
        link = fleet.link(on, f"10.77.0.{number}/24", f"fd77::{number}/64", mac=f"02:00:00:00:00:{number}")
        mine = guest(fleet, f"lan{number}", f"10.77.0.1{number}/24", f"fd77::1{number}/64", mac=f"52:54:00:00:00:{number}")
        found[name] = fleet.kvm([network], [mine], session=name)
        # The bridge is the host's LAN link, it comes with an address; a macvtap has none.
        host = found[name]["endpoints"]["host"]
        host["links"], host["uplinks"] = [link], [on]
    for item, end in guests:
        found["kvm1"]["guests"].append(item)
        found["kvm1"]["endpoints"][item["name"]] = end
    for one in more:
        found["kvm1"]["networks"].append(one)
        found["kvm1"]["endpoints"]["host"]["links"].append(
            fleet.link(one["bridge"], *one.get("addresses", []), mac="02:aa:00:00:00:0a")
        )
    return found


def cells(plan, src, dst, version=4, protocol="tcp"):
    want = {"from": src, "to": dst, "family": f"ipv{version}", "protocol": protocol, "control": False}
    return [one for one in plan["cells"] if all(one[key] == value for key, value in want.items())]


def sent(plan, cell):
    host, process = cell["sender"]
    return next(one for one in plan["sends"][host][process] if one["token"] == cell["token"])


@pytest.mark.parametrize("version", [4, 6])
def test_one_segment_over_two_hosts(fleet, version):
    plan = matrix.plan(lab(fleet))
    everybody = ["lan11@kvm1", "lan12@kvm2", "kvm1", "kvm2", "outside"]
    for src in everybody:
        for dst in everybody:
            if src != dst and "@" in src + dst:
                (cell,) = cells(plan, src, dst, version)
                assert (cell["expected"], cell["via"], cell["reply"], cell["problem"]) == ("yes", None, True, None)
    (cell,) = cells(plan, "lan12@kvm2", "kvm1", version)
    assert cell["address"] == {4: "10.77.0.11", 6: "fd77::11"}[version]
    assert cell["source_expected"] == [{4: "10.77.0.112", 6: "fd77::112"}[version]]
    assert not plan["notes"] or plan["notes"] == ["No DNS names were given: resolving is not proven."]


def test_macvtap_is_forced_both_ways_and_heard_by_others(fleet):
    plan = matrix.plan(lab(fleet, attach="macvtap"))
    for protocol in matrix.PROTOCOLS:
        (out,), (back,) = cells(plan, "lan11@kvm1", "kvm1", 4, protocol), cells(plan, "kvm1", "lan11@kvm1", 4, protocol)
        assert (out["expected"], back["expected"]) == ("no", "no")
        # Neither is owed to a neighbour that nobody found: the frame goes to the other's own MAC address.
        how = {key: sent(plan, out)[key] for key in ("via", "dev", "source")}
        assert how == {"via": "02:00:00:00:00:11", "dev": "eth0", "source": "10.77.0.111"}
        how = {key: sent(plan, back)[key] for key in ("via", "dev", "source")}
        assert how == {"via": "52:54:00:00:00:11", "dev": "eth0", "source": "10.77.0.11"}
        assert cells(plan, "lan12@kvm2", "kvm1", 4, protocol)[0]["expected"] == "yes"
        assert cells(plan, "lan12@kvm2", "lan11@kvm1", 4, protocol)[0]["expected"] == "yes"
    assert not [one for one in plan["cells"] if one["control"]]


def test_an_address_by_dhcp_is_the_one_that_the_guest_has(fleet):
    facts = lab(fleet)
    facts["kvm1"]["endpoints"]["lan11"]["links"][0]["addresses"] = ["fe80::1/64"]
    plan = matrix.plan(facts)
    (cell,) = cells(plan, "outside", "lan11@kvm1")
    assert "lacks an ipv4 address" in cell["problem"] and cell["token"] is None
    assert not cells(plan, "outside", "lan11@kvm1", 6)
    assert "lan11@kvm1 has no ipv6 address, its host has one on that LAN; left out." in plan["notes"]


def test_a_declared_subnet_is_the_one_to_be_in(fleet):
    facts = lab(fleet, subnets=[LAN, "fd78::/64"])
    (cell,) = cells(matrix.plan(facts), "outside", "lan11@kvm1", 6)
    assert "lacks an ipv6 address in lannet" in cell["problem"]
    assert cells(matrix.plan(facts), "outside", "lan11@kvm1")[0]["problem"] is None


@pytest.mark.parametrize(("declared", "found"), [(None, {4, 6}), (["dhcp"], {4, 6}), (["10.77.0.99/24"], set())])
def test_what_a_lan_may_bring(fleet, declared, found):
    (network,) = models.parse_networks([fleet.LAN])
    links = [fleet.link("br0", "10.77.0.11/24", "fd77::11/64", "fe80::1/64"), fleet.link("br1", "10.1.0.1/24")]
    assert ends.lan_versions({"network": "lannet", "addresses": declared}, network, links) == found
    (nat,) = models.parse_networks([fleet.NAT])
    assert ends.lan_versions({"network": "natnet"}, nat, links) == set()


def test_networks_behind_the_host(fleet):
    """The LAN hands its packets to the host itself, as the outside does; nobody told it a way back to a routed network."""
    guests = [fleet.guest("vm0", "natnet", "10.64.100.2/24"), fleet.guest("rt0", "rtnet", "10.64.120.2/24")]
    plan = matrix.plan(lab(fleet, more=[fleet.NAT, fleet.ROUTED], guests=guests))
    for src, host in (("lan11@kvm1", "kvm1"), ("lan12@kvm2", "kvm2")):
        (refused,), (routed,) = cells(plan, src, "vm0@kvm1"), cells(plan, src, "rt0@kvm1")
        assert (refused["expected"], routed["expected"], routed["reply"]) == ("no", "yes", True)
        assert refused["via"] == routed["via"] == "02:00:00:00:00:11", host
        (as_host,), (own,) = cells(plan, "vm0@kvm1", src), cells(plan, "rt0@kvm1", src)
        assert (as_host["expected"], as_host["reply"], own["expected"], own["reply"]) == ("yes", True, "yes", False)
        assert "10.77.0.11" in as_host["source_expected"] and own["source_expected"] == ["10.64.120.2"]


def test_networks_behind_a_host_that_its_macvtap_guests_cannot_reach(fleet):
    guests = [fleet.guest("vm0", "natnet", "10.64.100.2/24"), fleet.guest("rt0", "rtnet", "10.64.120.2/24")]
    plan = matrix.plan(lab(fleet, more=[fleet.NAT, fleet.ROUTED], guests=guests, attach="macvtap"))
    assert cells(plan, "vm0@kvm1", "lan11@kvm1")[0]["expected"] == "no"
    assert cells(plan, "vm0@kvm1", "lan12@kvm2")[0]["expected"] == "yes"
    assert not cells(plan, "lan11@kvm1", "rt0@kvm1")
    assert any("only another router leads to rtnet" in note for note in plan["notes"])
