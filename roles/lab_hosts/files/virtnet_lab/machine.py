# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that the lab runs on: what it must have, what is installed, which of its limits are raised for a while."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

from virtnet_lab.config import Config
from virtnet_lab.paths import CACHE, MACHINE_RECORD, STATE
from virtnet_lab.proc import LabError, Reporter, run, succeeds, write_atomically

# Program -> the Debian and Ubuntu package that has it.
PROGRAMS = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "modprobe": "kmod",
    "nc": "netcat-openbsd",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
    "tar": "tar",
    "unshare": "util-linux",
}
APT_OPTIONS = ("-o", "DPkg::Lock::Timeout=300")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
KEYRING_PACKAGE = "debian-archive-keyring"


def require_root() -> None:
    if platform.system() != "Linux":
        raise LabError(f"the lab needs Linux (network namespaces, systemd-nspawn); this is {platform.system()}.")
    if os.geteuid() != 0:
        raise LabError("the lab needs root (namespaces, mounts): run it as root or with sudo.")


def preflight(config: Config, report: Reporter) -> None:
    """Refuse in one sentence what cannot work; install the few packages that are missing."""
    require_root()
    if platform.machine() != "x86_64":
        raise LabError(f"the lab's hosts and guests are built for x86_64; this machine is {platform.machine()}.")
    if shutil.which("apt-get") is None:
        raise LabError("the lab installs what it needs with apt (Debian, Ubuntu), and this machine has no apt-get.")
    for folder in (STATE, CACHE):
        _require_room(folder, config.disk_mib)
    _install_missing(report)
    if not succeeds("unshare", "--mount", "--net", "true"):
        raise LabError("root may not make namespaces here (a container without privileges?), of which the lab is made.")
    if not _file_system("overlay"):
        raise LabError("this kernel has no overlay file system, on which the hosts' disks stand.")
    if not Path("/dev/net/tun").exists() and not succeeds("modprobe", "tun"):
        raise LabError("/dev/net/tun is missing and cannot be made (no kernel module 'tun'): guests could have no network.")


def _require_room(folder: Path, need_mib: int) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free // 2**20
    if free < need_mib:
        raise LabError(f"{existing} has {free} MiB free; the lab needs {need_mib} (lab_hosts_disk_mib).")


def _file_system(name: str) -> bool:
    def known() -> bool:
        return name in Path("/proc/filesystems").read_text(encoding="ascii").split()

    return known() or (succeeds("modprobe", name) and known())


def missing_packages() -> list[str]:
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if not KEYRING.exists():
        missing.add(KEYRING_PACKAGE)
    return sorted(missing)


def _install_missing(report: Reporter) -> None:
    missing = missing_packages()
    if not missing:
        return
    report.say(f"installing on this machine: {' '.join(missing)}")
    apt = ["apt-get", "-qq", *APT_OPTIONS]
    install = [*apt, "install", "--yes", "--no-install-recommends", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        # The usual reason is package lists that are not there or too old; they are fetched only then.
        report.say("fetching this machine's package lists")
        subprocess.run([*apt, "update"], env=environment, capture_output=True, check=False)
        done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"apt could not install {' '.join(missing)}: {done.stderr.strip()[-500:]}")
    if missing_packages():
        raise LabError(f"apt installed {' '.join(missing)}, but {' '.join(missing_packages())} is still missing.")


def debian_mirror() -> str | None:
    """The Debian mirror that this machine's apt is configured with; apt itself reads its files, of either format."""
    query = ("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)", "Identifier: Packages")
    listing = run(*query)
    if not listing:
        # Whose archive an entry is stands in the package lists, and container images are shipped without them.
        run("apt-get", "-qq", *APT_OPTIONS, "update", timeout=300)
        listing = run(*query)
    return mirror_in(listing)


def mirror_in(listing: str) -> str | None:
    """The first archive of Debian's own main releases among 'ORIGIN LABEL COMPONENT URI' lines."""
    for line in listing.splitlines():
        words = line.split(" ")
        if len(words) == 4 and words[:3] == ["Debian", "Debian", "main"]:
            return words[3]
    return None


def raise_limits(config: Config, report: Reporter) -> None:
    """Raise the kernel limits that all hosts share, and note what they were for restore_limits. The caller holds the
    machine's lock."""
    record = _read_record()
    for name, least in config.machine_sysctls.items():
        path = _sysctl_path(name)
        current = int(path.read_text(encoding="ascii"))
        if current < least:
            known = record.get(name)
            before = known["before"] if known and known["set"] == current else current
            record[name] = {"before": before, "set": least}
            # The note comes first: should this command die here, the next one still knows what it was.
            write_atomically(MACHINE_RECORD, json.dumps(record))
            path.write_text(str(least), encoding="ascii")
            report.say(f"this machine's {name}: {current} -> {least}, until the last lab is down")


def restore_limits(report: Reporter) -> None:
    """Put back what raise_limits changed, unless somebody else has changed it since. The caller holds the machine's lock."""
    for name, value in _read_record().items():
        path = _sysctl_path(name)
        if int(path.read_text(encoding="ascii")) == value["set"]:
            path.write_text(str(value["before"]), encoding="ascii")
            report.say(f"this machine's {name}: back to {value['before']}")
    MACHINE_RECORD.unlink(missing_ok=True)


def _sysctl_path(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def _read_record() -> dict[str, dict[str, int]]:
    with contextlib.suppress(FileNotFoundError):
        return json.loads(MACHINE_RECORD.read_text(encoding="utf-8"))
    return {}
