# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chains of nft that others have: whether they would drop our packets, and rules of ours among them. Pure."""

from __future__ import annotations

import re

from ansible_collections.virtnet.kvm.plugins.module_utils import model_stretch
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign import needs

#: Bears every rule of ours in a chain of others.
COMMENT = "virtnet.kvm"
#: Tables whose owners are dealt with otherwise, or who close links of their own only.
KNOWN = ("virtnet", "firewalld", "libvirt_network")
_FAMILIES = ("ip", "ip6", "inet")
_XTABLES = {("ip", "filter"), ("ip6", "filter")}
_OURS = re.compile(rf'^\s*(.*) comment "{re.escape(COMMENT)}" # handle (\d+)$')


def base_chains(listing):
    """Return [(family, table, chain, hook)] of others' filters in an C(nft -j list chains), those of iptables left out."""
    found = []
    for one in listing.get("nftables", ()):
        chain = one.get("chain")
        if not chain or chain.get("type") != "filter" or chain.get("hook") not in (needs.FORWARD, needs.INPUT):
            continue
        family, table, name = chain["family"], chain["table"], chain["name"]
        of_iptables = (family, table) in _XTABLES and name in ("FORWARD", "INPUT")
        if family in _FAMILIES and table not in KNOWN and not of_iptables:
            found.append((family, table, name, chain["hook"]))
    return sorted(found)


def has_iptables(listing):
    """Return the IP versions of which iptables has chains in an C(nft -j list chains)."""
    found = {
        one["chain"]["family"] for one in listing.get("nftables", ())
        if "chain" in one and (one["chain"]["family"], one["chain"]["table"]) in _XTABLES
        and one["chain"]["name"] in ("FORWARD", "INPUT")
    }
    return [version for version, family in ((4, "ip"), (6, "ip6")) if family in found]


def would_drop(listing, chain):
    """Return (whether a base chain drops packets that no rule names, whether a rule of ours comes too late for them).

    :param listing: of C(nft -j list table).
    """
    chains, rules = {}, {}
    for one in listing.get("nftables", ()):
        if "chain" in one:
            chains[one["chain"]["name"]] = one["chain"]
        elif "rule" in one:
            rules.setdefault(one["rule"]["chain"], []).append(one["rule"])
    mine = rules.get(chain, [])
    ours = [place for place, rule in enumerate(mine) if rule.get("comment") == COMMENT]
    fate = _fate(rules, chain, mine, (chain,)) or chains[chain].get("policy", "accept")
    late = bool(ours) and _fate(rules, chain, mine[: ours[-1]], (chain,)) is not None
    return fate == "drop", late


def _fate(rules, chain, of_chain, path):
    for rule in of_chain:
        if rule.get("comment") == COMMENT:
            continue
        verdict, target = _verdict_of_all(rule["expr"])
        if verdict in ("accept", "drop"):
            return verdict
        if verdict == "return":
            return None
        if verdict in ("jump", "goto") and target not in path:
            fate = _fate(rules, target, rules.get(target, []), (*path, target))
            if fate is not None or verdict == "goto":
                return fate
    return None


def _verdict_of_all(expressions):
    """Return (verdict, target) of a rule; (None, None) if it has none or is for some packets only."""
    for one in expressions:
        word, body = next(iter(one.items()))
        if word == "match":
            if not _of_all(body):
                return None, None
        elif word in ("jump", "goto"):
            return word, body["target"]
        elif word in ("accept", "return", "drop"):
            return word, None
        elif word == "reject":
            return "drop", None
        elif word not in ("counter", "log"):
            return None, None
    return None, None


def _of_all(match):
    """Return whether a condition holds for packets that are nobody's in particular."""
    left = match["left"]
    if match["op"] == "!=":
        return left.get("meta", {}).get("key") in ("iif", "iifname", "oif", "oifname")
    if left.get("ct", {}).get("key") == "state":
        right = match["right"]
        return "new" in (right.get("set", ()) if isinstance(right, dict) else [right] if isinstance(right, str) else right)
    return left.get("meta", {}).get("key") in ("nfproto", "protocol")


def _matches(what, family):
    four, six = family != "ip6", family != "ip"
    return {
        needs.ANY: [""],
        needs.ANSWERS: [" ct state established,related"],
        needs.FORWARDED: [" ct status dnat"],
        needs.DNS: [" udp dport 53", " tcp dport 53"],
        needs.VXLAN: [f" udp dport {model_stretch.PORT}"],
        needs.DHCP: [" udp dport 67"] if four else [],
        needs.DHCP6: [" udp dport 547"] if six else [],
        needs.ICMP: [" meta l4proto icmp"] * four + [" meta l4proto ipv6-icmp"] * six,
        needs.ND: [" icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }"] if six else [],
    }[what]


def rules(wanted, hook, family):
    """Return the rules for a chain at a hook, without their comment."""
    found = []
    for need in wanted:
        if need.hook == hook:
            links = " ".join(f'{word} "{link}"' for word, link in (("iifname", need.iif), ("oifname", need.oif)) if link)
            if need.source is not None:
                its = "ip6" if need.source.version == 6 else "ip"
                if family not in (its, "inet"):
                    continue
                links = f"{its} saddr {need.source}"
            found += [f"{links}{match} accept" for match in _matches(need.what, family)]
    return found


def ours(text):
    """Return [(rule, handle)] of those of ours in an C(nft -a list chain)."""
    return [(found[1], found[2]) for found in map(_OURS.match, text.splitlines()) if found]


def skeleton(chains):
    """Return a ruleset that has nothing but our rules, C({(family, table, chain): rules}), to be listed again."""
    lines = []
    for (family, table, chain), of_chain in chains.items():
        lines += [f"table {family} {table} {{", f"chain {chain} {{"]
        lines += [*(f'{rule} comment "{COMMENT}"' for rule in of_chain), "}", "}"]
    return "\n".join([*lines, ""])


def transaction(chain, handles, wanted):
    """Return the commands of nft that put C(wanted) at the head of a chain, in place of the rules of ours that are there."""
    where = " ".join(chain)
    return [
        *(f"delete rule {where} handle {handle}" for handle in handles),
        *(f'insert rule {where} {rule} comment "{COMMENT}"' for rule in reversed(wanted)),
    ]
