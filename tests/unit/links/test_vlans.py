# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.links import vlans
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import (
    ifupdown_files,
    networkd_files,
    networkmanager_files,
)
from hypothesis import given
from hypothesis import strategies as st

TRUNK = {"pvid": 5, "untagged": ["5"], "tagged": ["20-29", "40"]}


def kernel(lines, table):
    """What the kernel makes of lines: br_vlan_add() gives a VLAN new flags, and there is one PVID."""
    table = dict(table)
    for words in (line.split() for line in lines):
        first, _dash, last = words[5].partition("-")
        for one in range(int(first), int(last or first) + 1):
            if words[1] == "del":
                table.pop(one, None)
            else:
                if "pvid" in words:
                    table = {other: (False, bare) for other, (_pvid, bare) in table.items()}
                table[one] = ("pvid" in words, "untagged" in words)
    return table


@st.composite
def forms(draw):
    numbers = st.sets(st.integers(1, 30))
    tagged = draw(numbers)
    untagged = draw(numbers) - tagged
    pvid = draw(st.none() | st.sampled_from(sorted(tagged | untagged | {4094})))
    return vlans.parse({"pvid": pvid, "untagged": list(map(str, untagged)), "tagged": list(map(str, tagged))}, "vlans", "eth0")


@given(forms(), forms())
def test_the_lines_lead_from_any_form_to_any_other(before, after):
    assert kernel(vlans.lines("eth0", before, after), vlans.table(before)) == vlans.table(after)
    assert vlans.lines("eth0", after, after) == []


@given(forms())
def test_a_normal_form_is_its_own_and_what_the_kernel_says_of_it(form):
    assert vlans.parse(form, "vlans", "eth0") == form
    rows = [
        {"vlan": one, "flags": ["PVID"] * pvid + ["Egress Untagged"] * bare} for one, (pvid, bare) in vlans.table(form).items()
    ]
    assert vlans.of_rows([{"ifname": "eth0", "vlans": rows}]) == {"eth0": form}


def test_ranges_as_the_kernel_has_them():
    rows = [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 20, "vlanEnd": 29}, {"vlan": 30}]
    assert vlans.of_rows([{"ifname": "eth0", "vlans": rows}])["eth0"] == {"pvid": 1, "untagged": ["1"], "tagged": ["20-30"]}


@pytest.mark.parametrize(
    ("item", "option"),
    [
        ({"tagged": ["0"]}, "vlans.tagged[0]"),
        ({"tagged": ["4", "4095"]}, "vlans.tagged[1]"),
        ({"untagged": ["20-10"]}, "vlans.untagged[0]"),
        ({"untagged": ["ten"]}, "vlans.untagged[0]"),
        ({"pvid": 4095}, "vlans.pvid"),
        ({"untagged": ["1-5"], "tagged": ["5"]}, "vlans.tagged"),
    ],
)
def test_refused(item, option):
    with pytest.raises(InvalidInput) as caught:
        vlans.parse(item, "vlans", "eth0")
    assert caught.value.option == option


def test_an_untagged_pvid_unless_it_is_tagged():
    assert vlans.parse({"pvid": 5}, "vlans", "eth0") == {"pvid": 5, "untagged": ["5"], "tagged": []}
    assert vlans.parse({"pvid": 5, "tagged": ["5-6"]}, "vlans", "eth0") == {"pvid": 5, "untagged": [], "tagged": ["5-6"]}


@pytest.mark.parametrize(
    ("form", "old", "new", "after"),
    [
        (vlans.default(1), 1, 0, vlans.NONE),
        (vlans.NONE, 0, 7, vlans.default(7)),
        (TRUNK, 0, 1, {"pvid": 1, "untagged": ["1", "5"], "tagged": ["20-29", "40"]}),
        (TRUNK, 5, 6, {"pvid": 6, "untagged": ["6"], "tagged": ["20-29", "40"]}),
        (TRUNK, 5, 20, TRUNK),
        (TRUNK, 1, 6, TRUNK),
    ],
)
def test_another_default(form, old, new, after):
    assert vlans.with_default(form, old, new) == after


