# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What FRR's own tools are given, and what they say."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import frr
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed


def test_on_a_full_disk_what_is_there_is_not_written_and_its_copy_goes(tmp_path, monkeypatch):
    """The way back of a change whose own text found no room; else the copy would pass for the true frr.conf ever after."""
    conf, aside = tmp_path / "frr.conf", tmp_path / "aside"
    monkeypatch.setattr(frr, "CONF", str(conf))
    monkeypatch.setattr(frr, "ASIDE", str(aside))
    conf.write_text("as before")
    aside.write_text("as before")

    def full(path, *_more, **_options):
        raise CommandFailed(f"{path} could not be written: No space left on device")

    monkeypatch.setattr(files, "write", full)
    frr.Frr(None).write_conf("as before")
    assert not aside.exists() and conf.read_text() == "as before"
    aside.write_text("as before")
    with pytest.raises(CommandFailed):
        frr.Frr(None).write_conf("other")
    assert aside.exists()


UNREACHED = """Exiting: failed to connect to any daemons.
  line 7: what is indented elsewhere stays
Traceback (most recent call last):
  File "/usr/lib/frr/frr-reload.py", line 98, in __call__
    raise VtyshException(
VtyshException: vtysh returned status 1 for command "configure"
"""


class Host:
    """A host whose FRR is away for so many looks, and whose frr-reload.py fails until it is back."""

    def __init__(self, away):
        self.away, self.loads = away, 0

    def run(self, command, **_how):
        if any("frr-reload" in word for word in command):
            self.loads += 1
            return (1, "", UNREACHED) if self.away else (0, "", "")
        self.away = max(0, self.away - 1)
        return (1, "", "") if self.away else (0, "zebra bgpd\nBuilding configuration...\n\nCurrent configuration:\n!\nend\n", "")


@pytest.fixture
def conf(tmp_path, monkeypatch):
    monkeypatch.setattr(frr, "CONF", str(tmp_path / "frr.conf"))
    monkeypatch.setattr(frr, "ASIDE", str(tmp_path / "aside"))
    monkeypatch.setattr(frr, "_first", lambda paths: paths[0])
    (tmp_path / "frr.conf").write_text("as before")
    return tmp_path / "frr.conf"


@pytest.mark.parametrize("away", [0, 1, 3])
def test_an_frr_that_is_just_being_restarted_is_waited_for(conf, monkeypatch, away):
    monkeypatch.setattr(frr.time, "sleep", lambda _seconds: None)
    host = Host(away)
    frr.Frr(host).load("new")
    assert host.loads == 1 + bool(away)
    assert conf.read_text() == "as before"


def test_what_frr_does_not_say_in_time_is_an_error_without_its_traceback(conf, monkeypatch):
    monkeypatch.setattr(frr, "START_S", 0)
    for_ever = float("inf")
    with pytest.raises(CommandFailed, match="bgpd does not answer after 0 s"):
        frr.Frr(Host(for_ever)).load("new")
    monkeypatch.setattr(frr.Frr, "running", lambda _self: ({"zebra", "bgpd"}, "!"))
    with pytest.raises(CommandFailed, match="failed to connect to any daemons") as caught:
        frr.Frr(Host(for_ever)).load("new")
    told = str(caught.value) + caught.value.details["stderr"]
    assert "Traceback" not in told and "in __call__" not in told and "VtyshException: vtysh returned status 1" in told
    assert told.count("line 7: what is indented elsewhere stays") == 2
    assert conf.read_text() == "as before"
