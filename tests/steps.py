# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of `make test`, one after another, each with its log in .build/logs; a failure does not stop the others.

Static checks run beside the building of the lab's host image and beside what runs on the lab's hosts, which runs one after
another. The lab is removed at the end, however that comes. The last line counts tests: pytest's and testinfra's, sanity's,
Molecule's actions; every other check is one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import filecmp
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.etree import ElementTree

import host_coverage
import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build"
LOGS = BUILD / "logs"
JUNIT = BUILD / "junit"
STATE = BUILD / "tests.json"
BIN = Path(sys.executable).parent
SCENARIOS = ROOT / "extensions" / "molecule"
LAB = os.environ.get("VIRTNET_TEST_LAB", "mol")
NEW_LAB = f"{LAB}new"
COLLECTION = Path("ansible_collections") / "virtnet" / "kvm"

# Scenarios that only `--full` runs; all others are the covering set.
LONG_SCENARIOS: frozenset[str] = frozenset(
    {
        "article", "explain", "fleet", "foreign", "guides", "include_in_play", "isolated", "links", "live", "multi_host",
        "readme", "template", "vlans", "vxlan",
    }
)
# Seconds that a scenario may take, where the usual do not do. The host of vlans is a guest without KVM, which restarts a dozen
# times.
LIMITS = {"faults": 3600, "foreign": 2400, "guides": 3600, "modules": 2400, "readme": 2700, "vlans": 4500, "vxlan": 2400}
# Scenarios whose tests are a matrix, of which they choose a covering set themselves unless VIRTNET_TEST_MATRIX is set: seconds
# that the whole of it may take.
MATRICES = {"bridged": 1500, "contract": 600, "faults": 7200, "guard": 1500, "managers": 4500, "modules": 4500, "routed": 1500}
# Matrices of hours: each file of tests is a step of its own, in a group of the matrix' name, for --resume and --shard.
PARTED = frozenset({"faults"})

# Scenarios that run on one of the KVM hosts, unless the whole matrix is asked for: four_models has their models on both, and
# what is between two hosts.
ONE_HOST = {"bridged": "kvm2", "routed": "kvm1"}

# Scenarios with a lab of their own, whose hosts stand in their vars/hosts.yml (variables of the role lab_hosts).
OWN_LAB = f"{LAB}own"

# Scenarios after which the hosts are not as before, through no fault of ours: the next one gets new ones.
USED_UP = frozenset({"foreign"})

# Scenarios that make the hosts anew for their tests, which are not measured then (--coverage).
REMAKES_HOSTS = frozenset({"managers"})

# Scenarios that run from the installed tarball, all others from the checkout.
FROM_ARTIFACT = frozenset({"nat"})

# How much of a host's state after a failure is printed; all of it is in a file, which a CI machine may not keep.
EVIDENCE_LINES = 600

# How many lines of each failed step are said again at the very end, beside the names of all failed tests: a CI may keep no more
# than the tail of what was printed.
GIST_LINES = 16

LICENCE = "GPL-3.0-or-later"
HEADER = (
    "Copyright (c) ",
    "GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    f"SPDX-{'License'}-Identifier: {LICENCE}",  # not this file's own
)


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


# --- running commands -------------------------------------------------------------------------------------------------

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
    """A step's log file, and the commands that write to it."""

    def __init__(self, name: str, deadline: float) -> None:
        self.path = LOGS / f"{name}.log"
        self.deadline = deadline
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
            list(map(str, argv)), cwd=cwd, env=environment() | (env or {}), stdin=subprocess.DEVNULL,
            stdout=self.handle, stderr=subprocess.STDOUT, start_new_session=True,
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
    env["VIRTNET_TEST_LAB"] = LAB
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


def pytest_step(log: Log, name: str, *arguments: str, env: dict[str, str] | None = None) -> Counts:
    report = JUNIT / f"{name}.xml"
    report.unlink(missing_ok=True)
    status = log.command(
        sys.executable, "-m", "pytest", *arguments, f"--junit-xml={report}", "-o", "junit_family=xunit2", env=env, check=False
    )
    counts = junit_counts(report)
    if status != 0 and not counts.failed:
        counts.failed = 1
    return counts


# --- static checks ----------------------------------------------------------------------------------------------------


def ruff(log: Log) -> None:
    log.command("ruff", "check", "--no-cache", ".")


def mypy(log: Log) -> None:
    log.command("mypy", "-p", "ansible_collections.virtnet.kvm.plugins.module_utils", cwd=BUILD)
    if (ROOT / "roles/lab_hosts/files/virtnet_lab").is_dir():
        log.command("mypy", "-p", "virtnet_lab", cwd=BUILD)
    log.command("mypy", ROOT / "tests/steps.py")


def yamllint(log: Log) -> None:
    log.command("yamllint", "--strict", ".")


def changelog(log: Log) -> None:
    log.command("antsibull-changelog", "lint")


def ansible_lint(log: Log) -> None:
    log.command("ansible-lint", "--offline", "--profile", "production", "--nocolor")


def scripts(log: Log) -> None:
    """Every shell script parses (and pleases shellcheck, if that is here); every program can be executed."""
    wrong = []
    check = ["shellcheck", "-x", "-P", "SCRIPTDIR"] if shutil.which("shellcheck") else ["bash", "-n"]
    for name in source_files():
        path = ROOT / name
        first = path.read_bytes()[:80].split(b"\n", 1)[0]
        shell = first.startswith(b"#!") and re.search(rb"\b(ba|da)?sh\b", first)
        if (shell or path.suffix == ".sh") and log.command(*check, path, check=False):
            wrong.append(f"{name}: {check[0]} finds something")
        if first.startswith(b"#!") and not {"plugins", "templates", "files"} & set(name.parts) and not os.access(path, os.X_OK):
            wrong.append(f"{name}: begins with #! but cannot be executed")
    if wrong:
        raise StepFailedError("\n".join(wrong))


