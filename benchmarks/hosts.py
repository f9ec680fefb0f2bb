# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts: what the labs' plays cost on three hosts at once, against one of them, proofs and guests included.

All hosts are on this machine, so their processors are its own: time that grows less than the hosts' number shows that nothing
waits for its turn, and processor time that grows no more than it, that nothing is done over and over.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

PLAYBOOKS = Path(__file__).resolve().parents[1] / "playbooks"
PLAYS = ("nat_lab", "routed_lab")
COUNTS = {"one host": 1, "three hosts": 3}
ONE, THREE = COUNTS
PHASES = ("first", "rerun", "removal")


def _busy():
    """Return the seconds that all processors of this machine have worked: user, nice, system, irq and softirq of proc(5)."""
    with open("/proc/stat", encoding="ascii") as handle:
        fields = [int(word) for word in handle.readline().split()[1:]]
    return sum(fields[place] for place in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")


def commands(lab, play, count):
    """Return {phase: command} for the first C(count) hosts of the lab, its gateway and the machine outside."""
    names = [*(f"kvm{number + 1}" for number in range(count)), "outside1", "gateway1"]

    def playbook(name):
        return lab.playbook(PLAYBOOKS / f"{name}.yml", "--limit", ",".join(names))

    return {"first": playbook(play), "rerun": playbook(play), "removal": playbook("teardown")}


def measure(lab, rounds, timed):
    """Return {play: {ONE or THREE: {phase: median of seconds, "first, processors": the same of what they worked}}}."""
    times = {play: {who: {} for who in COUNTS} for play in PLAYS}
    # What a host makes once, such as the guests' image, is in nobody's time: whoever came first would have it.
    for phase in ("first", "removal"):
        timed(commands(lab, PLAYS[0], max(COUNTS.values()))[phase])
    for number in range(rounds):
        for play in PLAYS:
            for who, count in COUNTS.items():
                for phase, command in commands(lab, play, count).items():
                    time.sleep(3)  # what ended still ends
                    busy = _busy()
                    seconds = timed(command)
                    busy = _busy() - busy
                    times[play][who].setdefault(phase, []).append(seconds)
                    times[play][who].setdefault(f"{phase}, processors", []).append(busy)
                    told = f"{phase} {seconds:.1f} s, processors {busy:.1f} s"
                    print(f"  {play} on {who} round {number + 1}/{rounds}: {told}", flush=True)
    return {
        play: {who: {phase: statistics.median(one) for phase, one in rows.items()} for who, rows in counts.items()}
        for play, counts in times.items()
    }


def table(results):
    head = f"{'one host':>10} {'three':>10} {'of one':>8}   {'processors':>10} {'three':>10} {'of one':>8}"
    lines = ["", f"{'play':12} {'phase':10} {head}"]
    for play, counts in results.items():
        one, three = counts[ONE], counts[THREE]
        for phase in PHASES:
            worked = f"{phase}, processors"
            lines.append(
                f"{play:12} {phase:10} {one[phase]:8.1f} s {three[phase]:8.1f} s {three[phase] / one[phase]:7.2f}x"
                f"   {one[worked]:8.1f} s {three[worked]:8.1f} s {three[worked] / one[worked]:7.2f}x"
            )
    return "\n".join(lines)
