# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""net_policy as a whole: the filter, and behind it what lets its packets through firewalls that others have on the host."""

from __future__ import annotations

import os

from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign.openings import BOOT, DROP_IN, Openings
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.policy_room import PolicyRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan

#: Key of the normal form for the openings; no network is called so.
FOREIGN = "@foreign"


class PassingPolicyRoom(PolicyRoom):
    """The filter is there before anything is opened, and goes after it was closed."""

    def __init__(self, host, *arguments, **more):
        super().__init__(host, *arguments, **more)
        self._openings = Openings(host)

    def gather(self):
        return {**super().gather(), FOREIGN: self._openings.found()}

    def plan(self, before):
        found = before[FOREIGN]
        plan = super().plan({key: value for key, value in before.items() if key != FOREIGN})
        wanted = self._openings.wanted(self._after.parsed())
        closing, opening = [], []
        for name in sorted(set(found) | set(wanted), key=lambda name: (name == BOOT, name)):
            was, shall = found.get(name, []), wanted.get(name, [])
            if was != shall:
                word = "remove" if not shall else "add" if not was else "update"
                (opening if set(shall) - set(was) else closing).append(Op("opening", name, word))
        if any(op.name == "firewalld" for op in closing + opening):
            plan.warnings += [
                f"firewalld is reloaded, and its zone {zone} loses what was not made permanent of it."
                for zone in self._openings.lost()
            ]
        if self._after.empty:
            # What a boot needs goes before the folder that it is in.
            opening, closing = [], closing + opening
        return Plan({**plan.after, FOREIGN: wanted}, [*closing, *plan.ops, *opening], plan.warnings, plan.unmet)

    def apply(self, op):
        if op.kind == "opening":
            self._openings.change(op.name)
        else:
            super().apply(op)

    def _undo(self, links):
        change = super()._undo(links)
        lines, paths, commands = self._openings.undo()
        if lines:
            change.kernel["sh -s"] = "\n".join([*lines, ""])
        change.files.update({path: os.path.exists(path) for path in paths})
        # What is empty then goes, the folder of the drop-in first.
        change.folders.insert(0, os.path.dirname(DROP_IN))
        change.reload += commands
        return change

    def extra(self, after):
        foreign = [{"name": name, "openings": lines} for name, lines in after[FOREIGN].items() if name != BOOT]
        result = super().extra({key: value for key, value in after.items() if key != FOREIGN})
        return {**result, "foreign": sorted(foreign, key=lambda one: one["name"])}
