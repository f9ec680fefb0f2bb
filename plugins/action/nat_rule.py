# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virtnet.kvm.nat_rule: the module, and the file of its option src, which is on the controller.

The rules go over as a file. As variables of the play, or as arguments, thousands of them would be templated, checked and carried
back one by one, which takes seconds.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase


def as_json(text):
    """Return the text of a file, JSON or YAML, as JSON."""
    try:
        json.loads(text)
    except ValueError:
        return json.dumps(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506
    return text


class ActionModule(ActionBase):
    """Runs the module of the same name."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        del tmp
        arguments = dict(self._task.args)
        src = arguments.get("src")
        later = self._task.async_val and not self._connection.has_native_async
        if src is None:
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=later))
            return result
        if self._task.async_val:
            raise AnsibleActionFail("src: the file is gone when a task with async gets to it. Use rules, or no async.")
        text = self._read(src)
        folder = self._make_tmp_path()
        try:
            there = self._connection._shell.join_path(folder, "rules.json")
            self._transfer_data(there, text)
            self._fixup_perms2((folder, there))
            result.update(self._execute_module(module_args={**arguments, "src": there}, task_vars=task_vars))
        finally:
            self._remove_tmp_path(folder)
        told = result.get("invocation", {}).get("module_args", {})
        if "src" in told:
            told["src"] = src
        return result

    def _read(self, src):
        """Return the rules as JSON; the file may be encrypted by ansible-vault."""
        try:
            path = self._loader.get_real_file(self._find_needle("files", src), decrypt=True)
            return as_json(Path(path).read_text(encoding="utf-8"))
        except (AnsibleError, OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail(f"src: {src}: {error}") from error
        except (yaml.YAMLError, TypeError) as error:
            raise AnsibleActionFail(f"src: {src} is neither JSON nor YAML with plain values: {error}") from error
