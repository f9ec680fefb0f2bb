# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a running network can be changed while it runs (virNetworkUpdate). Pure but for lxml."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import definition

#: Fields of the normal form that exist in our mark or store only, so a running network cannot differ in them.
MARK_FIELDS = ("model", "firewall")


def live_updates(live, wanted):
    """Return how to bring a running definition to another: (updates, fields that need a restart).

    An update is (section, command, index of the ip element or -1, XML), for virNetworkUpdate(). Modify is never
    used: for ip-dhcp-host it matches MAC or address or name, and overwrites another host's entry.
    """
    updates = []
    fields = [key for key in wanted if key not in MARK_FIELDS and wanted[key] != live[key]]
    if "dhcp" in fields and live["dhcp"] and wanted["dhcp"] and "addresses" not in fields:
        old, new = live["dhcp"], wanted["dhcp"]
        if old["lease_time"] == new["lease_time"]:
            lease = new["lease_time"]
            homes = [ipaddress.ip_interface(text).network for text in live["addresses"]]
            for section, key, element, field in (
                ("ip-dhcp-host", "reservations", definition.reservation_element, "address"),
                ("ip-dhcp-range", "ranges", definition.range_element, "start"),
            ):
                for command, rows, others in (("delete", old[key], new[key]), ("add", new[key], old[key])):
                    for row in rows:
                        if row not in others:
                            updates.append((section, command, _index(homes, row[field]), definition.dump(element(row, lease))))
            fields.remove("dhcp")
    if "dns" in fields and dict(live["dns"], hosts=None) == dict(wanted["dns"], hosts=None) and live["dns"]["enabled"]:
        old, new = live["dns"]["hosts"], wanted["dns"]["hosts"]
        for command, rows, others in (("delete", old, new), ("add", new, old)):
            updates.extend(
                ("dns-host", command, -1, definition.dump(definition.host_element(row))) for row in rows if row not in others
            )
        fields.remove("dns")
    return updates, fields


def _index(homes, text):
    address = ipaddress.ip_address(text)
    return next(number for number, home in enumerate(homes) if address in home)
