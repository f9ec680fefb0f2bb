# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of the role fleet_plan: what each host of an inventory gets, and what is wrong with that."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.fleet import plan
from ansible_collections.virtnet.kvm.plugins.plugin_utils import declared
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain
from ansible_collections.virtnet.kvm.plugins.plugin_utils.telling import telling

#: What the plan wants of kvm_host_info.
_FACTS = ("interfaces", "networks", "libvirt_networks", "guests", "memory_mb", "processors")


def fleet_plan(networks, guests, found, groups, pools=(), overcommit=1.0):
    """Return the plan of a fleet: networks of each host complete with addresses, errors, warnings and a table."""
    fleet = {}
    for host, items in networks.items():
        where = f"fleet_plan: {host}"
        facts = found.get(host) or {}
        fleet[str(host)] = {
            "networks": declared.networks(items or [], where),
            "guests": declared.guests(guests.get(host) or [], where),
            # Of a host that failed or could not be asked there is a result, but nothing in it.
            "found": plain({key: facts[key] for key in _FACTS}) if "interfaces" in facts else None,
        }
    with telling("fleet_plan", "what was given"):
        return plan.plan(fleet, plain(groups), plain(list(pools)), float(overcommit))


class FilterModule:
    """The collection's filters about fleets."""

    def filters(self):
        return {"fleet_plan": fleet_plan}
