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

_FAMILIES = ("ip", "ip6")
_NFT_TABLE = "libvirt_network"
_LINK_KEYS = ("iif", "oif", "iifname", "oifname")


def remove(host, link, subnets):
    """Remove libvirt's rules for a bridge and its subnets; the caller knows that no network runs there.

    :param subnets: texts such as C(192.168.100.0/24).
    """
    for family in _FAMILIES:
        program = f"{family}tables"
        lines = of_iptables(_said(host, [f"{program}-save"]), link, subnets)
        if lines:
            command = [f"{program}-restore", "--noflush", "--wait=5"]
            host.run(command, data="\n".join([*lines, ""]), what="removing rules that libvirt forgot", subject=link)
        listed = _said(host, ["nft", "-j", "-a", "list", "table", family, _NFT_TABLE])
        rules = of_nft(json.loads(listed or "{}"), link, subnets)
        if rules:
            lines = [f"delete rule {family} {_NFT_TABLE} {chain} handle {handle}\n" for chain, handle in rules]
            host.run(["nft", "-f", "-"], data="".join(lines), what="removing rules that libvirt forgot", subject=link)


def _said(host, command):
    """Return what a command prints; nothing where there is no such program or table."""
    try:
        rc, out, _err = host.run(command, check=False)
    except MissingDependency:
        return ""
    return out if rc == 0 else ""


def of_iptables(saved, link, subnets):
    """Return the lines for iptables-restore(8) that delete libvirt's rules for a bridge or its subnets, of iptables-save(8)'s."""
    found = []
    for line in saved.splitlines():
        if line.startswith("*"):
            table = [line]
        elif line == "COMMIT":
            found += [*table, line] if len(table) > 1 else []
        elif line.startswith("-A LIBVIRT_"):
            words = shlex.split(line)
            pairs = set(zip(words, words[1:]))
            if pairs & {("-i", link), ("-o", link)} or pairs & {("-s", subnet) for subnet in subnets}:
                table.append(f"-D{line[2:]}")
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
