# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the hosts with the hosts' own tools: nothing here goes through a module of the collection."""

from __future__ import annotations

import contextlib
import json
from xml.etree import ElementTree

import pytest
import testinfra
from guest_agent import BUSYBOX, in_guest, ping


@pytest.fixture
def number(host):
    """The third octet of this host's subnet."""
    return {"kvm1": 110, "kvm2": 111}[host.check_output("uname -n")]


@pytest.fixture
def lan(host):
    """This host's address on the LAN."""
    return json.loads(host.check_output("ip -j -4 address show dev eth0"))[0]["addr_info"][0]["local"]


@pytest.fixture
def machines(host, request):
    """The LAN's gateway and the machine outside."""
    inventory = request.config.getoption("--ansible-inventory")
    return {name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory) for name in ("gateway1", "outside1")}


@contextlib.contextmanager
def no_route(machine, number, via):
    """A machine has lost its way to the guests."""
    machine.check_output(f"ip route del 10.10.{number}.0/24 via {via}")
    try:
        yield
    finally:
        machine.check_output(f"ip route replace 10.10.{number}.0/24 via {via} dev eth0 proto static")


@pytest.mark.parametrize("flags", ["", "--inactive"])
def test_its_definition(host, flags):
    tree = ElementTree.fromstring(host.check_output(f"virsh net-dumpxml routenet {flags}"))
    assert tree.find("forward").get("mode") == "bridge" and tree.find("ip") is None
    assert tree.find("bridge").get("name") == "br2"


def test_the_bridge_has_the_gateways_and_the_tap(host, number):
    """The article's first two steps."""
    rows = json.loads(host.check_output("ip -j address show dev br2"))[0]
    found = {f"{one['local']}/{one['prefixlen']}" for one in rows["addr_info"] if one["scope"] == "global"}
    assert found == {f"10.10.{number}.100/24", f"fd00:10:{number}::100/64"}
    taps = {host.check_output("virsh -q domiflist %s", guest).split()[0] for guest in ("rt0", "rt1")}
    assert {row["ifname"] for row in json.loads(host.check_output("ip -j link show master br2"))} == {"virnet0", *taps}
    (tap,) = json.loads(host.check_output("ip -j -d link show virnet0"))
    assert tap["linkinfo"]["info_data"]["persist"] is True and "UP" in tap["flags"]


def test_packets_are_forwarded(host):
    assert host.check_output("sysctl -n net.ipv4.ip_forward") == "1"
    assert host.check_output("sysctl -n net.ipv6.conf.all.forwarding") == "1"


@pytest.mark.parametrize(("guest", "last"), [("rt0", 251), ("rt1", 252)])
def test_each_guest_has_its_address_and_default_route(host, number, guest, last):
    assert f"inet 10.10.{number}.{last}/24" in in_guest(host, guest, BUSYBOX, "ip", "-4", "address", "show", "dev", "eth0")[1]
    assert f"default via 10.10.{number}.100" in in_guest(host, guest, BUSYBOX, "ip", "route")[1]


def test_guests_ping_each_other_and_the_host(host, number, lan):
    assert ping(host, "rt0", f"10.10.{number}.252")
    assert ping(host, "rt0", f"10.10.{number}.100") and ping(host, "rt0", lan)
    assert host.run(f"ping -c 2 -W 2 10.10.{number}.251").rc == 0


def test_guests_of_the_other_host_are_reached(host, number):
    if len(host.backend.ansible_runner.get_hosts("kvm_hosts")) == 1:
        pytest.skip("there is no other host; four_models has this on two")
    assert ping(host, "rt0", f"10.10.{221 - number}.251") and ping(host, "rt1", f"fd00:10:{221 - number}::252")


def test_the_gateway_answers_only_because_it_has_a_route(host, number, lan, machines):
    """The article's fifth step, without translation."""
    gateway = machines["gateway1"]
    address = json.loads(gateway.check_output("ip -j -4 address show to 10.77.0.0/24"))[0]["addr_info"][0]["local"]
    assert ping(host, "rt0", address)
    with no_route(gateway, number, lan):
        assert not ping(host, "rt0", address)
    assert ping(host, "rt0", address)


def test_the_outside_reaches_guests_by_its_own_route(host, number, lan, machines):
    """The article's sixth step."""
    outside, address = machines["outside1"], f"10.10.{number}.251"
    assert outside.run(f"ping -c 2 -W 2 {address}").rc == 0
    assert f"via {lan} dev eth0" in outside.check_output(f"ip route get {address}")
    assert outside.run(f"ping -c 2 -W 2 fd00:10:{number}::251").rc == 0
    assert "SSH-2.0-" in outside.check_output(f"timeout 10 ssh-keyscan -T 5 {address} 2>&1; true")


@pytest.mark.parametrize("name", ["gateway1", "outside1"])
def test_peers_have_the_routes_beside_their_own(host, number, lan, machines, name):
    machine = machines[name]
    text = machine.check_output("ip route")
    assert f"10.10.{number}.0/24 via {lan} dev eth0 proto static" in text
    assert ("default via 10.77.0.1" in text) == (name == "outside1")
    stored = json.loads(machine.check_output("cat /etc/virtnet/routes.d/eth0.json"))
    assert [one["to"] for one in stored["sets"][f"{host.check_output('uname -n')}/routenet"]] == [
        f"10.10.{number}.0/24", f"fd00:10:{number}::/64"
    ]  # fmt: skip


def test_guests_keep_their_own_addresses(host):
    text = host.check_output("nft list table inet virtnet")
    assert "masquerade" not in text and '"br2"' in text
