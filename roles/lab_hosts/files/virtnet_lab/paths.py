# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a lab keeps its things. All of it is outside of the project and belongs to root."""

from __future__ import annotations

from pathlib import Path

STATE = Path("/var/lib/virtnet-lab")
CACHE = Path("/var/cache/virtnet-lab")
RUN = Path("/run/virtnet-lab")
NETNS = Path("/run/netns")
# A cgroup2 hierarchy of our own mounting: where (and whether) the machine mounts one itself differs between
# distributions, containers and CI runners; the tree behind it is the same everywhere.
CGROUP_ROOT = RUN / "cgroup"
CGROUP = CGROUP_ROOT / "virtnet-lab"
# What the machine's kernel limits were before the first lab.
MACHINE_RECORD = STATE / "machine.json"
MACHINE_LOCK = Path("/run/virtnet-lab.lock")


class LabPaths:
    """The files and names of one lab."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.root = STATE / lab
        self.config = self.root / "lab.json"
        self.inventory = self.root / "inventory.yml"
        self.ssh = self.root / "ssh"
        self.lock = Path(f"/run/virtnet-lab-{lab}.lock")
        self.lan_netns = f"{lab}-lan"
        self.controller_netns = f"{lab}-ctl"
        self.cgroup = CGROUP / lab

    def host(self, name: str) -> HostPaths:
        return HostPaths(self, name)

    def hosts(self) -> list[str]:
        """The hosts that exist on disk, whether or not the configuration still knows them."""
        return sorted(entry.name for entry in (self.root / "hosts").glob("*"))


class HostPaths:
    """The files and names of one host."""

    def __init__(self, lab: LabPaths, name: str) -> None:
        self.lab = lab.lab
        self.name = name
        self.machine = f"{lab.lab}-{name}"
        self.netns = f"{lab.lab}-{name}"
        self.lan_netns = lab.lan_netns
        self.root = lab.root / "hosts" / name
        self.upper = self.root / "upper"
        self.work = self.root / "work"
        self.merged = self.root / "root"
        self.spec = self.root / "spec.json"
        self.ready = self.root / "ready"
        self.console = self.root / "console.log"
        self.cgroup = lab.cgroup / name
