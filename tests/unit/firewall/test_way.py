# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which changes of a policy can cut a controller off: those of rules for packets of its own way, and no others."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries, way
from ansible_collections.virtnet.kvm.plugins.module_utils.links import management

MAC = "52:54:00:00:00:01"
ISO = {"name": "iso", "model": "isolated", "bridge": "isobr0", "subnets": ["10.64.102.0/24"]}
ROUTED = {"name": "iso", "model": "routed", "bridge": "isobr0", "addresses": ["10.64.102.1/24"]}
DENY = {**ROUTED, "policy": {"deny_host": True}}
OPEN = {**ROUTED, "policy": {"deny_host": True, "host_access": [{"protocol": "tcp", "ports": ["22"]}]}}
LOOSE = {**ROUTED, "policy": {"anti_spoofing": False}}
OTHER = {"name": "other", "model": "isolated", "bridge": "otherbr0", "subnets": ["10.64.103.0/24"]}
BRIDGED = {"name": "lan", "model": "bridged", "bridge": "isobr0", "uplink": "eth0"}
#: A controller that is a guest of the network; one that comes by the LAN, with the uplink as it is or in a bridge.
GUEST = (("isobr0",), ("isobr0",), {"10.64.102.9", "52:54:00:00:00:09"})
PLAIN = (("eth0",), (), {"10.64.100.1", "10.64.100.2", MAC})
IN_BRIDGE = (("eth0", "lanbr0"), ("lanbr0",), {"192.0.2.7", "192.0.2.1"})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [ISO]), ([], [ROUTED]), ([ROUTED], [ISO]), ([ROUTED], [DENY]), ([DENY], [OPEN]), ([ISO, OTHER], [DENY, OTHER]),
        (None, [ISO]), (None, [ISO, OTHER]),
    ],
)
def test_rules_of_the_bridge_that_the_controller_comes_through(parse, before, after):
    before = None if before is None else parse(*before)
    assert way.filtered(before, parse(*after), *GUEST) == ["isobr0"]
    # The same where it comes by another link, are rules that it never meets.
    assert way.filtered(before, parse(*after), *PLAIN) == []
    assert way.filtered(before, parse(*after), *IN_BRIDGE) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], []), ([ISO], [ISO]), ([ISO], []), ([ISO], [OTHER]), ([ISO], [ISO, OTHER]), ([], [OTHER]), (None, [OTHER]),
        (None, []), ([], [BRIDGED]), ([ISO], [BRIDGED]),
    ],
)
def test_rules_that_stay_or_go_or_are_for_others(parse, before, after):
    assert way.filtered(None if before is None else parse(*before), parse(*after), *GUEST) == []


@pytest.mark.parametrize(
    "end", ["10.64.100.1", "fd00:64::1", "10.64.100.2", "fd00:64::2", MAC],
)
def test_frames_of_an_address_that_a_network_has_to_itself(parse, natnet, end):
    """Table bridge goes by addresses, in whichever bridge: that of the uplink, too."""
    links = (("eth0", "lanbr0"), ("lanbr0",))
    assert way.filtered([], parse(natnet), *links, {end, "192.0.2.1"}) == ["lanbr0"]
    assert way.filtered(None, parse(natnet), *links, {end}) == ["lanbr0"]
    assert way.filtered(parse(natnet), parse(natnet, OTHER), *links, {end}) == []
    assert way.filtered(parse(natnet), parse(OTHER), *links, {end}) == []
    assert way.filtered([], parse({**natnet, "policy": {"anti_spoofing": False}}), *links, {end}) == []
    assert way.filtered([], parse({**natnet, "bridge": "other0"}), *PLAIN) == [], "no bridge sees it"


def test_a_reservation_that_moves_to_another_mac(parse, natnet):
    moved = {**natnet, "dhcp": {"reservations": [{"name": "vm0", "mac": "52:54:00:00:00:07", "address": "10.64.100.2"}]}}
    args = (("lanbr0",), ("lanbr0",), {"10.64.100.2"})
    assert way.filtered(parse(natnet), parse(moved), *args) == ["lanbr0"]
    assert way.filtered(parse(natnet), parse(natnet), *args) == []


