# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.topology.marks import Marks, end


def spoil(proof, src, dst, seen, **more):
    """Make all cells between two ends what they should not be."""
    cells = [one for one in proof["cells"] if (one["from"], one["to"]) == (src, dst) and not one["forward"]]
    assert cells
    for cell in cells:
        cell.update(ok=False, seen=seen, why="it was so", **more)
    return cells


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("kvm1", ("kvm1", None)), ("vm0@kvm1", ("kvm1", "vm0")), ("vm0[natnet]@kvm1", ("kvm1", "vm0")),
        ("a@b@kvm1", ("kvm1", "a@b")), ("[x]@kvm1", ("kvm1", "[x]")),
    ],
)  # fmt: skip
def test_the_ends_of_a_cell(label, found):
    assert end(label) == found


def test_all_is_good(lab):
    marks = Marks(lab.proof)
    total = marks.of(("all",))
    assert (total["mark"], total["good"], total["total"]) == ("good", len(lab.proof["cells"]), len(lab.proof["cells"]))
    assert marks.of(("guest", "kvm1", "office0"))["mark"] == "good"
    assert marks.differences() == []


def test_without_a_proof_nothing_is_said():
    assert Marks(None).of(("all",)) == {"mark": None, "total": 0, "bad": 0, "unknown": 0, "good": 0}
    # Questions of guest_probe that expect nothing are no proof.
    cell = {"from": "vm0@h", "to": "vm1@h", "expected": None, "ok": True, "seen": "yes", "family": "ipv4", "protocol": "tcp"}
    assert Marks({"cells": [cell]}).of(("all",))["total"] == 0


def test_one_that_is_wrong_marks_both_ends_and_the_way_between(lab):
    spoil(lab.proof, "office0@kvm1", "backend0@kvm2", "yes")
    marks = Marks(lab.proof)
    for key in (
        ("guest", "kvm1", "office0"), ("guest", "kvm2", "backend0"), ("outer", "kvm1", "fleet-office"), ("uplink", "kvm1"),
        ("network", "kvm2", "fleet-backend"), ("machine", "kvm2"), ("all",),
    ):  # fmt: skip
        assert marks.of(key)["mark"] == "bad", key
    for key in (("guest", "kvm1", "services0"), ("inner", "kvm1", "fleet-office"), ("between", "kvm1", "fleet-backend")):
        assert marks.of(key)["mark"] == "good", key


def test_what_could_not_be_judged_is_neither(lab):
    spoil(lab.proof, "outside1", "services0@kvm1", "unknown")
    marks = Marks(lab.proof)
    assert marks.of(("guest", "kvm1", "services0"))["mark"] == "unknown"
    spoil(lab.proof, "kvm2", "services0@kvm1", "no")
    assert Marks(lab.proof).of(("guest", "kvm1", "services0"))["mark"] == "bad"


def test_inside_a_segment_over_two_hosts(lab):
    spoil(lab.proof, "backend0@kvm1", "backend0@kvm2", "no")
    marks = Marks(lab.proof)
    assert marks.of(("between", "kvm1", "fleet-backend"))["mark"] == "bad"
    assert marks.of(("outer", "kvm1", "fleet-backend"))["mark"] == "good"


def test_a_network_of_one_name_on_two_hosts_that_is_no_segment(lab):
    spoil(lab.proof, "services0@kvm1", "services0@kvm2", "no")
    networks = [one for one in lab.shown()["machines"][0]["networks"] if one["name"] == "fleet-services"]
    assert networks[0]["marks"]["outer"]["mark"] == "bad"


def test_a_forward_by_itself(lab):
    cells = [one for one in lab.proof["cells"] if one["forward"] == "kvm1:8080"]
    assert cells
    cells[0].update(ok=False, seen="no", why="nothing arrived")
    marks = Marks(lab.proof)
    assert marks.of(("forward", "kvm1", "fleet-office", "8080", "tcp"))["mark"] == "bad"
    assert marks.of(("forward", "kvm2", "fleet-office", "8080", "tcp"))["mark"] == "good"


def test_differences_are_told_once_for_two_ends_the_worst_first(lab):
    spoil(lab.proof, "outside1", "services0@kvm1", "unknown")
    spoil(lab.proof, "office0@kvm1", "backend0@kvm2", "yes")
    rows = Marks(lab.proof).differences()
    assert [(one["from"], one["to"], one["mark"], one["expected"], one["seen"], one["kinds"]) for one in rows] == [
        ("office0@kvm1", "backend0@kvm2", "bad", "no", "yes", ["ipv4 tcp"]),
        ("outside1", "services0@kvm1", "unknown", "yes", "unknown", ["ipv4 tcp"]),
    ]
