# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import conversations, entries, store

# conntrack -L of conntrack-tools 1.4.7
OUT = (
    "tcp      6 431999 ESTABLISHED src=10.64.100.3 dst=198.18.0.2 sport=40000 dport=443 "
    "src=198.18.0.2 dst=198.18.0.1 sport=443 dport=40000 [ASSURED] mark=0 use=1"
)
FORWARDED = (
    "tcp      6 300 ESTABLISHED src=198.18.0.2 dst=198.18.0.1 sport=50000 dport=8080 "
    "src=10.64.100.2 dst=198.18.0.2 sport=80 dport=50000 [ASSURED] mark=0 use=1"
)
HAIRPIN = (
    "tcp      6 300 ESTABLISHED src=10.64.100.3 dst=198.18.0.1 sport=50000 dport=8080 "
    "src=10.64.100.2 dst=10.64.100.1 sport=80 dport=50000 [ASSURED] mark=0 use=1"
)
UNREPLIED = (
    "udp      17 29 src=10.64.102.9 dst=10.64.100.3 sport=1 dport=53 [UNREPLIED] "
    "src=10.64.100.3 dst=10.64.102.9 sport=53 dport=1 mark=0 use=1"
)
PING = (
    "icmp     1 29 src=10.64.100.3 dst=10.64.101.2 type=8 code=0 id=77 "
    "src=10.64.101.2 dst=10.64.100.1 type=0 code=0 id=77 mark=0 use=1"
)
PING6 = (
    "icmpv6   58 29 src=fd00:64::3 dst=fd18::2 type=128 code=0 id=7 "
    "src=fd18::2 dst=fd18::1 type=129 code=0 id=7 mark=0 use=1"
)
GRE = "unknown  47 500 src=10.64.100.3 dst=10.9.9.9 src=10.9.9.9 dst=198.18.0.1 mark=0 use=1"
TO_HOST = (
    "tcp      6 300 ESTABLISHED src=10.64.100.3 dst=10.64.100.1 sport=5 dport=22 "
    "src=10.64.100.1 dst=10.64.100.3 sport=22 dport=5 [ASSURED] mark=0 use=1"
)
INWARD = (
    "tcp      6 300 ESTABLISHED src=198.18.0.2 dst=10.64.101.2 sport=5 dport=22 "
    "src=10.64.101.2 dst=198.18.0.2 sport=22 dport=5 [ASSURED] mark=0 use=1"
)
OTHERS = (
    "tcp      6 300 ESTABLISHED src=172.17.0.2 dst=198.18.0.2 sport=5 dport=22 "
    "src=198.18.0.2 dst=198.18.0.1 sport=22 dport=5 [ASSURED] mark=0 use=1"
)
ALL = (OUT, FORWARDED, HAIRPIN, UNREPLIED, PING, PING6, GRE, TO_HOST, INWARD, OTHERS)
HOST = {ipaddress.ip_address(text) for text in ("198.18.0.1", "fd18::1", "10.64.100.1", "10.64.101.1", "fd00:64::1")}

WEB = {"name": "web", "listen": {"ports": "8080"}, "to": {"guest": "vm0", "ports": "80"}}
ROUTED = {"name": "r", "model": "routed", "addresses": ["10.64.101.1/24"]}


def state(parse, *items):
    networks = parse(*items)
    rules = {f"@{one.name}": entries.rules_of_network(one) for one in networks}
    return store.State({one.name: entries.network_entry(one) for one in networks}, {k: v for k, v in rules.items() if v})


def forbidden(before, after):
    subnets = conversations.touched(before, after)
    judge = conversations.Judge(after.parsed(), after.flat_rules(), HOST, subnets)
    return {line for line in ALL if judge.concerns(conversations.parse(line)) and judge.forbids(conversations.parse(line))}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {"f": "10.9.0.2"}, set()),
        ({"f": "10.9.0.2"}, {}, {"10.9.0.2/32"}),
        ({"f": "10.9.0.2"}, {"f": "10.9.0.3", "g": "10.9.0.4"}, {"10.9.0.2/32", "10.9.0.3/32"}),
        ({"f": "10.9.0.2"}, {"f": "10.9.0.2"}, set()),
        ({}, {"m": "10.9.0.0/24"}, {"10.9.0.0/24"}),
        ({"m": "10.9.0.0/24"}, {"m": "10.9.0.2"}, {"10.9.0.0/24", "10.9.0.2/32"}),
    ],
)
def test_what_a_change_of_rules_touches(before, after, found):
    """A new port forward forbids nothing: ten thousand of them are no reason to look at anybody."""
    def rule(name, text):
        if "/" in text:
            return {"name": name, "type": "masquerade", "source": text}
        return {"name": name, "type": "dnat", "listen": {"ports": "80"}, "to": {"address": text}}

    def of(named):
        rules = {name: entries.parse_rule(rule(name, text), "rules[0]", {}) for name, text in named.items()}
        return store.State({}, {"many": rules})

    assert {str(one) for one in conversations.touched(of(before), of(after))} == found


