# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt's networks are, all of it at once, for virt_net_info."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import describe
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.networks import NetworkRoom


def networks(client, names=None, entries=None):
    """Return ([facts of a network], [names that are not there]).

    :param client: client.Networks.
    :param names: names or UUIDs; None is all.
    :param entries: {name: what the firewall's store holds of it}.
    """
    found = client.gather()
    missing = []
    if names is not None:
        by_uuid = {one.uuid: name for name, one in found.items()}
        wanted = {name: name if name in found else by_uuid.get(name.lower()) for name in names}
        missing = [name for name, real in wanted.items() if real is None]
        found = {name: found[name] for name in set(wanted.values()) - {None}}
    active = any(one.active for one in found.values())
    links = {(nic.guest, nic.mac.lower()): nic.link for nic in client.nics()} if active else {}
    return [_facts(client, found[name], links, (entries or {}).get(name)) for name in sorted(found)], missing


def _facts(client, found, links, entry):
    normal = NetworkRoom.normal(found)
    item, differs, lacks = describe.describe(found.main, normal["state"], found.autostart, found.persistent, entry)
    live = found.active
    ports = [describe.port(xml, links) for xml in client.ports(found.name)] if live else []
    leases = [describe.lease(row) for row in client.leases(found.name)] if live else []
    return {
        "name": found.name,
        "uuid": found.uuid,
        **{key: normal[key] for key in ("state", "persistent", "autostart", "bridge", "owned", "pending")},
        "connections": int(found.live.get("connections", "0")) if live else 0,
        "xml": client.live_xml(found.name) if live else None,
        "xml_inactive": client.stored_xml(found.name) if found.persistent else None,
        "leases": sorted(leases, key=_by_address),
        "ports": sorted(ports, key=lambda row: (row["guest"] or "", row["mac"] or "", row["uuid"])),
        "model": item,
        "model_differs": differs,
        "model_lacks": lacks,
    }


def _by_address(lease):
    one = ipaddress.ip_interface(lease["address"])
    return (one.version, int(one.ip))
