# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab host: its disk, its supervisor, its life from power-on to power-off."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from virtnet_lab import cgroups, network
from virtnet_lab.config import Host
from virtnet_lab.hostfiles import Entry
from virtnet_lab.paths import HostPaths
from virtnet_lab.proc import LabError, run, write_atomically

PACKAGE_PARENT = Path(__file__).resolve().parents[1]
# systemd-nspawn's exit code when the system inside wants to be booted again.
REBOOT = 133
# The states in which a boot can end.
SETTLED = ("running", "degraded", "maintenance")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Run in the host's network namespace and in a mount namespace of its own, so that no mount of the lab is ever seen on the
# machine and all of them go with the host. /sys must show the host's network devices, and nspawn's cgroup tree must be
# ours; an empty /run keeps the machine's systemd, if it has one, out of it.
BOOT_SCRIPT = """
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/nspawn
mount -t overlay overlay -o "lowerdir=$IMAGE/root,upperdir=$HOST/upper,workdir=$HOST/work" "$HOST/root"
exec systemd-nspawn --quiet --directory="$HOST/root" --machine="$MACHINE" --boot \
    --register=no --keep-unit --private-users=no --capability=all \
    --link-journal=no --resolv-conf=off --timezone=off --console=read-only
"""
# 'network': of /proc/sys only net is writable, so a host's sysctl settings never become the machine's.
BOOT_ENVIRONMENT = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "PATH": PATH}


