# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.links import batch, forms

TAP = {
    "name": "t0", "type": "tap", "state": "up", "mac": "02:00:00:00:00:01", "mtu": 1500, "bridge": None, "description": None,
    "addresses": [], "gateway": [], "routes": [], "owner": None, "group": None, "multi_queue": False, "vnet_hdr": False,
}
BRIDGE = {
    "name": "b0", "type": "bridge", "state": "up", "mac": "02:00:00:00:00:02", "mtu": 1500, "bridge": None, "description": None,
    "addresses": [], "gateway": [], "routes": [], "stp": False, "forward_delay": 15, "ageing": 300, "ipv6": True,
}
ETH = {
    "name": "e0", "type": "physical", "state": "up", "mac": "02:00:00:00:00:03", "mtu": 1500, "bridge": None, "description": None,
    "addresses": ["192.0.2.2/24", "2001:db8::2/64"], "gateway": ["192.0.2.1"],
    "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.9", "metric": 5}],
}


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({}, {}, []),
        ({}, {"mtu": 9000}, ["link set dev t0 mtu 9000"]),
        ({}, {"bridge": "b0"}, ["link set dev t0 master b0"]),
        ({"bridge": "b0"}, {"bridge": None}, ["link set dev t0 nomaster"]),
        # systemd 252 takes it for a new link, and must hear of the address that is there
        (
            {"bridge": "b0", "link_local": ["fe80::1/64 proto kernel_ll"]}, {"bridge": None},
            ["link set dev t0 nomaster", "address replace fe80::1/64 proto kernel_ll dev t0 scope link"],
        ),
        (
            {"bridge": "b0", "link_local": ["fe80::1/64"]}, {"bridge": None, "state": "down"},
            ["link set dev t0 down", "link set dev t0 nomaster"],
        ),
        ({"link_local": ["fe80::1/64"]}, {"bridge": "b0"}, ["link set dev t0 master b0"]),
        ({}, {"description": "two words"}, ['link set dev t0 alias "two words"']),
        ({"description": "x"}, {"description": None}, ['link set dev t0 alias ""']),
        ({}, {"addresses": ["10.0.0.1/24"]}, ["address replace 10.0.0.1/24 dev t0 broadcast +"]),
        ({}, {"addresses": ["10.0.0.1/31"]}, ["address replace 10.0.0.1/31 dev t0"]),
        ({}, {"addresses": ["fd00::1/64"]}, ["address replace fd00::1/64 dev t0"]),
        # the kernel drops secondaries with their primary: what stays is said again
        (
            {"addresses": ["10.0.0.1/24", "10.0.0.2/24"]}, {"addresses": ["10.0.0.2/24"]},
            ["address del 10.0.0.1/24 dev t0", "address replace 10.0.0.2/24 dev t0 broadcast +"],
        ),
        (
            {"addresses": ["10.0.0.1/24", "10.0.0.2/24"]}, {"addresses": []},
            ["address del 10.0.0.2/24 dev t0", "address del 10.0.0.1/24 dev t0"],
        ),
        ({}, {"routes": [{"to": "10.9.0.0/16", "via": None, "metric": None}]}, ["route replace 10.9.0.0/16 dev t0 proto static"]),
        ({}, {"gateway": ["fd00::9"]}, ["route replace ::/0 via fd00::9 dev t0 proto static"]),
        ({"gateway": ["10.0.0.9"]}, {"gateway": []}, ["route del 0.0.0.0/0 via 10.0.0.9 dev t0"]),
        ({}, {"state": "down"}, ["link set dev t0 down"]),
        ({"state": "down"}, {}, ["link set dev t0 up"]),
        (
            {"state": "down", "addresses": ["10.0.0.1/24"]},
            {"addresses": ["10.0.0.1/24", "fd00::1/64"], "gateway": ["10.0.0.9"]},
            ["address replace fd00::1/64 dev t0", "link set dev t0 up",
             "route replace 0.0.0.0/0 via 10.0.0.9 dev t0 proto static"],
        ),
        (
            {}, {"owner": "nobody"},
            ["link delete dev t0", "tuntap add dev t0 mode tap user nobody", "link set dev t0 address 02:00:00:00:00:01",
             "link set dev t0 mtu 1500", "link set dev t0 up"],
        ),
    ],
)
def test_changes(before, after, lines):
    assert batch.change({**TAP, **before}, {**TAP, **after}) == lines


