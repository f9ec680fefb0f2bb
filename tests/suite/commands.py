# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every step uses: where things are, what a step counts, its log, and the commands that write to it."""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
LOGS = BUILD / "logs"
JUNIT = BUILD / "junit"
STATE = BUILD / "tests.json"
BIN = Path(sys.executable).parent
SCENARIOS = ROOT / "extensions" / "molecule"
LAB = os.environ.get("VIRTNET_TEST_LAB", "mol")
COLLECTION = Path("ansible_collections") / "virtnet" / "kvm"


class StepFailedError(Exception):
    """A check found something; the text says what."""


@dataclasses.dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        text = f"{self.passed} passed, {self.failed} failed"
        return text + (f", {self.skipped} skipped" if self.skipped else "")


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    says: str
    run: Callable[[Log], Counts | None]
    cost: int  # seconds it usually takes, for sharing the work out
    groups: tuple[str, ...] = ()
    full: bool = False
    lab: bool = False  # runs on the lab's hosts
    limit: int = 600  # seconds it may take

    def wanted(self, names: Iterable[str], full: bool) -> bool:
        return any(name == self.name or (name in self.groups and (full or not self.full)) for name in names)


running: set[subprocess.Popen[bytes]] = set()
stopping = threading.Event()


def descendants(pid: int) -> list[int]:
    """The processes below one, however deep; Molecule gives its own a session each, so a group is not enough."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for one in level for child in children.get(one, [])]
        found += level
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a command and all that it started, gently first: Ansible and Molecule clean up after themselves."""
    below = descendants(process.pid)
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        for pid in [process.pid, *below]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(alive(pid) for pid in below):
            time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Log:
    """A step's log file, and the commands that write to it; `lab` is the one on whose hosts the step runs, if on any."""

    def __init__(self, name: str, deadline: float, lab: str = LAB) -> None:
        self.path = LOGS / f"{name}.log"
        self.deadline = deadline
        self.lab = lab
        self.handle = self.path.open("wb")

    def write(self, text: str) -> None:
        self.handle.write(text.encode() + b"\n")
        self.handle.flush()

    def text(self) -> str:
        return self.path.read_text(errors="replace")

    def last_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.text()[-2000:].strip().splitlines()
            return re.sub(r"\x1b\[[0-9;]*m", "", lines[-1])[:100] if lines else ""
        return ""

    def command(
        self, *argv: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None, check: bool = True, at_least: float = 1
    ) -> int:
        if stopping.is_set():
            raise StepFailedError("interrupted")
        self.write("$ " + " ".join(map(str, argv)))
        process = subprocess.Popen(
            list(map(str, argv)), cwd=cwd, env=environment() | {"VIRTNET_TEST_LAB": self.lab} | (env or {}),
            stdin=subprocess.DEVNULL, stdout=self.handle, stderr=subprocess.STDOUT, start_new_session=True,
        )
        running.add(process)
        try:
            status = process.wait(max(at_least, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            stop(process)
            raise StepFailedError(f"{argv[0]} was ended: out of time") from None
        except KeyboardInterrupt:
            stopping.set()
            stop(process)
            raise
        finally:
            running.discard(process)
        if check and status != 0:
            raise StepFailedError(f"{Path(argv[0]).name} returned {status}")
        return status


@functools.cache
def environment() -> dict[str, str]:
    env = dict(os.environ)
    env["PATH"] = f"{BIN}:{env.get('PATH', '')}"
    env["ANSIBLE_COLLECTIONS_PATH"] = str(BUILD)
    env["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    env["ANSIBLE_LOCAL_TEMP"] = str(BUILD / "ansible-tmp")
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["NO_COLOR"] = env["ANSIBLE_NOCOLOR"] = "1"
    # With PYTHONUNBUFFERED Python reads what Ansible pipes to it byte by byte: seconds a task on connection local.
    for name in ("ANSIBLE_INVENTORY", "FORCE_COLOR", "PY_COLORS", "ANSIBLE_FORCE_COLOR", "PYTHONUNBUFFERED"):
        env.pop(name, None)
    for name in ("VIRTNET_TEST_MATRIX", "VIRTNET_TEST_FILE"):
        env.pop(name, None)
    # What `make test` was given is not for the make that a step calls.
    variables = ("ARGS", "HOST", "KEEP", "LAB", "MODEL", "PURGE", "SCENARIO")
    for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", *variables):
        env.pop(name, None)
    return env


def source_files() -> list[Path]:
    """The files of the checkout: those git knows and those it would, without what it ignores."""
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout
    return sorted(Path(name) for name in set(listing.split("\0")) if name and (ROOT / name).is_file())


def fingerprint() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name in source_files():
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256((ROOT / name).read_bytes()).digest())
    return digest.hexdigest()


def copy_sources(target: Path) -> None:
    """Make `target` a copy of the checkout's files, without git's own: ansible-test then looks at every file in it."""
    wanted = set(source_files())
    for name in wanted:
        copy = target / name
        if not (copy.is_file() and filecmp.cmp(ROOT / name, copy, shallow=False)):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy)
    for path in sorted(target.rglob("*"), reverse=True):
        if path.relative_to(target).parts[0] == ".git":
            continue
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path.relative_to(target) not in wanted:
            path.unlink()


def junit_counts(path: Path) -> Counts:
    if not path.is_file():
        return Counts()
    counts = Counts()
    for suite in ElementTree.parse(path).iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        counts += Counts(int(suite.get("tests", 0)) - failed - skipped, failed, skipped)
    return counts


def pytest_step(
    log: Log, name: str, *arguments: str, python: Sequence[str | Path] = (sys.executable,), env: dict[str, str] | None = None
) -> Counts:
    """Run pytest by C(python), a command and what stands before -m, and count what its report says."""
    report = JUNIT / f"{name}.xml"
    report.unlink(missing_ok=True)
    status = log.command(
        *python, "-m", "pytest", *arguments, f"--junit-xml={report}", "-o", "junit_family=xunit2", env=env, check=False
    )
    counts = junit_counts(report)
    if status != 0 and not counts.failed:
        counts.failed = 1
    return counts
