# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks that people wrote: told, taken over, changed in one thing. The scenario modules does it on real daemons."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import describe
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import known
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from networks_by_hand import BY_HAND


def told(one):
    tree = definition.load(one.xml("net", 1))
    return tree, *describe.describe(tree, "inactive", False, True)


def lines(tree):
    """Return a definition as lines without our mark; where libvirt has defaults, they are spelt out."""
    tree = copy.deepcopy(tree)
    for node in tree.findall("metadata"):
        tree.remove(node)
    bridge = tree.find("bridge")
    forward = tree.find("forward")
    if bridge is not None and (forward is None or forward.get("mode") != "bridge"):
        bridge.set("stp", bridge.get("stp", "on"))
        bridge.set("delay", bridge.get("delay", "0"))
    if forward is not None:
        forward.set("mode", forward.get("mode", "nat"))
    return {line.strip().replace("'", "").replace('"', "") for line in definition.dump(tree).splitlines()}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_others_made_is_told_and_taken_over_without_a_loss(name):
    one = BY_HAND[name]
    tree, item, differs, lacks = told(one)
    if one.model is None:
        assert item is None and "forward mode" in differs[0]
        return
    if not one.body:
        return  # libvirt gives it a bridge, which is not here
    assert (item["model"], tuple(differs), tuple(lacks)) == (one.model, one.differs, one.lacks)
    after = definition.edit(models.parse_network(item, "networks[0]"), tree)
    if not differs:
        assert lines(after) == lines(tree)
    assert definition.parse_mark(after)["model"] == one.model


@pytest.mark.parametrize("name", [name for name, one in BY_HAND.items() if one.change])
def test_one_thing_is_changed_and_nothing_else(name):
    one = BY_HAND[name]
    tree, item, *dummy = told(one)
    before = definition.edit(models.parse_network(item, "networks[0]"), tree)
    after = definition.edit(models.parse_network({**item, **one.changed(1)}, "networks[0]"), before)
    assert one.gone in " ".join(lines(before) - lines(after)) and one.come in " ".join(lines(after) - lines(before))
    old, new = definition.parse(before), definition.parse(after)
    assert [key for key in new if new[key] != old[key]] == list(one.change)
    assert known.leftover(after) == known.leftover(before)
