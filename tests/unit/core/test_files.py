# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

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
