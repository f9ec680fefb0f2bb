# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose a rule is that stops a packet, and what cures it. Pure."""

from __future__ import annotations

OURS = "virtnet.kvm"


def owner(drop, chains=()):
    """Return who made the chain in which a packet ended.

    :param drop: {family, table, chain, rule}, of trace_text.Visit.
    :param chains: names of all chains of that table.
    """
    table, chain = drop["table"], drop["chain"]
    if table == "virtnet" or chain.startswith("VIRTNET_"):
        return OURS
    if table == "firewalld":
        return "firewalld"
    if table == "libvirt_network" or chain.startswith("LIBVIRT_"):
        return "libvirt"
    if chain.startswith("DOCKER"):
        return "Docker"
    if chain.startswith(("ufw-", "ufw6-")):
        return "ufw"
    if chain in ("FORWARD", "INPUT", "OUTPUT") and drop["family"] in ("ip", "ip6"):
        # A policy is nobody's by its name: who has chains of their own beside it has set it, and the rest is the administrator.
        if any(one.startswith("DOCKER") for one in chains) and chain == "FORWARD":
            return "Docker, or whoever set this policy"
        if any(one.startswith(("ufw-", "ufw6-")) for one in chains):
            return "ufw"
        return "iptables, somebody's own"
    return f"somebody's table {table} of nftables"


def where(drop):
    """Return the place of a drop in words."""
    rule = drop["rule"]
    by = f"rule '{rule}'" if rule else "its policy, drop"
    return f"table {drop['family']} {drop['table']}, chain {drop['chain']}: {by}"


def cure(drop, whose, host):
    """Return what to do about a drop of somebody else's."""
    place = f"{drop['family']} {drop['table']} {drop['chain']}"
    if whose == "libvirt":
        return (
            f"The network is one that libvirt filters: forward mode open (firewall: nftables of our networks), "
            f"or on {host}: nft -a list chain {place}"
        )
    opening = "The role of the guest's network opens it (virtnet.kvm.net_policy, next run)"
    if whose == "firewalld":
        return f"{opening}; or by hand: firewall-cmd --get-active-zones, and a policy that lets the bridges' zones through."
    if whose == "ufw":
        return f"{opening}; or by hand: ufw route allow in on LINK out on LINK."
    if drop["family"] == "bridge":
        return f"Take the rule away, on {host}: nft -a list chain {place}; nft delete rule {place} handle N"
    if drop["rule"] is None and drop["family"] in ("ip", "ip6") and drop["chain"] == "FORWARD":
        program = "iptables" if drop["family"] == "ip" else "ip6tables"
        by_hand = f"{program} -P FORWARD ACCEPT, or an ACCEPT for the bridge in DOCKER-USER or FORWARD"
        return f"{opening}; or by hand on {host}: {by_hand}"
    if drop["rule"] is None:
        return f"{opening} where it is a chain of forward or input; or by hand on {host}: nft add rule {place} ... accept"
    return f"On {host}: nft -a list chain {place}; nft delete rule {place} handle N"


def opening(promise, src, dst, protocol, port):
    """Return how what the models do not promise is declared, if it can be."""
    why = promise["why"]
    names = [one["name"] for one in promise["networks"]]
    what = f"protocol: {protocol}" + (f', ports: ["{port}"]' if port else "")
    if why == "port_isolation":
        return f"policy.port_isolation: false of {names[0]}"
    if why.startswith("macvtap"):
        return f"attach: bridge instead of macvtap of {names[0]}"
    if src["kind"] == dst["kind"] == "guest" and promise["one_host"] and len(names) == 2 and names[0] != names[1]:
        return f"policy.allow_to: [{{network: {names[1]}, {what}}}] of {names[0]}"
    if src["kind"] == "guest" and dst["kind"] == "host" and promise["one_host"]:
        return f"policy.host_access: [{{{what}}}] of {names[0]}"
    model = promise["networks"][-1]["model"]
    if dst["kind"] == "guest" and model == "nat":
        number = port or "PORT"
        rule = f'{{name: NAME, listen: {{ports: "{number}"}}, to: {{guest: {dst["process"]}, ports: "{number}"}}}}'
        return f"port_forwards: [{rule}] of {names[-1]}, and ask {dst['host']} instead"
    return "another model: an isolated network stays among its guests" if "isolated" in why else "another model for the network"
