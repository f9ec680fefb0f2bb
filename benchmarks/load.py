# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load: what one host with many networks, taps in them and port forwards costs, and in which memory, as all three grow.

A step of the series is a host with so many of each, made in that order and removed in the other: NAT networks by the role, taps
that stand for guests' NICs as ports of their bridges, port forwards to addresses of them from a file. Each is a play of its own,
watched by peers/processes.py: the memory is that of the largest module and of the largest nft, of Python and nft alone, and what
libvirt's daemon has before and after. The daemon is started anew before each step, so that no step has what another left.
The watch takes some of the time that is measured; how much is told. What counts is the curve: a value per network, tap or forward
that stays the same, or becomes less, is what a host with more of them needs.
"""

from __future__ import annotations

import json
import statistics
import subprocess

import forwards as port_forwards
import lab as labs
import links
import networks

KINDS = ("networks", "taps", "forwards")
PHASES = ("first", "rerun", "removal")
#: What is said of each value of memory; the daemon is told beside the networks, for of the rest it knows nothing.
PROCESSES = {"module_memory": "largest module", "nft_memory": "largest nft"}
DAEMONS = {"daemon_before": "libvirtd before", "daemon_after": "libvirtd after", "daemon_peak": "libvirtd at most"}
MEMORY = {"networks": {**PROCESSES, **DAEMONS}, "taps": PROCESSES, "forwards": PROCESSES}
DAEMON = "systemctl restart libvirtd || systemctl restart virtnetworkd; virsh --quiet net-list --all"


def rows_of(counts):
    """Return (networks, taps, forwards) of a step, the last two into the first in turn."""
    nets = networks.networks(counts["networks"])
    taps = [{**tap, "bridge": nets[number % len(nets)]["bridge"]} for number, tap in enumerate(links.taps(counts["taps"]))]
    targets = [
        (10000 + number % 50000, f"{nets[number % len(nets)]['net']}.{2 + number // len(nets) % 90}")
        for number in range(counts["forwards"])
    ]
    return nets, taps, targets


def commands(lab, counts):
    """Return {kind: {phase: command}}."""
    nets, taps, targets = rows_of(counts)
    variables = labs.OUT / "load-networks.json"
    variables.write_text(json.dumps({"bench_networks": networks.declared(nets)}))
    gone = [{"name": tap["name"], "state": "absent"} for tap in taps]
    plugged, unplugged = (
        lab.play(f"load-taps-{name}", "tap_iface", {"taps": what, "manager": "none"})
        for name, what in (("up", taps), ("gone", gone))
    )
    present, absent = (networks.play(lab, "virtnet.yml", state, variables) for state in ("present", "absent"))
    return {
        "networks": {"first": present, "rerun": present, "removal": absent},
        "taps": {"first": plugged, "rerun": plugged, "removal": unplugged},
        "forwards": port_forwards.ours(lab, "load", targets),
    }


def values(seconds, seen):
    """Return {value: number} of a watched command; memory in MiB, None of a process that was too short to be seen."""
    def most(name):
        peaks = [one["peak"] / 1024 for one in seen["processes"] if one["name"].startswith(name)]
        return max(peaks, default=None)

    found = {"seconds": seconds, "module": labs.module_seconds(seen), "watching": seen["watching"]}
    found.update(module_memory=most("python"), nft_memory=most("nft"))
    return {**found, **{f"daemon_{when}": kib / 1024 for when, kib in seen["daemon"].items()}}


def middle(measured):
    """Return the medians of [{value: number or None}]."""
    columns = {key: [one[key] for one in measured if one[key] is not None] for key in measured[0]}
    return {key: statistics.median(column) if column else None for key, column in columns.items()}


def measure(lab, series, rounds, timed):
    """Return {kind: {N: {phase: {value: median}}}} of {kind: [N, ...]}."""
    results = {kind: {} for kind in KINDS}
    for step in zip(*(series[kind] for kind in KINDS)):
        counts = dict(zip(KINDS, step))
        what = commands(lab, counts)
        found = {kind: {phase: [] for phase in PHASES} for kind in KINDS}
        order = [(kind, phase) for kind in KINDS for phase in ("first", "rerun")] + [(kind, "removal") for kind in KINDS[::-1]]
        for number in range(rounds):
            lab.command("exec", "kvm1", "--", "sh", "-c", DAEMON, stdout=subprocess.DEVNULL)
            for kind, phase in order:
                one = values(*lab.watched(what[kind][phase], timed))
                found[kind][phase].append(one)
                print(
                    f"  load round {number + 1}/{rounds} {counts[kind]} {kind}: {phase} {one['seconds']:.1f} s,"
                    f" of a module {_number(one['module_memory'])} MiB", flush=True,
                )  # fmt: skip
        for kind, phases in found.items():
            results[kind][counts[kind]] = {phase: middle(measured) for phase, measured in phases.items()}
    return results


def _number(value):
    return "-" if value is None else f"{value:.1f}"


def table(results):
    lines = []
    for kind, steps in results.items():
        heads = "".join(f"{phase:>10}  ms per N" for phase in PHASES)
        lines += ["", f"{kind + ', s':>20} {'N':>6}{heads}   the modules alone"]
        for count, phases in steps.items():
            line = f"{'':20} {count:>6}"
            for phase in PHASES:
                line += f"{phases[phase]['seconds']:10.2f} {1000 * phases[phase]['seconds'] / int(count):9.2f}"
            lines.append(line + "   " + "  ".join(f"{phase} {phases[phase]['module']:.2f}" for phase in PHASES))
        lines += ["", f"{kind + ', MiB':>20} {'N':>6}" + "".join(f"{said:>17}  KiB per N" for said in MEMORY[kind].values())]
        for count, phases in steps.items():
            line = f"{'':20} {count:>6}"
            for key in MEMORY[kind]:
                value = memory(phases, key)
                each = "-" if value is None else f"{1024 * value / int(count):.1f}"
                line += f"{_number(value):>17} {each:>10}"
            lines.append(line)
    watched = [phase for steps in results.values() for phases in steps.values() for phase in phases.values()]
    watching = [phase["watching"] / phase["seconds"] for phase in watched]
    return "\n".join([*lines, "", f"Watching took {statistics.median(watching):.0%} of one processor."])


def memory(phases, key):
    """Return a step's value of MEMORY over its phases: what the daemon had before all, and after the re-run; else the most."""
    if key == "daemon_before":
        return phases["first"][key]
    if key == "daemon_after":
        return phases["rerun"][key]
    return max((phase[key] for phase in phases.values() if phase[key] is not None), default=None)
