# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings links back after a boot: one manager a host, chosen or named."""

from __future__ import annotations

import glob
import json
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import (
    networkd,
    networkd_files,
    networkmanager,
    networkmanager_files,
    units,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist.ifupdown import Ifupdown
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist.networkd import Networkd
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist.networkmanager import NetworkManager


class NoManager:
    """Nothing is written: a link is what it is until the next boot."""

    name = "none"
    makes = ()
    moves = False

    def made(self, name):
        return False

    def own(self, name):
        return {}

    def base(self, name):
        return None

    def dns(self, name):
        return []

    def dns_of(self, text):
        return []

    def ageing(self, name):
        return None

    def successor(self, port):
        return ""

    def managed(self):
        return set()

    def iaid(self, link):
        return None

    def link_files(self, form, **options):
        return {}

    def existing_files(self, form, declared, added=(), removed=()):
        return {}

    def remembered(self, name):
        return None

    def port_files(self, name, bridge, uplink=False, options=None):
        return {}

    def gather(self):
        pass

    def write(self, files):
        pass

    def seeds(self, name, changes):
        return {}

    def make(self, seeds):
        pass

    def let_go(self, names):
        pass

    def reload(self, names):
        pass

    def reload_lines(self, names):
        return []

    def renew(self, names):
        pass

    def restart(self, names):
        pass


#: Those that can be in use on a host, by name, and the unit in whose hands they are.
MANAGERS = {
    "networkd": (Networkd, networkd.UNIT),
    "NetworkManager": (NetworkManager, networkmanager.UNIT),
    "ifupdown": (Ifupdown, "networking.service"),
}

#: systemd's states of a unit that is on its way to another, and for how long that is waited for.
_BETWEEN = {"activating", "deactivating"}
SETTLES_S = 15
#: What we write for a manager.
_OUR_FILES = {
    "networkd": f"{networkd_files.FOLDER}/{networkd_files.PREFIX}*",
    "NetworkManager": f"{networkmanager_files.FOLDER}/{networkmanager_files.PREFIX}*",
}

_DEVICES = "/run/NetworkManager/devices"


def keeper(link):
    """Return who but systemd-networkd keeps a link: C(NetworkManager), C(ifupdown) or None."""
    return _keeper(link.name, link.row["ifindex"])


def _keeper(name, index):
    # What NetworkManager writes of a link stays when it is stopped, for its next start.
    device = (files.read(f"{_DEVICES}/{index}") or "") if units.may_run(networkmanager.UNIT) else ""
    if "managed=true" in device or "managed-type=full" in device or "connection-uuid=" in device:
        return "NetworkManager"
    states = (files.read("/run/network/ifstate") or "").split()
    if name in {one.partition("=")[0] for one in states} and name != "lo":
        return "ifupdown"
    return None


def _in_use(host):
    """Return the names of the managers that are in use here."""
    units_of = {name: unit for name, (_class, unit) in MANAGERS.items() if name != "ifupdown"}
    deadline = time.monotonic() + SETTLES_S
    while True:
        _rc, out, _err = host.run(["systemctl", "is-active", *units_of.values()], check=False)
        states = dict(zip(units_of, out.split()))
        # One that has just been killed, or is restarted, is as much in use as before.
        if not _BETWEEN & set(states.values()) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    found = [name for name, state in states.items() if state in {"active", "reloading", *_BETWEEN}]
    return [*found, *(["ifupdown"] if Ifupdown.available(host) else [])]


def _nobody():
    """Return that nothing brings links back; raise where a manager that is down has files of ours for its next start."""
    for name, pattern in _OUR_FILES.items():
        if glob.glob(pattern):
            unit = MANAGERS[name][1]
            raise Unsupported(
                f"{unit} does not run, and keeps links of ours", option="manager",
                cure=f"Start it (systemctl status {unit}), or say manager: none for a change until the next boot.",
            )
    return NoManager()


def _of_the_uplink(host):
    """Return who but networkd keeps the link of the default route, None without one."""
    for version in ("-4", "-6"):
        _rc, out, _err = host.run(["ip", "-j", version, "route", "show", "default"], check=False)
        for row in json.loads(out or "[]"):
            index = files.read(f"/sys/class/net/{row.get('dev')}/ifindex")
            if index:
                return _keeper(row["dev"], index.strip())
    return None


def choose(host, wanted):
    """Return the manager of C(wanted): one of C(MANAGERS) by its name, C(none), or C(auto), the one that keeps the uplink."""
    if wanted == "none":
        return NoManager()
    used = _in_use(host)
    if wanted == "auto":
        wanted = used[0] if used else "none"
        if len(used) > 1:
            uplink = _of_the_uplink(host)
            wanted = uplink if uplink in used else wanted
        return MANAGERS[wanted][0](host) if used else _nobody()
    if wanted not in used:
        raise Unsupported(
            f"{wanted} sets up no links here", option="manager",
            cure=f"Enable and start {MANAGERS[wanted][1]}, or say manager: none.",
        )
    return MANAGERS[wanted][0](host)


def for_a_look(host):
    """Return the manager that C(auto) chooses, for who only looks."""
    try:
        return choose(host, "auto")
    except Unsupported:
        return NoManager()
