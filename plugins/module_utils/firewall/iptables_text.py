# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Address translation for iptables: the same rules as translation.py's, as text of iptables-restore. Pure.

iptables has neither maps nor sets of its own, so a rule is a line, and its comment says which. Ours are in chains of our
own; three jumps lead there, and nothing else of the table is touched. The filter stays in nftables, whatever translates.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import pairs, translation
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import COMMENT

#: Where the kernel comes by, and our chain there.
JUMPS = (("PREROUTING", "VIRTNET_PRE"), ("OUTPUT", "VIRTNET_OUT"), ("POSTROUTING", "VIRTNET_POST"))
#: Forwards that guests do not reach.
SHUT = "VIRTNET_SHUT"
CHAINS = (*(chain for _hook, chain in JUMPS), SHUT)
#: First rule of each chain, without effect: the mark of ownership.
MARKS = tuple(f'-A {chain} -m comment --comment "{COMMENT}"' for chain in CHAINS)


def text(networks, rules, mine, version):
    """Return the table of an IP version without its jumps, or nothing if no rule needs it.

    :param networks: Networks of the store, sorted by name.
    :param rules: {(set, name): rule} of all sets: what one exempts stays untranslated, whoever translates.
    :param mine: those of them that iptables translates.
    """
    chains = {chain: [] for chain in CHAINS}
    forwards = [row for row in translation.forwards(mine) if row[3] == version]
    both_ways = [one for one in pairs.of(mine) if one.version == version]
    if forwards or both_ways:
        _add_forwards(chains, networks, forwards, rules, both_ways, version)
    _add_sources(chains[CHAINS[2]], networks, rules, mine, version, bool(forwards or both_ways), both_ways)
    if not any(chains.values()):
        return ""
    lines = ["*nat", *(f":{chain} - [0:0]" for chain in CHAINS)]
    for chain, mark in zip(CHAINS, MARKS):
        lines += [mark, *(f"-A {chain} {rule}" for rule in chains[chain])]
    return "\n".join([*lines, "COMMIT", ""])


def _line(*parts, why=None, to):
    """Return a rule of its matches (None: no such match) and its target."""
    words = [part for part in parts if part]
    if why:
        words.append(f'-m comment --comment "{why}"')
    return " ".join([*words, f"-j {to}"])


def _ports(protocol, ports):
    first, last = ports
    return f"-p {protocol} -m {protocol} --dport {first}" + ("" if first == last else f":{last}")


def _prefix(text_, option):
    return f"{option} {text_}" if text_ else None


def _forward(row):
    """Return the lines of one forward."""
    why, rule, protocol, version, listen, target, to = row
    host = f"[{target}]" if version == 6 else target
    if translation.is_kept(listen, to):
        ways = [(listen, target)]
    elif to[0] == to[1]:
        ways = [(listen, f"{host}:{to[0]}")]
    else:
        ways = [((port, port), f"{host}:{into}") for port, into in translation.moved(listen, to)]
    return [
        _line(
            _prefix(rule["listen"]["interface"], "-i"), _prefix(source, "-s"), _prefix(rule["listen"]["address"], "-d"),
            _ports(protocol, ports), why=why, to=f"DNAT --to-destination {into}",
        )
        for source in translation.callers(rule, version) for ports, into in ways
    ]


def _add_forwards(chains, networks, forwards, rules, both_ways, version):
    # The host's addresses inside its networks serve DNS and DHCP: a forward on any address does not mean them.
    inner = [one for one in networks if one.model != "bridged"]
    closed = [
        _line(f"-d {address}", why=name, to="RETURN")
        for address, name in translation.own_addresses(inner, pairs.of(rules), version).items()
    ]
    closed.append(_line("-m addrtype ! --dst-type LOCAL", to="RETURN"))

    def ways(hairpin, by_link=True):
        """Return the lines of the forwards on an address, then those of what stands for guests and of forwards on any.

        The last are behind what closes them to others.
        """
        mine = [row for row in forwards if row[1]["hairpin"] == hairpin and (by_link or not row[1]["listen"]["interface"])]
        on_one = [line for row in mine if row[1]["listen"]["address"] for line in _forward(row)]
        on_any = [line for row in mine if not row[1]["listen"]["address"] for line in _forward(row)]
        stands = _inwards(inner, [one for one in both_ways if one.hairpin == hairpin], version)
        return on_one, stands + ([*closed, *on_any] if on_any else [])

    incoming, own, others = chains[CHAINS[0]], chains[CHAINS[1]], chains[SHUT]
    on_one, later = ways(hairpin=True)
    shut = [line for part in ways(hairpin=False) for line in part]
    incoming += on_one
    if shut:
        others += [_line(f"-i {one.bridge}", why=one.name, to="RETURN") for one in inner]
        others += shut
        incoming.append(_line(to=SHUT))
    incoming += later
    found = [line for part in ways(hairpin=True, by_link=False) for line in part]
    if found:
        loopback = "127.0.0.0/8" if version == 4 else "::1/128"
        own += [_line(f"-d {loopback}", to="RETURN"), *found]


