# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import journal


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "STATE", str(tmp_path / "virtnet"))
    monkeypatch.setattr(journal, "PATH", str(tmp_path / "virtnet" / "baseline.json"))
    return tmp_path / "virtnet" / "baseline.json"


def test_the_first_value_is_kept_until_it_is_forgotten(path):
    journal.record({"a": 1, "b": None})
    journal.record({"a": 2, "c": 3})
    assert json.loads(path.read_text()) == journal.load() == {"a": 1, "b": None, "c": 3}
    journal.forget(["a", "nobody"])
    assert journal.load() == {"b": None, "c": 3}
    journal.forget(["b", "c"])
    assert not path.parent.exists()


def test_what_could_not_be_forgotten_is_told_first(path, monkeypatch):
    asked = []

    def full(folder, sizes, what):
        asked.append((folder, sizes))
        raise CommandFailed(what)

    monkeypatch.setattr(journal.files, "claim_room", full)
    journal.record({})
    assert asked == []  # nothing is there to be forgotten
    for entries in ({"a": 1}, {}):
        with pytest.raises(CommandFailed, match=r"baseline\.json could not be replaced"):
            journal.record(entries)
    assert asked == 2 * [(str(path.parent), [path.stat().st_size])]
