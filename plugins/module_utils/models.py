# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The four models as typed values, and what can be wrong with them before any host is looked at. Pure.

None means not declared, left alone; an empty tuple means none (the data model's rule).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import model_checks, names, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

MODELS = ("isolated", "routed", "nat", "bridged")


@dataclass(frozen=True)
class Range:
    start: Any
    end: Any


@dataclass(frozen=True)
class Reservation:
    name: Optional[str]
    mac: Optional[str]
    address: Any


@dataclass(frozen=True)
class Dhcp:
    ranges: Optional[tuple]
    reservations: Optional[tuple]
    lease_time: Optional[str]


@dataclass(frozen=True)
class Dns:
    enabled: bool = True
    domain: Optional[str] = None
    local_only: bool = False
    forwarders: Optional[tuple] = None
    hosts: Optional[tuple] = None  # of (address, (name, ...))


@dataclass(frozen=True)
class Access:
    """An exception from the contract: to C(network) (None: to the host), a protocol and (first, last) ports."""

    network: Optional[str]
    protocol: str
    ports: tuple


@dataclass(frozen=True)
class Policy:
    allow_to: tuple = ()
    host_access: tuple = ()
    deny_host: bool = False
    anti_spoofing: bool = True
    port_isolation: bool = False
    log_drops: bool = False


@dataclass(frozen=True)
class PortForward:
    name: str
    protocols: tuple  # of 'tcp', 'udp'
    listen_address: Any
    listen_interface: Optional[str]
    listen_ports: tuple  # (first, last)
    to_guest: Optional[str]
    to_address: Any
    to_ports: tuple
    sources: tuple
    hairpin: bool


@dataclass(frozen=True)
class Network:
    """One network of kvm_networks. C(option) is its path in the declaration, for errors."""

    option: str
    name: str
    model: Optional[str]  # None only with state absent
    state: str
    autostart: bool
    persistent: bool
    bridge: str
    bridge_owner: str
    firewall: str
    attach: str
    uplink: Optional[str]
    carrier_tap: Optional[str]
    mtu: Optional[int]
    stp: bool
    addresses: Optional[tuple]  # of IPv4Interface, IPv6Interface
    subnets: tuple  # of IPv4Network, IPv6Network: all that the guests use
    dhcp: Optional[Dhcp]
    dns: Optional[Dns]
    masquerade: bool
    routes: Optional[tuple]  # of (subnet, gateway)
    policy: Policy
    port_forwards: tuple
    declared: dict  # the item as it was given, for the store

    @property
    def wanted(self):
        return self.state != "absent"

    def gateway(self, version):
        """Return the host's first address of an IP version in this network, or None."""
        for one in self.addresses or ():
            if one.version == version:
                return one.ip
        return None


def _dhcp(item, option, name):
    if item is None:
        return None
    ranges = None
    if item.get("ranges") is not None:
        ranges = []
        for number, one in enumerate(item["ranges"]):
            path = f"{option}.ranges[{number}]"
            start = values.address(one["start"], f"{path}.start", name)
            end = values.address(one["end"], f"{path}.end", name)
            if start.version != end.version:
                raise InvalidInput("start and end are of two IP versions", name, path, "Give both in one version.")
            if start > end:
                raise InvalidInput(f"the range runs backwards, {start} to {end}", name, path, "Swap start and end.")
            ranges.append(Range(start, end))
    reservations = None
    if item.get("reservations") is not None:
        reservations = []
        for number, one in enumerate(item["reservations"]):
            path = f"{option}.reservations[{number}]"
            label = one.get("name")
            if label is not None:
                values.domain(label, f"{path}.name", name)
            mac = one.get("mac")
            if mac is not None:
                mac = values.mac(mac, f"{path}.mac", name)
            address = values.address(one["address"], f"{path}.address", name)
            if mac is None and (label is None or address.version == 4):
                raise InvalidInput(
                    f"the reservation of {address} has no MAC",
                    name,
                    f"{path}.mac",
                    "Give mac; IPv6 may be reserved by name alone.",
                )
            reservations.append(Reservation(label, mac, address))
    lease = item.get("lease_time")
    if lease is not None and lease != "infinite" and not re.fullmatch(r"[1-9][0-9]{0,8}[smhd]?", lease, re.ASCII):
        raise InvalidInput(
            f"{lease!r} is not a lease time", name, f"{option}.lease_time", "Write 3600, 90m, 12h, 7d or infinite."
        )
    return Dhcp(None if ranges is None else tuple(ranges), None if reservations is None else tuple(reservations), lease)


def _dns(item, option, name):
    if item is None:
        return None
    if item.get("domain") is not None:
        values.domain(item["domain"], f"{option}.domain", name)
    forwarders = item.get("forwarders")
    if forwarders is not None:
        forwarders = tuple(values.address(one, f"{option}.forwarders[{number}]", name) for number, one in enumerate(forwarders))
    hosts = item.get("hosts")
    if hosts is not None:
        rows = []
        for number, one in enumerate(hosts):
            path = f"{option}.hosts[{number}]"
            address = values.address(one["address"], f"{path}.address", name)
            if not one["names"]:
                raise InvalidInput("a DNS host without a name", name, f"{path}.names", "Give at least one name.")
            rows.append((address, tuple(values.domain(text, f"{path}.names", name) for text in one["names"])))
        hosts = tuple(rows)
    return Dns(item.get("enabled") is not False, item.get("domain"), bool(item.get("local_only")), forwarders, hosts)


def _accesses(items, option, subject):
    rows = []
    for number, one in enumerate(items or ()):
        path = f"{option}[{number}]"
        protocol = one.get("protocol") or "any"
        wanted = one.get("ports")
        if wanted and protocol not in ("tcp", "udp"):
            raise InvalidInput(
                f"ports with protocol {protocol}", subject, f"{path}.ports", "Name tcp or udp, or leave ports out."
            )
        rows.append(
            Access(
                one.get("network"),
                protocol,
                tuple(values.ports(text, f"{path}.ports", subject) for text in wanted or ()),
            )
        )
    return tuple(rows)


def _policy(item, option, name):
    if item is None:
        return Policy()
    return Policy(
        _accesses(item.get("allow_to"), f"{option}.allow_to", name),
        _accesses(item.get("host_access"), f"{option}.host_access", name),
        bool(item.get("deny_host")),
        item.get("anti_spoofing") is not False,
        bool(item.get("port_isolation")),
        bool(item.get("log_drops")),
    )


def parse_port_forward(item, option, name):
    listen, to = item["listen"], item["to"]
    values.name(item["name"], f"{option}.name", name)
    listen_ports = values.ports(listen["ports"], f"{option}.listen.ports", name)
    to_ports = values.ports(to["ports"], f"{option}.to.ports", name) if to.get("ports") else listen_ports
    if to_ports[1] - to_ports[0] not in (0, listen_ports[1] - listen_ports[0]):
        raise InvalidInput(
            "listen and to are ranges of two lengths", name, f"{option}.to.ports", "Give ranges of one length, or one port."
        )
    if (to.get("guest") is None) == (to.get("address") is None):
        raise InvalidInput("a port forward needs one target", name, f"{option}.to", "Give either guest or address.")
    listen_address = listen.get("address")
    if listen_address is not None:
        listen_address = values.address(listen_address, f"{option}.listen.address", name)
    to_address = to.get("address")
    if to_address is not None:
        to_address = values.address(to_address, f"{option}.to.address", name)
    if listen.get("interface") is not None:
        values.link_name(listen["interface"], f"{option}.listen.interface", name)
    protocol = item.get("protocol") or "tcp"
    return PortForward(
        item["name"],
        ("tcp", "udp") if protocol == "both" else (protocol,),
        listen_address,
        listen.get("interface"),
        listen_ports,
        to.get("guest"),
        to_address,
        to_ports,
        tuple(values.subnet(text, f"{option}.sources[{number}]", name) for number, text in enumerate(item.get("sources") or ())),
        item.get("hairpin") is not False,
    )


def parse_network(item, option):
    """Return the Network of one item of kvm_networks; raise InvalidInput with the path of the option."""
    name = values.name(item["name"], f"{option}.name", item["name"])
    state = item.get("state") or "active"
    model = item.get("model")
    if model is None and state != "absent":
        raise InvalidInput("no model is given", name, f"{option}.model", f"Give one of {', '.join(MODELS)}.")
    if model is not None and model not in MODELS:
        raise InvalidInput(f"{model!r} is not a model", name, f"{option}.model", f"Give one of {', '.join(MODELS)}.")
    bridge = item.get("bridge")
    bridge = names.bridge_name(name) if bridge is None else values.link_name(bridge, f"{option}.bridge", name)
    for key in ("uplink", "carrier_tap"):
        if item.get(key) is not None:
            values.link_name(item[key], f"{option}.{key}", name)
    addresses = item.get("addresses")
    if addresses is not None:
        addresses = tuple(values.interface(text, f"{option}.addresses[{number}]", name) for number, text in enumerate(addresses))
    subnets = [one.network for one in addresses or ()] + [
        values.subnet(text, f"{option}.subnets[{number}]", name) for number, text in enumerate(item.get("subnets") or ())
    ]
    routes = item.get("routes")
    if routes is not None:
        routes = tuple(
            (
                values.subnet(one["to"], f"{option}.routes[{number}].to", name),
                values.address(one["via"], f"{option}.routes[{number}].via", name),
            )
            for number, one in enumerate(routes)
        )
    if item.get("mtu") is not None:
        values.mtu(item["mtu"], f"{option}.mtu", name)
    masquerade = item.get("masquerade")
    network = Network(
        option=option,
        name=name,
        model=model,
        state=state,
        autostart=item.get("autostart") is not False,
        persistent=item.get("persistent") is not False,
        bridge=bridge,
        bridge_owner=item.get("bridge_owner") or ("host" if model == "bridged" else "libvirt"),
        firewall=item.get("firewall") or "nftables",
        attach=item.get("attach") or "bridge",
        uplink=item.get("uplink"),
        carrier_tap=item.get("carrier_tap"),
        mtu=item.get("mtu"),
        stp=bool(item.get("stp")),
        addresses=addresses,
        subnets=tuple(subnets),
        dhcp=_dhcp(item.get("dhcp"), f"{option}.dhcp", name),
        dns=_dns(item.get("dns"), f"{option}.dns", name),
        masquerade=(model == "nat") if masquerade is None else bool(masquerade),
        routes=routes,
        policy=_policy(item.get("policy"), f"{option}.policy", name),
        port_forwards=tuple(
            parse_port_forward(one, f"{option}.port_forwards[{number}]", name)
            for number, one in enumerate(item.get("port_forwards") or ())
        ),
        declared={key: value for key, value in item.items() if value is not None},
    )
    if network.wanted:
        model_checks.check(network)
    return network


def parse_networks(items, option="networks"):
    """Return the Networks of a declaration, checked one by one and against each other."""
    networks = [parse_network(item, f"{option}[{number}]") for number, item in enumerate(items)]
    by_name, by_bridge = {}, {}
    for network in networks:
        if network.name in by_name:
            model_checks.refuse(
                network, "name", f"the network is declared twice, as {by_name[network.name].option} too", "Declare it once."
            )
        by_name[network.name] = network
        if not network.wanted:
            continue
        if network.attach == "bridge":
            other = by_bridge.setdefault(network.bridge, network)
            if other is not network:
                model_checks.refuse(
                    network,
                    "bridge",
                    f"the bridge {network.bridge} is also that of {other.name} ({other.option})",
                    "Give each network its own.",
                )
    model_checks.check_overlaps([network for network in networks if network.wanted])
    return networks


def plain(value):
    """Return an address, interface or subnet as text; everything else as it is."""
    if isinstance(value, (ipaddress.IPv4Interface, ipaddress.IPv6Interface)):
        return value.with_prefixlen
    if isinstance(value, (ipaddress._BaseAddress, ipaddress._BaseNetwork)):
        return str(value)
    return value
