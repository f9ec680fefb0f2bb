# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nat_rule with src: thousands of rules in a file, told as sets, and known again when nothing has changed."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import known_sets, rule_file, store
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.room import SHARED, changes
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.translation_room import TranslationRoom, op_of_set
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan


def _text_of(path):
    text = files.read(path)
    if text is None:
        raise InvalidInput("there is no such file on the host", path, "src", "Let Ansible run the module: it brings the file.")
    return text


class FileRoom(TranslationRoom):
    """nat_rule with src: thousands of rules.

    The objects are whole sets, for a list of so many rules nobody could read, and what was asked for before is known again.
    """

    key = "sets"
    kind = "rules"

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
            return Plan(before, [], self._warnings)
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
            by_word = {}
            for name, word in changes(*((one or {}).get("rules", {}) for one in (old, new))):
                by_word.setdefault(word, []).append(name)
            ops += [op_of_set(owner, word, names) for word, names in sorted(by_word.items())]
            if old is not None and new is not None and old["backend"] != new["backend"]:
                ops.append(Op(self.kind, owner, "move", note=f"from {old['backend']} to {new['backend']}"))
        return ops

    def desired(self, state):
        self._rules = rule_file.items(self._text, "src")
        return super().desired(state)

    def extra(self, after):
        rows = [value for key, value in after.items() if key != SHARED]
        # What is known again is not empty.
        if self._known is not None or not self._rendered(self._after).empty:
            self._warn_of_boot()
        if self._known is None:
            rows = [{**one, "rules": len(one["rules"])} for one in rows]
        return {self.key: rows, "backend": self._backend}
