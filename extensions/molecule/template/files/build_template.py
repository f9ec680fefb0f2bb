#!/usr/bin/env python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build a Debian disk image with cloud-init and the QEMU guest agent, as distributions publish them; print its path.

  build_template.py FOLDER [PACKAGE...]

It starts from its own boot loader, partition and kernel under a BIOS. Needs root, mmdebstrap and mke2fs; no loop device,
no mount of an image. The image is FOLDER/debian-<hash of this file and the further packages>.raw.gz, made once; other images
there are removed. Of the managers of links systemd-networkd is enabled, no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RELEASE = "bookworm"
PACKAGES = (
    "cloud-init", "dbus", "grub-pc-bin", "grub-common", "initramfs-tools", "iproute2", "iputils-ping", "kmod",
    "linux-image-cloud-amd64", "netplan.io", "openssh-server", "procps", "python3", "qemu-guest-agent", "sudo", "systemd",
    "systemd-resolved", "systemd-sysv", "udev", "zstd",
)  # fmt: skip
SIZE_MIB = 1536
SECTOR = 512
FIRST = 2048  # sector of the partition; the boot loader lies before it
UUID = "6f1d2f0e-7e37-4c0c-9d7a-1d6b5f5a7c10"
BLOCK_LIST_END = 512  # of the loader's first sector: its length in sectors is the word 4 bytes before it
# Written out, so that no newer mke2fs adds what this release's boot loader cannot read.
FEATURES = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize"

# Before the kernel's package makes its initial RAM disk: only what a virtual machine's disk needs.
INITRAMFS = r"""
mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=3\nRESUME=none\n' > "$1/etc/initramfs-tools/conf.d/template"
printf '%s\n' virtio_pci virtio_blk ext4 crc32c_generic > "$1/etc/initramfs-tools/modules"
"""
SETUP = r"""
set -eu
cd "$1"
printf 'UUID=UUID_HERE / ext4 rw,noatime 0 1\n' > etc/fstab
mkdir -p boot/grub
cat > boot/grub/grub.cfg <<'CFG'
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
echo "grub: starting Linux"
linux /vmlinuz root=UUID=UUID_HERE ro console=ttyS0,115200 quiet
initrd /initrd.img
boot
CFG
cat > boot/grub/early.cfg <<'CFG'
search.fs_uuid UUID_HERE root
set prefix=($root)/boot/grub
CFG
chroot . grub-mkimage -O i386-pc -o /boot/grub/core.img -p /boot/grub -c /boot/grub/early.cfg \
    biosdisk part_msdos ext2 search_fs_uuid linux normal serial terminal echo boot configfile
cp usr/lib/grub/i386-pc/boot.img boot/grub/boot.img
cat > etc/cloud/cloud.cfg.d/99_template.cfg <<'CFG'
datasource_list: [NoCloud]
ssh_genkeytypes: [ed25519]
growpart: {mode: "off"}
resize_rootfs: false
apt: {preserve_sources_list: true}
system_info: {network: {renderers: [netplan, eni]}}
locale: "false"
CFG
# What every guest makes for itself.
rm -f etc/ssh/ssh_host_* etc/hostname var/lib/dbus/machine-id
: > etc/machine-id
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty@tty1.service systemd-update-utmp.service; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
chroot . systemctl --quiet enable systemd-networkd systemd-resolved
for unit in NetworkManager.service NetworkManager-wait-online.service networking.service; do
    if [ -e "lib/systemd/system/$unit" ]; then
        chroot . systemctl --quiet disable "$unit"
    fi
done
rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/info var/cache/apt/*.bin var/lib/apt/lists/* boot/*.old
find . -xdev -name __pycache__ -prune -exec rm -rf {} +
# Byte code made here, once, and not by every guest at its first start.
chroot . python3 -m compileall -q usr/lib/python3 usr/lib/python3.11 > /dev/null || true
"""
OPTIONS = (
    "--mode=root", "--variant=apt", "--format=directory", "--components=main",
    "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "lintian", "locale", "man")),
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
)  # fmt: skip
PROGRESS = re.compile(r"[EI]: (running|downloading|extracting|installing|cleaning|.*error.*)")

began = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - began:6.1f}s] template: {text}", file=sys.stderr, flush=True)


def apt(*words: str) -> list[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def mirror() -> list[str]:
    """The Debian mirror that this machine's apt uses, if it is one of Debian's own main archive."""
    for line in apt("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)", "Identifier: Packages"):
        words = line.split(" ")
        if words[:3] == ["Debian", "Debian", "main"] and len(words) == 4:
            return [words[3]]
    return []


def bootstrap(root: Path) -> None:
    settings = apt("apt-config", "dump", "--no-empty")
    transport = [line for line in settings if line.startswith(("Acquire::http::", "Acquire::https::"))]
    command = [
        # The build ends with this program, however that ends; its mounts and processes go with its namespaces.
        "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        "mmdebstrap", *OPTIONS, *(f"--aptopt={line}" for line in transport),
        "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg", f"--include={','.join((*PACKAGES, *sys.argv[2:]))}",
        f"--essential-hook={INITRAMFS}", f"--customize-hook={SETUP.replace('UUID_HERE', UUID)}",
        RELEASE, str(root), *mirror(),
    ]  # fmt: skip
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if PROGRESS.match(line):
                say(line[3:].split("\n")[0].rstrip(".")[:60])
    if process.returncode != 0:
        sys.exit("".join(lines[-40:]) + "template: the image could not be built")


def write_disk(root: Path, disk: Path) -> None:
    """Write a disk with one partition, and GRUB in its first sectors: what grub-install does, without a device."""
    loader, core = ((root / "boot/grub" / name).read_bytes() for name in ("boot.img", "core.img"))
    assert len(loader) == SECTOR and len(core) < (FIRST - 1) * SECTOR
    # boot.img loads sector 1, which loads the rest: grub-mkimage has put the length there, counted from sector 2.
    assert struct.unpack_from("<H", core, BLOCK_LIST_END - 4)[0] == (len(core) - 1) // SECTOR
    sectors = SIZE_MIB * 2**20 // SECTOR - FIRST
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", FIRST, sectors)
    with disk.open("wb") as stream:
        stream.truncate(SIZE_MIB * 2**20)
        stream.write(loader[:440] + b"virt\0\0" + entry + bytes(48) + b"\x55\xaa" + core)
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-O", FEATURES, "-I", "256", "-m", "0", "-U", UUID, "-L", "root", "-d", str(root),
         "-E", f"offset={FIRST * SECTOR},lazy_itable_init=0,nodiscard", str(disk), f"{sectors // 2}k"],
        check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr,
    )  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    recipe = Path(__file__).read_bytes() + " ".join(sys.argv[2:]).encode()
    made = folder / f"debian-{hashlib.sha256(recipe).hexdigest()[:12]}.raw.gz"
    if not made.is_file():
        missing = [name for name in ("mmdebstrap", "mke2fs", "unshare", "gzip") if shutil.which(name) is None]
        if missing or os.geteuid() != 0:
            sys.exit(f"template: needs root and {', '.join(missing) or 'nothing else'}")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as name:
            work = Path(name)
            work.chmod(0o755)
            bootstrap(work / "root")
            say("writing the disk")
            write_disk(work / "root", work / "disk.raw")
            say("packing it")
            subprocess.run(["gzip", "-1", str(work / "disk.raw")], check=True)
            (work / "disk.raw.gz").rename(made)
        say(f"{made.stat().st_size >> 20} MiB")
    for old in folder.glob("debian-*.raw.gz"):
        if old != made:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()
    print(made)


if __name__ == "__main__":
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    main()
