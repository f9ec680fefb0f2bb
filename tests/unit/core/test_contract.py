# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.contract import Endpoint, forward, forward_targets, verdict

ITEMS = {
    "isolated": {"name": "i", "model": "isolated", "subnets": ["10.1.0.0/24"]},
    "isolated+dhcp": {
        "name": "id", "model": "isolated", "addresses": ["10.2.0.1/24"],
        "dhcp": {"ranges": [{"start": "10.2.0.10", "end": "10.2.0.20"}]},
    },
    "routed": {"name": "r", "model": "routed", "addresses": ["10.3.0.1/24"]},
    "routed+masquerade": {"name": "rm", "model": "routed", "addresses": ["10.4.0.1/24"], "masquerade": True},
    "nat": {"name": "n", "model": "nat", "addresses": ["10.5.0.1/24"]},
    "nat2": {"name": "n2", "model": "nat", "addresses": ["10.6.0.1/24"]},
    "nat+allow_to": {
        "name": "na", "model": "nat", "addresses": ["10.7.0.1/24"],
        "policy": {"allow_to": [{"network": "n", "protocol": "tcp", "ports": ["5432"]}]},
    },
    "nat+deny_host": {
        "name": "nd", "model": "nat", "addresses": ["10.8.0.1/24"],
        "policy": {"deny_host": True, "host_access": [{"protocol": "tcp", "ports": ["22"]}]},
    },
    "bridged": {"name": "b", "model": "bridged", "bridge": "br0"},
    "far": {"name": "f", "model": "isolated", "stretch": {"mode": "vxlan", "vni": 7}},
    "far+routed": {"name": "fr", "model": "routed", "addresses": ["10.9.0.1/24"], "stretch": {"mode": "vxlan", "vni": 8}},
    "macvtap": {"name": "m", "model": "bridged", "attach": "macvtap", "uplink": "eth0"},
}
NETWORKS = {key: models.parse_networks([item])[0] for key, item in ITEMS.items()}


def end(text):
    """host, host@2, outside, or a network's key, @2 on the second host."""
    kind, at, host = text.partition("@")
    host = f"kvm{host or 1}"
    if kind == "outside":
        return Endpoint("outside")
    if kind == "host":
        return Endpoint("host", host)
    return Endpoint("guest", host, NETWORKS[kind])


CASES = [
    # from, to, protocol, port, source under which it arrives, or None for no
    ("isolated", "isolated", "tcp", 80, "own"),
    ("isolated", "isolated@2", "tcp", 80, None),
    ("far", "far@2", "tcp", 80, "own"),
    ("far", "far+routed@2", "tcp", 80, None),
    ("far", "host@2", "tcp", 80, None),
    ("outside", "far@2", "tcp", 80, None),
    ("far+routed", "far+routed@2", "tcp", 80, "own"),
    ("far+routed", "host@2", "tcp", 80, "own"),
    ("far+routed", "far@2", "tcp", 80, None),
    ("isolated", "host", "icmp", None, None),
    ("isolated", "host", "udp", 53, None),
    ("isolated+dhcp", "host", "udp", 53, "own"),
    ("isolated+dhcp", "host", "udp", 67, "own"),
    ("isolated+dhcp", "host", "tcp", 22, None),
    ("isolated+dhcp", "host", "icmp", None, None),
    ("host", "isolated", "tcp", 80, None),
    ("isolated", "outside", "tcp", 80, None),
    ("outside", "isolated", "tcp", 80, None),
    ("isolated", "routed", "udp", 9, None),
    ("routed", "isolated", "udp", 9, None),
    ("bridged", "isolated", "udp", 9, None),
    ("isolated", "bridged", "udp", 9, None),
    ("isolated", "isolated+dhcp", "tcp", 80, None),
    ("isolated", "isolated@2", "tcp", 80, None),
    ("routed", "host", "tcp", 22, "own"),
    ("host", "routed", "tcp", 22, "own"),
    ("routed", "outside", "tcp", 80, "own"),
    ("routed+masquerade", "outside", "tcp", 80, "host"),
    ("outside", "routed", "tcp", 80, "own"),
    ("routed", "routed+masquerade", "tcp", 80, "own"),
    ("routed", "routed@2", "tcp", 80, "own"),
    ("routed", "nat", "tcp", 80, None),
    ("nat", "host", "tcp", 22, "own"),
    ("host", "nat", "tcp", 22, "own"),
    ("nat", "outside", "udp", 9, "host"),
    ("nat", "host@2", "udp", 9, "host"),
    ("outside", "nat", "udp", 9, None),
    ("host@2", "nat", "udp", 9, None),
    ("nat", "nat2", "tcp", 80, None),
    ("nat", "nat@2", "tcp", 80, None),
    ("nat", "nat", "tcp", 80, "own"),
    ("nat", "routed", "tcp", 80, "host"),
    ("nat", "bridged", "tcp", 80, "host"),
    ("nat+allow_to", "nat", "tcp", 5432, "own"),
    ("nat+allow_to", "nat", "tcp", 5433, None),
    ("nat+allow_to", "nat", "udp", 5432, None),
    ("nat", "nat+allow_to", "tcp", 5432, None),
    ("nat+deny_host", "host", "tcp", 80, None),
    ("nat+deny_host", "host", "tcp", 22, "own"),
    ("nat+deny_host", "host", "udp", 53, "own"),
    ("host", "nat+deny_host", "tcp", 80, "own"),
    ("bridged", "host", "tcp", 22, "own"),
    ("bridged", "bridged@2", "tcp", 22, "own"),
    ("bridged", "nat", "tcp", 22, None),
    ("bridged", "routed", "tcp", 22, "own"),
    ("outside", "bridged", "tcp", 22, "own"),
    ("macvtap", "host", "tcp", 22, None),
    ("host", "macvtap", "tcp", 22, None),
    ("host@2", "macvtap", "tcp", 22, "own"),
    ("macvtap", "outside", "tcp", 22, "own"),
    ("macvtap", "macvtap", "tcp", 22, "own"),
    # The host itself would have to deliver it; to a guest of another host the LAN does.
    ("nat", "macvtap", "tcp", 22, None),
    ("nat@2", "macvtap", "tcp", 22, "host"),
    ("routed", "macvtap", "tcp", 22, None),
]


