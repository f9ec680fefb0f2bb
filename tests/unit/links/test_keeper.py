# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who keeps a link, by what the managers leave in /run."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Unsupported
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


class Host:
    """A host whose systemctl says one thing after the other."""

    def __init__(self, *states):
        self.states = list(states)

    def run(self, command, check=True, **_more):
        if command[:2] == ["systemctl", "is-active"]:
            return 0, "\n".join(self.states.pop(0) if len(self.states) > 1 else self.states[0]), ""
        return 1, "", ""


@pytest.fixture
def waits(monkeypatch, tmp_path):
    """No ifupdown, no files of ours, and a clock that sleep() moves."""
    now = [0.0]
    monkeypatch.setattr(persist.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(persist.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(persist.Ifupdown, "available", lambda host: False)
    for name in persist._OUR_FILES:
        monkeypatch.setitem(persist._OUR_FILES, name, str(tmp_path / name / "*"))
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("between", ["activating", "deactivating"])
def test_a_manager_that_is_restarted_is_waited_for(waits, between):
    """Taken for one that is not there, it would not be told, and would bring back what was taken away."""
    host = Host([between, "inactive"], [between, "inactive"], ["active", "inactive"])
    assert persist.choose(host, "auto").name == "networkd"
    assert len(host.states) == 1, "it was asked until it was there"


def test_a_manager_that_does_not_settle_is_in_use(waits):
    assert persist.choose(Host(["inactive", "activating"]), "auto").name == "NetworkManager"
    assert persist.time.monotonic() > persist.SETTLES_S


def test_nobody_keeps_links_where_no_manager_runs(waits):
    assert persist.choose(Host(["inactive", "failed"]), "auto").name == "none"


@pytest.mark.parametrize("name", ["networkd", "NetworkManager"])
def test_a_manager_that_is_down_and_has_files_of_ours_is_told_of(waits, name):
    unit = persist.MANAGERS[name][1]
    (waits / name / "00-virtnet-eth1.network").write_text("")
    with pytest.raises(Unsupported, match=f"{unit} does not run, and keeps links of ours"):
        persist.choose(Host(["failed", "inactive"]), "auto")
    assert persist.choose(Host(["failed", "inactive"]), "none").name == "none"
    assert persist.for_a_look(Host(["failed", "inactive"])).name == "none"
