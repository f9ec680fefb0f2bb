# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Port forwards name guests; these need an address that stays, and get a reservation if none is declared. Pure."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import values


def complete(item, guests, stored):
    """Return a network's item with an IPv4 reservation for each guest that its port forwards name and that has none.

    Items that cannot be read are returned as they are; whoever reads them says what is wrong.

    :param guests: the host's Guests.
    :param stored: the item that the host was told of before; an address that was reserved there is kept.
    """
    named = [one["to"]["guest"] for one in item.get("port_forwards") or () if one["to"].get("guest")]
    dhcp, addresses = item.get("dhcp"), item.get("addresses")
    if not named or dhcp is None or not addresses:
        return item
    rows = list(dhcp.get("reservations") or ())
    has = {one.get("name") for one in rows}
    wanted = [
        (guest.name, nic.mac)
        for guest in guests
        for nic in guest.nics
        if guest.name in named and guest.name not in has and nic.network == item["name"] and nic.addresses == ("dhcp",)
    ]  # fmt: skip
    if not wanted:
        return item
    try:
        own = next(one for one in map(values.ip_interface, addresses) if one.version == 4)
        ranges = [tuple(int(values.ip_address(one[end])) for end in ("start", "end")) for one in dhcp.get("ranges") or ()]
        taken = {values.ip_address(one["address"]) for one in rows} | {own.ip}
        fixed = [text for guest in guests for nic in guest.nics for text in nic.addresses if text != "dhcp"]
        taken |= {values.ip_interface(text).ip for text in fixed}
    except (StopIteration, ValueError):
        return item
    before = {one.get("mac"): one["address"] for one in (stored.get("dhcp") or {}).get("reservations") or ()}
    kept, new = [], []
    for name, mac in wanted:
        address = values.ip_address(before[mac]) if mac in before else None
        if address is not None and address in own.network and address not in taken:
            taken.add(address)
            kept.append({"name": name, "mac": mac, "address": str(address)})
        else:
            new.append((name, mac))
    for name, mac in new:
        address = _free(own.network, taken, ranges)
        if address is None:
            break
        taken.add(address)
        kept.append({"name": name, "mac": mac, "address": str(address)})
    return {**item, "dhcp": {**dhcp, "reservations": rows + sorted(kept, key=lambda one: one["name"])}}


def _free(subnet, taken, ranges):
    """Return the lowest address of a subnet that is nobody's and in no range, or None."""
    number, end = int(subnet.network_address) + 1, int(subnet.broadcast_address)
    while number < end:
        behind = max((last for first, last in ranges if first <= number <= last), default=None)
        if behind is not None:
            number = behind + 1
        elif ipaddress.IPv4Address(number) in taken:
            number += 1
        else:
            return ipaddress.IPv4Address(number)
    return None
