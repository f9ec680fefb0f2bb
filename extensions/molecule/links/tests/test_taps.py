# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

MAC = "02:00:00:00:00:99"
STEPS = [
    [{"name": "lnktap0"}],
    [{"name": "lnktap0", "state": "down"}, {"name": "lnktun0", "mode": "tun", "addresses": ["10.99.0.1/30", "fd00:99::1/64"]}],
    [{"name": "lnktap0", "mtu": 9000, "mac": MAC, "addresses": ["10.99.1.1/24", "10.99.1.2/24", "fd00:99:1::1/64"]}],
    [{"name": "lnktap0", "addresses": ["10.99.1.2/24"], "owner": "nobody", "multi_queue": True, "vnet_hdr": True}],
    [{"name": "lnktun0", "state": "down"}],
    [{"name": "lnktun0", "state": "up"}],
    [{"name": "lnktap0", "addresses": []}, {"name": "lnktun0", "mtu": 1400}],
    [{"name": "lnktap0", "state": "absent"}, {"name": "lnktun0", "state": "absent"}],
]
STEPS_END = {"taps": STEPS[-1]}


@pytest.mark.parametrize("manager", ["networkd", "none"])
def test_cycle(modules, manager):
    if manager == "none":
        # The kernel forgets what a link that is down had, and there is no file that remembers it.
        steps = STEPS[:4] + STEPS[6:]
    else:
        steps = STEPS
    try:
        for taps in steps:
            modules.step("tap_iface", "taps", taps=taps, manager=manager)
    finally:
        modules.run("tap_iface", **STEPS_END, manager=manager)


def test_the_kernel_has_what_is_said(host, modules):
    try:
        modules.run("tap_iface", taps=[{"name": "lnktap0", "mac": MAC, "mtu": 1400, "addresses": ["10.99.1.1/24"]}])
        link = modules.links()["lnktap0"]
        assert link["linkinfo"]["info_data"]["persist"] and link["address"] == MAC and link["mtu"] == 1400
        assert "UP" in link["flags"] and link["ifalias"] == "virtnet.kvm"
        assert "10.99.1.1" in host.interface("lnktap0").addresses
        assert host.file("/etc/systemd/network/00-virtnet-lnktap0.netdev").mode == 0o644
        before = link["ifindex"]
        modules.run("tap_iface", taps=[{"name": "lnktap0", "addresses": ["10.99.2.1/24"]}])
        assert modules.links()["lnktap0"]["ifindex"] == before
    finally:
        modules.run("tap_iface", taps=[{"name": "lnktap0", "state": "absent"}])
    assert not host.interface("lnktap0").exists


def test_drift_of_both_kinds_is_seen_and_mended(host, modules):
    item = {"name": "lnktap0", "mtu": 1400}
    modules.run("tap_iface", taps=[item])
    try:
        host.run_test("ip link set lnktap0 down mtu 1300")
        assert [one["note"] for one in modules.run("tap_iface", taps=[item])["actions"]] == ["state, mtu"]
        host.run_test("sed -i s/1400/1500/ /etc/systemd/network/00-virtnet-lnktap0.network")
        assert [one["op"] for one in modules.run("tap_iface", taps=[item])["actions"]] == ["store", "reload"]
        assert not modules.run("tap_iface", taps=[item])["changed"]
    finally:
        modules.run("tap_iface", taps=[{"name": "lnktap0", "state": "absent"}])


def test_a_foreign_tap(host, modules):
    host.run_test("ip tuntap add dev lnkfor0 mode tap && ip link set lnkfor0 alias theirs address 02:00:00:00:00:77")
    try:
        assert "not ours" in modules.refused("tap_iface", taps=[{"name": "lnkfor0"}])
        modules.step("tap_iface", "taps", taps=[{"name": "lnkfor0", "mtu": 1300}], adopt=True)
        modules.step("tap_iface", "taps", taps=[{"name": "lnkfor0", "state": "absent"}], adopt=True, again=False)
        link = modules.links()["lnkfor0"]
        assert (link["ifalias"], link["mtu"], "UP" in link["flags"]) == ("theirs", 1500, False)
    finally:
        host.run_test("ip link del lnkfor0")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"name": "a-name-of-16-char"}, "at most 15"),
        ({"name": "lnktap9", "owner": "nobodyatall"}, "no user nobodyatall"),
        ({"name": "lnktap9", "bridge": "lnknobr"}, "no bridge lnknobr"),
        ({"name": "lnktap9", "mode": "tun", "mac": "02:00:00:00:00:01"}, "a tun has no mac"),
        ({"name": "lnktap9", "addresses": ["fe80::1/64"]}, "link-local"),
        ({"name": "lnktap9", "addresses": ["10.0.0.0/24"]}, "network address"),
    ],
)
def test_refusals(host, modules, item, words):
    assert words in modules("tap_iface", taps=[item])["msg"]
    assert not host.interface("lnktap9").exists


def test_one_that_fails_is_put_back_and_the_others_stand(host, modules):
    """IPv6 is off on the middle one's bridge ports' default: its address is refused by the kernel."""
    host.run_test("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
    try:
        taps = [{"name": "lnkok0"}, {"name": "lnkbad0", "addresses": ["fd00:99::1/64"]}, {"name": "lnkok1"}]
        result = modules("tap_iface", taps=taps, manager="none")
        assert result["failed"] and "lnkbad0" in result["msg"] and result["changed"], result
        assert host.interface("lnkok0").exists and host.interface("lnkok1").exists and not host.interface("lnkbad0").exists
    finally:
        host.run_test("sysctl -qw net.ipv6.conf.default.disable_ipv6=0")
        modules.run("tap_iface", taps=[{"name": name, "state": "absent"} for name in ("lnkok0", "lnkok1")], manager="none")


def test_a_hundred(modules, figure):
    taps = [{"name": f"lnkmany{number}"} for number in range(100)]
    for manager in ("none", "networkd"):
        seconds = []
        for state in ("up", "up", "absent"):
            seconds.append(modules.timed("tap_iface", taps=[{**tap, "state": state} for tap in taps], manager=manager))
        figure(f"100 taps, manager {manager}: create, again, remove: {seconds} s")
