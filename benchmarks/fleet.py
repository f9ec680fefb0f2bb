# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleets: what it costs the controller to plan hosts that have networks and guests, with and without what they were told before.

No host is needed. The filter is called as a play does, so reading the items by their argument specs is in the time.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

BUILD = Path(__file__).resolve().parents[1] / ".build"
MODELS = ("nat", "routed", "isolated", "nat")
POOLS = [{"subnet": "10.64.0.0/10", "prefix": 24}, {"subnet": "fd64::/44", "prefix": 64}]
ETH0 = {
    "name": "eth0", "owned": False, "manager": "networkd", "type": "physical", "ports": [],
    "addresses": [{"address": "192.0.2.11/24", "scope": "global", "dynamic": False}],
    "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}, {"to": "192.0.2.0/24", "via": None}],
}  # fmt: skip


def declared(hosts, networks):
    """Return ({host: networks}, {host: guests}), each host's own."""
    mine = {
        f"kvm{host}": [
            {"name": f"net{number}", "model": MODELS[number % 4], **({"dhcp": {}} if number % 4 != 2 else {})}
            for number in range(networks)
        ]
        for host in range(hosts)
    }
    guests = {
        host: [{"name": f"{host}vm{number}", "host": host, "nics": [{"network": f"net{number}"}]} for number in range(networks)]
        for host in mine
    }
    return mine, guests


def found(networks):
    host = {"interfaces": [ETH0], "libvirt_networks": [], "guests": [], "memory_mb": 1 << 20, "processors": 64}
    return {**host, "networks": networks}


def measure(sizes, rounds):
    """Return {size: {phase: median of seconds}} for sizes as (hosts, networks)."""
    sys.path.insert(0, str(BUILD))
    from ansible_collections.virtnet.kvm.plugins.filter.fleet import fleet_plan

    results = {}
    for hosts, networks in sizes:
        mine, guests = declared(hosts, networks)
        times = {"first": [], "again": []}
        for _round in range(rounds):
            stores = {host: [] for host in mine}
            for seconds in times.values():
                facts = {host: found(stores[host]) for host in mine}
                began = time.monotonic()
                plan = fleet_plan(mine, guests, facts, {"all": list(mine)}, POOLS)
                seconds.append(time.monotonic() - began)
                if plan["errors"]:
                    sys.exit(f"the plan has errors: {plan['errors'][:3]}")
                stores = plan["networks"]
        results[f"{hosts} hosts x {networks} networks"] = {phase: statistics.median(seconds) for phase, seconds in times.items()}
    return results


def table(results):
    lines = ["", f"{'fleet':28} {'first plan':>12} {'planned again':>14}"]
    for size, times in results.items():
        lines.append(f"{size:28} {times['first']:10.2f} s {times['again']:12.2f} s")
    return "\n".join(lines)
