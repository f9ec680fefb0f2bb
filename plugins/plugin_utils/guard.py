# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of the dead man's switch: after the change it closes its connection, comes in anew, and says so.

The host's half is module_utils/safety/guard.py. What is said goes through the host's own script, not through a module: it
is the quickest proof that a command can be run there.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import time

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard_text

display = Display()

#: The code with which a module ends that was killed: by the host's script, because it was too slow, or by the kernel, say.
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
#: Between two attempts to come in.
PAUSE_S = 1
#: For how long after the deadline the host may need to take everything back and be reached again.
AFTER_S = guard_text.LOCK_WAIT_S + 40


def verdict(answer, token):
    """Return what became of the change with that token: (C(confirmed), None), (C(reverted), why) or (C(unknown), None).

    Only its own outcome counts: what a host says of another change, or does not say, tells nothing of this one.

    :param answer: the words of the outcome that the host has, none if it has none; None if the host was not reached.
    """
    if answer == [token, "confirmed"]:
        return "confirmed", None
    if answer and len(answer) == 3 and answer[:2] == [token, "reverted"]:
        return "reverted", answer[2]
    return "unknown", None


def unknown_text(answer, links):
    """Return the message for a change that nobody knows the outcome of; C(answer) as in verdict()."""
    if answer is None:
        reached = "has not been reached since"
    else:
        reached = "was reached since, but has no outcome of this change"
    return (
        f"The host was changed ({', '.join(links)}) and {reached}: nobody knows whether the change was kept or taken back. "
        f"Look at the host from its console. If {guard_text.SCRIPT} is there, a change is open, and the host takes it back by "
        f"itself: sh {guard_text.SCRIPT} says how to keep it or to take it back now. If not, it is decided: cat "
        f"{guard_text.OUTCOME}, and see what the links are like."
    )


def lost_text():
    """Return the message for a run whose connection broke and whose host was not reached any more."""
    return (
        "The connection broke while the module ran, and the host has not been reached since: nobody knows how far it came. If "
        "a change is open, the host takes it back by itself, at the latest with its next boot. Look at the host from its "
        f"console: {guard_text.SCRIPT} is there while a change is open, and tells how to decide it; {guard_text.OUTCOME} tells "
        "what became of it."
    )


def removal(token, path=guard_text.OUTCOME):
    """Return the command of the shell that removes the outcome of the change with that token, and no other's."""
    own = shlex.quote(token)
    return f'{{ read -r of rest < {path}; }} 2> /dev/null; if [ "$of" = {own} ]; then rm -f {path}; fi'


