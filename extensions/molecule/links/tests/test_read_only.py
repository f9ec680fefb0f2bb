# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The link is changed, then its file cannot be written: one clear error, and the link is as it was, in memory of nothing."""

from __future__ import annotations

import pytest

LOOK = (
    "ip -o address show | sed 's/^[0-9]*: //; s/ *\\\\.*//; /lo /d' | sort; ip route; ls /etc/systemd/network;"
    " ip -br link | sed 's/@[^ ]*/ /; s/  */ /g' | sort; ip link show eth0 | grep -o 'mtu [0-9]*';"
    " ls -d /var/lib/virtnet/* 2>/dev/null || true"
)
CASES = {
    "tap_iface": {"taps": [{"name": "lnktap0", "addresses": ["10.99.1.1/24"]}]},
    "host_iface": {"interfaces": [{"name": "eth0", "mtu": 1600}]},
    "host_bridge": {"bridges": [{"name": "lnkbr0", "ports": ["eth0"], "take_over": True}]},
}


@pytest.fixture
def read_only(host):
    """Make systemd-networkd's folder read-only, as a whole /etc is on some hosts."""
    host.run_test("cd /etc/systemd && mount --bind network network && mount -o remount,bind,ro network")
    yield
    host.run_test("umount /etc/systemd/network")


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_stored_is_not_done(host, modules, read_only, name):
    before = host.check_output(LOOK)
    result = modules(name, **CASES[name])
    assert result["failed"] and "could not be written: Read-only file system" in result["msg"], result
    assert "not_reverted" not in result and not result["changed"]
    assert host.check_output(LOOK) == before
