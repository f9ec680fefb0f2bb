# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Daemons that are stopped, killed, restarted or hang while modules need them: an error or success, and the next run mends it."""

from __future__ import annotations

import os

import pytest
from controllers import controller, result
from fault_cases import CASES, NETS, filled, gone, left, settled, taken_back

ALL = bool(os.environ.get("VIRTNET_TEST_MATRIX"))
SOCKETS = "libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
#: Whom a fault hits, once a call is on its way, and whom that may concern: how to do it again and again, and what mends it.
FAULTS = {
    "libvirtd killed": ("systemctl kill -s KILL libvirtd", "", ("networks", "policies")),
    "libvirtd restarted": ("systemctl restart libvirtd", "", ("networks", "policies", "rules")),
    "networkd restarted": ("systemctl restart systemd-networkd", "", ("bridges", "interfaces", "taps", "vxlans")),
    "networkd killed": ("systemctl kill -s KILL systemd-networkd", "", ("bridges", "interfaces")),
    # libvirt's own rules go with all others, and only a restart of it makes them anew.
    "nft flushed": ("nft flush ruleset", "systemctl restart libvirtd", ("policies", "rules", "networks")),
    "FRR restarted": ("systemctl try-restart frr", "", ("bgp",)),
    "firewalld reloaded": ("firewall-cmd --reload", "", ("policies", "rules")),
    "firewalld restarted": ("systemctl restart firewalld", "", ("policies",)),
}  # fmt: skip
#: What runs on no host unless a test wants it.
FIREWALLD = ["systemctl start firewalld"], ["systemctl stop firewalld"]
CHOSEN = [(fault, case) for fault, (_break, _mend, cases) in FAULTS.items() for case in cases[: None if ALL else 1]]
#: After how many seconds of a call it happens: its connection takes a while.
MOMENTS = (0.6, 0.9, 1.2, 1.6) if ALL else (0.8, 1.2)


@pytest.mark.parametrize(("fault", "case"), CHOSEN, ids=[f"{fault} {case}" for fault, case in CHOSEN])
def test_in_the_middle_of_a_call(host, modules, snapshot, table, lan, fault, case):
    breaks, mends, _cases = FAULTS[fault]
    case = CASES[case]
    steps, absent = [filled(one, lan) for one in case.steps], filled(case.absent, lan)
    needs, needless = FIREWALLD if fault.startswith("firewalld") else ([], [])
    for command in [*needs, *case.before]:
        host.run_test(command)
    ends = []
    try:
        # firewalld says that it is up before its tables are.
        before = settled(snapshot)
        for moment in MOMENTS:
            for wanted in [*steps, absent]:
                with controller(host, case.module, wanted) as call:
                    host.run(f"sleep {moment}; {breaks}; {mends or 'true'}")
                    ends.append("error" if result(call)["failed"] else "done")
                wait_for_daemons(host)
                modules.run(case.module, **wanted)
                assert not modules.run(case.module, **wanted)["changed"]
        taken_back(case, modules, absent)
        assert left(before, snapshot) == []
    finally:
        host.run(mends or "true")
        wait_for_daemons(host)
        modules(case.module, **absent)
        for command in [*case.after, *needless]:
            host.run(command)
    told = f"{ends.count('done')} done, {ends.count('error')} told as errors"
    table("daemons, in the middle of a call", [f"{fault:20} {case.module:16} {told}: survived"])


def wait_for_daemons(host):
    """Wait until the daemons are back, and links have their addresses."""
    host.run(
        "systemctl reset-failed; for n in $(seq 100); do systemctl is-active -q systemd-networkd libvirtd.socket &&"
        " networkctl status eth0 | grep -q 'State: routable' && break; sleep 0.1; done"
    )


@pytest.mark.parametrize("case", ["networks"])
def test_libvirt_is_stopped(host, modules, snapshot, table, lan, case):
    case = CASES[case]
    steps = [filled(one, lan) for one in case.steps]
    before = snapshot()
    try:
        host.run_test(f"systemctl stop {SOCKETS}")
        for wanted in [*steps, case.absent]:
            assert "libvirt does not answer" in modules.refused(case.module, **wanted)
        host.run_test("systemctl start libvirtd.socket")
        modules.run(case.module, **steps[0])
        taken_back(case, modules, case.absent)
        assert left(before, snapshot) == []
    finally:
        host.run("systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service")
    table("daemons that do not answer", [f"{'libvirtd stopped':20} {case.module:16} told as an error: survived"])


