# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controllers of their own for the scenarios' tests: an ansible(1) that can be cut off and killed while it changes a host.

pyproject.toml has this folder in pytest's path: `from controllers import controller, kill`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time

from lab_side import console

TOKEN = "/var/lib/virtnet/guard/token"


@contextlib.contextmanager
def controller(host, module, arguments, check=False, **variables):
    """An ansible(1) in a process group of its own, at its module on the host; C(variables) go before the inventory's."""
    inventory = host.backend.ansible_runner.inventory_file
    command = ["ansible", host.backend.host, "-i", inventory, "-m", f"virtnet.kvm.{module}", "-a", json.dumps(arguments)]
    # A connection of its own, for the tests' commands must not find it cut; and one that lasts through a silence of the host's.
    # The lab finds it by its name, and ends it with the host. Another user has another.
    path = f"%(directory)s/%%h-%%r-own{os.getpid()}"
    own = {"ansible_control_path": path, "ansible_ssh_extra_args": "-o ServerAliveInterval=30"}
    command += ["-e", json.dumps({**own, **variables}), *(["--check"] if check else [])]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    """End an ansible(1) at once with all that it has started: its workers have sessions of their own."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
    children = {}
    for pid, parent in (map(int, line.split()) for line in listed.splitlines()):
        children.setdefault(parent, []).append(pid)
    found = [process.pid]
    for pid in found:
        found += children.get(pid, ())
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def until(condition, seconds=60, began=None):
    """Wait for something to be so; return after how many seconds it was, since C(began) or since now."""
    began = time.monotonic() if began is None else began
    while not condition():
        assert time.monotonic() - began < seconds, f"it never came to that, not in {seconds} s"
        time.sleep(0.05)
    return round(time.monotonic() - began, 1)


def open_change(host):
    return "open" in console(host, f"[ -e {TOKEN} ] && echo open")


def said(process):
    return process.communicate(timeout=180)[0]


def result(process):
    """Return the module's result; however it ends, it ends within minutes, and not in a traceback."""
    text = said(process)
    assert "Traceback" not in text, text
    found = re.search(r"(?:SUCCESS|CHANGED|FAILED!) => (\{.*\})", text, flags=re.DOTALL)
    assert found, text
    told = json.loads(found[1])
    # Every success of ours has its plan.
    return dict(told, failed="actions" not in told)
