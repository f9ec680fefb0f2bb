# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is meant, what is looked up, and what is said in the end."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.explain import owners, report, resolve, static


def test_ends_and_addresses(hosts):
    plan = resolve.plan(hosts, "vm0@kvm1", "vm1", token=7)
    assert (plan["src"]["address"], plan["dst"]["address"], plan["version"]) == ("10.1.0.10", "10.1.0.11", 4)
    assert plan["hosts"]["kvm1"]["send"]["item"] == {
        "token": 7, "to": "10.1.0.11", "family": 4, "protocol": "icmp", "port": 0, "sport": resolve.SPORT, "wanted": True,
    }  # fmt: skip
    assert list(plan["hosts"]) == ["kvm1"] and plan["hosts"]["kvm1"]["listen"] == ["vm0", "vm1"]


def test_a_host_is_asked_where_the_guest_is_near(hosts):
    assert resolve.plan(hosts, "vm2", "kvm1")["dst"]["address"] == "10.2.0.1"
    assert resolve.plan(hosts, "vm2", "kvm2")["dst"]["address"] == "192.0.2.12"
    assert resolve.plan(hosts, "outside", "vm2")["hosts"]["out"]["send"]["end"] == "host"


def test_the_guest_of_the_same_host_is_meant_and_an_address_means_its_owner(hosts):
    assert resolve.plan(hosts, "vm2", "vm0")["dst"]["label"] == "vm0@kvm1"
    assert resolve.plan(hosts, "vm2", "10.1.0.11")["dst"]["label"] == "vm1@kvm1"
    assert resolve.plan(hosts, "vm2", "198.51.100.7")["dst"]["kind"] == "address"
    assert resolve.plan(hosts, "vm0@kvm1", "fd01::1")["version"] == 6


def test_a_guest_that_is_off_has_the_address_that_it_is_to_have(hosts):
    hosts["kvm1"]["guests"]["vm1"].update(runs=False, state="is shut off", links=[])
    networks = hosts["kvm1"]["networks"]
    hosts["kvm1"]["networks"] = [
        {**networks[0], "dhcp": {"reservations": [{"name": "vm1", "address": "10.1.0.77"}]}},
        *networks[1:],
    ]
    assert resolve.plan(hosts, "vm0@kvm1", "vm1")["dst"]["address"] == "10.1.0.77"


@pytest.mark.parametrize(("ends", "more", "says"), [
    (("vm0", "vm2"), {}, "kvm1 and kvm2 each have a guest 'vm0'. Say vm0@kvm1."),
    (("vm9", "vm2"), {}, "'vm9' is no guest, no host of the play and no address. Hosts: kvm1, kvm2, out. Guests: vm0@kvm1,"),
    (("vm2", "vm2"), {}, "one and the same"),
    (("vm2", "10.2.0.12"), {}, "one and the same"),
    (("vm2@kvm7", "vm1"), {}, "there is no host 'kvm7'"),
    (("198.51.100.7", "vm1"), {}, "no guest and no host of the play has the address"),
    (("vm2", "vm1"), {"protocol": "udp"}, "udp without a port"),
    (("vm2", "vm1"), {"protocol": "sctp"}, "'sctp' is no protocol"),
    (("vm2", "vm1"), {"protocol": "tcp", "port": 70000}, "70000 is no port"),
    (("vm2", "vm1"), {"family": "ipx"}, "'ipx' is no family"),
    (("vm2", "vm0@kvm2"), {}, "of a subnet that kvm1 has, too"),
    (("vm2", "10.1.0.11"), {"family": "ipv6"}, "is no ipv6 address"),
])  # fmt: skip
def test_what_cannot_be_meant(hosts, ends, more, says):
    with pytest.raises(InvalidInput) as told:
        resolve.plan(hosts, *ends, **more)
    assert says in str(told.value)


