# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the scenarios' tests share, without a lab: the figures they tell, and whom a host is deaf to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from suite.report import tables

# Other versions of ansible-core have an environment without the tools of the scenarios.
pytest.importorskip("testinfra")
pytest.importorskip("xdist")

import lab_side

SCENARIOS = Path(__file__).resolve().parents[3] / "extensions" / "molecule"
TESTS = """
import pytest

@pytest.fixture
def late(figure):
    yield
    figure("said while it was taken down")

def test_passes(host, late, figure):
    figure("12 s")
    figure("13 s")

def test_fails(host, figure):
    figure("14 s")
    assert False

def test_is_silent(host, figure):
    pass
"""
TOLD = [
    f"{name}: {text}" for name in ("kvm1", "kvm2") for text in ("12 s", "13 s", "said while it was taken down", "14 s")
]


def lines_of(folder, tests, *options, name="test_it.py"):
    """Run tests beside the scenarios' conftest.py; return the lines of what pytest says."""
    shutil.copy(SCENARIOS / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider --tb=no\n")
    (folder / name).write_text(tests)
    (folder / "inventory").write_text("kvm1\nkvm2\n")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(SCENARIOS), "PYTEST_ADDOPTS": "", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "pytest", *options, folder]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize("options", [[], ["-n", "2", "--dist", "each"]], ids=["one-process", "a-process-for-each-host"])
def test_each_figure_is_printed_once_under_a_heading(tmp_path, options):
    # Nobody speaks to these hosts.
    lines = lines_of(tmp_path, TESTS, "--hosts=ansible://all", "--ansible-inventory=inventory", *options)
    assert "2 failed, 4 passed" in lines[-1], "\n".join(lines)
    (heading,) = (number for number, line in enumerate(lines) if line.strip("= ") == "figures")
    assert lines[heading + 1 :][: len(TOLD)] == TOLD
    assert [line for line in lines if line in TOLD] == TOLD


def test_no_figures_no_heading(tmp_path):
    lines = lines_of(tmp_path, "def test_passes():\n    pass\n")
    assert "1 passed" in lines[-1] and not [line for line in lines if line.strip("= ") == "figures"], "\n".join(lines)


TABLES = """
def test_same(host, table):
    table("the same", ["a b", "1 2"])

def test_own(host, table):
    table("own", [host.backend.host])
"""


def test_a_table_is_printed_once_for_hosts_that_have_the_same(tmp_path):
    lines = lines_of(
        tmp_path, TABLES, "--hosts=ansible://all", "--ansible-inventory=inventory", "-n", "2", "--dist", "each"
    )
    shown = tables("\n".join(lines))
    assert [line.strip("= ") for line in shown] == [
        "table: the same, kvm1, kvm2", "a b", "1 2", "table: own, kvm1", "kvm1", "table: own, kvm2", "kvm2"
    ]


def test_a_scenario_that_cannot_be_shared_out_runs_on_the_last_host(tmp_path, monkeypatch):
    folder = tmp_path / "contract" / "tests"
    folder.mkdir(parents=True)
    options = ("--hosts=ansible://all", "--ansible-inventory=inventory", "-n", "2", "--dist", "each")
    for whole, hosts in ((False, {"kvm2"}), (True, {"kvm1", "kvm2"})):
        if whole:
            monkeypatch.setenv("VIRTNET_TEST_MATRIX", "whole")
        lines = lines_of(folder, MATRIX, *options)
        told = [line.split(": ") for line in lines if line.startswith(("kvm1: ", "kvm2: "))]
        assert {host for host, _text in told} == hosts and len(told) == 7 * len(hosts), "\n".join(lines)


MATRIX = """
import pytest

@pytest.fixture(params=["static", "dhcp"])
def addressing(request):
    return request.param

@pytest.mark.parametrize("number", [1, 2, 3])
def test_alone(host, number, figure):
    figure(f"alone-{number}")

def test_one(host, addressing, figure):
    figure(f"one-{addressing}")

def test_other(host, addressing, figure):
    figure(f"other-{addressing}")
"""


@pytest.mark.parametrize(
    ("scenario", "name", "whole"),
    [
        ("guard", "test_it.py", False), ("guard", "test_it.py", True), ("modules", "test_flushed.py", False),
        ("modules", "test_it.py", True),
    ],
)
def test_a_long_scenario_is_shared_out(tmp_path, monkeypatch, scenario, name, whole):
    """Each test runs on one host, each parameter on both; all of it on both in other files, or if the matrix is asked for."""
    if whole and scenario == "guard":
        monkeypatch.setenv("VIRTNET_TEST_MATRIX", "whole")
    else:
        monkeypatch.delenv("VIRTNET_TEST_MATRIX", raising=False)
    folder = tmp_path / scenario / "tests"
    folder.mkdir(parents=True)
    options = ("--hosts=ansible://all", "--ansible-inventory=inventory", "-n", "2", "--dist", "each")
    lines = lines_of(folder, MATRIX, *options, name=name)
    told = [line.split(": ") for line in lines if line.startswith(("kvm1: ", "kvm2: "))]
    assert len({tuple(one) for one in told}) == len(told) == (14 if whole else 7), "\n".join(lines)
    assert {text for _host, text in told} == {
        "alone-1", "alone-2", "alone-3", "one-static", "one-dhcp", "other-static", "other-dhcp"
    }
    for kind in ("static", "dhcp"):
        assert {host for host, text in told if text.endswith(kind)} == {"kvm1", "kvm2"}


@pytest.fixture
def isolated(monkeypatch):
    """The ports that are isolated; bridge(8) works on them."""
    found = set()

    def run(command, **options):
        assert command[:6] == ["bridge", "-n", "mol-lan", "link", "set", "dev"]
        port, word, state = command[6:]
        assert word == "isolated"
        (found.add if state == "on" else found.discard)(port)

    monkeypatch.setattr(lab_side.subprocess, "run", run)
    monkeypatch.setattr(lab_side, "variables", lambda host: {"lab_hosts_lab": "mol"})
    return found


HOST = SimpleNamespace(backend=SimpleNamespace(host="kvm1"))


def test_a_host_is_deaf_to_one_machine_whatever_an_earlier_test_left(isolated):
    isolated.add("gateway1")
    with lab_side.deaf_to(HOST, "ctl"):
        assert isolated == {"ctl", "kvm1"}
    assert isolated == {"ctl"}
    with lab_side.deaf_to(HOST, "gateway1"):
        assert isolated == {"gateway1", "kvm1"}


def test_a_machine_that_is_none_of_them_is_refused(isolated):
    with pytest.raises(AssertionError, match="outside1"), lab_side.deaf_to(HOST, "outside1"):
        pass
    assert isolated == set()


def test_one_file_of_a_scenario_although_all_are_named(tmp_path, monkeypatch):
    """As Molecule names them."""
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")
    monkeypatch.setenv("VIRTNET_TEST_FILE", "test_other")
    named = [str(tmp_path / name) for name in ("test_it.py", "test_other.py")]
    lines = lines_of(tmp_path, "def test_fails():\n    assert False\n", *named)
    assert "1 passed, 1 deselected" in lines[-1], "\n".join(lines)
