# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at hosts with all four models by the hosts' own tools; what packets do has been proven by the play itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

# Network: its bridge, libvirt's forward mode, its guests.
NETWORKS = {
    "isonet": ("br1", None, {"iso0", "iso1"}),
    "routenet": ("br2", "bridge", {"rt0", "rt1"}),
    "natnet": ("natbr0", "open", {"vm0", "vm1"}),
    "lannet": ("br0", "bridge", {"lan0", "lan1"}),
}


def links(host):
    return {row["ifname"]: row for row in json.loads(host.check_output("ip -j -d link"))}


@pytest.mark.parametrize(("network", "facts"), NETWORKS.items())
def test_each_network_is_there_as_its_model_says(host, network, facts):
    bridge, mode, _guests = facts
    xml = host.check_output("virsh net-dumpxml %s", network)
    assert f"<bridge name='{bridge}'" in xml
    assert (f"<forward mode='{mode}'" in xml) if mode else ("<forward" not in xml)
    assert network in host.check_output("virsh net-list --name --autostart").split()


@pytest.mark.parametrize(("network", "facts"), NETWORKS.items())
def test_guests_are_on_the_bridge_of_their_network_and_no_others(host, network, facts):
    bridge, _mode, guests = facts
    ports = {name for name, row in links(host).items() if row.get("master") == bridge}
    taps = {}
    for guest in host.check_output("virsh list --name").split():
        for line in host.check_output("virsh -q domiflist %s", guest).splitlines():
            device, _kind, source, _model, _mac = line.split()
            assert source in NETWORKS, line
            taps[device] = (guest, source)
    assert {guest for guest, source in taps.values() if source == network} == guests
    assert {name for name in ports if name in taps} == {name for name, (_guest, source) in taps.items() if source == network}


def test_the_uplink_is_in_the_bridge_of_the_bridged_network_and_in_no_other(host):
    found = links(host)
    assert found["eth0"]["master"] == "br0"
    rows = json.loads(host.check_output("ip -j -4 route show default"))
    assert [row["dev"] for row in rows] == ["br0"]


def test_each_bridge_is_filtered_by_its_own_model(host):
    rules = host.check_output("nft list table inet virtnet")
    for model, bridge in (("isolated", "br1"), ("routed", "br2"), ("nat", "natbr0")):
        block = rules.split(f"set {model}_bridges {{", 1)[1].split("}", 2)[0]
        assert f'"{bridge}"' in block, block
    assert '"br0"' not in rules


def test_only_the_nat_network_is_translated(host):
    rules = host.check_output("nft list table inet virtnet")
    chain = rules.split("set masquerade4 {", 1)[1].split("}", 2)[0]
    assert "10.64." in chain
    assert "10.10." not in chain


def test_the_store_has_an_entry_a_network(host):
    stored = {Path(name).stem for name in host.file("/etc/virtnet/networks.d").listdir()}
    assert stored == set(NETWORKS)
