# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dnsmasq of each network: libvirt starts it with the network, and does not notice its end (src/network/bridge_driver.c).

Guests keep what they have of it until their leases end; new ones get no address, and nobody gets a name.
"""

from __future__ import annotations

import contextlib
import os
import re

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed

#: What libvirt starts it with: the configuration of its network.
_CONFIGURATION = re.compile(rb"--conf-file=/var/lib/libvirt/dnsmasq/(.+)\.conf")
#: Sections of virNetworkUpdate() with which libvirt looks after it.
_SECTIONS = ("ip-dhcp-host", "ip-dhcp-range", "dns-host", "dns-txt", "dns-srv")
#: An address of the documentation's (RFC 5737) and a name that nobody has (RFC 6761): for an update that changes nothing.
_NOBODY = "<host ip='192.0.2.1'><hostname>virtnet-nobody.invalid</hostname></host>"


def running():
    """Return {network: [process ID, ...]} of this host's; those of containers on it belong to other daemons."""
    found = {}
    own = os.readlink("/proc/self/ns/net")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # Processes come and go while they are looked at.
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as handle:
                words = handle.read().split(b"\0")
            if os.path.basename(words[0]) != b"dnsmasq":
                continue
            match = next(filter(None, map(_CONFIGURATION.fullmatch, words)), None)
            if match and os.readlink(f"/proc/{pid}/ns/net") == own:
                found.setdefault(match[1].decode(errors="replace"), []).append(int(pid))
    return found


def needed(normal):
    """Return whether libvirt has a dnsmasq for a running network: it has addresses, and DHCP or DNS is served there. Pure.

    :param normal: its normal form.
    """
    dhcp = normal["dhcp"] or {}
    served = normal["dns"]["enabled"] or dhcp.get("ranges") or dhcp.get("reservations")
    return bool(normal["forward"] != "bridge" and normal["addresses"] and served)


def lost(network, normal, ops, served):
    """Return whether a running network needs a dnsmasq, has none, and none of C(ops) has libvirt start it by the way. Pure.

    :param normal: its normal form.
    :param served: what running() gave.
    """
    by_the_way = any(
        op.op in ("start", "restart") or any(section in _SECTIONS for section, *_rest in op.args.get("updates", ())) for op in ops
    )
    return network not in served and needed(normal) and not by_the_way


def start(client, network):
    """Have libvirt start the dnsmasq of a running network that has lost it; nothing else of the network is touched.

    An update of DNS hosts makes libvirt look after it: the first starts it, the second has it read its files again. What the
    first has put into the running definition is taken out also where it did not start.
    """
    update, back = (("dns-host", command, -1, _NOBODY) for command in ("add", "delete"))
    try:
        client.update_live(network, [update])
    except CommandFailed:
        with contextlib.suppress(CommandFailed):
            client.update_live(network, [back])
        raise
    client.update_live(network, [back])
