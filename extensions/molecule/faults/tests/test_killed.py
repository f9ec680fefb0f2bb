# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that are killed (SIGKILL) within their plan: the next run converges, and absent restores the host.

They are killed after the middle of their operations; with VIRTNET_TEST_MATRIX after each file, command, sysctl and operation.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fault_cases import CASES, filled, left, taken_back

FILES = Path(__file__).resolve().parents[1] / "files"
RUN = "/run/virtnet-faults"
ALL = bool(os.environ.get("VIRTNET_TEST_MATRIX"))
LEVEL = "effect" if ALL else "op"
#: No plan of these has more.
MOST = 150


class Killer:
    """Has modules killed, and says what had happened until then."""

    def __init__(self, host, modules):
        self.host, self.modules = host, modules

    def order(self, after):
        self.host.run_test(f"rm -f {RUN}/counted; echo '{json.dumps({'level': LEVEL, 'after': after})}' > {RUN}/orders")

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

    @property
    def last(self):
        return self.host.run(f"tail -n 1 {RUN}/counted").stdout.strip()


@pytest.fixture
def killer(host, modules):
    folder = host.check_output("python3 -c 'import site; print(site.getusersitepackages())'")
    text = (FILES / "usercustomize.py").read_text()
    host.run_test(f"mkdir -p {RUN} {folder}; cat > {folder}/usercustomize.py <<'END'\n{text}\nEND")
    yield Killer(host, modules)
    host.run_test(f"rm -rf {RUN} {folder}; rmdir -p --ignore-fail-on-non-empty $(dirname {folder})")


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
