# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


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
