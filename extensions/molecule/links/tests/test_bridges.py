# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

STEPS = [
    {"name": "lnkbr0"},
    {"name": "lnkbr0", "addresses": ["10.93.0.1/24", "fd00:93::1/64"], "ports": ["lnkport0"]},
    {"name": "lnkbr0", "stp": True, "forward_delay": 4, "ageing": 60, "mtu": 1400, "mac": "02:00:00:00:00:66"},
    {"name": "lnkbr0", "hello_time": 1, "max_age": 8, "priority": 4096, "multicast_snooping": False},
    {"name": "lnkbr0", "ports": ["lnkport0"], "port_options": [{"name": "lnkport0", "isolated": True, "priority": 8}]},
    {"name": "lnkbr0", "ports": ["lnkport0"], "port_options": [{"name": "lnkport0", "isolated": False, "cost": 60}]},
    {"name": "lnkbr0", "routes": [{"to": "10.92.0.0/16", "via": "10.93.0.9"}], "dns": ["10.93.0.9"]},
    # Without STP: systemd 252 sets the routes of a bridge that comes up only when it has a carrier, 8 s later with it.
    {"name": "lnkbr0", "state": "down", "stp": False},
    {"name": "lnkbr0", "state": "up"},
    {"name": "lnkbr0", "addresses": [], "routes": [], "ports": []},
    {"name": "lnkbr0", "state": "absent"},
]


@pytest.fixture
def port(host):
    host.run_test("ip link add lnkport0 type veth peer name lnkport0p && ip link set lnkport0p up")
    yield "lnkport0"
    host.run_test("ip link del lnkport0")


@pytest.mark.parametrize("manager", ["networkd", "none"])
def test_cycle(host, modules, port, manager):
    files = host.check_output("ls /etc/systemd/network /etc/sysctl.d")
    # Without a manager a bridge that goes down forgets too much to be compared.
    steps = STEPS if manager == "networkd" else [step for step in STEPS if not {"routes", "state"} & set(step)]
    steps += [] if manager == "networkd" else STEPS[-2:]
    try:
        for step in steps:
            modules.step("host_bridge", "bridges", bridges=[step], manager=manager)
    finally:
        modules.run("host_bridge", bridges=[STEPS[-1]], manager=manager)
    link = modules.links()[port]
    assert "master" not in link and "UP" not in link["flags"] and link["mtu"] == 1500
    assert host.check_output("ls /etc/systemd/network /etc/sysctl.d") == files
    assert not host.file("/var/lib/virtnet/baseline.json").exists


def test_a_bridge_without_address_has_no_ipv6(host, modules):
    modules.run("host_bridge", bridges=[{"name": "lnkbr0"}, {"name": "lnkbr1", "addresses": ["10.93.1.1/24"]}])
    try:
        assert host.check_output("cat /proc/sys/net/ipv6/conf/lnkbr0/disable_ipv6") == "1"
        assert host.check_output("ip address show lnkbr0 scope link") .count("inet6") == 0
        assert host.check_output("cat /proc/sys/net/ipv6/conf/lnkbr1/accept_ra") == "0"
    finally:
        modules.run("host_bridge", bridges=[{"name": name, "state": "absent"} for name in ("lnkbr0", "lnkbr1")])


def port_of(host, name):
    """Return what bridge(8) says of a port."""
    return next(row for row in json.loads(host.check_output("bridge -j -d link")) if row["ifname"] == name)


def test_what_a_bridge_and_its_ports_are_set_to(host, modules, port):
    """Seen with the kernel's own tools, again after networkd has read its files and set the port up anew."""
    bridge = {
        "name": "lnkbr0", "ports": [port], "stp": True, "forward_delay": 4, "hello_time": 1, "max_age": 8, "priority": 4096,
        "multicast_snooping": False, "port_options": [{"name": port, "isolated": True, "cost": 50, "priority": 8}],
    }  # fmt: skip
    try:
        modules.step("host_bridge", "bridges", bridges=[bridge])
        for _again in range(2):
            data = modules.links()["lnkbr0"]["linkinfo"]["info_data"]
            assert (data["stp_state"], data["forward_delay"], data["hello_time"], data["max_age"]) == (1, 400, 100, 800)
            assert (data["priority"], data["mcast_snooping"]) == (4096, 0)
            found = port_of(host, port)
            assert (found["isolated"], found["cost"], found["priority"]) == (True, 50, 8)
            host.check_output(f"networkctl reconfigure {port} lnkbr0 && sleep 1")
        # What is not said of it stays.
        modules.step("host_bridge", "bridges", bridges=[{**bridge, "port_options": [{"name": port, "cost": 70}]}])
        found = port_of(host, port)
        assert (found["isolated"], found["cost"], found["priority"]) == (True, 70, 8)
    finally:
        modules.run("host_bridge", bridges=[{"name": "lnkbr0", "state": "absent"}])


