# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at all hosts together, with their own tools; in the order of the tests, for a host that was off has new processes."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import testinfra
from controllers import until
from guest_agent import BUSYBOX, in_guest, ping
from lab_side import lab
from module_calls import Modules

KVM = ("kvm1", "kvm2", "kvm3")
NUMBERS = dict(zip(KVM, (110, 111, 112)))
#: Whose hand-made neighbour is the machine outside.
EDGES = ("kvm1", "kvm2")
#: Segments over all hosts: network, VXLAN device, identifier. The second is routed, with a gateway on each host.
SEGMENTS = {"evlab": ("vx2d56e3a9", 4711), "evrt": ("vxa997acb0", 4712)}
SEGMENTS_AT = {"evlab": 120, "evrt": 121}
SHARED = {"10.10.121.0/24", "fd00:10:121::/64"}
EVERYBODY = "00:00:00:00:00:00"


@pytest.fixture(scope="module")
def fleet(request):
    inventory = request.config.getoption("--ansible-inventory")
    names = (*KVM, "gateway1", "outside1")
    return {name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory) for name in names}


def guest_subnets(name):
    return {f"10.10.{NUMBERS[name]}.0/24", f"fd00:10:{NUMBERS[name]}::/64"}


def by_bgp(machine):
    """Return the destinations to which BGP has given the kernel a route, but for that of the hand-made neighbour."""
    lines = machine.check_output("ip route show proto bgp; ip -6 route show proto bgp").splitlines()
    # A way by several hosts has a line for each of them, too.
    return {line.split()[0] for line in lines if not line[:1].isspace()} - {"198.51.100.0/24"}


def others(name):
    return set().union(*(guest_subnets(one) for one in KVM if one != name))


def everything():
    """What a machine that is no KVM host is told."""
    return set().union(*map(guest_subnets, KVM)) | SHARED


def neighbor(machine, address):
    return json.loads(machine.check_output(f"vtysh -c 'show bgp neighbors {address} json'"))[address]


@contextlib.contextmanager
def talking(fleet, figure, what, guest="rt0", to="10.10.111.251", most=0):
    """The guests of the first two hosts ping each other meanwhile, and no more than C(most) of it is lost."""
    file = "/tmp/multi_host.ping"
    command = f"ping -i 0.2 -w 600 {to} > {file} 2>&1 & echo $! > {file}.pid"
    in_guest(fleet["kvm1"], guest, BUSYBOX, "sh", "-c", command)
    try:
        yield
    finally:
        in_guest(fleet["kvm1"], guest, BUSYBOX, "sh", "-c", f"kill -INT $(cat {file}.pid)")
        time.sleep(1)
        text = in_guest(fleet["kvm1"], guest, BUSYBOX, "cat", file)[1]
        answered = {int(number) for number in re.findall(r" seq=(\d+) ", text)}
        # The last may have been on its way when it was told to end.
        lost = set(range(max(answered, default=0))) - answered
        figure(f"{what}: {len(lost)} of {len(answered)} pings lost between guests of the other two hosts")
    assert len(lost) <= most and len(answered) > 10


def lan(name):
    return f"10.77.0.1{name[-1]}"


def peers(machine, device):
    """Return the hosts to which a VXLAN device hands what is for everybody."""
    rows = json.loads(machine.check_output(f"bridge -j fdb show dev {device}"))
    return {row["dst"] for row in rows if row["mac"] == EVERYBODY}


def learning(machine, device):
    """Return whether a VXLAN device learns from frames, and whether its bridge does."""
    [row] = json.loads(machine.check_output(f"ip -j -d link show dev {device}"))
    return row["linkinfo"]["info_data"]["learning"], row["linkinfo"]["info_slave_data"]["learning"]


