# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a proof says of each thing that is drawn. Pure.

The worst cell counts: one that is not as declared before one that could not be judged, before those that are good.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.topology import look


def end(label):
    """Return (host, guest) of an end's label, C(vm0@kvm1) or C(vm0[natnet]@kvm1); the guest is None for a machine itself."""
    guest, _at, host = label.rpartition("@")
    if guest.endswith("]") and "[" in guest[1:]:
        guest = guest[: guest.rindex("[")]
    return host, guest or None


def mark_of(cell):
    if cell["expected"] is None:
        return None
    if cell["ok"]:
        return "good"
    return "unknown" if cell["seen"] == "unknown" else "bad"


def _way(src, dst, inside):
    """Return by what a cell's packet goes.

    C(inner) is the network's own bridge; C(between) from one host's to another's network of the same name, which is one segment
    if it is stretched; C(outer) the host's other links.
    """
    if len({name for name, _host in inside}) != 1:
        return "outer"
    if src[0] == dst[0]:
        return "inner"
    return "between" if None not in (src[1], dst[1]) else "outer"


class Tally:
    """How many cells of each mark there were."""

    def __init__(self):
        self.counts = dict.fromkeys(look.MARKS, 0)

    def add(self, mark):
        self.counts[mark] += 1

    @property
    def mark(self):
        return next((mark for mark, number in self.counts.items() if number), None)

    @property
    def total(self):
        return sum(self.counts.values())

    def plus(self, other):
        for mark, number in other.counts.items():
            self.counts[mark] += number
        return self

    def plain(self):
        return {"mark": self.mark, "total": self.total, **self.counts}


class Marks:
    """The tallies of a proof; without a proof all are empty."""

    def __init__(self, proof=None):
        self.cells = [cell for cell in (proof or {}).get("cells") or [] if mark_of(cell)]
        self.notes = [str(one) for one in (proof or {}).get("notes") or []]
        self._tallies = {}
        self._pairs = {}
        for cell in self.cells:
            self._count(cell)

    def _count(self, cell):
        mark = mark_of(cell)
        src, dst = end(cell["from"]), end(cell["to"])
        inside = [tuple(one.rpartition("@")[::2]) for one in cell.get("networks") or []]
        keys = {("all",), ("machine", src[0]), ("machine", dst[0])}
        keys |= {("guest", *one) for one in (src, dst) if one[1] is not None}
        way = _way(src, dst, inside)
        for name, host in inside:
            keys |= {("network", host, name), (way, host, name)}
        if cell.get("forward"):
            name, host = inside[-1] if inside else (None, None)
            keys.add(("forward", host, name, cell["forward"].rpartition(":")[2], cell["protocol"]))
        if src[0] != dst[0]:
            keys |= {("uplink", src[0]), ("uplink", dst[0])}
        for key in keys:
            self._tallies.setdefault(key, Tally()).add(mark)
        if mark != "good":
            self._pairs.setdefault((cell["from"], cell["to"]), []).append(cell)

    def of(self, *keys):
        """Return {mark, total, bad, unknown, good} of one thing or several."""
        found = Tally()
        for key in keys:
            found.plus(self._tallies.get(key, _NONE))
        return found.plain()

    def differences(self):
        """Return [{from, to, mark, text}], a row for each pair of ends, the worst first."""
        rows = []
        for (src, dst), cells in self._pairs.items():
            tally = Tally()
            for cell in cells:
                tally.add(mark_of(cell))
            told = [cell for cell in cells if mark_of(cell) == tally.mark]
            kinds = list(dict.fromkeys(f"{cell['family']} {cell['protocol']}" for cell in told))
            first = told[0]
            rows.append({
                "from": src, "to": dst, "mark": tally.mark, "cells": len(cells), "kinds": kinds,
                "expected": first["expected"], "seen": first["seen"], "why": str(first.get("why") or ""),
            })  # fmt: skip
        order = list(look.MARKS)
        return sorted(rows, key=lambda row: (order.index(row["mark"]), look.natural(row["from"]), look.natural(row["to"])))


_NONE = Tally()
