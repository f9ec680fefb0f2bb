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
