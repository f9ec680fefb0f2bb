# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks that take nothing more: a clear error and a host as before, or success; with room again the next run converges."""

from __future__ import annotations

import json
import re

import pytest
from fault_cases import CASES, filled, left, settled, taken_back

#: How a folder of the system's becomes one that takes no new file: a copy of it in memory, whose size (or number of files) is
#: what is in it already; or the same, read-only. Its size is bounded in any case: what is full is filled, of the lab's memory.
FULL = (
    "mkdir -p /run/virtnet-disk && mount -t tmpfs -o mode=0755,size=64m none /run/virtnet-disk"
    " && cp -a {folder} /run/virtnet-disk/copy && mount -o remount,{limit} /run/virtnet-disk"
    " && (cat /dev/zero > /run/virtnet-disk/.filler 2>/dev/null; true)"
    " && mount --bind /run/virtnet-disk/copy {folder}"
)
#: What was done to the copy is done to the folder itself: a disk that has room again has it, too.
KEPT = (
    "cp -a /run/virtnet-disk/copy/. {folder}/; cd {folder} && find . -mindepth 1 ! -type d"
    " | while read -r f; do test -e /run/virtnet-disk/copy/$f -o -L /run/virtnet-disk/copy/$f || rm $f; done"
)
DISKS = {
    "/etc full": FULL.format(folder="/etc", limit="size=$(($(du -s --block-size=4096 /run/virtnet-disk | cut -f1) * 4 + 64))k"),
    "/etc out of inodes": FULL.format(
        folder="/etc", limit="size=64m,nr_inodes=$(($(df --output=iused /run/virtnet-disk | tail -n 1) + 1))"
    ),
    "/etc read-only": "mount --bind /etc /etc && mount -o remount,ro,bind /etc",
    "/var/lib full": FULL.format(
        folder="/var/lib/virtnet", limit="size=$(($(du -s --block-size=4096 /run/virtnet-disk | cut -f1) * 4 + 8))k"
    ),
    "/var/lib read-only": "mount --bind /var/lib/virtnet /var/lib/virtnet && mount -o remount,ro,bind /var/lib/virtnet",
}
#: Whether a tap that nobody uses has a link-local address is chance: it has if it was up before its carrier went.
CHANCE = re.compile(r"flttap\d.*\b(fe80|ff00):")
CHOSEN = [(disk, case) for disk in DISKS for case in CASES]


@pytest.fixture
def disk(host):
    """A function that breaks a disk, and one that mends it."""
    folders = []

    def broken(name):
        folder = "/etc" if name.startswith("/etc") else "/var/lib/virtnet"
        host.run_test("mkdir -p /var/lib/virtnet")
        folders.append(folder)
        host.run_test(DISKS[name])

    def mended():
        while folders:
            folder = folders.pop()
            host.run(f"umount {folder}; test -d /run/virtnet-disk/copy && ({KEPT.format(folder=folder)})")
            host.run("umount -l /run/virtnet-disk; rmdir /run/virtnet-disk")
        host.run("rmdir /var/lib/virtnet")

    yield broken, mended
    mended()


@pytest.mark.parametrize(("name", "case"), CHOSEN, ids=[f"{disk} {case}" for disk, case in CHOSEN])
def test_a_disk_that_takes_nothing(host, modules, disk, snapshot, table, lan, name, case):
    broken, mended = disk
    case = CASES[case]
    steps, absent = [filled(one, lan) for one in case.steps], filled(case.absent, lan)
    for command in case.before:
        host.run_test(command)
    try:
        first = settled(snapshot)
        ends = []
        for number, wanted in enumerate([*steps, absent]):
            for earlier in steps[:number]:
                modules.run(case.module, **earlier)
            before = settled(snapshot)
            broken(name)
            try:
                result = modules(case.module, **wanted)
                assert "Traceback" not in json.dumps(result), result
            finally:
                mended()
            ends.append("error" if result["failed"] else "done")
            if result["failed"]:
                assert result["msg"].strip(), result
                # What was there is remembered before the first effect, and for good.
                wrong = [line for line in left(before, snapshot, CHANCE) if "/var/lib/virtnet/baseline.json" not in line]
                assert wrong == [], f"{name}, step {number + 1}: {result['msg']}"
            if name.startswith("/etc"):
                assert "error" in ends or number < len(steps), "there was room"
            modules.run(case.module, **wanted)
            assert not modules.run(case.module, **wanted)["changed"]
            taken_back(case, modules, absent)
            assert left(first, snapshot) == [], f"{name}, step {number + 1}"
    finally:
        mended()
        modules(case.module, **absent)
        for command in case.after:
            host.run(command)
    table("disks that take nothing more", [f"{name:20} {case.module:16} {', '.join(ends)}: survived"])


def test_a_guest_that_cannot_be_removed_goes_on(host, modules, disk, table):
    """libvirt would have it stopped before it finds that out, and would have forgotten that it starts with the host."""
    broken, mended = disk
    absent = {"guests": [{"name": "fltvm", "state": "absent"}]}
    state = "virsh -q domid fltvm; virsh dominfo fltvm | grep -i autostart"
    try:
        modules.run("guest_vm", guests=[{"name": "fltvm"}])
        before = host.check_output(state)
        broken("/etc read-only")
        for check in (True, False):
            told = modules("guest_vm", check=check, **absent)
            assert told["failed"] and "fltvm.xml could not be changed: Read-only file system" in told["msg"]
            assert host.check_output(state) == before
        mended()
        assert not modules.run("guest_vm", guests=[{"name": "fltvm"}])["changed"]
    finally:
        mended()
        modules.run("guest_vm", **absent)
    table("disks that take nothing more", [f"{'/etc read-only':20} {'guest_vm':16} error: survived"])
