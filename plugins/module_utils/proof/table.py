# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A proof as lines that a person reads. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import columns

FAMILIES = ("ipv4", "ipv6")
PROTOCOLS = ("icmp", "tcp", "udp", "dns")
#: Causes of differences that are told; the rest is in the JSON.
SHOWN_MAX = 12


def _mark(cells):
    """Return what a column shows: what was seen, and whether it was to be."""
    if not cells:
        return "·"
    # Several cells in one field: names that were resolved, ports; the worst of them is shown.
    worst = next((cell for cell in cells if not cell["ok"]), cells[0])
    if worst["expected"] is None:
        return ", ".join(dict.fromkeys(cell["seen"] for cell in cells))
    return worst["seen"] + (" ✓" if worst["ok"] else " ✗")


def _sources(cells):
    """Return from which addresses the packets of a row came, each said once."""
    found = [cell["source_seen"] for cell in cells if cell["protocol"] != "dns"]
    return ", ".join(dict.fromkeys(one for one in found if one))


def _to(cell):
    if cell["forward"]:
        return f"{cell['to']} via {cell['forward']}"
    host = cell["from"].rpartition("@")[2]
    return f"{cell['to']} ({cell['address']})" if host == cell["to"] and host != cell["from"] else cell["to"]


def _rows(cells):
    """Return {(from, to): cells}; the host's IPv4 and IPv6 address of one kind share a row."""
    rows, kinds = {}, {}
    for cell in cells:
        key: tuple = (cell["from"], cell["to"], cell["forward"])
        if _to(cell) != cell["to"] and not cell["forward"]:
            # 1st address of a family, 2nd address of a family: gateway and LAN address
            seen = kinds.setdefault((*key, cell["family"]), [])
            if cell["address"] not in seen:
                seen.append(cell["address"])
            key = (*key, seen.index(cell["address"]))
        rows.setdefault(key, []).append(cell)
    return list(rows.values())


def _label(cells):
    first = cells[0]
    if first["forward"] or _to(first) == first["to"]:
        return first["from"], _to(first)
    return first["from"], f"{first['to']} ({', '.join(dict.fromkeys(cell['address'] for cell in cells))})"


def table(proof):
    """Return the lines of a proof: a row for each pair, a column for each family and protocol, and what follows."""
    cells = proof["cells"]
    kinds = [
        (family, protocol) for family in FAMILIES for protocol in PROTOCOLS
        if any((cell["family"], cell["protocol"]) == (family, protocol) for cell in cells)
    ]
    grid = [["from", "to", *(f"{family[2:]} {protocol}" for family, protocol in kinds), "arrived from"]]
    for row in _rows(cells):
        grid.append([
            *_label(row),
            *(_mark([cell for cell in row if (cell["family"], cell["protocol"]) == kind]) for kind in kinds),
            _sources(row),
        ])
    lines = columns.lines(grid, ruled=True) if cells else []
    lines += [f"Note: {note}" for note in proof["notes"]]
    return [*lines, *networks(cells), *told(proof), summary(proof)]


def networks(cells):
    """Return a line for each network of each host, where there are several: its cells, and how many were as declared."""
    mine = {}
    for cell in cells:
        for one in cell["networks"]:
            mine.setdefault(one, []).append(cell)
    if len({one.rpartition("@")[0] for one in mine}) < 2:
        return []
    grid = [["network", "cells", "yes ✓", "no ✓", "✗"]]
    for one, rows in sorted(mine.items(), key=lambda pair: pair[0].rpartition("@")[::-1]):
        good = [sum(cell["ok"] and cell["seen"] == seen for cell in rows) for seen in ("yes", "no")]
        grid.append([one, *(str(number) for number in (len(rows), *good, sum(not cell["ok"] for cell in rows)))])
    return columns.lines(grid, ruled=True)


def told(proof):
    """Return the differences, SHOWN_MAX at most; what has one cause in many cells is told once."""
    lines, more = [], {}
    for cell, text in zip((cell for cell in proof["cells"] if not cell["ok"]), proof["differences"]):
        ends = () if cell["seen"] == "unknown" else (cell["from"], cell["to"])
        cause = (cell["seen"], cell["why"], *ends)
        if cause in more:
            more[cause][1] += 1
        else:
            more[cause] = [text, 0]
    for text, others in more.values():
        lines.append(text + (f" (and {others} more cells)" if others else ""))
    if len(lines) > SHOWN_MAX:
        lines[SHOWN_MAX:] = [f"... and {len(lines) - SHOWN_MAX} more causes."]
    return lines


def summary(proof):
    """Return the proof in one sentence."""
    cells, wrong = proof["cells"], proof["differences"]
    if not cells:
        return "Nothing was proven."
    if all(cell["expected"] is None for cell in cells):
        seen = [cell["seen"] for cell in cells]
        counts = ", ".join(f"{seen.count(word)} {word}" for word in ("yes", "no", "unknown") if word in seen)
        return f"{len(cells)} questions: {counts}."
    if wrong:
        return f"{len(wrong)} of {len(cells)} cells are not as the contract says."
    return f"All {len(cells)} cells are as the contract says."
