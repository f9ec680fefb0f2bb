# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a fleet's declaration: all of it at once, and each thing once, however many hosts have it. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

#: Hosts that a line names; the rest is counted.
NAMED_MAX = 3


class Problems:
    """Collects errors and the hosts that have them; the order is that in which they were found."""

    def __init__(self):
        self._hosts = {}

    def __bool__(self):
        return bool(self._hosts)

    def add(self, host, error):
        """Note a VirtnetError on a host; None is the inventory as a whole."""
        hosts = self._hosts.setdefault(str(error), [])
        if host is not None and host not in hosts:
            hosts.append(host)

    def refuse(self, host, problem, subject, option, cure):
        self.add(host, InvalidInput(problem, subject, option, cure))

    def lines(self):
        """Return a line for each problem, with the hosts that have it first."""
        return [f"{some(hosts)}: {text}" if hosts else text for text, hosts in self._hosts.items()]


def some(hosts):
    """Return hosts' names as text, the first ones by name."""
    if len(hosts) <= NAMED_MAX:
        return ", ".join(hosts)
    return f"{', '.join(hosts[: NAMED_MAX - 1])} and {len(hosts) - NAMED_MAX + 1} more hosts"
