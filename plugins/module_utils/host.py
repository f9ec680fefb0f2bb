# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The managed host as the rooms see it: commands, sysctls and the host-wide lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Busy, CommandFailed, MissingDependency

ETC = "/etc/virtnet"
RUN = "/run/virtnet"
STATE = "/var/lib/virtnet"
CACHE = "/var/cache/virtnet"

LOCK_WAIT_S = 120


def own_run():
    """Return the folder for what does not outlive a boot: root's, or a user's own."""
    if os.geteuid() == 0:
        return RUN
    return os.path.join(os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~/.cache"), "virtnet")


class Host:
    """Effects on the managed host.

    :param run_command: AnsibleModule.run_command, or anything of its signature.
    """

    def __init__(self, run_command):
        self._run_command = run_command

    def run(self, command, data=None, check=True, what=None, subject=None):
        """Run C(command), a list, and return (rc, stdout, stderr).

        :param data: text for standard input.
        :param check: raise CommandFailed on a return code other than 0.
        :param what: what is being done, for the error ("loading the ruleset").
        """
        try:
            rc, out, err = self._run_command(command, data=data, handle_exceptions=False)
        except FileNotFoundError as error:
            raise MissingDependency(
                f"the command {command[0]} is not there",
                subject=subject,
                # The PATH of who is not root often lacks what is there.
                cure="Run the role virtnet.kvm.kvm_host, or install it."
                if os.geteuid() == 0
                else "Set become: true; if it is missing then as well, run the role virtnet.kvm.kvm_host.",
            ) from error
        if check and rc != 0:
            raise CommandFailed(
                f"{what or 'a command'} failed: {(err or out).strip() or 'no message'}",
                subject=subject,
                cmd=list(command),
                rc=rc,
                stderr=err,
                stdout=out,
            )
        return rc, out, err

    @contextlib.contextmanager
    def lock(self, wait_s=LOCK_WAIT_S):
        """Hold the host-wide lock: one run of ours changes this host at a time (flock(2), freed with the process).

        A user who is not root has a lock of their own: what they can change (a session daemon) is theirs alone.
        """
        folder = own_run()
        os.makedirs(folder, mode=0o755, exist_ok=True)
        # Who can open it can hold it, and have root's runs wait.
        handle = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(handle, 0o600)
            deadline = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EACCES):
                        raise
                    if time.monotonic() > deadline:
                        raise Busy(
                            f"another run of virtnet.kvm has held {folder}/lock for {wait_s} s",
                            cure="Wait for it to end, or end it.",
                        ) from error
                    time.sleep(0.05)
            yield
        finally:
            os.close(handle)

    @staticmethod
    def sysctl_path(key):
        """Return the file of a sysctl; dots separate, and a slash stands for a dot in a link's name (sysctl.d(5))."""
        return "/proc/sys/" + key.translate(str.maketrans("./", "/."))

    def sysctl(self, key):
        """Return the value of a sysctl as text, or None if this kernel does not have it."""
        text = files.read(self.sysctl_path(key))
        return None if text is None else text.strip()

    def set_sysctl(self, key, value):
        try:
            with open(self.sysctl_path(key), "w", encoding="ascii") as handle:
                handle.write(str(value))
        except OSError as error:
            raise CommandFailed(f"the sysctl could not be set to {value}: {error.strerror}", subject=key) from error
