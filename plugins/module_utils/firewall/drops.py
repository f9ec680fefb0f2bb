# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a forbidden packet or frame ends: dropped, and told before under its network's name where that is asked for. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import quoted

#: netlink group of C(log): read it with ulogd or C(tcpdump -i nflog:64).
LOG_GROUP = 64


def log_chain(network):
    """Return the name of the chain that logs what this network loses; network names hold more than nft's names may."""
    return "log_" + names.bridge_name(network.name)[2:]


def add(table, links, leaving=False):
    """Add the chain of all drops; return the statement that ends a forbidden packet.

    :param links: {link: Network} as the table's packets come in by them; only networks with C(log_drops) count.
    :param leaving: whether the table's packets have a link that they leave by, too.
    """
    logged = {link: one for link, one in links.items() if one.policy.log_drops}
    for one in {one.name: one for one in logged.values()}.values():
        table.add_chain(
            log_chain(one), [f'limit rate 20/second burst 50 packets log prefix "virtnet {one.name}: " group {LOG_GROUP}'],
            about=f"Drops of {one.name}: tcpdump -i nflog:{LOG_GROUP}",
        )
    if not table.add_map(
        "logged", "ifname : verdict", {f"{quoted(link)} : jump {log_chain(one)}": one.name for link, one in logged.items()}
    ):
        return "drop"
    ways = ["iifname", "oifname"] if leaving else ["iifname"]
    table.add_chain("refuse", [*(f"{way} vmap @logged" for way in ways), "drop"])
    return "goto refuse"
