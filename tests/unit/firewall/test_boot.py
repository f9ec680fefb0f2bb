# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import boot

NFT = "add table inet virtnet\ndelete table inet virtnet\n\ntable inet virtnet {\n}\n\ntable bridge virtnet {\n}\n"
BOTH = "table ip filter\ntable inet virtnet\ntable bridge virtnet\n"
NAT = "*nat\nCOMMIT\n"


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """Run the watch's script with programs in the place of the host's; return what systemctl(1) was called with."""
    monkeypatch.setattr(boot, "RUN", str(tmp_path))
    monkeypatch.setattr(boot, "RULES", str(tmp_path / "virtnet.nft"))
    monkeypatch.setattr(boot, "IPTABLES", {4: str(tmp_path / "virtnet.iptables"), 6: str(tmp_path / "virtnet.ip6tables")})
    said = tmp_path / "said"

    def run(text, tables, jumps=0):
        (tmp_path / "virtnet.nft").write_text(NFT)
        if text:
            (tmp_path / "virtnet.iptables").write_text(text)
        programs = {
            "nft": f"case $1 in monitor) echo 'add table'; echo 'delete table';; *) cat <<'T'\n{tables}T\nesac\n",
            "systemctl": f"echo $@ >> {said}\n", "iptables": f"exit {jumps}\n", "sleep": "", "flock": "",
        }
        for name, text in programs.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{text}")
            path.chmod(0o755)
        script = boot.watch_text().replace("PATH=", f"PATH={tmp_path}:", 1)
        subprocess.run(["/bin/sh", "-c", script], check=True, env={"PATH": os.environ["PATH"]}, timeout=20)
        return said.read_text().splitlines() if said.exists() else []

    return run


@pytest.mark.parametrize(
    ("text", "tables", "jumps", "reloaded"),
    [
        ("", BOTH, 0, False),
        ("", "", 0, True),
        ("", "table inet virtnet\n", 0, True),
        ("", "table inet virtnet2\ntable bridge virtnet\n", 0, True),
        (NAT, BOTH, 0, False),
        (NAT, BOTH, 1, True),
    ],
)
def test_the_watch_has_loaded_again_what_is_lost_and_only_then(watch, text, tables, jumps, reloaded):
    said = watch(text, tables, jumps)
    assert set(said) == ({"reload virtnet-firewall.service"} if reloaded else set())
