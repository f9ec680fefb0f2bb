# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a running network can be changed while it runs (virNetworkUpdate). Pure but for lxml."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import addresses, names, ports, xml

#: Fields of the normal form that exist in our mark or store only, so a running network cannot differ in them.
MARK_FIELDS = ("model", "firewall")
#: libvirt sets these by its metadata calls, which came with them.
WORDS = ("title", "description")
#: Sections of virNetworkUpdate() for the lists of names.RECORDS.
DNS_SECTIONS = {"hosts": "dns-host", "txt": "dns-txt", "srv": "dns-srv"}


def live_updates(live, wanted):
    """Return how to bring a running definition to another: (updates, fields that need a restart).

    An update is (section, command, index of the ip element or -1, XML), for virNetworkUpdate(). Modify is never
    used: for ip-dhcp-host it matches MAC or address or name, and overwrites another host's entry.
    A title or description is (title, set, -1, text).
    """
    updates, restart = [], []
    for key in wanted:
        if key in MARK_FIELDS or wanted[key] == live[key]:
            continue
        found = None
        if key == "dhcp" and wanted["addresses"] == live["addresses"]:
            found = _dhcp(live, wanted)
        elif key == "dns":
            found = _dns(live["dns"], wanted["dns"])
        elif key == "portgroups":
            found = _rows("portgroup", live[key], wanted[key], ports.portgroup_element)
        elif key in WORDS:
            found = [(key, "set", -1, wanted[key] or "")]
        if found is None:
            restart.append(key)
        else:
            updates += found
    return updates, restart


def _rows(section, old, new, make, index=lambda row: -1):
    """Delete what goes, then add what comes."""
    return [
        (section, command, index(row), xml.dump(make(row)))
        for command, rows, others in (("delete", old, new), ("add", new, old))
        for row in rows
        if row not in others
    ]


def _dhcp(live, wanted):
    old, new = live["dhcp"] or addresses.NO_DHCP, wanted["dhcp"] or addresses.NO_DHCP
    if any(old[key] != new[key] for key in ("tftp_root", "boot")):
        return None
    homes = [ipaddress.ip_interface(text).network for text in live["addresses"]]
    updates = []
    for section, key, make, field in (
        ("ip-dhcp-host", "reservations", addresses.reservation_element, "address"),
        ("ip-dhcp-range", "ranges", addresses.range_element, "start"),
    ):
        # The lease time is the rows' own, so another one means other rows.
        goes, comes = ([(row, side["lease_time"]) for row in side[key]] for side in (old, new))
        if any(row[field] is None for row, lease in goes + comes):
            return None
        updates += _rows(
            section, goes, comes, lambda pair, make=make: make(*pair), lambda pair, field=field: _index(homes, pair[0][field])
        )
    return updates


def _index(homes, text):
    address = ipaddress.ip_address(text)
    return next(number for number, home in enumerate(homes) if address in home)


def _dns(old, new):
    if any(old[key] != new[key] for key in new if key not in DNS_SECTIONS):
        return None
    return [
        update for key, section in DNS_SECTIONS.items() for update in _rows(section, old[key], new[key], names.ELEMENTS[key])
    ]
