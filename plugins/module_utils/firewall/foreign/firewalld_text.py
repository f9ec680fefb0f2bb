# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""firewalld's zones and policies of ours, as files and as what its daemon says of them. Pure.

Guests of a network are in a zone of its model, and policies let the zones' packets through. firewalld itself accepts answers
and what was translated towards a guest. libvirt gives the bridges that it filters itself to zones of its own.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import contract

MARK = "Made by virtnet.kvm; changes are lost."
SERVICES = ("dhcp", "dhcpv6", "dns")
ZONES = ("virtnet-isolated", "virtnet-nat", "virtnet-routed")
OUT, IN = "virtnet-out", "virtnet-in"
POLICIES = (IN, OUT)


def _ours(network):
    if network.attach != "bridge" or network.model == "bridged":
        return False
    return network.bridge_owner == "host" or (network.model != "isolated" and network.firewall == "nftables")


def zones(networks):
    """Return {zone: {interfaces, services}} for the networks."""
    found = {}
    for one in filter(_ours, networks):
        zone = found.setdefault(f"virtnet-{one.model}", {"interfaces": [], "services": []})
        zone["interfaces"] = sorted([*zone["interfaces"], one.bridge])
        if contract.has_services(one):
            zone["services"] = list(SERVICES)
    return found


def policies(networks):
    """Return {policy: {ingress, egress}} for the networks."""
    mine = list(filter(_ours, networks))
    speak = sorted({f"virtnet-{one.model}" for one in mine if one.model != "isolated" or one.policy.allow_to})
    found = {}
    if any(one.model == "routed" for one in mine):
        found[IN] = {"ingress": ["ANY"], "egress": ["virtnet-routed"]}
    if speak:
        found[OUT] = {"ingress": speak, "egress": ["ANY"]}
    return found


def zone_xml(name, zone):
    """Return the file of a zone."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<zone>", f"  <short>{name}</short>"]
    lines += [f"  <description>{MARK}</description>"]
    lines += [f'  <interface name="{one}"/>' for one in zone["interfaces"]]
    lines += [f'  <service name="{one}"/>' for one in zone["services"]]
    return "\n".join([*lines, "  <forward/>", "</zone>", ""])


def policy_xml(name, policy):
    """Return the file of a policy."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', '<policy target="ACCEPT">', f"  <short>{name}</short>"]
    lines += [f"  <description>{MARK}</description>"]
    lines += [f'  <ingress-zone name="{one}"/>' for one in policy["ingress"]]
    lines += [f'  <egress-zone name="{one}"/>' for one in policy["egress"]]
    return "\n".join([*lines, "</policy>", ""])


def zone_line(name, zone):
    services = f", services {' '.join(zone['services'])}" if zone["services"] else ""
    return f"zone {name}: interfaces {' '.join(zone['interfaces'])}{services}"


def policy_line(name, policy):
    return f"policy {name}: from {' '.join(policy['ingress'])} to {' '.join(policy['egress'])} ACCEPT"


def said_zone(name, answer):
    """Return the line of a zone as busctl has it from the daemon; anything that is not ours is in it."""
    data = {key: value["data"] for key, value in answer["data"][0].items()}
    line = zone_line(name, {
        "interfaces": sorted(data.get("interfaces", ())),
        "services": sorted(data.get("services", ())),
    })
    if not data.get("forward"):
        line += ", no forward"
    known = {"short", "description", "target", "interfaces", "services", "forward", "ingress_priority", "egress_priority"}
    more = sorted(key for key, value in data.items() if key not in known and value)
    if data.get("target") != "default":
        more.append(f"target {data.get('target')}")
    return ", ".join([line, *more])


def said_policy(name, answer):
    """Return the line of a policy as busctl has it from the daemon."""
    data = {key: value["data"] for key, value in answer["data"][0].items()}
    line = policy_line(name, {
        "ingress": sorted(data.get("ingress_zones", ())), "egress": sorted(data.get("egress_zones", ())),
    })
    return line if data.get("target") == "ACCEPT" else f"{line}, target {data.get('target')}"
