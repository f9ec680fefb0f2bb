# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gather, plan, stop if check mode, apply, read back, verify: the one place that knows check mode."""

from __future__ import annotations

import abc
import collections
import contextlib
import gc
import itertools
import threading
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import (
    ConnectionLost,
    VerificationFailed,
    VirtnetError,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.host import Host
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard, guard_text, journal

#: How many objects are worked on at once; libvirt takes five calls of one client at a time (max_client_requests).
AT_ONCE = 4
#: For how long those that are still worked on are waited for when all is over, in seconds.
LEFT_AFTER_S = 5
#: After how many new objects Python looks for garbage. A module lives for seconds and leaves hardly any, and to look through all
#: that stands for ten thousand rules, again and again as they come, takes a sixth of its time.
GARBAGE_AFTER = 200_000


class Room(abc.ABC):
    """What a module converges: one kind of object on one host.

    A normal form is a dictionary of plain values, {object's name: {...}}, the same for what was read and for what
    is planned, so that the two can be compared with ==.
    """

    #: key of the result that holds the objects, such as C(networks)
    key = ""

    @abc.abstractmethod
    def gather(self):
        """Return the normal form of what is there."""

    @abc.abstractmethod
    def plan(self, before):
        """Return the Plan from C(before) to what was declared; raise InvalidInput or Conflict. No effects."""

    def rehearse(self, plan):
        """Called in check mode: raise what a real run would be told by the host before it has any effect."""

    @abc.abstractmethod
    def apply(self, op):
        """Carry one Op out."""

    def beside(self, op):
        """Return whether C(op) may be carried out while such operations of other objects are; apply() then comes in threads."""
        return False

    def revert(self, op):
        """Take an applied Op back; called in reverse order after a later Op of the same object failed."""

    def baseline(self, before, plan):
        """Return {key: value} of what C(absent) must bring back; journaled once, before the first effect."""
        return {}

    def arm(self, plan):
        """Return an armed safety.guard.Guard if the plan could cut the controller off."""

    def prove(self, plan):
        """Called when all was read back as planned; raise if the host is not reached any more by what was changed."""

    def finish(self, plan):
        """Called when all operations were applied and verified, under the lock; for tidying up."""

    def settle(self, plan):
        """Called at the end without the lock, but not in check mode: wait for what needs time, or raise."""

    def extra(self, after):
        """Return further keys for the result, such as C(backend) or C(rendered)."""
        return {}


def difference(planned, found, path=""):
    """Return the paths at which two normal forms differ, with both values, as sentences."""
    if planned == found:
        return []
    if isinstance(planned, dict) and isinstance(found, dict):
        lines = []
        for key in sorted(set(planned) | set(found), key=str):
            where = f"{path}.{key}" if path else str(key)
            if key not in found:
                lines.append(f"{where} is missing")
            elif key not in planned:
                lines.append(f"{where} is there unasked")
            else:
                lines.extend(difference(planned[key], found[key], where))
        return lines
    return [f"{path} is {found!r}, not {planned!r}"]


@contextlib.contextmanager
def _in_words():
    """Turn what a system call fails with, of a full disk say, into an error of ours."""
    try:
        yield
    except OSError as error:
        raise files.error_of(error) from error


@contextlib.contextmanager
def failing(module):
    """End a module with fail_json where the work within fails, of errors that an administrator can act upon."""
    try:
        with _in_words():
            yield
    except VirtnetError as error:
        module.fail_json(**error.as_result())


def _groups(room, ops):
    """Return the operations in their order, as lists; those of one list may be carried out beside each other."""
    groups = []
    for together, found in itertools.groupby(ops, lambda op: room.beside(op) and not op.follows):
        group = list(found)
        groups += [group] if together else [[op] for op in group]
    return groups


def _beside_each_other(work, jobs, over):
    """Call C(work) with each of C(jobs), AT_ONCE of them at a time; when C(over) is set, those that hang are left where they are.

    Of several calls over a connection that is lost libvirt 11.3 ends one, and leaves the others waiting for ever.
    """
    waiting, crashed = collections.deque(jobs), []

    def take():
        with contextlib.suppress(IndexError):
            while True:
                job = waiting.popleft()
                try:
                    work(job)
                except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the module
                    crashed.append(error)
                    return

    threads = [threading.Thread(target=take, daemon=True) for _number in range(min(AT_ONCE, len(jobs)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not over.is_set():
                thread.join(0.1)
    finally:
        over.set()
    deadline = time.monotonic() + LEFT_AFTER_S
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    if crashed:
        raise crashed[0]


def _carry_out(room, ops):
    """Carry out operations that may stand beside each other, each object's in their order and up to its first failure.

    Returns [(op, its VirtnetError or None)] of those that were tried, in their order. A lost connection ends it for all.
    """
    objects, outcomes, over = {}, {}, threading.Event()
    for number, op in enumerate(ops):
        objects.setdefault((op.kind, op.name), []).append((number, op))

    def work(rows):
        for number, op in rows:
            if over.is_set():
                return
            try:
                with _in_words():
                    room.apply(op)
                outcomes[number] = None
            except VirtnetError as error:
                outcomes[number] = error
                if isinstance(error, ConnectionLost):
                    over.set()
                return
            except BaseException:
                over.set()
                raise

    if len(objects) == 1:
        work(next(iter(objects.values())))
    else:
        _beside_each_other(work, list(objects.values()), over)
    return [(ops[number], outcomes[number]) for number in sorted(outcomes)]


def _apply(room, plan):
    """Apply all operations. An object whose operation fails is put back, the others go on; then all is told."""
    done, failed = [], {}
    for group in _groups(room, plan.ops):
        ops = [op for op in group if (op.kind, op.name) not in failed and (done or not op.follows)]
        if not ops:
            continue
        outcomes = _carry_out(room, ops)
        done += [op for op, error in outcomes if error is None]
        for _op, error in outcomes:
            if isinstance(error, ConnectionLost):
                # Nothing can be put back, and all that is left would fail alike.
                error.problem += f" ({len(done)} of {len(plan.ops)} operations were done)"
                error.details.update(done=[one.as_action() for one in done], changed=bool(done))
                raise error
        for op, error in outcomes:
            if error is not None:
                failed[(op.kind, op.name)] = (op, error)
                done = _put_back(room, done, op, error)
    if failed:
        _tell(failed, done)


def _put_back(room, done, op, error):
    """Take back what was done to the object of an operation that failed; return what is left of C(done)."""
    if error.subject is None:
        error.subject = op.name
    for earlier in reversed([one for one in done if (one.kind, one.name) == (op.kind, op.name)]):
        # The first error is the one to tell; a second one while putting back is told beside it.
        try:
            with _in_words():
                room.revert(earlier)
        except VirtnetError as second:
            error.details.setdefault("not_reverted", []).append(f"{earlier.op}: {second}")
    return [one for one in done if (one.kind, one.name) != (op.kind, op.name)]


def _tell(failed, done):
    """Raise the first error, with all of them in it; one that is that of several objects is told once."""
    first = next(iter(failed.values()))[1]
    told = {}
    for (kind, name), (op, error) in failed.items():
        told.setdefault(id(error), {"kind": kind, "name": name, "op": op.op, "msg": str(error)})
    first.details["failures"] = list(told.values())
    first.details["done"] = [op.as_action() for op in done]
    first.details["changed"] = bool(done)
    if len(told) > 1:
        others = ", ".join(one["name"] for one in list(told.values())[1:])
        first.problem += f" (and {len(told) - 1} more failed: {others})"
    raise first


def _abandon(armed, error):
    """Take the rest of a guarded change back: half of it is not what anybody is reached by."""
    try:
        if error.details.get("changed", False) or "not_reverted" in error.details:
            with _in_words():
                armed.restore(guard_text.FAILED)
            error.details.update(changed=False, done=[])
            if "put back" not in error.problem:
                error.problem += "; everything was put back"
        else:
            armed.disarm()
    except VirtnetError as second:
        # The timer and the next boot will try again.
        error.details.setdefault("not_reverted", []).append(str(second))


def realise(room, plan):
    """Carry a plan out, read back, and return what is there; raise VerificationFailed if that is not what was planned."""
    _apply(room, plan)
    after = room.gather()
    wrong = difference(plan.after, after)
    if wrong:
        raise VerificationFailed(
            "what was read back is not what was planned: " + "; ".join(wrong),
            cure="Run it again; if it stays, please report it.",
            planned=plan.after,
            found=after,
            changed=True,
        )
    return after


def converge(room, host, check_mode):
    """Bring the host to what the room declares; return the module's result (with before and after for the diff)."""
    armed = None
    with contextlib.nullcontext() if check_mode else host.lock():
        if not check_mode:
            guard.look_after(host)
        before = room.gather()
        plan = room.plan(before)
        after = plan.after
        if check_mode:
            room.rehearse(plan)
        elif plan.unmet:
            raise plan.unmet[0]
        if plan.changed and not check_mode:
            armed = room.arm(plan)
            try:
                with _in_words():
                    journal.record(room.baseline(before, plan))
                    after = realise(room, plan)
                    room.prove(plan)
                    room.finish(plan)
            except VirtnetError as error:
                if armed is not None:
                    _abandon(armed, error)
                raise
    if not check_mode:
        try:
            with _in_words():
                room.settle(plan)
        except VirtnetError as error:
            error.details["changed"] = plan.changed
            raise
    result = {
        "changed": plan.changed,
        room.key: list(after.values()),
        "actions": plan.actions(),
        "diff": {"before": before, "after": after},
    }
    result.update(room.extra(after))
    if plan.unmet:
        result["unmet"] = [str(error) for error in plan.unmet]
    if armed is not None:
        # The action plugin says so, once it has come in anew.
        result["guard"].update(state="pending", token=armed.token)
    return result, plan.warnings + result.get("unmet", [])


def _given(value):
    """Return parameters without what was not given: of hundreds of networks, nulls are most of what Ansible would carry back."""
    if isinstance(value, dict):
        return {key: _given(one) for key, one in value.items() if one is not None}
    return [_given(one) for one in value] if isinstance(value, list) else value


def run_module(module, build):
    """Run a module: C(build(host)) returns its Room; errors become fail_json, the result exit_json."""
    gc.set_threshold(GARBAGE_AFTER)
    host = Host(module.run_command)
    with failing(module):
        result, warnings = converge(build(host), host, module.check_mode)
    for warning in warnings:
        module.warn(warning)
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result, invocation={"module_args": _given(module.params)})


def plan_module(module, build, parts):
    """Run a module that only plans: the result says which of C(parts) differ.

    C(build(host)) returns ([(part, Room), ...], further keys of the result).
    """
    gc.set_threshold(GARBAGE_AFTER)
    host = Host(module.run_command)
    pending, actions = dict.fromkeys(parts, False), []
    with failing(module):
        rooms, more = build(host)
        for part, room in rooms:
            result, warnings = converge(room, host, True)
            pending[part] = result["changed"]
            actions += result["actions"]
            for warning in warnings:
                module.warn(warning)
    module.exit_json(
        changed=False, pending=pending, actions=actions, **more, invocation={"module_args": _given(module.params)}
    )
