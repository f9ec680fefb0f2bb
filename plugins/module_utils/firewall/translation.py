# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Address translation as sets and maps: masquerade, SNAT, port forwards with hairpin, exemptions, pairs.py's. Pure.

Never translated: what stays in its subnet, multicast, broadcast, and what does not leave its bridge. With br_netfilter,
frames between two guests of one bridge pass these hooks too, so this is no matter of taste.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Any

from ansible_collections.virtnet.kvm.plugins.module_utils import values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import pairs
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import concat, port_range, quoted

FAMILY = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}


def label(owner, name):
    """Return how a rule is called in texts."""
    return f"{owner.lstrip('@')}/{name}"


def merged(rows):
    """Return ranges of ports joined where they overlap or touch: nft refuses overlapping ones."""
    result = []
    for first, last in sorted(rows):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


@functools.cache
def _ports(text):
    return values.ports(text, "ports")


def forwards(rules):
    """Yield (label, rule, protocol, version, listen ports, target, target's ports)."""
    for (owner, name), rule in rules.items():
        if rule["type"] != "dnat":
            continue
        listen, to = _ports(rule["listen"]["ports"]), _ports(rule["to"]["ports"])
        for target in rule["to"]["addresses"]:
            version = 6 if ":" in target else 4
            for protocol in rule["protocols"]:
                yield label(owner, name), rule, protocol, version, listen, target, to


def has_forwards(rules):
    """Return whether any rule translates what comes in."""
    return any(rule["type"] == "dnat" or rule["type"] in pairs.KINDS for rule in rules.values())


# --- what the filter must let through ---


def _targets(rules):
    """Return {version: {(address, protocol): [label, ranges]}} of all that port forwards lead to."""
    found: Any = {4: {}, 6: {}}
    for why, _rule, protocol, version, _listen, target, to in forwards(rules):
        found[version].setdefault((target, protocol), (why, []))[1].append(to)
    return found


def _whole_targets(rules):
    """Return {subnet: label} of what one_to_one and npt lead to with all protocols; none inside another."""
    kept = {}
    for pair in sorted(pairs.of(rules), key=lambda one: one.inside.prefixlen):
        if not any(pair.version == one.version and pair.inside.subnet_of(one) for one in kept):
            kept[pair.inside] = pair.label
    return kept


def add_targets(table, translated):
    """Add the sets of targets; return the rules that let translated packets through to them."""
    rules, found, whole = [], _targets(translated), _whole_targets(translated)
    for version, (family, kind) in FAMILY.items():
        single, ranges = {}, {}
        for key, (why, rows) in found[version].items():
            for ports in merged(rows):
                (single if ports[0] == ports[1] else ranges)[f"{key[0]} . {key[1]} . {port_range(ports)}"] = why
        for name, elements in ((f"forwarded{version}", single), (f"forwarded_ranges{version}", ranges)):
            if table.add_set(name, f"{kind} . inet_proto . inet_service", elements, interval=elements is ranges):
                rules.append(f"ct status dnat {family} daddr . meta l4proto . th dport @{name} accept")
        elements = {str(subnet): why for subnet, why in whole.items() if subnet.version == version}
        if table.add_set(f"forwarded_whole{version}", kind, elements, interval=True, about="one_to_one and npt lead there"):
            rules.append(f"ct status dnat {family} daddr @forwarded_whole{version} accept")
    return rules


# --- the translation itself ---


def add(table, networks, rules, mine):
    """Add the chains of translation, as far as any rule needs them.

    :param rules: all of the host's: what one exempts stays untranslated, whoever translates.
    :param mine: those of them that this table translates; the others are iptables'.
    """
    _add_forwards(table, networks, mine)
    _add_sources(table, networks, rules, mine)


