# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A link as it is and as it shall be: plain values, read from what iproute2 says. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Optional

#: What a bridge is set to: our name -> (iproute2's name, what a new one has). Times in seconds; iproute2 counts in hundredths
#: (ip-link(8), linux/if_bridge.h).
BRIDGE_OPTIONS = {
    "stp": ("stp_state", False),
    "forward_delay": ("forward_delay", 15),
    "hello_time": ("hello_time", 2),
    "max_age": ("max_age", 20),
    "priority": ("priority", 32768),
    "ageing": ("ageing_time", 300),
    "multicast_snooping": ("mcast_snooping", True),
    "vlan_default_pvid": ("vlan_default_pvid", 1),
    "vlan_filtering": ("vlan_filtering", False),
}
BRIDGE_TIMES = ("forward_delay", "hello_time", "max_age", "ageing")
#: What a port of a bridge is set to: our name -> iproute2's. The kernel takes a new port's cost from its speed.
PORT_OPTIONS = {"isolated": "isolated", "cost": "cost", "priority": "priority"}

#: The mark of links that we made: their alias (ip-link(8)).
ALIAS = "virtnet.kvm"

#: Routes of these protocols were declared by somebody; the others come and go by themselves (kernel, ra, dhcp, bgp).
_DECLARED = ("static", "boot")
_DEFAULTS = ("0.0.0.0/0", "::/0")


@dataclass
class Link:
    """One link of the host.

    C(form) is its normal form, plain values that can be declared; C(dynamic) and C(dynamic_routes) are iproute2's own
    rows of what came by DHCP or router advertisement; C(ports) all members of a bridge; C(row) is iproute2's row;
    C(link_local) are the kernel's own IPv6 addresses as iproute2 takes them, in no form since they come with the link; C(vlans)
    are those of a port, or of a bridge itself, in the normal form of vlans.py, None where nobody has looked.
    """

    form: dict
    row: dict
    dynamic: list = field(default_factory=list)
    dynamic_routes: list = field(default_factory=list)
    ports: list = field(default_factory=list)
    link_local: list = field(default_factory=list)
    vlans: Optional[dict] = None

    @property
    def name(self):
        return self.form["name"]

    @property
    def kind(self):
        return self.form["type"]

    @property
    def alias(self):
        return self.form["description"]

    @property
    def guest_tap(self):
        """Whether it is the tap of a running guest: it goes when the guest does."""
        return self.kind in ("tap", "tun") and not _data(self.row).get("persist")


def _data(row):
    return row.get("linkinfo", {}).get("info_data", {})


def _kind(row):
    kind = row.get("linkinfo", {}).get("info_kind")
    if kind == "tun":
        return _data(row).get("type", "tun")
    if kind:
        return kind
    return "loopback" if row.get("link_type") == "loopback" else "physical"


def _destination(row):
    to = row.get("dst")
    if to == "default":
        return _DEFAULTS[":" in str(row.get("gateway", "")) or row.get("_family") == 6]
    try:
        return str(ipaddress.ip_network(to))
    except ValueError:
        return None


def route(row):
    """Return a row of C(ip -j route) as {to, via, metric}, or None if it is not a plain unicast route."""
    to = _destination(row)
    if to is None or row.get("type", "unicast") != "unicast" or "nexthops" in row:
        return None
    # The kernel gives IPv6 routes without a metric 1024 (IP6_RT_PRIO_USER of linux/ipv6_route.h).
    metric = row.get("metric")
    return {"to": to, "via": row.get("gateway"), "metric": None if metric == (1024 if ":" in to else 0) else metric}


def route_key(one):
    """Sort routes by IP version, destination, metric, gateway."""
    return (":" in one["to"], one["to"], one["metric"] or 0, one["via"] or "")


def address_key(text):
    return (":" in text, text)


def is_default(to):
    return to in _DEFAULTS


def split_gateways(routes):
    """Return (gateways, other routes, {IP version: metric of its gateway, if it has one}).

    A default route is a gateway if it has no metric of its own, or is the only one of its version: NetworkManager and dhcpcd give
    each link a metric.
    """
    gateways, metrics = [], {}
    for version, to in zip(("4", "6"), _DEFAULTS):
        defaults = [one for one in routes if one["to"] == to and one["via"]]
        found = [one for one in defaults if one["metric"] is None] or (defaults if len(defaults) == 1 else [])
        gateways += found
        if found and found[0]["metric"] is not None:
            metrics[version] = found[0]["metric"]
    others = [one for one in routes if one not in gateways]
    return sorted((one["via"] for one in gateways), key=address_key), sorted(others, key=route_key), metrics


def all_routes(form):
    """Return the routes of a form, gateways included."""
    metrics = form.get("metrics") or {}
    defaults = [
        {"to": _DEFAULTS[":" in via], "via": via, "metric": metrics.get("46"[":" in via])} for via in form.get("gateway") or []
    ]
    return [*(form.get("routes") or []), *defaults]


def default_gateways(form):
    """Return the gateways of all default routes of a form, whatever their metrics (NetworkManager gives each link one)."""
    found = [one["via"] for one in all_routes(form) if is_default(one["to"]) and one["via"]]
    return sorted(set(found), key=address_key)


