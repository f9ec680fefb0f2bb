# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/steps.py and tests/suite: what is said of a failed step at the very end of `make test`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from suite import commands, hosts, report, runner

STEPS = Path(__file__).resolve().parents[2] / "steps.py"


def test_a_failed_task_is_named_with_what_it_says():
    log = """
TASK [Wait] ********************************************************************
ok: [kvm1]

TASK [Compare] *****************************************************************
\x1b[0;31mfatal: [kvm2]: FAILED! => \x1b[0m
    changed: false
    msg: sysctls differ

PLAY RECAP *********************************************************************
kvm2                       : ok=1    changed=0    unreachable=0    failed=1
"""
    assert report.gist(log) == [
        "TASK [Compare] fatal: [kvm2]: FAILED! =>",
        "    changed: false",
        "    msg: sysctls differ",
    ]


def test_a_failed_assertion_is_said_with_its_test():
    log = "....F\n>       assert 1 == 2\nE       assert 1 == 2\n=== short ===\nFAILED tests/test_a.py::test_it\n1 failed in 2 s"
    assert report.gist(log) == ["FAILED tests/test_a.py::test_it", "E       assert 1 == 2"]


def test_all_failed_tests_are_said_first_and_each_has_its_share_of_the_rest():
    details = "\n".join(
        f"E       assert {number} == 0\n" + "E        +  detail\n" * 20 + "tests/test_a.py:7" for number in range(40)
    )
    names = [f"FAILED tests/test_a.py::test_it[{number}] - assert {number} == 0" for number in range(40)]
    names.append("ERROR tests/test_b.py::test_it[\\kvm1] - RuntimeError")
    found = report.gist("\n".join([details, *names]))
    assert found[: len(names)] == names
    assert "E       assert 39 == 0" in found
    assert len(found) <= len(names) + 4 * report.GIST_LINES


def test_a_test_that_fails_twice_is_said_once():
    once = "E       assert 1 == 2\ntests/test_a.py:7\nFAILED tests/test_a.py::test_it\n"
    assert report.gist(once + once) == ["FAILED tests/test_a.py::test_it", "E       assert 1 == 2"]


def test_without_any_known_mark_the_last_lines_are_said():
    assert report.gist("\n".join(f"line {number}" for number in range(99)))[-1] == "line 98"
    assert len(report.gist("\n".join(f"line {number}" for number in range(99)))) == report.GIST_LINES


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--scenario", "nat"], {"lab-image", "lab-up", "molecule-nat", "lab-down"}),
        (["--quick"], {"ruff", "mypy", "yamllint", "scripts", "headers", "changelog", "units"}),
    ],
)
def test_what_short_ways_choose(words, names):
    done = subprocess.run([sys.executable, STEPS, *words, "--list"], check=True, capture_output=True, text=True)
    assert {line.split()[0] for line in done.stdout.splitlines()} == names


