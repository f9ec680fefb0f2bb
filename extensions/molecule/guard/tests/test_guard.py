# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nobody is locked out: the uplink's way into a bridge, with a controller that stays, is cut off, dies, and a host that restarts.

The controller is an ansible(1) of its own here, so that it can be killed. The host is looked at from its console.
"""

from __future__ import annotations

import contextlib
import shlex

import pytest
from controllers import TOKEN, controller, kill, open_change, result, said, until
from lab_side import console, deaf_to, lab, look, pinged, variables

IN = {"bridges": [{"name": "grdbr0", "ports": ["eth0"], "take_over": True}]}
OUT = {"bridges": [{"name": "grdbr0", "state": "absent"}]}
#: Short, for a test; longer than a change takes on a busy machine.
WINDOW_S = 10
#: The processes of those who came in by SSH.
SESSIONS = "sshd(-session)?: root"


@pytest.fixture(params=["static", "dhcp"])
def before(request, host, modules):
    """What the host is like; its uplink is addressed by its file, or by DHCP as well."""
    file, address = "/etc/systemd/network/40-grd.network", variables(host)["lab_hosts_address"]
    if request.param == "dhcp":
        # The lease is another address than the one by which the tests come in: that one stays in the file.
        edit = f"sed 's/^Gateway=.*/DHCP=ipv4/' /etc/systemd/network/50-*.network > {file}; networkctl reload"
        assert address in console(host, f"{edit}; cat {file}")
        until(lambda: "dynamic" in console(host, "ip -4 address show eth0"))
    found = look(host)
    yield found
    modules("host_bridge", **OUT)
    if request.param == "dhcp":
        console(host, f"rm {file}; networkctl reload; networkctl reconfigure eth0")
        until(lambda: "dynamic" not in console(host, "ip -4 address show eth0"))
        look(host)


@contextlib.contextmanager
def stand_in(host, command, lines):
    """Lines of the shell run before a command of the host's; C(/run/grd-break) is there, for them to do something once."""
    path = f"/usr/local/bin/{command}"
    quoted = shlex.quote(f'#!/bin/sh\n{lines}\nexec /usr/bin/{command} "$@"\n')
    console(host, f"printf %s {quoted} > {path}; chmod 755 {path}; touch /run/grd-break")
    try:
        yield
    finally:
        console(host, f"rm -f {path} /run/grd-break")


def test_the_controller_comes_in_anew(host, modules, before, figure):
    predicted = modules.run("host_bridge", check=True, **IN)
    assert predicted["guard"]["state"] == "planned" and look(host) == before
    with pinged(host, "uplink into the bridge", figure):
        real = modules.run("host_bridge", **IN)
    assert real["guard"]["state"] == "confirmed" and real["guard"]["links"] == ["eth0", "grdbr0"], real["guard"]
    assert not open_change(host) and "virtnet-guard" not in look(host)
    assert "guard" not in modules.run("host_bridge", **IN)
    figure(f"away for at most {real['guard']['away_s']} s")
    with pinged(host, "uplink out of the bridge", figure):
        assert modules.run("host_bridge", **OUT)["guard"]["state"] == "confirmed"
    assert look(host) == before


def test_the_controller_cannot_come_in(host, before):
    with controller(host, "host_bridge", {**IN, "confirm_timeout": WINDOW_S}) as process:
        until(lambda: open_change(host))
        with deaf_to(host, "ctl"):
            until(lambda: "grdbr0" in console(host, "ip -br link"))
            until(lambda: not open_change(host))
        text = said(process)
    assert process.returncode != 0 and "was taken back" in text and f"within {WINDOW_S} s" in text, text
    assert look(host) == before


def test_the_controller_dies(host, modules, before):
    with controller(host, "host_bridge", {**IN, "confirm_timeout": WINDOW_S}) as process:
        until(lambda: open_change(host))
        kill(process)
    # What takes the change back runs as root: nobody else may write it.
    folder = "/var/lib/virtnet/guard /run/systemd/transient/virtnet-guard*"
    assert "guard" in console(host, f"find {folder}")
    assert console(host, f"find {folder} \\( ! -user root -o -perm /022 \\) ! -type l").strip() == ""
    # Nobody else changes the host meanwhile.
    result = modules("tap_iface", taps=[{"name": "grdtap0"}])
    assert result["failed"] and "waits for its confirmation" in result["msg"], result
    assert "grdbr0" in console(host, "ip -br link")
    until(lambda: not open_change(host))
    assert look(host) == before


