# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole files or none: every file of the collection on a managed host is written here."""

from __future__ import annotations

import contextlib
import os
import tempfile

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed


def read(path):
    """Return the text of C(path), or None if there is no such file."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _told(what, path):
    """Turn a full or read-only disk into an error that says which file; that root is needed, the engine says."""
    try:
        yield
    except PermissionError:
        raise
    except OSError as error:
        raise CommandFailed(f"{path} could not be {what}: {error.strerror}") from error


def _sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path, text, mode=0o600):
    """Replace C(path) by C(text) in one step that outlives a power cut (rename(2), fsync(2) on file and folder).

    :raises CommandFailed: the disk is full or read-only, say; the file is as it was.
    """
    with _told("written", path):
        _write(path, text, mode)


def _write(path, text, mode):
    folder = os.path.dirname(path)
    make_folder(folder)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix="." + os.path.basename(path) + ".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            os.fsync(handle.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(folder)


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
    _sync_folder(parent)


def remove(path):
    """Remove C(path) if it is there."""
    if not os.path.lexists(path):
        return  # unlink(2) on a read-only disk says so of a file that is not there, too
    with _told("removed", path):
        os.unlink(path)
        _sync_folder(os.path.dirname(path))


def remove_empty_folders(path, top):
    """Remove C(path) and its parents up to and including C(top), as long as they are empty."""
    while path == top or path.startswith(top + "/"):
        try:
            os.rmdir(path)
        except OSError:
            return
        path = os.path.dirname(path)
