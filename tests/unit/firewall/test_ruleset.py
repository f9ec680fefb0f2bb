# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of the ruleset. golden/*.nft are compared to the last character; after a wanted change, write them anew with
UPDATE_GOLDEN=1 pytest tests/unit/firewall and read the difference."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import drops, entries, iptables_text, nft, ruleset, translation

GOLDEN = Path(__file__).parent / "golden"
LICENCE = "".join(Path(__file__).read_text().splitlines(keepends=True)[:3]) + "\n"

FOUR_MODELS = [
    {
        "name": "web", "model": "nat", "bridge": "webbr0", "addresses": ["10.64.101.1/24"], "uplink": "eth0",
        "policy": {
            "allow_to": [{"network": "db", "protocol": "tcp", "ports": ["5432", "5430-5440"]}, {"network": "lab"}],
            "log_drops": True,
        },
    },
    {
        "name": "lab", "model": "nat", "bridge": "labbr0", "addresses": ["10.64.102.1/24"], "firewall": "libvirt",
        "policy": {"deny_host": True, "host_access": [{"protocol": "tcp", "ports": ["22"]}, {"protocol": "icmp"}]},
    },
    {"name": "db", "model": "isolated", "bridge": "dbbr0", "subnets": ["10.64.103.0/24"], "policy": {"anti_spoofing": False}},
    {
        "name": "guarded", "model": "isolated", "bridge": "gbr0", "addresses": ["10.64.104.1/24", "fd00:68::1/64"],
        "dhcp": {"ranges": []},
    },
    {
        "name": "dmz", "model": "routed", "bridge": "dmzbr0", "addresses": ["10.64.105.1/24"], "masquerade": True,
        "routes": [{"to": "10.9.0.0/16", "via": "10.64.105.9"}], "policy": {"port_isolation": True},
        "dhcp": {"reservations": [{"mac": "52:54:00:00:05:09", "address": "10.64.105.9"}]},
    },
    {"name": "lan", "model": "bridged", "bridge": "br0"},
]


def rules_of(networks):
    return {
        (f"@{network.name}", name): rule
        for network in networks for name, rule in sorted(entries.rules_of_network(network).items())
    }


def golden(name, text):
    path = GOLDEN / name
    text = LICENCE + text
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_a_nat_network(parse, natnet):
    networks = parse(natnet)
    golden("natnet.nft", ruleset.transaction(networks, rules_of(networks)))


def test_port_forwards(parse, natnet):
    natnet["port_forwards"] = [
        {"name": "web", "listen": {"ports": "8080"}, "to": {"guest": "vm0", "ports": "80"}},
        {"name": "range", "protocol": "both", "listen": {"ports": "9000-9099"}, "to": {"guest": "vm1"}},
        {
            "name": "moved", "listen": {"address": "192.0.2.1", "ports": "9200-9202"},
            "to": {"guest": "vm1", "ports": "9300-9302"}, "sources": ["198.51.100.0/24", "198.51.100.0/25"],
        },
        {"name": "link", "listen": {"interface": "eth0", "ports": "22"}, "to": {"guest": "vm1"}, "hairpin": False},
    ]
    networks = parse(natnet)
    rules = rules_of(networks)
    golden("port_forwards.nft", ruleset.transaction(networks, rules))
    for version in (4, 6):
        golden(f"port_forwards.ipv{version}", iptables_text.text(networks, rules, rules, version))


def test_all_models(parse):
    networks = parse(*FOUR_MODELS)
    rules = rules_of(networks)
    for item in (
        {"name": "away", "type": "snat", "source": "10.81.0.0/24", "interface": "eth1", "to": {"address": "192.0.2.1"}},
        {"name": "plain", "type": "masquerade", "source": "10.10.101.0/24", "literal": True},
        {"name": "office", "type": "exempt", "network": "web", "destination": "10.1.0.0/16"},
    ):
        rules[("lab", item["name"])] = entries.parse_rule(item, "r", {one.name: one for one in networks})
    golden("all_models.nft", ruleset.transaction(networks, rules))
    golden("all_models.ipv4", iptables_text.text(networks, rules, rules, 4))
    assert iptables_text.text(networks, rules, rules, 6) == ""


def test_what_stands_for_guests(parse, natnet):
    natnet["port_forwards"] = [
        {"name": "web", "listen": {"ports": "8080"}, "to": {"guest": "vm1", "ports": "80"}},
        {"name": "ssh", "listen": {"address": "192.0.2.7", "ports": "22"}, "to": {"guest": "vm1"}},
    ]
    networks = parse(natnet)
    rules = rules_of(networks)
    for item in (
        {"name": "vm0", "type": "one_to_one", "network": "natnet", "listen": {"address": "192.0.2.7"}, "to": {"guest": "vm0"}},
        {
            "name": "shy", "type": "one_to_one", "network": "natnet", "listen": {"address": "192.0.2.8"}, "to": {"guest": "vm1"},
            "hairpin": False,
        },
        {"name": "six", "type": "npt", "network": "natnet", "to": {"subnet": "2001:db8:1::/64"}},
        {"name": "four", "type": "npt", "source": "10.81.0.0/24", "to": {"subnet": "198.51.100.0/24"}},
        {"name": "pool", "type": "snat", "source": "10.82.0.0/24", "to": {"address": "192.0.2.10-192.0.2.20"}},
        {
            "name": "link", "type": "snat", "source": "10.83.0.0/24", "interface": "eth1",
            "to": {"address": "192.0.2.10-192.0.2.20"},
        },
    ):
        rules[("lab", item["name"])] = entries.parse_rule(item, "r", {one.name: one for one in networks})
    translation.check(rules)
    golden("both_directions.nft", ruleset.transaction(networks, rules))
    for version in (4, 6):
        golden(f"both_directions.ipv{version}", iptables_text.text(networks, rules, rules, version))


