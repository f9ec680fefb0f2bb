# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of faults share. Without VIRTNET_TEST_MATRIX a few of them are the short form, each on one of the two hosts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from direct_calls import DirectModules

SNAPSHOT = Path(__file__).resolve().parents[2] / "files" / "host_snapshot.py"

#: The short form: a bit of everything, in two minutes. The whole takes hours.
SHORT = {
    ("test_after_each_operation", "rules"), ("test_after_each_operation", "taps"), ("test_libvirt_is_stopped", "networks"),
    ("test_a_disk_that_takes_nothing", "/etc read-only forwarding"), ("test_a_disk_that_takes_nothing", "/etc full rules"),
    ("test_files_are_roots", "policies"), ("test_a_user_becomes_root", "rules"), ("test_dnsmasq_ends", "TERM"),
    ("test_opposite_wishes", "nat_rule"), ("test_a_run_waits_for_another", ""),
}  # fmt: skip


def pytest_collection_modifyitems(config, items):
    if os.environ.get("VIRTNET_TEST_MATRIX"):
        return
    # A test's parameters come after its host.
    chosen = [item for item in items if (item.originalname, item.callspec.id.partition("-")[2]) in SHORT]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture(scope="module")
def modules(host):
    """In the place of all scenarios': what is unpacked on the host serves all tests of a file."""
    return DirectModules(host)


@pytest.fixture(scope="module")
def lan(host):
    """The host's own address on the LAN."""
    return json.loads(host.check_output("ip -j -4 address show dev eth0"))[0]["addr_info"][0]["local"]


@pytest.fixture
def snapshot(host):
    """A function that returns all of the host that the collection could change."""
    text = SNAPSHOT.read_text()
    return lambda: json.loads(host.check_output(f"python3 - <<'END'\n{text}\nEND"))
