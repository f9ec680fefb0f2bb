# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What net_policy and nat_rule converge: entries of the store, and the one ruleset that is rendered from all of them."""

from __future__ import annotations

import abc
from typing import Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import model_checks, models, values
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, InvalidInput, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import boot, conversations, entries, nft, store, translation
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan

BACKEND = "nftables"
#: Key of the normal form for what all entries share; no network and no rule is called so.
SHARED = "@firewall"


class FirewallRoom(Room):
    """One change of the store and of the rules made of it: all of it happens, or none."""

    kind = ""

    def __init__(self, host):
        self._nft = nft.Nft(host)
        self._boot = boot.Boot(host)
        self._conversations = conversations.Conversations(host)
        self._before = self._after = None
        self._texts = {}
        self._committed = False
        self._failure: Optional[VirtnetError] = None
        self._warnings = []

    @abc.abstractmethod
    def objects(self, state):
        """Return {name: plain value} of the declared objects as far as C(state) has them."""

    @abc.abstractmethod
    def desired(self, state):
        """Return the State that was declared; raise InvalidInput or Conflict."""

    def gather(self):
        state = store.load()
        if self._before is None:
            self._before = state
        text = self._text(state)
        found = self._nft.found()
        lines = self._nft.drift(text, found)
        if not lines:
            kernel = "in force" if found else "absent"
        else:
            kernel = "; ".join(lines) if found else "not loaded"
        wanted = text if nft.text_has_tables(text) else None
        return _sorted({**self.objects(state), SHARED: {"kernel": kernel, "boot": self._boot.state(wanted)}})

    def _text(self, state):
        """Return the transaction for a State; rendered once, gather asks again after an apply."""
        key = id(state)
        if key not in self._texts:
            self._texts[key] = (state, state.transaction())
        return self._texts[key][1]

    def plan(self, before):
        after_state = self.desired(self._before)
        if after_state == self._before:
            after_state = self._before  # rendered already
        else:
            translation.check(after_state.flat_rules())
        self._after = after_state
        text = self._text(after_state)
        self._nft.expected_digest(text)  # raises if nft or the kernel refuses it, in check mode too
        there = nft.text_has_tables(text)
        shared = {
            "kernel": "in force" if there else "absent",
            "boot": dict.fromkeys(before[SHARED]["boot"], "as declared" if there else "absent"),
        }
        after = {**self.objects(after_state), SHARED: shared}
        ops = [
            Op(self.kind, name, "remove" if name not in after else "add" if name not in before else "update")
            for name in sorted(set(before) | set(after)) if name != SHARED and before.get(name) != after.get(name)
        ]
        if ops or before[SHARED] != shared or text != self._text(self._before):
            ops.append(Op("ruleset", "virtnet", "load" if there else "remove", note=_why(before[SHARED])))
        return Plan(_sorted(after), ops, self._warnings)

    def apply(self, op):
        """Everything at the first operation; a failure is that of all of them, for then nothing was changed."""
        if not self._committed:
            self._committed = True
            try:
                self._commit()
            except VirtnetError as error:
                self._failure = error
        if self._failure is not None:
            raise self._failure

    def _commit(self):
        """Kernel first, in one transaction; then the files, so that a reboot in between finds what was."""
        before, after = self._text(self._before), self._text(self._after)
        self._nft.load(after)
        try:
            self._persist(self._before, self._after)
        except (OSError, VirtnetError) as error:
            told = error if isinstance(error, VirtnetError) else CommandFailed(f"a file could not be written: {error}")
            try:
                self._nft.load(before)
                self._persist(self._after, self._before)
            except (OSError, VirtnetError) as second:
                told.details["not_reverted"] = str(second)
            raise told from error
        self._warnings += self._conversations.cut(self._before, self._after)

    def _persist(self, before, after):
        text = self._text(after)
        if nft.text_has_tables(text):
            self._boot.install(text)
        else:
            self._boot.remove()
        store.save(before, after)

    def finish(self, plan):
        self._nft.remember(self._text(self._after))

    def extra(self, after):
        if not boot.has_systemd() and nft.text_has_tables(self._text(self._after)):
            self._warnings.append(
                f"This host does not run systemd: nothing loads {boot.RULES} at boot. Let its init run: nft -f {boot.RULES}"
            )
        return {
            self.key: [value for key, value in after.items() if key != SHARED],
            "backend": BACKEND,
            "rendered": self._text(self._after),
        }


def _sorted(form):
    """Return the normal form in one order, so that check mode lists what a run lists."""
    return {key: form[key] for key in sorted(form)}


