# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of all scenarios share: calling modules on a host, the figures that they measure, the hosts of a process."""

from __future__ import annotations

import os

import adhoc
import pytest
from module_calls import Modules
from testinfra.utils.ansible_runner import AnsibleRunner

#: Files of tests that take long, look at one host each, and need nothing of each other: {scenario: their names, None for all}.
SHARED_OUT = {
    "faults": None,
    "guard": None,
    "modules": ("test_cycles.py", "test_flushed.py", "test_nat_kinds.py", "test_rates.py", "test_spoofing.py"),
}

#: Scenarios whose tests cannot be shared out, for all of them look at what was done once: the whole on the last of the hosts.
ON_ONE_HOST = ("contract",)

AnsibleRunner.run_module = adhoc.run_module


@pytest.fixture
def modules(host):
    return Modules(host)


@pytest.fixture
def figure(request, record_property):
    """A function figure(text) with which a test tells a figure it has measured; all of them are printed at the end."""
    # In the test's report: what a process of several prints nobody sees.
    name = host_of(request.node)
    return lambda text: record_property("figure", f"{name}: {text}" if name else text)


@pytest.fixture
def table(request, record_property):
    """A function table(title, lines) with which a test shows a table, at the end; once for all hosts that have the same."""
    name = host_of(request.node)
    return lambda title, lines: record_property("table", (title, name, "\n".join(lines)))


def pytest_terminal_summary(terminalreporter):
    # A test has three reports, and the last has all that it told.
    last = [
        report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", "") == "teardown"
    ]
    tables = {}
    for report in last:
        for _name, (title, host, text) in (one for one in report.user_properties if one[0] == "table"):
            tables.setdefault((title, text), []).append(host)
    titles = list(dict.fromkeys(title for title, _text in tables))
    for (title, text), hosts in sorted(tables.items(), key=lambda one: (titles.index(one[0][0]), sorted(one[1]))):
        terminalreporter.write_sep("=", f"table: {title}, {', '.join(sorted(hosts))}")
        terminalreporter.write_line(text)
    figures = [text for report in last for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.write_sep("=", "figures")
        # Each host's are in the order in which they were told.
        for text in sorted(figures, key=lambda text: text.partition(":")[0]):
            terminalreporter.write_line(text)


def host_of(item):
    host = item.callspec.params.get("_testinfra_host") if hasattr(item, "callspec") else None
    return host.backend.host if host else ""


def is_shared_out(item):
    scenario = item.path.parent.parent.name
    return scenario in SHARED_OUT and (SHARED_OUT[scenario] is None or item.path.name in SHARED_OUT[scenario])


def shared_out(items, hosts):
    """Return those of the tests of two hosts that are to run: each on one of them, all pairs of host and parameter among them."""
    order = {}
    for item in items:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        parameters = tuple(sorted((key, str(one)) for key, one in given.items() if key != "_testinfra_host"))
        order.setdefault((item.path, item.originalname), {}).setdefault(parameters, []).append(item)
    chosen = set()
    for number, variants in enumerate(order.values()):
        for place, found in enumerate(variants.values()):
            chosen |= {item.nodeid for item in found if (hosts.index(host_of(item)) + number + place) % len(hosts) == 0}
    return [item for item in items if item.nodeid in chosen]


def pytest_sessionfinish(session, exitstatus):
    """A process without tests, of several, is no session without tests: xdist counts those of the last that has collected."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and reporter is not None and reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.OK


def pytest_collection_modifyitems(config, items):
    """With VIRTNET_TEST_FILE, the name of a file without its end, only its tests run.

    With several processes (`numprocesses`, `dist: each`) each has its own hosts, and their tests in their order.

    Of the files in SHARED_OUT each test runs on one host only, those of ON_ONE_HOST on the last, unless the whole matrix is
    asked for.
    """
    # It takes a moment to be there, which no test should have to wait.
    adhoc.server()
    # Molecule names each file, and pytest looks into what is named, whatever it is told to ignore.
    wanted = os.environ.get("VIRTNET_TEST_FILE")
    others = [item for item in items if wanted and item.path.stem != wanted]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]
    worker = getattr(config, "workerinput", None)
    if worker is None:
        return
    hosts = sorted({host_of(item) for item in items})
    number = int(worker["workerid"].removeprefix("gw"))
    mine = items
    if not os.environ.get("VIRTNET_TEST_MATRIX"):
        chosen = shared_out([item for item in items if is_shared_out(item)], hosts)
        mine = [item for item in items if not is_shared_out(item) or item in chosen]
        mine = [item for item in mine if item.path.parent.parent.name not in ON_ONE_HOST or host_of(item) == hosts[-1]]
    mine = [item for item in mine if hosts.index(host_of(item)) % worker["workercount"] == number]
    config.hook.pytest_deselected(items=[item for item in items if item not in mine])
    items[:] = mine
