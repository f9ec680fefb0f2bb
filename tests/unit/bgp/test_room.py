# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import frr_text, room

OURS_ALONE, WITH_OSPF = "zebra=yes\nbgpd=yes\n", "zebra=yes\nbgpd=yes\nospfd=yes\n"


@pytest.mark.parametrize(
    ("before", "runs", "daemons", "stop", "disable"),
    [
        # (was enabled, was active), whether it runs now.
        ((False, False), True, OURS_ALONE, "FRR", True),
        ((False, False), True, WITH_OSPF, "bgpd", False),
        # A run that failed, or somebody, has stopped it meanwhile.
        ((False, False), False, OURS_ALONE, "bgpd", True),
        ((False, False), False, WITH_OSPF, "bgpd", False),
        ((False, True), True, WITH_OSPF, "bgpd", True),
        ((True, True), True, OURS_ALONE, "bgpd", False),
    ],
)
def test_absent_gives_the_unit_its_state_back(before, runs, daemons, stop, disable):
    found = room.BgpRoom(None, None)
    found._journal = {room._BGPD: "no", room._SERVICE: list(before)}
    found._own = frr_text.Own(True, True)
    found._file_read = found._run_read = frr_text.read("", found._own)
    found._list, found._conf, found._enabled, found._active = daemons, None, True, runs
    (op,) = found._plan_absent({room.NAME: {}}).ops
    assert (op.args["stop"], op.args["disable"]) == (stop, disable)
