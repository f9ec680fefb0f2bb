# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restarting a network under its running guests, and putting every NIC of theirs back.

libvirt leaves the taps of running guests without a bridge when a network stops, while C(domiflist) looks healthy.
"""

from __future__ import annotations

import os

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, VerificationFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import definition


def bridge_ports(bridge):
    """Return the names of the links in a bridge."""
    try:
        return sorted(os.listdir(f"/sys/class/net/{bridge}/brif"))
    except FileNotFoundError:
        return []


def _moved(xml, bridge):
    """Return a port's XML plugged into C(bridge)."""
    tree = definition.load(xml)
    plug = tree.find("plug")
    if plug is not None and plug.get("bridge"):
        plug.set("bridge", bridge)
    return definition.dump(tree)


def restart(client, host, name, old_bridge, bridge, links=None):
    """Stop and start a network, then put the links and port objects of its guests back and look at each.

    If it does not start, it is started again as it was, its guests put back, and the error raised.

    :param links: of its guests. None: all in the old bridge, which is libvirt's and goes with the network; a bridge of the
        host's stays, and with it whatever else is in it, such as the uplink.
    """
    ports = client.ports(name)
    if links is None:
        # libvirt's own dummy port BRIDGE-nic, of old versions, comes and goes with the bridge.
        links = [link for link in bridge_ports(old_bridge) if link != f"{old_bridge}-nic"] if old_bridge else []
    stored = client.stored_xml(name)
    running = client.live_xml(name)
    client.stop(name)
    try:
        client.start(name)
    except CommandFailed:
        client.define(name, running)
        client.start(name)
        _plug(client, host, name, links, ports, old_bridge)
        client.define(name, stored)
        raise
    _plug(client, host, name, links, ports, bridge)


def _plug(client, host, name, links, ports, bridge):
    if links and bridge:
        host.run(
            ["ip", "-batch", "-"],
            data="".join(f"link set dev {link} master {bridge}\n" for link in links),
            what="putting the guests' NICs back",
            subject=name,
        )
    for xml in ports:
        client.reclaim_port(name, _moved(xml, bridge) if bridge else xml)
    missing = sorted(set(links) - set(bridge_ports(bridge))) if bridge else []
    if missing:
        raise VerificationFailed(
            f"after its restart the NICs {', '.join(missing)} are not in {bridge}",
            name,
            None,
            f"Put them back with: ip link set dev NIC master {bridge}",
        )
