# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.filter import host_links as filters
from ansible_collections.virtnet.kvm.plugins.module_utils.links import declared, spec

NOTHING = {"taps": [], "bridges": []}


class Tagged(str):
    """As ansible-core 2.19's strings: not of the type str."""


def routed(**more):
    return {
        "name": "routenet", "model": "routed", "bridge": "br2", "bridge_owner": "host",
        "addresses": ["10.64.131.1/24", "fd00:64:131::1/64"], **more,
    }  # fmt: skip


def isolated(**more):
    return {"name": "isonet", "model": "isolated", "bridge_owner": "host", **more}


def bridged(**more):
    return {"name": "lan", "model": "bridged", "bridge": "br0", **more}


@pytest.mark.parametrize(
    ("item", "taps", "bridges"),
    [
        (
            routed(),
            [],
            [{"name": "br2", "state": "up", "ports": [], "stp": False, "addresses": ["10.64.131.1/24", "fd00:64:131::1/64"]}],
        ),
        (
            routed(carrier_tap="virnet0", mtu=9000, stp=True, routes=[{"to": "10.9.0.0/16", "via": "10.64.131.9"}]),
            [{"name": "virnet0", "state": "up", "mtu": 9000}],
            [
                {
                    "name": "br2", "state": "up", "ports": ["virnet0"], "stp": True, "mtu": 9000,
                    "addresses": ["10.64.131.1/24", "fd00:64:131::1/64"], "routes": [{"to": "10.9.0.0/16", "via": "10.64.131.9"}],
                }
            ],
        ),
        # The default name; no address is declared, so none of the bridge's is touched.
        (isolated(), [], [{"name": "vn2559a6ba", "state": "up", "ports": [], "stp": False}]),
        (
            isolated(addresses=[], state="inactive"),
            [],
            [{"name": "vn2559a6ba", "state": "up", "ports": [], "stp": False, "addresses": []}],
        ),
        (bridged(uplink="eth0"), [], [{"name": "br0", "state": "up", "ports": ["eth0"], "stp": False, "take_over": True}]),
        (
            routed(state="absent", carrier_tap="virnet0"),
            [{"name": "virnet0", "state": "absent"}],
            [{"name": "br2", "state": "absent"}],
        ),
        (bridged(uplink="eth0", state="absent"), [], [{"name": "br0", "state": "absent"}]),
    ],
)  # fmt: skip
def test_what_a_network_needs(item, taps, bridges):
    found = filters.host_links([item])
    assert found == {"taps": taps, "bridges": bridges}
    # The modules take it as it is.
    options = spec.module_options("bridges", ports={}, take_over={}, gateway={}, dns={}, routes={}, stp={})["bridges"]["options"]
    assert {key for one in found["bridges"] + found["taps"] for key in one} <= set(options)
    declared.parse(found["taps"], "taps")
    declared.parse(found["bridges"], "bridges")


@pytest.mark.parametrize(
    "item",
    [
        routed(bridge_owner="libvirt"), {"name": "natnet", "model": "nat", "addresses": ["10.1.0.1/24"]}, bridged(),
        bridged(uplink="eth0", attach="macvtap"), {"name": "gone", "state": "absent"}, isolated(bridge_owner="libvirt"),
    ],
)  # fmt: skip
def test_most_networks_need_none(item):
    assert filters.host_links([item]) == NOTHING


def test_several_networks_keep_their_order():
    items = [bridged(uplink="eth0"), routed(carrier_tap="virnet0"), isolated(carrier_tap="t1")]
    found = filters.host_links(items)
    assert [one["name"] for one in found["bridges"]] == ["br0", "br2", "vn2559a6ba"]
    assert [one["name"] for one in found["taps"]] == ["virnet0", "t1"]


def test_values_of_plays_are_taken_as_modules_take_them():
    item = routed(stp=Tagged("false"), mtu=Tagged("9000"), bridge=Tagged("br2"))
    (bridge,) = filters.host_links([item])["bridges"]
    assert bridge["stp"] is False and bridge["mtu"] == 9000
    assert bridge["name"].__class__ is str


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([{"model": "routed"}], "name"),
        ([routed(colour="red")], "colour"),
        ([routed(model="bridge")], "bridge"),
        ([routed(carrier_tap="far-too-long-a-name")], r"networks\[0\]\.carrier_tap"),
        ([isolated(), routed(bridge_owner="libvirt", carrier_tap="virnet0")], r"networks\[1\]\.carrier_tap"),
        ([routed(addresses=["10.1"])], r"networks\[0\]\.addresses\[0\]"),
    ],
)
def test_bad_input_is_a_filter_error(items, says):
    with pytest.raises(AnsibleFilterError, match=f"host_links: .*{says}"):
        filters.host_links(items)


def test_what_must_be_there_already():
    items = [
        bridged(), {"name": "other", "model": "bridged"}, {**bridged(uplink="eth0", bridge="br1"), "name": "taken"},
        {"name": "direct", "model": "bridged", "attach": "macvtap", "uplink": "eth1"}, routed(),
        {"name": "gone", "model": "bridged", "bridge": "br9", "state": "absent"},
    ]  # fmt: skip
    assert filters.needed_links(items) == {"bridges": ["br0", "vnd9298a10"], "uplinks": ["eth1"]}
    with pytest.raises(AnsibleFilterError, match="needed_links: .*colour"):
        filters.needed_links([bridged(colour="red")])


def test_they_are_named():
    assert set(filters.FilterModule().filters()) == {"host_links", "needed_links"}