def test_parse():
    one = conversations.parse(FORWARDED)
    assert (one.protocol, str(one.source), str(one.answers), one.port, one.answer_port) == (
        "tcp", "198.18.0.2", "10.64.100.2", 8080, 80
    )
    assert one.forwarded
    assert not one.masqueraded
    assert conversations.parse(OUT).masqueraded
    assert conversations.parse(PING).keys == (
        ("-s", "10.64.100.3"), ("-d", "10.64.101.2"), ("--icmp-type", "8"), ("--icmp-code", "0"), ("--icmp-id", "77"),
    )
    assert conversations.parse(PING6).keys[2] == ("--icmpv6-type", "128")
    assert conversations.parse(GRE).protocol == "47"
    assert conversations.parse("conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown.") is None
    assert conversations.parse("") is None


@pytest.mark.parametrize(
    ("change", "cut"),
    [
        ({}, set()),
        ({"policy": {"allow_to": [{"network": "r"}]}}, {UNREPLIED}),
        ({"policy": {"deny_host": True}}, {UNREPLIED, TO_HOST}),
        ({"policy": {"deny_host": True, "host_access": [{"protocol": "tcp", "ports": ["22"]}]}}, {UNREPLIED}),
        ({"port_forwards": []}, {FORWARDED, HAIRPIN}),
        ({"port_forwards": [{**WEB, "sources": ["198.18.0.0/24"]}]}, {HAIRPIN}),
        ({"port_forwards": [{**WEB, "listen": {"ports": "8081"}}]}, {FORWARDED, HAIRPIN}),
        ({"port_forwards": [{**WEB, "to": {"guest": "vm1", "ports": "80"}}]}, {FORWARDED, HAIRPIN, UNREPLIED}),
        ({"port_forwards": [{**WEB, "listen": {"ports": "8080", "address": "198.18.0.1"}}]}, set()),
        ({"masquerade": False}, {UNREPLIED, OUT, PING, PING6, GRE}),
        (
            {"model": "isolated", "masquerade": False, "port_forwards": []},
            {OUT, FORWARDED, HAIRPIN, PING, PING6, GRE, TO_HOST, UNREPLIED},
        ),
    ],
)
def test_what_a_change_cuts(parse, natnet, change, cut):
    natnet["port_forwards"] = [WEB]
    before = state(parse, natnet, ROUTED)
    after = state(parse, {**natnet, **change}, ROUTED)
    assert forbidden(before, after) == cut


# vm0 stands outside as 198.18.0.7, inwards and outwards; 10.9.0.0/24, of which no network is known, as 198.18.9.0/24.
INTO = (
    "icmp     1 29 src=198.18.0.2 dst=198.18.0.7 type=8 code=0 id=77 "
    "src=10.64.100.2 dst=198.18.0.2 type=0 code=0 id=77 mark=0 use=1"
)
UNDER = (
    "udp      17 29 src=10.64.100.2 dst=198.18.0.2 sport=1 dport=53 src=198.18.0.2 dst=198.18.0.7 sport=53 dport=1 mark=0 use=1"
)
AS_HOST = UNDER.replace("198.18.0.7", "198.18.0.1")
PREFIX_IN = UNDER.replace("src=10.64.100.2 dst=198.18.0.2", "src=198.18.0.2 dst=198.18.9.5").replace(
    "src=198.18.0.2 dst=198.18.0.7", "src=10.9.0.5 dst=198.18.0.2"
)
PREFIX_OUT = UNDER.replace("10.64.100.2", "10.9.0.5").replace("198.18.0.7", "198.18.9.5")
BOTH_WAYS = {
    "one": {
        "name": "one", "type": "one_to_one", "network": "natnet", "listen": {"address": "198.18.0.7"},
        "to": {"address": "10.64.100.2"},
    },
    "npt": {"name": "npt", "type": "npt", "source": "10.9.0.0/24", "to": {"subnet": "198.18.9.0/24"}},
}


