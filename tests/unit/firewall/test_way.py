# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which changes of a policy can cut a controller off: those of rules for packets of its own way, and no others."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import way

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
