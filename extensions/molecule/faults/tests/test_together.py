# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two controllers at once: a lock of the host's serialises them, whatever they want, and nothing is left half made."""

from __future__ import annotations

import time

import pytest
from controllers import controller, result

NETWORKS = [
    {"name": f"tog{number}", "model": "nat", "bridge": f"tog{number}", "addresses": [f"10.87.{number}.1/24"], "dhcp": {}}
    for number in range(4)
]
POLICY = {"networks": NETWORKS}
GONE = {"networks": [{**one, "state": "absent"} for one in NETWORKS]}
BRIDGES = {"bridges": [{"name": f"togbr{number}", "addresses": [f"10.87.{10 + number}.1/24"]} for number in range(4)]}
NO_BRIDGES = {"bridges": [{"name": f"togbr{number}", "state": "absent"} for number in range(4)]}
RULES = {
    "set": "tog",
    "rules": [{"name": f"r{number}", "type": "masquerade", "source": f"10.87.{20 + number}.0/24"} for number in range(4)],
}
NO_RULES = {"set": "tog", "purge": True, "rules": []}
CASES = {
    "virt_net_model": (POLICY, GONE), "net_policy": (POLICY, GONE), "host_bridge": (BRIDGES, NO_BRIDGES),
    "nat_rule": (RULES, NO_RULES),
}  # fmt: skip


def both(host, module, one, other):
    """Have two controllers call a module at once; return the results, of which none is a failure."""
    with controller(host, module, one) as first, controller(host, module, other) as second:
        results = [result(first), result(second)]
    assert [told["msg"] for told in results if told["failed"]] == []
    return results


def taken_back(modules, module, absent):
    modules.run(module, **absent)
    if module == "virt_net_model":  # libvirt turns forwarding on, and never off
        modules.run("ip_forward", state="absent")


@pytest.mark.parametrize("module", CASES)
def test_the_same_wish_twice(host, modules, module):
    """One does it; the other finds it done."""
    wanted, absent = CASES[module]
    try:
        for arguments in (wanted, absent):
            results = both(host, module, arguments, arguments)
            assert sorted(one["changed"] for one in results) == [False, True]
            assert not modules.run(module, **arguments)["changed"]
    finally:
        taken_back(modules, module, absent)


@pytest.mark.parametrize("module", CASES)
def test_opposite_wishes(host, modules, module, figure):
    """Whoever comes second has the last word, of all objects; the next run of either changes all or nothing."""
    wanted, absent = CASES[module]
    ends = []
    try:
        for number in range(4):
            pair = [wanted, absent] if number % 2 else [absent, wanted]
            both(host, module, *pair)
            names = {one["name"] for one in modules.run(module, check=True, **wanted)["actions"] if one["kind"] != "manager"}
            there = not names
            missing = {one["name"] for one in modules.run(module, check=True, **absent)["actions"] if one["kind"] != "manager"}
            assert there != (not missing), (names, missing)
            ends.append(there)
        figure(f"{module}, present and absent at once: there at the end {sum(ends)} of {len(ends)} times")
    finally:
        taken_back(modules, module, absent)


def test_a_run_waits_for_another(host, modules):
    """For the lock, which is flock(2)'s: whoever is killed lets go of it."""
    host.check_output("mkdir -p /run/virtnet; (flock 9; sleep 6) 9>> /run/virtnet/lock > /dev/null 2>&1 & sleep 0.3")
    began = time.monotonic()
    try:
        modules.run("nat_rule", **RULES)
        took = time.monotonic() - began
        assert took > 4
    finally:
        modules.run("nat_rule", **NO_RULES)
