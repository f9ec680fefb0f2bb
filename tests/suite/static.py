# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps that need no host: style, types, documentation, the tarball, ansible-test sanity, unit tests."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import threading
from pathlib import Path

from suite.commands import (
    BIN,
    BUILD,
    COLLECTION,
    ROOT,
    Counts,
    Log,
    StepFailedError,
    copy_sources,
    pytest_step,
    source_files,
)

LICENCE = "GPL-3.0-or-later"
HEADER = (
    "Copyright (c) ",
    "GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    f"SPDX-{'License'}-Identifier: {LICENCE}",  # not this file's own
)


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
