# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The read-only base image of a release: built once with mmdebstrap, rebuilt when what it is made from changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from virtnet_lab.config import RELEASES, Config
from virtnet_lab.machine import KEYRING, debian_mirror
from virtnet_lab.paths import CACHE, STATE
from virtnet_lab.proc import LabError, Reporter, locked

SETUP = Path(__file__).with_name("image-setup.sh")
OPTIONS = (
    "--mode=root",
    "--variant=apt",
    "--format=directory",
    "--components=main",
    # The image is built again after a crash: nothing needs to be synced to disk package by package.
    "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "groff", "info", "lintian", "locale", "man")),
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
)
RECENT_SECONDS = 600
# Below the folder of a build, while it needs one.
KEYRING_CARRIER = "keyring"
# The lines of mmdebstrap's output that tell where it is.
PROGRESS = ("E: ", "I: running", "I: downloading", "I: extracting", "I: installing", "I: cleaning")


def recipe(config: Config, release: str) -> dict[str, object]:
    """Everything the image is made from, but for the mirror: that changes where packages come from, not what they are."""
    return {
        "release": release,
        "packages": list(config.packages[release]),
        "kernel": config.guest_kernel,
        "options": list(OPTIONS),
        "setup": SETUP.read_text(encoding="utf-8"),
    }


def image_path(config: Config, release: str) -> Path:
    digest = hashlib.sha256(json.dumps(recipe(config, release), sort_keys=True).encode()).hexdigest()[:12]
    return CACHE / f"{release}-{digest}"


def ensure_images(config: Config, report: Reporter) -> None:
    """Have the images of all releases that the lab's hosts use; missing ones are built in parallel."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        for _done in pool.map(lambda release: _ensure(config, release, report), config.releases):
            pass


def _ensure(config: Config, release: str, report: Reporter) -> None:
    path = image_path(config, release)
    with locked(CACHE / f".{release}.lock", f"waiting for another build of the {release} image"):
        if path.is_dir():
            os.utime(path)
            report.say(f"image {release}: {path}, there already")
            return
        for leftover in CACHE.glob(f".build-{release}-*"):
            shutil.rmtree(leftover)
        work = Path(tempfile.mkdtemp(prefix=f".build-{release}-", dir=CACHE))
        try:
            _build(config, release, work, report)
            shutil.rmtree(work / KEYRING_CARRIER, ignore_errors=True)
            (work / "recipe.json").write_text(json.dumps(recipe(config, release), indent=1), encoding="utf-8")
            work.chmod(0o755)
            work.rename(path)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        _drop_unused(release, path, report)
        report.say(f"image {release}: {path}, built")


def _build(config: Config, release: str, work: Path, report: Reporter) -> None:
    command = [
        # A build ends with this program, however that ends; its mounts and processes go with its namespaces.
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        "mmdebstrap",
        *OPTIONS,
        *(f"--aptopt={line}" for line in _apt_transport_options()),
        f"--keyring={_keyring(config, release, work, report)}",
        f"--include={','.join(config.packages[release])}",
        f"--customize-hook={SETUP} \"$1\" {config.guest_kernel}",
        release,
        str(work / "root"),
    ]  # fmt: skip
    mirror = config.mirror or debian_mirror()
    if mirror:
        command.append(mirror)
    report.say(f"image {release}: building from {mirror or 'the default mirror'} ({len(config.packages[release])} packages)")
    log = work / "build.log"
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        with log.open("w", encoding="utf-8") as stream:
            for line in process.stdout:
                stream.write(line)
                if line.startswith("I: running --customize-hook"):
                    report.say(f"image {release}: making it a lab host")
                elif line.startswith(PROGRESS):
                    report.say(f"image {release}: {line[3:].rstrip().rstrip('.')}")
        if process.wait() != 0:
            tail = "".join(f"    {line}\n" for line in log.read_text(encoding="utf-8").splitlines()[-25:])
            raise LabError(f"the {release} image could not be built; the end of the build's output:\n{tail}")
    finally:
        process.kill()
        process.wait()


def _apt_transport_options() -> list[str]:
    """How this machine's apt reaches its mirror (a proxy, a certificate) holds for the build as well."""
    dump = subprocess.run(["apt-config", "dump", "--no-empty"], capture_output=True, text=True, check=True).stdout
    return [line for line in dump.splitlines() if line.startswith(("Acquire::http::", "Acquire::https::"))]


def _keyring(config: Config, release: str, work: Path, report: Reporter) -> Path:
    """The keys to check the release with. A machine older than the release may lack them, but it has those of an older
    release, whose archive carries a newer keyring: that one is fetched, its signature checked like any package's."""
    if _has_keys(KEYRING.parent, release):
        return KEYRING
    for older in reversed(RELEASES[: RELEASES.index(release)]):
        if _has_keys(KEYRING.parent, older):
            report.say(f"image {release}: this machine has no keys of it, fetching them from {older}")
            carrier = work / KEYRING_CARRIER
            mirror = config.mirror or debian_mirror()
            command = ["mmdebstrap", "--mode=root", "--variant=extract", "--format=directory", f"--keyring={KEYRING}"]
            command += [f"--aptopt={line}" for line in _apt_transport_options()]
            command += ["--include=debian-archive-keyring", older, str(carrier), *([mirror] if mirror else [])]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise LabError(f"the archive keys could not be fetched from {older}: {done.stderr.strip()[-500:]}")
            if _has_keys(carrier / "usr/share/keyrings", release):
                return carrier / "usr/share/keyrings" / KEYRING.name
    raise LabError(f"this machine has no archive keys of Debian {release}: update its package debian-archive-keyring.")


def _has_keys(folder: Path, release: str) -> bool:
    return any(folder.glob(f"debian-archive-{release}-stable.*"))


def _drop_unused(release: str, keep: Path, report: Reporter) -> None:
    """Older images of the release go, except those that hosts of some lab stand on."""
    used = set()
    for spec in STATE.glob("*/hosts/*/spec.json"):
        with contextlib.suppress(FileNotFoundError):
            used.add(json.loads(spec.read_text(encoding="utf-8"))["image"])
    for old in CACHE.glob(f"{release}-*"):
        # One that was asked for a moment ago may be about to get a host.
        recent = time.time() - old.stat().st_mtime < RECENT_SECONDS
        if old != keep and str(old) not in used and not recent:
            report.say(f"image {release}: removing the older {old}")
            # The name goes first: a removal that is interrupted must not leave a broken image under a good name.
            doomed = old.with_name(f".build-{release}-{os.getpid()}-old")
            old.rename(doomed)
            shutil.rmtree(doomed)