@pytest.mark.parametrize(
    ("declared", "filtering", "default", "option"),
    [
        ({"bridges[1].vlans": TRUNK}, False, 0, "bridges[1].vlan_filtering"),
        ({"bridges[1].vlans": vlans.NONE}, False, 1, "bridges[1].vlan_filtering"),
        ({"bridges[1].vlans": TRUNK}, True, 1, "bridges[1].vlans"),
        ({"a": vlans.default(1), "b": TRUNK, "c": TRUNK}, True, 1, "b"),
    ],
)
def test_vlans_that_would_be_none(declared, filtering, default, option):
    with pytest.raises(InvalidInput) as caught:
        vlans.check(declared, filtering, default, "bridges[1]", "br0")
    assert (caught.value.option, caught.value.subject) == (option, "br0")


@pytest.mark.parametrize(
    ("declared", "filtering", "default"),
    [
        ({}, False, 1), ({}, True, 1), ({"a": TRUNK}, True, 0), ({"a": TRUNK, "b": vlans.default(5)}, True, 5),
        ({"a": TRUNK}, True, 20),
    ],
)
def test_vlans_that_are_some(declared, filtering, default):
    vlans.check(declared, filtering, default, "bridges[1]", "br0")


@pytest.mark.parametrize(
    ("former", "default", "after"),
    [
        (None, 1, vlans.default(1)), (None, 0, vlans.NONE), ((TRUNK, 1), 1, TRUNK),
        ((TRUNK, 5), 6, {"pvid": 6, "untagged": ["6"], "tagged": ["20-29", "40"]}),
    ],
)  # fmt: skip
def test_a_bridges_own_that_nobody_declares(former, default, after):
    assert vlans.kept(former, default) == after


def test_networkd():
    text = networkd_files.port("eth1", "br0", options={"vlans": TRUNK})
    assert "\n\n[BridgeVLAN]\nVLAN=20-29\n\n[BridgeVLAN]\nVLAN=40\n\n[BridgeVLAN]\nPVID=5\nEgressUntagged=5\n\n" in text
    every = {"vlans": TRUNK, "cost": 5, "isolated": True}
    for base in ("", text, "[Match]\nName=eth1\n[Link]\nWakeOnLan=magic\n"):
        once = networkd_files.port("eth1", "br0", base, options=every)
        assert networkd_files.port("eth1", "br0", once, options=every) == once
    # What is not declared stays, what is declared is all there is.
    assert networkd_files.port("eth1", "br0", text, options={"cost": 5}).count("[BridgeVLAN]") == 3
    assert "BridgeVLAN" not in networkd_files.port("eth1", "br0", text, options={"vlans": vlans.NONE})


def test_networkmanager():
    assert networkmanager_files._vlans(TRUNK) == "20-29, 40, 5 pvid untagged"


def test_ifupdown():
    text = ifupdown_files.port("eth1", "br0", "virtnet-port-eth1", options={"vlans": TRUNK})
    found = [line.partition("|| ")[2] for line in text.splitlines() if "bridge vlan " in line]
    assert found == [
        "bridge vlan del dev $IFACE vid 1-4094",
        "bridge vlan add dev $IFACE vid 20-29",
        "bridge vlan add dev $IFACE vid 40",
        "bridge vlan add dev $IFACE vid 5 pvid untagged",
    ]
    again = ifupdown_files.port("eth1", "br0", "virtnet-port-eth1", text, options={"cost": 5})
    assert [line.partition("|| ")[2] for line in again.splitlines() if "bridge vlan " in line] == found
    assert "cost 5" in again


def test_a_port_that_ifupdown_sets_up_before_its_bridge():
    """The bridge's own default, set later, must not take a VLAN away that the port has: it is made without one."""
    made = "ip link add name br0 type bridge"
    text = ifupdown_files.port("eth1", "br0", "virtnet-port-eth1", options={"vlans": TRUNK})
    assert f"{made} vlan_default_pvid 0\n" in text
    # And again, of the file itself; a port without VLANs leaves it to the kernel.
    assert ifupdown_files.port("eth1", "br0", "virtnet-port-eth1", text, options={}) == text
    assert f"{made}\n" in ifupdown_files.port("eth1", "br0", "virtnet-port-eth1", options={"cost": 5})
