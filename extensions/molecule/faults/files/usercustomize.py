# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kills a module of ours after so many of its effects, on a host of the tests: Python loads a file of this name by itself.

What is to be done stands in a file, as JSON: C(level) says what counts (op: an operation of the plan; effect: a file, a command,
a sysctl, too), C(after) how many of them are to happen, 0 for none; with C(wait) it is not killed then, but waits for ever, for
the host to be killed. Without that file nothing happens. The collection itself knows nothing of this.
"""

import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import threading
import time

ORDERS = "/run/virtnet-faults/orders"
COUNTED = "/run/virtnet-faults/counted"
REACHED = "/run/virtnet-faults/reached"
_LOCK = threading.Lock()
#: What a run does between the moment at which it may begin, and its end.
_STATE = {"count": 0, "on": False}


def _happened(what):
    if not _STATE["on"]:
        return
    with _LOCK:
        _STATE["count"] += 1
        with open(COUNTED, "a", encoding="utf-8") as handle:
            handle.write(f"{_STATE['count']} {what}\n")
        if _STATE["count"] > _STATE["after"]:
            if _STATE.get("wait"):
                with open(REACHED, "w", encoding="utf-8"):
                    pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
            while True:
                time.sleep(60)


def _after(module, name, what):
    """Count each call of a function once it has done its work; the call before the one that is too many is the last whole one."""
    real = getattr(module, name)

    def counted(*args, **kwargs):
        result = real(*args, **kwargs)
        _happened(what(*args, **kwargs))
        return result

    setattr(module, name, counted)


def _engine(module):
    apply, carry_out = module._apply, module._carry_out

    def begin(room, plan):
        _STATE["on"] = True
        _happened("begin")
        try:
            return apply(room, plan)
        finally:
            _STATE["on"] = False

    def counted(room, ops):
        real = room.apply

        def once(op):
            real(op)
            _happened(f"op {op.kind} {op.name} {op.op}")

        room.apply = once
        try:
            return carry_out(room, ops)
        finally:
            del room.apply

    module._apply, module._carry_out = begin, counted


def _files(module):
    for name in ("write_all", "remove_all"):
        _after(module, name, lambda paths, *_rest, name=name: f"{name} {' '.join(paths)}")


def _host(module):
    _after(module.Host, "run", lambda _self, command, *_rest, **_more: " ".join(command[:4]))
    _after(module.Host, "set_sysctl", lambda _self, key, *_rest: key)


class _Loader(importlib.abc.Loader):
    def __init__(self, real, patch):
        self._real, self._patch = real, patch

    def create_module(self, spec):
        return self._real.create_module(spec)

    def exec_module(self, module):
        self._real.exec_module(module)
        self._patch(module)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, patches):
        self._patches = patches

    def find_spec(self, name, path=None, target=None):
        patch = self._patches.get(name)
        if patch is None:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        spec.loader = _Loader(spec.loader, patch)
        return spec


def _begin():
    try:
        with open(ORDERS, encoding="utf-8") as handle:
            _STATE.update(json.load(handle))
    except (OSError, ValueError):
        return
    ours = "ansible_collections.virtnet.kvm.plugins.module_utils."
    patches = {ours + "engine": _engine}
    if _STATE["level"] == "effect":
        patches.update({ours + "files": _files, ours + "host": _host})
    sys.meta_path.insert(0, _Finder(patches))


_begin()
