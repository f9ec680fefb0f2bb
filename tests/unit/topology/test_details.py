# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kvm_host_info tells with details: NICs of a definition, port forwards of the store, sessions of FRR's answer."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import frr
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import forwards

RULE = {
    "name": "web", "type": "dnat", "network": None, "protocols": ["tcp"], "sources": [], "hairpin": True,
    "listen": {"address": None, "interface": None, "ports": "8080"},
    "to": {"guest": None, "addresses": ["10.0.0.2"], "ports": "80"},
}  # fmt: skip
XML = """
<domain type='kvm'><devices>
  <interface type='network'><mac address='52:54:00:AA:00:01'/><source network='natnet' portid='x' bridge='natbr0'/>
    <target dev='vg0'/></interface>
  <interface type='bridge'><mac address='52:54:00:aa:00:02'/><source bridge='br0'/></interface>
  <interface type='direct'><mac address='52:54:00:aa:00:03'/><source dev='eth0' mode='bridge'/>
    <link state='down'/></interface>
  <interface type='user'><mac address='52:54:00:aa:00:04'/></interface>
</devices></domain>
"""
#: As FRR 10.3 prints it, without the fields that nobody reads here.
SUMMARY = {
    "ipv4Unicast": {
        "routerId": "10.77.0.11", "as": 64512,
        "peers": {
            "10.77.0.12": {"remoteAs": 64512, "state": "Established", "desc": "kvm2"},
            "10.77.0.1": {"remoteAs": 65001, "state": "Active"},
        },
    },
    "l2VpnEvpn": {"routerId": "10.77.0.11", "as": 64512, "peers": {"10.77.0.12": {"remoteAs": 64512, "state": "Established"}}},
}  # fmt: skip


def test_nics_of_a_definition():
    nics = pytest.importorskip("ansible_collections.virtnet.kvm.plugins.module_utils.guests.nics")
    found = [(one["mac"], one["type"], one["network"], one["link"], one["dev"], one["up"]) for one in nics.of_domain(XML)]
    assert found == [
        ("52:54:00:aa:00:01", "network", "natnet", "natbr0", "vg0", True),
        ("52:54:00:aa:00:02", "bridge", None, "br0", None, True),
        ("52:54:00:aa:00:03", "direct", None, "eth0", None, False), ("52:54:00:aa:00:04", "user", None, None, None, True),
    ]  # fmt: skip


def test_forwards_of_networks_come_first_and_the_rest_is_counted():
    rules = {("all", f"f{number}"): {**RULE, "name": f"f{number}"} for number in range(5)}
    rules["@natnet", "web"] = RULE
    rules["@natnet", "masquerade"] = {"name": "masquerade", "type": "masquerade"}
    rows, total = forwards.of_rules(rules, 3)
    assert [(one["set"], one["network"], one["name"]) for one in rows] == [
        ("@natnet", "natnet", "web"), ("all", None, "f0"), ("all", None, "f1"),
    ]  # fmt: skip
    assert total == 6


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (json.dumps(SUMMARY), [("10.77.0.1", None, 65001, "Active"), ("10.77.0.12", "kvm2", 64512, "Established")]),
        ("{}", None), ("", None), ("% BGP instance not found", None), ('{"warning": "no BGP"}', None),
    ],
)  # fmt: skip
def test_sessions(monkeypatch, answer, found):
    monkeypatch.setattr(frr, "_first", lambda paths: paths[0])
    host = SimpleNamespace(run=lambda command, **how: (0, answer, ""))
    told = frr.Frr(host).sessions()
    assert (told and [tuple(one.values()) for one in told["sessions"]]) == found
    assert told is None or told["asn"] == 64512
