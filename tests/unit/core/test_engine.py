# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import engine
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import (
    CommandFailed,
    ConnectionLost,
    MissingDependency,
    VerificationFailed,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.host import Host
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan


class Counters(engine.Room):
    """A room whose objects are numbers in memory; an operation adds one."""

    key = "counters"

    def __init__(self, have, want, broken=(), lossy=False):
        self.have, self.want, self.broken, self.lossy = dict(have), want, broken, lossy

    def gather(self):
        return {name: {"value": value} for name, value in self.have.items()}

    def plan(self, before):
        plan = Plan({name: {"value": value} for name, value in self.want.items()})
        for name, value in self.want.items():
            for step in range(self.have.get(name, 0), value):
                plan.ops.append(Op("counter", name, f"add{step}"))
        return plan

    def apply(self, op):
        if (op.name, op.op) in self.broken:
            raise CommandFailed("no")
        if not self.lossy:
            self.have[op.name] = self.have.get(op.name, 0) + 1

    def revert(self, op):
        self.have[op.name] -= 1


class NoHost:
    def lock(self):
        return contextlib.nullcontext()


@pytest.fixture(autouse=True)
def no_journal(monkeypatch):
    monkeypatch.setattr(engine.journal, "record", lambda entries: None)


def test_a_run_is_what_check_mode_says():
    checked, _warnings = engine.converge(Counters({"a": 1}, {"a": 3}), NoHost(), True)
    real, _warnings = engine.converge(Counters({"a": 1}, {"a": 3}), NoHost(), False)
    assert checked == real
    assert real["changed"] and [one["op"] for one in real["actions"]] == ["add1", "add2"]


def test_check_mode_touches_nothing():
    room = Counters({"a": 1}, {"a": 3})
    engine.converge(room, NoHost(), True)
    assert room.have == {"a": 1}


def test_what_must_be_there_first_is_told_by_check_mode_and_ends_a_real_run():
    class Lacking(Counters):
        def plan(self, before):
            plan = super().plan(before)
            plan.unmet = [CommandFailed("no bridge"), CommandFailed("no link")]
            return plan

    told, warnings = engine.converge(Lacking({}, {"a": 1}), NoHost(), True)
    assert told["unmet"] == warnings == ["no bridge", "no link"]
    room = Lacking({}, {"a": 1})
    with pytest.raises(CommandFailed, match="no bridge"):
        engine.converge(room, NoHost(), False)
    assert room.have == {}
    assert "unmet" not in engine.converge(Counters({}, {"a": 1}), NoHost(), True)[0]


def test_a_second_run_is_unchanged():
    room = Counters({"a": 1}, {"a": 3})
    engine.converge(room, NoHost(), False)
    result, _warnings = engine.converge(room, NoHost(), False)
    assert not result["changed"] and result["actions"] == []


def test_the_object_that_fails_is_put_back_and_the_others_stand():
    room = Counters({"a": 0, "b": 0, "c": 0}, {"a": 2, "b": 3, "c": 1}, broken={("b", "add2")})
    with pytest.raises(CommandFailed) as caught:
        engine.converge(room, NoHost(), False)
    assert room.have == {"a": 2, "b": 0, "c": 1}
    assert caught.value.subject == "b"
    assert [one["name"] for one in caught.value.details["failures"]] == ["b"]
    assert caught.value.details["changed"]


def test_a_daemon_that_goes_away_is_one_error_and_nothing_is_put_back():
    class Gone(Counters):
        def apply(self, op):
            if op.name == "b":
                raise ConnectionLost("libvirt went away", "b")
            super().apply(op)

        def revert(self, op):
            raise AssertionError("there is nobody to ask")

    room = Gone({}, {"a": 2, "b": 2, "c": 2})
    with pytest.raises(ConnectionLost, match=r"^b: libvirt went away \(2 of 6 operations were done\)$") as caught:
        engine.converge(room, NoHost(), False)
    assert room.have == {"a": 2}
    assert caught.value.details["changed"] and len(caught.value.details["done"]) == 2


def test_what_is_not_read_back_is_an_error():
    with pytest.raises(VerificationFailed, match="a.value is 1, not 2"):
        engine.converge(Counters({"a": 1}, {"a": 2}, lossy=True), NoHost(), False)


@pytest.mark.parametrize(
    ("planned", "found", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b is 2, not 1"]),
        ({"a": 1}, {}, ["a is missing"]),
        ({}, {"a": 1}, ["a is there unasked"]),
    ],
)
def test_difference(planned, found, lines):
    assert engine.difference(planned, found) == lines


class Module:
    """As much of Ansible's module as run_module() uses."""

    check_mode, _diff, run_command = True, False, None

    def fail_json(self, **result):
        raise SystemExit(result["msg"])


@pytest.mark.parametrize(
    ("user", "told"),
    [
        (1000, r"^no permission for /etc/virtnet/networks\.d: this needs root\. Set become: true\.$"),
        # Root meets it too, where a file is immutable.
        (0, r"^/etc/virtnet/networks\.d: Permission denied$"),
    ],
)
def test_without_root_the_cure_is_named(monkeypatch, user, told):
    """A file that only root may read, as the store of the firewall is."""
    monkeypatch.setattr("os.geteuid", lambda: user)

    def build(host):
        raise PermissionError(13, "Permission denied", "/etc/virtnet/networks.d")

    with pytest.raises(SystemExit, match=told):
        engine.run_module(Module(), build)


def test_what_was_not_given_is_not_carried_back():
    given = {"networks": [{"name": "a", "dhcp": None, "dns": {"domain": None, "hosts": []}}], "purge": False, "uri": None}
    told = {}
    module = Module()
    module.params, module.warn, module.exit_json = given, None, lambda **result: told.update(result)
    engine.run_module(module, lambda host: Counters({"a": 1}, {"a": 1}))
    assert told["invocation"] == {"module_args": {"networks": [{"name": "a", "dns": {"hosts": []}}], "purge": False}}
    engine.plan_module(module, lambda host: ([("counters", Counters({"a": 1}, {"a": 2}))], {}), ["counters"])
    assert told["invocation"]["module_args"]["networks"] == [{"name": "a", "dns": {"hosts": []}}]
    assert told["pending"] == {"counters": True}


class Told(Counters):
    """A daemon is told at the end."""

    def plan(self, before):
        plan = super().plan(before)
        plan.ops.append(Op("daemon", "counterd", "reload", follows=True))
        return plan

    def apply(self, op):
        if op.kind == "daemon":
            self.told = True
        else:
            super().apply(op)


@pytest.mark.parametrize(("want", "told"), [({"b": 1}, False), ({"a": 1, "b": 1}, True)])
def test_what_follows_is_done_if_anything_was(want, told):
    room = Told({}, want, broken={("b", "add0")})
    room.told = False
    with pytest.raises(CommandFailed) as caught:
        engine.converge(room, NoHost(), False)
    assert room.told == told and caught.value.details["changed"] == told


class Beside(Counters):
    """Objects may be worked on at once; C(most) is how many were."""

    def __init__(self, want, broken=(), alone=(), error=CommandFailed):
        super().__init__({}, want, broken)
        self.alone, self.error = alone, error
        self.turn, self.busy, self.most, self.log = threading.Lock(), set(), 0, []

    def beside(self, op):
        return op.name not in self.alone

    def apply(self, op):
        with self.turn:
            assert op.name not in self.busy, "two operations of one object at once"
            assert not self.busy or (op.name not in self.alone and not self.busy & set(self.alone))
            self.busy.add(op.name)
            self.most = max(self.most, len(self.busy))
        # The last ones are the quickest, so that the order in which they end is not that of the plan.
        time.sleep(0.002 * (30 - int(op.name[1:])) / 10)
        try:
            if (op.name, op.op) in self.broken:
                raise self.error(f"no {op.name}")
            with self.turn:
                self.log.append((op.name, op.op))
                self.have[op.name] = self.have.get(op.name, 0) + 1
        finally:
            with self.turn:
                self.busy.discard(op.name)

    def revert(self, op):
        assert not self.busy
        self.log.append((op.name, f"back {op.op}"))
        self.have[op.name] -= 1
        if not self.have[op.name]:
            del self.have[op.name]


MANY = {f"n{number}": 3 for number in range(20)}


def test_objects_stand_beside_each_other_and_each_has_its_order():
    room = Beside(MANY)
    result, _warnings = engine.converge(room, NoHost(), False)
    assert 1 < room.most <= engine.AT_ONCE
    for name in MANY:
        assert [op for one, op in room.log if one == name] == ["add0", "add1", "add2"]
    assert [one["name"] for one in result["actions"]] == [name for name in MANY for _step in range(3)]


def test_what_may_not_stand_beside_others_has_its_turn_alone():
    room = Beside(MANY, alone=("n5", "n6", "n12"))
    engine.converge(room, NoHost(), False)
    assert room.have == MANY
    names = [name for name, _op in room.log]
    assert names[15:21] == ["n5"] * 3 + ["n6"] * 3 and names[36:39] == ["n12"] * 3


def test_of_objects_worked_on_at_once_those_that_fail_are_put_back():
    room = Beside(MANY, broken={("n2", "add2"), ("n3", "add0"), ("n17", "add1")})
    with pytest.raises(CommandFailed, match=r"^n2: no n2 \(and 2 more failed: n3, n17\)$") as caught:
        engine.converge(room, NoHost(), False)
    stand = {name: 3 for name in MANY if name not in ("n2", "n3", "n17")}
    assert room.have == stand
    assert room.log[-3:] == [("n2", "back add1"), ("n2", "back add0"), ("n17", "back add0")]
    details = caught.value.details
    assert [(one["name"], one["op"]) for one in details["failures"]] == [("n2", "add2"), ("n3", "add0"), ("n17", "add1")]
    assert [one["name"] for one in details["done"]] == [name for name in stand for _step in range(3)]
    assert details["changed"]


def test_a_daemon_that_goes_away_under_many_is_one_error():
    room = Beside(MANY, broken={(name, "add1") for name in MANY}, error=ConnectionLost)
    room.revert = None
    with pytest.raises(ConnectionLost, match=r"^no n\d+ \(\d of 60 operations were done\)$") as caught:
        engine.converge(room, NoHost(), False)
    done = caught.value.details["done"]
    assert len(done) == sum(room.have.values()) <= engine.AT_ONCE + 1


def test_an_error_that_is_nobodys_ends_all_threads():
    room = Beside(MANY, broken={("n3", "add0")}, error=ZeroDivisionError)
    with pytest.raises(ZeroDivisionError, match="no n3"):
        engine.converge(room, NoHost(), False)
    assert not room.busy and len(room.have) < len(MANY)


def test_calls_that_hang_with_a_lost_connection_are_left(monkeypatch):
    """As libvirt leaves them, when its daemon falls silent under several."""
    monkeypatch.setattr(engine, "LEFT_AFTER_S", 0.1)
    for_ever = threading.Event()
    room = Beside(MANY, broken={("n7", "add0")}, error=ConnectionLost)
    real = room.apply
    room.apply = lambda op: for_ever.wait() if op.name in ("n5", "n6") else real(op)
    try:
        with pytest.raises(ConnectionLost, match="no n7"):
            engine.converge(room, NoHost(), False)
    finally:
        for_ever.set()


def test_a_full_disk_is_told_and_what_was_begun_is_put_back():
    room = Counters({"a": 0, "b": 0}, {"a": 2, "b": 1})
    real = room.apply

    def apply(op):
        if (op.name, op.op) == ("a", "add1"):
            raise OSError(28, "No space left on device", "/run/virtnet/x")
        real(op)

    room.apply = apply
    with pytest.raises(CommandFailed, match=r"^a: /run/virtnet/x: No space left on device$"):
        engine.converge(room, NoHost(), False)
    assert room.have == {"a": 0, "b": 1}


def test_a_full_disk_on_the_way_back_is_told_beside_the_first_error():
    room = Counters({"a": 0}, {"a": 2}, broken={("a", "add1")})

    def revert(op):
        raise OSError(28, "No space left on device", "/run/virtnet/x")

    room.revert = revert
    with pytest.raises(CommandFailed, match=r"^a: no$") as caught:
        engine.converge(room, NoHost(), False)
    assert caught.value.details["not_reverted"] == ["add0: /run/virtnet/x: No space left on device"]


def test_who_is_not_root_is_told_to_become_it(monkeypatch):
    def run_command(command, **options):
        raise FileNotFoundError(2, "No such file or directory", command[0])

    for user, cure in ((0, "Run the role"), (1000, "Set become: true")):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        with pytest.raises(MissingDependency, match=f"^the command nft is not there. {cure}"):
            Host(run_command).run(["nft", "list"])
