# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Conversations that are open when the rules change: those that the new rules forbid are cut, and no others.

New rules meet new conversations only; conntrack lets the packets of an old one pass, and goes on to translate them.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass

from ansible_collections.virtnet.kvm.plugins.module_utils import contract, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import pairs

_FIELD = re.compile(r"\b(src|dst|sport|dport|type|code|id)=(\S+)")
_NO_CONNTRACK = (
    "Conversations that are open now go on until they end, whatever the new rules say: "
    "the command conntrack is not on this host."
)
_KNOWN = {"tcp": "tcp", "udp": "udp", "icmp": "icmp", "icmpv6": "icmp"}


@dataclass(frozen=True)
class Conversation:
    """An entry of conntrack: who began it, towards what, and who answers under which translation."""

    protocol: str  # conntrack's name or number
    source: object
    destination: object
    answers: object  # the responder's own address
    answered_to: object  # the address under which the responder sees the initiator
    port: object = None  # that the initiator meant
    answer_port: object = None  # the responder's own
    keys: tuple = ()  # ((option, value), ...) that name it for conntrack -D, source and destination first

    @property
    def forwarded(self):
        return self.destination != self.answers

    @property
    def masqueraded(self):
        return self.source != self.answered_to


def parse(line):
    """Return the Conversation of a line of C(conntrack -L), or None. Pure."""
    words = line.split()
    found = _FIELD.findall(line)
    addresses = [value for key, value in found if key in ("src", "dst")]
    if len(words) < 2 or len(addresses) != 4:
        return None
    source, destination, answers, answered_to = (ipaddress.ip_address(text) for text in addresses)
    protocol = words[0] if words[0] != "unknown" else words[1]
    numbers = {}
    for key, value in found:
        numbers.setdefault(key, []).append(value)
    keys = [("-s", addresses[0]), ("-d", addresses[1])]
    for key, option in (("sport", "--sport"), ("dport", "--dport")):
        if numbers.get(key):
            keys.append((option, numbers[key][0]))
    for key in ("type", "code", "id"):
        if numbers.get(key):
            keys.append((f"--{'icmpv6' if protocol == 'icmpv6' else 'icmp'}-{key}", numbers[key][0]))
    meant, own = numbers.get("dport", ()), numbers.get("sport", ())
    return Conversation(
        protocol, source, destination, answers, answered_to,
        int(meant[0]) if meant else None, int(own[1]) if len(own) > 1 else None, tuple(keys),
    )


def touched(before, after):
    """Return the subnets whose policy or translation differs between two States. Pure.

    A port forward that is new forbids nothing.
    """
    found = set()
    for name in set(before.networks) | set(after.networks):
        if before.networks.get(name) != after.networks.get(name):
            for state in (before, after):
                found.update(_subnets_of(state.networks.get(name)))
    for owner in set(before.rules) | set(after.rules):
        old, new = before.rules.get(owner, {}), after.rules.get(owner, {})
        for name in set(old) | set(new):
            was, shall = old.get(name), new.get(name)
            if was != shall and not (was is None and shall["type"] == "dnat"):
                for rule in (was, shall):
                    found.update(_subnets_of_rule(rule))
    return found


def _subnets_of(entry):
    if entry is None:
        return []
    return [ipaddress.ip_interface(text).network for text in entry["addresses"] or ()] + [
        ipaddress.ip_network(text) for text in entry["subnets"]
    ]


def _subnets_of_rule(rule):
    if rule is None:
        return []
    if rule["type"] in pairs.KINDS:
        return [pairs.of_rule(rule).inside]
    texts = rule["to"]["addresses"] if rule["type"] == "dnat" else rule["sources"]
    return [ipaddress.ip_network(text) for text in texts]


def deletions(rows, forbidden):
    """Return the options of conntrack -D, a list a call, that delete the forbidden conversations and no other row. Pure.

    A call goes through the whole table, 16 ms of it, so those of one source, or of one source and destination, go together.
    """
    calls, left = [], [one for one in rows if one in forbidden]
    for count in (1, 2):
        spared = {one.keys[:count] for one in rows if one not in forbidden}
        whole = dict.fromkeys(one.keys[:count] for one in left if one.keys[:count] not in spared)
        calls += [[word for pair in keys for word in pair] for keys in whole]
        left = [one for one in left if one.keys[:count] not in whole]
    return calls + [["-p", one.protocol, *(word for pair in one.keys for word in pair)] for one in left]


class Subnets:
    """Addresses to what was said of their subnet; as fast with thousands of subnets as with one. Pure."""

    def __init__(self, values_of):
        self._tables = {}
        for subnet, value in values_of.items():
            self._tables.setdefault((subnet.version, subnet.max_prefixlen - subnet.prefixlen), {})[
                int(subnet.network_address) >> (subnet.max_prefixlen - subnet.prefixlen)
            ] = value

    def get(self, address):
        number = int(address)
        for (version, shift), table in self._tables.items():
            if version == address.version and number >> shift in table:
                return table[number >> shift]
        return None


