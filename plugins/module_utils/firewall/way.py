# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the rules can meet the packets of the controller's way to this host. Pure.

Those of the filter name bridges, and frames in any bridge by their addresses (spoofing.py). Which rules those are is asked of the
renderer. Those of translation lead what comes to this host elsewhere.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import values
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import ruleset, spoofing


def filtered(before, after, links, bridges, ends):
    """Return the links of the way, sorted, on which C(after) may drop packets that C(before) does not.

    Where the new rules say nothing they drop nothing, whatever the old ones did.

    :param before: the Networks whose rules are in force; None if nobody knows, for they were changed by hand.
    :param after: those whose rules shall be.
    :param links: names of the links of the way, C(bridges) those of them that are bridges, C(ends) the addresses at its other
        ends, MAC addresses too.
    """
    found = {link for link in links if _differ(_named(before, link), _named(after, link))}
    if _differ(_claimed(before, ends), _claimed(after, ends)):
        found |= set(bridges)
    return sorted(found)


def _differ(before, after):
    return bool(after) and before != after


def _named(networks, link):
    """Return the rules for packets that come in or go out by that link; None if they are unknown."""
    if networks is None:
        return None
    return "".join(ruleset.tables([one for one in networks if one.bridge == link], {}))


def _claimed(networks, ends):
    return None if networks is None else spoofing.claims(networks, ends)


def leads_away(rule, entrance, gateways):
    """Return whether a rule of translation would lead those to a guest who come in as this run did.

    :param entrance: a management.Entrance.
    :param gateways: the host's own addresses inside its networks; a forward on any address does not mean them.
    """
    address = entrance.address
    if rule["type"] == "one_to_one":
        return rule["listen"]["address"] == str(address)
    if rule["type"] == "npt":
        return address in ipaddress.ip_network(rule["to"]["subnet"])
    if rule["type"] != "dnat" or "tcp" not in rule["protocols"]:
        return False
    first, last = values.ports(rule["listen"]["ports"], "")
    if not first <= entrance.port <= last:
        return False
    if rule["listen"]["address"] not in (None, str(address)) or (rule["listen"]["address"] is None and address in gateways):
        return False
    if rule["listen"]["interface"] not in (None, entrance.link):
        return False
    if not any((":" in target) == (address.version == 6) for target in rule["to"]["addresses"]):
        return False
    return not rule["sources"] or any(entrance.client in ipaddress.ip_network(one) for one in rule["sources"])
