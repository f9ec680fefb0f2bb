# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Subnets out of pools: the lowest that nobody has. Pure."""

from __future__ import annotations

import bisect
import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

#: Prefix lengths of what pools give: room for a gateway, a guest and DHCP; IPv6 guests make their addresses of 64 bits.
LONGEST = {4: 29, 6: 64}
USUAL = {4: 24, 6: 64}


class Pool:
    """A subnet from which networks get theirs, all of one size.

    :param taken: subnets that are somebody's, inside the pool or around it.
    """

    def __init__(self, item, option):
        self.option = option
        self.subnet = values.subnet(item["subnet"], f"{option}.subnet")
        self.version = self.subnet.version
        prefix = item.get("prefix")
        self.prefix = USUAL[self.version] if prefix is None else prefix
        if not self.subnet.prefixlen <= self.prefix <= LONGEST[self.version]:
            raise InvalidInput(
                f"subnets of /{self.prefix} out of {self.subnet}", None, f"{option}.prefix",
                f"Use {self.subnet.prefixlen} to {LONGEST[self.version]}.",
            )  # fmt: skip
        self._taken, self._starts, self._at = [], [], int(self.subnet.network_address)

    def take(self, taken):
        """Say which subnets are not to be given."""
        rows = sorted(
            (int(one.network_address), int(one.broadcast_address))
            for one in taken
            if one.version == self.version and one.overlaps(self.subnet)
        )
        self._taken = []
        for first, last in rows:
            if self._taken and first <= self._taken[-1][1] + 1:
                self._taken[-1] = (self._taken[-1][0], max(last, self._taken[-1][1]))
            else:
                self._taken.append((first, last))
        self._starts = [first for first, _last in self._taken]

    def next(self):
        """Return the lowest subnet that was neither taken nor given, or None when there is none left."""
        size = 1 << (self.subnet.max_prefixlen - self.prefix)
        end = int(self.subnet.broadcast_address)
        while self._at + size - 1 <= end:
            place = bisect.bisect_right(self._starts, self._at + size - 1) - 1
            if place < 0 or self._taken[place][1] < self._at:
                found = self.subnet.network_address + (self._at - int(self.subnet.network_address))
                self._at += size
                return ipaddress.ip_network((found, self.prefix))
            # Behind the one that is in the way, at the next multiple of the size.
            self._at += -(-(self._taken[place][1] + 1 - self._at) // size) * size
        return None


class Pools:
    """Pools in the order in which they are used up, those of each IP version by themselves."""

    def __init__(self, items, option="kvm_address_pools"):
        self.pools = [Pool(item, f"{option}[{number}]") for number, item in enumerate(items)]
        self.option = option
        self.versions = sorted({one.version for one in self.pools})

    def take(self, taken):
        taken = list(dict.fromkeys(taken))
        for pool in self.pools:
            pool.take(taken)

    def give(self, name):
        """Return a subnet of each IP version that pools have, for the network C(name)."""
        return [self._next(version, name) for version in self.versions]

    def _next(self, version, name):
        for pool in self.pools:
            found = pool.next() if pool.version == version else None
            if found is not None:
                return found
        sizes = ", ".join(f"{one.subnet} in /{one.prefix}" for one in self.pools if one.version == version)
        raise InvalidInput(
            f"no IPv{version} subnet is left in the pools ({sizes})", name, self.option, "Add a pool, or give addresses."
        )


def gateway(subnet):
    """Return the host's address in a subnet that a pool gave, address/prefix: the first one."""
    return f"{subnet.network_address + 1}/{subnet.prefixlen}"


def dhcp_range(subnet):
    """Return the DHCP range of an IPv4 subnet that a pool gave: its upper half, so that the lower one is for reservations."""
    first, size = subnet.network_address, subnet.num_addresses
    return {"start": str(first + size // 2), "end": str(first + size - 2)}
