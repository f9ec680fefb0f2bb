# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries

ITEMS = [
    {"name": "iso", "model": "isolated", "subnets": ["10.64.102.0/24"]},
    {"name": "iso2", "model": "isolated", "addresses": ["10.64.103.1/24"], "dhcp": {"ranges": []}},
    {
        "name": "r", "model": "routed", "bridge_owner": "host", "bridge": "rbr0", "addresses": ["10.64.104.1/24"],
        "subnets": ["10.64.105.0/24"], "uplink": "eth1", "masquerade": True,
        "routes": [{"to": "10.9.0.0/16", "via": "10.64.104.9"}],
    },
    {
        "name": "far", "model": "routed", "addresses": ["10.64.107.1/24"], "mac": "02:00:00:00:00:01",
        "stretch": {"mode": "vxlan", "vni": 7, "local": "192.0.2.1", "peers": ["192.0.2.3", "192.0.2.2"], "serves": False},
    },
    {"name": "near", "model": "isolated", "stretch": {"mode": "vxlan", "vni": 8}},
    {"name": "b", "model": "bridged", "uplink": "eth0", "attach": "macvtap"},
    {
        "name": "n", "model": "nat", "addresses": ["10.64.106.1/24"], "firewall": "libvirt",
        "policy": {
            "allow_to": [{"network": "iso", "protocol": "tcp", "ports": ["22", "80-90"]}],
            "host_access": [{"protocol": "icmp"}], "deny_host": True, "anti_spoofing": False, "port_isolation": True,
            "log_drops": True,
        },
    },
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["name"])
def test_an_entry_is_plain_and_reads_back_as_itself(item, parse, natnet):
    [network] = parse(item)
    entry = entries.network_entry(network)
    assert json.loads(json.dumps(entry)) == entry
    back = entries.stored_network(entry, "store")
    assert entries.network_entry(back) == entry
    assert (back.subnets, back.policy, back.masquerade) == (network.subnets, network.policy, network.masquerade)
    assert (back.stretch is None, back.gateway_mac) == (network.stretch is None, network.gateway_mac)


def test_spellings_of_one_declaration_give_one_entry(parse, natnet):
    other = {**natnet, "addresses": ["10.64.100.1/24", "FD00:64:0::1/64"], "policy": {"allow_to": []}, "port_forwards": []}
    other["dhcp"] = {"reservations": [{**one, "mac": one["mac"].replace(":", "-")} for one in natnet["dhcp"]["reservations"]]}
    assert entries.network_entry(parse(other)[0]) == entries.network_entry(parse(natnet)[0])


def test_what_is_not_given_is_left_alone(parse, natnet):
    stored = entries.network_entry(parse(natnet)[0])
    short = {"name": "natnet", "model": "nat", "bridge": "natbr0"}
    assert entries.network_entry(parse(entries.with_kept(short, stored))[0]) == stored
    emptied = entries.with_kept({**short, "dhcp": {"reservations": []}}, stored)
    assert entries.network_entry(parse(emptied)[0])["dhcp"] == {"reservations": []}
    assert entries.with_kept({"name": "natnet", "state": "absent"}, stored) == {"name": "natnet", "state": "absent"}


def test_rules_of_a_network(parse, natnet):
    natnet["port_forwards"] = [
        {"name": "web", "listen": {"ports": "8080"}, "to": {"guest": "vm0", "ports": "80"}},
        {"name": "dns", "protocol": "both", "listen": {"address": "192.0.2.1", "ports": "53"}, "to": {"guest": "vm0"}},
    ]
    rules = entries.rules_of_network(parse(natnet)[0])
    assert rules == {
        "masquerade": {
            "name": "masquerade", "type": "masquerade", "network": "natnet", "bridge": "natbr0",
            "sources": ["10.64.100.0/24", "fd00:64::/64"], "interface": None,
        },
        "web": {
            "name": "web", "type": "dnat", "network": "natnet", "protocols": ["tcp"],
            "listen": {"address": None, "interface": None, "ports": "8080"},
            "to": {"guest": "vm0", "addresses": ["10.64.100.2", "fd00:64::2"], "ports": "80"},
            "sources": [], "hairpin": True,
        },
        "dns": {
            "name": "dns", "type": "dnat", "network": "natnet", "protocols": ["tcp", "udp"],
            "listen": {"address": "192.0.2.1", "interface": None, "ports": "53"},
            "to": {"guest": "vm0", "addresses": ["10.64.100.2"], "ports": "53"},
            "sources": [], "hairpin": True,
        },
    }


