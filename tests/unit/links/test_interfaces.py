# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links that others have made, and those that are ours; extensions/molecule has them changed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.links import declared, forms, interfaces, neighbours, room
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import networkmanager
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import networkmanager_files as texts
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan


def link(name, kind="bridge", bridge=None, alias=None):
    form = {
        "name": name, "type": kind, "state": "up", "mac": None, "mtu": 1500, "bridge": bridge, "description": alias,
        "addresses": [], "gateway": ["192.0.2.1"] if kind == "bridge" else [], "metrics": {}, "routes": [],
    }  # fmt: skip
    return forms.Link(form, {"ifname": name})


@pytest.mark.parametrize(
    ("alias", "made", "ours"),
    [(forms.ALIAS, False, True), (None, True, True), (None, False, False), ("the uplink", False, False)],
)
def test_a_bridge_is_ours_by_its_alias_or_its_files(alias, made, ours):
    """The first is lost with a boot of a host without udev."""
    manager = SimpleNamespace(made=lambda name: made, name="networkd")
    found = interfaces.InterfaceRoom(None, [], manager)
    assert found._made(link("br0", alias=alias)) is ours
    # So nobody takes its files for those of a link that was there before.
    [item] = declared.parse([{"name": "br0", "state": "up", "mtu": 1400}], "interfaces")
    if ours:
        with pytest.raises(interfaces.Conflict, match="Use virtnet.kvm.host_bridge"):
            found._refuse(item, link("br0", alias=alias))


def test_the_guard_knows_the_ports_of_what_is_changed(monkeypatch):
    """A manager of links may let go of them; those of other bridges are nobody's business."""
    monkeypatch.setattr(neighbours, "answers", lambda *_: True)
    monkeypatch.setattr(room.guard, "armed", lambda host, change, window_s: change)
    manager = SimpleNamespace(reload_lines=lambda names: ["reload"], seeds=lambda name, files: {})
    found = interfaces.InterfaceRoom(SimpleNamespace(), [], manager)
    rows = [link("br0"), link("eth0", "physical", "br0"), link("vnet0", "tap", "br0")]
    rows += [link("vnet1", "tap", "virbr0"), link("eth1", "physical")]
    found.links, found._guarded = {one.name: one for one in rows}, ["br0"]
    args = {"files": {}, "early": {}, "old_files": {}, "sysctls": {}, "undo": [], "names": [], "delete": False}
    ops = [Op("interface", "br0", "change", args={**args, "create": False})]
    ops += [Op("interface", name, "add", args={**args, "create": True}) for name in ("br1", "eth1")]
    change = found.arm(Plan({}, ops))
    assert change.ports == {"eth0": "br0", "vnet0": "br0"}
    # One that is made anew was there.
    assert change.made == ["br1"]


def test_networkmanager_has_the_routes_of_a_bridge_that_it_made_in_the_same_profile():
    form = {
        "name": "br0", "type": "bridge", "state": "up", "mtu": 1500, "mac": "02:00:00:00:00:03", "bridge": None, "stp": False,
        "addresses": ["192.0.2.2/24"], "gateway": [], "routes": [], "forward_delay": 15, "ageing": 300, "ipv6": True,
    }  # fmt: skip
    keeper = networkmanager.NetworkManager(None)
    before = texts.made(form, keeper._uuid("br0"))
    keeper._files = {texts.path("br0"): before}
    route = {"to": "198.51.100.0/24", "via": "192.0.2.9", "metric": None}
    found = keeper.existing_files(form, [], added=[route])
    assert list(found) == [texts.path("br0")] and texts.Keyfile(found[texts.path("br0")]).routes == [route]
    keeper._files = found
    assert keeper.existing_files(form, [], removed=[route]) == {texts.path("br0"): before}
