# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.filter import proof as filters
from ansible_tags import Lazy, Tagged, tagged


def types(value):
    if isinstance(value, dict):
        return {type(value)}.union(*(types(key) | types(one) for key, one in value.items()))
    if isinstance(value, list):
        return {type(value)}.union(*map(types, value))
    return {type(value)}


def test_from_the_first_step_to_the_table(fleet):
    plan = filters.proof_plan(tagged(fleet.lab()), tagged(["www.lab"]), Tagged("all"))
    assert Tagged not in types(plan)
    assert Lazy not in types(plan)
    seen = {host: {"evidence": found} for host, found in fleet.results(plan).items()}
    proof = filters.proof_judge(tagged(plan), tagged(seen), tagged({"kvm1": {"errors": {}}}))
    assert proof["ok"]
    assert filters.proof_table(tagged(proof))[-1].startswith("All ")
    json.dumps(proof)


def test_who_could_not_send_is_told(fleet):
    plan = filters.proof_plan(fleet.lab())
    seen = {host: {"evidence": found} for host, found in fleet.results(plan).items()}
    proof = filters.proof_judge(plan, seen, {"kvm1": {"errors": {"vm0": "vm0: it is gone"}}})
    assert any(cell["why"] == "vm0: it is gone" for cell in proof["cells"])


@pytest.mark.parametrize(
    "call",
    [
        lambda: filters.proof_plan({"kvm1": {}}), lambda: filters.proof_plan({}, pairs="some"),
        lambda: filters.proof_plan({}, ["no name"]), lambda: filters.proof_judge({}, {}), lambda: filters.proof_table({}),
        lambda: filters.proof_plan({"kvm1": {"session": object()}}),
    ],
)  # fmt: skip
def test_bad_input_is_a_filter_error(call):
    with pytest.raises(AnsibleFilterError, match="proof"):
        call()


def test_they_are_named():
    assert set(filters.FilterModule().filters()) == {"proof_plan", "proof_judge", "proof_table"}