@pytest.mark.parametrize(
    "item",
    [
        {"name": "n", "state": "absent"},
        {"name": "n", "model": "nat", "addresses": ["10.64.1.1/24"], "firewall": "libvirt"},
        {"name": "n", "model": "routed", "addresses": ["10.64.1.1/24"]},
        {"name": "n", "model": "bridged"},
        {"name": "n", "model": "isolated"},
    ],
)
def test_networks_that_ask_for_no_rule(item, parse):
    assert entries.rules_of_network(parse(item)[0]) == {}


@pytest.mark.parametrize(
    ("forwards", "message"),
    [
        ([{"name": "a", "listen": {"ports": "1"}, "to": {"guest": "vm9"}}], "vm9 has no reservation"),
        ([{"name": "a", "listen": {"ports": "1"}, "to": {"address": "10.9.9.9"}}], "outside the network's subnets"),
        (
            [{"name": "a", "listen": {"ports": "1", "address": "fd01::1"}, "to": {"guest": "vm1"}}],
            "no target of the IP version",
        ),
        (
            [{"name": "a", "listen": {"ports": "1"}, "to": {"guest": "vm1"}, "sources": ["fd01::/64"]}],
            "not of the target's IP version",
        ),
        (
            [
                {"name": "a", "listen": {"ports": "1"}, "to": {"guest": "vm0"}},
                {"name": "a", "listen": {"ports": "2"}, "to": {"guest": "vm1"}},
            ],
            r"port_forwards\[1\].name.*port_forwards\[0\]",
        ),
        ([{"name": "masquerade", "listen": {"ports": "1"}, "to": {"guest": "vm0"}}], "the network's own masquerade"),
    ],
)
def test_forwards_that_cannot_be(forwards, message, parse, natnet):
    natnet["port_forwards"] = forwards
    with pytest.raises(InvalidInput, match=message):
        entries.rules_of_network(parse(natnet)[0])


def test_a_network_without_known_subnet_cannot_be_translated(parse):
    with pytest.raises(InvalidInput, match="no known subnet"):
        entries.rules_of_network(parse({"name": "n", "model": "nat"})[0])


