# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of the role route_exchange: who needs which route, and over which link."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.links import return_routes as pure
from ansible_collections.virtnet.kvm.plugins.plugin_utils.declared import networks as declared
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain
from ansible_collections.virtnet.kvm.plugins.plugin_utils.telling import telling


def return_offer(networks, host, peers=(), groups=None):
    """Return what each peer is to be told of a host's networks: {peer: {set: [subnets]}}."""
    peers = [peers] if isinstance(peers, str) else list(peers)
    with telling("return_offer"):
        return pure.offer(declared(networks, "return_offer"), str(host), plain(peers), plain(groups or {}))


def return_routes(offers, peer, links, peer_links):
    """Return the items of host_iface with which a peer finds the way back to the networks of all hosts in C(offers)."""
    with telling("return_routes", f"what was found of {peer} or a host"):
        return pure.interfaces(str(peer), plain(offers), plain(links), plain(peer_links))


class FilterModule:
    """The collection's filters about return routes."""

    def filters(self):
        return {"return_offer": return_offer, "return_routes": return_routes}
