# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the hosts with the hosts' own tools: nothing here goes through a module of the collection."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from xml.etree import ElementTree

import pytest
import testinfra

BUSYBOX = "/bin/busybox"


def agent(host, guest, execute, **arguments):
    request = json.dumps({"execute": execute, "arguments": arguments})
    return json.loads(host.check_output("virsh qemu-agent-command %s %s", guest, request))["return"]


def in_guest(host, guest, *command):
    """Run a command in a guest through its agent; return (rc, output)."""
    pid = agent(host, guest, "guest-exec", path=command[0], arg=list(command[1:]), **{"capture-output": True})["pid"]
    for _attempt in range(100):
        status = agent(host, guest, "guest-exec-status", pid=pid)
        if status["exited"]:
            return status["exitcode"], base64.b64decode(status.get("out-data", "")).decode()
        time.sleep(0.2)
    raise AssertionError(f"{command} did not end in {guest}")


def ping(host, guest, address):
    return in_guest(host, guest, BUSYBOX, "ping", "-c", "2", "-W", "2", address)[0] == 0


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
def route(machine, number, via):
    """A machine has a way to the guests, as its administrator would give it."""
    machine.run_test(f"ip route replace 10.10.{number}.0/24 via {via}")
    try:
        yield
    finally:
        machine.run_test(f"ip route del 10.10.{number}.0/24 via {via}")


@pytest.mark.parametrize("flags", ["", "--inactive"])
def test_its_definition(host, number, flags):
    tree = ElementTree.fromstring(host.check_output(f"virsh net-dumpxml routenet {flags}"))
    assert tree.find("forward").get("mode") == "open"
    assert tree.find("bridge").get("name") == "routebr0"
    assert [one.get("address") for one in tree.findall("ip")] == [f"10.10.{number}.100", f"fd00:10:{number}::100"]


def test_the_bridge_has_the_gateways(host, number):
    rows = json.loads(host.check_output("ip -j address show dev routebr0"))[0]
    found = {f"{one['local']}/{one['prefixlen']}" for one in rows["addr_info"] if one["scope"] == "global"}
    assert found == {f"10.10.{number}.100/24", f"fd00:10:{number}::100/64"}


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


def test_the_gateway_answers_once_it_has_a_route(host, number, lan, machines):
    """The article's fifth step, without translation."""
    gateway = machines["gateway1"]
    address = json.loads(gateway.check_output("ip -j -4 address show to 10.77.0.0/24"))[0]["addr_info"][0]["local"]
    assert not ping(host, "rt0", address)
    with route(gateway, number, lan):
        assert ping(host, "rt0", address)
    assert not ping(host, "rt0", address)


def test_the_outside_reaches_guests_once_it_has_a_route(host, number, lan, machines):
    """The article's sixth step: ping, and the guest's own SSH server, from outside."""
    outside, address = machines["outside1"], f"10.10.{number}.251"
    assert outside.run(f"ping -c 2 -W 2 {address}").rc != 0
    with route(outside, number, lan):
        assert outside.run(f"ping -c 2 -W 2 {address}").rc == 0
        assert "SSH-2.0-" in outside.check_output(f"timeout 10 ssh-keyscan -T 5 {address} 2>&1; true")


def test_guests_keep_their_own_addresses(host):
    text = host.check_output("nft list table inet virtnet")
    assert "masquerade" not in text and '"routebr0"' in text
