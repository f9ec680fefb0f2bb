# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

STEPS = [
    {"mtu": 1400, "addresses": ["10.98.0.1/24", "fd00:98::1/64"], "routes": []},
    {"routes": [{"to": "10.97.0.0/16", "via": "10.98.0.9"}, {"to": "fd00:97::/64", "via": "fd00:98::9", "metric": 50}]},
    {"mac": "02:00:00:00:00:55", "description": "the second cable", "addresses": ["10.98.0.2/24"], "routes": []},
    {"addresses": ["10.98.0.2/24", "fd00:98::2/64"], "routes": [{"to": "10.96.0.0/16", "via": "10.98.0.9"}]},
    {"state": "down"},
    {"state": "up"},
    {"addresses": [], "routes": []},
]


@pytest.fixture
def veth(host):
    """A link of somebody else's, with a file of systemd-networkd."""
    host.run_test("ip link add lnketh1 type veth peer name lnketh1p && ip link set lnketh1p up")
    host.run_test(
        "printf '[Match]\\nName=lnketh1\\n\\n[Network]\\nAddress=10.95.0.1/24\\nIPv6AcceptRA=no\\nConfigureWithoutCarrier=yes\\n"
        "LLDP=no\\n\\n[Route]\\nDestination=10.94.0.0/16\\nGateway=10.95.0.9\\n' > /etc/systemd/network/60-lnketh1.network"
        " && networkctl reload && networkctl up lnketh1 && sleep 1"
    )
    yield "lnketh1"
    host.run_test("rm -f /etc/systemd/network/60-lnketh1.network; ip link del lnketh1; networkctl reload")


def look(host, name):
    return host.check_output(
        f"ip -o address show {name} | grep -v ' fe80:' | sed 's/^[0-9]*: //; s/ tentative//; s/valid_lft.*//';"
        f" ip -o link show {name} | grep -o 'mtu [0-9]*\\|ether [^ ]*';"
        f" ip route show dev {name}; ip -6 route show dev {name} | sed 's/ expires.*//; s/nhid [0-9]* //';"
        " ls /etc/systemd/network"
    )


@pytest.mark.parametrize("manager", ["networkd", "none"])
def test_cycle(host, modules, veth, manager):
    before = look(host, veth)
    steps = STEPS if manager == "networkd" else STEPS[:4] + STEPS[6:]
    try:
        for step in steps:
            modules.step("host_iface", "interfaces", interfaces=[{"name": veth, **step}], manager=manager)
    finally:
        modules.run("host_iface", interfaces=[{"name": veth, "state": "absent"}], manager=manager)
    assert look(host, veth) == before
    assert not modules.run("host_iface", interfaces=[{"name": veth, "state": "absent"}], manager=manager)["changed"]


def test_what_the_own_file_says_stays(host, modules, veth):
    modules.run("host_iface", interfaces=[{"name": veth, "mtu": 1400}])
    try:
        text = host.file("/etc/systemd/network/00-virtnet-lnketh1.network").content_string
        for line in ("MTUBytes=1400", "Address=10.95.0.1/24", "LLDP=no", "Destination=10.94.0.0/16", "Name=lnketh1"):
            assert line in text
    finally:
        modules.run("host_iface", interfaces=[{"name": veth, "state": "absent"}])


def test_nothing_to_do_writes_nothing(host, modules):
    result = modules.run("host_iface", interfaces=[{"name": "eth0", "addresses": sorted(modules.static("eth0"))}])
    assert not result["changed"] and not host.file("/etc/systemd/network/00-virtnet-eth0.network").exists


def test_the_uplink_gets_an_mtu_and_gives_it_back(host, modules):
    """A larger one: with a smaller one than the others of the LAN have, their full frames are lost, and the connection hangs."""
    before = look(host, "eth0")
    modules.step("host_iface", "interfaces", interfaces=[{"name": "eth0", "mtu": 1600}])
    modules.step("host_iface", "interfaces", interfaces=[{"name": "eth0", "state": "absent"}])
    assert look(host, "eth0") == before


def sets(name, **wanted):
    rows = [{"name": key, "routes": [{"to": to, "via": via} for to, via in routes.items()]} for key, routes in wanted.items()]
    return {"interfaces": [{"name": name, "state": "present", "route_sets": rows}]}


