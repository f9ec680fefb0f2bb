# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes are the lab's: those in its cgroups. The kernel keeps that list, so unlike files with process ids it
cannot be stale after a crash, name a process of somebody else, or miss a grandchild."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from virtnet_lab.paths import CGROUP, CGROUP_ROOT
from virtnet_lab.proc import LabError, run


def mount_tree() -> None:
    if not CGROUP_ROOT.is_mount():
        CGROUP_ROOT.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "cgroup2", "virtnet-lab", CGROUP_ROOT)
    CGROUP.mkdir(exist_ok=True)


def unmount_tree() -> None:
    """With the last lab gone; its groups went with it."""
    if CGROUP_ROOT.is_mount():
        with contextlib.suppress(OSError):
            CGROUP.rmdir()
        run("umount", CGROUP_ROOT)
    for folder in (CGROUP_ROOT, CGROUP_ROOT.parent):
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()


def pids(group: Path) -> list[int]:
    """Every process in the group and below it."""
    found: list[int] = []
    for folder, _folders, _files in os.walk(group):
        with contextlib.suppress(FileNotFoundError, OSError):
            found += [int(pid) for pid in Path(folder, "cgroup.procs").read_text(encoding="ascii").split()]
    return found


def populated(group: Path) -> bool:
    with contextlib.suppress(OSError):
        return "populated 1" in (group / "cgroup.events").read_text(encoding="ascii")
    return False


def end(group: Path, timeout: float = 20) -> None:
    """End everything in the group, and nothing else, at once; back when it is gone, and the group with it.

    A group is not used again: on Linux 6.18 every process that systemd 257 starts straight into one (CLONE_INTO_CGROUP) is
    killed at birth if cgroup.kill was ever used on it or on the group of its parent."""
    if not group.exists():
        return
    deadline = time.monotonic() + timeout
    while populated(group):
        if time.monotonic() > deadline:
            raise LabError(f"processes {pids(group)} of the lab do not end ({group}).")
        try:
            (group / "cgroup.kill").write_text("1", encoding="ascii")
        except FileNotFoundError:  # before Linux 5.14
            for pid in pids(group):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    _remove(group)


def _remove(group: Path) -> None:
    """Remove a group without processes and all below it; the kernel may need a moment for the last ones."""
    for attempt in range(50):
        for folder, _folders, _files in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if not group.exists():
            return
        time.sleep(0.02 * attempt)
    raise LabError(f"the control group {group} cannot be removed.")


def joining(group: Path, *argv: str) -> list[str]:
    """The command line that runs a program inside the group."""
    group.mkdir(parents=True, exist_ok=True)
    return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / "cgroup.procs"), *argv]
