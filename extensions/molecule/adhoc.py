# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible(1) for tests, which call it thousands of times: a process that has it imported forks itself for each call.

The imports are half of what a call costs. conftest.py has Testinfra's `host.ansible` go this way.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

#: What a call loads beside the command itself; not the callback `tree`, which looks where to write when it is imported.
PRELOADED = (
    "ansible.cli.adhoc", "ansible.executor.task_queue_manager", "ansible.plugins.action.normal",
    "ansible.plugins.callback.minimal", "ansible.plugins.connection.ssh", "ansible.plugins.inventory.auto",
    "ansible.plugins.inventory.host_list", "ansible.plugins.inventory.ini", "ansible.plugins.inventory.script",
    "ansible.plugins.inventory.yaml", "ansible.plugins.shell.sh", "ansible.plugins.strategy.linear",
)  # fmt: skip


def serve():
    """Carry out the calls that come in by standard input, a line of JSON each; answer each by one."""
    for name in PRELOADED:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        with tempfile.TemporaryFile() as told:
            pid = os.fork()
            if pid == 0:
                carry_out(json.loads(line), told.fileno())
            _pid, status = os.waitpid(pid, 0)
            told.seek(0)
            text = told.read().decode(errors="replace")
        answers.write(json.dumps({"rc": os.waitstatus_to_exitcode(status), "told": text}) + "\n")
        answers.flush()


def carry_out(words, told):
    """Be ansible(1) with these arguments, and end; what it says goes to the file C(told)."""
    from ansible.cli.adhoc import AdHocCLI  # there already

    nothing = os.open(os.devnull, os.O_RDONLY)
    for place, source in enumerate((nothing, told, told)):
        os.dup2(source, place)
    code = 1
    try:
        AdHocCLI.cli_executor(["ansible", *words])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@functools.cache
def server():
    """Return the process of this one's; it ends when its standard input does."""
    process = subprocess.Popen([sys.executable, Path(__file__)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    # Which waits for it, too; else Python warns of a process that is left.
    atexit.register(process.communicate)
    return process


def call(words):
    """Run ansible(1) with these arguments; return its code and all that it said."""
    process = server()
    process.stdin.write(json.dumps(words) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the process that calls ansible(1) has ended: {process.wait()}")
    answer = json.loads(line)
    return answer["rc"], answer["told"]


def run_module(runner, host, module_name, module_args=None, get_encoding=None, **options):
    """Take the place of a method of Testinfra's AnsibleRunner; C(get_encoding) is not needed, results are ASCII."""
    flags, values = runner.options_to_cli(options)
    with tempfile.TemporaryDirectory() as folder:
        words = ["--tree", folder, "-m", module_name, *shlex.split(flags % tuple(map(shlex.quote, values)))]
        words += ["-i", runner.inventory_file] if runner.inventory_file else []
        words += ["--args", module_args] if module_args else []
        code, told = call([*words, host])
        found = os.listdir(folder)
        if code not in (0, 2, 8) or not found:
            raise RuntimeError(f"ansible {shlex.join(words)} returned {code}:\n{told}")
        return json.loads(Path(folder, found[0]).read_text())


if __name__ == "__main__":
    serve()
