# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock of captures, whose file goes with the last of them."""

from __future__ import annotations

import fcntl
import os

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.explain import capture


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "RUN", str(tmp_path))
    monkeypatch.setattr(capture, "LOCK", str(tmp_path / "trace.lock"))
    return tmp_path / "trace.lock"


def test_one_has_it(path):
    with capture._locked() as first:
        with capture._locked() as second:
            assert second is None
        assert first is not None
    with capture._locked() as third:
        assert third is not None
    assert path.exists()


def test_what_was_removed_between_opening_and_locking_is_no_lock(path, monkeypatch):
    """Else two would have one: each its own file."""
    took = []

    def flock(lock, how):
        if not took:
            path.unlink()
        took.append(lock)
        fcntl_flock(lock, how)

    fcntl_flock = fcntl.flock
    monkeypatch.setattr(capture.fcntl, "flock", flock)
    with capture._locked() as lock:
        assert len(took) == 2
        assert os.path.samestat(os.fstat(lock), path.stat())
        with capture._locked() as second:
            assert second is None
