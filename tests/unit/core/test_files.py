# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import types

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "file"
    files.write(str(path), "one")
    files.write(str(path), "two", mode=0o644)
    assert path.read_text() == "two" and path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["file"]
    files.remove(str(path))
    files.remove(str(path))
    assert not path.exists()


def test_what_cannot_be_written_is_told_with_its_name(tmp_path):
    """/proc takes no files of ours, root or not; a folder is not removed as a file."""
    with pytest.raises(CommandFailed, match="/proc/virtnet could not be written: "):
        files.write("/proc/virtnet", "text")
    with pytest.raises(CommandFailed, match="could not be removed: Is a directory"):
        files.remove(str(tmp_path))


def test_many_files_are_whole_before_the_first_has_its_name(tmp_path, monkeypatch):
    """fsync(2) of all, then rename(2) of all, then fsync(2) of the folder: a power cut at any place leaves old or new."""
    calls = []
    (tmp_path / "0").write_text("old")

    def told(name):
        real = getattr(os, name)

        def call(*arguments):
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(files.os, name, call)

    for name in ("fsync", "rename", "unlink"):
        told(name)
    paths = [str(tmp_path / str(number)) for number in range(3)]
    files.write_all(dict.fromkeys(paths, "new"))
    assert calls == ["fsync"] * 3 + ["rename"] * 3 + ["fsync"]
    assert [one.read_text() for one in tmp_path.iterdir()] == ["new"] * 3
    calls.clear()
    files.remove_all([*paths, str(tmp_path / "gone")])
    assert calls == ["unlink"] * 3 + ["fsync"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("broken", "after"), [("fsync", ["old", "old"]), ("rename", ["new", "old"])])
def test_of_many_files_each_is_old_or_new(tmp_path, monkeypatch, broken, after):
    paths = [str(tmp_path / name) for name in "ab"]
    files.write_all(dict.fromkeys(paths, "old"))
    real, calls = getattr(os, broken), []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(files.os, broken, full)
    with pytest.raises(CommandFailed, match=r"/b could not be written: No space left on device"):
        files.write_all(dict.fromkeys(paths, "new"))
    assert [one.read_text() for one in sorted(tmp_path.iterdir())] == after


def test_nothing_to_write_is_nothing_done(monkeypatch):
    monkeypatch.setattr(files.os, "open", None)
    files.write_all({})
    files.remove_all([])


def test_room_is_claimed_and_nothing_is_left(tmp_path):
    files.claim_room(str(tmp_path), [5000, 1, 70000], "making room")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_folder_without_room_is_told_of(tmp_path, monkeypatch, number):
    before = os.listdir("/proc/self/fd")

    def full(_handle, _start, size):
        if size > 4096:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "posix_fallocate", full)
    with pytest.raises(CommandFailed, match=f"making room: {os.strerror(number)}"):
        files.claim_room(str(tmp_path), [100, 5000], "making room")
    files.claim_room(str(tmp_path), [100], "making room")
    assert os.listdir("/proc/self/fd") == before


def test_a_file_system_that_cannot_tell_says_nothing(tmp_path, monkeypatch):
    files.claim_room(str(tmp_path / "nowhere"), [1], "making room")

    def unsupported(*_what):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(files.os, "posix_fallocate", unsupported)
    files.claim_room(str(tmp_path), [1, 2], "making room")
    monkeypatch.setattr(files.os, "open", unsupported)
    files.claim_room(str(tmp_path), [1], "making room")


@pytest.mark.parametrize("user", [0, 1000])
def test_who_may_not_write_there_learns_nothing(tmp_path, monkeypatch, user):
    def refused(*_what):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", refused)
    monkeypatch.setattr(files.os, "geteuid", lambda: user)
    if user:
        files.claim_room(str(tmp_path), [1], "making room")
    else:
        with pytest.raises(CommandFailed, match="making room: Permission denied"):
            files.claim_room(str(tmp_path), [1], "making room")


def test_a_read_only_disk_is_told_before_anything_is_begun(tmp_path, monkeypatch):
    asked = []

    def statvfs(folder):
        asked.append(folder)
        return types.SimpleNamespace(f_flag=os.ST_RDONLY if folder == str(tmp_path) else 0)

    monkeypatch.setattr(files.os, "statvfs", statvfs)
    (tmp_path / "there").mkdir()
    files.claim_writable([str(tmp_path / "there" / "a")])
    with pytest.raises(CommandFailed, match=r"nowhere/a could not be changed: Read-only file system") as told:
        files.claim_writable([str(tmp_path / "there" / "a"), str(tmp_path / "nowhere" / "a")], "br0")
    assert told.value.subject == "br0"
    assert asked[-1] == str(tmp_path)