@pytest.mark.parametrize(("src", "dst", "protocol", "port", "source"), CASES)
def test_the_contract(src, dst, protocol, port, source):
    found = verdict(end(src), end(dst), protocol, port)
    assert (found.allowed, found.source) == (source is not None, source)
    assert found.why


FORWARDS = [
    # from, changes of the forward, the asker's address and link at the host, source under which it arrives, or None for no
    ("outside", {}, "198.18.0.2", "eth0", "own"),
    ("host@2", {}, "198.18.0.3", "eth0", "own"),
    ("host", {}, "198.18.0.1", None, "own"),
    ("nat", {}, "10.5.0.3", "vn1", "host"),
    ("nat2", {}, "10.6.0.3", "vn2", "host"),
    ("nat@2", {}, "198.18.0.3", "eth0", "host"),
    ("nat+allow_to", {}, "10.7.0.3", "vn2", "host"),
    ("nat+allow_to", {"to": {"address": "10.5.0.2", "ports": "5432"}}, "10.7.0.3", "vn2", "own"),
    ("routed", {}, "10.3.0.3", "vn3", "own"),
    ("routed@2", {}, "10.3.0.3", "eth0", "own"),
    ("routed+masquerade", {}, "10.4.0.3", "vn4", "host"),
    ("isolated", {}, "10.1.0.3", "vn5", None),
    ("isolated@2", {}, "10.1.0.3", "eth0", None),
    ("bridged", {}, "198.18.0.9", "br0", "own"),
    ("macvtap", {}, "198.18.0.9", "eth0", None),
    ("macvtap@2", {}, "198.18.0.9", "eth0", "own"),
    ("nat", {"hairpin": False}, "10.5.0.3", "vn1", None),
    ("routed", {"hairpin": False}, "10.3.0.3", "vn3", None),
    ("host", {"hairpin": False}, "198.18.0.1", None, None),
    ("bridged", {"hairpin": False}, "198.18.0.9", "br0", "own"),
    ("nat@2", {"hairpin": False}, "198.18.0.3", "eth0", "host"),
    ("outside", {"hairpin": False}, "198.18.0.2", "eth0", "own"),
    ("outside", {"listen": {"ports": "8080", "interface": "eth0"}}, "198.18.0.2", "eth0", "own"),
    ("outside", {"listen": {"ports": "8080", "interface": "eth1"}}, "198.18.0.2", "eth0", None),
    ("host", {"listen": {"ports": "8080", "interface": "eth0"}}, "198.18.0.1", None, None),
    ("nat", {"listen": {"ports": "8080", "interface": "eth0"}}, "10.5.0.3", "vn1", None),
    ("outside", {"sources": ["198.18.0.0/30"]}, "198.18.0.2", "eth0", "own"),
    ("outside", {"sources": ["198.18.0.0/32", "10.0.0.0/8"]}, "198.18.0.2", "eth0", None),
    ("nat", {"sources": ["10.0.0.0/8"]}, "10.5.0.3", "vn1", "host"),
    ("outside", {"sources": ["10.0.0.0/8"]}, None, None, None),
]


@pytest.mark.parametrize(("src", "changes", "address", "link", "source"), FORWARDS)
def test_who_may_use_a_forward(src, changes, address, link, source):
    item = {"name": "web", "listen": {"ports": "8080"}, "to": {"address": "10.5.0.2", "ports": "80"}, **changes}
    rule = models.parse_port_forward(item, "f", "n")
    asker = address and ipaddress.ip_address(address)
    found = forward(end(src), end("nat"), rule, asker, link, "tcp", rule.to_ports[0])
    assert (found.allowed, found.source) == (source is not None, source)
    assert found.why


def test_where_a_forward_leads():
    reservations = [
        {"name": "vm0", "mac": "52:54:00:00:00:01", "address": "10.5.0.2"}, {"name": "vm0", "address": "fd05::2"},
        {"name": "vm1", "mac": "52:54:00:00:00:02", "address": "10.5.0.3"},
    ]
    [network] = models.parse_networks([{**ITEMS["nat"], "addresses": ["10.5.0.1/24", "fd05::1/64"],
                                        "dhcp": {"reservations": reservations}}])
    for to, found in (({"guest": "vm0"}, ["10.5.0.2", "fd05::2"]), ({"address": "10.5.0.9"}, ["10.5.0.9"]), ({"guest": "x"}, [])):
        rule = models.parse_port_forward({"name": "web", "listen": {"ports": "1"}, "to": to}, "f", "n")
        assert [str(one) for one in forward_targets(network, rule)] == found


def test_a_bridge_isolates_its_own_ports_only():
    """Guests of a LAN on two hosts are on two bridges."""
    lan = models.parse_network({"name": "b", "model": "bridged", "policy": {"port_isolation": True}}, "")
    one, other, far = (Endpoint("guest", host, lan) for host in ("1", "1", "2"))
    assert not verdict(one, other).allowed
    assert verdict(one, far).allowed