def test_rules_of_a_user(parse, natnet):
    networks = {"natnet": parse(natnet)[0]}
    rule = entries.parse_rule({"name": "m", "type": "masquerade", "source": "10.80.0.0/24", "interface": "eth0"}, "r", {})
    assert rule == {
        "name": "m", "type": "masquerade", "network": None, "bridge": None, "sources": ["10.80.0.0/24"], "interface": "eth0",
    }
    rule = entries.parse_rule({"name": "s", "type": "snat", "network": "natnet", "to": {"address": "192.0.2.7"}}, "r", networks)
    assert (rule["sources"], rule["to"]) == (["10.64.100.0/24"], {"address": "192.0.2.7"})
    rule = entries.parse_rule(
        {"name": "s", "type": "snat", "network": "natnet", "to": {"address": "192.0.2.10-192.0.2.20"}}, "r", networks
    )
    assert rule["to"] == {"address": "192.0.2.10-192.0.2.20"}
    item = {"name": "s", "type": "snat", "network": "natnet", "to": {"address": "fd99::1 - FD99::1"}}
    rule = entries.parse_rule(item, "r", networks)
    assert (rule["sources"], rule["to"]) == (["fd00:64::/64"], {"address": "fd99::1"})
    rule = entries.parse_rule({"name": "e", "type": "exempt", "network": "natnet", "destination": "fd99::/64"}, "r", networks)
    assert (rule["sources"], rule["destination"]) == (["fd00:64::/64"], "fd99::/64")
    rule = entries.parse_rule(
        {"name": "d", "type": "dnat", "network": "natnet", "listen": {"ports": "8000-8003"}, "to": {"guest": "vm1"}},
        "r", networks,
    )
    assert rule["to"] == {"guest": "vm1", "addresses": ["10.64.100.3"], "ports": "8000-8003"}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"type": None}, "no type"),
        ({"type": "masquerade"}, "whose packets"),
        ({"type": "masquerade", "source": "10.0.0.0/24", "network": "natnet"}, "whose packets"),
        ({"type": "masquerade", "source": "10.0.0.1/24"}, "not a subnet"),
        ({"type": "masquerade", "network": "other"}, "other is not known"),
        ({"type": "masquerade", "source": "10.0.0.0/24", "destination": "10.1.0.0/24"}, "has no destination"),
        ({"type": "masquerade", "source": "10.0.0.0/24", "interface": "a/b"}, "link's name"),
        ({"type": "snat", "source": "10.0.0.0/24"}, "needs the address"),
        ({"type": "snat", "source": "10.0.0.0/24", "to": {"address": "fd00::1"}}, "IP version"),
        ({"type": "exempt", "source": "10.0.0.0/24"}, "needs its destination"),
        ({"type": "exempt", "source": "10.0.0.0/24", "destination": "fd00::/64"}, "IP version"),
        ({"type": "dnat", "listen": {"ports": "1"}}, "needs to"),
        ({"type": "dnat", "listen": {}, "to": {"address": "10.0.0.1"}}, "no port"),
        ({"type": "dnat", "listen": {"ports": "1"}, "to": {"guest": "vm0"}}, "without its network"),
        ({"type": "dnat", "listen": {"ports": "1-9"}, "to": {"address": "10.0.0.1", "ports": "1-3"}}, "two lengths"),
        ({"type": "dnat", "interface": "eth0", "listen": {"ports": "1"}, "to": {"address": "10.0.0.1"}}, "has no interface"),
        ({"type": "snat", "source": "10.0.0.0/24", "to": {"address": "10.0.0.1"}, "literal": True}, "has no literal"),
        ({"type": "dnat", "network": "old", "listen": {"ports": "1"}, "to": {"address": "10.64.109.2"}}, "firewall: libvirt"),
    ],
)
def test_rules_that_cannot_be(item, message, parse, natnet):
    old = {"name": "old", "model": "nat", "addresses": ["10.64.109.1/24"], "firewall": "libvirt"}
    networks = {one.name: one for one in parse(natnet, old)}
    with pytest.raises(InvalidInput, match=message) as caught:
        entries.parse_rule({"name": "x", **item}, "rules[0]", networks)
    assert caught.value.option.startswith("rules[0].")


def test_rules_that_translate_in_both_directions(parse, natnet):
    networks = {"natnet": parse(natnet)[0]}
    item = {"name": "o", "type": "one_to_one", "network": "natnet", "listen": {"address": "192.0.2.7"}, "to": {"guest": "vm0"}}
    assert entries.parse_rule(item, "r", networks) == {
        "name": "o", "type": "one_to_one", "network": "natnet", "bridge": "natbr0", "sources": ["10.64.100.0/24"],
        "listen": {"address": "192.0.2.7"}, "to": {"guest": "vm0", "addresses": ["10.64.100.2"]}, "hairpin": True,
    }
    rule = entries.parse_rule({**item, "listen": {"address": "fd99:0::7"}, "hairpin": False}, "r", networks)
    assert (rule["listen"], rule["to"]["addresses"], rule["sources"]) == (
        {"address": "fd99::7"}, ["fd00:64::2"], ["fd00:64::/64"],
    )
    assert rule["hairpin"] is False
    item = {
        "name": "o", "type": "one_to_one", "source": "10.9.0.0/24", "listen": {"address": "192.0.2.7"},
        "to": {"address": "10.9.0.5"},
    }
    assert entries.parse_rule(item, "r", {})["to"] == {"guest": None, "addresses": ["10.9.0.5"]}
    item = {"name": "p", "type": "npt", "network": "natnet", "to": {"subnet": "2001:db8:1::/64"}}
    assert entries.parse_rule(item, "r", networks) == {
        "name": "p", "type": "npt", "network": "natnet", "bridge": "natbr0", "sources": ["fd00:64::/64"],
        "to": {"subnet": "2001:db8:1::/64"}, "hairpin": True,
    }


