# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The uplink into a bridge and out again under each manager of links and kind of addressing, pinged from outside meanwhile."""

from __future__ import annotations

import pytest
from controllers import controller, open_change, said, until
from lab_side import console, deaf_to, lab, look, pinged

MANAGERS = ("networkd", "netplan-networkd")
ADDRESSINGS = ("static", "dhcp")
IN = {"bridges": [{"name": "mgrbr0", "ports": ["eth0"], "take_over": True}]}
OUT = {"bridges": [{"name": "mgrbr0", "state": "absent"}]}
WINDOW_S = 10
#: The manager's own files, and who answers for names.
FILES = (
    "find /etc/systemd/network /etc/netplan /etc/NetworkManager /etc/network /etc/sysctl.d /run/systemd/network -type f"
    " 2> /dev/null | sort | xargs -r md5sum; resolvectl dns 2> /dev/null; cat /etc/resolv.conf"
)


@pytest.fixture(scope="module", params=[(one, other) for one in MANAGERS for other in ADDRESSINGS], ids="-".join)
def kept(request, host):
    """The host, made anew with its uplink in a manager's hands; a (manager, addressing)."""
    manager, addressing = request.param
    lab(host, "remake", host.backend.host, "--manager", manager, "--addressing", addressing)
    yield request.param
    lab(host, "remake", host.backend.host, "--manager", "networkd", "--addressing", "static")


def seen(host):
    """Return what there is of links, addresses, routes, and the text of all files of theirs."""
    return f"{look(host)}\n{console(host, FILES)}"


def test_taken_over_restarted_and_given_back(host, modules, kept, capsys):
    before = seen(host)
    predicted = modules.run("host_bridge", check=True, **IN)
    assert seen(host) == before
    with pinged(host, f"{'-'.join(kept)}, into the bridge", capsys):
        real = modules.run("host_bridge", **IN)
    assert real["guard"]["state"] == "confirmed" and real["bridges"] == predicted["bridges"]
    assert not modules.run("host_bridge", **IN)["changed"]
    with capsys.disabled():
        print(f"{host.backend.host}: away for at most {real['guard']['away_s']} s")
    taken = seen(host)
    assert "master mgrbr0" in console(host, "ip link show eth0")
    lab(host, "reboot", host.backend.host)
    assert seen(host) == taken
    assert not modules.run("host_bridge", **IN)["changed"]
    with pinged(host, f"{'-'.join(kept)}, out of the bridge", capsys):
        assert modules.run("host_bridge", **OUT)["guard"]["state"] == "confirmed"
    assert seen(host) == before
    lab(host, "reboot", host.backend.host)
    assert seen(host) == before


def test_taken_back_without_a_word(host, modules, kept):
    before = seen(host)
    with controller(host, "host_bridge", {**IN, "confirm_timeout": WINDOW_S}) as process:
        until(lambda: open_change(host))
        with deaf_to(host, "ctl"):
            until(lambda: not open_change(host))
        text = said(process)
    assert process.returncode != 0 and "was taken back" in text, text
    assert seen(host) == before
