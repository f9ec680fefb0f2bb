# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of links that are there without us: changed in what is declared, given back as they were."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict, InvalidInput, MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, persist
from ansible_collections.virtnet.kvm.plugins.module_utils.links.room import LinkRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Plan
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import journal


class InterfaceRoom(LinkRoom):
    key = "interfaces"
    kind = "interface"
    fields = ("name", "type", "state", "mac", "mtu", "description", "bridge", "addresses", "gateway", "routes")

    def owned(self, link):
        return self.journal_key(link.name) in self._journal

    def plan(self, before):
        plan, ops = Plan({}), []
        for item in self.items:
            link = self.links.get(item.name)
            if link is None:
                if item.wanted:
                    plan.unmet.append(
                        MissingDependency("there is no link of that name", item.name, f"{item.option}.name", "See ip link.")
                    )
                continue
            self._refuse(item, link)
            current = self.form(link)
            if item.wanted:
                target = self._target(item, link)
                texts = self.manager.existing_files(target, {*item.values, *(["state"] if item.state != "present" else [])})
            elif current["owned"]:
                target, texts = self._former(current, self._journal[self.journal_key(item.name)]), {}
            else:
                target, texts = current, self.manager.own(item.name)
            after = forms.down(target)
            op = self.op(
                item, current, after, texts, effect="live", verb=None if item.wanted else "restore",
                baseline={self.journal_key(item.name): self.full(link)} if item.wanted else {},
                always=current["owned"] and not item.wanted,
            )
            ops.append(op)
            owned = item.wanted and (op is not None or current["owned"])
            plan.after[item.name] = self.normal({**after, "owned": owned}, texts)
        return self.finished(plan, ops)

    def _refuse(self, item, link):
        if link.alias == forms.ALIAS:
            module = "host_bridge" if link.kind == "bridge" else "tap_iface"
            raise Conflict("virtnet.kvm made it", item.name, f"{item.option}.name", f"Use virtnet.kvm.{module} for it.")
        if link.kind == "loopback":
            raise InvalidInput("it is the loopback", item.name, f"{item.option}.name", "Leave it alone.")
        keeper = persist.keeper(link)
        if keeper and self.manager.name != "none" and item.wanted:
            raise Conflict(
                f"{keeper} keeps it", item.name, f"{item.option}.name",
                "Change it there, or say manager: none for a change until the next boot.",
            )
        if link.form["bridge"] and item.values.get("addresses"):
            raise InvalidInput(
                f"it is a port of the bridge {link.form['bridge']}", item.name, f"{item.option}.addresses",
                "Give the addresses to the bridge.",
            )
        if link.form["mac"] is None and "mac" in item.values:
            raise InvalidInput(f"a {link.kind} has no MAC address", item.name, f"{item.option}.mac")

    def _target(self, item, link):
        target = {**self.full(link), **item.values, "owned": True}
        if item.state in ("up", "down"):
            target["state"] = item.state
        self.check_ways(item, link, target)
        return target

    def apply(self, op):
        super().apply(op)
        if op.op == "restore":
            # What is remembered is what makes it ours.
            journal.forget([self.journal_key(op.name)])

    @staticmethod
    def _former(current, known):
        """Return the form to go back to; what the link's place in a bridge decides stays as it is now."""
        target = {**known, "bridge": current["bridge"], "owned": False}
        if current["bridge"]:
            target.update(addresses=current["addresses"], gateway=current["gateway"], routes=current["routes"])
        return target
