#!/usr/bin/env python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Charts: each part's JSON as an SVG beside it, and how far each goal is from what was measured.

benchmarks/run draws after each part; `python benchmarks/chart.py` draws all that is in .build/bench again. Bars are medians, of
who and in which phase, on a logarithmic axis where peers are far apart; at a bar stands its value and the ratio that the part's
table tells. The curves of load have linear axes: what costs the same for each more is a straight line.
"""

from __future__ import annotations

import json

import forwards
import goals
import hosts
import lab as labs
import links
import load
import matplotlib as mpl
import networks
from matplotlib.figure import Figure
from matplotlib.patches import Patch

#: Okabe and Ito's colours, which are different for everybody's eyes; in bars the first two are ours.
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#999999", "#f0e442")
PHASES = {"first": "first run", "rerun": "re-run", "check": "check mode", "removal": "removal", "again": "planned again"}
BAR = 0.22  # inches
#: Who takes so many times as long would leave others no length on a linear axis.
APART = 20
#: Text stays text, and the same figures give the same file.
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "virtnet.kvm", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def _bars(axes, rows, groups, colours, told):
    """Draw {who: {group: value}} as horizontal bars in groups; told(who, group) is what stands at a bar."""
    place, ticks = 0.0, []
    for group in groups:
        there = [who for who in rows if group in rows[who]]
        for number, who in enumerate(there):
            drawn = axes.barh(place + number, rows[who][group], 0.9, color=colours[who])
            axes.bar_label(drawn, [told(who, group)], padding=3, fontsize=8)
        ticks.append((place + (len(there) - 1) / 2, PHASES.get(group, group)))
        place += len(there) + 1
    axes.set_yticks([at for at, _group in ticks], [group for _at, group in ticks])
    axes.invert_yaxis()
    # In the end there is room for what stands at the longest bar.
    low, high = (end(value for one in rows.values() for value in one.values()) for end in (min, max))
    if low * APART < high:
        axes.set_xscale("log")
        axes.set_xlim(low / 2, high * (2 * high / low) ** 0.3)
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.set_xlim(0, high * 1.3)


def _grouped(title, medians, groups, unit, ratio):
    """Return a figure with a chart for each size; ratio(rows, who, group) is in words, empty if there is none."""
    charts = [
        (size, {who: {group: times[group] for group in groups if group in times} for who, times in rows.items()})
        for size, rows in medians.items()
    ]
    heights = [1.0 + BAR * sum(1 + len(one) for one in rows.values()) for _size, rows in charts]
    figure = Figure(figsize=(10, 0.6 + sum(heights) + BAR * max(len(rows) for _size, rows in charts)), layout="constrained")
    everybody = list(dict.fromkeys(who for _size, rows in charts for who, one in rows.items() if one))
    ours = [who for who in everybody if who.startswith("virtnet.kvm")]
    others = [who for who in everybody if who not in ours]
    colours = dict(zip(ours + others, COLOURS[: len(ours)] + COLOURS[max(2, len(ours)) :]))
    for axes, (size, rows) in zip(figure.subplots(len(charts), 1, squeeze=False, height_ratios=heights)[:, 0], charts):
        def told(who, group, rows=medians[size]):
            value = rows[who][group]
            return f"{value:,.{0 if value >= 100 else 2}f}{unit} {ratio(rows, who, group)}".rstrip()

        _bars(axes, rows, groups, colours, told)
        axes.set_title(str(size), loc="left")
    figure.suptitle(title)
    handles = [Patch(color=colour, label=who) for who, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False)
    return figure


def _networks(medians):
    def ratio(rows, who, phase):
        ours = rows.get(networks.ROLE)
        return f"· {rows[who][phase] / ours[phase]:.1f}x" if ours and not who.startswith("virtnet.kvm") else ""

    sized = {f"{count} NAT networks": rows for count, rows in medians.items()}
    return _grouped("NAT networks: median seconds, and how many times the role's", sized, networks.PHASES, " s", ratio)


def _hosts(medians):
    def ratio(rows, who, phase):
        return f"· {rows[who][phase] / rows[hosts.ONE][phase]:.1f}x" if who != hosts.ONE else ""

    groups = [text for phase in hosts.PHASES for text in (phase, f"{phase}, processors")]
    return _grouped("Three hosts: median seconds, and how many times one host's", medians, groups, " s", ratio)


def _links(medians):
    def ratio(rows, who, phase):
        batch = rows[links.BATCH]
        return f"· {rows[who][phase] / batch[phase]:.1f}x" if who != links.BATCH and phase in batch else ""

    return _grouped("Links: median seconds, and how many times one ip -batch's", medians, links.PHASES, " s", ratio)


def _forwards(medians):
    def ratio(rows, who, phase):
        if who in (forwards.OURS, forwards.ONE, forwards.MAP_OF_ONE) or who.startswith(forwards.LOOP):
            return ""
        return f"· {rows[who][phase] / rows[forwards.OURS][phase]:.1f}x"

    title = "Port forwards: median seconds of the play, and how many times ours"
    figure = _grouped(title, medians, forwards.PHASES, " s", ratio)
    return figure, _rates(medians)


def _rates(medians):
    key = "new connections a second"
    rates = {
        size: {who: {key: one["connections"]} for who, one in rows.items() if "connections" in one}
        for size, rows in medians.items()
    }

    def ratio(rows, who, group):
        return f"· {rows[who][group] / rows[forwards.DIRECT][group]:.2f} of routed" if who != forwards.DIRECT else ""

    return _grouped("Port forwards: new connections a second through the last", rates, [key], "/s", ratio)


def _fleet(medians):
    rows = {"first plan": {}, "planned again": {}}
    for size, times in medians.items():
        rows["first plan"][size], rows["planned again"][size] = times["first"], times["again"]
    return _grouped("Fleets: median seconds to plan all hosts", {"": rows}, list(medians), " s", lambda *_one: "")


def _load(medians):
    figure = Figure(figsize=(12, 10), layout="constrained")
    for column, (kind, steps) in zip(figure.subplots(3, len(load.KINDS), squeeze=False).T, medians.items()):
        counts = [int(count) for count in steps]
        for number, phase in enumerate(load.PHASES):
            of = [one[phase] for one in steps.values()]
            colour, name = COLOURS[number], PHASES[phase]
            column[0].plot(counts, [one["seconds"] for one in of], "o-", color=colour, label=name)
            column[0].plot(counts, [one["module"] for one in of], "o:", color=colour, label=f"{name}, modules alone")
            each = [1000 * one["seconds"] / count for one, count in zip(of, counts)]
            column[1].plot(counts, each, "o-", color=colour, label=name)
        for number, (key, said) in enumerate(load.MEMORY[kind].items()):
            found = [load.memory(phases, key) for phases in steps.values()]
            seen = [(count, value) for count, value in zip(counts, found) if value is not None]
            column[2].plot(*zip(*seen) if seen else ((), ()), "o-", color=COLOURS[number], label=said)
        for axes, what in zip(column, ("seconds", f"ms for each of the {kind}", "MiB")):
            axes.set(xlabel=kind, ylabel=what, xlim=(0, None), ylim=(0, axes.get_ylim()[1] * 1.3))
            axes.legend(fontsize=7, frameon=False)
    figure.suptitle("One host as it gets more: what a play takes, in all and for each, and the memory of the largest processes")
    return figure


def _goals(found):
    """Each goal's measured part of what is allowed: left of the line is held."""
    rows = [row for row in found["goals"] if row["measured"] is not None]
    figure = Figure(figsize=(11, 1.5 + 0.4 * max(1, len(rows))), layout="constrained")
    axes = figure.subplots()
    shares = [row["value"] / row["measured"] if row["at least"] else row["measured"] / row["value"] for row in rows]
    bars = axes.barh(range(len(rows)), shares, color=[COLOURS[0 if row["held"] else 2] for row in rows])
    told = [f"{goals.said(row)} · {'held' if row['held'] else 'not held'}" for row in rows]
    axes.bar_label(bars, told, padding=3, fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set_yticks(range(len(rows)), [f"{row['goal']} {row['limit']}" for row in rows])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(0, max([1.0, *shares]) * 1.3)
    axes.set_xlabel("share of what the goal allows: up to 1 is held")
    return figure


DRAWN = {"networks": _networks, "links": _links, "forwards": _forwards, "fleet": _fleet, "load": _load, "hosts": _hosts}


def _save(path, figure):
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None})


def draw(name, folder=labs.OUT):
    """Draw the JSON of a part; return the paths."""
    medians = json.loads((folder / f"{name}.json").read_text())["medians"]
    with mpl.rc_context(STYLE):
        figures = DRAWN[name](medians)
    if name == "forwards":
        pairs = dict(zip((name, f"{name}-connections"), figures))
    else:
        pairs = {name: figures}
    for stem, figure in pairs.items():
        _save(folder / f"{stem}.svg", figure)
    return [folder / f"{stem}.svg" for stem in pairs]


def summary(folder=labs.OUT):
    """Write bench.json and bench.svg of what all parts' newest runs measured; return the table."""
    found = goals.judged(folder)
    (folder / f"{goals.NAME}.json").write_text(json.dumps(found, indent=2) + "\n")
    with mpl.rc_context(STYLE):
        figure = _goals(found)
    _save(folder / f"{goals.NAME}.svg", figure)
    return f"{goals.table(found)}\nJSON: {folder / goals.NAME}.json, chart: {folder / goals.NAME}.svg"


if __name__ == "__main__":
    for part in goals.PARTS:
        if (labs.OUT / f"{part}.json").exists():
            print(*draw(part), sep="\n")
    print(summary())