def test_a_scenario_that_is_not_there_is_told_of():
    done = subprocess.run([sys.executable, STEPS, "--scenario", "nut", "--list"], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "there is no step or group 'molecule-nut'" in done.stderr


def test_kept_hosts_run_nothing_more(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(commands, "LOGS", tmp_path)
    monkeypatch.setattr(runner, "STATE", tmp_path / "state.json")
    ran = []

    def scenario(name, failed):
        def run(log):
            ran.append(name)
            if failed:
                hosts.keep(name, "lab")
            return commands.Counts(0 if failed else 1, int(failed))

        return commands.Step(f"molecule-{name}", "", run, 1, lab=True)

    options = argparse.Namespace(minutes=0, resume=False, only=["x"], lines=5, keep_lab=False)
    all_of_them = [scenario("one", False), scenario("two", True), scenario("three", False)]
    for keeping, expected in ((False, ["one", "two", "three"]), (True, ["one", "two"])):
        ran.clear()
        hosts.kept.clear()
        (hosts.keeping.set if keeping else hosts.keeping.clear)()
        assert runner.Runner(all_of_them, options).run() == 1
        assert ran == expected
        assert ("make lab-down LAB=lab removes them" in capsys.readouterr().out) is keeping
    hosts.kept.clear()
    hosts.keeping.clear()


@pytest.mark.parametrize(
    ("steps", "labs"),
    [
        ([("units", False)], set()),
        ([("newcomer", False)], {hosts.NEW_LAB}),
        ([("molecule-nat", True), ("lab-down", True)], {hosts.LAB}),
        ([("molecule-multi_host", True)], {hosts.LAB, hosts.own_lab()}),
    ],
)
def test_all_labs_that_an_interrupted_run_may_have_up(steps, labs):
    assert hosts.labs_of(commands.Step(name, "", lambda log: None, 1, lab=lab) for name, lab in steps) == labs


@pytest.fixture
def two_labs(tmp_path, monkeypatch):
    """A runner of steps for two labs; what is remembered and logged is the test's own."""
    monkeypatch.setattr(commands, "LOGS", tmp_path)
    monkeypatch.setattr(runner, "STATE", tmp_path / "state.json")
    hosts.labs.append("second")
    options = argparse.Namespace(minutes=0, resume=False, only=["x"], lines=5, keep_lab=False)
    yield lambda *steps: runner.Runner(list(steps), options)
    hosts.labs.remove("second")


def test_two_labs_have_one_step_each_at_a_time_the_dearest_first(two_labs):
    ran = []
    both = threading.Barrier(2, timeout=60)

    def step(name, cost):
        def run(log):
            ran.append(name)
            both.wait()
            ran.append(log.lab)
            both.wait()
            return commands.Counts(1)

        return commands.Step(f"molecule-{name}", "", run, cost, lab=True)

    assert two_labs(step("a", 1), step("b", 3), step("c", 2), step("d", 4)).run() == 0
    labs = {hosts.LAB, "second"}
    assert [set(ran[place : place + 2]) for place in (0, 2, 4, 6)] == [{"b", "d"}, labs, {"a", "c"}, labs]


def test_a_lab_whose_scenario_failed_is_booted_anew_and_no_other(two_labs, tmp_path, monkeypatch):
    booted = []
    # Molecule's folders of the labs that this may run beside are not the test's.
    monkeypatch.setattr(hosts, "BUILD", tmp_path)
    monkeypatch.setattr(hosts, "boot", lambda log, lab: booted.append(lab))
    monkeypatch.setattr(hosts, "evidence", lambda log, scenario, lab: None)
    monkeypatch.setattr(hosts, "run_scenario", lambda log, scenario, env: commands.Counts(failed=int(scenario == "one")))
    for lab, scenario in ((hosts.LAB, "one"), ("second", "two"), ("second", "three"), (hosts.LAB, "four"), (hosts.LAB, "five")):
        hosts.molecule(commands.Log(f"molecule-{scenario}", 0, lab), scenario)
    assert booted == [hosts.LAB]
    hosts.molecule(commands.Log("matrix-faults-uplink", 0, "second"), "six")
    assert hosts.spoilt == {"second"}
    hosts.spoilt.clear()


def test_without_hosts_what_needs_none_runs_all_the_same(two_labs, capsys):
    def fails(log):
        raise commands.StepFailedError("no such image")

    def step(name, run, lab):
        return commands.Step(name, "", run, 1, lab=lab)

    ran = []
    steps = [step("lab-up", fails, True), step("molecule-nat", lambda log: ran.append("nat"), True)]
    steps += [step("newcomer", lambda log: ran.append("newcomer"), False), step("lab-down", lambda log: ran.append("down"), True)]
    assert two_labs(*steps).run() == 1
    assert ran == ["newcomer", "down"]
    assert "molecule-nat     FAILED             the lab is not up" in capsys.readouterr().out


def test_a_fault_of_the_runner_itself_is_not_a_run_that_passed(two_labs):
    def fault(log):
        raise ZeroDivisionError

    steps = [commands.Step(f"molecule-{name}", "", run, 1, lab=True) for name, run in (("a", fault), ("b", lambda log: None))]
    with pytest.raises(ZeroDivisionError):
        two_labs(*steps).run()
