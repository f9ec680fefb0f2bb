# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has of a packet's path: the ends by name, the links, what forwards, and how it would route."""

from __future__ import annotations

import json

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.explain.static import MACVTAP
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import store
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import agent as guest_agent
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import domain, nics
from ansible_collections.virtnet.kvm.plugins.module_utils.links import iproute2
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import answers

try:
    import libvirt
except ImportError:  # a machine outside has no guests, and deps answers for the others
    libvirt = None

#: virDomainState, from 0.
STATES = ("has no state", "runs", "is blocked", "is paused", "is shutting down", "is shut off", "has crashed", "is suspended")
GLOBAL = (
    "net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.rp_filter",
    "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables",
)  # fmt: skip
EACH = ("net.ipv4.conf.{}.forwarding", "net.ipv4.conf.{}.rp_filter", "net.ipv6.conf.{}.disable_ipv6")
#: Counters of what the kernel drops without a rule, by file and protocol.
COUNTERS = {
    ("/proc/net/netstat", "TcpExt"): ("IPReversePathFilter",),
    ("/proc/net/netstat", "IpExt"): ("InNoRoutes",),
    ("/proc/net/snmp", "Ip"): ("InAddrErrors", "OutNoRoutes", "InHdrErrors"),
}
#: Where a guest may have ip(8).
IP_PROGRAMS = ("/sbin/ip", "/usr/sbin/ip", "/bin/ip", "/usr/bin/ip")


def _link(row):
    info = row.get("linkinfo") or {}
    port = info.get("info_slave_data") or {} if info.get("info_slave_kind") == "bridge" else {}
    bridge = info.get("info_data") or {} if info.get("info_kind") == "bridge" else {}
    return {
        "up": "UP" in row.get("flags", ()),
        "carrier": "LOWER_UP" in row.get("flags", ()),
        "mac": row.get("address"),
        "mtu": row.get("mtu"),
        "kind": info.get("info_kind"),
        "master": row.get("master"),
        "isolated": bool(port.get("isolated")),
        "stp": port.get("state"),
        "vlans": bool(bridge.get("vlan_filtering")),
        "addresses": [
            f"{one['local']}/{one['prefixlen']}" for one in row.get("addr_info") or ()
            if one.get("family") in ("inet", "inet6") and "local" in one
        ],
    }  # fmt: skip


def links(host):
    """Return {name: facts} of the host's links."""
    _rc, out, _err = host.run(["ip", "-j", "-d", "address", "show"], what="listing the links")
    return {row["ifname"]: _link(row) for row in json.loads(out or "[]") if row.get("ifname")}


def sysctls(host, names):
    """Return {key: text} of what decides whether a host forwards; C(names) are links."""
    keys = [*GLOBAL, *(one.format(name.replace(".", "/")) for name in names for one in EACH)]
    found = {key: host.sysctl(key) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def counters():
    """Return {name: number} of packets that the kernel dropped of its own accord."""
    found = {}
    for (path, protocol), names in COUNTERS.items():
        rows = [line.split() for line in (files.read(path) or "").splitlines() if line.startswith(f"{protocol}: ")]
        for heads, values in zip(rows[::2], rows[1::2]):
            found.update({head: int(value) for head, value in zip(heads[1:], values[1:]) if head in names})
    return found


def _nics(xml):
    """Return the NICs of a domain, as its definition has them."""
    known = {one.get("mac"): one for one in (domain.mark_of(domain.load(xml)) or {}).get("nics") or () if isinstance(one, dict)}
    return [
        {
            "mac": one["mac"], "kind": one["type"], "network": one["network"], "tap": one["dev"],
            "bridge": one["link"] if one["type"] != MACVTAP else None, "link": "up" if one["up"] else "down",
            "declared": [text for text in known.get(one["mac"], {}).get("addresses") or () if text != "dhcp"],
        }
        for one in nics.of_domain(xml)
    ]  # fmt: skip


def guest(connection, name):
    """Return the facts of a guest, or None if there is none of that name."""
    try:
        handle = connection.lookupByName(name)
        state, active = handle.state()[0], bool(handle.isActive())
        plugged = _nics(handle.XMLDesc(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise CommandFailed(f"looking it up failed: {error}", subject=name) from error
    found = {"state": STATES[state] if state < len(STATES) else "is odd", "runs": state in (1, 2), "nics": plugged}
    found.update(links=[], agent=None)
    if active and found["runs"]:
        try:
            found["links"] = answers.links(guest_agent.Agent(connection, name).interfaces())
        except VirtnetError as error:
            found["agent"] = error.problem
    return found


def look(host, kind, names, connection):
    """Return the facts of this host.

    :param kind: kvm or outside.
    :param names: of guests that may be here.
    """
    found_links = links(host)
    addressed = [name for name, one in found_links.items() if one["addresses"] or one["kind"] == "bridge"]
    uplinks = []
    for version in ("-4", "-6"):
        rc, out, _err = host.run(["ip", "-j", version, "route", "show", "default"], check=False)
        rows = json.loads(out or "[]") if rc == 0 else []
        uplinks += [row["dev"] for row in rows if row.get("dev") and row["dev"] not in uplinks]
    guests = {name: guest(connection, name) for name in names} if connection is not None else {}
    return {
        "kind": kind,
        "links": found_links,
        "uplinks": uplinks,
        "sysctls": sysctls(host, addressed),
        "guests": {name: one for name, one in guests.items() if one},
        "guest_names": sorted(one.name() for one in connection.listAllDomains()) if connection is not None else [],
        "networks": [entry for _name, entry in sorted(store.load().networks.items())] if kind == "kvm" else [],
    }


def route(host, target, source=None, iif=None):
    """Return {dev, via} of how the host would route a packet, or {error}.

    :param iif: the link by which it came in; without, it is the host's own.
    """
    row, why = iproute2.way_to(host, target, source, iif)
    if row is None:
        return {"error": why}
    # A route that says so is an answer, too: unreachable, blackhole, prohibit.
    if row.get("type") in ("unreachable", "blackhole", "prohibit", "throw"):
        return {"error": f"a route of type {row['type']}"}
    return {"dev": row.get("dev"), "via": row.get("gateway"), "local": row.get("type") == "local"}


def route_in_guest(connection, name, target):
    """Return what ip(8) in the guest says of its way to an address, {dev, via} or {error}; None if nobody can say."""
    agent = guest_agent.Agent(connection, name)
    for program in IP_PROGRAMS:
        try:
            result = agent.run(program, ["route", "get", target], timeout_s=10)
        except guest_agent.AgentSilent:
            return None
        except VirtnetError:
            continue
        words = result.text.split()
        if result.rc != 0 or not words:
            return {"error": answers.last_line(result.err or result.out)}
        pairs = dict(zip(words, words[1:]))
        return {"dev": pairs.get("dev"), "via": pairs.get("via")}
    return None
