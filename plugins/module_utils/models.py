# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The four models as typed values, and what can be wrong with them before any host is looked at. Pure.

None means not declared, left alone; an empty tuple, text or dictionary means none (the data model's rule).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import (
    model_checks,
    model_ports,
    model_services,
    model_stretch,
    names,
    values,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.model_services import Dhcp, Dns
from ansible_collections.virtnet.kvm.plugins.module_utils.model_stretch import Stretch

MODELS = ("isolated", "routed", "nat", "bridged")
#: What a rate can be at most, in a second: more than any link of a guest carries.
RATE_MAX = 10_000_000


@dataclass(frozen=True)
class Access:
    """An exception from the contract: to C(network) (None: to the host), a protocol and (first, last) ports."""

    network: Optional[str]
    protocol: str
    ports: tuple


@dataclass(frozen=True)
class Rate:
    """What a guest may send in a second beyond its segment; None is without a limit."""

    packets: Optional[int] = None
    connections: Optional[int] = None


@dataclass(frozen=True)
class Policy:
    allow_to: tuple = ()
    host_access: tuple = ()
    deny_host: bool = False
    anti_spoofing: bool = True
    port_isolation: bool = False
    log_drops: bool = False
    rate: Rate = Rate()


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
    title: Optional[str]
    description: Optional[str]
    mac: Optional[str]
    zone: Optional[str]
    mtu: Optional[int]  # 0 is none
    stp: bool
    delay: Optional[int]
    addresses: Optional[tuple]  # of IPv4Interface, IPv6Interface
    subnets: tuple  # of IPv4Network, IPv6Network: all that the guests use
    dhcp: Optional[Dhcp]
    dns: Optional[Dns]
    masquerade: bool
    nat_ipv6: Optional[bool]
    routes: Optional[tuple]  # of (subnet, gateway)
    stretch: Optional[Stretch]
    policy: Policy
    port_forwards: tuple
    virtualport: Optional[dict]  # these five are in the normal form of a definition
    vlan: Optional[dict]
    bandwidth: Optional[dict]
    portgroups: Optional[list]
    dnsmasq_options: Optional[list]
    declared: dict  # the item as it was given, for the store

    @property
    def wanted(self):
        return self.state != "absent"

    @property
    def gateway_mac(self):
        """The MAC address that a stretched network's gateway has on all of its hosts; None where each host has its own."""
        if self.stretch is None or self.model != "routed":
            return None
        return self.mac or names.gateway_mac(self.name)

    @property
    def serves_dhcp(self):
        """Whether this host serves DHCP: of the hosts of a stretched network one does."""
        return self.dhcp is not None and (self.stretch is None or self.stretch.serves)

    @property
    def host_addresses(self):
        """The addresses that this host has in it: an isolated one's gateway is on the host that serves, a routed one's on all."""
        return () if self.stretch and self.model == "isolated" and not self.stretch.serves else self.addresses

    def gateway(self, version):
        """Return the host's first address of an IP version in this network, or None."""
        for one in self.addresses or ():
            if one.version == version:
                return one.ip
        return None


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
        _rate(item.get("rate"), f"{option}.rate", name),
    )


def _rate(item, option, name):
    limits = {key: number for key, number in (item or {}).items() if number is not None}
    for key, number in limits.items():
        values.number(number, 1, RATE_MAX, f"{key} in a second", f"{option}.{key}", name)
    return Rate(**limits)


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


def _text(value, option, name, lines=False):
    return None if value is None else values.text(value, option, name, lines)


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
        if item.get(key):
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
    if item.get("mtu"):
        values.mtu(item["mtu"], f"{option}.mtu", name)
    if item.get("delay") is not None:
        # The kernel's own bounds, BR_MAX_FORWARD_DELAY; 0 is libvirt's default, which the kernel takes for 2.
        values.number(item["delay"], 0, 30, "the delay", f"{option}.delay", name)
    options = item.get("dnsmasq_options")
    if options is not None:
        options = [
            values.dnsmasq_text(text, f"{option}.dnsmasq_options[{number}]", name) for number, text in enumerate(options)
        ]
    masquerade = item.get("masquerade")
    owner = item.get("bridge_owner") or ("host" if model == "bridged" else "libvirt")
    stretch = model_stretch.parse(item.get("stretch"), f"{option}.stretch", name) if state != "absent" else None
    mac = None if item.get("mac") is None else values.mac(item["mac"], f"{option}.mac", name)
    if mac is None and stretch and model == "routed" and owner == "libvirt":
        mac = names.gateway_mac(name)
    network = Network(
        option=option,
        name=name,
        model=model,
        state=state,
        autostart=item.get("autostart") is not False,
        persistent=item.get("persistent") is not False,
        bridge=bridge,
        bridge_owner=owner,
        firewall=item.get("firewall") or "nftables",
        attach=item.get("attach") or "bridge",
        uplink=item.get("uplink") or None,
        carrier_tap=item.get("carrier_tap") or None,
        title=_text(item.get("title"), f"{option}.title", name),
        description=_text(item.get("description"), f"{option}.description", name, lines=True),
        mac=mac,
        zone=values.zone(item["zone"], f"{option}.zone", name) if item.get("zone") else item.get("zone"),
        mtu=item.get("mtu"),
        stp=bool(item.get("stp")),
        delay=item.get("delay"),
        addresses=addresses,
        subnets=tuple(subnets),
        dhcp=model_services.parse_dhcp(item.get("dhcp"), f"{option}.dhcp", name),
        dns=model_services.parse_dns(item.get("dns"), f"{option}.dns", name),
        masquerade=(model == "nat") if masquerade is None else bool(masquerade),
        nat_ipv6=item.get("nat_ipv6"),
        routes=routes,
        stretch=stretch,
        policy=_policy(item.get("policy"), f"{option}.policy", name),
        port_forwards=tuple(
            parse_port_forward(one, f"{option}.port_forwards[{number}]", name)
            for number, one in enumerate(item.get("port_forwards") or ())
        ),
        virtualport=model_ports.parse_virtualport(item.get("virtualport"), f"{option}.virtualport", name),
        vlan=model_ports.parse_vlan(item.get("vlan"), f"{option}.vlan", name),
        bandwidth=model_ports.parse_bandwidth(item.get("bandwidth"), f"{option}.bandwidth", name),
        portgroups=model_ports.parse_portgroups(item.get("portgroups"), f"{option}.portgroups", name),
        dnsmasq_options=options,
        declared={key: value for key, value in item.items() if value is not None},
    )
    if network.wanted:
        model_checks.check(network)
    return network


def parse_networks(items, option="networks"):
    """Return the Networks of a declaration, checked one by one and against each other."""
    networks = [parse_network(item, f"{option}[{number}]") for number, item in enumerate(items)]
    model_checks.refuse_conflicts(networks)
    return networks


def plain(value):
    """Return an address, interface or subnet as text; everything else as it is."""
    if isinstance(value, (ipaddress.IPv4Interface, ipaddress.IPv6Interface)):
        return value.with_prefixlen
    if isinstance(value, (ipaddress._BaseAddress, ipaddress._BaseNetwork)):
        return str(value)
    return value


def forwarding(networks):
    """Return {ipv4, ipv6: whether the host has to forward that for networks}: for routed and NAT ones."""
    forwarded = [one for one in networks if one.model in ("routed", "nat")]
    return {
        "ipv4": bool(forwarded),
        "ipv6": any(address.version == 6 for one in forwarded for address in one.addresses or ()),
    }
