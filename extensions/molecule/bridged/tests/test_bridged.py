# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the hosts with the hosts' own tools: nothing here goes through a module of the collection."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import testinfra
from guest_agent import BUSYBOX, agent, in_guest

GUESTS = ("lan0", "lan1")


def addresses(host, guest):
    """Return (MAC, {IP version: address}) of a guest's NIC, as the guest itself says."""
    (nic,) = [one for one in agent(host, guest, "guest-network-get-interfaces") if one["name"] == "eth0"]
    found = [ipaddress.ip_address(one["ip-address"]) for one in nic["ip-addresses"]]
    return nic["hardware-address"], {one.version: str(one) for one in found if not one.is_link_local}


@pytest.fixture
def machines(host, request):
    """All other machines of the lab, by name, those too that this scenario does without."""
    inventory = str(Path(request.config.getoption("--ansible-inventory")).with_name("inventory.yml"))
    names = {"gateway1", "outside1", "kvm1", "kvm2"} - {host.check_output("uname -n")}
    return {name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory) for name in names}


@pytest.mark.parametrize("flags", ["", "--inactive"])
def test_its_definition(host, flags):
    tree = ElementTree.fromstring(host.check_output(f"virsh net-dumpxml lannet {flags}"))
    assert tree.find("forward").attrib == {"mode": "bridge"}
    assert tree.find("bridge").attrib == {"name": "br0"}
    assert tree.find("ip") is None


def test_the_bridge_has_what_the_uplink_had(host):
    known = host.backend.ansible_runner.get_variables(host.backend.host)
    rows = {row["ifname"]: row for row in json.loads(host.check_output("ip -j address show"))}
    bridge, uplink = rows["br0"], rows["eth0"]
    assert bridge["address"] == uplink["address"] == known["lab_hosts_mac"]
    assert {one["local"] for one in bridge["addr_info"] if one["scope"] == "global"} == {
        known["lab_hosts_address"], known["lab_hosts_address6"],
    }  # fmt: skip
    assert uplink["addr_info"] == [] and uplink["master"] == "br0"
    assert "via 10.77.0.1 dev br0" in host.check_output("ip -4 route show default")
    assert "dev br0" in host.check_output("ip -6 route show default")


def test_it_lasts(host):
    """networkd keeps it; the administrator's own file of the uplink is still there."""
    state = json.loads(host.check_output("networkctl --json=short list"))["Interfaces"]
    files = {one["Name"]: one.get("NetworkFile") for one in state}
    assert files["br0"] == "/etc/systemd/network/00-virtnet-br0.network"
    assert files["eth0"] == "/etc/systemd/network/00-virtnet-eth0.network"
    assert host.file("/etc/systemd/network/50-lab-eth0.network").exists


def test_the_guests_are_ports_of_the_bridge(host):
    ports = host.check_output("ls /sys/class/net/br0/brif").split()
    assert len(ports) == 3 and "eth0" in ports
    for guest in GUESTS:
        words = host.check_output(f"virsh -q domiflist {guest}").split()
        assert words[0] in ports and words[2] == "lannet"


@pytest.mark.parametrize("guest", GUESTS)
def test_its_addresses_are_of_the_lan(host, machines, guest):
    mac, found = addresses(host, guest)
    leases = [line.split() for line in machines["gateway1"].check_output("cat /var/lib/misc/lab.leases").splitlines()]
    assert [line[2] for line in leases if line[1:2] == [mac]] == [found[4]]
    assert ipaddress.ip_address(found[4]) in ipaddress.ip_network("10.77.0.0/24")
    assert ipaddress.ip_address(found[6]) in ipaddress.ip_network("fd77::/64")
    assert "default via 10.77.0.1 " in in_guest(host, guest, BUSYBOX, "ip", "route")[1]
    rc, text = in_guest(host, guest, BUSYBOX, "nslookup", "outside1.lab.test")
    assert rc == 0 and "10.77.0.2" in text


@pytest.mark.parametrize("guest", GUESTS)
def test_everybody_on_the_lan_reaches_it(host, machines, guest):
    mac, found = addresses(host, guest)
    for machine in (host, *machines.values()):
        for version in (4, 6):
            assert machine.run(f"ping -{version} -c 2 -W 2 {found[version]}").rc == 0, machine
    # Layer 2: the outside sees the guest's own MAC address, and its SSH server answers.
    outside = machines["outside1"]
    assert f"lladdr {mac}" in outside.check_output(f"ip neighbour show to {found[4]}")
    assert "SSH-2.0-" in outside.check_output(f"timeout 10 ssh-keyscan -T 5 {found[4]} 2>&1; true")


def test_it_reaches_the_guests_of_the_other_host(host, machines):
    (name,) = [name for name in machines if name.startswith("kvm")]
    if name not in host.backend.ansible_runner.get_hosts("kvm_hosts"):
        pytest.skip("there is no other host; four_models has this on two")
    other = machines[name]
    for address in addresses(other, "lan0")[1].values():
        assert in_guest(host, "lan1", BUSYBOX, "ping", "-c", "2", "-W", "2", address)[0] == 0


def test_nothing_is_filtered_or_translated(host):
    assert "virtnet" not in host.check_output("nft list tables")
