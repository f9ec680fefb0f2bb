# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An initial RAM file system as the kernel reads it: a cpio archive in the C(newc) format, the same for the same input.

Format: https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
"""

from __future__ import annotations

import stat

#: Of every file in the archive, so that nothing of the day or the machine gets in.
MTIME = 0


class Archive:
    """Files, folders, links and device nodes of an archive, by path from its root, without a leading slash."""

    def __init__(self):
        self._entries = {}

    def __contains__(self, path):
        return path.strip("/") in self._entries

    def folder(self, path, mode=0o755):
        """Add a folder and those above it."""
        path = path.strip("/")
        if path and path not in self._entries:
            self.folder(path.rpartition("/")[0])
            self._entries[path] = (stat.S_IFDIR | mode, b"", 0, 0)

    def file(self, path, data, mode=0o644):
        """Add a file of these bytes, and the folders above it."""
        self._add(path, stat.S_IFREG | mode, data)

    def link(self, path, target):
        """Add a symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def node(self, path, major, minor, mode=0o600):
        """Add a character device."""
        self._add(path, stat.S_IFCHR | mode, b"", major, minor)

    def _add(self, path, mode, data, major=0, minor=0):
        path = path.strip("/")
        self.folder(path.rpartition("/")[0])
        self._entries[path] = (mode, data, major, minor)

    def chunks(self):
        """Yield the archive's bytes, folders before what is in them."""
        for number, path in enumerate(sorted(self._entries), 1):
            mode, data, major, minor = self._entries[path]
            yield from _entry(path, number, mode, data, major, minor)
        yield from _entry("TRAILER!!!", 0, 0, b"", 0, 0)


def _padding(length):
    return b"\0" * (-length % 4)


def _entry(path, number, mode, data, major, minor):
    name = path.encode() + b"\0"
    # magic, inode, mode, uid, gid, links, mtime, size, device (2), node's device (2), length of the name, no checksum
    fields = (number, mode, 0, 0, 1, MTIME, len(data), 0, 0, major, minor, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    yield header + name + _padding(len(header) + len(name))
    yield data + _padding(len(data))
