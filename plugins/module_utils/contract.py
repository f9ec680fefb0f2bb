# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model is a contract: who may open a conversation with whom. Pure.

The firewall is rendered from this and the proof compares with this, so both say the same by construction.
Replies always follow a conversation that was allowed; a port forward is an exception of its own (see forward()).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ansible_collections.virtnet.kvm.plugins.module_utils.models import Network

#: Ports of the host's own services for guests: DNS, DHCP, DHCPv6; see Endpoint 'services' in the documentation.
SERVICES = (("udp", 53), ("tcp", 53), ("udp", 67), ("udp", 547))


@dataclass(frozen=True)
class Endpoint:
    """An end of a conversation.

    C(kind) is guest, host or outside. A guest has its C(network) and the C(host) it runs on. Other hosts of the
    inventory, and guests of bridged networks, are outside for every network but their own.
    """

    kind: str
    host: Optional[str] = None
    network: Optional[Network] = None


@dataclass(frozen=True)
class Verdict:
    """C(allowed), the C(source) address under which it arrives (own, host), and C(why), in the contract's words."""

    allowed: bool
    source: Optional[str]
    why: str


def _no(why):
    return Verdict(False, None, why)


def _yes(why, source="own"):
    return Verdict(True, source, why)


def _matches(access, protocol, port):
    if access.protocol not in ("any", protocol):
        return False
    return not access.ports or (port is not None and any(first <= port <= last for first, last in access.ports))


def has_services(network):
    """Return whether the host serves DHCP or DNS in this network."""
    if network.bridge_owner != "libvirt":
        return False
    if network.model == "isolated":
        return network.serves_dhcp
    return True


def same_network(a, b):
    """Return whether two guests share a segment: one network on one host, a bridged one on one LAN, a stretched one."""
    if a.network is None or b.network is None or a.network.name != b.network.name:
        return False
    return a.host == b.host or a.network.model == "bridged" or stretched_alike(a.network, b.network)


def stretched_alike(a, b):
    """Return whether two hosts' networks of one name are one segment."""
    return a.stretch is not None and b.stretch is not None and a.stretch.vni == b.stretch.vni


def verdict(src, dst, protocol="any", port=None):
    """Return the Verdict on a conversation from one Endpoint to another.

    :param protocol: tcp, udp or icmp; exceptions (host_access, allow_to) look at it.
    :param port: destination port of tcp or udp.
    """
    if src.kind == "guest" and dst.kind == "guest":
        return _guest_to_guest(src, dst, protocol, port)
    if src.kind == "guest" and dst.kind == "host" and src.host == dst.host:
        return _guest_to_host(src.network, protocol, port)
    if src.kind == "guest":
        return _guest_to_outside(src.network)
    if dst.kind == "guest":
        if src.kind == "host" and src.host == dst.host:
            return _host_to_guest(dst.network)
        return _outside_to_guest(dst.network)
    return _yes("neither is a guest")


def forward(src, dst, rule, address=None, link=None, protocol="any", port=None):
    """Return the Verdict on a conversation with the guest C(dst) through a port forward of its host, asked there.

    :param rule: the models.PortForward.
    :param address: the asker's, as that host sees it.
    :param link: by which that host hears the asker; None if the asker is the host itself.
    :param protocol: tcp or udp, and C(port) the guest's; allow_to looks at them.
    """
    near = src.kind != "outside" and src.host == dst.host
    source = "own"
    if src.kind == "guest":
        out = _guest_to_outside(src.network)
        if not out.allowed:
            return out
        if near and src.network.model == "bridged" and src.network.attach == "macvtap":
            return _no("macvtap: guest and its host cannot talk")
        if near and src.network.model != "bridged" and same_network(src, dst):
            source = "host"  # else the answer would go straight to the asker, who asked somebody else
        elif not (near and _allowed_to(src, dst, protocol, port)):
            source = out.source
    if near and not rule.hairpin and (src.kind == "host" or src.network.model != "bridged"):
        return _no("hairpin: false")
    if rule.listen_interface not in (None, link):
        return _no(f"it listens on {rule.listen_interface} only")
    if rule.sources and (address is None or not any(address in subnet for subnet in rule.sources)):
        return _no("not one of its sources")
    return _yes("port forward", source)


def forward_targets(network, rule):
    """Return the addresses that a port forward leads to: the given one, or those reserved for a guest of that name."""
    if rule.to_address is not None:
        return (rule.to_address,)
    reservations = (network.dhcp.reservations if network.dhcp else None) or ()
    return tuple(one.address for one in reservations if one.name == rule.to_guest)


def _guest_to_host(network, protocol, port):
    if network.attach == "macvtap" and network.model == "bridged":
        return _no("macvtap: guest and its host cannot talk")
    if network.model == "bridged":
        return _yes("bridged: on the LAN")
    if network.model == "isolated" or network.policy.deny_host:
        if has_services(network) and (protocol, port) in SERVICES:
            return _yes("services of the host")
        if any(_matches(one, protocol, port) for one in network.policy.host_access):
            return _yes("host_access")
        return _no("isolated" if network.model == "isolated" else "deny_host")
    return _yes(network.model)


def resolves(network, name):
    """Return the Verdict on whether a network's DNS server answers with an address for a name that is outside of it.

    libvirt's server asks nobody else for an isolated network, unless forwarders are declared: names would be a way out.
    """
    dns = network.dns
    asks = dns is not None and (dns.forwarders or dns.forward_zones)
    here = dns is not None and any(name.rstrip(".") in names for _address, names in dns.hosts or ())
    if network.model != "isolated" or asks or here:
        return _yes("services of the host")
    return _no("isolated: nobody outside is asked for names")


def _host_to_guest(network):
    if network.model == "isolated":
        return _no("isolated")
    if network.model == "bridged" and network.attach == "macvtap":
        return _no("macvtap: guest and its host cannot talk")
    return _yes(network.model)


def _guest_to_outside(network):
    if network.model == "isolated":
        return _no("isolated")
    return _yes(network.model, "host" if network.masquerade else "own")


def _outside_to_guest(network):
    if network.model in ("isolated", "nat"):
        return _no(f"{network.model}: closed from outside")
    return _yes("routed: once the outside has a route" if network.model == "routed" else "bridged: on the LAN")


def _guest_to_guest(src, dst, protocol, port):
    if same_network(src, dst):
        # It is the bridge that isolates: on a LAN, guests of two hosts are on two bridges.
        apart = src.network.policy.port_isolation and src.host == dst.host
        return _no("port_isolation") if apart else _yes("same network")
    if src.host == dst.host and _allowed_to(src, dst, protocol, port):
        return _yes("allow_to")
    out = _guest_to_outside(src.network)
    if not out.allowed:
        return out
    if src.host == dst.host and dst.network.attach == "macvtap" and src.network.model != "bridged":
        return _no("macvtap: guest and its host cannot talk")
    into = _outside_to_guest(dst.network)
    return _yes(f"{src.network.model} to {dst.network.model}", out.source) if into.allowed else into


def _allowed_to(src, dst, protocol, port):
    return any(one.network == dst.network.name and _matches(one, protocol, port) for one in src.network.policy.allow_to)
