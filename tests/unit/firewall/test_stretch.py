# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for networks over several hosts; extensions/molecule/vxlan has them judged by packets."""

from __future__ import annotations

import re

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import ruleset, stretch

PEERS = {"local": "192.0.2.1", "peers": ["192.0.2.2", "192.0.2.3"]}
ROUTED = {
    "name": "far", "model": "routed", "bridge": "farbr0", "addresses": ["10.64.107.1/24", "fd00:107::1/64"],
    "dhcp": {"ranges": [{"start": "10.64.107.10", "end": "10.64.107.20"}]}, "mac": "02:00:00:00:00:01",
    "stretch": {"mode": "vxlan", "vni": 7, **PEERS},
}
ISOLATED = {
    "name": "deep", "model": "isolated", "bridge": "deepbr0", "subnets": ["10.64.108.0/24"],
    "stretch": {"mode": "vxlan", "vni": 8, **PEERS},
}
NAT = {"name": "nat", "model": "nat", "bridge": "natbr0", "addresses": ["10.64.109.1/24"]}


def elsewhere(item):
    return {**item, "stretch": {**item["stretch"], "serves": False}}


@pytest.fixture
def chains(parse):
    """A function chains(*items) that returns {table: {chain: [rules]}}."""

    def of(*items):
        found = {}
        for family, text in zip(ruleset.FAMILIES, ruleset.tables(parse(*items), {})):
            parts = re.findall(r"^    chain (\w+) \{\n(.*?)^    \}", text, re.MULTILINE | re.DOTALL)
            found[family] = {name: [line.strip() for line in body.splitlines()] for name, body in parts}
        return found

    return of


def test_only_peers_send_into_the_networks(chains):
    inet = chains(ROUTED, ISOLATED)["inet"]
    assert inet["underlay"] == [
        "iifname @isolated_bridges @th,96,24 { 7, 8 } drop",
        "iifname @routed_bridges @th,96,24 { 7, 8 } drop",
        "ip saddr . @th,96,24 { 192.0.2.2 . 7, 192.0.2.3 . 7, 192.0.2.2 . 8, 192.0.2.3 . 8 } return",
        "@th,96,24 { 7, 8 } drop",
    ]
    # A jump: whom the host is closed to does not get at it by that port.
    assert inet["input"][1:] == ["udp dport 4789 jump underlay", "iifname @host_closed goto to_host"]


def test_a_host_that_is_alone_takes_nothing_in(chains):
    alone = {**ISOLATED, "stretch": {**ISOLATED["stretch"], "peers": []}}
    assert chains(alone)["inet"]["underlay"] == [
        "iifname @isolated_bridges @th,96,24 { 8 } drop", "@th,96,24 { 8 } drop",
    ]  # fmt: skip


def test_peers_may_have_ipv6(chains):
    six = {**ISOLATED, "stretch": {**ISOLATED["stretch"], "local": "2001:db8::1", "peers": ["2001:db8::2"]}}
    assert "ip6 saddr . @th,96,24 { 2001:db8::2 . 8 } return" in chains(six)["inet"]["underlay"]


def test_no_guest_speaks_as_its_host_to_the_others(chains):
    """A NAT guest's packets leave with the host's address, which its peers let in."""
    inet = chains(ROUTED, ISOLATED, NAT)["inet"]
    for model in ("isolated", "routed", "nat"):
        assert inet[f"from_{model}"][0] == "udp dport 4789 @th,96,24 { 7, 8 } drop"


def test_networks_of_one_host_have_none_of_it(chains, parse):
    found = chains(NAT)
    assert "underlay" not in found["inet"] and "4789" not in "".join(ruleset.tables(parse(NAT), {}))
    assert not [name for name in found["bridge"] if "stretch" in name or "answers" in name]


def test_frames_about_the_gateway_end_at_the_next_host(chains, parse):
    bridge = chains(ROUTED)["bridge"]
    assert bridge["prerouting"][3] == "iifname @stretch_ports goto from_stretch"
    assert bridge["from_stretch"][:4] == [
        "ether saddr @gateway_macs drop",
        "meta protocol arp arp operation request arp daddr ip @anycast4 drop",
        "meta protocol arp arp operation reply arp saddr ip @anycast4 drop",
        "meta protocol arp arp saddr ip @anycast4 arp saddr ether != @gateway_macs drop",
    ]
    assert "iifname @serving_ports udp dport { 68, 546 } drop" in bridge["from_stretch"]
    assert bridge["from_stretch"][-1] == "accept"
    text = ruleset.tables(parse(ROUTED), {})[1]
    for address in ("fd000107000000000000000000000001", "fe80000000000000000000fffe000001"):
        assert f"0x{address}" in text
    mac = names.underlay_mac("far", "192.0.2.1")
    assert f"02:00:00:00:00:01 : {mac}," in text
    assert bridge["output_stretch"][1:] == ["oifname @stretch_ports ether saddr set ether saddr map @underlay_macs"]


def test_answers_to_the_gateway_reach_all_hosts(chains):
    answers = chains(ROUTED)["bridge"]["prerouting_answers"]
    assert answers[0] == "type filter hook prerouting priority -309; policy accept;"
    assert answers[1] == "iifname @stretch_ports accept" and len(answers) == 4
    # Where another host serves, a guest that means the gateway by unicast means that one.
    more = chains(elsewhere(ROUTED))
    assert more["bridge"]["prerouting_answers"][4].startswith("ether daddr @served_elsewhere udp sport 68 udp dport 67")
    assert "iifname @served_elsewhere udp dport 67 drop" in more["inet"]["input"]
    assert not [rule for rule in more["bridge"]["from_stretch"] if "68, 546" in rule]


def test_an_isolated_network_has_no_gateway_to_protect(chains):
    bridge = chains(ISOLATED)["bridge"]
    assert bridge["from_stretch"] == ["accept"] and "prerouting_answers" not in bridge


def test_the_source_guard_lets_pass_what_stays_inside(chains, parse):
    """With br_netfilter frames from other hosts come by: of the gateway, or of the outside, which it routes."""
    guard = chains(ROUTED)["inet"]["guard"]
    assert guard[:4] == [
        "ip daddr != @gateways4 iifname . ip daddr @inside4 accept",
        "ip6 daddr != @gateways6 iifname . ip6 daddr @inside6 accept",
        "iifname @stretched_bridges udp sport 67 udp dport 68 accept",
        "iifname @stretched_bridges icmpv6 type nd-neighbor-solicit accept",
    ]
    assert "inside4" not in ruleset.tables(parse(NAT), {})[0]


def test_a_guests_own_port_is_held_to_the_gateways_addresses(chains, parse):
    text = ruleset.tables(parse(ROUTED), {})[1]
    assert "10.64.107.1," in text[text.index("set gateways4"):]
    assert "ip saddr @gateways4 drop" in chains(ROUTED)["bridge"]["frames_ipv4"]


def test_link_local_addresses_are_the_kernels():
    assert str(stretch.link_local("02:aa:bb:cc:dd:ee")) == "fe80::aa:bbff:fecc:ddee"
