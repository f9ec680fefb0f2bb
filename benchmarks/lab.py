# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab of KVM hosts, mostly one, in which is measured, and the commands that are timed there."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"
OUT = ROOT / ".build" / "bench"
WATCH = PEERS / "processes.py"


def end_as_asked():
    """Have a signal that ends this program do so from within, so that the lab is taken down; Python does that for SIGINT only."""

    def ended(number, _frame):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ended)


class Lab:
    """A lab of KVM hosts; a machine outside comes with the second."""

    def __init__(self, name, release, kvm_hosts=1):
        self.name, self.release, self.kvm_hosts = name, release, kvm_hosts
        self.inventory = Path(f"/var/lib/virtnet-lab/{name}/inventory.yml")
        self.config = OUT / "lab.yml"
        self._watches = False

    def _program(self, *arguments):
        """Return (command, environment) of the lab's program."""
        env = dict(os.environ, PYTHONPATH=str(ROOT / "roles/lab_hosts/files"), PYTHONDONTWRITEBYTECODE="1")
        return [sys.executable, "-m", "virtnet_lab", "--lab", self.name, "--config", str(self.config), *arguments], env

    def command(self, *arguments, **options):
        command, env = self._program(*arguments)
        return subprocess.run(command, env=env, check=True, **options)

    def up(self):
        kinds = {"gateway1": "gateway", **{f"kvm{number + 1}": "kvm" for number in range(self.kvm_hosts)}}
        if self.kvm_hosts > 1:
            kinds["outside1"] = "outside"
        hosts = [{"name": name, "kind": kind, "release": self.release} for name, kind in kinds.items()]
        self.config.write_text(json.dumps({"lab_hosts_hosts": hosts}))
        self.command("preflight")
        self.command("up")

    @contextlib.contextmanager
    def there(self, keep=False):
        """Have the lab up, and take it down in the end, unless it is to be kept."""
        try:
            self.up()
            yield self
        finally:
            if not keep:
                self.down()

    def down(self):
        self.command("down")

    def put(self, path):
        """Copy a file into /root of the host."""
        command = self.task("ansible.builtin.copy", f"src={path} dest=/root/ mode=0644")
        subprocess.run(command, check=True, capture_output=True)

    def task(self, module, arguments):
        """One task without a play; the time includes the SSH connection, as everybody's does."""
        return ["ansible", "-i", str(self.inventory), "kvm1", "-m", module, "-a", arguments]

    def raw(self, command):
        """A command that is run in the host without a module."""
        return self.task("ansible.builtin.raw", command)

    def playbook(self, path, *arguments):
        return ["ansible-playbook", "-i", str(self.inventory), str(path), *arguments]

    def play(self, name, module, arguments):
        """A play of one task, of a module of ours. (ansible(1) would print a result of ten thousand items.)"""
        path = OUT / f"bench-{name}-play.yml"
        path.write_text(json.dumps([{"hosts": "kvm1", "gather_facts": False, "tasks": [{f"virtnet.kvm.{module}": arguments}]}]))
        return self.playbook(path)

    def watched(self, command, timed):
        """Run a command; return (seconds, what peers/processes.py saw in the host meanwhile)."""
        if not self._watches:
            self.put(WATCH)
            self._watches = True
        # Past the host's network, so that no process of SSH or Ansible is there only because we watch.
        program, env = self._program("exec", "kvm1", "--", "python3", f"/root/{WATCH.name}")
        with subprocess.Popen(program, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
            try:
                watcher.stdout.readline()
                seconds = timed(command)
            finally:
                told = watcher.communicate()[0]
        return seconds, json.loads(told)


def timed(command, log):
    began = time.monotonic()
    with log.open("ab") as handle:
        handle.write(f"$ {shlex.join(map(str, command))}\n".encode())
        handle.flush()
        result = subprocess.run(command, stdout=handle, stderr=subprocess.STDOUT, check=False)
    if result.returncode:
        sys.exit(f"{shlex.join(map(str, command))} failed; its output is in {log}")
    return time.monotonic() - began


def module_seconds(seen):
    """Return how long the modules' processes were there: Python's start and imports included, SSH and the controller not."""
    return sum(one["seconds"] for one in seen["processes"] if one["name"].startswith("python"))
