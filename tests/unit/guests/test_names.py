# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.virtnet.kvm.plugins.filter.mac import FilterModule
from ansible_collections.virtnet.kvm.plugins.module_utils import names

GUESTS = [f"guest-{number}" for number in range(500)]


def test_names_stay_what_they_are():
    """Reservations, firewall rules and guests of earlier versions hold these."""
    assert names.bridge_name("natnet") == "vnce689786"
    assert names.tap_name("vm0", 0) == "vg965c80adn0"
    assert names.guest_mac("kvm1", "vm0", 0) == "52:54:00:16:c9:68"


@pytest.mark.parametrize("index", [0, 9, 10, 999])
def test_tap_names_fit_the_kernel_and_are_no_bridges(index):
    for guest in GUESTS:
        name = names.tap_name(guest, index)
        assert len(name) <= 15
        assert not name.startswith(("vnet", "vif", "macvtap"))
        assert not re.fullmatch(r"vn[0-9a-f]{8}", name)


def test_names_differ():
    assert len({names.tap_name(guest, index) for guest in GUESTS for index in range(4)}) == len(GUESTS) * 4
    assert len({names.guest_mac(host, guest, 0) for host in ("a", "b") for guest in GUESTS}) == len(GUESTS) * 2
    assert names.guest_mac("ab", "c", 0) != names.guest_mac("a", "bc", 0)


@pytest.mark.parametrize("index", [-1, 100000])
def test_a_nic_that_cannot_be_named(index):
    with pytest.raises(ValueError, match="NIC number"):
        names.tap_name("vm0", index)


def test_macs_are_unicast_of_qemu():
    assert all(re.fullmatch(r"52:54:00(:[0-9a-f]{2}){3}", names.guest_mac("h", guest, 1)) for guest in GUESTS)


def test_filter_gives_what_the_module_gives():
    assert FilterModule().filters()["guest_mac"]("kvm1", "vm0", "0") == names.guest_mac("kvm1", "vm0", 0)
