# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits of what each guest may send in a second beyond its segment. Pure.

The kernel keeps a bucket of tokens for each MAC address that it meets on the network's bridge (nft(8), C(limit) in a dynamic
set), and forgets those that are silent. A MAC and not an address: of addresses a guest has as many as its subnet. Guests that
forge MACs are the business of anti-spoofing.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import LEARNT, quoted

#: After conntrack (-200), which tells what is new, and before anything translates (-100).
PRIORITY = -190
#: Seconds after which a silent guest is forgotten; its bucket is full again long before.
MEMORY_S = 60
#: The first packet of a conversation; it stays new until it is answered, and may have many before that.
_FIRST = "ct state new ct status & confirmed == 0 "


def add(table, networks, refuse):
    """Add the limits of the networks that have any.

    :param refuse: the statement that ends a packet.
    """
    limited = {}
    for network in networks:
        mark = names.bridge_name(network.name)[2:]
        rules = []
        for what, only, rate in (
            ("packets", "", network.policy.rate.packets), ("connections", _FIRST, network.policy.rate.connections)
        ):
            if rate is not None:
                about = f"Guests of {network.name}: at most {rate} {'new ' * bool(only)}{what} in a second"
                table.add_learnt(f"{LEARNT}{what}_{mark}", "ether saddr", about, MEMORY_S)
                bucket = f"ether saddr limit rate over {rate}/second burst {rate} packets"
                rules.append(f"{only}update @{LEARNT}{what}_{mark} {{ {bucket} }} {refuse}")
        if rules:
            table.add_chain(f"rate_{mark}", rules)
            limited[f"{quoted(network.bridge)} : jump rate_{mark}"] = network.name
    if table.add_map("limited", "ifname : verdict", limited, about="Networks whose guests have limits"):
        table.add_chain("prerouting_rate", ["iifname vmap @limited"], hook=f"filter hook prerouting priority {PRIORITY}")