def _add_forwards(table, networks, rules):
    """Add one map a way to listen, and one rule a map.

    The ways: on a link or any, on an address or any, for some sources or all, a range kept as it is or single ports.
    """
    maps = {}
    for why, rule, protocol, version, listen, target, to in forwards(rules):
        interface, address = rule["listen"]["interface"], rule["listen"]["address"]
        kept = is_kept(listen, to)
        way = (version, interface is not None, bool(rule["sources"]), address is not None, kept, rule["hairpin"])
        # Put together by hand: of ten thousand forwards this is what takes the time.
        link, here = f"{quoted(interface)} . " if interface else "", f"{address} . " if address else ""
        if kept:
            ports = [(port_range(listen), target)]
        else:
            ports = [(port, f"{target} . {into}") for port, into in moved(listen, to)]
        sources = callers(rule, version)
        elements = maps.setdefault(way, {}) if sources else {}
        for source in sources:
            key = f"{link}{source} . {here}{protocol}" if source else f"{link}{here}{protocol}"
            for one, into in ports:
                elements[f"{key} . {one} : {into}"] = why
    # Forwards on an address, what stands for guests, forwards on no address: the first that matches is final.
    incoming, own = ([], [], []), ([], [], [])
    for way in sorted(maps):
        statement = _forward_map(table, way, maps[way])
        version, by_link, _by_source, by_address, _kept, hairpin = way
        family = FAMILY[version][0]
        local = "" if by_address else f"fib daddr type local {_not_gateway(table, version, family)}"
        place = 0 if by_address else 2
        incoming[place].append(f"{_closed(table, hairpin)}meta l4proto {{ tcp, udp }} {local}{statement}")
        if hairpin and not by_link:
            loopback = "ip daddr != 127.0.0.0/8" if version == 4 else "ip6 daddr != ::1"
            own[place].append(f"{loopback} meta l4proto {{ tcp, udp }} {local}{statement}")
    for hairpin, statement in _add_pairs(table, networks, rules):
        incoming[1].append(_closed(table, hairpin) + statement)
        if hairpin:
            own[1].append(statement)
    for name, places in (("prerouting", incoming), ("output", own)):
        lines = [line for place in places for line in place]
        if lines:
            table.add_chain(f"nat_{name}", lines, hook=f"nat hook {name} priority -105")


def _closed(table, hairpin):
    return "" if hairpin or "own_guests" not in table else "iifname != @own_guests "


def _add_pairs(table, networks, rules):
    """Add the maps of one_to_one and npt, inwards; yield (hairpin, statement)."""
    found = pairs.of(rules)
    for version, (family, kind) in FAMILY.items():
        gateways = pairs.outside_of_gateways(networks, found, version)
        table.add_set(f"npt_gateways{version}", kind, gateways, about="What would be the host's own addresses in its networks")
        for type_of, word, data in (("one_to_one", "", kind), ("npt", "prefix ", f"interval {kind}")):
            for hairpin in (True, False):
                elements = {
                    f"{_element(one.outside)} : {_element(one.inside)}": one.label for one in found
                    if (one.version, one.kind, one.hairpin) == (version, type_of, hairpin)
                }
                name = f"{type_of}{version}" + ("" if hairpin else "_no_hairpin")
                if table.add_map(name, f"{kind} : {data}", elements, interval=bool(word), about="Inwards"):
                    closed = f"{family} daddr != @npt_gateways{version} " if word and gateways else ""
                    yield hairpin, f"{closed}dnat {family} {word}to {family} daddr map @{name}"


def _element(subnet):
    return str(subnet.network_address) if subnet.num_addresses == 1 else str(subnet)


def _forward_map(table, way, elements):
    version, by_link, by_source, by_address, kept, hairpin = way
    family, kind = FAMILY[version]
    fields = [("iifname", "ifname", by_link), (f"{family} saddr", kind, by_source), (f"{family} daddr", kind, by_address)]
    key = concat(*(expression for expression, _type, used in fields if used), "meta l4proto", "th dport")
    types = concat(*(kind for _expression, kind, used in fields if used), "inet_proto", "inet_service")
    name = f"forwards{version}" + "".join(
        word for word, used in (
            ("_link", by_link), ("_source", by_source), ("_address", by_address), ("_range", kept), ("_no_hairpin", not hairpin)
        ) if used
    )
    into = kind if kept else f"{kind} . inet_service"
    table.add_map(name, f"{types} : {into}", elements, interval=by_source or kept, about="Port forwards")
    return f"dnat {family} to {key} map @{name}"


