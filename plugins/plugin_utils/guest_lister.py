# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a KVM host, read from standard input by its own Python: prints what the inventory plugin needs, as one line of JSON.

    python3 - URI SECONDS SOURCE,...

It imports nothing of the collection, for it comes without it. It judges nothing either: what it prints is read, and
doubted, by guest_reply.py on the controller.
"""

from __future__ import annotations

import concurrent.futures
import json
import signal
import subprocess
import sys
from xml.etree import ElementTree

try:
    import libvirt
    import libvirt_qemu
except ImportError:
    libvirt = libvirt_qemu = None

#: What the line begins with; logins and sudo print what they like before it.
MARK = "virtnet.kvm "
NAMESPACE = "{urn:virtnet:kvm:1}"
#: What a guest's agent may take to answer, in seconds, and say, in characters.
AGENT_S = 5
AGENT_MAX = 1 << 20


def load(text):
    return ElementTree.fromstring(text)  # noqa: S314  # libvirt's own text, on its own host


def network(handle):
    """Return what a network of libvirt's is: who it belongs to, its bridge, subnets, reservations and leases."""
    tree = load(handle.XMLDesc(0))
    mark, forward, bridge = tree.find(f"metadata/{NAMESPACE}network"), tree.find("forward"), tree.find("bridge")
    leases = []
    if handle.isActive():
        try:
            leases = [[one.get("mac"), one.get("ipaddr")] for one in handle.DHCPLeases()]
        except libvirt.libvirtError:
            leases = []  # not every kind of network has a DHCP server
    return {
        "model": None if mark is None else mark.get("model"),
        "mode": None if forward is None else forward.get("mode", "nat"),
        "bridge": None if bridge is None else bridge.get("name"),
        "subnets": [[one.get("address"), one.get("prefix") or one.get("netmask")] for one in tree.iterfind("ip")],
        "reservations": [[one.get("mac"), one.get("ip")] for one in tree.iterfind("ip/dhcp/host")],
        "leases": leases,
    }


def nic(node):
    """Return what a NIC of a guest is plugged into."""
    source, target, mac = (node.find(name) for name in ("source", "target", "mac"))
    source = {} if source is None else source
    return {
        "mac": None if mac is None else mac.get("address"),
        "network": source.get("network"),
        "bridge": source.get("bridge"),
        "dev": None if target is None else target.get("dev"),
    }


def agent(domain):
    """Return the text with which a guest's agent tells of its links, or None."""
    try:
        text = libvirt_qemu.qemuAgentCommand(domain, json.dumps({"execute": "guest-network-get-interfaces"}), AGENT_S, 0)
    except libvirt.libvirtError:
        return None
    return text if len(text) <= AGENT_MAX else None


def neighbours(domain):
    """Return the addresses that the host's kernel has for a guest's NICs."""
    try:
        found = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
    except libvirt.libvirtError:
        return []
    return [[link["hwaddr"], one["addr"]] for link in found.values() for one in link["addrs"] or ()]


def guest(domain, sources):
    tree = load(domain.XMLDesc(0))
    active = bool(domain.isActive())
    return {
        "name": domain.name(),
        "uuid": domain.UUIDString(),
        "active": active,
        "owned": tree.find(f"metadata/{NAMESPACE}guest") is not None,
        "nics": [nic(node) for node in tree.iterfind("devices/interface")],
        "agent": agent(domain) if active and "agent" in sources else None,
        "neighbours": neighbours(domain) if active and "neighbours" in sources else [],
    }


def own_addresses():
    """Return {link: [address/prefix]} of this host."""
    told = subprocess.run(["ip", "-j", "address"], check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    return {
        link["ifname"]: [f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", ()) if "local" in one]
        for link in json.loads(told.stdout)
        if "ifname" in link
    }


def look(uri, sources):
    libvirt.registerErrorHandler(lambda context, error: None, None)
    connection = libvirt.open(uri)
    domains = connection.listAllDomains()
    with concurrent.futures.ThreadPoolExecutor(max_workers=32) as pool:
        guests = list(pool.map(lambda domain: guest(domain, sources), domains))
    return {
        "addresses": own_addresses(),
        "networks": {one.name(): network(one) for one in connection.listAllNetworks()},
        "guests": guests,
    }


def main(uri, seconds, sources):
    # What hangs in libvirt's code can only be ended from outside: the signal's default does.
    signal.alarm(int(seconds))
    if libvirt is None:
        return {"error": f"{sys.executable} cannot import libvirt: install python3-libvirt, or run the role virtnet.kvm.kvm_host"}
    try:
        return look(uri, sources.split(","))
    except libvirt.libvirtError as error:
        return {"error": f"libvirt at {uri}: {error}"}
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    print(MARK + json.dumps(main(*sys.argv[1:])))