@pytest.mark.parametrize(("ends", "allowed", "opening"), [
    (("vm1", "vm2"), True, None),
    (("vm2", "vm1"), False, "policy.allow_to: [{network: nat, protocol: tcp, ports: [\"80\"]}] of rou"),
    (("vm3", "kvm1"), False, "policy.host_access: [{protocol: tcp, ports: [\"80\"]}] of iso"),
    (("outside", "vm1"), False, "port_forwards: [{name: NAME"),
    (("vm3", "outside"), False, "another model"),
])  # fmt: skip
def test_the_promise_and_what_opens_it(hosts, ends, allowed, opening):
    plan = resolve.plan(hosts, *ends, protocol="tcp", port=80)
    assert plan["promise"]["allowed"] is allowed
    if opening:
        assert opening in owners.opening(plan["promise"], plan["src"], plan["dst"], "tcp", 80)


ROUTE = {"target": "10.2.0.12", "source": "10.1.0.10", "iif": "natbr", "in": {"dev": "roubr"},
         "out": {"dev": "roubr", "via": None},
         "back": {"dev": "natbr"}}  # fmt: skip


@pytest.mark.parametrize(("values", "route", "says"), [
    ({"net.ipv4.conf.all.forwarding": "0", "net.ipv4.conf.natbr.forwarding": "0"}, {}, "forwarding is off on this host"),
    ({"net.ipv4.conf.natbr.forwarding": "0"}, {}, "off for what comes in by natbr"),
    ({"net.ipv4.conf.natbr.rp_filter": "1"}, {"back": {"dev": "eth0"}}, "10.1.0.10 would go by eth0; the kernel counted 2"),
    ({"net.ipv4.conf.natbr.rp_filter": "2"}, {"back": {"error": "x"}}, "has no route"),
    ({}, {"out": {"error": "Network is unreachable"}}, "no route to 10.2.0.12: Network is unreachable"),
    ({}, {"in": {"error": "Invalid argument"}}, "Invalid argument"),
])  # fmt: skip
def test_why_a_host_does_not_route(hosts, values, route, says):
    facts = hosts["kvm1"]
    facts["sysctls"].update(values)
    words, owner, cure = static.routing(facts, {**ROUTE, **route}, 4, {"IPReversePathFilter": 1}, {"IPReversePathFilter": 3})
    assert says in words and owner.startswith("the kernel") and cure


def test_loose_reverse_path_and_a_way_of_ones_own_are_no_problem(hosts):
    facts = hosts["kvm1"]
    facts["sysctls"]["net.ipv4.conf.natbr.rp_filter"] = "2"
    assert static.routing(facts, {**ROUTE, "back": {"dev": "eth0"}}, 4, {}, {}, guess=False) is None


@pytest.mark.parametrize(("change", "says"), [
    ({"tap": {"up": False}}, "it is down"),
    ({"tap": {"master": None}}, "it is in no bridge, and not in natbr"),
    ({"tap": {"master": "roubr"}}, "it is in roubr, and not in natbr"),
    ({"tap": {"stp": "listening"}}, "the bridge keeps it listening"),
    ({"bridge": {"up": False}}, "it is down"),
])  # fmt: skip
def test_a_segment_that_is_broken(hosts, change, says):
    facts = hosts["kvm1"]
    facts["links"]["tap1"].update(change.get("tap", {}))
    facts["links"]["natbr"].update(change.get("bridge", {}))
    nic = resolve.plan(hosts, "vm2", "vm1")["dst"]["nic"]
    assert static.segment(facts, nic)[-1][1] == says and static.segment(facts, nic)[-1][2]


@pytest.mark.parametrize(("drop", "whose"), [
    (("inet", "virtnet", "from_routed", "drop"), "virtnet.kvm"),
    (("ip", "filter", "VIRTNET_FORWARD", "x"), "virtnet.kvm"),
    (("ip", "filter", "LIBVIRT_FWI", "x"), "libvirt"),
    (("ip", "libvirt_network", "guest_input", "x"), "libvirt"),
    (("inet", "firewalld", "filter_FORWARD", "x"), "firewalld"),
    (("ip", "filter", "DOCKER-USER", "x"), "Docker"),
    (("ip", "filter", "FORWARD", None, "DOCKER"), "Docker"),
    (("ip", "filter", "FORWARD", None, "ufw-user-forward"), "ufw"),
    (("ip", "filter", "ufw-user-forward", "x"), "ufw"),
    (("ip", "filter", "FORWARD", None), "iptables"),
    (("inet", "site", "forward", None), "somebody's table site"),
])  # fmt: skip
def test_whose_it_is(drop, whose):
    family, table, chain, rule, *chains = drop
    fact = {"family": family, "table": table, "chain": chain, "rule": rule}
    found = owners.owner(fact, chains)
    assert found.startswith(whose) or whose in found
    assert owners.cure(fact, found, "kvm1")