@pytest.mark.parametrize(
    ("before", "after", "cut"),
    [
        (["one", "npt"], {}, {INTO, UNDER, PREFIX_IN, PREFIX_OUT}),
        (["one", "npt"], {"one": {}}, {PREFIX_IN, PREFIX_OUT}),
        (["one", "npt"], {"npt": {}}, {INTO, UNDER}),
        (["one", "npt"], {"one": {"listen": {"address": "198.18.0.8"}}, "npt": {}}, {INTO, UNDER}),
        (["one", "npt"], {"one": {"to": {"address": "10.64.100.9"}}, "npt": {}}, {INTO, UNDER}),
        (["one", "npt"], {"npt": {"to": {"subnet": "198.18.8.0/24"}}, "one": {}}, {PREFIX_IN, PREFIX_OUT}),
        (["one", "npt"], {"one": {"hairpin": False}, "npt": {"hairpin": False}}, set()),
        ([], {"one": {}, "npt": {}}, set()),
    ],
)
def test_what_no_longer_stands_for_a_guest(parse, natnet, before, after, cut):
    networks = {one.name: one for one in parse(natnet)}
    states = []
    for changes in ({name: {} for name in before}, after):
        one = state(parse, natnet)
        rules = {name: entries.parse_rule({**BOTH_WAYS[name], **change}, "r", networks) for name, change in changes.items()}
        one.put_rules("default", rules, "nftables")
        states.append(one)
    judge = conversations.Judge(
        states[1].parsed(), states[1].flat_rules(), HOST, conversations.touched(*states), states[0].flat_rules()
    )
    lines = [AS_HOST] if not before else [INTO, UNDER, AS_HOST, PREFIX_IN, PREFIX_OUT]
    rows = {line: conversations.parse(line) for line in lines}
    assert {line for line, row in rows.items() if judge.concerns(row) and judge.forbids(row)} == cut


def test_another_network_is_not_looked_at(parse, natnet):
    natnet["port_forwards"] = [WEB]
    before = state(parse, natnet, ROUTED)
    after = state(parse, natnet, {**ROUTED, "model": "isolated", "dhcp": {}})
    assert forbidden(before, after) == {INWARD, PING}


def test_what_goes_with_a_network(parse, natnet):
    natnet["port_forwards"] = [WEB]
    before = state(parse, natnet, ROUTED)
    after = state(parse, ROUTED)
    assert forbidden(before, after) == {OUT, FORWARDED, HAIRPIN, PING, PING6, GRE}
    assert forbidden(after, after) == set()


def test_deletions_name_no_other_conversation():
    rows = [conversations.parse(line) for line in ALL]
    one = {line: conversations.parse(line) for line in ALL}
    everything_of = conversations.deletions(rows, {one[FORWARDED]})
    assert everything_of == [["-s", "198.18.0.2", "-d", "198.18.0.1"]]
    assert conversations.deletions(rows, {one[FORWARDED], one[INWARD]}) == [["-s", "198.18.0.2"]]
    again = conversations.parse(OUT.replace("dport=443", "dport=80"))
    assert conversations.deletions([*rows, again], {again}) == [
        ["-p", "tcp", "-s", "10.64.100.3", "-d", "198.18.0.2", "--sport", "40000", "--dport", "80"]
    ]
    assert conversations.deletions(rows, set()) == []


class Host:
    def __init__(self, there=True):
        self.there = there
        self.calls = []

    def run(self, command, data=None, check=True, what=None, subject=None):
        self.calls.append(command)
        if command[0] == "ip":
            return 0, '[{"addr_info": [{"local": "198.18.0.1"}, {}]}, {}]', ""
        if not self.there:
            raise MissingDependency("the command conntrack is not there")
        if command[1] == "-L":
            return 0, "\n".join(line for line in ALL if (":" in line.split("src=")[1]) == (command[3] == "ipv6")) + "\n", ""
        return 1, "", "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted."


def test_effects(parse, natnet):
    before, after = state(parse, natnet), state(parse, {**natnet, "policy": {"deny_host": True}})
    host = Host()
    assert conversations.Conversations(host).cut(before, before) == []
    assert host.calls == []
    assert conversations.Conversations(host).cut(before, after) == []
    assert ["conntrack", "-L", "-f", "ipv6"] in host.calls
    assert any(call[:4] == ["conntrack", "-D", "-f", "ipv4"] for call in host.calls)
    [warning] = conversations.Conversations(Host(there=False)).cut(before, after)
    assert "conntrack is not on this host" in warning