def _not_gateway(table, version, family):
    """The host's addresses inside its networks serve DNS and DHCP: a forward on any address does not mean them."""
    return f"{family} daddr != @own_gateways{version} " if f"own_gateways{version}" in table else ""


def is_kept(listen, to):
    """Return whether a forward's range of ports stays what it is."""
    return listen == to and listen[0] != listen[1]


def moved(listen, to):
    """Yield (port, the target's) of a forward."""
    step = 0 if to[0] == to[1] else 1
    for offset, port in enumerate(range(listen[0], listen[1] + 1)):
        yield port, to[0] + step * offset


def callers(rule, version):
    """Return the subnets that may use a forward; [None] is everybody, [] (all are of the other version) nobody."""
    return collapsed(rule["sources"], version) if rule["sources"] else [None]


def collapsed(texts, version):
    """Return the subnets of an IP version as text, without those that lie in others."""
    subnets: Any = [subnet for subnet in map(ipaddress.ip_network, texts) if subnet.version == version]
    return [str(one) for one in ipaddress.collapse_addresses(subnets)]


def own_subnets(networks, rules):
    """Return {subnet: label} of every subnet that is one segment, as far as the store knows; none inside another."""
    found = {}
    for network in networks:
        for subnet in network.subnets:
            found[subnet] = network.name
    for (owner, name), rule in rules.items():
        if rule["type"] in ("masquerade", "snat", *pairs.KINDS) and not rule.get("literal"):
            for text in rule["sources"]:
                found.setdefault(values.ip_network(text), label(owner, name))
    kept, places, lengths = {}, set(), set()
    # The widest first. What would hold a subnet is one place a prefix length, so this stays fast.
    for subnet in sorted(found, key=lambda one: (one.version, one.prefixlen, int(one.network_address))):
        if not any(_place(subnet, length) in places for length in lengths if length <= subnet.prefixlen):
            kept[subnet] = found[subnet]
            places.add(_place(subnet, subnet.prefixlen))
            lengths.add(subnet.prefixlen)
    return kept


def _place(subnet, length):
    """Return what the subnets of a prefix length that hold C(subnet) have in common: there is one."""
    return subnet.version, length, int(subnet.network_address) >> (subnet.max_prefixlen - length)


def _add_sources(table, networks, rules, mine):
    subnets = own_subnets(networks, rules)
    bridges = {}
    for network in networks:
        for subnet in network.subnets:
            bridges[concat(quoted(network.bridge), subnet)] = network.name
    for rule in rules.values():
        for text in rule["sources"] if rule.get("bridge") else ():
            bridges.setdefault(concat(quoted(rule["bridge"]), text), rule["network"])
    lines = []
    forwarded = "nat_prerouting" in table
    for version, (family, kind) in FAMILY.items():
        sources = _sources_of(mine, version)
        lines += _translations(table, {kind: sources.pop(kind) for kind in ("literal_link", "literal")}, version)
        if not any(sources.values()) and not forwarded:
            continue
        own = {concat(one, one): why for one, why in subnets.items() if one.version == version}
        if table.add_set(f"same_subnet{version}", f"{kind} . {kind}", own, interval=True):
            if forwarded:
                # A guest that met a forward of its own network: the answer must come back by the host.
                lines.append(f"ct status dnat {family} saddr . {family} daddr @same_subnet{version} masquerade")
            lines.append(f"{family} saddr . {family} daddr @same_subnet{version} return")
        if not any(sources.values()):
            continue
        lines.append(f"{family} daddr {'{ 224.0.0.0/4, 255.255.255.255 }' if version == 4 else 'ff00::/8'} return")
        home = {key: why for key, why in bridges.items() if (":" in key) == (version == 6)}
        if table.add_set(f"home{version}", f"ifname . {kind}", home, interval=True):
            lines.append(f"oifname . {family} saddr @home{version} return")
        lines += _untranslated(table, networks, rules, version)
        lines += _translations(table, sources, version)
    if lines:
        table.add_chain("nat_postrouting", lines, hook="nat hook postrouting priority 95")


