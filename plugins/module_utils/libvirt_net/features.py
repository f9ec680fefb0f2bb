# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which properties of a network need which libvirt. Pure.

The versions are those of libvirt's own documentation and release notes.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition.network import forward_mode


def _vlan_on_linux_bridge(network):
    """Port groups may have a virtual port of their own, and a macvtap or Open vSwitch network had VLANs long before."""

    def plain(one):
        return bool(one["vlan"]) and (one["virtualport"] or {}).get("type") != "openvswitch"

    if network.attach == "macvtap" or (network.virtualport or {}).get("type") == "openvswitch":
        return False
    return bool(network.vlan) or any(plain(one) for one in network.portgroups or ())


def _forwarder_port(network):
    dns = network.dns
    return dns is not None and (
        any("#" in one for one in dns.forwarders or ()) or any(row["port"] for row in dns.forward_zones or ())
    )


def _zone(network):
    return bool(network.zone) and forward_mode(network) != "open"


def _zone_of_open(network):
    return bool(network.zone) and forward_mode(network) == "open"


def _nat_ipv6(network):
    wanted = network.nat_ipv6
    if wanted is None:
        wanted = any(one.version == 6 for one in network.addresses or ())
    return forward_mode(network) == "nat" and wanted


#: What, its option, the first libvirt that has it, and whether a network asks for it.
FEATURES = (
    ("a title", "title", (9, 7), lambda network: bool(network.title)),
    ("a description", "description", (9, 7), lambda network: bool(network.description)),
    ("VLANs on a standard Linux bridge", "vlan", (11, 0), _vlan_on_linux_bridge),
    ("a DNS server's port", "dns.forwarders", (12, 0), _forwarder_port),
    ("registering the domain", "dns.register", (10, 1), lambda network: network.dns is not None and bool(network.dns.register)),
    ("a firewalld zone", "zone", (5, 1), _zone),
    ("a firewalld zone of an open network", "zone", (10, 8), _zone_of_open),
    ("dnsmasq options", "dnsmasq_options", (5, 6), lambda network: bool(network.dnsmasq_options)),
    ("port isolation", "policy.port_isolation", (6, 1), lambda network: network.policy.port_isolation),
    ("a lease time", "dhcp.lease_time", (6, 3), lambda network: network.dhcp is not None and bool(network.dhcp.lease_time)),
    ("translation of IPv6", "addresses", (6, 5), _nat_ipv6),
)


def check(network, version):
    """Raise Unsupported if a network asks for what a libvirt of that version (major, minor) does not have."""
    for what, option, first, asked in FEATURES:
        if version[:2] < first and asked(network):
            raise Unsupported(
                f"{what} needs libvirt {first[0]}.{first[1]}; this host has {'.'.join(str(part) for part in version)}",
                network.name,
                f"{network.option}.{option}",
                "Leave it out, or update libvirt.",
            )
