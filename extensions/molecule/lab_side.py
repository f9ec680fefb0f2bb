# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the scenarios' tests do to a host from outside: ping it, cut its cable, its power, look at it from its console.

pyproject.toml has this folder in pytest's path: `from lab_side import console, deaf_to, pinged`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import testinfra

PROGRAM = Path(__file__).resolve().parents[2] / "roles" / "lab_hosts" / "files"
#: The machines on the LAN that tests make a host deaf to; C(ctl) is the controller.
OTHERS = ("ctl", "gateway1")
LOOK = (
    "ip -o address show | sed 's/^[0-9]*: //; s/nodad *//; s/ *\\\\.*//; /lo /d'; ip route | sed 's/ metric 100\\b//';"
    " ip -6 route | sed 's/ expires.*//; s/ pref medium//; s/nhid [0-9]* //' | sort;"
    " ls /etc/systemd/network /etc/systemd/system/sysinit.target.wants /etc/sysctl.d;"
    " find /var/lib/virtnet /etc/virtnet -type f 2> /dev/null | xargs -r md5sum;"
    " ip -br link | sed 's/@[^ ]*/ /; s/  */ /g' | sort"
)


def variables(host):
    return host.backend.ansible_runner.get_variables(host.backend.host)


def lab(host, *words, check=True):
    """Run the lab's program: kill, start, reboot, exec; return what it prints."""
    command = [sys.executable, "-m", "virtnet_lab", "--lab", variables(host)["lab_hosts_lab"], *words]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def console(host, command):
    """Return what a command of the shell prints on the host's console: no network is between."""
    return lab(host, "exec", host.backend.host, "--", "sh", "-c", command, check=False)


def look(host, way=console, router=True):
    """Return what the host has, once its router has spoken again and its addresses are there.

    :param router: false if it hears no router.
    """
    before = None
    for _again in range(75):
        text = way(host, LOOK)
        here = "default" in text and variables(host)["lab_hosts_address"] in text and "tentative" not in text
        # The address of an advertised prefix comes a moment after the router's route, and not on every host.
        if here and ("proto ra" in text or not router) and text == before:
            break
        before = text
        time.sleep(0.4)
    return text


@contextlib.contextmanager
def deaf_to(host, name):
    """The LAN's switch passes nothing between this host and another machine; both hear everybody else.

    bridge(8): isolated ports reach those that are not. The other machine's port stays isolated, which means nothing while it is
    the only one: the hosts are tested side by side, and may be deaf at the same time, to the same machine.

    :param name: of the machine, one of OTHERS.
    """
    assert name in OTHERS, name
    port = ["bridge", "-n", f"{variables(host)['lab_hosts_lab']}-lan", "link", "set", "dev"]
    # The one that an earlier test was deaf to is freed, else the host would be deaf to both.
    for other in OTHERS:
        subprocess.run([*port, other, "isolated", "on" if other == name else "off"], check=True)
    subprocess.run([*port, host.backend.host, "isolated", "on"], check=True)
    try:
        yield
    finally:
        # Of a host that is off there is no port.
        subprocess.run([*port, host.backend.host, "isolated", "off"], check=False, capture_output=True)


@contextlib.contextmanager
def cabled(host, port, address):
    """A second cable, from a link C(port) of this host to the controller, which has C(address) there: it is a guest, say."""
    name = f"{port}-{host.backend.host}"
    netns = {end: f"{variables(host)['lab_hosts_lab']}-{end}" for end in ("ctl", host.backend.host)}
    subprocess.run(
        ["ip", "-n", netns["ctl"], "link", "add", name, "type", "veth", "peer", "name", port, "netns", netns[host.backend.host]],
        check=True,
    )
    try:
        for words in (["address", "add", address, "dev", name], ["link", "set", name, "up"]):
            subprocess.run(["ip", "-n", netns["ctl"], *words], check=True)
        yield
    finally:
        # A host that was restarted has pulled it out.
        subprocess.run(["ip", "-n", netns["ctl"], "link", "delete", name], check=False, capture_output=True)


@contextlib.contextmanager
def pinged(host, what, figure):
    """Ping the host from outside ten times a second meanwhile, and tell how many were lost.

    :param figure: the fixture.
    """
    outside = testinfra.get_host("ansible://outside1", ansible_inventory=host.backend.ansible_runner.inventory_file)
    address = variables(host)["lab_hosts_address"]
    file = f"/tmp/lnkping-{host.backend.host}"
    outside.run_test(f"rm -f {file}; ping -i 0.1 {address} > {file} 2>&1 & echo $! > {file}.pid")
    try:
        yield
        time.sleep(2)
    finally:
        outside.run(f"kill -INT $(cat {file}.pid); sleep 0.3")
        summary = re.search(r"(\d+) packets transmitted, (\d+) received", outside.check_output(f"cat {file}"))
        figure(f"{what}: {int(summary[1]) - int(summary[2])} of {summary[1]} pings lost, 100 ms apart")
