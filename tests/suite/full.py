# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps without hosts that only `--full` runs: other versions of Ansible and Python, what publication asks for, coverage."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from suite.commands import (
    BUILD,
    COLLECTION,
    ROOT,
    Counts,
    Log,
    StepFailedError,
    copy_sources,
    environment,
    pytest_step,
)
from suite.static import INSTALLED, PYTHON, ansible_test_sanity, install


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
    counts = pytest_step(
        log, f"units-{version}", "-q", "-m", "not slow", "tests/unit", python=[venv / "bin/python"], env=env
    )
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
    python = venv / "bin/python"
    measured = [python, "-m", "coverage", "run", "--branch", "--include=*/plugins/module_utils/*"]
    counts = pytest_step(log, "coverage", "-q", "-m", "not slow", "tests/unit", python=measured, env=env)
    log.command(python, "-m", "coverage", "report", "--sort=cover", f"--fail-under={COVERED}", env=env)
    little = [line for line in log.text().splitlines() if re.match(r"TOTAL |\S+\.py .*\s[0-6]?\d%$", line)]
    print("".join(f"    | {line}\n" for line in little), end="", flush=True)
    return counts
