# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links: what taps and bridges cost in one task, against one `ip -batch` of the same links.

All are an ansible(1) of one task over the same SSH connection. The ratios are to ansible.builtin.command, which is a module as
ours are; ansible.builtin.raw shows what the batch costs without any. With manager none the links made are the same; with
networkd the task also writes what brings them back after a boot, three files a link, each synced.
"""

from __future__ import annotations

import json
import statistics

import lab as labs

PHASES = ("first", "rerun", "removal")
BATCH, OURS = "ip -batch, command", "virtnet.kvm, manager none"


def taps(count):
    return [{"name": f"bnchtap{number}", "mac": f"02:00:00:01:{number // 256:02x}:{number % 256:02x}"} for number in range(count)]


def bridges(count):
    return [
        {
            "name": f"bnchbr{number}", "mac": f"02:00:00:02:{number // 256:02x}:{number % 256:02x}", "ports": [],
            "addresses": [f"10.96.{number}.1/24"],
        }
        for number in range(count)
    ]  # fmt: skip


def _made(kind, item):
    """Return the lines of ip -batch that make a link as the task does."""
    name = item["name"]
    add = f"tuntap add dev {name} mode tap" if kind == "taps" else f"link add name {name} type bridge"
    lines = [add, f"link set dev {name} address {item['mac']}", f"link set dev {name} alias virtnet.kvm"]
    lines += [f"address add {one} dev {name} broadcast +" for one in item.get("addresses", ())]
    return [*lines, f"link set dev {name} up"]


def batches(kind, items):
    """Return {phase: text for ip -batch}; a batch has no re-run."""
    return {
        "first": "\n".join(line for item in items for line in _made(kind, item)),
        "removal": "\n".join(f"link delete dev {item['name']}" for item in items),
    }


def commands(lab, kind, items):
    """Return {who: {phase: command}}."""
    found = {BATCH: {}, "ip -batch, raw": {}}
    for phase, text in batches(kind, items).items():
        name = f"bench-{kind}-{len(items)}-{phase}.ip"
        (labs.OUT / name).write_text(text + "\n")
        lab.put(labs.OUT / name)
        for who, how in found.items():
            how[phase] = lab.task(f"ansible.builtin.{who.split()[-1]}", f"ip -batch /root/{name}")
    module = {"taps": "virtnet.kvm.tap_iface", "bridges": "virtnet.kvm.host_bridge"}[kind]
    gone = [{"name": item["name"], "state": "absent"} for item in items]
    for manager in ("none", "networkd"):
        there, away = (lab.task(module, json.dumps({kind: one, "manager": manager})) for one in (items, gone))
        found[f"virtnet.kvm, manager {manager}"] = {"first": there, "rerun": there, "removal": away}
    return found


def measure(lab, sizes, rounds, timed):
    """Return {"N kind": {who: {phase: median seconds}}}; the peers take turns within each round."""
    results = {}
    for count, kind in sizes:
        what = commands(lab, kind, {"taps": taps, "bridges": bridges}[kind](count))
        times = {who: {phase: [] for phase in phases} for who, phases in what.items()}
        for number in range(rounds):
            for who, phases in what.items():
                for phase, command in phases.items():
                    seconds = timed(command)
                    times[who][phase].append(seconds)
                    print(f"  {count} {kind} round {number + 1}/{rounds} {who}: {phase} {seconds:.1f} s", flush=True)
        results[f"{count} {kind}"] = {
            who: {phase: statistics.median(values) for phase, values in phases.items()} for who, phases in times.items()
        }
    return results


def table(results):
    lines = ["", f"{'links':>12}  {'who':30} {'first':>9} {'re-run':>9} {'removal':>9}   of one ip -batch"]
    for what, rows in results.items():
        batch = rows[BATCH]
        for who, times in rows.items():
            line = f"{what:>12}  {who:30} " + " ".join(f"{times[one]:7.2f} s" if one in times else f"{'':9}" for one in PHASES)
            if times is not batch:
                line += "   " + "  ".join(f"{phase} {times[phase] / batch[phase]:.1f}x" for phase in ("first", "removal"))
            lines.append(line)
        lines.append("")
    return "\n".join(lines)
