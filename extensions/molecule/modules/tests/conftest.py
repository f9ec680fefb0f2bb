# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml


class Document:
    """The examples of docs/virsh.md: the tasks under each heading."""

    def __init__(self):
        text = (Path(__file__).resolve().parents[4] / "docs" / "virsh.md").read_text(encoding="utf-8")
        self.tasks = {}
        for section in re.split(r"(?m)^## ", text)[1:]:
            heading, body = section.split("\n", 1)
            found = [task for block in re.findall(r"(?s)```yaml\n(.*?)```", body) for task in yaml.safe_load(block)]
            if found:
                self.tasks[heading] = [self.call(task) for task in found]

    @staticmethod
    def call(task):
        (module,) = (key for key in task if key.startswith("virtnet.kvm."))
        return module.rsplit(".", 1)[1], task[module] or {}

    def headings(self, *prefixes):
        return [heading for heading, calls in self.tasks.items() if calls[0][0].startswith(prefixes)]

    def run(self, modules, heading):
        """Run the tasks under a heading as they stand there; return the last result, C(changed) if any of them was."""
        changed = False
        for module, arguments in self.tasks[heading]:
            result = modules(module, **arguments)
            assert "msg" not in result, result["msg"]
            changed = changed or result["changed"]
        return dict(result, changed=changed)


@pytest.fixture(scope="session")
def document():
    return Document()
