# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the hosts with the hosts' own tools: nothing here goes through a module of the collection."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from guest_agent import BUSYBOX, in_guest, ping

GUESTS = {"iso0": "10.10.101.251", "iso1": "10.10.101.252"}
HOST = "10.10.101.11"


@pytest.mark.parametrize("flags", ["", "--inactive"])
def test_its_definition(host, flags):
    tree = ElementTree.fromstring(host.check_output(f"virsh net-dumpxml isonet {flags}"))
    assert tree.find("forward") is None and tree.find("ip") is None
    assert (tree.find("bridge").get("name"), tree.find("bridge").get("stp")) == ("br1", "off")


def test_the_network_starts_with_the_host(host):
    rows = dict(line.split(":", 1) for line in host.check_output("virsh net-info isonet").splitlines() if ":" in line)
    assert [rows[key].strip() for key in ("Active", "Persistent", "Autostart")] == ["yes", "yes", "yes"]


def test_the_bridge_holds_the_guests_and_nothing_else(host):
    """The article's third step: what hangs on br1, and which link of the host's is whose."""
    ports = {row["ifname"] for row in json.loads(host.check_output("ip -j link show master br1"))}
    taps = {host.check_output("virsh -q domiflist %s", guest).split()[0] for guest in GUESTS}
    assert ports == taps and len(taps) == 2
    assert json.loads(host.check_output("ip -j address show dev br1"))[0]["addr_info"] == []


@pytest.mark.parametrize(("guest", "address"), GUESTS.items())
def test_each_guest_has_its_address_and_no_way_out(host, guest, address):
    assert f"inet {address}/24" in in_guest(host, guest, BUSYBOX, "ip", "-4", "address", "show", "dev", "eth0")[1]
    assert "default" not in in_guest(host, guest, BUSYBOX, "ip", "route")[1]


def test_guests_ping_each_other(host):
    assert ping(host, "iso0", GUESTS["iso1"])
    assert ping(host, "iso1", "fd00:10:101::251")


def test_the_host_is_not_reached_even_with_an_address_in_the_subnet(host):
    host.run_test("ip address replace %s/24 dev br1", HOST)
    try:
        assert not ping(host, "iso0", HOST)
        assert host.run("ping -c 2 -W 2 %s", GUESTS["iso0"]).rc != 0
        # It is our filter and nothing else: both have learned where the other is.
        assert HOST in in_guest(host, "iso0", BUSYBOX, "ip", "neigh")[1]
        host.run_test("nft flush chain inet virtnet input && nft flush chain inet virtnet output")
        try:
            assert ping(host, "iso0", HOST)
        finally:
            host.run_test("systemctl restart virtnet-firewall.service")
        assert not ping(host, "iso0", HOST)
    finally:
        host.run_test("ip address del %s/24 dev br1", HOST)


def test_the_firewall_comes_with_the_boot(host):
    assert host.service("virtnet-firewall.service").is_enabled
    assert '"br1"' in host.check_output("nft list table inet virtnet")
