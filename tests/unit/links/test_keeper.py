# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who keeps a link, by what the managers leave in /run."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import keepers as persist
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import units


@pytest.fixture
def run(tmp_path, monkeypatch):
    for place, name in ((persist, "_DEVICES"), (units, "_FOLDER")):
        monkeypatch.setattr(place, name, str(tmp_path / name))
        (tmp_path / name).mkdir()
    (tmp_path / "_DEVICES" / "7").write_text("[device]\nmanaged=true\n")
    return tmp_path


def test_a_networkmanager_that_was_stopped_keeps_nothing(run):
    """It leaves its file behind, for its next start."""
    assert persist._keeper("eth1", 7) is None
    # systemd's link leads nowhere: its target is the invocation's number.
    (run / "_FOLDER" / "invocation:NetworkManager.service").symlink_to("0123456789abcdef")
    assert persist._keeper("eth1", 7) == "NetworkManager" and persist._keeper("eth2", 8) is None


def test_without_systemd_the_file_is_believed(run):
    (run / "_FOLDER").rmdir()
    assert persist._keeper("eth1", 7) == "NetworkManager"