@pytest.mark.parametrize("hangs", ["before", "during"])
def test_libvirt_hangs(host, modules, snapshot, table, lan, hangs):
    """Stopped as by a debugger: it takes calls, and answers none."""
    case = CASES["networks"]
    before = snapshot()
    stop, go_on = (f"systemctl kill -s {signal} libvirtd" for signal in ("STOP", "CONT"))
    try:
        modules.run("virt_net_info")
        if hangs == "before":
            host.run_test(stop)
        with controller(host, case.module, case.steps[0]) as call:
            if hangs == "during":
                # As soon as it has something to do.
                wait = "for n in $(seq 400); do test -e /etc/libvirt/qemu/networks/flta.xml && break; sleep 0.02; done"
                host.run(f"{wait}; {stop}")
            told = result(call)
        assert told["failed"]
        assert "libvirt" in told["msg"]
        host.run_test(go_on)
        modules.run(case.module, **case.steps[0])
        assert not modules.run(case.module, **case.steps[0])["changed"]
        taken_back(case, modules, case.absent)
        assert left(before, snapshot) == []
    finally:
        host.run(go_on)
        modules(case.module, **case.absent)
    table("daemons that do not answer", [f"{f'libvirtd hangs {hangs}':20} {case.module:16} told as an error: survived"])


def test_networkd_is_down_for_seconds(host, modules, snapshot, table):
    """Its restart is waited for: a module that took it for not there would not tell it, and it would bring back what is gone."""
    case, wait = CASES["interfaces"], "/run/systemd/system/systemd-networkd.service.d"
    for command in case.before:
        host.run_test(command)
    try:
        before = snapshot()
        host.run_test(f"mkdir -p {wait}; printf '[Service]\\nRestartSec=3\\n' > {wait}/flt.conf; systemctl daemon-reload")
        for wanted in [*case.steps, case.absent]:
            kill = "systemctl kill -s KILL systemd-networkd; sleep 0.2"
            host.run_test(f"{kill}; systemctl is-active systemd-networkd | grep ^activating")
            result = modules.run(case.module, **wanted)
            assert result["manager"] == "networkd"
            wait_for_daemons(host)
            assert not modules.run(case.module, **wanted)["changed"]
        host.run_test(f"rm -r {wait}; systemctl daemon-reload")
        assert left(before, snapshot) == []
        # Stopped by somebody, with what we keep there: nothing is done behind its back, for its next start would undo it.
        modules.run(case.module, **case.steps[0])
        host.run_test("systemctl stop systemd-networkd.socket systemd-networkd.service")
        told = modules.refused(case.module, **case.absent)
        assert "systemd-networkd.service does not run, and keeps links of ours" in told
        assert [one["name"] for one in modules.run("host_iface_info", names=["fltveth"])["interfaces"]] == ["fltveth"]
        host.run_test("systemctl start systemd-networkd.socket systemd-networkd.service")
        wait_for_daemons(host)
        taken_back(case, modules, case.absent)
        assert left(before, snapshot) == []
    finally:
        host.run(f"rm -rf {wait}; systemctl daemon-reload; systemctl start systemd-networkd.socket systemd-networkd.service")
        wait_for_daemons(host)
        modules(case.module, **case.absent)
        for command in case.after:
            host.run(command)
    table("daemons that do not answer", [f"{'networkd down':20} {case.module:16} waited for, or told as an error: survived"])


def test_networkd_makes_a_removed_link_again(host, modules, snapshot, table):
    """As it does, one time in ten, if it starts between the end of the link and that of its files; here somebody else does."""
    bridge = {"bridges": [{"name": "fltbr0", "addresses": ["10.88.40.1/24"]}]}
    absent = {"bridges": gone("fltbr0")}
    before = snapshot()
    try:
        modules.run("host_bridge", **bridge)
        host.run_test(
            "systemd-run -q --collect sh -c"
            " 'while [ -e /sys/class/net/fltbr0 ]; do :; done; ip link add fltbr0 type bridge; touch /run/fltagain'"
        )
        modules.run("host_bridge", **absent)
        host.run_test("test -e /run/fltagain && ! test -e /sys/class/net/fltbr0")
        assert not modules.run("host_bridge", **absent)["changed"]
        assert left(before, snapshot) == []
    finally:
        modules("host_bridge", **absent)
        host.run("ip link del fltbr0; rm -f /run/fltagain")
    table("daemons, in the middle of a call", [f"{'networkd started':20} {'host_bridge':16} the link removed again: survived"])


