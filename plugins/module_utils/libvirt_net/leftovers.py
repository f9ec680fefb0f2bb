# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a start or a stop that was cut off leaves on the host: a daemon that is killed in the middle forgets the network's bridge,
its dnsmasq and its rules.

libvirt then says that the network is inactive, and cannot start it: its bridge is there already.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal

from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import dnsmasq, libvirt_rules
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition


def bridge(host, found):
    """Return the bridge that libvirt made for a network which does not run, or None.

    A link of that name that somebody else made has another MAC address, or is no bridge, or has ports.

    :param found: client.Found.
    """
    if found.active or found.stored is None:
        return None
    normal = definition.parse(found.stored)
    name = normal["bridge"]
    if normal["forward"] == "bridge" or not name or not os.path.exists(f"/sys/class/net/{name}"):
        return None
    _rc, out, _err = host.run(["ip", "-j", "-d", "link", "show", "dev", name], check=False)
    for row in json.loads(out or "[]"):
        ours = row.get("linkinfo", {}).get("info_kind") == "bridge" and row.get("address") == normal["mac"]
        if ours and not os.listdir(f"/sys/class/net/{name}/brif"):
            return name
    return None


def clear(host, network, link, found):
    """End the dnsmasq of a network that does not run, and remove libvirt's rules for it and its bridge.

    :param found: client.Found.
    """
    for pid in dnsmasq.running().get(network, ()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)
    # While the bridge is there, nft calls it by its name.
    stored = definition.parse(found.stored)
    libvirt_rules.remove(host, link, [str(ipaddress.ip_interface(one).network) for one in stored["addresses"]])
    host.run(["ip", "link", "del", "dev", link], what="removing the bridge that was left over", subject=network)
