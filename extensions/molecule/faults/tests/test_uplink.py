# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The uplink on its way into a bridge and out of it, whose manager is restarted or killed meanwhile: nobody is locked out."""

from __future__ import annotations

import pytest
from controllers import controller, open_change, said, until
from lab_side import console, lab, look
from module_calls import Modules

IN = {"bridges": [{"name": "fltbr8", "ports": ["eth0"], "take_over": True}]}
OUT = {"bridges": [{"name": "fltbr8", "state": "absent"}]}
UNITS = {"networkd": "systemd-networkd", "NetworkManager": "NetworkManager"}
FAULTS = {"restarted": "systemctl restart", "killed": "systemctl kill -s KILL"}
#: After how many seconds of the open change it happens.
MOMENTS = (0, 0.5, 1)


@pytest.fixture(scope="module")
def modules(host):
    """In the place of this scenario's: a change of the uplink is confirmed by the controller's half of the call."""
    return Modules(host)


@pytest.fixture(scope="module", params=UNITS)
def manager(request, host):
    """The host, made anew with its uplink in a manager's hands."""
    lab(host, "remake", host.backend.host, "--manager", request.param, "--addressing", "static")
    yield request.param
    lab(host, "remake", host.backend.host, "--manager", "networkd", "--addressing", "static")


@pytest.mark.parametrize("fault", FAULTS)
def test_its_manager_ends_in_the_middle(host, modules, manager, fault, table):
    before = look(host)
    ends = []
    for moment in MOMENTS:
        for wanted in (IN, OUT):
            with controller(host, "host_bridge", {**wanted, "confirm_timeout": 30}) as process:
                until(lambda: open_change(host) or process.poll() is not None)
                console(host, f"sleep {moment}; {FAULTS[fault]} {UNITS[manager]}")
                text = said(process)
            assert "Traceback" not in text, text
            ends.append("done" if process.returncode == 0 else "error")
            until(lambda: not open_change(host), 90)
            modules.run("host_bridge", **wanted)
            assert not modules.run("host_bridge", **wanted)["changed"]
        assert look(host) == before, f"{moment} s: {ends}"
    told = f"{ends.count('done')} done, {ends.count('error')} told as errors"
    table("the uplink's manager ends in the middle", [f"{f'{manager} {fault}':25} host_bridge      {told}: survived"])
