# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rooms of links have in common: what a manager is given to make a link of, and what is looked at before all else."""

from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.links import bridges
from ansible_collections.virtnet.kvm.plugins.module_utils.links import room as room_module
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan

FOLDER = "/etc/systemd/network"
TEXTS = {f"{FOLDER}/br0.link": "link", f"{FOLDER}/br0.netdev": "netdev", f"{FOLDER}/br0.network": "network"}
BRIDGE = {"type": "bridge", "made": True}


class Manager:
    """A manager that makes bridges of all files but C(.network), of which C(there) are written already."""

    name, makes, moves = "networkd", ("bridge",), False

    def __init__(self, there):
        self.there, self.made = there, []

    def own(self, name):
        return dict(self.there)

    def seeds(self, name, changes):
        return {path: text for path, text in changes.items() if not path.endswith(".network")}

    def make(self, seeds):
        self.made.append(seeds)


def room_and_op(there):
    room = bridges.BridgeRoom(None, [], Manager(there))
    item = SimpleNamespace(name="br0", option="bridges[0]")
    op = room.op(item, None, {"type": "bridge", "made": True}, TEXTS, lines=(["link set dev br0 up"], []))
    return room, op


@pytest.mark.parametrize("count", range(len(TEXTS) + 1))
def test_a_link_that_is_gone_is_made_of_all_its_files_whichever_are_there(count):
    room, op = room_and_op(dict(list(TEXTS.items())[:count]))
    assert len(op.args["files"]) == len(TEXTS) - count
    room._queue = [op]
    room._prepare(op)
    assert room.manager.made == [{"br0": {path: text for path, text in TEXTS.items() if not path.endswith(".network")}}]


def test_a_read_only_disk_is_told_before_a_link_is_touched(monkeypatch):
    monkeypatch.setattr(files.os, "statvfs", lambda folder: SimpleNamespace(f_flag=os.ST_RDONLY))
    room, op = room_and_op({})
    with pytest.raises(CommandFailed, match=rf"br0: {FOLDER}/br0.link could not be changed: Read-only file system"):
        room.finished(Plan({}), [op])
    room, op = room_and_op(TEXTS)
    assert room.finished(Plan({}), [op]).ops == [op]  # none of its files is to be changed


@pytest.mark.parametrize(
    ("after", "there", "fate", "removed"),
    [
        (None, True, "goes", 1), (None, False, "goes", 0), (BRIDGE, True, "goes", 0), (None, True, "cannot go", 0),
        (None, True, "is put back", 0),
    ],
)  # fmt: skip
def test_a_removed_link_that_the_manager_makes_anew_meanwhile_is_removed_again(monkeypatch, after, there, fate, removed):
    """systemd-networkd that is started just then has read the files that are gone now; one that could not go stays."""
    batches = []
    monkeypatch.setattr(room_module.iproute2, "batch", lambda _host, lines, *_rest, **_more: batches.append(lines))
    monkeypatch.setattr(room_module.os.path, "exists", lambda _path: there)
    room, _op = room_and_op(TEXTS)
    monkeypatch.setattr(room, "fields", ())
    item = SimpleNamespace(name="br0", option="bridges[0]")
    op = room.op(item, BRIDGE, after, TEXTS if after else {}, lines=(["first"], []), always=True)
    room._queue = [op]

    def write(changes):
        if fate == "cannot go" and None in changes.values():
            raise CommandFailed("no")

    room.manager.write, room.manager.renew, room.manager.reload = write, lambda names: None, lambda names: None
    with pytest.raises(CommandFailed) if fate == "cannot go" else contextlib.nullcontext():
        room.apply(op)
    if fate == "is put back":
        room.revert(op)
    room.apply(Op("manager", "networkd", "reload", args={"names": ["br0"], "restart": False}))
    assert batches[0] == ["first"]
    assert [lines for lines in batches if lines != ["first"]] == [["link delete dev br0"]] * removed