@pytest.mark.parametrize("form", [TAP, BRIDGE, ETH], ids=lambda form: form["type"])
def test_a_link_becomes_another_one_only_by_what_its_kind_has(form):
    assert not batch.is_another(form, dict(form))
    assert batch.is_another(form, {**form, "type": "tun"})
    assert batch.is_another(TAP, {**TAP, "owner": "libvirt-qemu"})


def test_nothing_and_something():
    assert batch.between(None, None) == []
    assert batch.between(TAP, None) == ["link delete dev t0"]
    assert batch.between(None, {**BRIDGE, "state": "down", "ipv6": False}) == [
        "link add name b0 type bridge stp_state 0 forward_delay 1500", "link set dev b0 addrgenmode none",
        "link set dev b0 address 02:00:00:00:00:02", "link set dev b0 mtu 1500",
    ]
    assert batch.between(None, {**BRIDGE, "made": True})[0].startswith("link set dev b0 type bridge ")


def test_the_uplink_moves_and_comes_back():
    port = {**ETH, "bridge": "b0", "addresses": [], "gateway": [], "routes": []}
    bridge = {**BRIDGE, **{key: ETH[key] for key in ("mac", "addresses", "gateway", "routes")}}
    lines = batch.moved(None, bridge, [(ETH, port)])
    assert lines[0].startswith("link add name b0")
    order = [
        "link set dev b0 up", "link set dev e0 master b0", "route del 0.0.0.0/0 via 192.0.2.1 dev e0",
        "address del 192.0.2.2/24 dev e0",
        "address replace 192.0.2.2/24 dev b0 broadcast +", "address replace 2001:db8::2/64 dev b0 nodad",
        "route replace 0.0.0.0/0 via 192.0.2.1 dev b0 proto static",
    ]
    assert [line for line in lines if line in order] == order
    back = batch.moved(bridge, None, [(port, ETH)])
    assert back == [
        "link delete dev b0", "address replace 192.0.2.2/24 dev e0 broadcast +", "address replace 2001:db8::2/64 dev e0 nodad",
        "route replace 198.51.100.0/24 via 192.0.2.9 dev e0 metric 5 proto static",
        "route replace 0.0.0.0/0 via 192.0.2.1 dev e0 proto static",
    ]


def test_what_came_by_dhcp_moves_too():
    source = forms.Link(
        {"name": "e0"}, {},
        dynamic=[{"family": "inet", "local": "192.0.2.7", "prefixlen": 24, "valid_life_time": 100, "preferred_life_time": 90}],
        dynamic_routes=[
            {"dst": "default", "gateway": "192.0.2.1", "protocol": "dhcp", "metric": 1024},
            {"dst": "default", "gateway": "fe80::1", "protocol": "ra", "metric": 1024},
        ],
    )
    assert batch.dynamic_away(source)[-1] == "address del 192.0.2.7/24 dev e0"
    assert batch.dynamic_onto("b0", source) == [
        "address replace 192.0.2.7/24 dev b0 broadcast + valid_lft 100 preferred_lft 90",
        "route replace 0.0.0.0/0 via 192.0.2.1 dev b0 metric 1024 proto dhcp",
        "route replace ::/0 via fe80::1 dev b0 proto ra expires 60",
    ]


def test_a_gateway_s_subnet_may_be_of_an_address_by_dhcp():
    """dhclient marks its address, not its route."""
    row = {"family": "inet", "local": "192.0.2.7", "prefixlen": 24, "valid_life_time": 9, "preferred_life_time": 9}
    eth = {**ETH, "addresses": [], "routes": []}
    port, bridge = {**eth, "bridge": "b0", "gateway": []}, {**BRIDGE, "gateway": eth["gateway"]}
    arrives = "address replace 192.0.2.7/24 dev {} broadcast + valid_lft 9 preferred_lft 9"
    goes = "address del 192.0.2.7/24 dev e0"
    lines = batch.moved(None, bridge, [(eth, port)], forms.Link(eth, {}, dynamic=[row]), "b0")
    order = [
        "route del 0.0.0.0/0 via 192.0.2.1 dev e0", goes, arrives.format("b0"),
        "route replace 0.0.0.0/0 via 192.0.2.1 dev b0 proto static",
    ]
    assert [line for line in lines if line in order] == order
    assert batch.moved(bridge, None, [(port, eth)], forms.Link(bridge, {}, dynamic=[row]), "e0") == [
        "link delete dev b0", arrives.format("e0"), "route replace 0.0.0.0/0 via 192.0.2.1 dev e0 proto static",
    ]