def _why(shared):
    """Return what was found changed by hand, for the note of the action."""
    notes = [] if shared["kernel"] in ("in force", "absent") else [f"kernel: {shared['kernel']}"]
    notes += [f"{key} at boot: {text}" for key, text in shared["boot"].items() if text not in ("as declared", "absent")]
    return "; ".join(notes)


class PolicyRoom(FirewallRoom):
    """net_policy: entries of networks."""

    key = "networks"
    kind = "policy"

    def __init__(self, host, items):
        super().__init__(host)
        self._items = items

    def objects(self, state):
        return {item["name"]: state.networks[item["name"]] for item in self._items if item["name"] in state.networks}

    def desired(self, state):
        declared = models.parse_networks(
            [entries.with_kept(item, state.networks.get(item["name"])) for item in self._items]
        )
        after = state.copy()
        for network in declared:
            if network.wanted:
                after.networks[network.name] = entries.network_entry(network)
            else:
                after.networks.pop(network.name, None)
        wanted = [one for one in declared if one.wanted]
        names = {one.name for one in declared}
        others = [one for one in state.parsed() if one.name not in names]
        _check_bridges(wanted, others)
        model_checks.check_overlaps(others + wanted)
        self._check_allow_to(wanted, others)
        return after

    def _check_allow_to(self, wanted, others):
        known = {one.name: one for one in others + wanted}
        for network in wanted:
            for number, access in enumerate(network.policy.allow_to):
                path = f"{network.option}.policy.allow_to[{number}].network"
                target = known.get(access.network)
                if target is None:
                    raise InvalidInput(
                        f"the network {access.network} is not known on this host", network.name, path,
                        "Declare it too: in the same call, or before.",
                    )
                if target.name == network.name:
                    raise InvalidInput("a network is open to itself", network.name, path, "Leave it out.")
                if "bridged" in (target.model, network.model):
                    raise InvalidInput(
                        f"allow_to from {network.model} to {target.model}: bridged guests are outside, with all of their LAN",
                        network.name, path, "Use port_forwards, or a routed network.",
                    )
        for network in others:
            for access in network.policy.allow_to:
                if access.network not in known:
                    self._warnings.append(
                        f"The network {network.name} has allow_to {access.network}, which is no longer known on this host."
                    )


def _check_bridges(wanted, others):
    by_bridge = {one.bridge: one for one in others if one.attach == "bridge"}
    for network in wanted:
        other = by_bridge.get(network.bridge) if network.attach == "bridge" else None
        if other is not None:
            raise InvalidInput(
                f"the bridge {network.bridge} is also that of {other.name} ({other.option})", network.name,
                f"{network.option}.bridge", "Give each network its own.",
            )


class TranslationRoom(FirewallRoom):
    """nat_rule: sets of rules, and those that networks ask for."""

    key = "rules"
    kind = "rule"

    def __init__(self, host, owner, rules, networks, purge):
        super().__init__(host)
        self._owner = values.name(owner, "set", owner)
        self._rules = rules
        self._networks = networks or []
        self._purge = purge

    def objects(self, state):
        found = {}
        own = state.rules.get(self._owner, {})
        declared = {item["name"] for item in self._rules or ()}
        for name, rule in own.items():
            if self._purge or name in declared:
                found[f"{self._owner}/{name}"] = {"set": self._owner, **rule}
        for item in self._networks:
            owner = entries.OF_NETWORK + item["name"]
            for name, rule in state.rules.get(owner, {}).items():
                found[f"{owner}/{name}"] = {"set": owner, **rule}
        return found

    def desired(self, state):
        after = state.copy()
        declared = models.parse_networks(
            [entries.with_kept(item, state.networks.get(item["name"])) for item in self._networks]
        )
        for network in declared:
            _put(after.rules, entries.OF_NETWORK + network.name, entries.rules_of_network(network))
        known = {one.name: one for one in state.parsed()}
        known.update({one.name: one for one in declared if one.wanted})
        own = {} if self._purge else dict(state.rules.get(self._owner, {}))
        seen = {}
        for number, item in enumerate(self._rules or ()):
            path = f"rules[{number}]"
            if item["name"] in seen:
                raise InvalidInput(
                    f"the rule is declared twice, as {seen[item['name']]} too", item["name"], f"{path}.name", "Declare it once."
                )
            seen[item["name"]] = path
            if item.get("state") == "absent":
                own.pop(item["name"], None)
            else:
                own[item["name"]] = entries.parse_rule(item, path, known)
        _put(after.rules, self._owner, own)
        return after


def _put(rules, owner, content):
    if content:
        rules[owner] = content
    else:
        rules.pop(owner, None)
