# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was changed by hand is told with the network or the rule that it was there for."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import drift, entries, ruleset

WEB = {
    "name": "web", "model": "nat", "bridge": "webbr0", "addresses": ["10.64.101.1/24", "fd00:65::1/64"],
    "port_forwards": [
        {"name": f"www{port}", "listen": {"ports": str(port)}, "to": {"address": "10.64.101.2"}} for port in range(8080, 8090)
    ],
}  # fmt: skip
NEW = "New conversations of nat guests with anybody but the host"
ACCEPT = '{"expr": [{"accept": null}]}'
#: What nft makes of some of that network's rules, and of such of others.
TABLES = {
    "inet virtnet": {
        "set nat_bridges": {"type": "ifname", "elem": ["webbr0"]},
        "set sources4": {"type": ["ifname", "ipv4_addr"], "flags": ["interval"], "elem": [
            {"concat": ["webbr0", {"prefix": {"addr": "10.64.101.0", "len": 24}}]},
        ]},
        "map by_source": {"type": "ifname", "map": "verdict", "elem": [["webbr0", {"goto": {"target": "from_nat"}}]]},
        "rules of chain from_nat": [{"expr": [{"accept": None}]}],
    }
}  # fmt: skip


def transaction(parse):
    [network] = parse(WEB)
    rules = {("@web", name): rule for name, rule in entries.rules_of_network(network).items()}
    return ruleset.transaction([network], rules)


def changed(path, value):
    found = copy.deepcopy(TABLES)
    found["inet virtnet"][path]["elem"] = value
    return found


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (TABLES, []),
        (
            changed("set nat_bridges", []),
            ["web (webbr0): gone from set nat_bridges of table inet virtnet (Bridges of nat networks)"],
        ),
        (
            changed("set sources4", [{"concat": ["webbr0", {"range": ["10.0.0.1", "10.0.0.9"]}]}]),
            [
                "web (webbr0 . 10.64.101.0/24): gone from set sources4 of table inet virtnet",
                "webbr0 . 10.0.0.1-10.0.0.9: added by hand to set sources4 of table inet virtnet",
            ],
        ),
        (
            changed("map by_source", [["webbr0", {"accept": None}], ["evil0", {"accept": None}]]),
            [
                "evil0: added by hand to map by_source of table inet virtnet",
                "web (webbr0): changed in map by_source of table inet virtnet",
            ],
        ),
        ({"inet virtnet": {**TABLES["inet virtnet"], "rules of chain from_nat": []}}, [
            f"chain from_nat of table inet virtnet ({NEW}): 1 rule gone, such as {ACCEPT}",
        ]),
        ({"inet virtnet": {**TABLES["inet virtnet"], "set hole": {"type": "ifname"}}}, [
            "set hole of table inet virtnet: there unasked",
        ]),
    ],
)  # fmt: skip
def test_told_by_networks(parse, found, lines):
    assert drift.differences(TABLES, found, transaction(parse)) == lines


def test_of_many_three_are_named(parse):
    text = transaction(parse)
    # As nft lists protocols, asked for numbers.
    ports = [[{"concat": [6, port]}, {"concat": ["10.64.101.2", port]}] for port in range(8080, 8090)]
    named = ", ".join(f"web/www{port} (tcp . {port})" for port in (8081, 8082, 8083))
    where = "of table inet virtnet (Port forwards)"
    kind = {"type": ["inet_proto", "inet_service"], "map": ["ipv4_addr", "inet_service"]}
    tables, found = ({"inet virtnet": {"map forwards4": {**kind, "elem": elements}}} for elements in (ports, ports[:1]))
    assert drift.differences(tables, found, text) == [
        f"{named} and 6 more: gone from map forwards4 {where}"
    ]
