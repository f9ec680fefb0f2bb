# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of a guest's definition."""

from __future__ import annotations

import json

import pytest

facts = pytest.importorskip("ansible_collections.virtnet.kvm.plugins.module_utils.explain.facts")
MARKED = json.dumps({"nics": [{"mac": "52:54:00:00:00:01", "addresses": ["dhcp", "10.1.0.9/24"]}]})
XML = f"""
<domain><metadata><m:guest xmlns:m='{facts.domain.NS}'>{MARKED}</m:guest></metadata><devices>
<interface type='bridge'><mac address='52:54:00:00:00:01'/><source network='lan' bridge='br0'/><target dev='tap0'/></interface>
<interface type='direct'><mac address='52:54:00:00:00:02'/><source dev='eth0'/><target dev='macvtap0'/>
<link state='down'/></interface></devices></domain>
"""


def test_nics():
    first, second = facts._nics(XML)
    assert first == {
        "mac": "52:54:00:00:00:01", "kind": "bridge", "network": "lan", "tap": "tap0", "bridge": "br0", "link": "up",
        "declared": ["10.1.0.9/24"],
    }  # fmt: skip
    # What a macvtap hangs on is no bridge.
    assert (second["kind"], second["bridge"], second["tap"], second["link"]) == ("direct", None, "macvtap0", "down")
    assert second["declared"] == []