def headers(log: Log) -> None:
    """Every file that can hold a comment says its licence in its first lines."""
    kinds = {".py", ".yml", ".yaml", ".sh", ".toml", ".cfg", ".txt", ".j2"}
    names = {"Makefile", "run", ".ansible-lint", ".yamllint", ".gitignore"}
    excused = {Path("changelogs/changelog.yaml"), Path(f"LICENSES/{LICENCE}.txt")}
    wrong = []
    for name in source_files():
        if name in excused or not (name.suffix in kinds or name.name in names):
            continue
        beginning = (ROOT / name).read_text(errors="replace")[:1500]
        if beginning.strip() and not all(line in beginning for line in HEADER):
            wrong.append(f"{name}: lacks the licence's three lines")
    if wrong:
        raise StepFailedError("\n".join(wrong))


def roles(log: Log) -> None:
    """Every role has what users and reviewers look for; every playbook and role is found by its full name."""
    wrong = []
    for role in sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir()):
        wrong.extend(
            f"{role.name}: lacks {part}"
            for part in ("README.md", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml")
            if not (role / part).is_file()
        )
    for playbook in sorted((ROOT / "playbooks").glob("*.yml")):
        if log.command(
            "ansible-playbook", "-i", "localhost,", "--syntax-check", f"virtnet.kvm.{playbook.stem}", check=False
        ):
            wrong.append(f"virtnet.kvm.{playbook.stem}: the syntax check fails")
    if wrong:
        raise StepFailedError("\n".join(wrong))


def docs(log: Log) -> None:
    """The documentation in the modules is right, and the site can be made of it and of the pages, without a warning."""
    log.command("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "self", ".")
    log.command(ROOT / "tools/docs.sh")


INSTALLED = BUILD / "installed"
# What a scenario runs from is not to be made anew under it.
installing = threading.Lock()
installed_now = threading.Event()


def install(log: Log) -> Path:
    """Build the tarball and install it, as a user does, where nothing else is; once a run. Return the tarball."""
    dist = BUILD / "dist"
    with installing:
        if not installed_now.is_set():
            shutil.rmtree(dist, ignore_errors=True)
            shutil.rmtree(INSTALLED, ignore_errors=True)
            copy = BUILD / "tree" / COLLECTION
            copy_sources(copy)
            log.command("ansible-galaxy", "collection", "build", "--output-path", dist, copy)
            tarball = next(dist.glob("virtnet-kvm-*.tar.gz"))
            log.command(
                "ansible-galaxy", "collection", "install", "--offline", "--no-deps", "-p", INSTALLED, tarball,
                # With the checkout in its path ansible-galaxy says that all is there, and does nothing.
                env={"ANSIBLE_COLLECTIONS_PATH": str(INSTALLED)},
            )
            if not (INSTALLED / COLLECTION / "MANIFEST.json").is_file():
                raise StepFailedError("ansible-galaxy has installed nothing")
            installed_now.set()
    return next(dist.glob("virtnet-kvm-*.tar.gz"))


def build(log: Log) -> None:
    """Build the tarball, unpack it as `ansible-galaxy collection install` does, import and document all that is in it."""
    tarball = install(log)
    with tarfile.open(tarball) as archive:
        unwanted = [
            name for name in archive.getnames()
            if re.search(r"(^|/)(\.build|\.venv|\.git|\.ci|__pycache__|tests/output|ansible\.cfg)(/|$)|\.pyc$", name)
        ]
    if unwanted:
        raise StepFailedError(f"the tarball holds what nobody needs: {', '.join(unwanted[:10])}")
    place = INSTALLED / COLLECTION
    env = {"ANSIBLE_COLLECTIONS_PATH": str(INSTALLED), "PYTHONPATH": str(INSTALLED)}
    modules = sorted(
        ".".join(path.relative_to(INSTALLED).with_suffix("").parts)
        for path in place.glob("plugins/**/*.py") if path.name != "__init__.py"
    )
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    log.command(sys.executable, "-c", code, env=env, cwd=INSTALLED)
    for kind, folder in (("module", "modules"), ("inventory", "inventory")):
        plugins = [f"virtnet.kvm.{path.stem}" for path in sorted(place.glob(f"plugins/{folder}/*.py"))]
        log.command("ansible-doc", "-t", kind, *plugins, env=env, cwd=INSTALLED)


def prepare_get_pip(venv: Path) -> None:
    """ansible-test wants a script that installs pip, from a host of its own; Python's ensurepip does the same."""
    source = next(venv.glob("lib/python*/site-packages/ansible_test/_internal/python_requirements.py"), None)
    if source is None:
        raise StepFailedError("ansible-test is not installed")
    versions = set(re.findall(r"\bpip='([0-9.]+)'", source.read_text()))
    if not versions:
        raise StepFailedError(f"{source} no longer says which pip it wants")
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in versions:
        script = cache / f"get_pip_{version.replace('.', '_')}.py"
        if not script.exists():
            script.write_text("import ensurepip\nensurepip.bootstrap()\n")


PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def ansible_test_sanity(
    log: Log, *arguments: str, python: Path | None = None, venv: Path = BIN.parent, place: str = "sanity"
) -> Counts:
    """Run ansible-test sanity of the ansible-core in C(venv); C(python) is one more to be found."""
    prepare_get_pip(venv)
    copy = BUILD / place / COLLECTION
    copy_sources(copy)
    if not (copy / ".git").exists():
        # Else ansible-test asks the checkout's git, which ignores all of .build.
        log.command("git", "init", "-q", copy)
    status = log.command(
        "env", "-u", "ANSIBLE_COLLECTIONS_PATH", "-u", "ANSIBLE_CONFIG", "-u", "PYTHONDONTWRITEBYTECODE",
        "ansible-test", "sanity", "--requirements", "--color", "no", *arguments, cwd=copy, check=False,
        env={"PATH": ":".join(str(one) for one in (venv / "bin", python and python.parent, os.environ["PATH"]) if one)},
    )
    text = log.text()
    lacking = re.findall(r'WARNING: Required program "([^"]+)" not found', text)
    ran = re.findall(r'^Running sanity test "([^"]+)"', text, flags=re.MULTILINE)
    skips = re.findall(r'WARNING: (Skipping sanity test "[^"]+".*)', text)
    wrong = [line for line in skips if "because it is unsupported" not in line]
    listed = re.search(r"The (\d+) sanity test\(s\) listed below", text)
    failed = int(listed.group(1)) if listed else int(status != 0)
    log.write("\n".join([*re.findall(r"^ERROR: (\S+:\d+:\d+: .*)", text, flags=re.MULTILINE), *wrong]))
    if not ran:
        failed = max(failed, 1)
    skipped = len(skips) - len(wrong) + len(lacking)
    return Counts(max(0, len(ran) - failed - len(lacking)), failed + len(wrong), skipped)


def sanity(log: Log) -> Counts:
    return ansible_test_sanity(log, "--local", "--python", PYTHON)


def units(log: Log, workers: int = 0) -> Counts:
    return pytest_step(log, "units", "-q", "-m", "not slow", "-n", str(workers), "tests/unit")


# --- what only --full runs --------------------------------------------------------------------------------------------


def units_slow(log: Log) -> Counts:
    if not any("pytest.mark.slow" in path.read_text() for path in (ROOT / "tests/unit").rglob("test_*.py")):
        return Counts(skipped=1)
    return pytest_step(log, "units-slow", "-q", "-m", "slow", "tests/unit")


def sanity_targets(log: Log) -> Counts:
    """The sanity tests that look at the managed hosts' Python, on every other version that is here."""
    counts = Counts()
    for minor in {9, 10, 11, 12, 13} - {sys.version_info[1]}:
        name = f"3.{minor}"
        places = [Path(found) for found in [shutil.which(f"python{name}")] if found]
        places += Path.home().glob(f".pyenv/versions/{name}.*/bin/python{name}")
        place = next((one for one in places if not log.command(one, "-c", "", check=False)), None)
        if place is None:
            counts += Counts(skipped=1)
            continue
        own = Log(f"sanity-{name}", log.deadline)
        log.write(f"see {own.path}")
        arguments = ("--controller", f"origin:python={PYTHON}", "--target-python", f"{name}@{place}")
        counts += ansible_test_sanity(own, "--test", "import", "--test", "compile", *arguments, python=place)
    return counts


def own_environment(log: Log, name: str, *packages: str, python: str | Path = sys.executable) -> Path:
    """Make a virtual environment for a step, or take the one that is there."""
    venv, wanted = BUILD / f"venv-{name}", "\n".join([str(python), *packages])
    stamp = venv / ".done"
    if not stamp.is_file() or stamp.read_text() != wanted:
        log.command(python, "-m", "venv", "--clear", venv)
        log.command(venv / "bin/python", "-m", "pip", "install", "-q", *packages)
        stamp.write_text(wanted)
    return venv


def python_between(oldest: int, newest: int) -> Path | None:
    """Return the newest Python 3 of these minor versions that works here."""
    for minor in range(newest, oldest - 1, -1):
        name = f"python3.{minor}"
        places = [Path(found) for found in [shutil.which(name)] if found]
        places += sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/{name}"))
        for place in places:
            done = subprocess.run([place, "-c", "import venv"], check=False, capture_output=True, stdin=subprocess.DEVNULL)
            if done.returncode == 0:
                return place
    return None


def sanity_of_core(log: Log, core: str, oldest: int, newest: int) -> Counts:
    """ansible-test sanity of another ansible-core, with the newest Python that it knows."""
    python = python_between(oldest, newest)
    if python is None:
        log.write(f"there is no Python 3.{oldest} to 3.{newest} here")
        return Counts(skipped=1)
    name = "newest" if core == "ansible-core" else core.rpartition("=")[2].rstrip(".*")
    venv = own_environment(log, f"sanity-{name}", core, python=python)
    return ansible_test_sanity(log, "--local", "--python", python.name.removeprefix("python"), venv=venv, place=f"sanity-{name}")


def other_core(log: Log, version: str) -> Counts:
    """The units, the syntax of the playbooks and the argument specs under another ansible-core."""
    venv = own_environment(log, f"core-{version}", f"ansible-core=={version}.*", "pytest", "hypothesis", "lxml")
    env = {"PATH": f"{venv / 'bin'}:{environment()['PATH']}"}
    report = JUNIT / f"units-{version}.xml"
    status = log.command(
        venv / "bin/python", "-m", "pytest", "-q", "-m", "not slow", "tests/unit", f"--junit-xml={report}", check=False, env=env
    )
    counts = junit_counts(report)
    if status and not counts.failed:
        counts.failed = 1
    for playbook in sorted((ROOT / "playbooks").glob("*.yml")):
        bad = log.command(
            venv / "bin/ansible-playbook", "-i", "localhost,", "--syntax-check", playbook, env=env, check=False
        )
        counts += Counts(int(not bad), int(bool(bad)))
    return counts


def importer(log: Log) -> None:
    """Galaxy's own import, in an environment of its own; neither an error nor a warning."""
    venv, out = own_environment(log, "importer", "galaxy-importer>=0.4.20"), BUILD / "importer"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    copy = BUILD / "importer-tree"
    copy_sources(copy)
    # It gives ansible-lint three minutes, which a busy machine needs more of; ours is a step with the stricter profile.
    (out / "importer.cfg").write_text("[galaxy-importer]\nRUN_ANSIBLE_LINT = False\n")
    installed = len(log.text())  # what pip says when it makes the environment is not meant below
    log.command(
        venv / "bin/python", "-m", "galaxy_importer.main", "--git-clone-path", copy, "--output-path", out, cwd=out,
        env={"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "GALAXY_IMPORTER_CONFIG": str(out / "importer.cfg")},
    )
    wrong = re.findall(r"^(?:WARNING|ERROR): .*", log.text()[installed:], flags=re.MULTILINE)
    if wrong:
        raise StepFailedError("\n".join(wrong))


# The sessions of antsibull-nox that need no containers; ansible-test's do.
NOX_SESSIONS = ("lint", "docs-check", "license-check", "extra-checks", "build-import-check")


def nox(log: Log) -> Counts:
    """The checks that the collections of Ansible's community share (antsibull-nox.toml)."""
    python = python_between(11, 14)
    venv = own_environment(log, "nox", "antsibull-nox", python=python or sys.executable)
    copy = BUILD / "nox" / COLLECTION
    copy_sources(copy)
    if not (copy / ".git").exists():
        log.command("git", "init", "-q", copy)
    log.command("git", "-C", copy, "add", "-A")
    counts = Counts()
    for session in NOX_SESSIONS:
        # Outside of a CI some sessions would rewrite files.
        env = {"CI": "true", "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
        bad = log.command(venv / "bin/nox", "-e", session, cwd=copy, check=False, env=env)
        counts += Counts(int(not bad), int(bool(bad)))
    return counts


def execution_environment(log: Log) -> None:
    """ansible-builder takes the definition and what the collection says of itself; the image itself needs a container engine."""
    venv, out = own_environment(log, "builder", "ansible-builder>=3.0", "ansible-core"), BUILD / "ee"
    shutil.rmtree(out, ignore_errors=True)
    install(log)
    log.command(
        venv / "bin/ansible-builder", "create", "-f", ROOT / "execution-environment.yml", "-c", out,
        "--output-filename", "Containerfile",
    )
    log.command(venv / "bin/ansible-builder", "introspect", INSTALLED)
    if "libvirt" in log.text():
        raise StepFailedError("the execution environment would get what only managed hosts need")


# The least share of module_utils that the unit tests run, in percent.
COVERED = 78


def coverage(log: Log) -> Counts:
    """The unit tests, and how much of module_utils they run; the table is printed, file by file where it is little."""
    venv = own_environment(log, "coverage", "-r", str(ROOT / "requirements-test.txt"), "coverage>=7")
    data = BUILD / "coverage"
    env = {"PATH": f"{venv / 'bin'}:{environment()['PATH']}", "COVERAGE_FILE": str(data)}
    report = JUNIT / "coverage.xml"
    python = venv / "bin/python"
    status = log.command(
        python, "-m", "coverage", "run", "--branch", "--include=*/plugins/module_utils/*", "-m", "pytest", "-q", "-m", "not slow",
        "tests/unit", f"--junit-xml={report}", check=False, env=env,
    )
    counts = junit_counts(report)
    log.command(python, "-m", "coverage", "report", "--sort=cover", f"--fail-under={COVERED}", env=env)
    little = [line for line in log.text().splitlines() if re.match(r"TOTAL |\S+\.py .*\s[0-6]?\d%$", line)]
    print("".join(f"    | {line}\n" for line in little), end="", flush=True)
    return counts if not status or counts.failed else counts + Counts(failed=1)


def print_coverage() -> None:
    """What units and hosts together run of module_utils; the table is a file, what is below 90 % is printed."""
    table = host_coverage.combine([str(BUILD / "venv-coverage" / "bin/python")], BUILD, ROOT / "plugins" / "module_utils")
    (BUILD / "coverage.txt").write_text(table)
    little = [line for line in table.splitlines() if re.match(r"TOTAL |\S+\.py .*\s[0-8]?\d%$", line)]
    print(f"module_utils, by the unit tests and by {sum(measured)} runs of modules on hosts:")
    print("".join(f"    | {line}\n" for line in little) + f"    | all of it: {BUILD / 'coverage.txt'}", flush=True)


def newcomer(log: Log) -> Counts:
    """What the README promises: `make lab` twice, the second time without a change, and `make lab-down` leaves nothing."""
    name = NEW_LAB
    make = ["make", "--no-print-directory", f"LAB={name}"]
    counts = Counts()
    # A newcomer has none that an earlier run left.
    log.command(*lab_program("down", lab=name))
    try:
        log.command(*make, "lab")
        counts.passed += 1
        log.command(*make, "lab")
        recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", log.text().rpartition("PLAY RECAP")[2], flags=re.MULTILINE)
        changed = [host for host, number in recap if number != "0"]
        log.write(f"changed on the second run: {changed or 'nothing'}")
        counts += Counts(int(bool(recap) and not changed), int(not recap or bool(changed)))
    finally:
        log.command(*make, "lab-down", check=False, at_least=120)
    left = leftovers(name)
    log.write("\n".join(left) or "nothing is left")
    return counts + Counts(int(not left), int(bool(left)))


# --- on the lab's hosts -----------------------------------------------------------------------------------------------


def lab_program(*arguments: str, lab: str = LAB) -> list[str]:
    path = ROOT / "roles/lab_hosts/files"
    return ["env", f"PYTHONPATH={path}", sys.executable, "-m", "virtnet_lab", "--lab", lab, *arguments]


def molecule_environment(scenario: str) -> dict[str, str]:
    """A folder of its own for each scenario: with a shared one Molecule prepares only the first."""
    return {"MOLECULE_EPHEMERAL_DIRECTORY": str(BUILD / "molecule" / LAB / scenario)}


def lab_image(log: Log) -> None:
    log.command(*lab_program("preflight"))
    log.command(*lab_program("image"))


def lab_up(log: Log, anew: bool = True) -> None:
    """Boot the hosts; `anew` without what an earlier run that was killed has left on them, its networks and all."""
    if anew:
        log.command(*lab_program("down"))
    # What Molecule remembers is of that run, too.
    shutil.rmtree(BUILD / "molecule" / LAB, ignore_errors=True)
    log.command("molecule", "create", "-s", "default", env=molecule_environment("default"))


# What of the modules' code runs on the hosts, if that was asked for: of how many runs.
measured: list[int] = []


# A scenario that failed may have left the hosts in any state: the next one gets new ones.
spoilt = threading.Event()
# With --keep they are for somebody to look at, and nothing runs on them any more.
keeping = threading.Event()
kept: list[str] = []


def keep(scenario: str, lab: str = LAB) -> None:
    """Leave the hosts of a scenario that failed as they are, if that was asked for; say how to get at them."""
    if keeping.is_set() and not kept:
        kept.append(
            f"the hosts of molecule-{scenario} are as it left them: make lab-shell LAB={lab} HOST=kvm1; inventory: "
            f"/var/lib/virtnet-lab/{lab}/inventory.yml; make lab-down LAB={lab} removes them"
        )


def molecule(log: Log, scenario: str, whole: bool = False, file: str = "") -> Counts:
    hosts = SCENARIOS / scenario / "vars" / "hosts.yml"
    if hosts.is_file():
        return molecule_with_own_lab(log, scenario, hosts)
    if spoilt.is_set():
        lab_up(log)
        spoilt.clear()
    env = molecule_environment(scenario)
    if scenario in FROM_ARTIFACT:
        install(log)
        env["ANSIBLE_COLLECTIONS_PATH"] = str(INSTALLED)
    if whole:
        env |= {"VIRTNET_TEST_MATRIX": "whole", "VIRTNET_TEST_FILE": file}
    elif scenario in ONE_HOST:
        env["VIRTNET_TEST_INVENTORY"] = inventory_with(ONE_HOST[scenario])
    hosts_measured = host_coverage.Hosts(LAB, BUILD, [sys.executable, "-m", "pip"]) if measured else None
    if hosts_measured and scenario in REMAKES_HOSTS:
        hosts_measured = hosts_measured.leave_alone()
    if hosts_measured:
        hosts_measured.prepare()
    counts = run_scenario(log, scenario, env)
    if hosts_measured:
        measured.append(hosts_measured.fetch())
        log.write(f"measured on hosts: {measured[-1]} runs of modules")
    if counts.failed:
        evidence(scenario)
        keep(scenario)
    if counts.failed or scenario in USED_UP:
        spoilt.set()
    return counts


def inventory_with(host: str) -> str:
    """Write the lab's inventory with one of its KVM hosts only, beside it; return the file's name."""
    folder = Path("/var/lib/virtnet-lab") / LAB
    tree = yaml.safe_load((folder / "inventory.yml").read_text())
    hosts = tree["all"]["children"]["kvm_hosts"]["hosts"]
    tree["all"]["children"]["kvm_hosts"]["hosts"] = {host: hosts[host]}
    path = folder / f"inventory-{host}.yml"
    path.write_text(yaml.safe_dump(tree))
    return path.name


def molecule_with_own_lab(log: Log, scenario: str, hosts: Path) -> Counts:
    """Run a scenario on hosts of its own, which are there for it alone; the shared ones stay up, and idle."""
    log.command(*lab_program("down", lab=OWN_LAB))
    # Molecule has the scenario 'default' make the hosts, which reads who they are.
    env = molecule_environment(scenario) | {"VIRTNET_TEST_LAB": OWN_LAB, "VIRTNET_TEST_HOSTS": str(hosts)}
    shutil.rmtree(env["MOLECULE_EPHEMERAL_DIRECTORY"], ignore_errors=True)
    try:
        log.command("molecule", "create", "-s", "default", env=env)
        counts = run_scenario(log, scenario, env)
        if counts.failed:
            evidence(scenario, OWN_LAB)
            keep(scenario, OWN_LAB)
    finally:
        if not kept:
            log.command(*lab_program("down", lab=OWN_LAB), check=False, at_least=120)
    left = [] if kept else leftovers(OWN_LAB)
    log.write("\n".join(left) or "nothing is left")
    return counts + Counts(int(not left), int(bool(left)))


def run_scenario(log: Log, scenario: str, env: dict[str, str]) -> Counts:
    report = JUNIT / f"molecule-{scenario}.xml"
    report.unlink(missing_ok=True)
    env = env | {"PYTEST_ADDOPTS": f"--junit-xml={report} -o junit_family=xunit2"}
    status = log.command("molecule", "test", "-s", scenario, "--destroy=never", env=env, check=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.text())
    print("".join(f"    | {line}\n" for line in tables(text)), end="", flush=True)
    ended = re.findall(rf"\[{re.escape(scenario)} \S (\w+)\] Executed: (\w+)", text)
    actions = [(action, end) for action, end in ended if action != "verify"]
    tests = junit_counts(report)
    counts = tests + Counts(
        sum(end == "Successful" for _action, end in actions), sum(end == "Failed" for _action, end in actions)
    )
    if status and not counts.failed:
        counts.failed = 1
    if not status and not tests.passed and (SCENARIOS / scenario / "tests").is_dir():
        log.write("no test ran on the hosts: the verifier found none, or its inventory is empty")
        counts.failed += 1
    return counts


def tables(text: str) -> list[str]:
    """Return the lines of the tables that tests show (fixture `table`), as a scenario's log has them."""
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if re.match(r"=+ .* =+$", line):
            inside = bool(re.match(r"=+ table: ", line))
        if inside:
            found.append(line)
    return found


def evidence(scenario: str, lab: str = LAB) -> None:
    """Keep, and print, what the hosts are like now that a scenario has failed on them; SSH may be what failed."""
    status = lab_program("status", lab=lab)
    listing = subprocess.run(status, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    script = (ROOT / "tests/evidence.sh").read_text()
    for line in listing.stdout.splitlines():
        name, kind = line.split()[:2]
        if kind != "kvm":
            continue
        path = LOGS / f"evidence-{scenario}-{name}.log"
        with path.open("wb") as handle, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                lab_program("exec", name, "--", "bash", "-c", script, lab=lab), check=False, stdin=subprocess.DEVNULL,
                stdout=handle, stderr=subprocess.STDOUT, timeout=120,
            )
        print(f"--- {name} after molecule-{scenario} failed (also in {path})")
        print("\n".join(f"    | {one}" for one in path.read_text(errors="replace").splitlines()[:EVIDENCE_LINES]), flush=True)


def lab_tests(log: Log) -> Counts:
    inventory = f"/var/lib/virtnet-lab/{LAB}/inventory.yml"
    return pytest_step(log, "integration", "-q", "tests/integration", env={"VIRTNET_LAB_INVENTORY": inventory})


def leftovers(name: str) -> list[str]:
    """What a lab that was taken down has left: namespaces, mounts, state, processes."""
    left = []
    with contextlib.suppress(FileNotFoundError):
        left += [f"namespace {entry}" for entry in os.listdir("/run/netns") if re.match(rf"{re.escape(name)}([-.]|$)", entry)]
    state = f"/var/lib/virtnet-lab/{name}"
    left += [f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines() if f"{state}/" in line]
    if os.path.exists(state):
        left.append(f"folder {state}")
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{state}/" in line and folder.name != str(os.getpid()):
                left.append(f"process {folder.name}: {line[:120]}")
    return left


def lab_down(log: Log) -> None:
    if (SCENARIOS / "default" / "destroy.yml").is_file() and not stopping.is_set():
        log.command("molecule", "destroy", "-s", "default", env=molecule_environment("default"), check=False)
    log.command(*lab_program("down"))
    shutil.rmtree(BUILD / "molecule" / LAB, ignore_errors=True)
    left = leftovers(LAB)
    if left:
        raise StepFailedError("the lab left something behind:\n" + "\n".join(left))


def gist(text: str) -> list[str]:
    """Return what a failed step's log says of the failure itself: all failed tests; assertions, errors, failed Ansible tasks.

    Of the latter each has its share of GIST_LINES, its beginning and its end.
    """
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()
    tests: dict[str, None] = {}
    found: dict[int, str] = {}
    for number, line in enumerate(lines):
        if re.match(r"(FAILED|ERROR) \S+\.py\b", line):
            tests[line[:300]] = None
        elif re.match(r"(fatal|failed): \[", line):
            task = next((one for one in reversed(lines[:number]) if one.startswith("TASK [")), "")
            # What the callback says of it stands indented below, one key a line.
            below = itertools.takewhile(lambda one: one.startswith(" "), lines[number + 1 :])
            found |= dict(enumerate([f"{task.rstrip(' *')} {line}".strip(), *below], number))
        elif re.match(r"E   |FAILED |ERROR |\[ERROR\]", line):
            found[number] = line
    if not tests and not found:
        return [line[:300] for line in lines[-GIST_LINES:]]
    blocks: list[list[str]] = []
    for number in sorted(found):
        if number - 1 not in found:
            blocks.append([])
        blocks[-1].append(found[number][:300])
    part = max(2, GIST_LINES // max(1, len(blocks)))
    short = [block if len(block) <= part else block[: part - part // 2] + block[-(part // 2) :] for block in blocks]
    # One that is said twice, by a test that ran on two hosts, is said once.
    said = dict.fromkeys("\n".join(block) for block in short)
    return [*tests, *"\n".join(said).splitlines()[-4 * GIST_LINES :]]


# --- the table of steps -----------------------------------------------------------------------------------------------


def all_steps() -> list[Step]:
    steps = [
        Step("ruff", "Python style and likely bugs", ruff, 2, ("lint", "quick", "static")),
        Step("mypy", "types", mypy, 20, ("lint", "quick", "static")),
        Step("yamllint", "YAML", yamllint, 3, ("lint", "quick", "static")),
        Step("scripts", "shell scripts parse", scripts, 1, ("lint", "quick", "static")),
        Step("headers", "every file says its licence", headers, 1, ("lint", "quick", "static")),
        Step("changelog", "changelog fragments", changelog, 2, ("lint", "quick", "static")),
        Step("roles", "roles are whole, playbooks parse", roles, 10, ("lint", "static")),
        Step("ansible-lint", "production profile", ansible_lint, 30, ("lint", "static")),
        Step("docs", "documentation of plugins and roles, the site", docs, 60, ("static",)),
        Step("build", "tarball, installed, imported", build, 15, ("static",)),
        Step("units", "unit tests", units, 60, ("quick", "static"), limit=1800),
        Step("sanity", "ansible-test sanity", sanity, 90, ("static",), limit=900),
        Step("units-slow", "unit tests marked slow", units_slow, 60, ("static",), full=True, limit=1800),
        Step("sanity-targets", "import and compile on other Pythons", sanity_targets, 120, ("static",), full=True, limit=1800),
        Step("core-2.16", "units and playbooks under ansible-core 2.16", functools.partial(other_core, version="2.16"), 60,
             ("static",), full=True),
        Step("core-2.18", "units and playbooks under ansible-core 2.18", functools.partial(other_core, version="2.18"), 60,
             ("static",), full=True),
        Step("sanity-2.16", "ansible-test sanity of ansible-core 2.16",
             functools.partial(sanity_of_core, core="ansible-core==2.16.*", oldest=10, newest=12), 240, ("static",), full=True,
             limit=1800),
        Step("sanity-newest", "ansible-test sanity of the newest ansible-core",
             functools.partial(sanity_of_core, core="ansible-core", oldest=12, newest=14), 240, ("static",), full=True,
             limit=1800),
        Step("coverage", "what of module_utils the unit tests run", coverage, 120, ("static",), full=True, limit=1800),
        Step("importer", "Galaxy's import", importer, 90, ("static",), full=True, limit=900),
        Step("nox", "the checks of antsibull-nox", nox, 240, ("static",), full=True, limit=1800),
        Step("execution-env", "ansible-builder takes the definition", execution_environment, 60, ("static",), full=True),
        Step("lab-image", "the hosts' root file systems", lab_image, 120, ("lab",), lab=True, limit=1200),
        Step("lab-up", "boot the hosts", lab_up, 40, ("lab",), lab=True, limit=900),
    ]
    for folder in sorted(SCENARIOS.glob("*/molecule.yml")):
        name = folder.parent.name
        if name != "default":
            run = functools.partial(molecule, scenario=name)
            long = name in LONG_SCENARIOS
            says, limit = f"scenario {name} on the hosts", LIMITS.get(name, 1500)
            steps.append(Step(f"molecule-{name}", says, run, 300, ("molecule",), full=long, lab=True, limit=limit))
            files = [path.stem for path in sorted(folder.parent.glob("tests/test_*.py"))] if name in PARTED else [""]
            for file in files if name in MATRICES else []:
                run = functools.partial(molecule, scenario=name, whole=True, file=file)
                says, limit = f"the whole matrix of scenario {name}" + (f", {file}.py" if file else ""), MATRICES[name]
                step = "-".join(["matrix", name, *filter(None, [file.removeprefix("test_")])])
                groups = ("molecule", f"matrix-{name}") if file else ("molecule",)
                steps.append(Step(step, says, run, limit // 2 // len(files), groups, full=True, lab=True, limit=limit))
    if any((ROOT / "tests/integration").glob("**/test_*.py")):
        steps.append(Step("integration", "tests/integration on the hosts", lab_tests, 120, ("lab",), lab=True, limit=1500))
    steps.append(Step("lab-down", "remove the hosts, look for leftovers", lab_down, 15, ("lab",), lab=True, limit=300))
    steps.append(Step("newcomer", "make lab, again, make lab-down", newcomer, 90, limit=1500))
    return steps


INFRASTRUCTURE = ("lab-image", "lab-up", "lab-down")


def choose(options: argparse.Namespace) -> list[Step]:
    steps = all_steps()
    known = {step.name for step in steps} | {group for step in steps for group in step.groups}
    for name in [*options.only, *options.skip]:
        if name not in known:
            sys.exit(f"tests/run: there is no step or group '{name}'; --list shows them.")
    if options.only:
        steps = [step for step in steps if step.wanted(options.only, options.full)]
    elif not options.full:
        steps = [step for step in steps if not step.full or (options.coverage and step.name == "coverage")]
    steps = [step for step in steps if step.name not in options.skip and not set(step.groups) & set(options.skip)]
    if options.shard:
        steps = share(steps, *options.shard)
    # What runs on the hosts needs them; hosts that nothing runs on are not booted, unless asked for.
    on_hosts = [step for step in steps if step.lab and step.name not in INFRASTRUCTURE]
    asked = [step for step in steps if step.name in INFRASTRUCTURE] if options.only else []
    steps = [step for step in steps if step.name not in INFRASTRUCTURE]
    if on_hosts or asked:
        names = set(INFRASTRUCTURE) if on_hosts else {step.name for step in asked} | {"lab-down"}
        if options.keep_lab:
            names.discard("lab-down")
        steps += [step for step in all_steps() if step.name in names]
    if options.keep_lab:
        again = functools.partial(lab_up, anew=False)
        steps = [dataclasses.replace(step, run=again) if step.name == "lab-up" else step for step in steps]
    order = [step.name for step in all_steps()]
    return sorted(steps, key=lambda step: order.index(step.name))


def share(steps: list[Step], number: int, shards: int) -> list[Step]:
    """The steps of one shard: the dearest first, each to the shard that has least to do."""
    loads = [0] * shards
    mine = set()
    for step in sorted((step for step in steps if step.name not in INFRASTRUCTURE), key=lambda step: (-step.cost, step.name)):
        shard = loads.index(min(loads))
        loads[shard] += step.cost
        if shard == number - 1:
            mine.add(step.name)
    return [step for step in steps if step.name in mine]


# --- running steps ----------------------------------------------------------------------------------------------------


class Runner:
    def __init__(self, steps: list[Step], options: argparse.Namespace) -> None:
        self.steps = steps
        self.options = options
        self.results: dict[str, Counts] = {}
        self.gists: dict[str, list[str]] = {}
        self.current: dict[str, tuple[float, Log]] = {}
        self.lock = threading.Lock()
        self.end = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
        self.fingerprint = fingerprint()
        self.remembered: dict[str, list[int]] = {}
        if STATE.is_file():
            with contextlib.suppress(ValueError):
                state = json.loads(STATE.read_text())
                if state.get("fingerprint") == self.fingerprint:
                    self.remembered = state["passed"]

    def remember(self, step: Step, counts: Counts) -> None:
        if step.name in INFRASTRUCTURE or counts.failed:
            self.remembered.pop(step.name, None)
        else:
            self.remembered[step.name] = [counts.passed, counts.failed, counts.skipped]
        temporary = STATE.with_suffix(".tmp")
        temporary.write_text(json.dumps({"fingerprint": self.fingerprint, "passed": self.remembered}))
        temporary.replace(STATE)

    def say(self, step: Step, end: str, detail: str, seconds: float | None = None) -> None:
        number = [one.name for one in self.steps].index(step.name) + 1
        took = "" if seconds is None else f"{seconds:6.1f} s"
        print(f"[{number:2}/{len(self.steps)}] {step.name:<16} {end:<7} {took:>9}  {detail}".rstrip(), flush=True)

    def one(self, step: Step) -> Counts:
        if stopping.is_set() and step.name != "lab-down":
            return Counts()
        began = time.monotonic()
        log = Log(step.name, min(began + step.limit, max(self.end, began + 60)))
        with self.lock:
            self.current[step.name] = (began, log)
        trouble = ""
        try:
            if began > self.end and step.name != "lab-down":
                raise StepFailedError("no time left for it")
            counts = step.run(log) or Counts(passed=1)
        except StepFailedError as error:
            trouble, counts = str(error), Counts(failed=1)
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            trouble, counts = f"{type(error).__name__}: {error}", Counts(failed=1)
        if stopping.is_set() and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        if trouble:
            log.write(trouble)
        seconds = time.monotonic() - began
        with self.lock:
            del self.current[step.name]
            self.results[step.name] = counts
            if not (stopping.is_set() and counts.failed):
                self.remember(step, counts)
            self.say(step, "FAILED" if counts.failed else "ok", str(counts), seconds)
            if counts.failed:
                self.gists[step.name] = gist(log.text())
                lines = log.text().strip().splitlines()[-self.options.lines:]
                print("\n".join(f"    | {line}" for line in lines) + f"\n    | all of it: {log.path}", flush=True)
        return counts

    def lane(self, steps: list[Step]) -> None:
        broken = False
        for step in steps:
            if kept and step.lab:
                with self.lock:
                    self.results[step.name] = Counts(skipped=1)
                    self.say(step, "left", "the hosts are kept")
                continue
            if broken and step.name != "lab-down":
                with self.lock:
                    self.results[step.name] = Counts(failed=1)
                    self.say(step, "FAILED", "the lab is not up")
                continue
            counts = self.one(step)
            broken = broken or (step.name in {"lab-image", "lab-up"} and bool(counts.failed))

    def heartbeat(self, done: threading.Event) -> None:
        while not done.wait(30):
            with self.lock:
                for name, (began, log) in self.current.items():
                    if time.monotonic() - began > 25:
                        print(f"        {name} … {time.monotonic() - began:.0f} s  {log.last_line()}", flush=True)

    def run(self) -> int:
        todo = []
        for step in self.steps:
            if self.options.resume and step.name in self.remembered:
                self.results[step.name] = Counts(*self.remembered[step.name])
                self.say(step, "ok", f"{self.results[step.name]} (from an earlier run)")
                with contextlib.suppress(OSError):
                    print("".join(f"    | {line}\n" for line in tables((LOGS / f"{step.name}.log").read_text())), end="")
            else:
                todo.append(step)
        if not any(step.lab and step.name not in INFRASTRUCTURE for step in todo) and not self.options.only:
            todo = [step for step in todo if step.name not in INFRASTRUCTURE]
        beside = [step for step in todo if step.name == "lab-image"]
        static = [step for step in todo if not step.lab and step.name != "newcomer"]
        rest = [step for step in todo if step not in beside and step not in static]
        done = threading.Event()
        threading.Thread(target=self.heartbeat, args=(done,), daemon=True).start()
        try:
            image = threading.Thread(target=self.lane, args=(beside,), daemon=True)
            image.start()
            checks = threading.Thread(target=self.lane, args=(static,), daemon=True)
            checks.start()
            # The hosts mostly wait, for guests to boot and for SSH: the longer checks go on beside them.
            while image.is_alive():
                image.join(0.2)
            if any(self.results[step.name].failed for step in beside):
                for step in rest:
                    if step.name not in {"lab-down", "newcomer"}:
                        self.results[step.name] = Counts(failed=1)
                        self.say(step, "FAILED", "there is no host image")
                rest = [step for step in rest if step.name in {"lab-down", "newcomer"}]
            self.lane(rest)
            while checks.is_alive():
                checks.join(0.2)
        except KeyboardInterrupt:
            stopping.set()
            print("\ninterrupted: ending what runs, removing the lab", flush=True)
            for process in list(running):
                stop(process)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            if any(step.lab for step in todo) and not self.options.keep_lab:
                subprocess.run(lab_program("down"), check=False, stdin=subprocess.DEVNULL)
            if any(step.name == "newcomer" for step in todo):
                subprocess.run(lab_program("down", lab=NEW_LAB), check=False, stdin=subprocess.DEVNULL)
            if any(step.name == "molecule-multi_host" for step in todo):
                subprocess.run(lab_program("down", lab=OWN_LAB), check=False, stdin=subprocess.DEVNULL)
            return 130
        finally:
            done.set()
        total = sum(self.results.values(), Counts())
        failed = [name for name, counts in self.results.items() if counts.failed]
        for name, lines in self.gists.items():
            print(f"--- {name} failed, in short")
            print("\n".join(f"    | {line}" for line in lines))
        if failed:
            print(f"failed: {', '.join(failed)}")
        if measured and self.results.get("coverage", Counts()).passed:
            print_coverage()
        print("".join(f"{line}\n" for line in kept) + str(total))
        return 1 if total.failed or not total.passed else 0


def shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError("say i/n, with i from 1 to n")
    return int(match[1]), int(match[2])


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="show the steps")
    parser.add_argument("--only", type=names, default=[], metavar="NAME,…", help="these steps or groups")
    parser.add_argument("--skip", type=names, default=[], metavar="NAME,…", help="all but these steps or groups")
    parser.add_argument("--scenario", type=names, default=[], metavar="NAME,…", help="these scenarios: nat is step molecule-nat")
    parser.add_argument("--quick", action="store_true", help="the group quick, its unit tests on all processors")
    parser.add_argument("--coverage", action="store_true", help="how much of module_utils the units, and modules on hosts, run")
    parser.add_argument("--keep", action="store_true", help="leave the hosts of a scenario that fails as they are, and end there")
    parser.add_argument("--full", action="store_true", help="what takes longer, too")
    parser.add_argument("--shard", type=shard, metavar="i/n", help="the i-th of n parts")
    parser.add_argument("--resume", action="store_true", help="leave out what passed before with the same files")
    parser.add_argument("--keep-lab", action="store_true", help="leave the test lab up at the end, begin with it if it is up")
    parser.add_argument("--minutes", type=float, default=0, metavar="N", help="begin nothing new after that, end what runs then")
    parser.add_argument("--lines", type=int, default=40, metavar="N", help="how much of a failed step's log to show")
    options = parser.parse_args()
    options.only += [f"molecule-{name}" for name in options.scenario] + (["quick"] if options.quick else [])
    if options.coverage:
        measured.append(0)
        shutil.rmtree(BUILD / "coverage-hosts", ignore_errors=True)
    if options.keep:
        keeping.set()
    steps = choose(options)
    if options.quick:
        quick = functools.partial(units, workers=os.cpu_count() or 1)
        steps = [dataclasses.replace(step, run=quick) if step.name == "units" else step for step in steps]
    if options.list:
        for step in steps if options.only or options.shard else all_steps():
            print(f"  {step.name:<16} {'full' if step.full else '':<5} {' '.join(step.groups):<12} {step.says}")
        return 0
    if any(step.lab or step.name == "newcomer" for step in steps) and os.geteuid() != 0:
        if not shutil.which("sudo"):
            sys.exit("tests/run: the lab's hosts need root: run it as root, or install sudo; '--only static' needs none.")
        os.execvp("sudo", ["sudo", "-E", sys.executable, __file__, *sys.argv[1:]])
    for folder in (LOGS, JUNIT, BUILD / "ansible_collections" / "virtnet", BUILD / "ansible-tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    link = BUILD / COLLECTION
    if not link.exists():
        link.symlink_to(ROOT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    return Runner(steps, options).run()


if __name__ == "__main__":
    sys.exit(main())
