# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks: what a first run, a re-run and a removal cost, against a plain libvirt-python loop and community.libvirt.

All run over the same SSH connection. Of the one task is also told how long its module takes when nothing changes, without SSH
and the controller; it is watched in a re-run of its own, so that watching is in nobody's time.
"""

from __future__ import annotations

import json
import statistics

import lab as labs

PHASES = ("first", "rerun", "removal")
ROLE, TASK = "virtnet.kvm, role net_nat", "virtnet.kvm, one task"
LOOP, COMMUNITY = "libvirt-python loop", "community.libvirt loops"
MODULE = "module, re-run"
XML = """<network><name>{name}</name><forward mode='nat'/><bridge name='{bridge}' stp='off' delay='0'/>
<ip address='{net}.1' netmask='255.255.255.0'><dhcp><range start='{net}.100' end='{net}.200'/></dhcp></ip></network>"""


def networks(count):
    rows = []
    for number in range(count):
        net = f"10.{80 + number // 250}.{number % 250}"
        rows.append({"name": f"bench{number}", "bridge": f"bnch{number}", "net": net})
    return rows


def declared(rows):
    """Return the networks as our modules and roles want them."""
    return [
        {
            "name": row["name"], "model": "nat", "bridge": row["bridge"], "addresses": [f"{row['net']}.1/24"],
            "dhcp": {"ranges": [{"start": f"{row['net']}.100", "end": f"{row['net']}.200"}]},
        }
        for row in rows
    ]  # fmt: skip


def play(lab, name, state, variables):
    """A play of peers/ with its variables from a file."""
    return lab.playbook(labs.PEERS / name, "-e", f"bench_state={state}", "-e", f"@{variables}")


def commands(lab, count):
    """Return {who: function of a state that returns the command}."""
    rows = networks(count)
    ours, theirs, plain = (labs.OUT / f"{name}-{count}.json" for name in ("ours", "theirs", "bench"))
    xml = [{"name": row["name"], "xml": XML.format(**row)} for row in rows]
    for path, what in ((ours, {"bench_networks": declared(rows)}), (theirs, {"bench_xml": xml}), (plain, xml)):
        path.write_text(json.dumps(what))
    for source in (labs.PEERS / "libvirt_python.py", plain):
        lab.put(source)
    return {
        ROLE: lambda state: play(lab, "virtnet.yml", state, ours),
        TASK: lambda state: play(lab, "virtnet_module.yml", "absent" if state == "absent" else "active", ours),
        LOOP: lambda state: lab.raw(f"python3 /root/libvirt_python.py {state} /root/{plain.name}"),
        COMMUNITY: lambda state: play(lab, "community.yml", state, theirs),
    }


def measure(lab, peers, sizes, rounds, timed):
    """Return {N: {who: {phase: median seconds}}}; rounds are for up to 50 networks, one above."""
    results = {}
    for count in sizes:
        what = commands(lab, count)
        found = {name: {} for name in what if not peers or any(one in name for one in peers)}
        turns = rounds if count <= 50 else 1
        for number in range(turns):
            for name, times in found.items():
                for phase, state in zip(PHASES, ("present", "present", "absent")):
                    seconds = timed(what[name](state))
                    times.setdefault(phase, []).append(seconds)
                    print(f"  N={count} round {number + 1}/{turns} {name}: {phase} {seconds:.1f} s", flush=True)
                    if (name, phase) == (TASK, "rerun"):
                        own = labs.module_seconds(lab.watched(what[name](state), timed)[1])
                        times.setdefault(MODULE, []).append(own)
        results[count] = {
            name: {phase: statistics.median(values) for phase, values in times.items()} for name, times in found.items()
        }
    return results


def table(results):
    lines = ["", f"{'networks':>8}  {'who':26} {'first':>9} {'re-run':>9} {'removal':>9}   ours (role) is faster by"]
    for count, rows in results.items():
        ours = rows.get(ROLE)
        for name, times in rows.items():
            line = f"{count:>8}  {name:26} " + " ".join(f"{times[phase]:7.2f} s" for phase in PHASES)
            if ours and not name.startswith("virtnet.kvm"):
                line += "   " + "  ".join(f"{phase} {times[phase] / ours[phase]:.1f}x" for phase in PHASES)
            if MODULE in times:
                line += f"   of the re-run the module: {times[MODULE]:.2f} s"
            lines.append(line)
        lines.append("")
    return "\n".join(lines)