def test_routes_that_others_ask_for_stand_beside_all_others(host, modules, veth):
    """Three ask for routes, each takes its own back, and the administrator's stay."""
    host.run_test("ip route add 10.93.0.0/16 via 10.95.0.8 dev lnketh1 proto static")
    before = look(host, veth)
    modules.step("host_iface", "interfaces", **sets(veth, a={"10.91.0.0/16": "10.95.0.7", "10.93.0.0/16": "10.95.0.8"}))
    modules.run("host_iface", **sets(veth, b={"10.91.0.0/16": "10.95.0.7"}, c={"10.90.0.0/16": "10.95.0.7"}))
    modules.step("host_iface", "interfaces", **sets(veth, c={"10.90.0.0/16": "10.95.0.6"}))
    said = host.check_output("ip route show dev lnketh1")
    assert "10.91.0.0/16 via 10.95.0.7" in said and "10.90.0.0/16 via 10.95.0.6" in said and "10.94.0.0/16" in said
    modules.run("host_iface", **sets(veth, a={}, c={}))
    said = host.check_output("ip route show dev lnketh1")
    assert "10.91.0.0/16" in said and "10.93.0.0/16" in said and "10.90.0.0/16" not in said
    modules.step("host_iface", "interfaces", **sets(veth, b={}))
    assert look(host, veth) == before
    assert not host.file("/etc/virtnet/routes.d").exists


def test_what_else_is_declared_of_a_link_with_such_routes(host, modules, veth):
    before = look(host, veth)
    modules.run("host_iface", **sets(veth, a={"10.91.0.0/16": "10.95.0.7"}))
    modules.step("host_iface", "interfaces", interfaces=[{"name": veth, "mtu": 1400, "routes": []}])
    assert "10.91.0.0/16" in host.check_output("ip route show dev lnketh1")
    modules.step("host_iface", "interfaces", **sets(veth, a={}))
    said = host.check_output("ip route show dev lnketh1; ip link show lnketh1")
    assert "10.91.0.0/16" not in said and "mtu 1400" in said
    modules.step("host_iface", "interfaces", interfaces=[{"name": veth, "state": "absent"}])
    assert look(host, veth) == before


def test_such_routes_on_a_bridge_of_ours(host, modules):
    bridge = {"name": "lnkbr7", "addresses": ["10.95.7.1/24"], "routes": []}
    modules.run("host_bridge", bridges=[bridge])
    try:
        modules.step("host_iface", "interfaces", **sets("lnkbr7", a={"10.91.0.0/16": "10.95.7.7"}))
        assert not modules.run("host_bridge", bridges=[bridge])["changed"]
        assert "10.91.0.0/16 via 10.95.7.7" in host.check_output("ip route show dev lnkbr7")
        # As after the boot of a host without udev: only its files say whose it is.
        host.run_test("ip link set dev lnkbr7 alias ''")
        modules.step("host_iface", "interfaces", **sets("lnkbr7", a={"10.91.0.0/16": "10.95.7.8"}))
        assert host.file("/etc/systemd/network/00-virtnet-lnkbr7.netdev").exists
        modules.step("host_iface", "interfaces", **sets("lnkbr7", a={}))
        assert not modules.run("host_bridge", bridges=[bridge])["changed"]
        assert "10.91.0.0/16" not in host.check_output("ip route show dev lnkbr7")
    finally:
        modules.run("host_bridge", bridges=[{"name": "lnkbr7", "state": "absent"}])


def test_such_routes_take_nobodys_place(host, modules, veth):
    for to in ("10.95.0.0/24", "10.94.0.0/16"):
        assert f"there is a route to {to} already" in modules.refused("host_iface", **sets(veth, a={to: "10.95.0.7"}))
    assert "no default route" in modules.refused("host_iface", **sets(veth, a={"0.0.0.0/0": "10.95.0.7"}))


def test_a_route_does_not_lose_its_gateway(host, modules, veth):
    before = look(host, veth)
    item = {"name": veth, "addresses": ["10.98.0.1/24"]}
    assert "the gateway 10.95.0.9 to 10.94.0.0/16" in modules.refused("host_iface", interfaces=[item])
    assert look(host, veth) == before


def test_refusals(host, modules):
    assert "no link of that name" in modules("host_iface", interfaces=[{"name": "lnknone"}])["msg"]
    assert "loopback" in modules.refused("host_iface", interfaces=[{"name": "lo", "mtu": 1500}])
    assert "two gateways" in modules.refused("host_iface", interfaces=[{"name": "eth0", "gateway": ["10.0.0.1", "10.0.0.2"]}])
    modules.run("tap_iface", taps=[{"name": "lnktap0"}])
    try:
        assert "tap_iface" in modules.refused("host_iface", interfaces=[{"name": "lnktap0"}])
    finally:
        modules.run("tap_iface", taps=[{"name": "lnktap0", "state": "absent"}])
