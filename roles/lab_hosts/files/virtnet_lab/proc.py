# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs, reporting progress, locking: what every other part of the program uses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path


class LabError(Exception):
    """Something a user can act on; its text is all they get to see."""


class Reporter:
    """Progress lines with the seconds since the command began, from any thread."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def say(self, text: str) -> None:
        with self._lock:
            print(f"[{self.elapsed():6.1f}s] {text}", flush=True)


def run(*argv: str | Path, text: str | None = None, timeout: float | None = None) -> str:
    """Run a program and return what it wrote; a failure carries its command and its own words."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise LabError(f"the program '{words[0]}' is missing on this machine.") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"'{' '.join(words)}' did not end within {timeout:.0f} s.") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or "it said nothing"
        raise LabError(f"'{' '.join(words)}' failed ({done.returncode}): {said}")
    return done.stdout


def succeeds(*argv: str | Path, timeout: float | None = None) -> bool:
    try:
        run(*argv, timeout=timeout)
    except LabError:
        return False
    return True


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """A reader, or the next command after a crash, sees the old content or the new one, never half of it."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with open(new, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
        stream.write(text)
    os.chmod(new, mode)
    os.replace(new, path)


@contextlib.contextmanager
def locked(path: Path, waiting: str, remove: bool = False) -> Iterator[None]:
    """Hold a lock file. With remove it is deleted at the end, so that a removed lab leaves not even that behind."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The previous holder may have removed the file while this one waited for it: then it is nobody's lock.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    try:
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)
        os.close(descriptor)
