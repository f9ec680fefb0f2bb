# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is foretold, refused, left for later, and put back where a restart fails, under guests that ping."""

from __future__ import annotations

import time

import pytest
from live_guests import GUESTS, network

NUMBER = 2
NAME = f"live{NUMBER}"


def run(bench, **arguments):
    return bench.modules.run("virt_net_model", **arguments)


def xml(bench):
    return [bench.host.check_output(f"virsh net-dumpxml {flag} {NAME}") for flag in ("", "--inactive")]


def nothing_lost(told, what, pings):
    mine = told.tell(what, None, pings, NUMBER)
    assert [one.lost for one in mine] == [0] * len(mine), (what, mine)


def test_what_running_guests_would_notice_is_refused(told):
    before = xml(told)
    with told.pinging([NUMBER]) as pings:
        wanted = [network(NUMBER, mtu=1400)]
        message = told.modules.refused("virt_net_model", networks=wanted, disruption="live_only")
    assert "changing mtu restarts the network under the running guests vm0, vm1" in message
    assert xml(told) == before
    nothing_lost(told, "live_only, refused", pings)


def test_it_is_left_for_the_next_start(told):
    wanted = [network(NUMBER, mtu=1400)]
    with told.pinging([NUMBER]) as pings:
        result = told.modules.step("virt_net_model", "networks", networks=wanted, disruption="defer")
    assert [one["op"] for one in result["actions"]] == ["define"] and result["networks"][0]["pending"] == ["mtu"]
    nothing_lost(told, "defer", pings)
    result = run(told, networks=wanted)
    assert [(one["op"], one["note"], one["guests"]) for one in result["actions"]] == [("restart", "mtu", list(GUESTS))]
    assert result["networks"][0]["pending"] == []
    run(told, networks=[network(NUMBER, mtu=0)])


def test_a_start_that_fails_is_taken_back(told):
    """dnsmasq refuses an option that it does not know, when the network starts."""
    before, plugged = xml(told), told.plugged()
    wanted = [network(NUMBER, dnsmasq_options=["no-such-option"])]
    with told.pinging([NUMBER]) as pings:
        result = told.modules("virt_net_model", networks=wanted)
    assert result["failed"] and NAME in result["msg"] and not result["changed"], result
    assert xml(told) == before and told.plugged() == plugged
    mine = told.tell("a start that fails", {"effect": "replug", "outage_s": 2}, pings, NUMBER)
    assert max(one.longest_s for one in mine) <= 2
    assert run(told, networks=[network(NUMBER)])["actions"] == []


def test_a_restart_is_taken_back(told):
    """What comes after it fails: the folder of libvirt's autostart links cannot be written to."""
    folder = "/etc/libvirt/qemu/networks/autostart"
    before, plugged = xml(told), told.plugged()
    told.host.run_test(f"mkdir -p {folder} && mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}")
    try:
        with told.pinging([NUMBER]) as pings:
            result = told.modules("virt_net_model", networks=[dict(network(NUMBER, mtu=1400), autostart=True)])
    finally:
        told.host.run_test(f"umount {folder}")
    assert result["failed"] and NAME in result["msg"] and not result["changed"], result
    assert xml(told) == before and told.plugged() == plugged
    mine = told.tell("a restart that is taken back", {"effect": "replug", "outage_s": 2}, pings, NUMBER)
    assert max(one.longest_s for one in mine) <= 2


@pytest.mark.parametrize("by_hand", ["net-destroy", "net-destroy, net-start"])
def test_guests_that_somebody_cut_off_are_put_back(told, by_hand):
    """virsh leaves their NICs in no bridge, and so does the next start of the network."""
    plugged = told.plugged()
    for verb in by_hand.split(", "):
        told.host.check_output(f"virsh {verb} {NAME}")
    assert told.plugged() != plugged
    result = told.modules.step("virt_net_model", "networks", networks=[network(NUMBER)])
    plug = result["actions"][-1]
    assert (plug["op"], plug["effect"], plug["guests"]) == ("plug", "live", list(GUESTS))
    assert told.plugged() == plugged
    with told.pinging([NUMBER]) as pings:
        time.sleep(3)
    nothing_lost(told, f"after {by_hand} by hand", pings)


@pytest.fixture
def transient(told):
    """Network number 3, whose definition is gone: it is there as long as it runs."""
    told.host.run_test("virsh net-undefine live3")
    yield dict(network(3), persistent=False)
    run(told, networks=[network(3)])


