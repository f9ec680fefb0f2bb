# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""processes.py: until its input ends, how long new processes of Python and nft are there, and the most memory that each has.

The kernel keeps a process's greatest resident memory (VmHWM), so what a look sees is the peak since the process's program
began, however short it was; only what grows after the last look before the end is missed. Not getrusage(2): there a child
starts with the peak of the process that it was forked from, and nft would seem as large as the module that calls it.

Libvirt's daemon is looked at before and after; its peak begins anew with the watch. Prints JSON; memory is in KiB.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time

EVERY = 0.01
#: A new process that is none of those by then never will be: who forks to run a program does so at once.
SETTLED = 1.0
WATCHED = ("python", "nft")
DAEMONS = ("libvirtd", "virtnetworkd")


def pids():
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def status(pid):
    """Return (name, resident memory now, its peak), ("", 0, 0) if the process has ended."""
    name, memory = "", {"VmRSS": 0, "VmHWM": 0}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as handle:
        for line in handle:
            key, _colon, value = line.partition(":")
            if key == "Name":
                name = value.strip()
            elif key in memory:
                memory[key] = int(value.split()[0])
    return name, memory["VmRSS"], memory["VmHWM"]


def daemons():
    """Return {pid: (name, now, peak)} of libvirt's daemons."""
    found = {pid: status(pid) for pid in pids()}
    return {pid: one for pid, one in found.items() if one[0] in DAEMONS}


def watch():
    """Return [{name, seconds, peak}] of the processes that came after the start."""
    before = pids()
    began, seen = {}, {}
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], EVERY)[0]:
        now = time.monotonic()
        for pid in pids() - before:
            if pid not in seen and now - began.setdefault(pid, now) > SETTLED:
                continue
            name, _now, peak = status(pid)
            if peak and name.startswith(WATCHED):
                # A Python that becomes nft is a new program, of which the kernel counts anew.
                if pid not in seen or seen[pid]["name"] != name:
                    seen[pid] = {"name": name, "first": now}
                seen[pid].update(last=now, peak=peak)
    return [{"name": one["name"], "seconds": one["last"] - one["first"], "peak": one["peak"]} for one in seen.values()]


def main():
    first = daemons()
    for pid in first:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as handle:
            handle.write("5")
    processes = watch()
    last = daemons()
    daemon = {
        "before": sum(now for _name, now, _peak in first.values()),
        "after": sum(now for _name, now, _peak in last.values()),
        "peak": sum(peak for _name, _now, peak in last.values()),
    }
    own = os.times()
    print(json.dumps({"processes": processes, "daemon": daemon, "watching": own.user + own.system}))


if __name__ == "__main__":
    main()