def _inwards(networks, both_ways, version):
    """Return the lines of one_to_one and npt, the more specific first."""
    lines = [
        _line(f"-d {one.outside.network_address}", why=one.label, to=f"DNAT --to-destination {one.inside.network_address}")
        for one in both_ways if one.kind == "one_to_one"
    ]
    prefixes = [one for one in both_ways if one.kind == "npt"]
    for address, name in pairs.outside_of_gateways(networks, prefixes, version).items():
        lines.append(_line(f"-d {address}", why=name, to="RETURN"))
    return lines + [_line(f"-d {one.outside}", why=one.label, to=f"NETMAP --to {one.inside}") for one in prefixes]


def _outwards(both_ways):
    for kind, target in (("one_to_one", "SNAT --to-source"), ("npt", "NETMAP --to")):
        for one in both_ways:
            if one.kind == kind:
                outside = one.outside if kind == "npt" else one.outside.network_address
                yield _line(f"-s {one.inside}", why=one.label, to=f"{target} {outside}")


def _add_sources(lines, networks, rules, mine, version, forwarded, both_ways):
    translated = [
        (translation.label(*key), rule, source)
        for key, rule in mine.items() if rule["type"] in ("masquerade", "snat")
        for source in rule["sources"] if (":" in source) == (version == 6)
    ]
    literal = [row for row in translated if row[1].get("literal")]
    translated = [row for row in translated if not row[1].get("literal")]
    lines += map(_translation, literal)
    if not translated and not forwarded:
        return
    for subnet, name in translation.own_subnets(networks, rules).items():
        if subnet.version == version:
            inside = f"-s {subnet} -d {subnet}"
            if forwarded:
                # A guest that met a forward of its own network: the answer must come back by the host.
                lines.append(_line(inside, "-m conntrack --ctstate DNAT", why=name, to="MASQUERADE"))
            lines.append(_line(inside, why=name, to="RETURN"))
    if not translated and not both_ways:
        return
    for group in ("224.0.0.0/4", "255.255.255.255/32") if version == 4 else ("ff00::/8",):
        lines.append(_line(f"-d {group}", to="RETURN"))
    homes = {(one.bridge, str(subnet)): one.name for one in networks for subnet in one.subnets if subnet.version == version}
    for rule in mine.values():
        for source in rule["sources"] if rule.get("bridge") and not rule.get("literal") else ():
            if (":" in source) == (version == 6):
                homes.setdefault((rule["bridge"], source), rule["network"])
    lines += [_line(f"-s {subnet}", f"-o {bridge}", why=name, to="RETURN") for (bridge, subnet), name in homes.items()]
    lines += _untranslated(networks, rules, version)
    lines += _outwards(both_ways)
    lines += map(_translation, translated)


def _translation(row):
    why, rule, source = row
    to = f"SNAT --to-source {rule['to']['address']}" if rule["type"] == "snat" else "MASQUERADE"
    if "-" in to.partition("--to-source")[2]:
        to += " --persistent"
    return _line(f"-s {source}", _prefix(rule["interface"], "-o"), why=why, to=to)


def _untranslated(networks, rules, version):
    for source, destination, why in translation.exempted(rules, version):
        yield _line(f"-s {source} -d {destination}", why=why, to="RETURN")
    pairs, some = translation.kept_sources(networks, version)
    for (source, destination), why in pairs.items():
        yield _line(f"-s {source} -d {destination}", why=why, to="RETURN")
    for (source, destination, protocol), (why, rows) in some.items():
        for ports in translation.merged(rows):
            match = f"-p {protocol}" if ports == (0, 65535) else _ports(protocol, ports)
            yield _line(f"-s {source} -d {destination}", match, why=why, to="RETURN")