def _sources_of(rules, version):
    """Return the elements of the collections of source translation."""
    found: Any = {key + link: {} for key in ("literal", "snat", "snat_range", "masquerade") for link in ("_link", "")}
    found.update({kind: {} for kind in pairs.KINDS})
    for one in pairs.of(rules):
        if one.version == version:
            found[one.kind][f"{_element(one.inside)} : {_element(one.outside)}"] = one.label
    for (owner, name), rule in rules.items():
        if rule["type"] not in ("masquerade", "snat"):
            continue
        for text in rule["sources"]:
            if (":" in text) != (version == 6):
                continue
            key = concat(quoted(rule["interface"]), text) if rule["interface"] else text
            if rule["type"] == "snat":
                key += f" : {rule['to']['address']}"
            kind = "literal" if rule.get("literal") else rule["type"]
            if kind == "snat" and "-" in rule["to"]["address"]:
                kind = "snat_range"
            found[kind + ("_link" if rule["interface"] else "")][key] = label(owner, name)
    return found


def _translations(table, sources, version):
    family, kind = FAMILY[version]
    lines = []
    for type_of, word, data in (("one_to_one", "", kind), ("npt", "prefix ", f"interval {kind}")):
        name = f"{type_of}{version}_out"
        if table.add_map(name, f"{kind} : {data}", sources.get(type_of), interval=bool(word)):
            lines.append(f"snat {family} {word}to {family} saddr map @{name}")
    for link, key, type_of in (("_link", f"oifname . {family} saddr", f"ifname . {kind}"), ("", f"{family} saddr", kind)):
        name = f"snat{version}{link}"
        if table.add_map(name, f"{type_of} : {kind}", sources.get(f"snat{link}"), interval=True):
            lines.append(f"snat {family} to {key} map @{name}")
        name = f"snat_range{version}{link}"
        if table.add_map(name, f"{type_of} : interval {kind}", sources.get(f"snat_range{link}"), interval=True):
            # A guest keeps the address that it once got.
            lines.append(f"snat {family} to {key} map @{name} persistent")
        for word in ("literal", "masquerade"):
            name = f"{word}{version}{link}"
            if table.add_set(name, type_of, sources.get(f"{word}{link}"), interval=True):
                lines.append(f"{key} @{name} masquerade")
    return lines


def _untranslated(table, networks, rules, version):
    """Return the rules for exemptions, and for allow_to, whose conversations keep their source (contract.py)."""
    family, kind = FAMILY[version]
    lines = [f"{family} saddr {source} {family} daddr {target} return" for source, target, _why in exempted(rules, version)]
    pairs, some = kept_sources(networks, version)
    elements = {concat(*pair): why for pair, why in pairs.items()}
    if table.add_set(f"keep_source{version}", f"{kind} . {kind}", elements, interval=True, about="allow_to keeps its source"):
        lines.append(f"{family} saddr . {family} daddr @keep_source{version} return")
    elements = {concat(*key, port_range(ports)): why for key, (why, rows) in some.items() for ports in merged(rows)}
    if table.add_set(
        f"keep_source_ports{version}", f"{kind} . {kind} . inet_proto . inet_service", elements, interval=True
    ):
        lines.append(f"{family} saddr . {family} daddr . meta l4proto . th dport @keep_source_ports{version} return")
    return lines


def exempted(rules, version):
    """Yield (source, destination, label) of all exemptions of an IP version."""
    for (owner, name), rule in rules.items():
        for source in rule["sources"] if rule["type"] == "exempt" else ():
            if (":" in source) == (version == 6):
                yield source, rule["destination"], label(owner, name)