def test_the_way_to_a_gateway_comes_before_it():
    rows = [
        {"dst": "default", "gateway": "192.0.2.1", "protocol": "dhcp", "metric": 1002, "prefsrc": "192.0.2.7"},
        {"dst": "192.0.2.0/24", "protocol": "dhcp", "metric": 1002, "prefsrc": "192.0.2.7"},
    ]
    assert batch.dynamic_onto("b0", forms.Link({"name": "e0"}, {}, dynamic_routes=rows)) == [
        "route replace 192.0.2.0/24 dev b0 metric 1002 proto dhcp src 192.0.2.7",
        "route replace 0.0.0.0/0 via 192.0.2.1 dev b0 metric 1002 proto dhcp src 192.0.2.7",
    ]


def test_an_address_without_a_route_of_the_kernels_moves_without_one():
    row = {"family": "inet6", "local": "2001:db8::7", "prefixlen": 64, "noprefixroute": True, "valid_life_time": 9}
    source = forms.Link({"name": "e0"}, {}, dynamic=[row], dynamic_routes=[])
    assert batch.dynamic_onto("b0", source) == [
        "address replace 2001:db8::7/64 dev b0 nodad noprefixroute valid_lft 9 preferred_lft 60",
    ]


def test_many_deletions_are_one():
    lines = ["link delete dev a", "link delete dev b"]
    assert batch.grouped(lines) == ["link set dev a group 30318", "link set dev b group 30318", "link delete group 30318"]
    assert batch.grouped(lines[:1]) == lines[:1]
    mixed = [*lines, "link set dev c up"]
    assert batch.grouped(mixed) is mixed


@pytest.mark.parametrize(
    ("row", "route"),
    [
        ({"dst": "default", "gateway": "10.0.0.1"}, {"to": "0.0.0.0/0", "via": "10.0.0.1", "metric": None}),
        ({"dst": "default", "gateway": "fe80::1", "metric": 1024}, {"to": "::/0", "via": "fe80::1", "metric": None}),
        ({"dst": "10.9.0.1"}, {"to": "10.9.0.1/32", "via": None, "metric": None}),
        ({"dst": "fd00::/64", "metric": 50}, {"to": "fd00::/64", "via": None, "metric": 50}),
        ({"dst": "10.0.0.0/8", "type": "blackhole"}, None),
        ({"dst": "default", "nexthops": [{}]}, None),
    ],
)
def test_routes_as_the_kernel_has_them(row, route):
    assert forms.route(row) == route