class Judge:
    """What the declared rules say of a conversation. Pure."""

    def __init__(self, networks, rules, host_addresses, subnets=(), former=None):
        """What is needed for a judgement.

        :param subnets: those that the change touches; those of them that no network has now are gone.
        :param former: the rules before the change.
        """
        known = {subnet: network for network in networks for subnet in network.subnets}
        self._networks = Subnets(known)
        self._touched = Subnets(dict.fromkeys(subnets, True))
        self._gone = Subnets({subnet: True for subnet in subnets if subnet not in known})
        self._pairs = pairs.of(rules)
        self._sources = Subnets({
            **{one.inside: True for one in self._pairs},
            **{
                ipaddress.ip_network(text): True
                for rule in rules.values() if rule["type"] in ("masquerade", "snat") for text in rule["sources"]
            },
        })
        kept = {(one.inside, one.outside) for one in self._pairs}
        self._lost = [one for one in pairs.of(former or {}) if (one.inside, one.outside) not in kept]
        self._forwards: dict = {}
        for rule in rules.values():
            for target in rule["to"]["addresses"] if rule["type"] == "dnat" else ():
                self._forwards.setdefault(target, []).append(rule)
        self._host = host_addresses

    def _endpoint(self, address):
        if address in self._host:
            return contract.Endpoint("host", "host")
        network = self._networks.get(address)
        return contract.Endpoint("guest", "host", network) if network else contract.Endpoint("outside")

    def concerns(self, one):
        """Return whether an end of the conversation is in a subnet that the change touches."""
        return bool(self._touched.get(one.source) or self._touched.get(one.answers))

    def forbids(self, one):
        """Return whether the rules no longer let this conversation happen, as it is."""
        if any(_leads(pair, one.answered_to, one.source) for pair in self._lost):
            return True  # under an address that no longer stands for this guest
        source, target = self._endpoint(one.source), self._endpoint(one.answers)
        if one.masqueraded and source.network is not None and not self._translates(one, source.network):
            return True
        if one.masqueraded and source.kind == "outside" and self._gone.get(one.source) and not self._sources.get(one.source):
            return True
        protocol = _KNOWN.get(one.protocol, "any")
        if one.forwarded:
            if self._forward(one, protocol):
                return source.network is not None and not contract.verdict(source, contract.Endpoint("outside")).allowed
            if any(_leads(pair, one.destination, one.answers) for pair in self._lost):
                return True
            if target.network is None:
                return bool(self._gone.get(one.answers))
            if not contract.verdict(contract.Endpoint("outside"), target).allowed and target.network.firewall == "nftables":
                return True  # the way to such a guest is a port forward, and this one's is gone
        return not contract.verdict(source, target, protocol, one.answer_port).allowed

    def _translates(self, one, network):
        # Declared is enough: net_policy runs before nat_rule, also when a network of libvirt's is taken over.
        return network.masquerade or self._sources.get(one.source) or one.forwarded

    def _forward(self, one, protocol):
        """Return whether a rule leads this conversation to where it goes."""
        if any(_leads(pair, one.destination, one.answers) for pair in self._pairs):
            return True
        for rule in self._forwards.get(str(one.answers), ()):
            if protocol not in rule["protocols"]:
                continue
            listen = values.ports(rule["listen"]["ports"], "", "")
            to = values.ports(rule["to"]["ports"], "", "")
            if one.port is None or not listen[0] <= one.port <= listen[1]:
                continue
            if one.answer_port != (to[0] if to[0] == to[1] else to[0] + one.port - listen[0]):
                continue
            if rule["listen"]["address"] not in (None, str(one.destination)):
                continue
            if rule["sources"] and not any(one.source in ipaddress.ip_network(text) for text in rule["sources"]):
                continue
            return True
        return False


def _leads(pair, outside, inside):
    """Return whether an outside address stands for this inside one. Pure."""
    return outside in pair.outside and inside in pair.inside and pairs.mapped(inside, pair.inside, pair.outside) == outside


class Conversations:
    """Effects of conntrack on one host."""

    def __init__(self, host):
        self._host = host

    def cut(self, before, after, drifted=False):
        """Delete the entries that C(after) forbids, among those that the change touches; return warnings.

        :param drifted: the rules were not in force as C(before) has them: any conversation may have begun meanwhile.
        """
        subnets = touched(before, after)
        if drifted:
            subnets |= {subnet for entry in after.networks.values() for subnet in _subnets_of(entry)}
        if not subnets:
            return []
        judge = Judge(after.parsed(), after.flat_rules(), self._own_addresses(), subnets, before.flat_rules())
        try:
            for version in sorted({subnet.version for subnet in subnets}):
                family = f"ipv{version}"
                _rc, out, _err = self._host.run(["conntrack", "-L", "-f", family], what="listing open conversations")
                rows = list(filter(None, map(parse, out.splitlines())))
                for options in deletions(rows, {one for one in rows if judge.concerns(one) and judge.forbids(one)}):
                    # It may have ended by itself since: then there is nothing to delete.
                    self._host.run(["conntrack", "-D", "-f", family, *options], check=False)
        except MissingDependency:
            return [_NO_CONNTRACK]
        return []

    def _own_addresses(self):
        _rc, out, _err = self._host.run(["ip", "-j", "address"])
        return {
            ipaddress.ip_address(address["local"])
            for link in json.loads(out or "[]") for address in link.get("addr_info", ()) if "local" in address
        }
