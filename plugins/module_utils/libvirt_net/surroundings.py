# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a network may not collide with on its host: other networks, links, addresses and routes. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import model_checks
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict, InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.values import ip_interface


def check(network, others, links, routes):
    """Raise if C(network) cannot live on this host; return warnings.

    :param others: {name: normal form} of the host's networks that are not declared in this call.
    :param links: {link: [interface, ...]}, of links/iproute2.addresses(), without the bridges that networks of this call have
        now: a network does not collide with itself.
    :param routes: [Route, ...], of links/iproute2.routes(), without those on such bridges.
    """
    warnings = []
    if network.attach == "bridge":
        for name, other in others.items():
            if other["bridge"] == network.bridge and network.bridge_owner == "libvirt":
                raise Conflict(
                    f"the bridge {network.bridge} is that of the libvirt network {name}",
                    network.name,
                    f"{network.option}.bridge",
                    "Choose another name.",
                )
        if network.bridge_owner == "libvirt" and network.bridge in links:
            raise Conflict(
                f"the link {network.bridge} is there already and is not a bridge of this network",
                network.name,
                f"{network.option}.bridge",
                "Choose another name, or remove the link.",
            )
    for subnet in network.subnets:
        for name, other in others.items():
            for text in other["addresses"]:
                taken = ip_interface(text).network
                if taken.version == subnet.version and taken.overlaps(subnet):
                    raise InvalidInput(
                        f"its subnet {subnet} overlaps {taken} of the libvirt network {name} on this host",
                        network.name,
                        f"{network.option}.addresses",
                        "Choose another subnet.",
                    )
        if network.model == "bridged":
            continue  # the LAN's, where the host has its own address and routes
        for link, interfaces in links.items():
            if link == network.bridge:
                continue
            for one in interfaces:
                if one.version == subnet.version and not one.network.is_link_local and one.network.overlaps(subnet):
                    raise InvalidInput(
                        f"its subnet {subnet} overlaps {one.with_prefixlen} of the host's link {link}",
                        network.name,
                        f"{network.option}.addresses",
                        "Choose another subnet.",
                    )
        for route in routes:
            if route.link == network.bridge or route.to.version != subnet.version or not route.to.overlaps(subnet):
                continue
            where = f"the host's route to {route.to} {'via ' + route.via if route.via else ''} on {route.link}".replace("  ", " ")
            if not model_checks.in_the_way(subnet, route.to, route.via):
                warnings.append(f"{network.name}: its subnet {subnet} hides a part of {where}.")
                continue
            raise InvalidInput(
                f"its subnet {subnet} overlaps {where}", network.name, f"{network.option}.addresses", "Choose another subnet."
            )
    return warnings
