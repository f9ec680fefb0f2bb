# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A move that fails, and whose way back fails, too: both are told, the files are as before, and the host takes it back."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import engine
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.links import bridges, moves
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op

OLD = {"/etc/port": "old port", "/etc/bridge": "old bridge"}
NEW = {"/etc/port": None, "/etc/bridge": None}


class Manager:
    """A manager of links that moves them itself, and answers as long as it is not C(gone)."""

    moves, makes = True, ("bridge",)

    def __init__(self, fails=(), gone=True):
        self.fails, self.gone, self.files, self.called = fails, gone, dict(OLD), []

    def _asked(self, what):
        self.called.append(what)
        if what in self.fails:
            raise CommandFailed(f"{what}: it is not running")

    def write(self, changes):
        self.files.update(changes)

    def seeds(self, name, changes):
        return {path: text for path, text in changes.items() if path == "/etc/bridge"}

    def make(self, seeds):
        for one in seeds.values():
            self.write(one)
        self._asked("make")

    def move(self, names, bridge):
        self._asked("move")

    def renew(self, names):
        self._asked("renew")

    def reload(self, names):
        self._asked("reload")


class Host:
    def sysctl(self, key):
        return None


def room_and_op(manager, **more):
    room = bridges.BridgeRoom(Host(), [], manager)
    args = {
        "lines": ["x"], "undo": [], "files": dict(NEW), "old_files": dict(OLD), "baseline": {}, "sysctls": {}, "gateways": [],
        "names": ["eth0"], "early": {}, "create": False, "delete": True, "after": None, "moves": ["eth0"], **more,
    }  # fmt: skip
    op = Op("bridge", "br-gone0", "give_back", args=args)
    room._queue = [op]
    return room, op


@pytest.mark.parametrize("back", ["make", "renew"])
def test_both_errors_are_told_and_the_files_are_as_they_were(back):
    room, op = room_and_op(Manager(fails=("move", back)))
    with pytest.raises(CommandFailed, match="move: it is not running") as failed:
        room.apply(op)
    assert failed.value.details["not_reverted"] == [f"give_back: {back}: it is not running"]
    assert room.manager.files == OLD


def test_a_move_that_was_put_back_says_nothing_more():
    room, op = room_and_op(Manager(fails=("move",)))
    with pytest.raises(CommandFailed, match="move: it is not running") as failed:
        room.apply(op)
    assert "not_reverted" not in failed.value.details and room.manager.files == OLD


def test_a_gateway_that_is_silent_while_the_way_back_fails(monkeypatch):
    monkeypatch.setattr(moves.neighbours, "answers", lambda *_: False)
    room, op = room_and_op(Manager(fails=("renew",)), gateways=["192.0.2.1"])
    room._journal = {"port:eth0": {"taken": True}}
    with pytest.raises(CommandFailed, match="192.0.2.1 did not answer") as failed:
        room.apply(op)
    assert failed.value.details["not_reverted"] == ["give_back: renew: it is not running"]
    assert room.manager.files == OLD


def test_what_a_manager_was_told_beforehand_is_taken_back():
    room, op = room_and_op(Manager(fails=("reload",)), early=dict(NEW), moves=[])
    with pytest.raises(CommandFailed, match="reload: it is not running") as failed:
        room.apply(op)
    assert failed.value.details["not_reverted"] == ["give_back: reload: it is not running"]
    assert room.manager.files == OLD


class Armed:
    """The switch: what becomes of it."""

    def __init__(self):
        self.ends = []

    def restore(self, why):
        self.ends.append(f"restore {why}")

    def disarm(self):
        self.ends.append("disarm")


@pytest.mark.parametrize(
    ("details", "end"),
    [({}, "disarm"), ({"not_reverted": ["x"]}, "restore failed"), ({"changed": True}, "restore failed")],
)
def test_the_host_takes_back_what_the_module_could_not(details, end):
    armed, error = Armed(), CommandFailed("no")
    error.details.update(details)
    engine._abandon(armed, error)
    assert armed.ends == [end]