# -- the whole, with what a host may have seen


def visit(layer, hook, iif=None, oif=None, drop=None, **more):
    return {"layer": layer, "hook": hook, "iif": iif, "oif": oif, "saddr": "10.2.0.12", "daddr": "10.1.0.11",
            "tables": [], "left": drop is None, "drop": drop, **more}  # fmt: skip


def told(hosts, ends, trace, arrived=False, routes=None, **sent):
    plan = resolve.plan(hosts, *ends, token=1)
    row = {"token": 1, "sent": 1, "error": None, "replied_ms": None, "reply_from": None, "refused": None, **sent}
    arrivals = [{"protocol": "icmp", "token": 1, "source": plan["src"]["address"], "dev": "eth0", "count": 1}] if arrived else []
    evidence = {
        plan["src"]["process"]: {"arrivals": [], "sends": [row]},
        plan["dst"]["process"]: {"arrivals": arrivals, "sends": []},
    }
    collect = {"trace": trace, "evidence": evidence, "routes": routes or {}, "counters": {}}
    return report.explain(plan, hosts, {plan["src"]["host"]: {"listen": {}, "send": {}, "collect": collect}})


WAY = [visit("bridge", "prerouting", "tap2"), visit("ip", "prerouting", "roubr")]


def test_what_the_model_forbids_is_by_design(hosts):
    drop = {"family": "inet", "table": "virtnet", "chain": "from_routed", "rule": "oifname @nat_bridges drop"}
    found = told(hosts, ("vm2", "vm1"), {"ask": [*WAY, visit("ip", "forward", "roubr", "natbr", drop)]})
    assert found["reaches"] is False and found["stopped"]["where"] == "ip forward"
    assert "by design, the model promises this no: nat: closed from outside" in found["verdict"]
    assert found["cure"].startswith("To allow it: policy.allow_to")


def test_ours_against_the_model_is_drift_and_a_guard_speaks_of_sources(hosts):
    drop = {"family": "inet", "table": "virtnet", "chain": "forward", "rule": None}
    found = told(hosts, ("vm1", "vm2"), {"ask": [*WAY, visit("ip", "forward", "natbr", "roubr", drop)]})
    assert found["cure"] == report.AGAIN and "promises this yes" in found["verdict"]
    found = told(hosts, ("vm1", "vm2"), {"ask": [visit("bridge", "prerouting", "tap1", drop={**drop, "family": "bridge"})]})
    assert found["cure"] == report.SPOOFED


def test_a_host_whose_own_output_is_closed(hosts):
    """The sender is told that it may not; who says so the trace knows."""
    drop = {"family": "inet", "table": "site", "chain": "output", "rule": None}
    seen = {"ask": [visit("ip", "output", oif="roubr", drop=drop)]}
    found = told(hosts, ("kvm1", "vm2"), seen, sent=0, error="EPERM")
    assert found["stopped"]["where"] == "ip output" and "table site" in found["stopped"]["owner"]


def test_a_reply_proves_all_and_what_looks_odd_stops_nothing(hosts):
    hosts["kvm1"]["links"]["tap1"]["isolated"] = True
    found = told(hosts, ("vm1", "vm2"), {"ask": WAY, "reply": WAY}, arrived=True, replied_ms=1.0)
    assert found["reaches"] is True and found["stopped"] is None and found["cure"] is None
    assert found["lines"][-1] == "vm1@kvm1 reaches vm2@kvm1; the model promises this yes: nat to routed"


