# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of the role route_exchange where routes are exchanged by BGP: who speaks with whom."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import exchange, speaker
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.plugin_utils.declared import networks as declared
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain
from ansible_collections.virtnet.kvm.plugins.plugin_utils.telling import telling


def bgp_offer(networks, host, asn, peers=(), groups=None, neighbors=(), accept=()):
    """Return what a KVM host has to tell by BGP, and whom beside the other KVM hosts."""
    peers = [peers] if isinstance(peers, str) else list(peers)
    with telling("bgp_offer"):
        own = {"asn": _asn(asn), "neighbors": plain(neighbors), "accept": plain(accept)}
        return exchange.offer(declared(networks, "bgp_offer"), str(host), plain(peers), plain(groups or {}), own)


def _asn(text):
    """Return an AS number; on the command line it is a text."""
    try:
        return speaker.asn(int(text), "route_exchange_asn")
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{text!r} is no number", None, "route_exchange_asn", "Give an AS number such as 64512.") from error


def bgp_part(offers, machine, links, asns=None):
    """Return the arguments of frr_bgp for one machine."""
    numbers = {str(name): int(asn) for name, asn in (asns or {}).items()}
    with telling("bgp_part", f"what was found of {machine} or a host"):
        return exchange.part(str(machine), plain(offers), plain(links), numbers)


def untold_segments(networks, host):
    """Return the segments, as frr_bgp takes them, of network items that FRR is not to tell of."""
    with telling("untold_segments"):
        return exchange.untold(declared(networks, "untold_segments"), str(host))


class FilterModule:
    """The collection's filters about BGP."""

    def filters(self):
        return {"bgp_offer": bgp_offer, "bgp_part": bgp_part, "untold_segments": untold_segments}
