# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What nft says of a packet, and what it is taken for. The lines are nft 1.0.6's, of a lab host."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.explain import trace_text

PACKET = (
    "ether saddr 52:54:00:16:c9:68 ether daddr 52:54:00:05:d7:f5 ip saddr 10.95.1.10 ip daddr 10.95.2.12 "
    "ip dscp cs0 ip ecn not-ect ip ttl 64 ip id 46386 ip protocol icmp ip length 84 icmp type echo-request "
    "@th,64,96 0xec29dd020000000000000000"
)
MARKED = 'rule meta protocol ip @th,64,64 0x564e503f00000001 meta nftrace set 1 comment "{}" (verdict continue)'
BEFORE = [
    f'trace id e6 bridge virtnet_trace prerouting_first packet: iif "tap0" {PACKET}',
    f"trace id e6 bridge virtnet_trace prerouting_first {MARKED.format('ask')}",
    "trace id e6 bridge virtnet_trace prerouting_first policy accept ",
    f'trace id e6 bridge virtnet prerouting packet: iif "tap0" {PACKET}',
    "trace id e6 bridge virtnet prerouting rule iifname @bound_ports jump from_bound (verdict jump from_bound)",
    "trace id e6 bridge virtnet prerouting policy accept ",
    f'trace id e6 inet virtnet_trace prerouting_last packet: iif "br0" {PACKET}',
    f"trace id e6 inet virtnet_trace prerouting_last {MARKED.format('ask')}",
]
FORWARD = [
    f'trace id f7 inet virtnet_trace forward_first packet: iif "br0" oif "br1" {PACKET}',
    f"trace id f7 inet virtnet_trace forward_first {MARKED.format('ask')}",
    f'trace id f7 inet site forward packet: iif "br0" oif "br1" {PACKET}',
]
HOOKS = {
    ("bridge", "virtnet", "prerouting"): "prerouting", ("inet", "site", "forward"): "forward",
    ("inet", "virtnet_trace", "forward_first"): "forward", ("inet", "virtnet_trace", "prerouting_last"): "prerouting",
    ("bridge", "virtnet_trace", "prerouting_first"): "prerouting",
}  # fmt: skip


def way(*lines, direction="ask"):
    return trace_text.farthest(trace_text.packets_of("\n".join(lines), HOOKS), direction)


def test_hooks_in_their_order_with_the_tables_that_saw_it():
    found = way(*BEFORE)
    assert [(one.layer, one.hook, one.iif, one.left) for one in found] == [
        ("bridge", "prerouting", "tap0", False), ("ip", "prerouting", "br0", True),
    ]  # fmt: skip
    assert found[0].tables == ["bridge virtnet prerouting"] and found[0].drop is None
    assert (found[1].saddr, found[1].daddr) == ("10.95.1.10", "10.95.2.12")


def test_another_number_goes_on_with_the_same_way():
    """Linux 6.18 numbers a packet anew when it leaves the bridge for the host."""
    assert [one.hook for one in way(*BEFORE, *FORWARD)] == ["prerouting", "prerouting", "forward"]


def test_sent_again_is_another_way_and_the_farthest_counts():
    again = [line.replace("id e6", "id 77") for line in BEFORE]
    found = trace_text.packets_of("\n".join([*BEFORE, *FORWARD, *again]), HOOKS)
    assert [len(one) for one in trace_text.ways(found, "ask")] == [3, 2]
    assert len(trace_text.farthest(found, "ask")) == 3
    assert trace_text.farthest(found, "reply") == []


@pytest.mark.parametrize(("line", "chain", "rule"), [
    ("inet site forward policy drop ", "forward", None),
    ("inet site forward rule ip daddr 10.95.2.12 drop (verdict drop)", "forward", "ip daddr 10.95.2.12 drop"),
    ("inet site rest rule counter packets 3 bytes 9 drop (verdict drop)", "rest", "counter packets 3 bytes 9 drop"),
    ("inet site forward rule ip daddr 10.95.2.12 reject (verdict drop)", "forward", "ip daddr 10.95.2.12 reject"),
])  # fmt: skip
def test_what_ends_a_packet(line, chain, rule):
    found = way(*BEFORE, *FORWARD, f"trace id f7 {line}")
    assert found[-1].drop == {"family": "inet", "table": "site", "chain": chain, "rule": rule}
    (*_before, last) = trace_text.plain(found, {"nftables": [
        {"chain": {"family": "inet", "table": "site", "name": name}} for name in ("rest", "forward")
    ] + [{"chain": {"family": "ip", "table": "site", "name": "else"}}]})  # fmt: skip
    assert last["drop"]["chains"] == ["forward", "rest"]


def test_packets_that_nobody_asked_about_and_nonsense():
    strange = [
        f'trace id 99 ip filter FORWARD packet: iif "a" {PACKET}',
        "trace id 99 ip filter FORWARD policy drop",
        "so what",
        "",
    ]
    assert way(*strange) == []


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["icmp", "tcp", "udp"])
def test_the_table_marks_and_lets_pass(version, protocol):
    text = trace_text.table(version, protocol, 0x0A0B0C0D, ["52:54:00:00:00:01"])
    assert "drop" not in text and "reject" not in text and text.count("policy accept") == 20
    assert text.count("0a0b0c0d") >= 20 and all(f'comment "{word}"' in text for word in ("ask", "reply", "error", "neighbour"))
    assert ("0a0b0c0e" in text) == (protocol == "tcp"), "TCP acknowledges the number after the one it got"
    assert "neighbour" not in trace_text.table(version, protocol, 1)


def test_the_removal_is_of_our_tables_alone():
    lines = [f"{word} {family} virtnet_trace" for family in ("bridge", "inet") for word in ("table", "delete table")]
    assert trace_text.removal().splitlines() == lines
