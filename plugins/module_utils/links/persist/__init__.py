# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings links back after a boot: one manager a host, chosen or named."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import networkd_files
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist.networkd import Networkd


class NoManager:
    """Nothing is written: a link is what it is until the next boot."""

    name = "none"

    def own(self, name):
        return {}

    def base(self, name):
        return None

    def dns(self, name):
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

    def reload(self, names):
        pass

    def reload_lines(self, names):
        return []

    def renew(self, names):
        pass

    def restart(self, names):
        pass


def dns_of(text):
    """Return the DNS servers that a file of the manager's names."""
    return networkd_files.Network(text).values("Network", "DNS")


def keeper(link):
    """Return who but systemd-networkd keeps a link: C(NetworkManager), C(ifupdown) or None."""
    device = files.read(f"/run/NetworkManager/devices/{link.row['ifindex']}") or ""
    if "managed=true" in device or "managed-type=full" in device or "connection-uuid=" in device:
        return "NetworkManager"
    states = (files.read("/run/network/ifstate") or "").split()
    if link.name in {one.partition("=")[0] for one in states} and link.name != "lo":
        return "ifupdown"
    return None


def choose(host, wanted):
    """Return the manager of C(wanted): C(auto), C(networkd) or C(none)."""
    if wanted == "none":
        return NoManager()
    running = Networkd.available(host)
    if not running and wanted == "networkd":
        raise Unsupported("systemd-networkd does not run here", option="manager", cure="Start it, or say manager: none.")
    return Networkd(host) if running else NoManager()
