# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of the matrix (manager, addressing, test) runs on which host, unless all of it is to run on both."""

from __future__ import annotations

import os

import pytest

_MOVED = "test_taken_over_restarted_and_given_back"
_SILENT = "test_taken_back_without_a_word"
_SILENT_OUT = "test_given_back_without_a_word"
_DEAD = "test_the_controller_dies"
_RESTARTED = "test_the_host_restarts_in_the_middle"
_WRONG = "test_a_wrong_gateway_is_not_waited_for"
_REFUSED = "test_what_networkmanager_cannot_keep"
_OTHERS = "test_other_links"
#: All pairs of host, manager, addressing and what is done to it. Hosts of plain networkd are those of the scenario guard.
COVERING = {
    ("kvm1", "NetworkManager", "static"): (_MOVED, _RESTARTED),
    ("kvm2", "NetworkManager", "dhcp"): (_REFUSED, _OTHERS, _SILENT, _SILENT_OUT, _DEAD),
    ("kvm1", "netplan-NetworkManager", "dhcp"): (_MOVED, _RESTARTED, _WRONG),
    ("kvm2", "netplan-NetworkManager", "static"): (_SILENT, _SILENT_OUT, _DEAD),
    ("kvm1", "netplan-networkd", "dhcp"): (_MOVED, _SILENT, _SILENT_OUT, _DEAD),
    ("kvm2", "netplan-networkd", "static"): (_MOVED, _RESTARTED),
    ("kvm1", "ifupdown", "static"): (_OTHERS, _SILENT, _SILENT_OUT, _DEAD),
    ("kvm2", "ifupdown", "dhcp"): (_MOVED, _RESTARTED, _WRONG, _OTHERS),
}


def _covers(item):
    params = item.callspec.params
    host, (manager, addressing) = params["_testinfra_host"].backend.host, params["kept"]
    return item.originalname in COVERING.get((host, manager, addressing), ())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if os.environ.get("VIRTNET_TEST_MATRIX"):
        return
    chosen = [item for item in items if _covers(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