ONE = {"type": "one_to_one", "network": "natnet", "listen": {"address": "192.0.2.7"}, "to": {"guest": "vm0"}}
NPT = {"type": "npt", "source": "10.9.0.0/24", "to": {"subnet": "192.0.2.0/24"}}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({**ONE, "listen": {}}, "needs the outside address"),
        ({**ONE, "listen": {"address": "192.0.2.7", "ports": "80"}}, r"has no listen\.ports"),
        ({**ONE, "to": {"guest": "vm0", "ports": "80"}}, r"has no to\.ports"),
        ({**ONE, "to": {"guest": "vm0", "subnet": "10.0.0.0/24"}}, r"has no to\.subnet"),
        ({**ONE, "to": {"guest": "vm0", "address": "10.64.100.2"}}, "either guest or address"),
        ({**ONE, "to": {"guest": "vm9"}}, "vm9 has no reservation"),
        ({**ONE, "to": {"guest": "vm1"}, "listen": {"address": "fd99::7"}}, "no address of the IP version"),
        ({**ONE, "to": {"address": "10.64.99.2"}}, "10.64.99.2 is not inside 10.64.100.0/24"),
        ({**ONE, "listen": {"address": "10.64.100.7"}}, "inside the network natnet"),
        ({**ONE, "listen": {"address": "127.0.0.1"}}, "cannot stand for guests"),
        ({**ONE, "listen": {"address": "ff02::1"}}, "cannot stand for guests"),
        ({**ONE, "source": "10.9.0.0/24"}, "whose packets"),
        ({**ONE, "network": "old"}, "firewall: libvirt"),
        ({**ONE, "network": None, "source": "10.64.100.0/24"}, "without its network"),
        ({**ONE, "interface": "eth0"}, "has no interface"),
        ({**ONE, "sources": ["198.51.100.0/24"]}, "has no sources"),
        ({**NPT, "to": {}}, "needs the subnet"),
        ({**NPT, "to": {"subnet": "192.0.2.0/25"}}, "differ in length.*/24"),
        ({**NPT, "to": {"subnet": "192.0.2.1/24"}}, "not a subnet"),
        ({**NPT, "to": {"subnet": "2001:db8::/64"}}, "there is not one subnet"),
        ({**NPT, "to": {"address": "192.0.2.1"}}, r"has no to\.address"),
        ({**NPT, "source": "10.9.0.1/32", "to": {"subnet": "192.0.2.1/32"}}, "one_to_one"),
        ({**NPT, "to": {"subnet": "10.9.0.0/24"}}, "overlap"),
        ({**NPT, "to": {"subnet": "10.64.100.0/24"}}, "inside the network natnet"),
        ({**NPT, "source": None, "network": "old", "to": {"subnet": "192.0.2.0/24"}}, "firewall: libvirt"),
        ({"type": "snat", "source": "10.9.0.0/24", "to": {"address": "192.0.2.9-192.0.2.1"}}, "not a range"),
        ({"type": "snat", "source": "10.9.0.0/24", "to": {"address": "192.0.2.9-fd00::1"}}, "not a range"),
        ({"type": "snat", "source": "10.9.0.0/24", "to": {"address": "192.0.2.9", "ports": "5"}}, r"has no to\.ports"),
        ({"type": "dnat", "listen": {"ports": "1"}, "to": {"subnet": "10.0.0.0/24"}}, r"has no to\.subnet"),
    ],
)
def test_rules_in_both_directions_that_cannot_be(item, message, parse, natnet):
    old = {"name": "old", "model": "nat", "addresses": ["10.64.109.1/24"], "firewall": "libvirt"}
    networks = {one.name: one for one in parse(natnet, old)}
    with pytest.raises(InvalidInput, match=message) as caught:
        entries.parse_rule({"name": "x", **item}, "rules[0]", networks)
    assert caught.value.option.startswith("rules[0].")
