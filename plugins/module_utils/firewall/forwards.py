# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The port forwards of a host as facts. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.entries import OF_NETWORK


def of_rules(rules, limit):
    """Return ([port forwards as facts, C(limit) at most, those of networks first], how many there are).

    :param rules: {(set, name): rule}.
    """
    found = [(key, rule) for key, rule in rules.items() if rule["type"] == "dnat"]
    found.sort(key=lambda pair: (not pair[0][0].startswith(OF_NETWORK), *pair[0]))
    return [_fact(owner, rule) for (owner, _name), rule in found[:limit]], len(found)


def _fact(owner, rule):
    network = rule["network"] or (owner[len(OF_NETWORK) :] if owner.startswith(OF_NETWORK) else None)
    return {
        "set": owner, "name": rule["name"], "network": network, "protocols": rule["protocols"],
        "address": rule["listen"]["address"], "ports": rule["listen"]["ports"],
        "to": rule["to"]["addresses"], "to_ports": rule["to"]["ports"],
    }  # fmt: skip