def lost_routes(form, more=()):
    """Return the routes of a form whose gateway is in no subnet of its addresses, nor of those in C(more)."""
    known = [ipaddress.ip_interface(text).network for text in (*form["addresses"], *more)]
    known += [ipaddress.ip_network(one["to"]) for one in all_routes(form) if one["via"] is None]
    lost = []
    for one in all_routes(form):
        via = one["via"] and ipaddress.ip_address(one["via"])
        if via and not via.is_link_local and not any(via.version == each.version and via in each for each in known):
            lost.append(one)
    return lost


def _form(row, addresses, routes):
    gateways, others, metrics = split_gateways(routes)
    form = {
        "name": row["ifname"],
        "type": _kind(row),
        "state": "up" if "UP" in row.get("flags", ()) else "down",
        "mac": row.get("address") if row.get("link_type") == "ether" else None,
        "mtu": row.get("mtu"),
        "bridge": row.get("master"),
        "description": row.get("ifalias"),
        "addresses": addresses,
        "gateway": gateways,
        "metrics": metrics,
        "routes": others,
    }
    data = _data(row)
    if form["type"] in ("tap", "tun"):
        form.update(
            owner=_text(data.get("user")), group=_text(data.get("group")),
            multi_queue=bool(data.get("multi_queue")), vnet_hdr=bool(data.get("vnet_hdr")),
        )
    elif form["type"] == "vxlan":
        form.update(
            vni=data.get("id"), local=data.get("local") or data.get("local6"), udp_port=data.get("port"),
            learning=_learning(row, data),
        )
    elif form["type"] == "bridge":
        form.update({option: _bridge_option(data, option) for option in BRIDGE_OPTIONS})
    return form


def _learning(row, data):
    """Return whether a VXLAN device learns who is behind which peer; None if the device does and its bridge's port not, or vice
    versa."""
    device, info = bool(data.get("learning")), row.get("linkinfo", {})
    port = info.get("info_slave_data", {}).get("learning", device) if info.get("info_slave_kind") == "bridge" else device
    return device if bool(port) == device else None


def ageing_is_hidden(row):
    """Return whether a bridge shows another ageing time than it was set to: twice its forward delay, while the spanning tree
    has changed (__br_set_topology_change of net/bridge/br_stp.c).
    """
    data = _data(row)
    return bool(data.get("topology_change")) and data.get("ageing_time") == 2 * data.get("forward_delay", 0)


def _bridge_option(data, option):
    key, default = BRIDGE_OPTIONS[option]
    value = data.get(key)
    if value is None:
        return default  # a kernel without it
    if option in BRIDGE_TIMES:
        return value // 100
    return bool(value) if isinstance(default, bool) else value


def port_options(row):
    """Return what a bridge's port is set to, {} for a link that is none."""
    info = row.get("linkinfo", {})
    if info.get("info_slave_kind") != "bridge":
        return {}
    data = info.get("info_slave_data", {})
    return {option: data[key] for option, key in PORT_OPTIONS.items() if key in data}


def filters_vlans(row):
    """Return whether a bridge does; None on a kernel without (CONFIG_BRIDGE_VLAN_FILTERING)."""
    value = _data(row).get("vlan_filtering")
    return None if value is None else bool(value)


def _text(value):
    return None if value is None else str(value)


def _link_local(row):
    # iproute2 before 6.3 does not speak of who gave the address.
    return f"{row['local']}/{row['prefixlen']}" + (f" proto {row['protocol']}" if row.get("protocol") else "")


def links(link_rows, address_rows, route_rows):
    """Return {name: Link} from the rows of C(ip -j -d link), C(ip -j address) and C(ip -j route), both versions."""
    infos = {row["ifname"]: row.get("addr_info", ()) for row in address_rows if "ifname" in row}
    routed = {}
    for row in route_rows:
        if "dev" in row:
            routed.setdefault(row["dev"], []).append(row)
    found = {}
    for row in link_rows:
        name = row["ifname"]
        static, dynamic, local = [], [], []
        up = "UP" in row.get("flags", ())
        for one in infos.get(name, ()):
            if "local" not in one or (one["family"] == "inet6" and one.get("scope") == "link"):
                # The kernel's own link-local addresses come with the link.
                local += [_link_local(one)] if "local" in one and not (one.get("tentative") or one.get("dadfailed")) else []
                continue
            if one.get("dynamic"):
                dynamic.append(one)
            elif up or one["family"] == "inet":  # while the link is down, an IPv6 address is none, there or not
                static.append(f"{one['local']}/{one['prefixlen']}")
        declared = [route(one) for one in routed.get(name, ()) if one.get("protocol", "boot") in _DECLARED]
        moving = [one for one in routed.get(name, ()) if one.get("protocol") in ("dhcp", "ra") and route(one)]
        found[name] = Link(_form(row, static, [one for one in declared if one]), row, dynamic, moving, link_local=local)
    for link in found.values():
        if link.form["bridge"] in found:
            found[link.form["bridge"]].ports.append(link.name)
    return found


def down(form):
    """Return the form of the link when it is down: the kernel forgets its IPv6 addresses and all of its routes."""
    if form["state"] == "up":
        return form
    return {**form, "addresses": [one for one in form["addresses"] if ":" not in one], "gateway": [], "routes": []}
