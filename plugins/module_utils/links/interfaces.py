# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of links that are there without us: changed in what is declared, given back as they were."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict, InvalidInput, MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.links import batch, forms, iproute2, route_sets
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import keepers as persist
from ansible_collections.virtnet.kvm.plugins.module_utils.links.room import LinkRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Plan
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import journal


class InterfaceRoom(LinkRoom):
    key = "interfaces"
    kind = "interface"
    fields = ("name", "type", "state", "mac", "mtu", "description", "bridge", "addresses", "gateway", "routes", "route_sets")

    def __init__(self, host, items, manager, adopt=False):
        super().__init__(host, items, manager, adopt)
        self._sets = {}
        self._rows = []

    def gather(self):
        self._sets = {item.name: route_sets.load(item.name) for item in self.items}
        return super().gather()

    def owned(self, link):
        return self.journal_key(link.name) in self._journal

    def form(self, link):
        sets = self._sets.get(link.name)
        return {**super().form(link), "route_sets": sets.listed() if sets else []}

    def plan(self, before):
        plan, ops = Plan({}), []
        if any(item.more.get("route_sets") for item in self.items):
            self._rows = iproute2.main_routes(self.host)
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
            sets = self._sets_after(item, link, current)
            if item.wanted:
                target, texts = self._wanted(item, link, sets)
            elif current["owned"] or sets != self._sets[item.name]:
                target, texts = self._former(current, self._journal.get(self.journal_key(item.name), current)), {}
            else:
                target, texts = current, self.manager.own(item.name)
            target["route_sets"] = sets.listed()
            after = forms.down(target)
            restored = not target["owned"] and current["owned"]
            op = self.op(
                item, current, after, texts, effect="live", verb="restore" if restored or not item.wanted else None,
                baseline={self.journal_key(item.name): self.full(link)} if target["owned"] else {},
                always=restored or sets != self._sets[item.name],
            )
            if op is not None:
                op.args.update(sets=(self._sets[item.name], sets), after=after)
            ops.append(op)
            owned = target["owned"] and (op is not None or current["owned"])
            plan.after[item.name] = self.normal({**after, "owned": owned}, texts)
        return self.finished(plan, ops)

    def _sets_after(self, item, link, current):
        """Return the sets of routes that the link shall have."""
        before = self._sets[item.name]
        if not item.wanted:
            return route_sets.Sets()
        alone = self._by_sets_only(item) and (before.alone or not (current["owned"] or self._made(link)))
        after = before.changed(item.more.get("route_sets", {}), current["routes"], alone)
        if item.more.get("route_sets"):
            route_sets.check_free(item.name, item, before, after, self._rows)
        return after

    @staticmethod
    def _by_sets_only(item):
        return "route_sets" in item.more and not item.values and item.state == "present"

    def _made(self, link):
        """Whether it is a bridge or a tap that we made."""
        return super().owned(link)

    def _wanted(self, item, link, sets):
        """Return (form, files) of a link that is declared, with the sets' routes beside the others."""
        before = self._sets[item.name]
        if self._by_sets_only(item) and not before.sets and not sets.sets:
            return self.form(link), self.manager.own(item.name)
        target = {**self.full(link), **item.values, "owned": True}
        if item.state in ("up", "down"):
            target["state"] = item.state
        others = [one for one in target["routes"] if one not in before.ours or one in item.values.get("routes", ())]
        target["routes"] = route_sets.merged(others, sets.routes)
        self.check_ways(item, link, target)
        if before.alone and not sets.sets:
            # Nothing else of it is ours: its own file counts again.
            return {**target, "owned": False}, {}
        declared = {*item.values, *(["state"] if item.state != "present" else [])}
        gone = [one for one in before.ours if one not in target["routes"]]
        with self.asked_of_manager(item):
            texts = self.manager.existing_files(target, declared, sets.routes, gone)
        if self._made(link):
            # host_bridge and tap_iface have more files of it, and remember what was there before.
            target["owned"] = False
            texts = {**self.manager.own(item.name), **texts}
        return target, texts

    def _refuse(self, item, link):
        if self._made(link) and item.wanted and not self._by_sets_only(item):
            module = "host_bridge" if link.kind == "bridge" else "tap_iface"
            raise Conflict("virtnet.kvm made it", item.name, f"{item.option}.name", f"Use virtnet.kvm.{module} for it.")
        if link.kind == "loopback":
            raise InvalidInput("it is the loopback", item.name, f"{item.option}.name", "Leave it alone.")
        keeper = persist.keeper(link)
        if keeper not in (None, self.manager.name) and self.manager.name != "none" and item.wanted:
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

    def guarded_files(self):
        return [*super().guarded_files(), *(route_sets.path(item.name) for item in self.items)]

    def apply(self, op):
        super().apply(op)
        if op.kind == self.kind:
            route_sets.save(op.name, op.args["sets"][1])
        else:
            self._routes_again()
        if op.op == "restore":
            # What is remembered is what makes it ours.
            journal.forget([self.journal_key(op.name)])

    def _routes_again(self):
        """Give links back what networkd took when it read its files: it removes routes that none of them names."""
        links, lines = iproute2.read(self.host), []
        for op in self._queue:
            after = op.args["after"]
            if op.name in links and op.name not in self._failed and after["state"] == "up":
                there = forms.all_routes(links[op.name].form)
                lines += [batch.route_line("replace", op.name, one) for one in forms.all_routes(after) if one not in there]
        if lines:
            iproute2.batch(self.host, lines, "giving the link its routes back")

    def revert(self, op):
        super().revert(op)
        if op.kind == self.kind:
            route_sets.save(op.name, op.args["sets"][0])

    @staticmethod
    def _former(current, known):
        """Return the form to go back to; what the link's place in a bridge decides stays as it is now."""
        target = {**known, "bridge": current["bridge"], "owned": False}
        if current["bridge"]:
            target.update({key: current.get(key) for key in ("addresses", "gateway", "metrics", "routes")})
        return target
