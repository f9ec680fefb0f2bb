# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.filter import return_routes as filters
from ansible_collections.virtnet.kvm.plugins.module_utils.links import declared

GROUPS = {"kvm_hosts": ["kvm1", "kvm2"], "gateway": ["gateway1"], "outside": ["outside1"]}


def network(mode="static", peers=None, **more):
    return {
        "name": "routenet", "model": "routed", "addresses": ["10.10.110.100/24", "fd00:10:110::100/64"],
        "return_routes": {"mode": mode, **({"peers": peers} if peers is not None else {})}, **more,
    }  # fmt: skip


def offer(*networks, peers=()):
    return filters.return_offer(list(networks), "kvm1", peers, GROUPS)


def link(name, *addresses, kind="physical", default=False, **more):
    rows = [{"address": one, "scope": "global", "dynamic": False} for one in addresses]
    routes = [{"to": "0.0.0.0/0", "via": "10.77.0.1", "metric": None, "protocol": "static"}] if default else []
    return {"name": name, "type": kind, "addresses": rows, "routes": routes, "ports": [], "manager": None, **more}


BOTH = ["10.10.110.0/24", "fd00:10:110::/64"]


@pytest.mark.parametrize(
    ("item", "peers", "found"),
    [
        (network(peers=["gateway", "outside1"]), [], {"gateway1": BOTH, "outside1": BOTH}),
        (network(), "gateway", {"gateway1": BOTH}),
        # Its own peers come first; the others give back what they may have got.
        (network(peers=["outside1"]), ["gateway1"], {"gateway1": [], "outside1": BOTH}),
        # Nobody tells itself.
        (network(peers=["kvm_hosts"]), [], {"kvm2": BOTH}),
        (network("none", ["gateway1"]), [], {"gateway1": []}),
        (network(state="absent"), ["gateway1"], {"gateway1": []}),
        (network(hosts=["kvm2"]), ["gateway1"], {}),
        ({"name": "natnet", "model": "nat", "addresses": ["10.64.100.1/24"]}, [], {}),
    ],
)
def test_who_is_told(item, peers, found):
    assert offer(item, peers=peers) == {peer: {f"kvm1/{item['name']}": told} for peer, told in found.items()}


@pytest.mark.parametrize(
    ("item", "peers", "says"),
    [
        (network(peers=["gatewya1"]), [], r"peers\[0\]: gatewya1: the inventory has neither"),
        (network(), ["gatewya1"], r"route_exchange_peers\[0\]: gatewya1"),
        (network(), [], "nobody is named"),
        (network(), ["kvm1"], "nobody is named"),
        (network(model="nat"), ["gateway1"], "only routed networks|model nat"),
        (network("dynamic"), [], "mode"),
    ],
)
def test_refusals(item, peers, says):
    with pytest.raises(AnsibleFilterError, match=f"return_offer: .*({says})"):
        offer(item, peers=peers)


def routes(peer_links, links, told=tuple(BOTH)):
    return filters.return_routes({"kvm1": {"peer": {"kvm1/routenet": list(told)}}}, "peer", {"kvm1": links}, peer_links)


HOST = [
    link("lo", "127.0.0.1/8", kind="loopback"), link("natbr0", "10.64.100.1/24", kind="bridge", manager="libvirt"),
    link("br2", "10.10.110.100/24", kind="bridge", ports=["virnet0"]), link("virnet0", kind="tap"),
    link("eth1", "192.0.2.11/24"), link("eth0", "10.77.0.11/24", "fd77::11/64", default=True),
]  # fmt: skip
WAY = [{"to": BOTH[0], "via": "10.77.0.11"}, {"to": BOTH[1], "via": "fd77::11"}]


def test_over_which_link_and_by_which_address():
    (item,) = routes([link("eth5", "192.0.2.5/24"), link("lan0", "10.77.0.2/24", "fd77::2/64")], HOST)
    assert item == {"name": "lan0", "state": "present", "route_sets": [{"name": "kvm1/routenet", "routes": WAY}]}
    declared.parse([item], "interfaces")


def test_bridges_that_hold_guests_are_no_way():
    """Two hosts may well have the same bridges inside, even with other addresses."""
    peer = [
        link("natbr0", "10.64.100.2/24", kind="bridge", manager="libvirt"),
        link("br0", "10.77.0.12/24", "fd77::12/64", kind="bridge", ports=["eth0", "vnet3"]), link("eth0"),
        link("vnet3", kind="tap"), link("br2", "10.10.110.9/24", kind="bridge", ports=["vnet3"]),
    ]  # fmt: skip
    (item,) = routes(peer, [row for row in HOST if row["name"] != "eth1"])
    assert item["name"] == "br0" and item["route_sets"][0]["routes"] == WAY


def test_an_ip_version_that_they_do_not_share_is_left_out():
    (item,) = routes([link("eth0", "10.77.0.2/24")], HOST)
    assert item["route_sets"][0]["routes"] == WAY[:1]


def test_nothing_shared():
    with pytest.raises(AnsibleFilterError, match="return_routes: routenet: kvm1 and peer share no subnet"):
        routes([link("eth0", "10.78.0.2/24")], HOST)
    assert routes([link("eth0", "10.78.0.2/24")], HOST, told=[]) == []


def test_taking_back():
    (item,) = routes([link("eth0", "10.77.0.2/24", "fd77::2/64")], HOST, told=[])
    assert item["route_sets"] == [{"name": "kvm1/routenet", "routes": []}]


def test_several_hosts_in_one_call():
    other = [link("eth0", "10.77.0.12/24", default=True)]
    offers = {"kvm2": {"peer": {"kvm2/r": ["10.10.111.0/24"]}}, "kvm1": {"peer": {"kvm1/r": [BOTH[0]]}, "else": {"kvm1/r": []}}}
    (item,) = filters.return_routes(offers, "peer", {"kvm1": HOST, "kvm2": other}, [link("eth0", "10.77.0.2/24")])
    assert [one["name"] for one in item["route_sets"]] == ["kvm1/r", "kvm2/r"]
    assert item["route_sets"][1]["routes"] == [{"to": "10.10.111.0/24", "via": "10.77.0.12"}]


def test_they_are_named():
    assert set(filters.FilterModule().filters()) == {"return_offer", "return_routes"}
