# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of networks over several hosts: what a host has to know of the others."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import model_stretch, values
from ansible_collections.virtnet.kvm.plugins.module_utils.links import host_links, underlay
from ansible_collections.virtnet.kvm.plugins.plugin_utils import declared
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain
from ansible_collections.virtnet.kvm.plugins.plugin_utils.telling import telling


def _facts(hostvars, host, variable):
    """Return the Facts of a host; of its variables only three are looked at, for each is templated then."""
    if host not in hostvars:
        return underlay.Facts()
    known = hostvars[host]
    found = known.get(variable) or {}
    links = found.get("interfaces")
    address = known.get(underlay.VARIABLE)
    if address is not None:
        address = values.address(str(address), f"hostvars[{host}].{underlay.VARIABLE}", str(host))
    return underlay.Facts(None if links is None else plain(links), address, _literal(known.get("ansible_host") or host))


def _literal(text):
    """Return an address that is written as one; a name may mean any."""
    try:
        return values.ip_address("".join(str(text)))
    except ValueError:
        return None


def stretched_networks(networks, host, play, order, hostvars, variable):
    """Return network items, those that are stretched with what the host has to know of their other hosts."""
    items = declared.networks(networks, "stretched_networks")
    wanted = [item for item in items if model_stretch.is_wanted(item)]
    if not wanted:
        return networks
    play, order = [str(one) for one in play], [str(one) for one in order]
    names = {one for item in wanted for one in item.get("hosts") or play}
    with telling("stretched_networks", "what was found of a host"):
        facts = {name: _facts(hostvars, name, variable) for name in sorted(names)}
        completed = underlay.complete(items, str(host), play, order, facts)
    # As they were given, but for what was added.
    return [
        {**given, **_added(one)} if model_stretch.is_wanted(one) else given for given, one in zip(plain(networks), completed)
    ]


def _added(item):
    found = {"stretch": {key: value for key, value in item["stretch"].items() if value is not None}}
    return found if item["mtu"] is None else {**found, "mtu": item["mtu"]}


def stretch_links(networks):
    """Return the VXLAN devices of network items, as vxlan_iface takes them."""
    with telling("stretch_links"):
        return host_links.vxlans(declared.networks(networks, "stretch_links"))


class FilterModule:
    """The collection's filters about networks over several hosts."""

    def filters(self):
        return {"stretched_networks": stretched_networks, "stretch_links": stretch_links}
