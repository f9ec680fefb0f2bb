# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that are killed (SIGKILL) within their plan, or with their host: the next run converges, and absent restores the host.

They are killed after the middle of their operations; with VIRTNET_TEST_MATRIX after each file, command, sysctl and operation,
hosts after a few of these.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from controllers import controller, until
from fault_cases import CASES, filled, left, settled, taken_back
from lab_side import console, lab

FILES = Path(__file__).resolve().parents[1] / "files"
RUN = "/run/virtnet-faults"
ALL = bool(os.environ.get("VIRTNET_TEST_MATRIX"))
LEVEL = "effect" if ALL else "op"
#: No plan of these has more.
MOST = 150
#: After how many effects a host is killed.
POWER_CUTS = (0, 1, 2, 3, 5, 8, 13, 21, 34)


class Killer:
    """Has modules killed, and says what had happened until then."""

    def __init__(self, host, modules):
        self.host, self.modules = host, modules
        self.folder = host.check_output("python3 -c 'import site; print(site.getusersitepackages())'")
        self.ready()

    def ready(self):
        """Have every Python of the host look for orders: once, and after a boot, which loses the folder for them."""
        text = (FILES / "usercustomize.py").read_text()
        self.host.run_test(f"mkdir -p {RUN} {self.folder}; cat > {self.folder}/usercustomize.py <<'END'\n{text}\nEND")

    def order(self, after, **more):
        orders = json.dumps({"level": LEVEL, "after": after, **more})
        self.host.run_test(f"rm -f {RUN}/counted {RUN}/reached; echo '{orders}' > {RUN}/orders")

    def run(self, name, after, **arguments):
        """Call a module that is killed after so many effects; return whether it was."""
        self.order(after)
        try:
            result = self.modules(name, **arguments)
        finally:
            self.host.run(f"rm -f {RUN}/orders")
        killed = "actions" not in result
        if killed:
            # Killed, and nothing else.
            assert "rc" in result and result["rc"] in (137, -9), result
        return killed

    def run_with_host(self, name, after, **arguments):
        """Call a module whose host loses its power after so many effects, and has it again; return whether it came to that."""
        self.order(after, wait=True)
        with controller(self.host, name, arguments) as call:
            until(lambda: call.poll() is not None or "reached" in console(self.host, f"ls {RUN}"), 120)
            if call.poll() is not None:
                self.host.run(f"rm -f {RUN}/orders")
                return False
            lab(self.host, "kill", self.host.backend.host)
        # What stands in /run, the orders too, is gone.
        lab(self.host, "start", self.host.backend.host)
        return True

    @property
    def last(self):
        return self.host.run(f"tail -n 1 {RUN}/counted").stdout.strip()


@pytest.fixture
def killer(host, modules):
    made = Killer(host, modules)
    yield made
    host.run_test(f"rm -rf {RUN} {made.folder}; rmdir -p --ignore-fail-on-non-empty $(dirname {made.folder})")


@pytest.mark.parametrize("case", CASES)
def test_after_each_operation(host, modules, killer, snapshot, table, lan, case):
    case = CASES[case]
    absent = filled(case.absent, lan)
    for command in case.before:
        host.run_test(command)
    lines = []
    try:
        before = snapshot()
        for number, _step in enumerate([*case.steps, absent]):
            kills = one_step(case, number, modules, killer, snapshot, lan, before)
            what = "absent" if number == len(case.steps) else f"step {number + 1}"
            lines.append(f"{case.module}, {what}: killed {kills} times")
        taken_back(case, modules, absent)
        assert left(before, snapshot) == []
    finally:
        modules(case.module, **absent)
        for command in case.after:
            host.run(command)
    table(f"killed after each {LEVEL}", lines)


def one_step(case, number, modules, killer, snapshot, lan, before):
    """Kill one call again and again, each time a bit later, until it comes to its end, or once; return how often."""
    steps = [filled(one, lan) for one in case.steps]
    absent = filled(case.absent, lan)
    wanted = absent if number == len(steps) else steps[number]
    kills = 0
    for after in range(MOST) if ALL else [None]:
        for earlier in steps[:number]:
            modules.run(case.module, **earlier)
        middle = None if ALL else (len(modules.run(case.module, check=True, **wanted)["actions"]) + 1) // 2
        if not killer.run(case.module, after if ALL else middle, **wanted):
            assert ALL, f"{case.module}, step {number + 1} was not killed"
            break
        kills += 1
        where = f"{case.module}, step {number + 1}, killed after {killer.last}"
        result = modules(case.module, **wanted)
        assert not result["failed"], f"{where}: {result['msg']}"
        again = modules.run(case.module, **wanted)
        assert not again["changed"], f"{where}: {again['actions']}"
        taken_back(case, modules, absent)
        assert left(before, snapshot) == [], where
        if not ALL:
            return kills
    else:
        raise AssertionError(f"{case.module} has more than {MOST} effects")
    assert not modules.run(case.module, **wanted)["changed"]
    taken_back(case, modules, absent)
    assert left(before, snapshot) == []
    return kills


@pytest.mark.parametrize("case", CASES)
def test_with_the_host(host, modules, killer, snapshot, table, lan, case):
    """Its power is cut in the middle of a call: what is there after the boot is whole, and the next run converges."""
    case = CASES[case]
    steps, absent = [filled(one, lan) for one in case.steps], filled(case.absent, lan)
    lines = []
    lab(host, "reboot", host.backend.host)

    def booted():
        """Make what a boot has taken away: the killer's orders, and links that somebody has made by hand."""
        killer.ready()
        for command in case.before:
            host.run_test(command)

    try:
        booted()
        before = settled(snapshot)
        for number, wanted in enumerate([*steps, absent]):
            kills = 0
            for after in POWER_CUTS:
                for earlier in steps[:number] or [absent]:
                    modules.run(case.module, **earlier)
                if not killer.run_with_host(case.module, after, **wanted):
                    break
                kills += 1
                booted()
                where = f"{case.module}, step {number + 1}, power cut after {after}"
                result = modules(case.module, **wanted)
                assert not result["failed"], f"{where}: {result['msg']}"
                again = modules.run(case.module, **wanted)
                assert not again["changed"], f"{where}: {again['actions']}"
                taken_back(case, modules, absent)
                assert left(before, snapshot) == [], where
            what = "absent" if number == len(case.steps) else f"step {number + 1}"
            lines.append(f"{case.module}, {what}: power cut {kills} times: survived")
        taken_back(case, modules, absent)
        assert left(before, snapshot) == []
    finally:
        modules(case.module, **absent)
        for command in case.after:
            host.run(command)
    table("power cut after effects", lines)