def test_a_tap_of_ours_as_a_port(host, modules):
    """The article's gateway port; its bridge knows it, and goes without taking it along."""
    modules.run("host_bridge", bridges=[{"name": "lnkbr0", "addresses": ["10.93.0.1/24"]}])
    try:
        modules.step("tap_iface", "taps", taps=[{"name": "lnktap0", "bridge": "lnkbr0"}])
        assert not modules.run("host_bridge", bridges=[{"name": "lnkbr0", "ports": []}])["changed"]
        assert modules.links()["lnktap0"]["master"] == "lnkbr0"
        modules.run("host_bridge", bridges=[{"name": "lnkbr0", "ports": ["lnktap0"]}])
        assert not modules.run("tap_iface", taps=[{"name": "lnktap0"}])["changed"]
    finally:
        modules.run("tap_iface", taps=[{"name": "lnktap0", "state": "absent"}])
        modules.run("host_bridge", bridges=[{"name": "lnkbr0", "state": "absent"}])


def test_refusals(host, modules, port):
    host.run_test("ip link add lnkforbr type bridge && ip link set lnkport0 master lnkforbr")
    try:
        assert "not ours" in modules.refused("host_bridge", bridges=[{"name": "lnkforbr"}])
        assert "is a port of lnkforbr" in modules.refused("host_bridge", bridges=[{"name": "lnkbr0", "ports": ["lnkport0"]}])
        assert "take_over: true" in modules.refused("host_bridge", bridges=[{"name": "lnkbr0", "ports": ["eth0"]}])
        assert "a veth of that name" in modules.refused("host_bridge", bridges=[{"name": "lnkport0"}])
    finally:
        host.run_test("ip link del lnkforbr")
    other = {"name": "lnkbr0", "ports": ["lnkport0"], "port_options": [{"name": "eth0", "cost": 5}]}
    assert "not among its ports" in modules.refused("host_bridge", bridges=[other])
    # The machine's kernel, or not: what is declared of VLANs is never passed over.
    tags = modules("host_bridge", check=True, bridges=[{"name": "lnkbr0", "vlan_filtering": True}])
    assert not tags["failed"] or "[0].vlan_filtering: lnkbr0: this kernel's bridges cannot filter VLANs" in tags["msg"]
    assert "Use 6 to 40" in modules.refused("host_bridge", bridges=[{"name": "lnkbr0", "max_age": 5}])
    assert "there is no link lnkno0" in modules("host_bridge", bridges=[{"name": "lnkbr0", "ports": ["lnkno0"]}])["msg"]
    assert not host.interface("lnkbr0").exists


def test_fifty_with_the_longest_names(modules, figure):
    """In one call each; what they cost is told."""
    names = [f"lnkbr0123456{number:03}" for number in range(50)]
    assert {len(name) for name in names} == {15}
    items = [{"name": name, "addresses": [f"10.97.{number}.1/24"]} for number, name in enumerate(names)]
    seconds = {}
    try:
        seconds["made"] = modules.timed("host_bridge", bridges=items)
        found = modules.run("host_bridge", bridges=items)
        assert not found["changed"] and [one["name"] for one in found["bridges"]] == names
        assert set(names) <= set(modules.links())
        seconds["again"] = modules.timed("host_bridge", bridges=items)
    finally:
        seconds["removed"] = modules.timed("host_bridge", bridges=[{"name": name, "state": "absent"} for name in names])
    assert not set(names) & set(modules.links())
    figure(f"50 bridges, in seconds: {seconds}")


def test_a_port_that_vanishes_in_the_middle(host, modules, port):
    """Its cable goes as soon as the bridge is there: the task fails and names it, and nothing of the bridge stays."""
    before = host.check_output("ls /etc/systemd/network")
    host.run_test("(until [ -e /sys/class/net/lnkbr0 ]; do :; done; ip link del lnkport0) > /dev/null 2>&1 < /dev/null &")
    try:
        result = modules("host_bridge", bridges=[{"name": "lnkbr0", "ports": [port]}])
        assert result["failed"] and port in result["msg"] and "Traceback" not in str(result), result
    finally:
        modules.run("host_bridge", bridges=[{"name": "lnkbr0", "state": "absent"}])
        host.run("ip link add lnkport0 type veth peer name lnkport0p")  # for the fixture
    assert not host.interface("lnkbr0").exists and host.check_output("ls /etc/systemd/network") == before
    assert not host.file("/var/lib/virtnet/baseline.json").exists


@pytest.mark.parametrize("how", ["ip link del lnkport0", "ip link set lnkport0 nomaster", "ip link del lnkbr0"])
def test_what_somebody_took_apart_leaves_no_file(host, modules, port, how):
    before = host.check_output("ls /etc/systemd/network")
    modules.run("host_bridge", bridges=[{"name": "lnkbr0", "ports": [port]}])
    assert port in host.check_output("ls /etc/systemd/network")
    try:
        # Not networkd, which would put it in again.
        host.run_test(f"systemctl stop systemd-networkd.socket systemd-networkd.service && {how}")
    finally:
        host.run_test("systemctl start systemd-networkd.service")
        modules.run("host_bridge", bridges=[{"name": "lnkbr0", "state": "absent"}])
        host.run("ip link add lnkport0 type veth peer name lnkport0p")  # for the fixture
    assert host.check_output("ls /etc/systemd/network") == before and not host.interface("lnkbr0").exists
    assert not host.file("/var/lib/virtnet/baseline.json").exists
    assert not modules.run("host_bridge", bridges=[{"name": "lnkbr0", "state": "absent"}])["changed"]
