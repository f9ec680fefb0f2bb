# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calling modules on a lab host without the controller's half of each call, for tests that do little else, for hours.

What ansible(1) sends is unpacked on the host once, and executed again with other arguments, in a process of its own each time:
Ansible's developer guide, "Debugging modules", has these two commands. The module cannot tell; a fifth of the time is needed.

pyproject.toml has this folder in pytest's path: `from direct_calls import DirectModules`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from module_calls import Modules

#: Below it each module has a folder; the hosts' snapshots leave out what Ansible keeps there.
FOLDER = "/root/.ansible/virtnet-direct"


class DirectModules(Modules):
    """Calls modules of the collection on a host, each in a new Python of the host's; as another user as Modules does it."""

    def __init__(self, host):
        super().__init__(host)
        self.unpacked = {}

    def call(self, name, arguments, check, options):
        if options:
            return super().call(name, arguments, check, options)
        if name not in self.unpacked:
            self.unpacked[name] = self.unpack(name, arguments)
        folder, settings = self.unpacked[name]
        wanted = json.dumps({"ANSIBLE_MODULE_ARGS": {**settings, "_ansible_check_mode": check, **arguments}})
        # A shell that has nothing else to do becomes its last command, and ssh(1) tells of no signal.
        execute = f"python3 AnsiballZ_{name}.py execute; exit $?"
        done = self.host.run(f"cd {folder} && cat > debug_dir/args <<'END'\n{wanted}\nEND\n{execute}")
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return json.loads(lines[-1]) if lines else {"rc": done.rc, "msg": done.stdout + done.stderr}

    def unpack(self, name, arguments):
        """Have the host keep what ansible(1) sends it; return its folder, and what Ansible says beside the arguments.

        :param arguments: some that the module takes: it is called in check mode.
        """
        folder = f"{FOLDER}/{name}"
        self.host.run_test(f"rm -rf {folder}; mkdir -p {folder}")
        command = [
            str(Path(sys.executable).with_name("ansible")), self.name, "-i", self.host.backend.ansible_runner.inventory_file,
            "--check", "-m", f"virtnet.kvm.{name}", "-a", json.dumps(arguments), "-e", f"ansible_remote_tmp={folder}",
        ]  # fmt: skip
        environment = {**os.environ, "ANSIBLE_KEEP_REMOTE_FILES": "1"}
        said = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        moved = self.host.run(f"cd {folder} && mv */AnsiballZ_{name}.py . && python3 AnsiballZ_{name}.py explode")
        assert moved.rc == 0, said.stdout + said.stderr + moved.stderr
        told = json.loads(self.host.check_output(f"cat {folder}/debug_dir/args"))["ANSIBLE_MODULE_ARGS"]
        settings = {key: value for key, value in told.items() if key.startswith("_ansible_")}
        return folder, {**settings, "_ansible_keep_remote_files": False, "_ansible_tmpdir": None}
