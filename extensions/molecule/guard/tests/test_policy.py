# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nobody is locked out by a policy: a controller that is a guest of a network, whose bridge is then closed to it.

The tests themselves come over the LAN, which no policy filters.
"""

from __future__ import annotations

import re

import pytest
from controllers import controller, kill, open_change, result, said, until
from lab_side import cabled, console, lab, look, variables

#: Each host has a subnet of its own: their controllers are tested side by side.
SUBNET = {"kvm1": "10.78.1", "kvm2": "10.78.2"}
MAKE = (
    "ip link add grdbr0 type bridge && ip link set grdbr0 addrgenmode none && ip address add {subnet}.1/24 dev grdbr0 &&"
    " ip link set grdcable addrgenmode none master grdbr0 up && ip link set grdbr0 up"
)
UNIT = "virtnet-firewall.service"
RULES = (
    "for family in inet bridge; do nft list table $family virtnet 2>&1; done; find /etc/virtnet 2>&1;"
    f" systemctl is-active {UNIT}; md5sum /etc/systemd/system/{UNIT} 2>&1"
)
WANTS = "ls /etc/systemd/system/sysinit.target.wants"
BY_HAND = re.compile(r"grdbr0|grdcable")
OTHER = {"name": "grdother", "model": "isolated", "bridge": "grdbr9", "subnets": ["10.78.9.0/24"]}
GONE = [{"name": name, "state": "absent"} for name in ("grdnet", "grdother")]
#: Short, for a test; longer than a change takes on a busy machine.
WINDOW_S = 10


def network(host, **policy):
    return {
        "name": "grdnet", "model": "routed", "bridge": "grdbr0", "addresses": [f"{SUBNET[host.backend.host]}.1/24"],
        "policy": {"deny_host": True, **policy},
    }


def closed(host):
    return {"networks": [network(host)], "confirm_timeout": WINDOW_S}


def kept_open(host):
    return {"networks": [network(host, host_access=[{"protocol": "tcp", "ports": ["22"]}])], "confirm_timeout": WINDOW_S}


def looked_at(host):
    return look(host) + console(host, RULES)


@pytest.fixture
def guest(host, modules, request):
    """Variables for a controller that is a guest of the network; what the host has been told before is the parameter."""
    subnet, known = SUBNET[host.backend.host], getattr(request, "param", [OTHER])
    if known:
        modules.run("net_policy", networks=known)
    with cabled(host, "grdcable", f"{subnet}.9/24"):
        console(host, MAKE.format(subnet=subnet))
        until(lambda: "linkdown" not in console(host, "ip route show dev grdbr0 || echo linkdown"))
        common = variables(host)["ansible_ssh_common_args"]
        yield {"ansible_host": f"{subnet}.1", "ansible_ssh_common_args": f"{common} -o HostKeyAlias={host.backend.host}"}
    console(host, "ip link delete grdbr0")
    modules.run("net_policy", networks=GONE)


@pytest.mark.parametrize("guest", [[], [OTHER]], ids=["none", "another"], indirect=True)
def test_a_policy_that_shuts_the_controller_out_is_taken_back(host, guest, figure):
    before = looked_at(host)
    with controller(host, "net_policy", closed(host), check=True, **guest) as process:
        planned = result(process)["guard"]
    assert planned["state"] == "planned" and "grdbr0" in planned["links"], planned
    assert looked_at(host) == before
    with controller(host, "net_policy", closed(host), **guest) as process:
        until(lambda: "grdnet" in console(host, "ls /etc/virtnet/networks.d") and open_change(host))
        assert "host_closed" in console(host, "nft list table inet virtnet")
        text = said(process)
    assert process.returncode != 0 and "the rules for grdbr0 was taken back" in text and f"within {WINDOW_S} s" in text, text
    assert looked_at(host) == before


@pytest.mark.parametrize("opened", [False, True])
def test_what_was_opened_in_firewalls_of_others_is_taken_back_too(host, modules, guest, opened):
    """Rules of iptables that forward nothing, and what a boot needs; where nothing was open before, and where something was."""
    theirs = "iptables -S; cat /etc/virtnet/openings.sh /etc/systemd/system/virtnet-firewall.service.d/* 2>&1"
    console(host, "iptables -P FORWARD DROP")
    try:
        if opened:
            modules.run("net_policy", networks=[OTHER])
        before = console(host, theirs) + looked_at(host)
        assert ("VIRTNET_FORWARD" in before) == opened and "grdbr0 -" not in before
        with controller(host, "net_policy", closed(host), **guest) as process:
            until(lambda: "-A VIRTNET_FORWARD -i grdbr0" in console(host, theirs) and open_change(host))
            text = said(process)
        assert process.returncode != 0 and "was taken back" in text, text
        assert console(host, theirs) + looked_at(host) == before
    finally:
        console(host, "iptables -P FORWARD ACCEPT")
        modules.run("net_policy", networks=[OTHER])


def test_a_policy_that_leaves_the_controller_its_way_is_confirmed(host, modules, guest):
    with controller(host, "net_policy", kept_open(host), **guest) as process:
        told = result(process)
    assert not told["failed"] and told["guard"]["state"] == "confirmed", told
    assert not open_change(host) and "virtnet-guard" not in looked_at(host)
    with controller(host, "net_policy", {"networks": [network(host, deny_host=False)], "confirm": False}, **guest) as process:
        told = result(process)
    assert not told["failed"] and "guard" not in told, told
    # Whoever comes by the LAN is not met by these rules.
    assert "guard" not in modules.run("net_policy", **closed(host))


def test_the_controller_dies(host, modules, guest):
    console(host, "nft add rule inet virtnet made_by_virtnet_kvm counter")
    before = looked_at(host)
    with controller(host, "net_policy", closed(host), **guest) as process:
        until(lambda: open_change(host))
        kill(process)
    result = modules("net_policy", networks=[OTHER])
    assert result["failed"] and "waits for its confirmation" in result["msg"], result
    until(lambda: not open_change(host))
    assert looked_at(host) == before


@pytest.mark.parametrize("guest", [[], [OTHER]], ids=["none", "another"], indirect=True)
def test_the_host_restarts_in_the_middle(host, guest):
    before = looked_at(host)
    with controller(host, "net_policy", {**closed(host), "confirm_timeout": 120}, **guest) as process:
        until(lambda: "grdnet" in console(host, "ls /etc/virtnet/networks.d") and UNIT in console(host, WANTS))
        lab(host, "kill", host.backend.host)
        kill(process)
    lab(host, "start", host.backend.host)
    # A boot loses what was made by hand.
    assert looked_at(host) == "".join(line for line in before.splitlines(keepends=True) if not BY_HAND.search(line))
