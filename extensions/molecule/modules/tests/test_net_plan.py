# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""net_plan: what it says is pending is what the modules then do, part by part; and it changes nothing itself."""

from __future__ import annotations

import pytest

NETWORKS = [
    {"name": "planat", "model": "nat", "addresses": ["10.64.147.1/24", "fd00:64:147::1/64"], "autostart": False},
    {"name": "plaiso", "model": "isolated", "subnets": ["10.64.148.0/24"], "autostart": False},
]
PARTS = {
    "forwarding": ("ip_forward", {"ipv4": True, "ipv6": True}),
    "policy": ("net_policy", {"networks": NETWORKS}),
    "translation": ("nat_rule", {"networks": NETWORKS}),
    "networks": ("virt_net_model", {"networks": NETWORKS}),
}
GONE = [{"name": one["name"], "model": one["model"], "state": "absent"} for one in NETWORKS]


@pytest.fixture
def nothing_left(modules):
    yield
    for module in ("virt_net_model", "nat_rule", "net_policy"):
        modules.run(module, networks=GONE)
    modules.run("ip_forward", state="absent")


def planned(modules):
    result = modules.run("net_plan", networks=NETWORKS)
    assert not result["changed"] and result["forwarding"] == {"ipv4": True, "ipv6": True}
    return result


def test_part_by_part(modules, nothing_left):
    modules.run("ip_forward", state="absent")
    before = planned(modules)
    assert before == planned(modules), "it changed something"
    # None of them reaches to other hosts.
    assert set(before["pending"]) == {*PARTS, "vxlans"} and not before["pending"]["vxlans"]
    for part, (module, arguments) in PARTS.items():
        assert before["pending"][part], part
        done = modules.run(module, **arguments)
        mine = before["actions"][: len(done["actions"])]
        # The table is both rooms': that the first loads it, the second is told as well.
        assert [(one["kind"], one["name"], one["op"]) for one in mine] == [
            (one["kind"], one["name"], one["op"]) for one in done["actions"]
        ], part
        before = planned(modules)
        assert not before["pending"][part], part
    assert before["actions"] == [] and not any(before["pending"].values())
    # Drift of one part is that part's alone.
    modules.host.run_test("virsh net-destroy plaiso")
    assert [part for part, differs in planned(modules)["pending"].items() if differs] == ["networks"]


def test_what_a_later_module_would_refuse_is_refused_at_once(modules):
    wrong = [dict(NETWORKS[0], addresses=["10.77.0.99/24"])]
    assert modules.refused("net_plan", networks=wrong) == modules.refused("virt_net_model", networks=wrong)
