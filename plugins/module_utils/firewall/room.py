# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What net_policy, nat_rule and guests' ports converge: entries of the store, and the one ruleset that is rendered from all."""

from __future__ import annotations

import abc
import os
from dataclasses import dataclass
from typing import Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import (
    boot,
    conversations,
    iptables,
    known_sets,
    nft,
    ruleset,
    store,
    translation,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard_text

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
        return [Op(self.kind, name, word) for name, word in changes(before, after)]

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
        self._remember()
        if self._rendered(self._after).empty:
            files.remove(known_sets.PATH)

    def settle(self, plan):
        if not plan.changed:
            # Others may have changed theirs since, and ours was looked at; a run that was killed may have left its own.
            self._remember()
            if self._after.empty and store.left():
                with self._host.lock():
                    store.tidy(store.load())

    def _remember(self):
        rendered = self._rendered(self._after)
        self._nft.remember(rendered.nft)
        self._iptables.remember(rendered.iptables)

    def _warn_of_boot(self):
        if not boot.has_systemd():
            self._warnings.append(
                f"This host does not run systemd: nothing loads {boot.RULES} at boot. Let its init run: nft -f {boot.RULES}"
            )

    def extra(self, after):
        rendered = self._rendered(self._after)
        if not rendered.empty:
            self._warn_of_boot()
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


def changes(before, after):
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
