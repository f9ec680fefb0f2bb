# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of the dead man's switch: after the change it closes its connection, comes in anew, and says so.

The host's half is module_utils/safety/guard.py. What is said goes through the host's own script, not through a module: it
is the quickest proof that a command can be run there.
"""

from __future__ import annotations

import contextlib
import time

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard_text

display = Display()

#: Between two attempts to come in.
PAUSE_S = 1
#: For how long after the deadline the host may need to take everything back and be reached again.
AFTER_S = guard_text.LOCK_WAIT_S + 40


class GuardedAction(ActionBase):
    """Runs the module of the plugin's name; a change that it leaves open is confirmed, or the task fails."""

    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        del tmp
        try:
            result.update(self._execute_module(task_vars=task_vars))
        except AnsibleConnectionFailure as error:
            return {**result, **self._lost(error)}
        if (result.get("guard") or {}).get("state") == "pending":
            self._confirm(result)
        return result

    def _ask(self, word, until):
        """Come in anew and give the script a word; return (rc, outcome), or None if that could not be done until then."""
        script = guard_text.SCRIPT
        # The outcome stays: this connection may break before the answer is here, and the next one asks again.
        read = f"cat {guard_text.OUTCOME} 2> /dev/null"
        command = f"if [ -e {script} ]; then sh {script} {word}; rc=$?; fi; {read}; exit ${{rc:-3}}"
        while True:
            try:
                if hasattr(self._connection, "reset") and self._connection.transport != "local":
                    self._connection.reset()
                found = self._low_level_execute_command(command, sudoable=True)
                if found["rc"] != guard_text.LOCKED:
                    lines = found["stdout"].strip().splitlines()
                    return found["rc"], (lines[-1].split() if lines else [])
                display.vv("virtnet.kvm: another run holds the host's lock")
            except AnsibleConnectionFailure as error:
                display.vv(f"virtnet.kvm: the host is not reached: {error}")
            if time.monotonic() > until:
                return None
            time.sleep(PAUSE_S)

    def _forget(self):
        """Remove the outcome, once it is known here: nobody shall take it for that of another change."""
        # Not if the connection breaks; then the next run of a module does.
        with contextlib.suppress(AnsibleConnectionFailure):
            self._low_level_execute_command(f"rm -f {guard_text.OUTCOME}", sudoable=True)

    def _confirm(self, result):
        window = result["guard"]
        token = window.pop("token")
        answer = self._ask(f"confirm {token}", time.monotonic() + window["timeout_s"] + AFTER_S)
        if answer is not None:
            self._forget()
            # Of the outcome alone: the script is gone if an earlier answer was lost.
            if answer[1] == [token, "confirmed"]:
                window["state"] = "confirmed"
                return
        # What the module said of the host is not so any more, or may not be.
        for key in [key for key in result if key not in ("guard", "invocation", "warnings", "deprecations", "manager")]:
            del result[key]
        result.update(failed=True, changed=False)
        links = ", ".join(window["links"])
        if answer is None:
            window["state"] = "unknown"
            result["msg"] = (
                f"The host was changed ({links}) and has not been reached since. It takes the change back by itself. "
                f"Look at it from its console: sh {guard_text.SCRIPT}"
            )
            return
        window.update(state="reverted", why=answer[1][2] if answer[1][2:] else "unknown")
        reasons = {
            "deadline": f"the controller could not come in anew within {window['timeout_s']} s",
            "boot": "the host was restarted before the change was confirmed",
        }
        reason = reasons.get(window["why"], "somebody took it back on the host")
        result["msg"] = (
            f"The change of {links} was taken back: {reason}. Everything is as it was before. "
            "Look whether addresses, gateway and ports are right, or give it more time with confirm_timeout."
        )

    def _lost(self, error):
        """Return the result after the connection broke while the module ran; nobody knows how far it had come."""
        wait = int(self._task.args.get("confirm_timeout") or 60)
        answer = self._ask("restore asked", time.monotonic() + wait + AFTER_S)
        if answer is None or answer[1][1:2] != ["reverted"]:
            raise error
        self._forget()
        why = answer[1][2] if answer[1][2:] else "unknown"
        return {
            "failed": True,
            "changed": False,
            "guard": {"state": "reverted", "why": why},
            "msg": f"The connection broke in the middle of the change, and it was taken back. All is as it was before. {error}",
        }
