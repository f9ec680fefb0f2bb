# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What net_policy and nat_rule converge: entries of the store, and the one ruleset that is rendered from all of them."""

from __future__ import annotations

import abc
import os
from dataclasses import dataclass
from typing import Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import files, model_checks, models, values
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, InvalidInput, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import (
    boot,
    conversations,
    entries,
    iptables,
    known_sets,
    nft,
    rule_file,
    ruleset,
    store,
    translation,
    way,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard, guard_text

#: Key of the normal form for what all entries share; no network and no rule is called so.
SHARED = "@firewall"


@dataclass(frozen=True)
class Rendered:
    """The whole of what a State means to the kernel: a transaction of C(nft), and C(iptables), {4: text, 6: text}."""

    nft: str
    iptables: dict

    @property
    def empty(self):
        return not nft.text_has_tables(self.nft) and not any(self.iptables.values())


class FirewallRoom(Room):
    """One change of the store and of the rules made of it: all of it happens, or none."""

    kind = ""

    def __init__(self, host, backend=store.BACKENDS[0], beside=None):
        """A change of the store and of its rules.

        :param backend: that of the sets that the call declares; the filter is nft's in any case.
        :param beside: a FirewallRoom that has looked at this host just now, for rooms that only plan: once is enough for both.
        """
        self._host = host
        self._backend = backend
        self._beside = beside
        self._nft = nft.Nft(host) if beside is None else beside._nft
        self._iptables = iptables.Iptables(host)
        self._boot = boot.Boot(host)
        self._conversations = conversations.Conversations(host)
        self._before = self._after = None
        self._seen = {}
        self._texts = {} if beside is None else beside._texts
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
        beside, self._beside = self._beside, None
        state = store.load() if beside is None else beside._before
        if self._before is None:
            self._before = state
        elif state == self._after:
            state = self._after  # rendered already
        rendered = self._rendered(state)
        if beside is None:
            self._seen = {"kernel": _in_words(*self._nft.state(rendered.nft)), "boot": self._boot.state(rendered)}
        else:
            self._seen = beside._seen
        shared = {"kernel": self._seen["kernel"], "iptables": "absent", "boot": self._seen["boot"]}
        if self._with_iptables(rendered):
            found = self._iptables.found()
            shared["iptables"] = _in_words(any(found.values()), self._iptables.drift(rendered.iptables, found))
        return _sorted({**self.objects(state), SHARED: shared})

    def _with_iptables(self, *rendered):
        """Return whether iptables has to do with it: a host may do without that command."""
        return self._backend == "iptables" or self._boot.has_iptables() or any(any(one.iptables.values()) for one in rendered)

    def _rendered(self, state):
        """Return what is Rendered of a State; once, gather asks again after an apply."""
        key = id(state)
        if key not in self._texts:
            self._texts[key] = (state, Rendered(state.transaction(), state.iptables()))
        return self._texts[key][1]

    def plan(self, before):
        after_state = self.desired(self._before)
        if after_state == self._before:
            after_state = self._before  # rendered already
        else:
            translation.check(after_state.flat_rules(), after_state.sets_of_iptables())
        self._after = after_state
        rendered = self._rendered(after_state)
        for version, text in rendered.iptables.items():
            self._iptables.expected_digest(text, version)
        shared = {
            "kernel": "in force" if nft.text_has_tables(rendered.nft) else "absent",
            "iptables": "in force" if any(rendered.iptables.values()) else "absent",
            "boot": {
                what: "absent" if text is None else "as declared" for what, (_path, text) in self._boot.wanted(rendered).items()
            },
        }
        after = {**self.objects(after_state), SHARED: shared}
        ops = self._ops(*({name: one for name, one in form.items() if name != SHARED} for form in (before, after)))
        if ops or before[SHARED] != shared or rendered != self._rendered(self._before):
            ops.append(Op("ruleset", "virtnet", "remove" if rendered.empty else "load", note=_why(before[SHARED])))
        return Plan(_sorted(after), ops, self._warnings)

    def _ops(self, before, after):
        """Return the operations from the objects of C(before) to those of C(after)."""
        return [Op(self.kind, name, word) for name, word in _changes(before, after)]

    def rehearse(self, plan):
        """A real run loads it in one transaction, which the kernel refuses as a whole; here it is tried beside."""
        self._nft.expected_digest(self._rendered(self._after).nft)

    def apply(self, op):
        """Everything at the first operation; a failure is that of all of them, for then nothing was changed."""
        if not self._committed:
            self._committed = True
            try:
                self._commit()
            except VirtnetError as error:
                error.subject = error.subject or ruleset.NAME
                self._failure = error
        if self._failure is not None:
            raise self._failure

    def _commit(self):
        """Kernel first, in one transaction each; then the files, so that a reboot in between finds what was."""
        undo = []
        try:
            for load, before, after in self._loads():
                undo.append((load, before))
                load(after)
            undo.append((lambda _before: self._persist(self._after, self._before), None))
            self._persist(self._before, self._after)
        except (OSError, VirtnetError) as error:
            told = error if isinstance(error, VirtnetError) else CommandFailed(f"a file could not be written: {error}")
            for back, what in reversed(undo):
                try:
                    back(what)
                except (OSError, VirtnetError) as second:
                    told.details["not_reverted"] = str(second)
            raise told from error
        self._warnings += self._conversations.cut(self._before, self._after, self._drifted)

    def _loads(self):
        """Return (how, before, after) of each program.

        First the one that a set moves to: for an instant both have its rules, and a conversation is translated by the
        first that meets it, which is nft. The other way round it would leave untranslated, for as long as it lasts.
        """
        before, after = self._rendered(self._before), self._rendered(self._after)
        loads = [(self._nft.load, before.nft, after.nft)]
        if self._with_iptables(before, after):
            other = (self._iptables.load, before.iptables, after.iptables)
            loads.insert(0 if self._backend == "iptables" else 1, other)
        return loads

    def _persist(self, before, after):
        self._boot.install(self._rendered(after))
        store.save(before, after)

    @property
    def _drifted(self):
        return self._seen["kernel"] not in ("in force", "absent")

    def _undo(self, links):
        """Return how the host takes back by itself what _commit() does, as a guard_text.Change."""
        before, after = self._rendered(self._before), self._rendered(self._after)
        kernel = {"nft -f -": self._nft.as_it_is(before.nft, self._drifted)}
        if self._with_iptables(before, after):
            kernel.update(self._iptables.way_back(after.iptables, self._iptables.found()))
        paths, commands = self._boot.undo(after)
        files = {path: os.path.exists(path) for path in [*paths, *store.written(self._before, self._after)]}
        return guard_text.Change(links, kernel, files, list(store.FOLDERS), reload=commands)

    def finish(self, plan):
        rendered = self._rendered(self._after)
        self._nft.remember(rendered.nft)
        self._iptables.remember(rendered.iptables)
        if rendered.empty:
            files.remove(known_sets.PATH)

    def settle(self, plan):
        if not plan.changed:
            # Others may have changed theirs since, and ours was looked at.
            self._nft.remember(self._rendered(self._after).nft)

    def extra(self, after):
        rendered = self._rendered(self._after)
        if not boot.has_systemd() and not rendered.empty:
            self._warnings.append(
                f"This host does not run systemd: nothing loads {boot.RULES} at boot. Let its init run: nft -f {boot.RULES}"
            )
        result = {
            self.key: [value for key, value in after.items() if key != SHARED],
            "backend": self._backend,
            "rendered": rendered.nft,
        }
        if any(rendered.iptables.values()):
            result["rendered_iptables"] = {f"ipv{version}": text for version, text in rendered.iptables.items()}
        return result


def _sorted(form):
    """Return the normal form in one order, so that check mode lists what a run lists."""
    return {key: form[key] for key in sorted(form)}


def _changes(before, after):
    """Yield (name, op) of what is to be done to objects, sorted by name."""
    for name in sorted(set(before) | set(after)):
        if before.get(name) != after.get(name):
            yield name, "remove" if name not in after else "add" if name not in before else "update"


def _in_words(there, lines):
    """Return the state of the kernel's rules for the normal form."""
    if not lines:
        return "in force" if there else "absent"
    return "; ".join(lines) if there else "not loaded"


def _why(shared):
    """Return what was found changed by hand, for the note of the action."""
    notes = [f"{key}: {shared[key]}" for key in ("kernel", "iptables") if shared[key] not in ("in force", "absent")]
    notes += [f"{key} at boot: {text}" for key, text in shared["boot"].items() if text not in ("as declared", "absent")]
    return "; ".join(notes)


class PolicyRoom(FirewallRoom):
    """net_policy: entries of networks."""

    key = "networks"
    kind = "policy"

    def __init__(self, host, items, window_s=0, look=None):
        """The declared networks.

        :param window_s: seconds that the controller has to come in anew after a change of its way to this host; 0 for no such
            switch.
        :param look: returns that way, as management.look() does.
        """
        super().__init__(host)
        self._items = items
        self._window_s = window_s
        self._look = look
        self._guarded = []

    def plan(self, before):
        plan = super().plan(before)
        if self._window_s and plan.changed:
            kernel = before[SHARED]["kernel"]
            # What is in force: all of it, nothing, or what somebody made of it by hand.
            in_force = {"in force": self._before.parsed(), "absent": [], "not loaded": []}.get(kernel)
            self._guarded = way.filtered(in_force, self._after.parsed(), *self._look())
        return plan

    def extra(self, after):
        found = super().extra(after)
        return {**found, "guard": guard.planned(self._guarded, self._window_s)} if self._guarded else found

    def arm(self, plan):
        return guard.armed(self._host, self._undo(self._guarded), self._window_s) if self._guarded else None

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
                _check_passage(network, target, path)
        for network in others:
            for access in network.policy.allow_to:
                if access.network not in known:
                    self._warnings.append(
                        f"The network {network.name} has allow_to {access.network}, which is no longer known on this host."
                    )
                elif known[access.network].firewall == "libvirt":
                    self._warnings.append(
                        f"The network {network.name} has allow_to {access.network}: libvirt's own rules refuse it there now."
                    )


def _check_passage(network, target, path):
    """Refuse what libvirt's own rules drop behind ours: into its nat networks, and into and out of its isolated ones."""
    for one in (network, target):
        if one.model == "isolated" and one.bridge_owner == "libvirt":
            raise InvalidInput(
                f"allow_to from {network.name} to {target.name}: libvirt's own rules close {one.name}, an isolated network",
                network.name, path, f"Give {one.name} bridge_owner: host.",
            )
    if target.firewall == "libvirt":
        raise InvalidInput(
            f"allow_to into {target.name}, which has firewall: libvirt", network.name, path,
            f"libvirt's rules refuse it; give {target.name} firewall: nftables.",
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


def _text_of(path):
    text = files.read(path)
    if text is None:
        raise InvalidInput("there is no such file on the host", path, "src", "Let Ansible run the module: it brings the file.")
    return text


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


class FileRoom(TranslationRoom):
    """nat_rule with src: thousands of rules.

    The objects are whole sets, for a list of so many rules nobody could read, and what was asked for before is known again.
    """

    key = "sets"
    kind = "rules"
    #: How many rules of those that have the same fate are named.
    _NAMED = 3

    def __init__(self, host, owner, src, networks, purge, backend=store.BACKENDS[0], entrance=None):
        """:param src: path of the file with the rules."""
        super().__init__(host, owner, None, networks, purge, backend, entrance=entrance)
        self._option = "src"
        self._text = _text_of(src)
        self._asked = known_sets.asked(self._text, self._owner, self._networks, purge, backend)
        self._known = None
        self._record = None

    def gather(self):
        if self._before is None:
            self._known = self._recall()
        return super().gather() if self._known is None else self._known["form"]

    def _recall(self):
        """Return the record of this very call if all is as it was after it."""
        record = known_sets.load().get(self._owner)
        if record is None or self._asked is None or [record["asked"], record["stamp"]] != [self._asked, self._nft.stamp()]:
            return None
        if not self._nft.unchanged(record["proof"]) or record["there"] != known_sets.there() or not self._boot.runs():
            return None
        return record

    def plan(self, before):
        if self._known is not None:
            return Plan(before)
        plan = super().plan(before)
        if not plan.changed:
            self._keep_in_mind()
        return plan

    def rehearse(self, plan):
        if self._known is None:
            super().rehearse(plan)

    def finish(self, plan):
        super().finish(plan)
        self._keep_in_mind()

    def _keep_in_mind(self):
        """Under the host's lock: make the record, if all that was asked for is in force and there is nothing to warn of."""
        rendered = self._rendered(self._after)
        proof = self._nft.proof(rendered.nft)
        if None in (self._asked, proof) or self._warnings or any(rendered.iptables.values()):
            return
        form = {
            name: {"set": name, "backend": self._after.backends[name], "rules": len(self._after.rules[name])}
            for name in sorted(self._owners()) if name in self._after.rules
        }
        self._record = {
            "asked": self._asked, "stamp": self._nft.stamp(), "proof": proof, "there": known_sets.there(), "form": form,
        }

    def settle(self, plan):
        if self._known is None:
            super().settle(plan)
            known_sets.remember(self._owner, self._record)

    def objects(self, state):
        return {
            owner: {"set": owner, "backend": state.backends[owner], "rules": state.rules[owner]}
            for owner in self._owners() if owner in state.rules
        }

    def _ops(self, before, after):
        ops = []
        for owner in sorted(set(before) | set(after)):
            old, new = before.get(owner), after.get(owner)
            if old == new:
                continue
            changes = {}
            for name, word in _changes(*((one or {}).get("rules", {}) for one in (old, new))):
                changes.setdefault(word, []).append(name)
            ops += [Op(self.kind, owner, word, note=self._listed(names)) for word, names in sorted(changes.items())]
            if old is not None and new is not None and old["backend"] != new["backend"]:
                ops.append(Op(self.kind, owner, "move", note=f"from {old['backend']} to {new['backend']}"))
        return ops

    def _listed(self, names):
        more = len(names) - self._NAMED
        return f"{len(names)}: {', '.join(names[:self._NAMED])}" + (f" and {more} more" if more > 0 else "")

    def desired(self, state):
        self._rules = rule_file.items(self._text, "src")
        return super().desired(state)

    def extra(self, after):
        rows = [value for key, value in after.items() if key != SHARED]
        if self._known is None:
            super().extra(after)  # for its warning
            rows = [{**one, "rules": len(one["rules"])} for one in rows]
        return {self.key: rows, "backend": self._backend}
