# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody else's firewall would have to let through, so that the contract holds behind it too. Pure.

An accept of ours is final for us only. Where others drop, these packets need an accept there, and no others do: what the
contract forbids among them our own table drops before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import contract

FORWARD, INPUT = "forward", "input"
#: What of the packets between two links is meant.
ANY, ANSWERS, FORWARDED, DHCP, DHCP6, DNS, ICMP, ND = "any", "answers", "forwarded", "dhcp", "dhcp6", "dns", "icmp", "nd"
VXLAN = "vxlan"
_HOST = contract.Endpoint("host", "host")


@dataclass(frozen=True)
class Need:
    """Packets of one hook that must pass: from the link C(iif) to the link C(oif), None for any; C(what) of them.

    C(source) is the only address they come from, None for any.
    """

    hook: str
    iif: Optional[str]
    oif: Optional[str]
    what: str = ANY
    source: Any = None


def _speaks(network):
    """Return whether guests open conversations with others than the host and each other."""
    return network.model in ("routed", "nat") or (network.model == "isolated" and bool(network.policy.allow_to))


def needs(networks):
    """Return the Needs of all networks, in their order."""
    found = []
    for one in networks:
        if one.attach == "bridge":
            found += _through(one) + _to_host(one)
    # Peers may be those of several networks.
    peers = {peer: None for one in networks if one.stretch for peer in one.stretch.peers or ()}
    return found + [Need(INPUT, None, None, VXLAN, peer) for peer in peers]


def _through(network):
    guest = contract.Endpoint("guest", "host", network)
    bridge = network.bridge
    if not _speaks(network):
        # Where br_netfilter is loaded, frames inside a bridge pass the hook too.
        return [Need(FORWARD, bridge, bridge)] if contract.verdict(guest, guest).allowed else []
    found = [Need(FORWARD, bridge, None)]
    if network.model == "routed":
        return [*found, Need(FORWARD, None, bridge)]
    found.append(Need(FORWARD, None, bridge, ANSWERS))
    return [*found, Need(FORWARD, None, bridge, FORWARDED)] if network.model == "nat" else found


def _to_host(network):
    """The host's own firewall goes on deciding who reaches the host, but for what a network cannot live without."""
    if network.model == "bridged":
        return []
    bridge = network.bridge
    served = contract.has_services(network)
    found = [Need(INPUT, bridge, None, what) for what in (DHCP, DHCP6, DNS) if served]
    if contract.verdict(contract.Endpoint("guest", "host", network), _HOST, "icmp").allowed:
        return [*found, Need(INPUT, bridge, None, ICMP)]
    return [*found, Need(INPUT, bridge, None, ND)] if served else found