def test_nothing_declared_leaves_no_table():
    text = ruleset.transaction([], {})
    assert not nft.text_has_tables(text)
    assert text.split("\n")[:6] == [
        "add table inet virtnet", "delete table inet virtnet", "add table bridge virtnet", "delete table bridge virtnet",
        "add table arp virtnet", "delete table arp virtnet",
    ]
    assert text.strip().count("\n") == 5


def test_a_bridged_network_alone_needs_no_rule(parse):
    assert not nft.text_has_tables(ruleset.transaction(parse({"name": "lan", "model": "bridged", "bridge": "br0"}), {}))


def test_translation_alone_filters_nothing():
    rule = entries.parse_rule({"name": "m", "type": "masquerade", "source": "10.80.0.0/24", "interface": "eth0"}, "r", {})
    inet, bridge, _arp = ruleset.tables([], {("default", "m"): rule})
    assert "type filter" not in inet
    assert "oifname . ip saddr @masquerade4_link masquerade" in inet
    assert "ip saddr . ip daddr @same_subnet4 return" in inet
    assert bridge == ""


def test_every_verdict_leads_to_a_chain_that_is_there(parse):
    networks = parse(*FOUR_MODELS)
    for table in ruleset.tables(networks, rules_of(networks)):
        names = set(re.findall(r"^    chain (\w+) \{", table, re.MULTILINE))
        assert set(re.findall(r"(?:goto|jump) (\w+)", table)) <= names
        sets = set(re.findall(r"^    (?:set|map) (\w+) \{", table, re.MULTILINE))
        assert set(re.findall(r"@(?!th,|nh,)(\w+)", table)) <= sets


@pytest.mark.parametrize("count", [2, 100])
def test_rules_do_not_grow_with_networks(parse, count):
    items = [
        {"name": f"n{one}", "model": "nat", "addresses": [f"10.70.{one}.1/24"], "policy": {"deny_host": True}}
        for one in range(count)
    ]
    networks = parse(*items)
    inet, bridge, _arp = ruleset.tables(networks, rules_of(networks))
    verdict = re.compile(r"\b(accept|drop|return|masquerade|goto \w+)$")
    chains = [line for line in (inet + bridge).splitlines() if "#" not in line and verdict.search(line)]
    assert len(chains) < 40


def test_names_that_nft_does_not_take_as_chains(parse):
    [network] = parse({"name": "a.b+c-d", "model": "isolated", "policy": {"log_drops": True}})
    assert re.fullmatch(r"log_[0-9a-f]{8}", drops.log_chain(network))
    assert 'log prefix "virtnet a.b+c-d: " group 64' in ruleset.tables([network], {})[0]


def test_questions_for_a_closed_hosts_addresses_are_logged_where_the_network_says_so(parse):
    for logging in (False, True):
        [network] = parse({"name": "lab", "model": "isolated", "bridge": "labbr0", "policy": {"log_drops": logging}})
        arp = ruleset.tables([network], {})[2]
        for words in ('"labbr0" : jump log_', 'log prefix "virtnet lab: "', "request goto refuse"):
            assert (words in arp) == logging


def test_an_error_from_a_closed_network_is_about_its_own_guests(parse):
    """Isolated guests, and those of deny_host, towards the host; a network of which no subnet is known sends none."""
    closed = {"name": "db", "model": "routed", "addresses": ["10.70.2.1/24"], "policy": {"deny_host": True}}
    networks = parse(
        {"name": "lab", "model": "isolated", "subnets": ["10.70.1.0/24"]}, closed,
        {"name": "web", "model": "nat", "addresses": ["10.70.3.1/24"]},
    )
    inet = ruleset.tables(networks, {})[0]
    assert {line.split()[2] for line in inet[inet.index("set ends4"):].split("}")[0].splitlines() if "#" in line} == {
        "10.70.1.0/24,", "10.70.2.0/24,"
    }
    chains = dict(re.findall(r"^    chain (\w+) \{\n(.*?)^    \}", inet, re.MULTILINE | re.DOTALL))
    for name in ("from_isolated", "to_host"):
        assert "related" not in chains[name].replace("ct state related jump about_own", "")
        assert "ct state related jump about_own" in chains[name]
    assert "ct state established,related accept" in chains["from_routed"]
    inet = ruleset.tables(parse({"name": "lab", "model": "isolated"}), {})[0]
    assert "related" not in inet[inet.index("chain from_isolated"):].split("}")[0]


def test_tags_of_vlan_0_within_tags_are_dropped_whatever_their_kind(parse, natnet):
    bridge = ruleset.tables(parse(natnet), {})[1]
    for outer in ("", "ether type 8021ad "):
        assert f"        {outer}vlan id 0 meta protocol {{ 8021q, 8021ad }} drop\n" in bridge


def test_a_guest_that_routes_keeps_its_address_but_speaks_for_others(parse):
    inet, bridge, _arp = ruleset.tables(parse(*FOUR_MODELS), {})
    assert '"dmzbr0" . 10.9.0.0/16' in inet
    assert "52:54:00:00:05:09 . 10.64.105.9" in bridge
    assert "macs4" not in bridge
