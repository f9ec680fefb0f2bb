# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nat_rule: sets of rules in the store, those of a task and those that networks ask for."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import models, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries, ruleset, store, way
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.room import FirewallRoom, changes
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op

#: How many rules of those that have the same fate are named where they are told as one.
_NAMED = 3
#: So many rules of a set with the same fate are told one by one; more nobody reads.
_ONE_BY_ONE = 50


def op_of_set(owner, word, names):
    """Return the Op of many rules of a set that have the same fate."""
    more = len(names) - _NAMED
    note = f"{len(names)}: {', '.join(names[:_NAMED])}" + (f" and {more} more" if more > 0 else "")
    return Op("rules", owner, word, note=note)


class TranslationRoom(FirewallRoom):
    """nat_rule: sets of rules, and those that networks ask for."""

    key = "rules"
    kind = "rule"

    def __init__(self, host, owner, rules, networks, purge, backend=store.BACKENDS[0], beside=None, entrance=None):
        """What was declared.

        :param entrance: returns where the controller came in to a host, as management.entrance() does.
        """
        super().__init__(host, backend, beside)
        self._entrance = entrance
        self._owner = values.name(owner, "set", owner)
        self._option = "rules"
        self._rules = rules
        self._networks = networks or []
        self._purge = purge

    def _owners(self):
        """Return the sets that the call is about."""
        return [self._owner, *(entries.OF_NETWORK + item["name"] for item in self._networks)]

    def objects(self, state):
        found = {}
        declared = {item["name"] for item in self._rules or ()}
        for owner in self._owners():
            for name, rule in state.rules.get(owner, {}).items():
                if owner != self._owner or self._purge or name in declared:
                    found[f"{owner}/{name}"] = {"set": owner, "backend": state.backends[owner], **rule}
        return found

    def _ops(self, before, after):
        found = {}
        for name, word in changes(before, after):
            owner, _slash, rule = name.partition("/")
            found.setdefault((owner, word), []).append(rule)
        ops = []
        for (owner, word), names in found.items():
            many = len(names) > _ONE_BY_ONE
            ops += [op_of_set(owner, word, names)] if many else [Op(self.kind, f"{owner}/{name}", word) for name in names]
        return ops

    def desired(self, state):
        after = state.copy()
        declared = models.parse_networks(
            [entries.with_kept(item, state.networks.get(item["name"])) for item in self._networks]
        )
        for network in declared:
            after.put_rules(entries.OF_NETWORK + network.name, entries.rules_of_network(network), self._backend)
        networks = {one.name: one for one in [*state.parsed(), *(one for one in declared if one.wanted)]}
        own = {} if self._purge else dict(state.rules.get(self._owner, {}))
        seen = {}
        for number, item in enumerate(self._rules or ()):
            path = f"{self._option}[{number}]"
            if item["name"] in seen:
                raise InvalidInput(
                    f"the rule is declared twice, as {seen[item['name']]} too", item["name"], f"{path}.name", "Declare it once."
                )
            seen[item["name"]] = path
            if item.get("state") == "absent":
                own.pop(item["name"], None)
            else:
                own[item["name"]] = entries.parse_rule(item, path, networks)
                self._warn_of_literal(own[item["name"]])
        if self._rules is not None:
            after.put_rules(self._owner, own, self._backend)
        self._keep_entrance(state, after, networks, seen)
        return after

    def _keep_entrance(self, before, after, networks, declared):
        """Refuse a rule that would lead the controller's next connection to a guest.

        :param networks: {name: Network} as they shall be, C(declared) {rule of our own set: its option}.
        """
        found = [
            (owner, name, rule) for owner in self._owners() for name, rule in after.rules.get(owner, {}).items()
            if rule != before.rules.get(owner, {}).get(name)
        ]
        entrance = self._entrance(self._host) if found and self._entrance is not None else None
        if entrance is None:
            return
        gateways = {one.ip for network in networks.values() if network.model in ruleset.INNER for one in network.addresses or ()}
        for owner, name, rule in found:
            if way.leads_away(rule, entrance, gateways):
                raise InvalidInput(
                    f"by {entrance.address} port {entrance.port} this very connection came in; nobody could any more, for the "
                    "rule leads such connections to a guest",
                    f"{owner}/{name}", declared.get(name) if owner == self._owner else None,
                    "Listen on another port, or on an address, a link or for sources that are not the controller's.",
                )

    def _warn_of_literal(self, rule):
        if rule.get("literal"):
            sources = ", ".join(rule["sources"])
            self._warnings.append(
                f"The rule {self._owner}/{rule['name']} is literal: multicast and broadcast from {sources} are translated too, "
                "and with br_netfilter also what guests of one bridge say to each other: they see their gateway's address."
            )
