# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import re

import pytest
from live_guests import GUESTS, HOST_BRIDGE, LANES, Bench, guest, network
from module_calls import Modules


@pytest.fixture(scope="module")
def bench(host):
    modules = Modules(host)
    found = re.search(r"Running against daemon: ([0-9]+)\.([0-9]+)", host.check_output("virsh version --daemon"))
    numbers = range(1, len(LANES) + 1)
    try:
        modules.run("host_bridge", bridges=[{"name": HOST_BRIDGE}])
        modules.run("virt_net_model", networks=[network(number) for number in numbers])
        modules.run("guest_vm", guests=[guest(name) for name in GUESTS])
        yield Bench(host, modules, (int(found.group(1)), int(found.group(2))))
    finally:
        modules.run("guest_vm", guests=[{"name": name, "state": "absent"} for name in GUESTS])
        modules.run("virt_net_model", networks=[{"name": f"live{number}", "state": "absent"} for number in numbers])
        modules.run("host_bridge", bridges=[{"name": HOST_BRIDGE, "state": "absent"}])


@pytest.fixture
def told(bench, figure):
    """The bench, whose figures are this test's."""
    return dataclasses.replace(bench, figure=figure)
