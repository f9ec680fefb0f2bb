# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel of the built-in guest and its modules, found among what the host's own packages put there."""

from __future__ import annotations

import gzip
import lzma
import os
import re

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import MissingDependency, Unsupported

#: What follows the name of a compressed module's file.
SUFFIX = re.compile(r"\.ko(\.(?:xz|zst|gz))?\Z")


def _version_key(version):
    """Order versions as people do: numbers by value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|[^\d]+", version)]


class Kernel:
    """A kernel under C(root): its image and its modules."""

    def __init__(self, version, image, modules):
        self.version = version
        self.image = image
        self.modules = modules
        self._index = None

    @classmethod
    def newest(cls, root="/"):
        """Return the newest kernel that has its modules; one made for virtual machines is preferred, it is small.

        Raise MissingDependency if there is none.
        """
        found = []
        boot = os.path.join(root, "boot")
        names = os.listdir(boot) if os.path.isdir(boot) else []
        for name in names:
            version = name[len("vmlinuz-") :]
            modules = os.path.join(root, "lib/modules", version)
            if name.startswith("vmlinuz-") and os.path.isdir(os.path.join(modules, "kernel")):
                small = bool(re.search(r"-(cloud|kvm|virtual)", version))
                found.append((small, _version_key(version), version, modules))
        if not found:
            raise MissingDependency(
                "the built-in guest needs a kernel in /boot with its modules in /lib/modules, and this host has none",
                subject="builtin",
                cure="Run the role virtnet.kvm.kvm_host, or install one (such as linux-image-cloud-amd64 or kernel-core).",
            )
        version, modules = max(found)[2:]
        return cls(version, os.path.join(boot, "vmlinuz-" + version), modules)

    def _files(self):
        """Return {module's name: path}; C(-) and C(_) are one in a module's name."""
        if self._index is None:
            self._index = {}
            for folder, _folders, names in os.walk(os.path.join(self.modules, "kernel")):
                for name in names:
                    if SUFFIX.search(name):
                        self._index[SUFFIX.sub("", name).replace("-", "_")] = os.path.join(folder, name)
        return self._index

    def _builtin(self):
        try:
            with open(os.path.join(self.modules, "modules.builtin"), encoding="utf-8") as handle:
                return {SUFFIX.sub("", os.path.basename(line.strip())).replace("-", "_") for line in handle}
        except FileNotFoundError:
            return set()

    def load_order(self, required, optional, run):
        """Return [(name, bytes)] of the modules, each after those it depends on; what is built in is left out.

        :param run: (command) → bytes of its standard output, for zstd.
        """
        files, order = self._files(), {}

        def add(name):
            if name not in files or name in order:
                return
            data = _unpacked(files[name], run)
            for other in depends(data):
                add(other)
            order[name] = data

        builtin = self._builtin()
        missing = [name for name in required if name not in files and name not in builtin]
        if missing:
            raise Unsupported(
                f"the kernel {self.version} lacks {', '.join(missing)}, which the built-in guest needs",
                subject="builtin",
                cure="Install the package with the rest of its modules (such as linux-modules-extra or kernel-modules-core).",
            )
        for name in (*required, *optional):
            add(name)
        return list(order.items())


def depends(data):
    """Return the names that a module's .modinfo section says it depends on."""
    match = re.search(rb"\0depends=([^\0]*)\0", data)
    return [name.replace("-", "_") for name in match.group(1).decode().split(",") if name] if match else []


def _unpacked(path, run):
    with open(path, "rb") as handle:
        data = handle.read()
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".gz"):
        return gzip.decompress(data)
    if path.endswith(".zst"):
        return run(["zstd", "-dc", path])
    return data
