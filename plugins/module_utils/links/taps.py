# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of persistent tap and tun devices."""

from __future__ import annotations

import grp
import pwd

from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput, MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.links import batch, forms
from ansible_collections.virtnet.kvm.plugins.module_utils.links.room import LinkRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Plan


class TapRoom(LinkRoom):
    key = "taps"
    kind = "tap"
    fields = ("name", "type", "state", "owner", "group", "multi_queue", "vnet_hdr", "bridge", "mtu", "mac", "addresses")

    def plan(self, before):
        plan, ops = Plan({}), []
        for item in self.items:
            self.refuse_foreign(item)
            link = self.links.get(item.name)
            if link is not None and link.kind not in ("tap", "tun"):
                raise InvalidInput(f"it is a {link.kind}, not a tap", item.name, f"{item.option}.name", "Choose another name.")
            current = None if link is None else self.form(link)
            if not item.wanted:
                ops.append(self._removal(plan, item, current))
                continue
            target = self._target(item, link)
            bridge = target["bridge"]
            if bridge and item.values.get("bridge") and getattr(self.links.get(bridge), "kind", None) != "bridge":
                plan.unmet.append(
                    MissingDependency(
                        f"there is no bridge {bridge}", item.name, f"{item.option}.bridge",
                        "Make it with virtnet.kvm.host_bridge.",
                    )
                )
            with self.asked_of_manager(item):
                texts = self.manager.link_files(target)
            after = forms.down(target)
            if current is None:
                after["made"] = after["type"] in self.manager.makes
            effect = self._effect(current, after)
            ops.append(self.op(item, current, after, texts, effect=effect, baseline=self.adopted(item)))
            plan.after[item.name] = self.normal({**after, "owned": True}, texts)
        return self.finished(plan, ops)

    def _effect(self, current, after):
        if current is None:
            return "none"
        if batch.is_another(current, after):
            return "recreate" if self._in_use(current["name"]) else "none"
        return "live"

    def _in_use(self, name):
        """Whether somebody, a guest say, holds the tap: it has carrier only then."""
        return "LOWER_UP" in self.links[name].row.get("flags", ())

    def _removal(self, plan, item, current):
        if current is None:
            return self.op(item, None, None, {})
        known = self._journal.get(self.journal_key(item.name))
        if known:
            plan.after[item.name] = self.normal({**forms.down(known), "owned": False}, {})
            return self.op(item, current, forms.down(known), {}, verb="restore", effect="live")
        return self.op(item, current, None, {}, effect="recreate" if self._in_use(item.name) else "none")

    def _target(self, item, link):
        if link is None:
            target = {
                "name": item.name, "type": "tap", "state": "up", "owner": None, "group": None, "multi_queue": False,
                "vnet_hdr": False, "bridge": None, "mtu": 1500, "mac": None, "addresses": [], "gateway": [], "routes": [],
            }
        else:
            target = self.full(link)
        target.update(item.values, description=forms.ALIAS, owned=True)
        target["type"] = item.more.get("mode", target["type"])
        if item.state in ("up", "down"):
            target["state"] = item.state
        for key, found in (("owner", _user), ("group", _group)):
            if key in item.values:
                target[key] = found(item.values[key], f"{item.option}.{key}", item.name)
        if target["bridge"] and target["addresses"]:
            raise InvalidInput(
                f"it has addresses, and a port of the bridge {target['bridge']} has none", item.name, f"{item.option}.addresses",
                "Say addresses: [] and give them to the bridge.",
            )
        if target["type"] == "tun":
            target["mac"] = None
        elif target["mac"] is None:
            target["mac"] = names.link_mac(self.machine(), item.name)
        return target


def _user(text, option, subject):
    return _account(text, option, subject, "user", pwd.getpwnam, lambda number: pwd.getpwuid(number).pw_name)


def _group(text, option, subject):
    return _account(text, option, subject, "group", grp.getgrnam, lambda number: grp.getgrgid(number).gr_name)


def _account(text, option, subject, what, by_name, name_of):
    """Return the name of a user or group given by name or number; an empty text is none."""
    if not text:
        return None
    try:
        if text.isdecimal():
            return name_of(int(text))
        by_name(text)
    except (KeyError, ValueError, OverflowError) as error:
        raise InvalidInput(f"there is no {what} {text}", subject, option, "Use one that exists on the host.") from error
    return text