def test_lost_where_the_host_routes(hosts):
    hosts["kvm1"]["sysctls"]["net.ipv4.conf.all.forwarding"] = "0"
    found = told(hosts, ("vm1", "vm2"), {"ask": WAY}, routes={"ask": ROUTE})
    assert found["stopped"]["where"] == "routing" and "forwarding is off" in found["stopped"]["what"]


def test_heard_and_answered_but_lost_on_the_way_back(hosts):
    drop = {"family": "inet", "table": "site", "chain": "forward", "rule": "ip saddr 10.2.0.12 drop"}
    back = [visit("bridge", "prerouting", "tap2"), visit("ip", "forward", "roubr", "natbr", drop)]
    found = told(hosts, ("vm1", "vm2"), {"ask": WAY, "reply": back}, arrived=True)
    assert found["stopped"]["owner"].startswith("somebody's table site") and "saddr" in found["stopped"]["what"]


@pytest.mark.parametrize(("sent", "says"), [
    ({"sent": 0, "error": "ENETUNREACH"}, "it has no route to 10.2.0.12"),
    ({"sent": 0, "error": "EPERM"}, "its own firewall"),
])  # fmt: skip
def test_a_guest_that_cannot_send(hosts, sent, says):
    found = told(hosts, ("vm1", "vm2"), {}, **sent)
    assert says in found["stopped"]["what"] and found["stopped"]["owner"] == "the guest itself"


@pytest.mark.parametrize("sent", [{"sent": 0, "error": "ENETUNREACH"}, {}], ids=["no route", "not seen"])
def test_a_host_that_forwards_no_ipv6_is_no_router_to_its_guests(hosts, sent):
    """Which of the two it is depends on when the guest has asked for its gateway for the last time."""
    hosts["kvm1"]["guests"]["vm2"]["links"][0]["addresses"] = ["10.2.0.12/24", "fd02::12/64"]
    asks = {"neighbour": [{"layer": "bridge", "hook": "prerouting", "iif": "tap0", "oif": None, "saddr": None, "daddr": None,
                           "tables": [], "left": True, "drop": None}]}  # fmt: skip
    ends = ("vm0@kvm1", "vm2")
    for off, says in (("0", "IPv6 forwarding is off, so the guest takes its host for no router"), ("1", None)):
        hosts["kvm1"]["sysctls"]["net.ipv6.conf.all.forwarding"] = off
        plan = resolve.plan(hosts, *ends, family="ipv6", token=1)
        row = {"token": 1, "sent": 1, "error": None, "replied_ms": None, "reply_from": None, "refused": None, **sent}
        collect = {"trace": asks, "evidence": {"vm0": {"arrivals": [], "sends": [row]}}, "routes": {}, "counters": {}}
        stopped = report.explain(plan, hosts, {"kvm1": {"listen": {}, "send": {}, "collect": collect}})["stopped"]
        assert (stopped["what"] == says) if says else (stopped["where"] != "routing"), stopped
    # Within its own subnet a guest needs no router.
    assert static.no_router(hosts["kvm1"], "natbr", 4) is None


@pytest.mark.parametrize(("refused", "says"), [
    ("reset by 10.2.0.12", "nothing listens"), ("ICMP type 3 code 3 by 10.2.0.12", "nothing listens"),
    ("ICMP type 3 code 13 by 10.2.0.12", "its own firewall refuses"), ("ICMP type 3 code 1 by 192.0.2.1", "192.0.2.1 refuses it"),
])  # fmt: skip
def test_refused(hosts, refused, says):
    found = told(hosts, ("vm1", "vm2"), {"ask": WAY}, arrived=True, refused=refused)
    assert says in found["stopped"]["what"]


def test_without_an_agent_it_is_said_what_was_not_seen(hosts):
    hosts["kvm1"]["guests"]["vm1"]["agent"] = "the guest agent does not answer"
    plan = resolve.plan(hosts, "vm1", "vm2", token=1)
    found = report.explain(plan, hosts, {"kvm1": {"listen": {"probes": {}}, "send": {}, "collect": {"routes": {}}}})
    assert found["reaches"] is None and "not known" in found["verdict"]
    assert any("was not seen, for no packet was sent" in line for line in found["lines"])
