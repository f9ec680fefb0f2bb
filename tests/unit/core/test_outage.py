# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import outage


@pytest.mark.parametrize(
    ("stp", "delay", "own_rules", "seconds"),
    [
        (False, 30, False, 1), (False, None, True, 2), (True, None, False, 5), (True, 0, False, 5), (True, 4, False, 10),
        (True, 3, True, 9),
    ],
)
def test_what_is_foretold(stp, delay, own_rules, seconds):
    assert outage.replug(stp, delay, own_rules) == seconds
