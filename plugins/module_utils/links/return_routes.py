# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back to routed networks: which routes which peer needs, and over which of its links. Pure."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

#: Links that lead to nobody but guests.
_INWARD = ("tap", "tun", "loopback", "macvtap")
_DEFAULTS = ("0.0.0.0/0", "::/0")


def offer(items, host, default_peers, groups, option="route_exchange_networks"):
    """Return {peer: {set: [subnets]}} of what a host has to tell; a set without subnets is to be taken back.

    :param items: the host's networks, in the data model.
    :param default_peers: names of hosts and groups, for networks that name none.
    :param groups: the inventory's groups, {name: [hosts]}.
    """
    sets: dict = {}
    everybody = expand(default_peers, groups, "route_exchange_peers")
    for number, (item, network) in enumerate(zip(items, models.parse_networks(items, option))):
        if item.get("hosts") and host not in item["hosts"]:
            continue
        path = f"{option}[{number}].return_routes"
        wish = item.get("return_routes") or {}
        mode = (wish.get("mode") or "none") if network.wanted else "none"
        check_model(network, mode, path)
        named = expand(wish.get("peers") or (), groups, f"{path}.peers")
        peers = named or everybody
        if mode == "static" and not [one for one in peers if one != host]:
            raise InvalidInput(
                "nobody is named to get the return routes", network.name, f"{path}.peers", "Name hosts or groups."
            )
        # A peer that is named no more gives back what it got, as long as the role still hears of it.
        for peer in {*named, *everybody} - {host}:
            told = [str(one) for one in network.subnets] if mode == "static" and peer in peers else []
            sets.setdefault(peer, {})[f"{host}/{network.name}"] = told
    return {peer: sets[peer] for peer in sorted(sets)}


def check_model(network, mode, path):
    """Refuse to tell of a network that nobody reaches by a route."""
    if mode != "none" and network.model != "routed":
        raise InvalidInput(
            f"return routes to a network of the model {network.model}", network.name, f"{path}.mode",
            "Only routed networks are reached by a route.",
        )


def expand(names, groups, option):
    """Return the hosts of names of hosts and groups, each once."""
    hosts = {one for group in groups.values() for one in group}
    return list(
        dict.fromkeys(
            one for number, name in enumerate(names) for one in hosts_of(name, hosts, groups, f"{option}[{number}]", name)
        )
    )


def hosts_of(name, hosts, groups, option, subject):
    """Return the hosts of one name: a host of the inventory, else a group."""
    if name not in hosts and name not in groups:
        raise InvalidInput(
            f"the inventory has neither a host nor a group {name}", subject, option, "See ansible-inventory --list."
        )
    return [name] if name in hosts else groups[name]


def interfaces(peer, offers, links, peer_links):
    """Return the items of host_iface for a peer.

    :param offers: {host: of offer()}.
    :param links: {host: rows of host_iface_info}, of the same hosts.
    :param peer_links: rows of host_iface_info of the peer.
    """
    found: dict = {}
    for host in sorted(offers):
        for name, subnets in sorted(offers[host].get(peer, {}).items()):
            wanted: dict = {}
            for version, via, link in _ways(links[host], peer_links):
                routes = [{"to": one, "via": via} for one in subnets if ipaddress.ip_network(one).version == version]
                wanted.setdefault(link, []).extend(routes)
            if subnets and not any(wanted.values()):
                raise InvalidInput(
                    f"{host} and {peer} share no subnet over which the way back could lead", name.partition("/")[2], None,
                    "Name a peer on the LAN of the KVM host.",
                )
            for link, routes in wanted.items():
                found.setdefault(link, {})[name] = routes
    return [
        {
            "name": link, "state": "present",
            "route_sets": [{"name": name, "routes": found[link][name]} for name in sorted(found[link])],
        }
        for link in sorted(found)
    ]  # fmt: skip


def _ways(links, peer_links):
    """Return [(IP version, the host's address, the peer's link)]: how a peer gets to a host, one for each IP version."""
    ways = []
    for version in (4, 6):
        for mine in facing(links, version):
            near = (name for name, its in _addresses(peer_links, version) if its.network == mine.network and its != mine)
            link = next(near, None)
            if link is not None:
                ways.append((version, str(mine.ip), link))
                break
    return ways


def shared(links, its_links):
    """Return {IP version: (address of the first machine, of the second)}: those with which the two speak to each other.

    It is the first machine's view that counts: whoever asks for a pair names its machines in one and the same order.
    """
    found = {}
    for version in (4, 6):
        for mine in facing(links, version):
            near = (its for its in facing(its_links, version) if its.network == mine.network and its != mine)
            other = next(near, None)
            if other is not None:
                found[version] = (str(mine.ip), str(other.ip))
                break
    return found


def towards(links, address):
    """Return a machine's own address in the subnet of another address, or None."""
    other = ipaddress.ip_address(address)
    return next((str(mine.ip) for mine in facing(links, other.version) if other in mine.network), None)


def outward(links):
    """Return the IPv4 address by which others know a machine, or None."""
    return next((str(mine.ip) for mine in facing(links, 4)), None)


def facing(links, version):
    """Return a host's addresses as others know it: first on the link of its default route, first those that stay."""
    leading = {row["name"] for row in links if any(one["to"] in _DEFAULTS for one in row["routes"])}
    dynamic = {one["address"]: one["dynamic"] for row in links for one in row["addresses"]}
    found = _addresses(links, version)
    found.sort(key=lambda pair: (pair[0] not in leading, dynamic.get(pair[1].with_prefixlen, False)))
    return [address for _name, address in found]


def _addresses(links, version):
    """Return [(link, address)] of links that lead out of a machine: not of bridges that hold guests only."""
    # A VXLAN device of ours leads to guests of other hosts.
    kinds = {row["name"]: "tap" if row["type"] == "vxlan" and row.get("owned") else row["type"] for row in links}
    found = []
    for row in links:
        inner = row["type"] == "bridge" and all(kinds.get(one) in _INWARD for one in row["ports"])
        if row["type"] in _INWARD or row["manager"] == "libvirt" or inner:
            continue
        for one in row["addresses"]:
            address = ipaddress.ip_interface(one["address"])
            if address.version == version and one["scope"] == "global":
                found.append((row["name"], address))
    return found