def test_a_filter_without_anti_spoofing_still_names_the_bridge(parse):
    assert way.filtered(parse(ROUTED), parse(LOOSE), *GUEST) == ["isobr0"]


def entrance(client="192.0.2.7", address="192.0.2.1", port=22, link="eth0"):
    return management.Entrance(ipaddress.ip_address(client), ipaddress.ip_address(address), port, link)


def forward(ports="22", address=None, interface=None, to="10.64.101.2", protocol="tcp", sources=()):
    return {
        "name": "f", "type": "dnat", "listen": {"ports": ports, "address": address, "interface": interface}, "protocol": protocol,
        "to": {"address": to, "ports": "22" if ports == "22" else None}, "sources": list(sources),
    }


ONE = {"name": "o", "type": "one_to_one", "source": "10.64.101.0/24", "to": {"address": "10.64.101.2"}}
NPT = {"name": "n", "type": "npt", "source": "fd00:1::/64"}


@pytest.mark.parametrize(
    ("rule", "way_in"),
    [
        (forward(), {}), (forward("20-30"), {}), (forward(address="192.0.2.1"), {}), (forward(interface="eth0"), {}),
        (forward(protocol="both"), {}), (forward(sources=["198.51.100.0/24", "192.0.2.0/24"]), {}),
        (forward(), {"port": 22, "address": "192.0.2.9"}), (forward("2222"), {"port": 2222}),
        (forward(to="fd00:1::2"), {"client": "2001:db8::7", "address": "2001:db8::1"}),
        ({**ONE, "listen": {"address": "192.0.2.1"}}, {}),
        ({**NPT, "to": {"subnet": "2001:db8::/64"}}, {"client": "2001:db8:9::7", "address": "2001:db8::1"}),
    ],
)
def test_a_rule_that_leads_the_controller_to_a_guest(rule, way_in):
    assert way.leads_away(entries.parse_rule(rule, "rules[0]", {}), entrance(**way_in), set())


@pytest.mark.parametrize(
    ("rule", "way_in"),
    [
        (forward("2222"), {}), (forward("23-30"), {}), (forward(address="192.0.2.2"), {}), (forward(interface="eth1"), {}),
        (forward(protocol="udp"), {}), (forward(sources=["198.51.100.0/24"]), {}), (forward(to="fd00:1::2"), {}),
        (forward(), {"address": "10.64.101.1", "client": "10.64.101.9"}),
        ({**ONE, "listen": {"address": "192.0.2.2"}}, {}),
        ({**NPT, "to": {"subnet": "2001:db8::/64"}}, {"client": "2001:db8::7", "address": "2001:db8:1::1"}),
        ({"name": "m", "type": "masquerade", "source": "10.64.101.0/24"}, {}),
        ({"name": "s", "type": "snat", "source": "10.64.101.0/24", "to": {"address": "192.0.2.1"}}, {}),
    ],
)
def test_a_rule_that_does_not(rule, way_in):
    gateways = {ipaddress.ip_address("10.64.101.1")}
    assert not way.leads_away(entries.parse_rule(rule, "rules[0]", {}), entrance(**way_in), gateways)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("192.0.2.7 4711 192.0.2.1 22", entrance()),
        ("fe80::7%eth1 4711 fe80::1%eth1 22", entrance("fe80::7", "fe80::1", link="eth1")),
        ("::ffff:192.0.2.7 4711 ::ffff:192.0.2.1 22", entrance()),
        ("", None),
    ],
)
def test_where_a_connection_came_in(monkeypatch, words, found):
    monkeypatch.setattr(management, "_connection", words.split)
    host = SimpleNamespace(run=lambda command, check: (0, '[{"dev": "eth0"}]', ""))
    assert management.entrance(host) == found