class GuardedAction(ActionBase):
    """Runs the module of the plugin's name; a change that it leaves open is confirmed, or the task fails."""

    #: What was changed, and what to look at if it was taken back.
    what = "{links}"
    look = "addresses, gateway and ports are right"
    #: Whether the module itself asks what is reached by the change, so that it can be confirmed without a way to close.
    asks = True
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        del tmp
        try:
            result.update(self._execute_module(module_args=self._module_args(), task_vars=task_vars))
        except AnsibleConnectionFailure as error:
            return {**result, **self._lost(error)}
        if (result.get("guard") or {}).get("state") == "pending":
            self._confirm(result)
        elif result.get("failed") and result.get("rc") in KILLED:
            result.update(self._died(result))
        return result

    def _module_args(self):
        """Return the module's options; with nobody to come in anew, a confirmation would mean nothing."""
        silent = self._connection.transport == "local" and not self.asks
        return {**self._task.args, "confirm": False} if silent else self._task.args

    def _ask(self, word, until):
        """Come in anew and give the script a word; return the words of the host's outcome, or None if it was not reached."""
        script = guard_text.SCRIPT
        # The outcome stays: this connection may break before the answer is here, and the next one asks again.
        read = f"cat {guard_text.OUTCOME} 2> /dev/null"
        command = f"if [ -e {script} ]; then sh {script} {word}; rc=$?; fi; {read}; exit ${{rc:-3}}"
        while True:
            answer = None
            try:
                if hasattr(self._connection, "reset") and self._connection.transport != "local":
                    self._connection.reset()
                found = self._low_level_execute_command(command, sudoable=True)
                lines = found["stdout"].strip().splitlines()
                answer = lines[-1].split() if lines else []
                if found["rc"] != guard_text.LOCKED:
                    return answer
                display.vv("virtnet.kvm: another run holds the host's lock")
            except AnsibleConnectionFailure as error:
                display.vv(f"virtnet.kvm: the host is not reached: {error}")
            if time.monotonic() > until:
                return answer
            time.sleep(PAUSE_S)

    def _forget(self, token):
        """Remove the outcome of a change, once it is known here: nobody shall take it for that of another."""
        # Not if the connection breaks; then the next run of a module does.
        with contextlib.suppress(AnsibleConnectionFailure):
            self._low_level_execute_command(removal(token), sudoable=True)

    def _confirm(self, result):
        window = result["guard"]
        token = window.pop("token")
        answer = self._ask(f"confirm {token}", time.monotonic() + window["timeout_s"] + AFTER_S)
        # Of the outcome alone: the script is gone if an earlier answer was lost.
        window["state"], why = verdict(answer, token)
        if window["state"] != "unknown":
            self._forget(token)
        if window["state"] == "confirmed":
            return
        # What the module said of the host is not so any more, or may not be.
        for key in [key for key in result if key not in ("guard", "invocation", "warnings", "deprecations", "manager")]:
            del result[key]
        # It was changed, and may still be.
        result.update(failed=True, changed=window["state"] == "unknown")
        if window["state"] == "unknown":
            result["msg"] = unknown_text(answer, window["links"])
            return
        window["why"] = why
        reasons = {
            "deadline": f"the controller could not come in anew within {window['timeout_s']} s",
            "boot": "the host was restarted before the change was confirmed",
        }
        reason = reasons.get(why, "somebody took it back on the host")
        what = self.what.format(links=", ".join(window["links"]))
        result["msg"] = (
            f"The change of {what} was taken back: {reason}. Everything is as it was before. "
            f"Look whether {self.look}, or give it more time with confirm_timeout."
        )

    def _lost(self, error):
        """Return the result after the connection broke while the module ran; nobody knows how far it had come."""
        answer = self._restored()
        if answer is None:
            raise AnsibleConnectionFailure(f"{lost_text()} {error}") from error
        texts = {
            guard_text.FAILED: "The change failed on the host, and was taken back; what failed was lost with the connection, "
            "which broke.",
            None: "The connection broke in the middle of the change, and it was taken back.",
        }
        found = self._taken_back(answer, texts, str(error))
        if found is None:
            raise error
        return found

    def _died(self, result):
        """Return what is to be told, beside the result, of a module that ended without a word."""
        answer = self._restored()
        if answer is None:
            return {"msg": f"{lost_text()} {result.get('msg', '')}"}
        texts = {
            "deadline": f"It was not done within {self._window_s()} s and was ended, and what it had changed was taken back. "
            "Give it more time with confirm_timeout.",
            None: "The module ended in the middle of the change, which was taken back.",
        }
        return self._taken_back(answer, texts, result.get("msg", "")) or {}

    def _window_s(self):
        return int(self._task.args.get("confirm_timeout") or 60)

    def _restored(self):
        """Have the host take back what is open; return what _ask() does."""
        return self._ask("restore asked", time.monotonic() + self._window_s() + AFTER_S)

    def _taken_back(self, answer, texts, more):
        """Return the result of a change that was taken back; None if none was.

        :param texts: {why it was: what to tell}, with None for every other reason.
        """
        # Its token was lost with the module's result. The module removes older outcomes before it begins: this one is its own.
        token = answer[0] if answer else ""
        state, why = verdict(answer, token)
        if state != "reverted":
            return None
        self._forget(token)
        return {
            "failed": True,
            "changed": False,
            "guard": {"state": "reverted", "why": why},
            "msg": f"{texts.get(why, texts[None])} All is as it was before. {more}".strip(),
        }
