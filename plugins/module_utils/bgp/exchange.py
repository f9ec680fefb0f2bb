# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who speaks BGP with whom, so that the guests of all KVM hosts of a play find each other: what each gets from frr_bgp. Pure.

It is about routes to guests, and about who is in a network that is stretched with control evpn. All KVM hosts with such networks
speak with each other, and each with the peers that its networks name: a full mesh, internal where the AS numbers are the same.
Nobody passes routes on that he has heard, so nobody needs to. (Of segments an external neighbour may; the AS path ends it.)
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import speaker
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.links import return_routes

#: The set of what a user allows beside the networks of the play.
ALLOWED = "allowed"


def offer(items, host, default_peers, groups, own, option="route_exchange_networks"):
    """Return what a KVM host has to tell by BGP.

    C(speaks) says whether it has such networks; C(announce) is {set: [subnets]} and C(vnis) {set: [VXLAN network identifiers]},
    without any where a network is to be taken back; C(peers) are machines to tell beside the other KVM hosts, C(heard) those that
    may have been told before.

    :param own: of this host, C(asn), C(neighbors), C(accept).
    """
    found: dict = {"speaks": False, "announce": {}, "vnis": {}, "peers": [], "heard": [], **own}
    everybody = return_routes.expand(default_peers, groups, "route_exchange_peers")
    heard = [*everybody]
    for number, (item, network) in enumerate(zip(items, models.parse_networks(items, option))):
        if item.get("hosts") and host not in item["hosts"]:
            continue
        path = f"{option}[{number}].return_routes"
        wish = item.get("return_routes") or {}
        wanted = network.wanted and wish.get("mode") == "bgp"
        named = return_routes.expand(wish.get("peers") or (), groups, f"{path}.peers")
        heard += named
        prefixes = [str(one) for one in network.subnets] if wanted else []
        if wanted:
            return_routes.check_model(network, "bgp", path)
            if not prefixes:
                raise InvalidInput(
                    "there is no subnet to announce", network.name, f"{path}.mode", "Give the network addresses or subnets."
                )
            found["speaks"] = True
            found["peers"] += [one for one in named or everybody if one != host and one not in found["peers"]]
        # What cannot have been announced need not be taken back.
        if wanted or network.model in (None, "routed"):
            found["announce"][f"{host}/{network.name}"] = prefixes
        told = segments(host, network)
        found["vnis"].update(told)
        found["speaks"] = found["speaks"] or any(told.values())
    found["heard"] = sorted(set(heard) - {host})
    return found


def segments(host, network):
    """Return {set: [VXLAN network identifier]} of a network; without one if EVPN is not, or no more, to tell of it."""
    if network.model not in (None, "isolated", "routed"):
        return {}
    evpn = network.wanted and network.stretch is not None and network.stretch.control == "evpn"
    return {f"{host}/{network.name}": [network.stretch.vni] if evpn else []}


def untold(items, host, option="networks"):
    """Return what frr_bgp takes as C(vnis) so that FRR tells of none of these networks that are not to be told of."""
    told = {name: vnis for one in models.parse_networks(items, option) for name, vnis in segments(host, one).items()}
    return [{"name": name, "vnis": []} for name, vnis in told.items() if not vnis]


def part(me, offers, links, asns):
    """Return the arguments of frr_bgp for one machine.

    :param offers: {host: of offer()}, of all KVM hosts that take part.
    :param links: {machine: rows of host_iface_info}, of the hosts and of those peers that are reached.
    :param asns: {machine: AS number} of peers, which tell nothing themselves.
    """
    mine = offers.get(me)
    speaking = [host for host in sorted(offers) if offers[host]["speaks"]]
    naming = [host for host in speaking if me in offers[host]["peers"]]
    speaks = me in speaking
    if mine is not None and not speaks and not naming:
        return {"state": "absent", **{key: [{"name": name} for name in sorted(mine[key])] for key in ("announce", "vnis")}}
    # A peer that this very run has lost was not looked at: what was said of it before stays.
    others = set(naming) | ({*speaking, *(one for one in mine["peers"] if one in links)} - {me} if speaks else set())
    sets = {name: told for host in sorted(offers) if host != me for name, told in offers[host]["announce"].items()}
    return {
        "state": "present",
        "asn": mine["asn"] if mine else asns[me],
        "router_id": return_routes.outward(links[me]) if others or speaks else None,
        "neighbors": _neighbors(me, others, offers, links, asns) + _foreign(me, mine, links) + [
            {"name": host} for host in sorted(offers) if host not in others and host != me
        ],
        "announce": [{"name": name, "prefixes": told} for name, told in sorted((mine or {"announce": {}})["announce"].items())],
        "accept": [
            {"name": name, "prefixes": told if name.partition("/")[0] in others else []} for name, told in sorted(sets.items())
        ] + ([{"name": ALLOWED, "prefixes": mine["accept"]}] if mine else []),
        "vnis": [{"name": name, "vnis": told} for name, told in sorted((mine or {"vnis": {}})["vnis"].items())],
    }  # fmt: skip


def _neighbors(me, others, offers, links, asns):
    found = []
    for other in sorted(others):
        first, second = sorted((me, other))
        pairs = return_routes.shared(links[first], links[second])
        if not pairs:
            raise InvalidInput(
                f"{me} and {other} share no subnet over which they could speak BGP", None, "return_routes.peers",
                "Name a peer on the LAN of the KVM host; a router elsewhere belongs into route_exchange_neighbors.",
            )  # fmt: skip
        both = _vnis(offers, me) & _vnis(offers, other)
        if both and 4 not in pairs:
            raise InvalidInput(
                f"{me} and {other} share no IPv4 subnet over which they could tell of VXLAN segments ({min(both)})", None,
                "stretch.control", "Give them addresses of one, or use static.",
            )  # fmt: skip
        here, there = (0, 1) if me == first else (1, 0)
        found.append(
            {
                "name": other, "asn": offers[other]["asn"] if other in offers else asns[other],
                "addresses": [pair[there] for pair in pairs.values()], "sources": [pair[here] for pair in pairs.values()],
                # From the start, though there may be nothing to tell yet: only a new session can carry more than the one before.
                # Of one that takes no part in this run (--limit) nobody knows here whether it is a KVM host.
                "evpn": 4 in pairs if me in offers and other in offers else None,
            }
        )  # fmt: skip
    return found


def _vnis(offers, host):
    """Return the identifiers of a host's segments; a machine that offers nothing has none."""
    return {one for each in offers.get(host, {"vnis": {}})["vnis"].values() for one in each}


def _foreign(me, mine, links):
    """Return the routers that a host's user names; the host's address is the one in their subnet, if it has one there."""
    found = []
    for item in mine["neighbors"] if mine and mine["speaks"] else ():
        near = [return_routes.towards(links[me], address) for address in item.get("addresses") or ()]
        found.append({"sources": sorted({one for one in near if one}, key=speaker.version), **item})
    return found