def fingerprint(image: Path, host: Host, files: Mapping[str, Entry]) -> str:
    """What the host is made from: if this changes, the host is made anew."""
    parts = [str(image), host.mac, *(f"{path}\0{entry}" for path, entry in sorted(files.items()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def create(paths: HostPaths, image: Path, host: Host, files: Mapping[str, Entry]) -> None:
    """A new disk: the image below, the host's own files in the overlay."""
    destroy(paths)
    for folder in (paths.upper, paths.work, paths.merged):
        folder.mkdir(parents=True)
    for name, entry in files.items():
        _place(paths.upper, image / "root", name, entry)
    note(paths, image, host, files)


def note(paths: HostPaths, image: Path, host: Host, files: Mapping[str, Entry]) -> None:
    """Write down what a host's disk is made from."""
    spec = {"image": str(image), "mac": host.mac, "fingerprint": fingerprint(image, host, files)}
    write_atomically(paths.spec, json.dumps(spec))


def _place(upper: Path, lower: Path, name: str, entry: Entry) -> None:
    target = upper / name
    # A folder that is new in the overlay hides the mode of the one below it: it must be the same.
    for folder in reversed(Path(name).parents):
        if not (upper / folder).exists():
            (upper / folder).mkdir()
            with contextlib.suppress(FileNotFoundError):
                shutil.copystat(lower / folder, upper / folder)
    if entry.link is not None:
        target.symlink_to(entry.link)
    else:
        target.write_text(entry.text, encoding="utf-8")
        target.chmod(entry.mode)


def is_made_from(paths: HostPaths, wanted: str) -> bool:
    """Whether the disk is the wanted one and has been up before; one whose first boot was interrupted is not trusted."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return paths.ready.exists() and json.loads(paths.spec.read_text(encoding="utf-8"))["fingerprint"] == wanted
    return False


def is_on(paths: HostPaths) -> bool:
    """On means supervised too: without its supervisor a host would not come back from a reboot."""
    return cgroups.populated(paths.cgroup / "supervisor") and cgroups.populated(paths.cgroup / "machine")


def cut_power(paths: HostPaths) -> None:
    cgroups.end(paths.cgroup)
    network.power_off(paths)


def destroy(paths: HostPaths) -> None:
    cut_power(paths)
    if paths.root.exists():
        shutil.rmtree(paths.root)


def power_on(paths: HostPaths) -> None:
    """Start the supervisor, which outlives this command."""
    cut_power(paths)
    with paths.console.open("ab") as log:
        process = subprocess.Popen(
            cgroups.joining(
                paths.cgroup / "supervisor",
                sys.executable, "-m", "virtnet_lab", "--lab", paths.lab, "_supervise", paths.name,
            ),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)},
        )  # fmt: skip
    # From here on an empty cgroup means that the host is off, no longer that it has not begun.
    while not cgroups.populated(paths.cgroup / "supervisor") and process.poll() is None:
        time.sleep(0.01)


def supervise(paths: HostPaths) -> None:
    """The supervisor: boot the host, again and again as long as it leaves by a reboot."""
    spec = json.loads(paths.spec.read_text(encoding="utf-8"))
    environment = {**BOOT_ENVIRONMENT, "HOST": str(paths.root), "IMAGE": spec["image"], "MACHINE": paths.machine}
    while True:
        cgroups.end(paths.cgroup / "machine")
        network.power_on(paths, spec["mac"])
        command = cgroups.joining(
            paths.cgroup / "machine",
            "nsenter", f"--net={network.NETNS / paths.netns}",
            "unshare", "--mount", "--propagation", "slave", "sh", "-ec", BOOT_SCRIPT,
        )  # fmt: skip
        code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
        print(f"\n-- {paths.name}: systemd-nspawn ended with {code} --", flush=True)
        if code != REBOOT:
            network.power_off(paths)
            return


def leader(paths: HostPaths) -> int | None:
    """The process id of the host's systemd, as the machine sees it."""
    for pid in cgroups.pids(paths.cgroup / "machine" / "payload" / "init.scope"):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
            if inside == "1":
                return pid
    return None


def inside(paths: HostPaths, *command: str) -> list[str]:
    """The command line that runs a command in the host, past its network: it works when SSH does not."""
    pid = leader(paths)
    if pid is None:
        raise LabError(f"host '{paths.name}' is off.")
    environment = [f"PATH={PATH}", "HOME=/root", "USER=root", "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}"]
    namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
    return ["nsenter", "--target", str(pid), *namespaces, "--", "env", "-i", *environment, *command]


def system_state(paths: HostPaths, timeout: float = 10, wait: bool = False) -> str:
    """What 'systemctl is-system-running' says: running, degraded, starting, …; 'off' without a systemd to ask."""
    try:
        command = inside(paths, "systemctl", "is-system-running", *(["--wait"] if wait else []))
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except LabError:
        return "off"
    except subprocess.TimeoutExpired:
        return "starting"
    return done.stdout.strip() or "starting"


def wait_until_up(paths: HostPaths, deadline: float) -> str:
    """Wait for the end of the boot; the state it ended in, or in which it was when the time was over."""
    state = "off"
    while time.monotonic() < deadline:
        state = system_state(paths, timeout=max(0.1, deadline - time.monotonic()), wait=True)
        if state in SETTLED:
            return state
        if not cgroups.populated(paths.cgroup):
            return "off"
        time.sleep(0.05)
    return state


def evidence(paths: HostPaths) -> str:
    """What a person needs to see of a host that did not come up."""
    parts = []
    with contextlib.suppress(FileNotFoundError):
        console = paths.console.read_text(encoding="utf-8", errors="replace").splitlines()
        parts.append(("console", "\n".join(console[-25:])))
    for title, command in (
        ("failed units", ("systemctl", "--failed", "--no-legend", "--plain")),
        ("waiting jobs", ("systemctl", "list-jobs", "--no-legend", "--plain")),
        ("journal", ("journalctl", "--boot", "--priority=warning", "--lines=25", "--no-pager")),
        ("addresses", ("ip", "-brief", "address")),
    ):
        try:
            parts.append((title, run(*inside(paths, *command), timeout=10)))
        except LabError as error:
            parts.append((title, f"({error})"))
    return "\n".join(f"--- {paths.name}: {title}\n{text.rstrip()}" for title, text in parts if text.strip())