def converge(request, control):
    """Run the play once more, without the proof, with the segments told of in this way."""
    inventory, playbook = request.config.getoption("--ansible-inventory"), Path(__file__).resolve().parents[1] / "converge.yml"
    command = ["ansible-playbook", "-i", inventory, playbook, "--skip-tags", "proof", "-e", f"fleet_control={control}"]
    done = subprocess.run(command, check=False, timeout=600, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


@pytest.mark.parametrize("name", KVM)
def test_the_kernel_has_the_ways_to_the_guests_of_others_and_no_more(fleet, name):
    assert by_bgp(fleet[name]) == others(name)
    rows = json.loads(fleet[name].check_output("ip -j route show proto bgp"))
    assert {row["dev"] for row in rows} == {"eth0"}


def test_a_peer_that_is_no_kvm_host_has_them_too(fleet):
    assert by_bgp(fleet["gateway1"]) == everything()
    assert by_bgp(fleet["outside1"]) == set()


@pytest.mark.parametrize("name", KVM)
def test_guests_reach_each_other_with_their_own_addresses(fleet, name):
    for other in KVM:
        if other != name:
            assert ping(fleet[name], "rt0", f"10.10.{NUMBERS[other]}.251")
            assert ping(fleet[name], "rt0", f"fd00:10:{NUMBERS[other]}::251")


@pytest.mark.parametrize("network", SEGMENTS)
@pytest.mark.parametrize("name", KVM)
def test_a_segment_knows_its_hosts_and_guests_by_evpn(fleet, name, network):
    host, (device, vni) = fleet[name], SEGMENTS[network]
    rest = [one for one in KVM if one != name]
    assert learning(host, device) == (False, False)
    assert peers(host, device) == set(map(lan, rest))
    assert "peers=''" in host.check_output(f"cat /etc/virtnet/vxlan.d/{device}")
    guest = {"evlab": "ev0", "evrt": "er0"}[network]
    for other in rest:
        address = f"10.10.{SEGMENTS_AT[network]}.{NUMBERS[other]}"
        assert ping(host, guest, address), address
        mac = fleet[other].check_output(f"virsh -q domiflist {guest}").split()[-1]
        rows = json.loads(host.check_output(f"bridge -j fdb show dev {device}"))
        told = [row for row in rows if row["mac"] == mac and "extern_learn" in row["flags"] and "dst" in row]
        assert [row["dst"] for row in told] == [lan(other)], rows
    assert f"VNI: {vni}" in host.check_output(f"vtysh -c 'show evpn vni {vni}'")


def test_segments_of_others_are_not_told(fleet):
    """FRR knows all of a host's VXLAN devices, or none; what is not declared stays on its host."""
    host, watcher = fleet["kvm1"], fleet["kvm2"]
    for line in (
        "add hand0 type bridge", f"add handvx type vxlan id 4799 local {lan('kvm1')} dstport 4790 nolearning",
        "set handvx master hand0 up", "set hand0 up",
    ):  # fmt: skip
        host.check_output(f"ip link {line}")
    try:
        until(lambda: "4799" in host.check_output("vtysh -c 'show evpn vni'"), 10)
        time.sleep(2)
        said = watcher.check_output("vtysh -c 'show bgp l2vpn evpn'")
        assert ":4711" in said and "4799" not in said
    finally:
        host.check_output("ip link del handvx; ip link del hand0")


@pytest.mark.parametrize("name", KVM)
def test_what_others_have_configured_is_there_to_the_line(fleet, name):
    text = fleet[name].check_output("cat /etc/frr/frr.conf")
    head, begin, _tail = text.partition("! virtnet.kvm: what follows")
    assert begin and head.startswith("! The site's own, made by hand.\n") and " ! quickly\n" in head and "VIRTNET" not in head
    assert fleet[name].check_output("stat -c '%U:%G %a' /etc/frr/frr.conf") == "frr:frr 640"
    running = fleet[name].check_output("vtysh -c 'show running-config'")
    said = {line.strip() for line in head.splitlines() if line.strip() and "!" not in line}
    assert said - {line.strip() for line in running.splitlines()} <= {"exit", "exit-address-family"}


@pytest.mark.parametrize("name", KVM)
def test_its_daemons_were_not_restarted(fleet, name):
    assert fleet[name].check_output("pidof zebra ospfd") == fleet[name].check_output("cat /run/multi_host.pids")
    assert fleet[name].check_output("systemctl show -p NRestarts frr") == "NRestarts=0"
    assert "bgpd" in fleet[name].check_output("vtysh -c 'show daemons'")


@pytest.mark.parametrize("name", EDGES)
def test_the_hand_made_session_has_lasted(fleet, name):
    found = neighbor(fleet[name], "10.77.0.2")
    assert (found["connectionsEstablished"], found["connectionsDropped"]) == (1, 0)
    assert "198.51.100.0/24" in fleet[name].check_output("ip route show proto bgp")


@pytest.mark.parametrize("name", KVM)
def test_another_call_changes_what_it_names_without_a_new_session(fleet, name):
    """Lists that are changed are asked for at once, and nobody's session notices."""
    host = fleet[name]
    modules = Modules(host)
    other = "kvm2" if name == "kvm1" else "kvm1"
    subnet, address = f"10.10.{NUMBERS[other]}.0/24", f"10.77.0.1{other[-1]}"
    before = host.check_output("cat /etc/frr/frr.conf")
    empty = {"asn": 64512, "accept": [{"name": f"{other}/routenet", "prefixes": []}]}
    full = {"asn": 64512, "accept": [{"name": f"{other}/routenet", "prefixes": sorted(guest_subnets(other))}]}
    modules.step("frr_bgp", "bgp", **empty)
    until(lambda: subnet not in by_bgp(host), 5)
    modules.step("frr_bgp", "bgp", **full)
    until(lambda: subnet in by_bgp(host), 5)
    assert host.check_output("cat /etc/frr/frr.conf") == before
    found = neighbor(host, address)
    assert found["connectionsDropped"] == 0 and found["bgpState"] == "Established"


@pytest.mark.parametrize("name", KVM)
def test_changes_by_hand_are_mended(fleet, name):
    host, modules = fleet[name], Modules(fleet[name])
    same = {"asn": 64512}
    assert not modules.run("frr_bgp", **same)["changed"]
    by_hand = ("configure terminal", "no ip prefix-list VIRTNET-IN4", "ip prefix-list HANDY seq 3 permit any")
    host.check_output("vtysh " + " ".join(f"-c '{one}'" for one in by_hand))
    real = modules.step("frr_bgp", "bgp", **same)
    assert [one["op"] for one in real["actions"]] == ["reload"]
    assert "prefix-list HANDY" in host.check_output("vtysh -c 'show running-config'")
    host.check_output("vtysh -c 'configure terminal' -c 'no ip prefix-list HANDY'")
    # Who saves what runs loses his comments; ours are known by their names.
    host.check_output("cp -p /etc/frr/frr.conf /run/frr.conf.kept && vtysh -c 'write memory'")
    assert not modules.run("frr_bgp", **same)["changed"]
    host.check_output("cp -p /run/frr.conf.kept /etc/frr/frr.conf && rm -f /etc/frr/frr.conf.sav")
    assert not modules.run("frr_bgp", **same)["changed"]


def test_what_is_refused(fleet):
    edge, other = Modules(fleet["kvm1"]), Modules(fleet["kvm3"])
    message = edge.refused("frr_bgp", asn=65000)
    assert message.startswith("asn: bgp: BGP has the AS number 64512 in FRR's running configuration, not 65000"), message
    message = edge.refused("frr_bgp", asn=64512, neighbors=[{"name": "edge", "asn": 65099, "addresses": ["10.77.0.2"]}])
    assert message.startswith("neighbors: edge: 10.77.0.2 is a neighbour"), message
    message = other.refused("frr_bgp", asn=64512, accept=[{"name": "lan", "prefixes": ["10.77.0.0/16 le 24"]}])
    assert message.startswith("accept: lan: 10.77.0.0/16 le 24 holds the address"), message


def test_an_as_number_of_ours_can_change(fleet):
    """The gateway's instance is ours alone: what is internal becomes external, and internal again."""
    gateway, modules = fleet["gateway1"], Modules(fleet["gateway1"])
    real = modules.step("frr_bgp", "bgp", asn=64600)
    assert real["actions"][-1]["outage_s"] > 0 and "AS 64512 becomes 64600" in real["actions"][-1]["note"]
    assert "local AS number 64600" in gateway.check_output("vtysh -c 'show bgp ipv4 unicast summary'")
    modules.step("frr_bgp", "bgp", asn=64512)
    until(lambda: by_bgp(gateway) == everything(), 30)


@pytest.mark.parametrize("name", ["kvm1", "kvm3"])
def test_a_network_that_is_down_is_not_announced(fleet, figure, name):
    host, release = fleet[name], fleet[name].check_output("vtysh -c 'show version'").split()[1]
    watchers = [fleet[one] for one in (*KVM, "gateway1") if one != name]
    host.check_output("virsh destroy rt0")
    began = time.monotonic()
    host.check_output("virsh net-destroy routenet")
    took = until(lambda: all(not guest_subnets(name) & by_bgp(one) for one in watchers), 30, began)
    figure(f"{name}'s network is stopped (FRR {release}): withdrawn everywhere after {took} s")
    host.check_output("virsh net-start routenet")
    began = time.monotonic()
    host.check_output("virsh start rt0")
    took = until(lambda: all(guest_subnets(name) <= by_bgp(one) for one in watchers), 30, began)
    figure(f"{name}'s network starts, with a guest (FRR {release}): announced everywhere after {took} s")
    until(lambda: host.run("virsh qemu-agent-command rt0 '{\"execute\":\"guest-ping\"}'").rc == 0, 60)


@pytest.mark.parametrize("name", ["kvm1", "kvm2"])
def test_a_manager_of_links_that_restarts_takes_no_route_away(fleet, name):
    """systemd-networkd removes routes that it does not know; FRR puts its own back."""
    fleet[name].check_output("systemctl restart systemd-networkd")
    until(lambda: others(name) <= by_bgp(fleet[name]), 10)
    time.sleep(2)
    assert by_bgp(fleet[name]) == others(name)


def test_a_host_that_goes_away_and_comes_back(fleet, figure):
    with talking(fleet, figure, "kvm3's power is cut"):
        began = time.monotonic()
        lab(fleet["kvm3"], "kill", "kvm3")
        took = until(lambda: all(not guest_subnets("kvm3") & by_bgp(fleet[one]) for one in (*EDGES, "gateway1")), 30, began)
        figure(f"kvm3's power is cut: withdrawn everywhere after {took} s")
        devices = [device for device, _vni in SEGMENTS.values()]
        took = until(lambda: all(lan("kvm3") not in peers(fleet[one], device) for one in EDGES for device in devices), 30, began)
        figure(f"kvm3's power is cut: out of all segments after {took} s")
        lab(fleet["kvm3"], "start", "kvm3")
        took = until(lambda: all(guest_subnets("kvm3") <= by_bgp(fleet[one]) for one in (*EDGES, "gateway1")), 90)
        figure(f"kvm3 boots, with its guest: announced {took} s after it is up")
        took = until(lambda: ping(fleet["kvm1"], "rt0", "10.10.112.251"), 90)
        assert ping(fleet["kvm2"], "rt0", "fd00:10:112::251") and by_bgp(fleet["kvm3"]) == others("kvm3")
        until(lambda: ping(fleet["kvm1"], "ev0", "10.10.120.112") and ping(fleet["kvm2"], "er0", "10.10.121.112"), 90)
        assert [learning(fleet["kvm3"], device) for device in devices] == [(False, False)] * 2
    assert not Modules(fleet["kvm3"]).run("frr_bgp", asn=64512)["changed"]


def test_a_host_whose_cable_is_pulled(fleet, figure):
    with talking(fleet, figure, "kvm3's cable is pulled"):
        began = time.monotonic()
        lab(fleet["kvm3"], "exec", "kvm3", "--", "ip", "link", "set", "eth0", "down")
        took = until(lambda: all(not guest_subnets("kvm3") & by_bgp(fleet[one]) for one in (*EDGES, "gateway1")), 30, began)
        figure(f"kvm3's cable is pulled: withdrawn everywhere after {took} s")
        lab(fleet["kvm3"], "exec", "kvm3", "--", "ip", "link", "set", "eth0", "up")
        took = until(lambda: all(guest_subnets("kvm3") <= by_bgp(fleet[one]) for one in (*EDGES, "gateway1")), 60)
        figure(f"kvm3's cable is back: announced after {took} s")
        assert until(lambda: ping(fleet["kvm1"], "rt0", "10.10.112.251"), 60) < 60


def test_segments_can_do_without_frr_and_have_it_again(fleet, request, figure):
    """From EVPN to a list of peers and back; guests may miss a second of it, where FRR takes its peers away."""
    device, vni = SEGMENTS["evlab"]
    with talking(fleet, figure, "from EVPN to a list of peers", "ev0", "10.10.120.111", most=25):
        converge(request, "static")
    for name in KVM:
        assert learning(fleet[name], device) == (True, True)
        assert peers(fleet[name], device) == {lan(one) for one in KVM if one != name}
        running = fleet[name].check_output("vtysh -c 'show running-config'")
        assert "advertise-all-vni" not in running and f":{vni}" not in running and "VIRTNET-IBGP-EVPN4" in running
    assert "changed=0" in converge(request, "static").split("PLAY RECAP")[1].splitlines()[2]
    with talking(fleet, figure, "from a list of peers to EVPN", "ev0", "10.10.120.111"):
        converge(request, "evpn")
        time.sleep(10)
    for name in KVM:
        assert learning(fleet[name], device) == (False, False)
        until(lambda host=fleet[name], name=name: peers(host, device) == {lan(one) for one in KVM if one != name}, 10)
    assert by_bgp(fleet["kvm1"]) == others("kvm1")


def test_the_hand_made_session_has_lasted_all_the_time(fleet):
    for name in EDGES:
        found = neighbor(fleet[name], "10.77.0.2")
        assert (found["connectionsEstablished"], found["connectionsDropped"]) == (1, 0)
