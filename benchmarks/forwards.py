# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Port forwards: what thousands cost in one task, from a file, against iptables-restore, nft without maps and a loop of iptables.

Ours is a play of one task, the others an ansible(1) of one task over the same SSH connection. What one forward costs in such a
play is told too, for the difference is the forwards' own. (ansible(1) would print ten thousand rules.) The loop gets a part of
them, for each of its calls goes through all that are there: more would take longer.
"""

from __future__ import annotations

import json
import statistics

PHASES = ("first", "rerun", "check", "removal")
OURS, ONE, LOOP = "virtnet.kvm, src", "virtnet.kvm, one forward", "iptables -C || -A, loop"


def forwards(count):
    """Return (port, address) of each: ten thousand ports, and guests of 10.96.0.0/16."""
    return [(10000 + number % 50000, f"10.96.{number // 250}.{number % 250 + 1}") for number in range(count)]


def rules(rows):
    return [
        {"name": f"f{port}", "type": "dnat", "listen": {"ports": str(port)}, "to": {"address": address, "ports": "80"}}
        for port, address in rows
    ]


def texts(rows, part):
    """Return {who: {phase: (name of a file, its text, command)}} of the peers."""
    chain = ["*nat", ":BENCH - [0:0]"]
    chain += [f"-A BENCH -p tcp -m tcp --dport {port} -j DNAT --to-destination {address}:80" for port, address in rows]
    table = "table ip bench {\n    chain pre {\n        type nat hook prerouting priority -100;\n"
    table += "".join(f"        tcp dport {port} dnat to {address}:80\n" for port, address in rows) + "    }\n}\n"
    loop = ["iptables -t nat -N BENCH 2> /dev/null"]
    loop += [
        f"iptables -t nat -C BENCH {one} 2> /dev/null || iptables -t nat -A BENCH {one}"
        for one in (f"-p tcp --dport {port} -j DNAT --to-destination {address}:80" for port, address in rows[:part])
    ]
    away = "iptables -t nat -F BENCH && iptables -t nat -X BENCH"
    restore = ("bench.ipt", "\n".join([*chain, "COMMIT", ""]), "iptables-restore --noflush /root/bench.ipt")
    load = ("bench.nft", f"add table ip bench\ndelete table ip bench\n{table}", "nft -f /root/bench.nft")
    each = ("bench-loop.sh", "\n".join([*loop, ""]), "sh /root/bench-loop.sh")
    return {
        "iptables-restore": {"first": restore, "rerun": restore, "removal": (None, None, away)},
        "nft, a rule each": {"first": load, "rerun": load, "removal": (None, None, "nft delete table ip bench")},
        LOOP: {"first": each, "rerun": each, "removal": (None, None, away)},
    }


def commands(lab, folder, count, part):
    """Return {who: {phase: command}}."""
    def raw(command):
        return ["ansible", "-i", str(lab.inventory), "kvm1", "-m", "ansible.builtin.raw", "-a", command]

    def play(name, arguments):
        path = folder / f"bench-{name}-play.yml"
        path.write_text(json.dumps([{"hosts": "kvm1", "gather_facts": False, "tasks": [{"virtnet.kvm.nat_rule": arguments}]}]))
        return ["ansible-playbook", "-i", str(lab.inventory), str(path)]

    def ours(name, rows):
        path = folder / f"bench-{name}.json"
        path.write_text(json.dumps(rules(rows)))
        there = play(name, {"set": "bench", "src": str(path), "purge": True})
        gone = play("gone", {"set": "bench", "rules": [], "purge": True})
        return {"first": there, "rerun": there, "check": [*there, "--check"], "removal": gone}

    rows = forwards(count)
    found = {OURS: ours("forwards", rows), ONE: ours("one", rows[:1])}
    for who, phases in texts(rows, part).items():
        found[who] = {}
        for phase, (name, text, command) in phases.items():
            if name is not None and phase == "first":
                (folder / name).write_text(text)
                lab.put(folder / name)
            found[who][phase] = raw(command)
    return found


def measure(lab, folder, sizes, part, rounds, timed):
    """Return {"N forwards": {who: {phase: median seconds}}}; the peers take turns within each round."""
    results = {}
    for count in sizes:
        what = commands(lab, folder, count, min(part, count))
        times = {who: {phase: [] for phase in PHASES if phase in phases} for who, phases in what.items()}
        for number in range(rounds):
            for who, phases in times.items():
                for phase, seconds in phases.items():
                    seconds.append(timed(what[who][phase]))
                    print(f"  {count} forwards round {number + 1}/{rounds} {who}: {phase} {seconds[-1]:.1f} s", flush=True)
        results[f"{count} forwards"] = {
            f"{who}, of {min(part, count)}" if who == LOOP else who: {
                phase: statistics.median(values) for phase, values in phases.items()
            }
            for who, phases in times.items()
        }
    return results


def table(results):
    lines = ["", f"{'forwards':>15}  {'who':34}" + "".join(f"{phase:>10}" for phase in PHASES)]
    for what, rows in results.items():
        for who, times in rows.items():
            line = f"{what:>15}  {who:34}" + "".join(f"{times[one]:8.2f} s" if one in times else f"{'':10}" for one in PHASES)
            if who.startswith(LOOP):
                share = int(what.split()[0]) / int(who.rpartition(" ")[2])
                line += f"   all of them: at least {times['first'] * share:.0f} s, were each as quick as these"
            lines.append(line)
        own = {phase: rows[OURS][phase] - rows[ONE][phase] for phase in PHASES}
        lines.append(f"{'':15}  {'the forwards themselves, ours':34}" + "".join(f"{own[phase]:8.2f} s" for phase in PHASES))
        lines.append("")
    return "\n".join(lines)
