# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/steps.py: what is said of a failed step at the very end of `make test`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

STEPS = Path(__file__).resolve().parents[2] / "steps.py"


@pytest.fixture(scope="module")
def steps():
    spec = importlib.util.spec_from_file_location("virtnet_steps", STEPS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


def test_a_failed_task_is_named_with_what_it_says(steps):
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
    assert steps.gist(log) == [
        "TASK [Compare] fatal: [kvm2]: FAILED! =>",
        "    changed: false",
        "    msg: sysctls differ",
    ]


def test_a_failed_assertion_is_said_with_its_test(steps):
    log = "....F\n>       assert 1 == 2\nE       assert 1 == 2\n=== short ===\nFAILED tests/test_a.py::test_it\n1 failed in 2 s"
    assert steps.gist(log) == ["E       assert 1 == 2", "FAILED tests/test_a.py::test_it"]


def test_without_any_known_mark_the_last_lines_are_said(steps):
    assert steps.gist("\n".join(f"line {number}" for number in range(99)))[-1] == "line 98"
    assert len(steps.gist("\n".join(f"line {number}" for number in range(99)))) == steps.GIST_LINES
