# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: told
type: aggregate
short_description: Keep what the collection's modules returned
description:
  - Writes told-check.json after a run in check mode, and told-real.json after the first real one that follows it, into Molecule's
    folder of the scenario; or the file of the environment variable TOLD after any run.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "told"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.told = []

    def v2_runner_on_ok(self, result):
        task = result._task
        if task.resolved_action.startswith("virtnet.kvm."):
            module = task.resolved_action.rsplit(".", 1)[1]
            told = {"host": result._host.get_name(), "task": task.get_name(), "module": module, "result": result._result}
            self.told.append(told)

    def v2_playbook_on_stats(self, stats):
        text = json.dumps(self.told)
        if "TOLD" in os.environ:
            Path(os.environ["TOLD"]).write_text(text, encoding="utf-8")
            return
        check, real = (Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], f"told-{kind}.json") for kind in ("check", "real"))
        if context.CLIARGS["check"]:
            check.write_text(text, encoding="utf-8")
            real.unlink(missing_ok=True)
        elif not real.exists():
            real.write_text(text, encoding="utf-8")
