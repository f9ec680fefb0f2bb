# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether guests truly run with KVM here: a kernel must come up with it, for /dev/kvm alone proves nothing.

On some machines (nested ones above all) /dev/kvm is there, QEMU starts, and the guest hangs at its first instructions.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.cpio import Archive
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.kernel import Kernel
from ansible_collections.virtnet.kvm.plugins.module_utils.host import RUN

DEVICE = "/dev/kvm"
REMEMBERED = os.path.join(RUN, "kvm.json")
#: Seconds for the kernel to come up; with KVM it takes one. With start and end of QEMU the whole stays under 5.
TIMEOUT_S = 4.0
END_S = 0.5

WORD = b"virtnet-probe-ok"
INIT = b"#!/bin/busybox sh\necho virtnet-probe-ok\nexec /bin/busybox sleep 60\n"
CMDLINE = "console=ttyS0 quiet panic=-1"
EMULATORS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm", "qemu-kvm", "kvm")
BUSYBOX = ("/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/usr/sbin/busybox")


@dataclass(frozen=True)
class Answer:
    """C(accelerator) is C(kvm) or C(tcg), C(reason) why; C(fresh): just found out, not remembered."""

    accelerator: str
    reason: str
    fresh: bool = False


def _boot_id():
    return (files.read("/proc/sys/kernel/random/boot_id") or "").strip()


def recall(path=REMEMBERED):
    """Return what was found out since the host started, or None."""
    try:
        known = json.loads(files.read(path) or "{}")
    except ValueError:
        return None
    # A device that came or went since (a module loaded, a container re-made) asks for a new look.
    now = {"boot_id": _boot_id(), "device": os.path.exists(DEVICE)}
    if not isinstance(known, dict) or any(known.get(key) != value for key, value in now.items()):
        return None
    if known.get("accelerator") not in ("kvm", "tcg"):
        return None
    return Answer(known["accelerator"], str(known.get("reason")))


def remember(answer, path=REMEMBERED):
    """Keep an answer until the host starts anew."""
    known = {
        "accelerator": answer.accelerator, "reason": answer.reason, "boot_id": _boot_id(), "device": os.path.exists(DEVICE)
    }  # fmt: skip
    files.write(path, json.dumps(known, sort_keys=True) + "\n", mode=0o644)


def probe():
    """Find out; at most 5 s. Nothing is left behind, no process and no file."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Answer("tcg", f"there is no {DEVICE}", True)
    except OSError as error:
        return Answer("tcg", f"{DEVICE} cannot be opened: {error.strerror}", True)
    emulator = next((path for path in map(shutil.which, EMULATORS) if path), None)
    busybox = next((path for path in BUSYBOX if os.access(path, os.X_OK)), None)
    if emulator is None:
        return Answer("tcg", "there is no QEMU to try KVM with", True)
    if busybox is None:
        return Answer("tcg", "there is no busybox to try KVM with", True)
    try:
        kernel = Kernel.newest().image
    except VirtnetError:
        return Answer("tcg", "there is no kernel in /boot to try KVM with", True)
    with tempfile.TemporaryDirectory(prefix="virtnet-kvm-") as folder:
        initrd = os.path.join(folder, "initrd")
        _write_initrd(initrd, busybox)
        return _boot(emulator, kernel, initrd)


def _write_initrd(path, busybox):
    archive = Archive()
    archive.folder("dev")
    archive.node("dev/console", 5, 1)
    archive.file("init", INIT, 0o755)
    with open(busybox, "rb") as handle:
        archive.file("bin/busybox", handle.read(), 0o755)
    with open(path, "wb") as handle:
        for chunk in archive.chunks():
            handle.write(chunk)


def _boot(emulator, kernel, initrd):
    command = [
        emulator, "-accel", "kvm", "-cpu", "host", "-m", "128", "-nodefaults", "-no-user-config", "-display", "none",
        "-no-reboot", "-serial", "stdio", "-monitor", "none", "-kernel", kernel, "-initrd", initrd, "-append", CMDLINE,
    ]  # fmt: skip
    start = time.monotonic()
    process = subprocess.Popen(  # pylint: disable=ansible-bad-function  # run_command has no time limit
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output, ended = _listen(process, start + TIMEOUT_S)
    finally:
        _end(process)
    if WORD in output:
        return Answer("kvm", f"a guest started with KVM in {time.monotonic() - start:.1f} s", True)
    if not ended:
        return Answer("tcg", f"a guest with KVM did not come up within {TIMEOUT_S:g} s", True)
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return Answer("tcg", f"QEMU ended when it was to use KVM: {lines[-1] if lines else 'no message'}", True)


def _listen(process, deadline):
    """Return (output, whether it ended by itself) of what comes until the word, the end or the deadline."""
    output = b""
    handle = process.stdout.fileno()
    while WORD not in output and len(output) < 1 << 20:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([handle], [], [], left)[0]:
            return output, False
        part = os.read(handle, 65536)
        if not part:
            return output, True
        output += part
    return output, False


def _end(process):
    """End QEMU and whatever it started. A process that the kernel holds in KVM is left to init, and cannot run on."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    process.stdout.close()