#: libvirt's backend nftables needs actions of tc that not every kernel has; rules as it makes them, for the networks of the test.
LIKE_NFTABLES = (
    "nft -f - <<'END'\ntable ip libvirt_network {\n chain guest_output {\n  iif flt2 counter reject\n }\n"
    " chain guest_nat {\n  ip saddr 10.88.1.0/24 ip daddr 224.0.0.0/24 counter return\n"
    "  ip saddr 10.88.1.0/24 ip daddr != 10.88.1.0/24 counter masquerade\n }\n}\nEND"
)

NFTABLES_LEFT = "nft list table ip libvirt_network | grep 'flt2\\|10.88'"


@pytest.mark.parametrize("end", ["present", "absent"])
def test_libvirt_forgets_what_it_started(host, modules, snapshot, table, end):
    """Killed before it has noted that a network runs: its bridge and libvirt's rules are there, and nobody's any more."""
    # Of these two libvirt makes rules of its own.
    wanted = {"networks": [NETS[1], {**NETS[0], "firewall": "libvirt"}]}
    absent = {"networks": gone("flta", "fltb")}
    before = snapshot()
    try:
        modules.run("virt_net_model", **wanted)
        running = snapshot()["ruleset"]
        assert [line for line in running if "10.88.1.0/24" in line], "libvirt makes rules for the NAT network"
        host.run_test(LIKE_NFTABLES)
        forget = "rm /run/libvirt/network/flt[ab].xml; systemctl reset-failed; systemctl restart libvirtd"
        host.run_test(f"systemctl kill -s KILL libvirtd; {forget}")
        assert host.check_output("virsh -q net-list --name").split() == []
        if end == "present":
            told = modules.run("virt_net_model", **wanted)
            assert [one["op"] for one in told["actions"] if one["name"] == "flta"] == ["clear", "start"]
            assert host.run(NFTABLES_LEFT).stdout == ""
            assert not modules.run("virt_net_model", **wanted)["changed"]
            host.run_test("nft delete table ip libvirt_network")
            # Which of the two libvirt has started first, only it knows.
            assert sorted(snapshot()["ruleset"]) == sorted(running)
        taken_back(CASES["networks"], modules, absent)
        assert host.run(NFTABLES_LEFT).stdout == ""
    finally:
        modules("virt_net_model", **absent)
        host.run("nft delete table ip libvirt_network")
    assert left(before, snapshot) == []
    table("daemons that do not answer", [f"{'libvirtd forgets':20} {'virt_net_model':16} {end}: survived"])


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_dnsmasq_ends(host, modules, snapshot, table, signal):
    """libvirt does not notice; the next run has it started, and the network itself is not touched."""
    case = CASES["networks"]
    wanted, before = case.steps[0], snapshot()
    try:
        modules.run(case.module, **wanted)
        index = host.check_output("cat /sys/class/net/flt1/ifindex")
        host.run_test(f"pkill -{signal} -f '^[^ ]*dnsmasq .*/flta.conf'; sleep 0.3; ! pgrep -f '^[^ ]*dnsmasq .*/flta.conf'")
        predicted, real = modules.run(case.module, check=True, **wanted), modules.run(case.module, **wanted)
        assert [(one["name"], one["op"]) for one in real["actions"]] == [("flta", "serve")]
        assert predicted["actions"] == real["actions"]
        assert host.run("pgrep -f '^[^ ]*dnsmasq .*/flta.conf'").rc == 0
        assert host.check_output("cat /sys/class/net/flt1/ifindex") == index
        assert "virtnet-nobody" not in host.check_output("virsh net-dumpxml flta; cat /var/lib/libvirt/dnsmasq/flta.*")
        assert not modules.run(case.module, **wanted)["changed"]
        taken_back(case, modules, case.absent)
        assert left(before, snapshot) == []
    finally:
        modules(case.module, **case.absent)
    table("daemons that do not answer", [f"{f'dnsmasq {signal}':20} {case.module:16} started by the next run: survived"])