def test_the_answer_to_the_confirmation_is_lost(host, modules, before):
    """The connection breaks between the host's yes and its way to the controller: the change is kept, and the task says so."""
    end = f"rm /run/grd-break && pkill -KILL -f '{SESSIONS}'"
    with stand_in(host, "cat", f'case "$*" in *guard.outcome*) [ ! -e /run/grd-break ] || {{ {end}; }} ;; esac'):
        with controller(host, "host_bridge", {**IN, "confirm_timeout": WINDOW_S}) as process:
            told = result(process)
        assert "/run/grd-break" not in console(host, "ls /run/grd-break"), "the connection was not broken"
    assert not told["failed"] and told["guard"]["state"] == "confirmed", told
    assert "grdbr0" in console(host, "ip -br link") and not open_change(host)
    assert not console(host, "ls /run/virtnet/guard.outcome")


def test_a_change_that_takes_too_long_is_ended(host, before):
    """Its run hangs, with the lock in its hands, beyond the deadline; what it would do then nobody would take back."""
    slow = f"[ ! -e {TOKEN} ] || {{ rm /run/grd-break && exec sleep 300; }}"
    with stand_in(host, "networkctl", slow):
        with controller(host, "host_bridge", {**IN, "confirm_timeout": WINDOW_S}) as process:
            text = said(process)
        assert "/run/grd-break" not in console(host, "ls /run/grd-break"), "it was not slow"
    assert process.returncode != 0 and f"not done within {WINDOW_S} s and was ended" in text, text
    assert not open_change(host) and look(host) == before
    assert "sleep 300" not in console(host, "ps -e -o args")


def test_the_connection_breaks_in_the_middle(host, before):
    with controller(host, "host_iface", {"interfaces": [{"name": "eth0", "gateway": ["10.77.0.253"]}]}) as process:
        until(lambda: open_change(host))
        # While the host waits for its gateway to answer; then it fails by itself, or it is asked to take the change back.
        console(host, f"pkill -KILL -f '{SESSIONS}'")
        text = said(process)
    assert process.returncode != 0 and ("failed on the host, and was taken back" in text or "in the middle" in text), text
    assert not open_change(host) and look(host) == before


def test_a_change_fails_while_the_connection_is_broken(host, before):
    """The host puts everything back by itself, and can tell nobody but the one who comes in anew."""
    end = f"rm /run/grd-break; pkill -KILL -f '{SESSIONS}'; exit 1"
    with stand_in(host, "networkctl", f"[ ! -e {TOKEN} ] || [ ! -e /run/grd-break ] || {{ {end}; }}"):
        with controller(host, "host_bridge", IN) as process:
            text = said(process)
        assert "/run/grd-break" not in console(host, "ls /run/grd-break"), "nothing failed"
    assert process.returncode != 0 and "The change failed on the host, and was taken back" in text, text
    assert not open_change(host) and look(host) == before


def test_a_wrong_gateway_is_not_waited_for(host, modules, before):
    """The controller, on the host's own subnet, would come in all the same."""
    interfaces = [{"name": "eth0", "gateway": ["10.77.0.253"]}]
    result = modules("host_iface", interfaces=interfaces)
    assert result["failed"] and "10.77.0.253 did not answer on eth0" in result["msg"] and "put back" in result["msg"], result
    assert not open_change(host) and look(host) == before
    # Nor is it looked at where nobody wants that.
    assert "guard" not in modules.run("host_iface", check=True, interfaces=interfaces, confirm=False)


def test_the_host_restarts_in_the_middle(host, before):
    with controller(host, "host_bridge", {**IN, "confirm_timeout": 120}) as process:
        until(lambda: open_change(host))
        with deaf_to(host, "ctl"):
            until(lambda: "00-virtnet-eth0" in console(host, "ls /etc/systemd/network"))
            lab(host, "kill", host.backend.host)
        lab(host, "start", host.backend.host)
        text = said(process)
    assert process.returncode != 0 and ("was taken back" in text or "UNREACHABLE" in text), text
    assert look(host) == before
