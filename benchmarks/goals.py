# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Goals: what the project wants to hold, what was measured, and whether it held.

A ratio is of two medians of one part, so of one run. Whether a goal holds is told and never fails anything: seconds are those of
one machine in one hour.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import forwards
import hosts
import links
import networks

PARTS = ("fleet", "links", "forwards", "networks", "load", "hosts")
NAME = "bench"


@dataclasses.dataclass(frozen=True)
class Goal:
    part: str
    says: str
    value: float
    unit: str
    #: From the part's medians; a KeyError means that this was not measured.
    measured: Callable[[dict], float]
    least: bool = False
    #: What helps to read the measured value, in words.
    note: Callable[[dict], str] | None = None

    @property
    def limit(self):
        return f"{'>=' if self.least else '<='} {self.value:g}{' s' if self.unit == 's' else self.unit}"

    def held(self, measured):
        return measured >= self.value if self.least else measured <= self.value


def _of(size, one, phase, other=None):
    """Return a function that takes a median from a part's, or its ratio to somebody else's of the same phase."""
    def found(medians):
        value = medians[size][one][phase]
        return value if other is None else value / medians[size][other][phase]

    return found


def _faster(phase):
    return lambda medians: medians["200"][networks.COMMUNITY][phase] / medians["200"][networks.ROLE][phase]


def _own(phase):
    """Return a function that tells what a module does for the forwards: without Python's start, imports, and the like."""
    def found(medians):
        rows = medians["10000 forwards"]
        return rows[forwards.OURS][forwards.MODULE[phase]] - rows[forwards.ONE][forwards.MODULE[phase]]

    return found


def _whole(phase):
    """Return a function that tells how long the module's process was there."""
    return lambda medians: f"the module's whole process {medians['10000 forwards'][forwards.OURS][forwards.MODULE[phase]]:.2f} s"


def _of_map(medians):
    rows = medians["10000 forwards"]
    ours = rows[forwards.OURS]["first"] - rows[forwards.ONE]["first"]
    least = rows[forwards.MAP]["first"] - rows[forwards.MAP_OF_ONE]["first"]
    ratio = f" ({ours / least:.1f}x)" if least > 0 else ""
    return f"{_whole('first')(medians)}; of the play {ours:.2f} s, of nft's with one map {least:.2f} s{ratio}"


GOALS = (
    Goal("networks", "200 NAT networks, first run: of a libvirt-python loop's", 0.5, "x",
         _of("200", networks.ROLE, "first", networks.LOOP)),
    Goal("networks", "200 NAT networks, re-run: the whole play", 3, "s", _of("200", networks.ROLE, "rerun")),
    Goal("networks", "200 NAT networks, re-run: the module alone", 0.4, "s", _of("200", networks.TASK, networks.MODULE)),
    Goal("networks", "200 NAT networks, removal: of a libvirt-python loop's", 0.2, "x",
         _of("200", networks.ROLE, "removal", networks.LOOP)),
    Goal("networks", "200 NAT networks, first run: faster than loops of community.libvirt", 12, "x", _faster("first"), True),
    Goal("networks", "200 NAT networks, re-run: faster than loops of community.libvirt", 80, "x", _faster("rerun"), True),
    Goal("forwards", "10,000 forwards, applied: in the module, what they add to one", 0.5, "s", _own("first"), note=_of_map),
    Goal("forwards", "10,000 forwards, compared: in the module, what they add to one", 0.3, "s", _own("rerun"),
         note=_whole("rerun")),
    Goal("forwards", "10,000 forwards, new connections through the last: of routed ones", 0.75, "x",
         _of("10000 forwards", forwards.OURS, "connections", forwards.DIRECT), True),
    Goal("links", "100 taps: of one ip -batch", 2, "x", _of("100 taps", links.OURS, "first", links.BATCH)),
    Goal("hosts", "NAT lab on three hosts: of one's time, on two processors", 2, "x",
         _of("nat_lab", hosts.THREE, "first", hosts.ONE)),
    Goal("hosts", "NAT lab on three hosts: of one's processor time", 3.1, "x",
         _of("nat_lab", hosts.THREE, "first, processors", hosts.ONE)),
    Goal("hosts", "NAT lab on one host, re-run with its proof", 10, "s", _of("nat_lab", hosts.ONE, "rerun")),
    Goal("fleet", "200 hosts with 50 networks each: planned", 5, "s",
         lambda medians: max(medians["200 hosts x 50 networks"].values())),
)  # fmt: skip


def judged(folder):
    """Return what bench.json holds: each goal with what the newest run of its part measured, None where it did not."""
    parts = {}
    for name in PARTS:
        path = folder / f"{name}.json"
        if path.exists():
            parts[name] = json.loads(path.read_text())
    rows = []
    for goal in GOALS:
        part = parts.get(goal.part, {})
        try:
            measured = goal.measured(part["medians"])
            note = goal.note(part["medians"]) if goal.note else ""
        except KeyError:
            measured, note = None, ""
        rows.append(
            {
                "goal": goal.says, "limit": goal.limit, "part": goal.part, "run": part.get("run"),
                "value": goal.value, "unit": goal.unit, "at least": goal.least,
                "measured": measured, "held": None if measured is None else goal.held(measured), "note": note,
            }
        )  # fmt: skip
    return {"goals": rows, "runs": {name: part.get("run") for name, part in parts.items()}}


def said(row):
    """Return a measured value in words."""
    if row["measured"] is None:
        return "not measured"
    return f"{row['measured']:.2f}{' s' if row['unit'] == 's' else row['unit']}"


def table(found):
    words = {True: "yes", False: "no", None: "-"}
    lines = ["", f"{'goal':80} | {'measured':>12} | held | run of the part"]
    for row in found["goals"]:
        run = "-" if row["measured"] is None else row["run"]
        lines.append(f"{row['goal'] + ' ' + row['limit']:80} | {said(row):>12} | {words[row['held']]:4} | {run}")
        if row["note"]:
            lines.append(f"    {row['note']}")
    return "\n".join(lines)
