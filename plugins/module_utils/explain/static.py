# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stops a packet without a rule: links, bridges, forwarding, routes. Pure.

A problem is (whose it is, its cure); what is looked at and is well has none.
"""

from __future__ import annotations

import ipaddress

KERNEL = "the kernel"
MACVTAP = "direct"


def same_bridge(one, other):
    """Return whether two ends are guests behind one bridge of one host."""
    if one["kind"] != "guest" or other["kind"] != "guest" or one["host"] != other["host"]:
        return False
    if one["nic"] is None or other["nic"] is None:
        return False
    return one["nic"]["bridge"] is not None and one["nic"]["bridge"] == other["nic"]["bridge"]


def segment(facts, nic):
    """Return [(what, what is the matter, problem or None), ...] of a NIC's way to its bridge."""
    tap, bridge, links = nic["tap"], nic["bridge"], facts["links"]
    if nic["kind"] == MACVTAP:
        return [(tap or "macvtap", "macvtap: no bridge, so nftables sees nothing of it here", None)]
    name = tap or "NIC"
    link = links.get(tap)
    if link is None:
        return [(name, "its link is not there", ("libvirt", "Stop and start the guest, or virtnet.kvm.guest_nic."))]
    if not link["up"]:
        return [(name, "it is down", (KERNEL, f"ip link set {tap} up"))]
    if link["master"] != bridge:
        where = f"it is in {link['master']}" if link["master"] else "it is in no bridge"
        cure = f"ip link set {tap} master {bridge}, or the role of its network again (virtnet.kvm.virt_net_model)"
        return [(name, f"{where}, and not in {bridge}", (KERNEL, cure))]
    found = [(name, f"up, in {bridge}{', isolated' if link['isolated'] else ''}", None)]
    base = links.get(bridge)
    if base is None or not base["up"]:
        cure = f"ip link set {bridge} up" if base else "The network is not active: virsh net-start, or state: active"
        return [*found, (bridge, "it is down" if base else "it is not there", (KERNEL, cure))]
    if link["stp"] not in (None, "forwarding"):
        cure = "Spanning tree waits twice the forward delay: stp: false of the network, or patience; bridge link"
        return [*found, (tap, f"the bridge keeps it {link['stp']}", (KERNEL, cure))]
    addresses = [one for one in base["addresses"] if not ipaddress.ip_interface(one).ip.is_link_local]
    filters = "; filters VLANs: bridge vlan" if base["vlans"] else ""
    return [*found, (bridge, f"up{', ' + ', '.join(addresses) if addresses else ''}{filters}", None)]


def isolated(facts, one, other):
    """Return (words, whose, cure) if two NICs of one bridge are both isolated ports of it; else None."""
    if not same_bridge(one, other):
        return None
    ports = [facts["links"].get(end["nic"]["tap"]) or {} for end in (one, other)]
    if not all(port.get("isolated") for port in ports):
        return None
    entries = [entry for entry in facts["networks"] if entry["name"] == other["nic"]["network"]]
    ours = bool(entries and (entries[0].get("policy") or {}).get("port_isolation"))
    cure = (
        f"policy.port_isolation: false of {other['nic']['network']}"
        if ours
        else (f"bridge link set dev {one['nic']['tap']} isolated off")
    )
    return "port isolation: both NICs are isolated ports of the bridge", "virtnet.kvm" if ours else KERNEL, cure


def no_route_words(route):
    out = route.get("out") or {}
    return f"no route to {route.get('target')}: {out.get('error') or 'it did not leave'}"


def _forwarding(facts, iif, version):
    """Return (words, whose, cure) if the host does not forward what comes in by a link; else None."""
    values = facts["sysctls"]
    off = f"net.ipv{version}.conf.all.forwarding"
    cure = "virtnet.kvm.ip_forward (the role of the network), or sysctl -w {}=1"
    if version == 6:
        if values.get(off) == "0":
            return "IPv6 forwarding is off", "the kernel, sysctl", cure.format(off)
        return None
    one = f"net.ipv4.conf.{iif.replace('.', '/')}.forwarding"
    if values.get(one, values.get(off)) != "0":
        return None
    if values.get(off) == "0":
        return "IP forwarding is off on this host", "the kernel, sysctl", cure.format("net.ipv4.ip_forward")
    return f"IP forwarding is off for what comes in by {iif}", "the kernel, sysctl", f"sysctl -w {one}=1"


def no_router(facts, bridge, version):
    """Return (words, whose, cure) if guests give up on their host as a router; else None.

    RFC 4861, 7.2.5: a host that does not forward says so where it answers for its address, and its guests take it off their list.
    """
    found = _forwarding(facts, bridge, version) if version == 6 else None
    return found and (f"{found[0]}, so the guest takes its host for no router", *found[1:])


def _reverse_path(facts, route, version, before, after):
    """Return (words, whose, cure) if the kernel distrusts the source of what comes in by a link; else None."""
    iif, back = route["iif"], route.get("back") or {}
    if version == 6:
        return None
    each = f"net.ipv4.conf.{iif.replace('.', '/')}.rp_filter"
    mode = max(int(facts["sysctls"].get(key) or 0) for key in ("net.ipv4.conf.all.rp_filter", each))
    strict = mode == 1 and (back.get("error") or back.get("dev") != iif)
    loose = mode == 2 and back.get("error")
    if not (strict or loose):
        return None
    count = after.get("IPReversePathFilter", 0) - before.get("IPReversePathFilter", 0)
    counted = f"; the kernel counted {count} such packets" if count > 0 else ""
    way = f"would go by {back['dev']}" if back.get("dev") else "has no route"
    return (
        f"rp_filter: it came in by {iif}, and what goes to {route['source']} {way}{counted}", "the kernel, sysctl rp_filter",
        f"The same way back: ip route get {route['source']}; or sysctl -w net.ipv4.conf.all.rp_filter=2 {each}=2",
    )  # fmt: skip


def routing(facts, route, version, before, after, guess=True):
    """Return (words, whose, cure) of why the host did not route a packet that came in; None if nothing is the matter.

    :param route: {target, source, iif, in, out, back}, of what the host would do.
    :param before: counters of the kernel, and C(after).
    :param guess: whether it is known that something is the matter.
    """
    out = route.get("out") or {}
    if not route or not route.get("iif"):
        return ("the host did not route it", KERNEL, "ip route; ip rule") if guess else None
    if out.get("error"):
        target = route["target"]
        return (
            f"no route to {target}: {out['error']}",
            "the kernel, routes",
            f"A route to it, ip route add, or the link that had it is down: ip route get {target}",
        )
    found = None if out.get("local") else _forwarding(facts, route["iif"], version)
    found = found or _reverse_path(facts, route, version, before, after)
    if found or not guess:
        return found
    error = (route.get("in") or {}).get("error") or "no reason that it tells"
    asked = f"{route['target']} from {route['source']} iif {route['iif']}"
    return f"the host did not route it: {error}", KERNEL, f"ip route get {asked}"


def untraceable(hook):
    return f"it ended at the hook {hook}, by no rule of nftables: iptables-legacy, or a program of BPF"


def lost_words(facts, visit):
    link = facts["links"].get(visit["oif"]) or {}
    state = "" if link.get("up") else ", which is down"
    return f"it was to leave by {visit['oif']}{state} (MTU {link.get('mtu')}), and did not: too large for it, or no next hop"
