# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module takes for a plan: what explain_plan made, and nothing that would be a path, a rule or a word of its own."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.virtnet.kvm.plugins.filter import explain as filters
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.explain import part


@pytest.mark.parametrize(
    ("src", "dst", "more"),
    [
        ("vm0@kvm1", "vm1", {}), ("vm0@kvm1", "vm2", {"protocol": "tcp", "port": 22}), ("vm2", "out", {"family": "ipv6"}),
        ("vm0@kvm1", "203.0.113.9", {"protocol": "udp", "port": "53"}), ("out", "vm2", {}), ("kvm1", "vm3", {}),
    ],
)  # fmt: skip
def test_what_the_filter_makes_is_taken(hosts, src, dst, more):
    # As it comes to the host.
    plan = json.loads(json.dumps(filters.explain_plan(hosts, src, dst, **more)))
    for name in plan["hosts"]:
        assert part.of(plan, name) == plan["hosts"][name]


@pytest.fixture
def plan(hosts):
    return json.loads(json.dumps(filters.explain_plan(hosts, "vm0@kvm1", "vm1")))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("session", "../../../etc"), ("session", "0123456789abcdef/.."), ("session", None), ("token", "7 drop"), ("token", True),
        ("token", 2**32), ("version", 5), ("protocol", "icmp; drop"), ("macs", ["52:54:00:00:00:01 } drop"]), ("macs", "all"),
        ("guest_route", "vm1"), ("hosts.kvm1.listen", "vm1"), ("hosts.kvm1.send", {"end": "vm0"}),
        ("hosts.kvm1.send.item.to", "10.0.0.1 -f"), ("hosts.kvm1.lookups.ask.target", "-batch"),
        ("hosts.kvm1.lookups.ask.iif", "a/b"), ("hosts.kvm1.lookups", []), ("hosts.kvm1", "all"), ("hosts", []),
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_its_name(plan, path, value):
    keys = path.split(".")
    holder = plan
    for key in keys[:-1]:
        holder = holder[key]
    assert keys[-1] in holder
    holder[keys[-1]] = value
    with pytest.raises(InvalidInput) as refused:
        part.of(plan, "kvm1")
    told = refused.value.option
    assert told.startswith("plan.") and (f"plan.{path}".startswith(told) or told.startswith(f"plan.{path}")), told


@pytest.mark.parametrize("key", ["session", "token", "version", "protocol", "macs", "guest_route", "hosts"])
def test_a_part_that_is_missing_is_named(plan, key):
    given = copy.deepcopy(plan)
    del given[key]
    with pytest.raises(InvalidInput) as refused:
        part.of(given, "kvm1")
    assert refused.value.option == f"plan.{key}"


def test_a_host_that_has_no_part(plan):
    with pytest.raises(InvalidInput, match="the plan has no host kvm9"):
        part.of(plan, "kvm9")