def kept_sources(networks, version):
    """Return ({(source, destination): label}, {(source, destination, protocol): (label, ranges)}) of allow_to."""
    by_name = {one.name: one for one in networks}
    pairs, some = {}, {}
    for source in networks:
        for access in source.policy.allow_to if source.masquerade else ():
            target = by_name.get(access.network)
            for one in source.subnets:
                for other in target.subnets if target else ():
                    if one.version == other.version == version:
                        _add_access(pairs, some, (one, other), access, f"{source.name} to {target.name}")
    return pairs, some


def _add_access(pairs, some, pair, access, why):
    if access.protocol == "any":
        pairs[pair] = why
        return
    protocol = {"icmp": "icmp" if pair[0].version == 4 else "ipv6-icmp"}.get(access.protocol, access.protocol)
    for ports in access.ports or ((0, 65535),):
        some.setdefault((*pair, protocol), (why, []))[1].append(ports)


def own_addresses(networks, both_ways, version):
    """Return {address: whose} of those that forwards on no address leave out: gateways, and what stands for a guest."""
    found = {str(one.ip): network.name for network in networks for one in network.addresses or () if one.version == version}
    for pair in both_ways:
        if pair.kind == "one_to_one" and pair.version == version:
            found[_element(pair.outside)] = pair.label
    return found


def add_own(table, networks, rules):
    """Add the sets that forwards on no address leave out, and guests' bridges, for those without hairpin."""
    both_ways = pairs.of(rules)
    for version, (_family, kind) in FAMILY.items():
        table.add_set(f"own_gateways{version}", kind, own_addresses(networks, both_ways, version))
    table.add_set("own_guests", "ifname", {quoted(one.bridge): one.name for one in networks})


# --- what cannot stand beside each other ---


def check(rules, elsewhere=()):
    """Refuse two rules for the same packets, naming both.

    :param elsewhere: names of the sets that iptables translates.
    """
    _check_forwards(rules)
    _check_sources(rules)
    pairs.check(rules, elsewhere)


def _disjoint(one, other):
    """Whether two forwards on overlapping ports never meet the same packet."""
    for key in ("address", "interface"):
        a, b = one["listen"][key], other["listen"][key]
        if a is not None and b is not None and a != b:
            return True
    if one["sources"] and other["sources"]:
        subnets: Any = [[ipaddress.ip_network(text) for text in rule["sources"]] for rule in (one, other)]
        return not any(a.version == b.version and a.overlaps(b) for a in subnets[0] for b in subnets[1])
    return False


def _check_forwards(rules):
    by_protocol = {}
    for why, rule, protocol, version, listen, _target, _to in forwards(rules):
        by_protocol.setdefault((protocol, version), []).append((listen, why, rule))
    for (protocol, _version), rows in by_protocol.items():
        open_rows = []
        for listen, why, rule in sorted(rows, key=lambda row: row[:2]):
            open_rows = [row for row in open_rows if row[0][1] >= listen[0]]
            for other, owner, beside in open_rows:
                if not _disjoint(rule, beside):
                    raise Conflict(
                        f"the port forwards {owner} ({protocol} {port_range(other)}) and {why} ({protocol} {port_range(listen)}) "
                        "listen on the same port", why, cure="Give each its own port, address or link.",
                    )
            open_rows.append((listen, why, rule))


def _check_sources(rules):
    rows = []
    for (owner, name), rule in rules.items():
        if rule["type"] in ("masquerade", "snat"):
            for text in rule["sources"]:
                subnet = values.ip_network(text)
                rows.append((
                    (subnet.version, int(subnet.network_address), subnet.prefixlen), subnet, rule["interface"], label(owner, name)
                ))
    rows.sort(key=lambda row: row[0])
    open_rows = []
    for _key, subnet, interface, why in rows:
        open_rows = [row for row in open_rows if row[0].version == subnet.version and row[0].overlaps(subnet)]
        for other, link, owner in open_rows:
            if link is None or interface is None or link == interface:
                raise Conflict(
                    f"{owner} translates {other} and {why} translates {subnet}, which overlap", why,
                    cure="Translate each source once, or on different interfaces.",
                )
        open_rows.append((subnet, interface, why))
