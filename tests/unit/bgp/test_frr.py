# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

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