def test_a_network_that_is_stored_nowhere_is_restarted_too(told, transient):
    plugged = told.plugged()
    assert run(told, networks=[transient])["actions"] == []
    with told.pinging([3]) as pings:
        result = told.modules.step("virt_net_model", "networks", networks=[dict(transient, mtu=1400)])
    assert [one["op"] for one in result["actions"]] == ["restart"]
    mine = told.tell("a transient network's mtu", result["actions"][0], pings, 3)
    assert max(one.longest_s for one in mine) <= 1
    assert told.plugged() == plugged
    broken = dict(transient, mtu=1400, dnsmasq_options=["no-such-option"])
    result = told.modules("virt_net_model", networks=[broken])
    assert result["failed"] and told.plugged() == plugged
    assert "stored nowhere" in told.modules.refused("virt_net_model", networks=[dict(transient, mtu=0)], disruption="defer")
    run(told, networks=[dict(transient, mtu=0)])


def test_a_nic_that_names_the_bridge_is_put_back(told):
    """Of a guest's second kind of NIC libvirt knows no network, and the network no port."""
    mac = "52:54:00:00:65:98"
    told.host.run_test(f"virsh attach-interface vm0 bridge livebr{NUMBER} --model virtio --mac {mac} --live --config")
    try:
        action = run(told, check=True, networks=[network(NUMBER, mtu=1400)])["actions"][-1]
        assert mac in [nic["mac"] for nic in action["nics"]]
        run(told, networks=[network(NUMBER, mtu=1400)])
        links, _ports = told.plugged()
        assert links[mac][2] == f"livebr{NUMBER}"
        run(told, networks=[network(NUMBER, mtu=0)])
    finally:
        told.host.run(f"virsh detach-interface vm0 bridge --mac {mac} --live --config")


def test_a_macvtap_nic_stays_and_its_port_is_put_back(told):
    """A macvtap is bound to its link, not to libvirt's network: nobody notices, and the network knows its NIC again."""
    mac = "52:54:00:00:65:97"
    plain = {"name": "livemac", "model": "bridged", "attach": "macvtap", "uplink": "livedum0", "autostart": False}
    told.host.run_test("ip link add livedum0 type veth peer name livedum1 && ip link set livedum0 up")
    try:
        run(told, networks=[plain])
        told.host.run_test(f"virsh attach-interface vm0 network livemac --model virtio --mac {mac} --live")
        look = f"virsh -q domiflist vm0 | grep {mac}; virsh -q net-port-list livemac; ip -br link | grep '^macvtap.*@livedum0'"
        before = told.host.check_output(look)
        assert len(before.splitlines()) == 3, before
        changed = {**plain, "virtualport": {"type": "802.1Qbh", "profile_id": "one"}}
        result = told.modules.step("virt_net_model", "networks", networks=[changed], disruption="live_only")
        assert [(one["op"], one["effect"]) for one in result["actions"]] == [("define", "none"), ("restart", "live")]
        assert told.host.check_output(look) == before
        message = told.modules.refused("virt_net_model", networks=[{**plain, "uplink": "eth0"}])
        assert "uplink" in message and "under the running guests vm0" in message
    finally:
        told.host.run(f"virsh detach-interface vm0 direct --mac {mac} --live; sleep 3")
        run(told, networks=[{"name": "livemac", "state": "absent"}])
        told.host.run("ip link del livedum0")


def test_nics_are_put_back_on_their_own_host_only(told):
    """A remote URI is one with a host in it, here the host itself."""
    key = "/root/live-key"
    told.host.run_test(f"ssh-keygen -q -t ed25519 -N '' -C live-test -f {key} && cp -a /root/.ssh /root/.ssh-before")
    told.host.run_test(f"cat {key}.pub >> /root/.ssh/authorized_keys")
    try:
        uri = f"qemu+ssh://root@127.0.0.1/system?keyfile={key}&no_verify=1"
        message = told.modules.refused("virt_net_model", networks=[network(NUMBER, mtu=1400)], uri=uri)
        assert "under the running guests vm0, vm1, whose NICs can only be put back on their own host" in message
        left = run(told, networks=[network(NUMBER, mtu=1400)], uri=uri, disruption="defer")
        assert [one["op"] for one in left["actions"]] == ["define"]
        run(told, networks=[network(NUMBER, mtu=0)], uri=uri, disruption="defer")
    finally:
        told.host.run_test(f"rm -rf /root/.ssh {key} {key}.pub && mv /root/.ssh-before /root/.ssh")


def test_what_a_running_nic_keeps_is_said(told):
    result = run(told, check=True, networks=[network(6, vlan={"tags": [{"id": 42}]}, virtualport={"type": "openvswitch"})])
    actions = [(one["op"], one["effect"], one["guests"]) for one in result["actions"]]
    assert actions == [("define", "none", []), ("restart", "live", [])]