def test_a_link_is_read():
    rows = [
        {"ifname": "b0", "flags": ["UP"], "link_type": "ether", "address": "02:00:00:00:00:02", "mtu": 1500,
         "linkinfo": {"info_kind": "bridge", "info_data": {"stp_state": 1, "forward_delay": 200, "ageing_time": 30000}}},
        {"ifname": "vnet0", "flags": [], "link_type": "ether", "master": "b0", "mtu": 1500,
         "linkinfo": {"info_kind": "tun", "info_data": {"type": "tap", "persist": False}}},
    ]
    addresses = [{"ifname": "b0", "addr_info": [
        {"family": "inet", "local": "10.0.0.1", "prefixlen": 24, "scope": "global"},
        {"family": "inet", "local": "10.0.0.7", "prefixlen": 24, "scope": "global", "dynamic": True},
        {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"},
        {"family": "inet6", "local": "fe80::2", "prefixlen": 64, "scope": "link", "protocol": "kernel_ll"},
        {"family": "inet6", "local": "fe80::3", "prefixlen": 64, "scope": "link", "tentative": True},
    ]}]
    routes = [
        {"dst": "default", "gateway": "10.0.0.9", "dev": "b0", "protocol": "static"},
        {"dst": "10.0.0.0/24", "dev": "b0", "protocol": "kernel"},
        {"dst": "default", "gateway": "fe80::9", "dev": "b0", "protocol": "ra", "metric": 1024},
    ]
    found = forms.links(rows, addresses, routes)
    form = found["b0"].form
    assert (form["addresses"], form["gateway"], form["routes"]) == (["10.0.0.1/24"], ["10.0.0.9"], [])
    assert (form["stp"], form["forward_delay"], form["ageing"]) == (True, 2, 300)
    assert [row["local"] for row in found["b0"].dynamic] == ["10.0.0.7"]
    assert [row["protocol"] for row in found["b0"].dynamic_routes] == ["ra"]
    assert found["b0"].link_local == ["fe80::1/64", "fe80::2/64 proto kernel_ll"] and not found["vnet0"].link_local
    assert found["b0"].ports == ["vnet0"] and found["vnet0"].guest_tap


def test_a_bridge_that_goes_gives_its_port_back():
    inside = {**ETH, "bridge": "b0", "addresses": [], "gateway": [], "routes": [], "link_local": ["fe80::3/64"]}
    lines = batch.moved(BRIDGE, None, [(inside, ETH)])
    assert lines[:2] == ["link delete dev b0", "address replace fe80::3/64 dev e0 scope link"]


def test_a_bridge_with_routes_goes_down():
    before = {**BRIDGE, "addresses": ["10.0.0.1/24", "fd00::1/64"], "gateway": ["10.0.0.9"]}
    after = {**BRIDGE, "state": "down", "addresses": ["10.0.0.1/24"]}
    assert batch.moved(before, after, []) == ["link set dev b0 down"]


def test_only_what_changes_of_a_bridge_is_said_beside_the_forward_delay_which_depends_on_stp():
    after = {**BRIDGE, "hello_time": 1, "multicast_snooping": False}
    assert batch.change(BRIDGE, after) == [
        "link set dev b0 type bridge stp_state 0 forward_delay 1500 hello_time 100 mcast_snooping 0"
    ]
    assert batch.change({**BRIDGE, "hello_time": 2}, BRIDGE) == [], "a form from before these options were known"


def test_a_port_is_set_once_it_is_in_its_bridge_and_only_if_it_is_not_so_yet():
    inside = {**ETH, "addresses": [], "gateway": [], "routes": [], "bridge": "b0"}
    said = {**inside, "port": {"isolated": True, "cost": 5}}
    line = "link set dev e0 type bridge_slave isolated on cost 5"
    assert batch.change({**inside, "bridge": None}, said) == ["link set dev e0 master b0", line]
    assert batch.change({**inside, "port": {"isolated": False, "cost": 5}}, said) == [line]
    assert batch.change(said, said) == []
    assert batch.change(said, {**inside, "bridge": None}) == ["link set dev e0 nomaster"]


ADVERTISED = {"family": "inet6", "local": "2001:db8::7", "prefixlen": 64, "noprefixroute": True}
BARE = {"addresses": [], "gateway": [], "routes": []}


def test_an_advertised_address_goes_before_a_declared_one():
    """While one without a route of its own is there, the kernel leaves the route of another one's subnet on the link."""
    inside = {**ETH, "bridge": "b0", **BARE}
    bridge = {**BRIDGE, "mac": ETH["mac"], "addresses": ETH["addresses"]}
    lines = batch.moved(None, bridge, [(ETH, inside)], forms.Link(ETH, {}, dynamic=[ADVERTISED]), "b0")
    assert lines.index("address del 2001:db8::7/64 dev e0") < lines.index("address del 2001:db8::2/64 dev e0")
    # And out of a bridge that stays.
    other = forms.Link(bridge, {}, dynamic=[ADVERTISED])
    lines = batch.moved(bridge, {**bridge, **BARE}, [(inside, ETH)], other, "e0")
    assert lines.index("address del 2001:db8::7/64 dev b0") < lines.index("address del 2001:db8::2/64 dev b0")


def test_on_a_way_back_what_came_meanwhile_goes_first():
    inside = {**ETH, "bridge": "b0", **BARE}
    bridge = {**BRIDGE, "mac": ETH["mac"], "addresses": ETH["addresses"]}
    lines = batch.moved(None, bridge, [(ETH, inside)], later=True)
    assert lines.index("address flush dev e0 dynamic") < lines.index("address del 2001:db8::2/64 dev e0")
    assert "address flush dev b0 dynamic" not in lines
    assert not any("flush" in line for line in batch.moved(None, bridge, [(ETH, inside)]))
    # What keeps an address keeps what came with it.
    assert not any("flush" in line for line in batch.change(ETH, {**ETH, "addresses": ["192.0.2.2/24"]}, later=True))
