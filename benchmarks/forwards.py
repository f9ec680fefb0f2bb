# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Port forwards: what thousands cost in one task, from a file, against iptables-restore, nft without maps and a loop of iptables.

Ours is a play of one task, the others an ansible(1) of one task over the same SSH connection. What one forward costs in such a
play is told too, for the difference is the forwards' own; nft with one map, the least that the kernel can be asked for them, has
it as well. How long the module itself takes is watched in runs of their own, without SSH and the controller. (ansible(1) would
print ten thousand rules.) The loop gets a part of them, for each of its calls goes through all that are there: more would take
longer.
"""

from __future__ import annotations

import json
import statistics

import lab as labs

PHASES = ("first", "rerun", "check", "removal")
#: Those in which the module's own time is watched, and what it is called among the phases.
MODULE = {phase: f"module, {phase}" for phase in ("first", "rerun")}
PROBE = labs.PEERS / "connections.py"
#: Ours on the way from outside, and who stands for a host on which packets meet no rule.
ADDRESS, DIRECT = "198.51.100.1", "routed, no rules"
NETWORK = {"name": "bench", "model": "nat", "bridge": "bnch0", "addresses": ["10.95.0.1/24"]}
#: What has packets meet the rules of iptables, and no longer.
HOOK = {word: f"iptables -t nat -{word} PREROUTING -j BENCH" for word in "ID"}
OURS, ONE, LOOP = "virtnet.kvm, src", "virtnet.kvm, one forward", "iptables -C || -A, loop"
MAP, MAP_OF_ONE = "nft, one map", "nft, one map, one forward"


def forwards(count):
    """Return (port, address) of each: ten thousand ports, and guests of 10.96.0.0/16."""
    return [(10000 + number % 50000, f"10.96.{number // 250}.{number % 250 + 1}") for number in range(count)]


def rules(rows):
    return [
        {"name": f"f{port}", "type": "dnat", "listen": {"ports": str(port)}, "to": {"address": address, "ports": "80"}}
        for port, address in rows
    ]


def _mapped(rows):
    """Return what replaces a table by one with a map of the forwards, for nft."""
    elements = ",\n".join(f"            {port} : {address} . 80" for port, address in rows)
    return (
        "add table ip bench\ndelete table ip bench\ntable ip bench {\n    map forwards {\n"
        f"        type inet_service : ipv4_addr . inet_service\n        elements = {{\n{elements}\n        }}\n    }}\n"
        "    chain pre {\n        type nat hook prerouting priority -100;\n        dnat ip to tcp dport map @forwards\n    }\n}\n"
    )


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
    mapped = ("bench-map.nft", _mapped(rows), "nft -f /root/bench-map.nft")
    mapped_one = ("bench-map-one.nft", _mapped(rows[:1]), "nft -f /root/bench-map-one.nft")
    each = ("bench-loop.sh", "\n".join([*loop, ""]), "sh /root/bench-loop.sh")
    return {
        "iptables-restore": {"first": restore, "rerun": restore, "removal": (None, None, away)},
        "nft, a rule each": {"first": load, "rerun": load, "removal": (None, None, "nft delete table ip bench")},
        MAP: {"first": mapped, "rerun": mapped, "removal": (None, None, "nft delete table ip bench")},
        MAP_OF_ONE: {"first": mapped_one, "rerun": mapped_one, "removal": (None, None, "nft delete table ip bench")},
        LOOP: {"first": each, "rerun": each, "removal": (None, None, away)},
    }


def ours(lab, name, rows):
    """Return {phase: command} of our module, which reads the forwards from a file."""
    path = labs.OUT / f"bench-{name}.json"
    path.write_text(json.dumps(rules(rows)))
    there = lab.play(name, "nat_rule", {"set": "bench", "src": str(path), "purge": True})
    gone = lab.play("gone", "nat_rule", {"set": "bench", "rules": [], "purge": True})
    return {"first": there, "rerun": there, "check": [*there, "--check"], "removal": gone}


def commands(lab, count, part):
    """Return {who: {phase: command}}."""
    rows = forwards(count)
    found = {OURS: ours(lab, "forwards", rows), ONE: ours(lab, "one", rows[:1])}
    for who, phases in texts(rows, part).items():
        found[who] = {}
        for phase, (name, text, command) in phases.items():
            if name is not None and phase == "first":
                (labs.OUT / name).write_text(text)
                lab.put(labs.OUT / name)
            found[who][phase] = lab.raw(command)
    found[DIRECT] = {
        word: lab.play(f"network-{word}", "net_policy", {"networks": [{**NETWORK, "state": state}]})
        for word, state in (("before", "active"), ("after", "absent"))
    }
    return found


def connections(lab, rows, of_iptables=False):
    """Return how many connections a second the host routes, and passes on by the last forward, None if there is none."""
    port, guest = rows[-1]
    probe = f"python3 /root/{PROBE.name} {guest} {ADDRESS} {port}"
    command = f"{HOOK['I']} && {probe}; {HOOK['D']}" if of_iptables else probe
    result = lab.command("exec", "kvm1", "--", "sh", "-c", command, capture_output=True, text=True)
    found = json.loads(result.stdout.splitlines()[-1])
    return found["direct"], found["forward"]


def watch(lab, phases, timed):
    """Return {name of the phase: seconds of the module's process}; in the end nothing is there, as before."""
    found = {name: labs.module_seconds(lab.watched(phases[phase], timed)[1]) for phase, name in MODULE.items()}
    timed(phases["removal"])
    return found


def measure(lab, sizes, part, rounds, timed):
    """Return {"N forwards": {who: {phase: median seconds}}}; the peers take turns within each round."""
    results = {}
    lab.put(PROBE)
    for count in sizes:
        rows = forwards(count)
        what = commands(lab, count, min(part, count))
        network = what.pop(DIRECT)
        times = {who: {phase: [] for phase in PHASES if phase in phases} for who, phases in what.items()}
        own = {OURS: {}, ONE: {}}
        rates = {who: [] for who in (DIRECT, *(who for who in what if who not in (ONE, MAP_OF_ONE, LOOP)))}
        timed(network["before"])
        for number in range(rounds):
            rates[DIRECT].append(connections(lab, rows)[0])
            for who, phases in times.items():
                for phase, seconds in phases.items():
                    seconds.append(timed(what[who][phase]))
                    print(f"  {count} forwards round {number + 1}/{rounds} {who}: {phase} {seconds[-1]:.1f} s", flush=True)
                    if phase == "first" and who in rates:
                        rates[who].append(connections(lab, rows, who == "iptables-restore")[1])
                        print(f"  {count} forwards round {number + 1}/{rounds} {who}: {rates[who][-1]} connections/s", flush=True)
                if who in (OURS, ONE):
                    for name, seconds in watch(lab, what[who], timed).items():
                        own[who].setdefault(name, []).append(seconds)
        timed(network["after"])
        results[f"{count} forwards"] = {
            f"{who}, of {min(part, count)}" if who == LOOP else who: {
                phase: statistics.median(values) for phase, values in {**phases, **own.get(who, {})}.items()
            }
            for who, phases in times.items()
        }
        for who, values in rates.items():
            results[f"{count} forwards"].setdefault(who, {})["connections"] = statistics.median(values)
    return results


def table(results):
    head = f"{'forwards':>15}  {'who':34}" + "".join(f"{phase:>10}" for phase in PHASES)
    lines = ["", f"{head}   new connections/s through the last"]
    for what, rows in results.items():
        direct = rows[DIRECT]["connections"]
        for who, times in rows.items():
            line = f"{what:>15}  {who:34}" + "".join(f"{times[one]:8.2f} s" if one in times else f"{'':10}" for one in PHASES)
            if "connections" in times:
                line += f"   {times['connections']:8.0f}  {times['connections'] / direct:.2f} of routed"
            if MODULE["first"] in times:
                line += "   in the module: " + ", ".join(f"{phase} {times[name]:.2f} s" for phase, name in MODULE.items())
            if who.startswith(LOOP):
                share = int(what.split()[0]) / int(who.rpartition(" ")[2])
                line += f"   all of them: at least {times['first'] * share:.0f} s, were each as quick as these"
            lines.append(line)
        own = {phase: rows[OURS][phase] - rows[ONE][phase] for phase in PHASES}
        lines.append(f"{'':15}  {'the forwards themselves, ours':34}" + "".join(f"{own[phase]:8.2f} s" for phase in PHASES))
        least = rows[MAP]["first"] - rows[MAP_OF_ONE]["first"]
        lines.append(f"{'':15}  {'the forwards themselves, nft, one map':34}{least:8.2f} s   ours {own['first'] / least:.1f}x")
        lines.append("")
    return "\n".join(lines)
