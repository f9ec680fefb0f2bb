# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of all scenarios share: calling modules on a host, the figures that they measure, the hosts of a process."""

from __future__ import annotations

import pytest
from module_calls import Modules


@pytest.fixture
def modules(host):
    return Modules(host)


@pytest.fixture
def figure(request, record_property):
    """A function figure(text) with which a test tells a figure it has measured; all of them are printed at the end."""
    # In the test's report: what a process of several prints nobody sees.
    name = host_of(request.node)
    return lambda text: record_property("figure", f"{name}: {text}" if name else text)


def pytest_terminal_summary(terminalreporter):
    # A test has three reports, and the last has all that it told.
    last = [
        report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", "") == "teardown"
    ]
    figures = [text for report in last for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.write_sep("=", "figures")
        # Each host's are in the order in which they were told.
        for text in sorted(figures, key=lambda text: text.partition(":")[0]):
            terminalreporter.write_line(text)


def host_of(item):
    host = item.callspec.params.get("_testinfra_host") if hasattr(item, "callspec") else None
    return host.backend.host if host else ""


def pytest_collection_modifyitems(config, items):
    """With several processes (`numprocesses`, `dist: each`) each has its own hosts, and their tests in their order."""
    worker = getattr(config, "workerinput", None)
    if worker is None:
        return
    hosts = sorted({host_of(item) for item in items})
    number = int(worker["workerid"].removeprefix("gw"))
    mine = [item for item in items if hosts.index(host_of(item)) % worker["workercount"] == number]
    config.hook.pytest_deselected(items=[item for item in items if item not in mine])
    items[:] = mine
