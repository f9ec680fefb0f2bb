# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules that libvirt itself makes for a network, and forgets with it when it is killed in the middle of a start or a stop.

Nobody takes them away then, no restart of libvirt either, and they reject what a later network on a bridge of that name forwards.
With its backend iptables they are in chains LIBVIRT_*, with nftables in the tables libvirt_network
(https://libvirt.org/firewall.html).
"""

from __future__ import annotations

import json
import shlex

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import MissingDependency

_PROGRAMS = ("iptables", "ip6tables")
_TABLES = ("filter", "nat", "mangle")
_FAMILIES = ("ip", "ip6")
_NFT_TABLE = "libvirt_network"
_LINK_KEYS = ("iif", "oif", "iifname", "oifname")


def remove(host, link, subnets):
    """Remove libvirt's rules for a bridge and its subnets; the caller knows that no network runs there.

    :param subnets: texts such as C(192.168.100.0/24).
    """
    for program in _PROGRAMS:
        for table in _TABLES:
            command = [program, "-w", "5", "-t", table]
            for rule in of_iptables(_said(host, [*command, "-S"]), link, subnets):
                host.run([*command, "-D", *rule], what="removing a rule that libvirt forgot", subject=link)
    for family in _FAMILIES:
        listed = _said(host, ["nft", "-j", "-a", "list", "table", family, _NFT_TABLE])
        for chain, handle in of_nft(json.loads(listed or "{}"), link, subnets):
            command = ["nft", "delete", "rule", family, _NFT_TABLE, chain, "handle", str(handle)]
            host.run(command, what="removing a rule that libvirt forgot", subject=link)


def _said(host, command):
    """Return what a command prints; nothing where there is no such program or table."""
    try:
        rc, out, _err = host.run(command, check=False)
    except MissingDependency:
        return ""
    return out if rc == 0 else ""


def of_iptables(listed, link, subnets):
    """Return libvirt's rules for a bridge or its subnets of C(iptables -S), each as the arguments of C(-D)."""
    found = []
    for line in listed.splitlines():
        words = shlex.split(line)
        if words[:1] != ["-A"] or not words[1].startswith("LIBVIRT_"):
            continue
        pairs = set(zip(words, words[1:]))
        if pairs & {("-i", link), ("-o", link)} or pairs & {("-s", subnet) for subnet in subnets}:
            found.append(words[1:])
    return found


def of_nft(listed, link, subnets):
    """Return (chain, handle) of libvirt's rules for a bridge or its subnets, of C(nft -j -a list table)."""
    found = []
    for one in listed.get("nftables", ()):
        rule = one.get("rule")
        if rule and any(_is_about(part.get("match"), link, subnets) for part in rule.get("expr", ()) if isinstance(part, dict)):
            found.append((rule["chain"], rule["handle"]))
    return found


def _is_about(match, link, subnets):
    if not match or match.get("op") != "==":
        return False
    left, right = match.get("left"), match.get("right")
    if not isinstance(left, dict):
        return False
    if left.get("meta", {}).get("key") in _LINK_KEYS:
        return right == link
    prefix = right.get("prefix") if isinstance(right, dict) else None
    is_source = left.get("payload", {}).get("field") == "saddr"
    return bool(is_source and prefix and f"{prefix['addr']}/{prefix['len']}" in subnets)
