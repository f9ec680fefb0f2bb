# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest's own files on the host: the overlay over its template and the disk that cloud-init reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, InvalidInput, MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import cloudinit
from ansible_collections.virtnet.kvm.plugins.module_utils.host import STATE

GUESTS = os.path.join(STATE, "guests")
LOGS = "/var/log/libvirt/qemu"
ISO_MAKERS = ("genisoimage", "xorrisofs", "mkisofs")
#: What a terminal does not show: its control sequences, and control characters but for the line's end and the tab.
UNSHOWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f]")


def folder(name):
    return os.path.join(GUESTS, name)


def disk(name):
    return os.path.join(folder(name), "disk.qcow2")


def seed(name):
    return os.path.join(folder(name), "seed.iso")


def console(name):
    """The log of what a guest says on its serial console."""
    return os.path.join(LOGS, f"{name}-console.log")


def console_tail(name, size=2000):
    """Return the end of a guest's console log as plain text, for an error's evidence; '' where there is none."""
    try:
        with open(console(name), "rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - size))
            return UNSHOWN.sub("", handle.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def has_disk(name):
    return os.path.exists(disk(name))


def has_seed(name):
    return os.path.exists(seed(name))


def left(name):
    """Return whether anything of a guest lies about."""
    return os.path.exists(folder(name)) or os.path.exists(console(name))


def check_template(guest, host):
    """Raise InvalidInput unless the guest's image is a qcow2 file; changes nothing."""
    option = f"{guest.option}.image"
    if not os.path.isfile(guest.image):
        raise InvalidInput(f"there is no file {guest.image} on the host", guest.name, option, "Put the template there first.")
    _rc, out, _err = host.run(
        ["qemu-img", "info", "--output=json", "-U", guest.image], subject=guest.name, what="reading the template"
    )
    kind = json.loads(out).get("format")
    if kind != "qcow2":
        raise InvalidInput(
            f"{guest.image} is a {kind} image", guest.name, option, "Convert it with qemu-img convert -O qcow2."
        )


def template_of(name, host):
    """Return the path of the template that a guest's disk stands on, '' if on none."""
    _rc, out, _err = host.run(["qemu-img", "info", "--output=json", "-U", disk(name)], subject=name, what="reading its disk")
    return json.loads(out).get("backing-filename", "")


def readable_by_all(path):
    """Return whether every user may read a file, and so QEMU's, whatever user that is."""
    try:
        if not os.stat(path).st_mode & stat.S_IROTH:
            return False
        while path != "/":
            path = os.path.dirname(path)
            if not os.stat(path).st_mode & stat.S_IXOTH:
                return False
    except OSError:
        return False
    return True


def iso_maker():
    """Return the program that makes the seed, whichever the distribution has."""
    maker = next((path for path in map(shutil.which, ISO_MAKERS) if path), None)
    if maker is None:
        raise MissingDependency(
            "a guest from a template needs genisoimage, xorrisofs or mkisofs, and this host has none",
            cure="Install genisoimage or xorriso, or run the role virtnet.kvm.kvm_host.",
        )
    return maker


def make_disk(guest, host):
    """Make the overlay if it is not there: what a guest wrote is never thrown away by a second run."""
    if has_disk(guest.name):
        return
    files.make_folder(folder(guest.name))
    host.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", guest.image, disk(guest.name)],
        what="making the disk", subject=guest.name,
    )  # fmt: skip
    os.chmod(disk(guest.name), 0o600)  # libvirt gives it to QEMU's user while the guest runs


def make_seed(guest, host):
    """Make the disk that cloud-init reads; only root and QEMU may read it, for user data may hold secrets."""
    files.make_folder(folder(guest.name))
    target = seed(guest.name)
    with tempfile.TemporaryDirectory(dir=folder(guest.name), prefix=".seed-") as work:
        content = os.path.join(work, "content")
        os.mkdir(content, 0o700)
        for name, text in cloudinit.files(guest).items():
            files.write(os.path.join(content, name), text)
        made = os.path.join(work, "seed.iso")
        host.run(
            [iso_maker(), "-quiet", "-output", made, "-volid", "cidata", "-joliet", "-rational-rock", content],
            what="making the cloud-init disk", subject=guest.name,
        )  # fmt: skip
        os.chmod(made, 0o600)
        os.rename(made, target)


def remove(name):
    """Remove all files of a guest, its console's log included."""
    shutil.rmtree(folder(name), ignore_errors=True)
    if os.path.exists(folder(name)):
        raise CommandFailed(f"the folder {folder(name)} could not be removed", name)
    files.remove_empty_folders(GUESTS, STATE)
    try:
        os.unlink(console(name))
    except FileNotFoundError:
        return
