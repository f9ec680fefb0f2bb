# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module: what check mode predicts is what a run gives, and a second run is unchanged."""

from __future__ import annotations

import pytest

NATNET = {
    "name": "modnet",
    "model": "nat",
    "bridge": "modbr0",
    "addresses": ["10.64.110.1/24", "fd00:64:110::1/64"],
    "dhcp": {
        "ranges": [{"start": "10.64.110.100", "end": "10.64.110.200"}],
        "reservations": [{"name": "vm0", "mac": "52:54:00:00:01:10", "address": "10.64.110.2"}],
    },
}


def changed(**changes):
    return {**NATNET, **changes}


NETWORKS = [
    NATNET,
    changed(dns={"domain": "mod.test", "local_only": True, "hosts": [{"address": "10.64.110.9", "names": ["a", "b"]}]}),
    changed(mtu=1400, dhcp={"reservations": []}),
    changed(autostart=False, state="inactive"),
    changed(addresses=["10.64.111.1/24"], dhcp={"ranges": [], "reservations": []}),
    changed(firewall="libvirt", addresses=["10.64.111.1/24"], dhcp={"ranges": [], "reservations": []}),
    changed(
        addresses=["10.64.112.1/24"],
        dhcp={"ranges": [], "reservations": []},
        routes=[{"to": "10.9.0.0/16", "via": "10.64.112.9"}],
    ),
    {"name": "modnet", "state": "absent"},
]
FORWARD = {"name": "web", "protocol": "tcp", "listen": {"ports": "8080"}, "to": {"guest": "vm0", "ports": "80"}}
CYCLES = {
    "virt_net_model": ("networks", [{"networks": [one]} for one in NETWORKS]),
    "net_policy": (
        "networks",
        [
            {"networks": [NATNET]},
            {"networks": [changed(policy={"deny_host": True, "host_access": [{"protocol": "tcp", "ports": ["22"]}]})]},
            {"networks": [NATNET, {"name": "modnet2", "model": "isolated", "subnets": ["10.64.113.0/24"]}]},
            {"networks": [{"name": "modnet", "state": "absent"}, {"name": "modnet2", "state": "absent"}]},
        ],
    ),
    "ip_forward": ("forwarding", [{"ipv4": True}, {"ipv4": True, "ipv6": True}, {"state": "absent"}]),
}


@pytest.mark.parametrize("name", CYCLES)
def test_check_mode_is_true_and_a_second_run_unchanged(modules, name):
    key, steps = CYCLES[name]
    for number, arguments in enumerate(steps):
        predicted = modules.run(name, check=True, **arguments)
        real = modules.run(name, **arguments)
        again = modules.run(name, **arguments)
        assert predicted["changed"] and real["changed"], (number, arguments)
        assert predicted["actions"] == real["actions"], (number, arguments)
        assert predicted[key] == real[key] == again[key], (number, arguments)
        assert not again["changed"] and again["actions"] == [], (number, again["actions"])


def test_nat_rule_cycle(modules):
    modules.run("net_policy", networks=[NATNET])
    try:
        for arguments in (
            {"networks": [NATNET]},
            {"networks": [changed(port_forwards=[FORWARD])]},
            {"networks": [{"name": "modnet", "state": "absent"}]},
        ):
            predicted = modules.run("nat_rule", check=True, **arguments)
            real = modules.run("nat_rule", **arguments)
            assert predicted["changed"] and predicted["actions"] == real["actions"] and predicted["rules"] == real["rules"]
            assert not modules.run("nat_rule", **arguments)["changed"]
    finally:
        modules.run("net_policy", networks=[{"name": "modnet", "state": "absent"}])


