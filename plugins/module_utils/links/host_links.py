# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What links a host must have for its networks: the data model's items as tap_iface and host_bridge take them. Pure.

Networks on bridges of libvirt's own, and macvtap, need none.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import model_checks, models, names


def host_links(items, option="networks"):
    """Return {taps: [...], bridges: [...]} of network items; raise InvalidInput at the first that cannot be meant."""
    taps, bridges = [], []
    for network in models.parse_networks(items, option):
        if network.bridge_owner != "host" or network.attach != "bridge":
            continue
        if network.model == "bridged" and network.uplink is None:
            continue  # a bridge that somebody else has made
        if network.carrier_tap is not None:
            taps.append(_tap(network))
        bridges.append(_bridge(network) if network.wanted else _gone(network.bridge))
    return {"taps": taps, "bridges": bridges}


def needed_links(items, option="networks"):
    """Return {bridges: [names], uplinks: [names]} that must be there already: bridges of bridged networks that others make, and
    the links on which macvtaps are to be."""
    wanted = [one for one in models.parse_networks(items, option) if one.wanted and one.model == "bridged"]
    return {
        "bridges": [one.bridge for one in wanted if one.attach == "bridge" and one.uplink is None],
        "uplinks": [one.uplink for one in wanted if one.attach == "macvtap" and one.uplink is not None],
    }


def vxlans(items, option="networks"):
    """Return the items of vxlan_iface for isolated and routed networks: for one that is not stretched, that there is none."""
    found = []
    for network in models.parse_networks(items, option):
        if network.model not in ("isolated", "routed"):
            continue
        name, stretch = names.vxlan_name(network.name), network.stretch
        if not network.wanted or stretch is None:
            found.append(_gone(name))
            continue
        model_checks.require_underlay(network)
        vxlan = {
            "name": name, "state": "present", "vni": stretch.vni, "local": str(stretch.local),
            "peers": [str(one) for one in stretch.peers], "learning": True, "bridge": network.bridge,
        }  # fmt: skip
        if stretch.control == "evpn":
            # FRR tells the kernel who is there, and who is behind whom.
            vxlan.update(peers=[], learning=False)
        found.append({**vxlan, "mtu": network.mtu} if network.mtu else vxlan)
    return found


def _gone(name):
    return {"name": name, "state": "absent"}


def _tap(network):
    if not network.wanted:
        return _gone(network.carrier_tap)
    tap = {"name": network.carrier_tap, "state": "up"}
    if network.mtu is not None:
        tap["mtu"] = network.mtu
    return tap


def _bridge(network):
    """Return the item of host_bridge; what the network does not declare is not declared of its bridge either."""
    ports = [one for one in (network.uplink if network.model == "bridged" else None, network.carrier_tap) if one is not None]
    bridge = {"name": network.bridge, "state": "up", "ports": ports, "stp": network.stp}
    if network.model == "bridged":
        bridge["take_over"] = True
    if network.addresses is not None and network.model != "bridged":
        bridge["addresses"] = [one.with_prefixlen for one in network.host_addresses]
    if network.gateway_mac is not None:
        bridge["mac"] = network.gateway_mac
    if network.routes is not None:
        bridge["routes"] = [{"to": str(to), "via": str(via)} for to, via in network.routes]
    if network.mtu is not None:
        bridge["mtu"] = network.mtu
    return bridge
