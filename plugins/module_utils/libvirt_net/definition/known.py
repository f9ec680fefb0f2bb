# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a definition the data model has no words for. Pure but for lxml."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition.names import DNSMASQ

_PORTS = {
    "virtualport": {"type"},
    "virtualport/parameters": {"profileid", "interfaceid", "instanceid", "managerid", "typeid", "typeidversion"},
    "vlan": {"trunk"},
    "vlan/tag": {"id", "nativeMode"},
    "bandwidth": {"classID"},
    "bandwidth/inbound": {"average", "peak", "burst"},
    "bandwidth/outbound": {"average", "peak", "burst"},
}
#: Elements that the model has words for, and their attributes. A UUID and a count of connections are no properties.
KNOWN = {
    "": {"connections"},
    "name": set(),
    "uuid": set(),
    "title": set(),
    "description": set(),
    "forward": {"mode", "dev"},
    "forward/interface": {"dev", "connections"},
    "forward/nat": {"ipv6"},
    "bridge": {"name", "stp", "delay", "zone"},
    "mac": {"address"},
    "mtu": {"size"},
    "domain": {"name", "localOnly", "register"},
    "dns": {"enable", "forwardPlainNames"},
    "dns/forwarder": {"addr", "domain", "port"},
    "dns/txt": {"name", "value"},
    "dns/srv": {"service", "protocol", "domain", "target", "port", "priority", "weight"},
    "dns/host": {"ip"},
    "dns/host/hostname": set(),
    "ip": {"address", "netmask", "prefix", "family"},
    "ip/tftp": {"root"},
    "ip/dhcp": set(),
    "ip/dhcp/range": {"start", "end"},
    "ip/dhcp/range/lease": {"expiry", "unit"},
    "ip/dhcp/host": {"mac", "id", "name", "ip"},
    "ip/dhcp/host/lease": {"expiry", "unit"},
    "ip/dhcp/bootp": {"file", "server"},
    "route": {"address", "prefix", "netmask", "family", "gateway"},
    "port": {"isolated"},
    "portgroup": {"name", "default", "trustGuestRxFilters"},
    **_PORTS,
    **{f"portgroup/{path}": attributes for path, attributes in _PORTS.items()},
}


def leftover(tree):
    """Return what is left over, as sorted paths: C(ip/@localPtr), C(forward/nat/port).

    Other programs' metadata is none of a network's properties.
    """
    found = set()
    _look(tree, "", found)
    if len(tree.findall("forward/interface")) > 1:
        found.add("forward/interface")
    return sorted(found)


def _look(node, path, found):
    found.update(f"{path}/@{key}".lstrip("/") for key in node.attrib if key not in KNOWN[path])
    for child in node:
        if not isinstance(child.tag, str) or child.tag == "metadata" or child.tag.startswith(f"{{{DNSMASQ}}}"):
            continue  # a comment, metadata, dnsmasq's options
        below = f"{path}/{child.tag}".lstrip("/")
        if below in KNOWN:
            _look(child, below, found)
        elif not (below == "forward/nat/port" and (child.get("start"), child.get("end")) == ("1024", "65535")):
            # libvirt writes these ports into a running network by itself.
            found.add(below)
