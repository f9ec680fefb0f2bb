# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the hosts with the hosts' own tools: nothing here goes through a module of the collection."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from guest_agent import in_guest

LAB = Path("/var/lib/virtnet-lab") / os.environ.get("VIRTNET_TEST_LAB", "mol")
GUESTS = {"vm0": "10.64.100.2", "vm1": "10.64.100.3"}


def network(host, *flags):
    return ElementTree.fromstring(host.check_output("virsh net-dumpxml natnet " + " ".join(flags)))


def test_the_network_is_defined_started_and_autostarted(host):
    rows = dict(line.split(":", 1) for line in host.check_output("virsh net-info natnet").splitlines() if ":" in line)
    rows = {key: value.strip() for key, value in rows.items()}
    assert (rows["Active"], rows["Persistent"], rows["Autostart"], rows["Bridge"]) == ("yes", "yes", "yes", "natbr0")


@pytest.mark.parametrize("flags", [(), ("--inactive",)], ids=["running", "stored"])
def test_its_definition(host, flags):
    tree = network(host, *flags)
    assert tree.find("forward").get("mode") == "open"
    assert tree.find("bridge").get("stp") == "off"
    assert [(one.get("address"), one.get("prefix")) for one in tree.findall("ip")] == [
        ("10.64.100.1", "24"),
        ("fd00:64::1", "64"),
    ]
    assert {one.get("name"): one.get("ip") for one in tree.iter("host")} == GUESTS


def test_the_bridge_has_the_gateways(host):
    rows = json.loads(host.check_output("ip -j address show dev natbr0"))[0]
    found = {f"{one['local']}/{one['prefixlen']}" for one in rows["addr_info"] if one["scope"] == "global"}
    assert found == {"10.64.100.1/24", "fd00:64::1/64"}
    assert sorted(json.loads(host.check_output("ip -j link show master natbr0")), key=str)


@pytest.mark.parametrize(("guest", "address"), GUESTS.items())
def test_each_guest_has_its_reserved_address_and_default_route(host, guest, address):
    _rc, text = in_guest(host, guest, "/bin/busybox", "ip", "-4", "address", "show", "dev", "eth0")
    assert f"inet {address}/24" in text
    _rc, text = in_guest(host, guest, "/bin/busybox", "ip", "route")
    assert "default via 10.64.100.1 dev eth0" in text


@pytest.mark.parametrize(("guest", "address"), GUESTS.items())
def test_guest_and_host_ping_each_other(host, guest, address):
    assert host.run("ping -c 2 -W 2 %s", address).rc == 0
    assert in_guest(host, guest, "/bin/busybox", "ping", "-c", "2", "-W", "2", "10.64.100.1")[0] == 0


def test_guests_ping_each_other(host):
    assert in_guest(host, "vm0", "/bin/busybox", "ping", "-c", "2", "-W", "2", "10.64.100.3")[0] == 0


def test_dns_through_the_gateway_resolves(host):
    rc, text = in_guest(host, "vm0", "/bin/busybox", "nslookup", "www.example.test", "10.64.100.1")
    assert rc == 0, text


def test_translation_and_filter_are_loaded(host):
    assert "masquerade" in host.check_output("nft list table inet virtnet")
    assert "natbr0" in host.check_output("nft list table inet virtnet")
    assert host.check_output("sysctl -n net.ipv4.ip_forward") == "1"


@pytest.fixture
def lan(host):
    """This host's address on the LAN."""
    return json.loads(host.check_output("ip -j -4 address show dev eth0"))[0]["addr_info"][0]["local"]


def test_ssh_from_outside_through_a_port_forward(host, lan):
    """The connection is the outside machine's: ours only carries it there (ssh -W)."""
    options = ["IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    options += ["LogLevel=ERROR", "ConnectTimeout=60", f"ProxyCommand=ssh -F {LAB}/ssh/config -W %h:%p outside1"]
    words = [word for option in options for word in ("-o", option)]
    command = ["ssh", "-F", "/dev/null", "-i", LAB / "ssh/id_ed25519", *words, "-p", "2222", f"root@{lan}"]
    done = subprocess.run(
        [*command, "hostname; echo $SSH_CONNECTION"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    name, connection = done.stdout.splitlines()
    # Under the outside machine's own address, at the guest's own.
    assert (name, *connection.split()[::2]) == ("vm0", "10.77.0.2", GUESTS["vm0"])


def test_a_guest_reaches_its_neighbour_by_the_host(host, lan):
    rc, text = in_guest(host, "vm1", "/bin/sh", "-c", f"sleep 2 | nc -w 5 {lan} 2222 | head -n 1")
    assert (rc, text[:8]) == (0, "SSH-2.0-")


def test_files_are_ours_alone(host):
    for path in ("/etc/virtnet/networks.d/natnet.json", "/etc/virtnet/rules.d/@natnet.json"):
        assert host.file(path).user == "root"
        assert host.file(path).mode == 0o600


def test_the_firewall_comes_with_the_boot(host):
    assert host.service("virtnet-firewall.service").is_enabled
