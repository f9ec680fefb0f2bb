# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole files or none: every file of the collection on a managed host is written here."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, MissingDependency

#: What open(2) and fallocate(2) say where a file system has no files without a name, or the folder is not there.
_NO_TELLING = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}


def read(path):
    """Return the text of C(path), or None if there is no such file."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def error_of(error, what=None):
    """Return an OSError as an error of ours: a full disk, say, or that root is needed.

    :param what: what failed, without its reason ("/etc/x could not be written"); else the file that the error names.
    """
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return MissingDependency(f"no permission for {error.filename}: this needs root", cure="Set become: true.")
    return CommandFailed(f"{what or error.filename or 'a system call'}: {error.strerror or error}")


@contextlib.contextmanager
def _told(what, path):
    """Turn a full or read-only disk into an error that says which file."""
    try:
        yield
    except OSError as error:
        raise error_of(error, f"{path} could not be {what}") from error


def write(path, text, mode=0o600, owner=None):
    """Replace C(path) by C(text) in one step that outlives a power cut (rename(2), fsync(2) on file and folder).

    :param owner: (user ID, group ID), if it is not to be ours.
    :raises CommandFailed: the disk is full or read-only, say; the file is as it was.
    """
    write_all({path: text}, mode, owner)


def write_all(texts, mode=0o600, owner=None):
    """Replace each file of C(texts), {path: text}, as write() does; hundreds of them cost little more than one.

    Nothing gets its name before all of it is on the disk, so a power cut leaves each file as it was or as it shall be.

    :raises CommandFailed: as of write(); the files are as they were, unless it was their renaming that failed halfway.
    """
    made = {}
    try:
        for path, text in texts.items():
            with _told("written", path):
                made[path] = _temporary(path)
                _fill(made[path], text, mode, owner)
        for path, temporary in made.items():
            with _told("written", path):
                _sync(temporary)
        for path in texts:
            with _told("written", path):
                os.rename(made[path], path)
                del made[path]
    finally:
        for temporary in made.values():
            os.unlink(temporary)
    _sync_folders_of(texts, "written")


def _temporary(path):
    """Make an empty file beside C(path) and return its name."""
    folder = os.path.dirname(path)
    make_folder(folder)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix="." + os.path.basename(path) + ".")
    os.close(descriptor)
    return temporary


def _fill(path, text, mode, owner):
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        if owner is not None:
            os.fchown(handle.fileno(), *owner)
        os.fchmod(handle.fileno(), mode)
        # Begins to write without waiting for it: the first fsync(2) then commits what the others wait for, too. A mere hint.
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _sync(path, flags=0):
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders_of(paths, what):
    for folder in sorted({os.path.dirname(path) for path in paths}):
        with _told(what, folder):
            _sync(folder, os.O_DIRECTORY)


def make_folder(path, mode=0o755):
    """Make C(path) and its parents, each synced into its own parent."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_folder(parent)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    _sync(parent, os.O_DIRECTORY)


def remove(path):
    """Remove C(path) if it is there."""
    remove_all([path])


def remove_all(paths):
    """Remove those of C(paths) that are there."""
    removed = []
    for path in paths:
        if not os.path.lexists(path):
            continue  # unlink(2) on a read-only disk says so of a file that is not there, too
        with _told("removed", path):
            os.unlink(path)
        removed.append(path)
    _sync_folders_of(removed, "removed")


def remove_empty_folders(path, top):
    """Remove C(path) and its parents up to and including C(top), as long as they are empty."""
    while path == top or path.startswith(top + "/"):
        try:
            os.rmdir(path)
        except OSError:
            return
        path = os.path.dirname(path)


def claim_writable(paths, subject=None):
    """Raise CommandFailed if one of C(paths) is on a read-only disk (statvfs(3), ST_RDONLY).

    :param subject: whose files they are.
    """
    for path in paths:
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            error = error_of(OSError(errno.EROFS, os.strerror(errno.EROFS)), f"{path} could not be changed")
            error.subject = subject
            raise error


def claim_room(folder, sizes, what):
    """Raise CommandFailed if a folder takes no new files of these sizes, in bytes.

    Nothing is left of the try (open(2), O_TMPFILE). Where the file system cannot tell, nothing is said.

    :param what: what would fail, without its reason.
    """
    held = []
    try:
        for size in sizes:
            try:
                held.append(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
                os.posix_fallocate(held[-1], 0, size)
            except OSError as error:
                # Who is not root may still have a daemon that is.
                if error.errno in _NO_TELLING or (isinstance(error, PermissionError) and os.geteuid() != 0):
                    return
                raise error_of(error, what) from error
    finally:
        for handle in held:
            os.close(handle)
