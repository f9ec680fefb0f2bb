# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A unit of ours as the keeper of VXLAN devices, the same beside every manager of links.

A device is a port of a bridge that libvirt makes anew with each start of its network. None of the managers puts a port into a
bridge that it has not made itself.
"""

from __future__ import annotations

import glob
import os

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.host import ETC
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import vxlan_files as texts

_SYSTEMD = "/run/systemd/system"


def has_devices():
    """Return whether there is a file of any device."""
    return bool(glob.glob(f"{texts.FOLDER}/*"))


class VxlanUnit:
    """Writes C(/etc/virtnet/vxlan.d), the script that reads it, and the unit that runs the script."""

    makes = ()
    moves = False

    def __init__(self, host):
        self._host = host
        self._files = {}

    @property
    def name(self):
        return "systemd" if os.path.isdir(_SYSTEMD) else "none"

    def gather(self):
        self._files = {path: files.read(path) or "" for path in sorted(glob.glob(f"{texts.FOLDER}/*"))}

    def own(self, name):
        """Return {path: text} of our file for a device; one in its place that is not ours is a Conflict."""
        text = self._files.get(texts.path(name))
        if text is None:
            return {}
        if texts.HEADER not in text:
            raise Conflict(f"{texts.path(name)} is not one of virtnet.kvm's", name, cure="Move it away.")
        return {texts.path(name): text}

    def made(self, name):
        return bool(self.own(name))

    def remembered(self, name):
        """Return what a device that is down would have else; it has neither addresses nor routes."""

    @staticmethod
    def link_files(form):
        return {texts.path(form["name"]): texts.entry(form)}

    def state(self):
        """Return what is wrong with script and unit, as a word."""
        if self.name == "none":
            return "absent"
        for path, wanted in self._shared():
            found = files.read(path)
            if found is not None and texts.HEADER not in found:
                raise Conflict("the file is not one of virtnet.kvm's", path, cure="Move it away.")
            if found != wanted:
                return "missing" if found is None else "different"
        if not os.path.islink(texts.LINK):
            return "disabled"
        active = self._host.run(["systemctl", "is-active", "--quiet", texts.UNIT_NAME], check=False)[0] == 0
        return "running" if active else "not running"

    def left(self):
        """Return whether script or unit are there, though they have no device to keep."""
        ours = (path for path, _text in self._shared() if texts.HEADER in (files.read(path) or ""))
        return not has_devices() and next(ours, None) is not None

    @property
    def wanted_state(self):
        return "absent" if self.name == "none" else "running"

    @staticmethod
    def _shared():
        return ((texts.SCRIPT, texts.SCRIPT_TEXT), (texts.UNIT, texts.UNIT_TEXT))

    def write(self, changes):
        """Write {path: text}; None removes the file."""
        for path, text in changes.items():
            if text is None:
                files.remove(path)
                files.remove_empty_folders(os.path.dirname(path), ETC)
            else:
                files.write(path, text, mode=0o644)

    def seeds(self, name, changes):
        return {}

    def make(self, seeds):
        pass

    def reload(self, names):
        """Have the unit run if there is any device to keep, and be gone if there is none."""
        if self.name == "none":
            return
        if not has_devices():
            self._remove()
            return
        changed = [path for path, text in self._shared() if files.read(path) != text]
        for path, text in self._shared():
            if path in changed:
                files.write(path, text, mode=0o644)
        if texts.UNIT in changed or not os.path.islink(texts.LINK):
            self._systemctl("daemon-reload")
            self._systemctl("enable", texts.UNIT_NAME)
        self._systemctl("restart" if changed else "start", texts.UNIT_NAME)

    def _remove(self):
        if files.read(texts.UNIT) is not None:
            self._systemctl("disable", "--now", texts.UNIT_NAME)
            files.remove(texts.UNIT)
            self._systemctl("daemon-reload")
        files.remove(texts.SCRIPT)
        files.remove_empty_folders(ETC, ETC)

    def restart(self, names):
        self.reload(names)

    def _systemctl(self, *arguments):
        self._host.run(["systemctl", "--quiet", *arguments], what=f"systemctl {arguments[0]}", subject=texts.UNIT_NAME)
