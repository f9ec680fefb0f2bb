# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import models

NATNET = {
    "name": "natnet",
    "model": "nat",
    "bridge": "natbr0",
    "addresses": ["10.64.100.1/24", "fd00:64::1/64"],
    "dhcp": {
        "reservations": [
            {"name": "vm0", "mac": "52:54:00:00:00:01", "address": "10.64.100.2"},
            {"name": "vm0", "mac": "52:54:00:00:00:01", "address": "fd00:64::2"},
            {"name": "vm1", "mac": "52:54:00:00:00:02", "address": "10.64.100.3"},
        ],
    },
}


@pytest.fixture
def natnet():
    """The declaration of a NAT network, dual stack, with reservations."""
    return copy.deepcopy(NATNET)


@pytest.fixture
def parse():
    """A declaration of networks as the list of Networks, sorted as the store sorts them."""
    return lambda *items: sorted(models.parse_networks(list(items)), key=lambda one: one.name)