def test_guest_vm_cycle(modules):
    guest = {"name": "modvm", "nics": [{"network": "modnet"}]}
    modules.run("virt_net_model", networks=[NATNET])
    try:
        for item in (guest, {**guest, "nics": [{"network": "modnet", "link": "down"}]}, {**guest, "state": "stopped"},
                     {"name": "modvm", "state": "absent"}):
            arguments = {"guests": [item], "inventory_host": "modhost", "wait": "agent"}
            predicted = modules.run("guest_vm", check=True, **arguments)
            real = modules.run("guest_vm", **arguments)
            again = modules.run("guest_vm", **arguments)
            assert predicted["changed"] and predicted["actions"] == real["actions"], item
            found = [[dict(one, interfaces=None) for one in result["guests"]] for result in (predicted, real, again)]
            assert found[0] == found[1] == found[2], item
            assert not again["changed"]
    finally:
        modules.run("guest_vm", guests=[{"name": "modvm", "state": "absent"}])
        modules.run("virt_net_model", networks=[{"name": "modnet", "state": "absent"}])


def test_a_foreign_network_is_a_conflict_and_adopted_on_request(host, modules):
    xml = "<network><name>modforeign</name><bridge name='modforbr'/><ip address='10.64.119.1' netmask='255.255.255.0'/></network>"
    host.run_test("printf %s > /tmp/modforeign.xml && virsh net-define /tmp/modforeign.xml && rm /tmp/modforeign.xml", xml)
    item = {
        "name": "modforeign",
        "model": "isolated",
        "bridge": "modforbr",
        "stp": True,
        "state": "present",
        "autostart": False,
        "subnets": ["10.64.119.0/24"],
    }
    try:
        before = host.check_output("virsh net-dumpxml --inactive modforeign")
        message = modules.refused("virt_net_model", networks=[item])
        assert "modforeign" in message and "not ours" in message and "adopt: true" in message
        assert host.check_output("virsh net-dumpxml --inactive modforeign") == before
        result = modules.run("virt_net_model", networks=[item], adopt=True)
        assert [one["op"] for one in result["actions"]] == ["adopt"]
        assert not modules.run("virt_net_model", networks=[item], adopt=True)["changed"]
    finally:
        host.run("virsh net-undefine modforeign")


def test_drift_is_seen_and_mended(host, modules):
    modules.run("virt_net_model", networks=[NATNET])
    try:
        host.run_test("virsh net-update modnet delete ip-dhcp-host \"<host ip='10.64.110.2'/>\" --live")
        result = modules.run("virt_net_model", networks=[NATNET], check=True)
        assert [one["op"] for one in result["actions"]] == ["update"]
        modules.run("virt_net_model", networks=[NATNET])
        assert "10.64.110.2" in host.check_output("virsh net-dumpxml modnet")
        host.run_test("virsh net-destroy modnet")
        assert [one["op"] for one in modules.run("virt_net_model", networks=[NATNET])["actions"]] == ["start"]
    finally:
        modules.run("virt_net_model", networks=[{"name": "modnet", "state": "absent"}])


def test_a_rule_removed_by_hand_is_seen_and_mended(host, modules):
    modules.run("net_policy", networks=[NATNET])
    try:
        before = host.check_output("nft -s list table inet virtnet")
        host.run_test("nft flush chain inet virtnet forward")
        assert modules.run("net_policy", networks=[NATNET], check=True)["changed"]
        assert modules.run("net_policy", networks=[NATNET])["changed"]
        assert host.check_output("nft -s list table inet virtnet") == before
    finally:
        modules.run("net_policy", networks=[{"name": "modnet", "state": "absent"}])


def test_one_that_fails_is_put_back_and_the_other_stands(host, modules):
    """A link of the bridge's name appears between plan and start: here it is there, and libvirt refuses to start."""
    good = {"name": "modgood", "model": "nat", "addresses": ["10.64.117.1/24"]}
    bad = {
        "name": "modbad",
        "model": "nat",
        "firewall": "libvirt",
        "uplink": "nolink0",
        "addresses": ["10.64.118.1/24"],
        "mtu": 65535,
        "routes": [{"to": "10.64.0.0/16", "via": "10.99.99.99"}],
    }
    result = modules("virt_net_model", networks=[bad, good])
    try:
        assert result["failed"] and "modbad" in result["msg"]
        assert [one["name"] for one in result["failures"]] == ["modbad"] and result["changed"]
        names = host.check_output("virsh -q net-list --all --name").split()
        assert "modgood" in names and "modbad" not in names
    finally:
        modules.run("virt_net_model", networks=[{"name": "modgood", "state": "absent"}])
