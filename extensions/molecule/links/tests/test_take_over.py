# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The uplink goes into a bridge over the SSH connection that uses it, outlives a reboot, and comes out again."""

from __future__ import annotations

import json
import re
import time

import pytest
from lab_side import deaf_to, pinged

IN = [{"name": "lnkbr0", "ports": ["eth0"], "take_over": True}]
OUT = [{"name": "lnkbr0", "state": "absent"}]
LOOK = (
    "ip -o address show | sed 's/^[0-9]*: //; s/nodad//; s/ *\\\\.*//; /lo /d'; ip route;"
    " ip -6 route | sed 's/ expires.*//; s/nhid [0-9]* //';"
    " ls /etc/systemd/network /etc/sysctl.d; ip -br link | sed 's/@[^ ]*/ /; s/  */ /g' | sort"
)


def look(host):
    """Return what the host has, once its router has spoken again."""
    for _again in range(100):
        text = host.check_output(LOOK)
        if "proto ra" in text and "default" in text:
            break
        time.sleep(0.25)
    return text


def test_there_and_back(host, modules, figure):
    before, mac = look(host), modules.links()["eth0"]["address"]
    try:
        predicted = modules.run("host_bridge", check=True, bridges=IN)
        with pinged(host, "uplink into the bridge", figure):
            real = modules.run("host_bridge", bridges=IN)
        assert predicted["bridges"] == real["bridges"] and predicted["actions"] == real["actions"]
        assert not modules.run("host_bridge", bridges=IN)["changed"]
        assert modules.links()["lnkbr0"]["address"] == mac and modules.links()["eth0"]["master"] == "lnkbr0"
        inside = look(host)
        assert re.search(r"default via \S+ dev lnkbr0", inside) and "dev eth0" not in inside
        reboot = {"reboot_timeout": 120, "connect_timeout": 2, "post_reboot_delay": 1}
        host.ansible("ansible.builtin.reboot", json.dumps(reboot), check=False)
        assert look(host) == inside
        assert not modules.run("host_bridge", bridges=IN)["changed"]
    finally:
        with pinged(host, "uplink out of the bridge", figure):
            modules.run("host_bridge", bridges=OUT)
    assert look(host) == before


def test_without_a_manager(host, modules, figure):
    before = look(host)
    try:
        with pinged(host, "uplink into the bridge, no manager", figure):
            modules.run("host_bridge", bridges=IN, manager="none")
    finally:
        modules.run("host_bridge", bridges=OUT, manager="none")
        host.run_test("networkctl reconfigure eth0")
    assert look(host) == before


def test_dhcp(host, modules, figure):
    """The lease stays: the same MAC and the same client identifier."""
    file = "/etc/systemd/network/40-lnkdhcp.network"
    before = look(host)
    host.run_test(
        f"(sed 's/^Gateway.*//; /^Address=fd/!s/^Address.*//; s/.Network.$/[Network]\\nDHCP=ipv4/' /etc/systemd/network/50-*; "
        f"printf '\\n[DHCPv4]\\nRouteMetric=100\\n') > {file}"
    )
    static = modules.static("eth0")[0]
    host.run_test(f"sed -i '/DHCP=ipv4/a Address={static}\\nGateway=10.77.0.1' {file} && networkctl reload")

    def lease():
        for _again in range(60):
            rows = json.loads(host.check_output("ip -j -4 address"))
            found = [(row["ifname"], one["local"]) for row in rows for one in row["addr_info"] if one.get("dynamic")]
            if found:
                break
            time.sleep(0.25)
        return found

    try:
        (name, address), = lease()
        assert name == "eth0"
        with pinged(host, "uplink with DHCP into the bridge", figure):
            modules.run("host_bridge", bridges=IN)
        assert not modules.run("host_bridge", bridges=IN)["changed"]
        assert lease() == [("lnkbr0", address)]
        modules.run("host_bridge", bridges=OUT)
        assert lease() == [("eth0", address)]
    finally:
        modules.run("host_bridge", bridges=OUT)
        host.run_test(f"rm {file}; networkctl reload; sleep 2")
    assert look(host) == before


@pytest.mark.parametrize("manager", ["networkd", "none"])
def test_a_wrong_gateway_puts_all_back(host, modules, manager):
    before = look(host)
    result = modules("host_bridge", bridges=[{**IN[0], "gateway": ["10.77.0.253"]}], manager=manager)
    try:
        assert result["failed"] and "did not answer" in result["msg"], result
    finally:
        modules.run("host_bridge", bridges=OUT, manager=manager)
    if manager == "none":
        host.run_test("networkctl reconfigure eth0")
    assert look(host) == before


def connection_of(host):
    """Return which connection the tasks use; testinfra's own commands have one of their own each."""
    return host.ansible("ansible.builtin.shell", "echo $SSH_CONNECTION", check=False)["stdout"]


@pytest.mark.parametrize("manager", ["networkd", "none"])
def test_a_silent_gateway_puts_all_back(host, modules, manager):
    """The task comes back over the same connection, and says so."""
    before, connection = look(host), connection_of(host)
    try:
        with deaf_to(host, "gateway1"):
            result = modules("host_bridge", bridges=IN, manager=manager)
            assert result["failed"] and "gateway 10.77.0.1 did not answer on lnkbr0" in result["msg"], result
            assert not host.interface("lnkbr0").exists and not host.file("/etc/systemd/network/00-virtnet-eth0.network").exists
            assert modules.static("eth0")
            assert not host.file("/var/lib/virtnet/baseline.json").exists
            assert connection_of(host) == connection
    finally:
        modules.run("host_bridge", bridges=OUT, manager=manager)
    if manager == "none":
        host.run_test("networkctl reconfigure eth0")
    assert look(host) == before
