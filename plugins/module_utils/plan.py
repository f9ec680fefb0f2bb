# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan is data: the operations that lead from what is to what shall be, and the state they lead to."""

from __future__ import annotations

from dataclasses import dataclass, field

EFFECTS = ("none", "live", "replug", "recreate")


@dataclass(frozen=True)
class Op:
    """One operation on one object.

    C(kind) and C(name) say on what (C(network), C(natnet)), C(op) says what (C(define)), C(effect) what running
    guests notice of it, C(guests) which of them and C(nics) by which of their NICs, each (guest, MAC, link on the host),
    C(outage_s) for how long at most, in seconds. C(args) is what
    the room that applies it needs; it is not returned to the user. C(note) explains, where the name does not. One that
    C(follows) is only carried out when another one was: a daemon reads what was written.
    """

    kind: str
    name: str
    op: str
    effect: str = "none"
    guests: tuple = ()
    outage_s: float = 0
    note: str = ""
    args: dict = field(default_factory=dict, compare=False)
    nics: tuple = ()
    follows: bool = False

    def as_action(self):
        """Return the operation as an element of the result's C(actions)."""
        action = {
            "kind": self.kind,
            "name": self.name,
            "op": self.op,
            "effect": self.effect,
            "guests": list(self.guests),
            "outage_s": self.outage_s,
        }
        if self.nics:
            action["nics"] = [{"guest": guest, "mac": mac, "dev": link} for guest, mac, link in self.nics]
        if self.note:
            action["note"] = self.note
        return action


@dataclass
class Plan:
    """The operations in their order, and the normal form that must be read back after them.

    C(unmet) holds errors about what must be there first (a network, a package) and may come from a task before this
    one: a real run stops at the first of them, before anything is touched; check mode, where that task did nothing,
    warns of them, and returns them for who rehearses a real run.
    """

    after: dict
    ops: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    unmet: list = field(default_factory=list)

    @property
    def changed(self):
        return bool(self.ops)

    def actions(self):
        return [op.as_action() for op in self.ops]
