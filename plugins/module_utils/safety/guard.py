# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dead man's switch: armed before a change that can cut the controller off, disarmed when it has come in anew.

What takes the change back lies on the host, complete, before the first effect: a script (guard_text.py), copies of all
files that the change writes, a timer for the deadline and a unit for the next boot. The controller's half is
plugin_utils/guard.py.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Busy, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard_text as texts

#: A record that is older than its deadline by this has lost its timer.
_OVERDUE_S = texts.LOCK_WAIT_S + 40


def _boot_id():
    return (files.read("/proc/sys/kernel/random/boot_id") or "").strip()


def look_after(host):
    """Take back what a timer or a boot should have taken back; refuse to go on while a change waits for its confirmation.

    :raises Busy: there is such a change. Called under the host's lock, before anything is read.
    """
    record = json.loads(files.read(texts.RECORD) or "null")
    if record is None:
        files.remove(texts.OUTCOME)  # of a controller that died and never asked
        return
    if record["boot_id"] != _boot_id() or time.time() > record["until"] + _OVERDUE_S:
        _script(host, "restore", "late")
        return
    until = time.strftime("%H:%M:%S", time.localtime(record["until"]))
    raise Busy(
        f"a change of {', '.join(record['links'])} waits for its confirmation until {until}, or the host takes it back",
        cure=f"Wait, or decide on the host: sh {texts.SCRIPT}",
    )


def _script(host, *arguments):
    # env(1), because the module's own process holds the lock that the script would wait for.
    host.run(["env", "VIRTNET_LOCKED=1", "/bin/sh", texts.SCRIPT, *arguments], what="taking the change back")


def window(params):
    """Return the seconds that the options C(confirm) and C(confirm_timeout) of a module mean; 0 for no switch."""
    return params["confirm_timeout"] if params.get("confirm") else 0


def planned(links, timeout_s, **more):
    """Return what the result says of a change that would be guarded."""
    return {"state": "planned", "links": links, "timeout_s": timeout_s, **more}


def armed(host, change, timeout_s):
    """Return a Guard that is armed with C(change)."""
    found = Guard(host, change.links, timeout_s)
    found.arm(change)
    return found


class Guard:
    """An armed switch.

    C(token) is what its confirmation must name, C(links) those that the controller's way leads through, C(timeout_s) the
    time it has.
    """

    def __init__(self, host, links, timeout_s):
        self._host = host
        self.links = links
        self.timeout_s = timeout_s
        self.token = secrets.token_hex(8)

    def arm(self, change):
        """Put on the host what takes C(change), a guard_text.Change, back, and start the timer."""
        until = time.time() + self.timeout_s
        shutil.rmtree(texts.FOLDER, ignore_errors=True)  # of an arming that was killed: nothing had been done
        files.make_folder(f"{texts.FOLDER}/files")
        for path, there in change.files.items():
            if there:
                self._keep(path, texts.copy_of(path, change))
        files.write_all(texts.inputs(change))
        shown = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(until))
        files.write(texts.SCRIPT, texts.script(change, self.token, shown), mode=0o700)
        files.write(
            texts.RECORD,
            json.dumps({"links": change.links, "until": until, "boot_id": _boot_id()}) + "\n",
            mode=0o644,
        )
        files.write(texts.MAKER, f"{os.getpid()}\n")
        if os.path.isdir("/run/systemd/system"):
            files.write(texts.BOOT_UNIT, texts.boot_unit(), mode=0o644)
            if not os.path.islink(texts.BOOT_LINK):
                files.make_folder(os.path.dirname(texts.BOOT_LINK))
                os.symlink(texts.BOOT_UNIT, texts.BOOT_LINK)
        # Last: with it the script has something to take back.
        files.write(f"{texts.FOLDER}/token", self.token + "\n")
        try:
            self._start_timer()
        except VirtnetError:
            self.disarm()
            raise

    @staticmethod
    def _keep(path, copy):
        with open(path, encoding="utf-8") as handle:
            text = handle.read()
        files.write(copy, text, mode=os.stat(path).st_mode & 0o7777)

    def _start_timer(self):
        if os.path.isdir("/run/systemd/system"):
            # A timer may be late by a minute if nobody says otherwise.
            self._host.run(
                [
                    "systemd-run", "--quiet", "--collect", f"--unit={texts.TIMER}", f"--on-active={self.timeout_s}",
                    f"--description=Take back the unconfirmed change of {', '.join(self.links)} (virtnet.kvm)",
                    "--timer-property=AccuracySec=100ms", "/bin/sh", texts.SCRIPT, "restore", "deadline",
                ],
                what="starting the timer of the dead man's switch",
            )  # fmt: skip
        else:
            wait = f"sleep {self.timeout_s}; exec /bin/sh {texts.SCRIPT} restore deadline"
            self._host.run(["/bin/sh", "-c", f"setsid /bin/sh -c '{wait}' > /dev/null 2>&1 < /dev/null &"])

    def restore(self, why):
        """Take the change back at once; C(why) is one word for the outcome."""
        _script(self._host, "restore", why)

    def disarm(self):
        """Drop the switch: everything was put back already, or nothing done."""
        _script(self._host, "drop", self.token)
