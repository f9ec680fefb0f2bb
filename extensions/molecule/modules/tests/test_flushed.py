# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our rules under the hands of others: whoever flushes them, they are there again at once; gone for good when they shall be."""

from __future__ import annotations

import time

import pytest
from lab_side import console, lab

UNIT = "virtnet-firewall.service"
NETWORKS = [
    {"name": "flnat", "model": "nat", "bridge": "flbr0", "addresses": ["10.94.1.1/24", "fd00:94:1::1/64"]},
    {"name": "fliso", "model": "isolated", "bridge": "flbr1"},
]
#: Each takes our rules away; libvirt's too, where they are in nft.
FLUSHES = {
    "nft flush ruleset": "nft flush ruleset",
    "nft delete table": "nft delete table bridge virtnet",
    "nftables.service restarts": "systemctl restart nftables.service",
    "nftables.service reloads": "systemctl start nftables.service; systemctl reload nftables.service",
    "nftables.service stops": "systemctl start nftables.service; systemctl stop nftables.service",
}


def ours(host):
    """Return our rules as the kernel has them, nothing while a part of them is gone."""
    found = [host.run(f"nft list table {one}") for one in ("inet virtnet", "bridge virtnet")]
    return "".join(one.stdout for one in found) if all(one.rc == 0 for one in found) else ""


def again(condition, patience_s=20):
    """Wait for it; return after how many seconds it was so."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + patience_s, "it never came to that"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def rules(host, modules):
    gone = [{**one, "state": "absent"} for one in NETWORKS]
    modules.run("net_policy", networks=NETWORKS)
    modules.run("nat_rule", networks=NETWORKS)
    # A second is what the watch needs until it listens.
    again(lambda: host.run(f"pgrep -f 'nft monitor' && systemctl is-active {UNIT}").rc == 0)
    try:
        yield ours(host)
    finally:
        for name in ("nat_rule", "net_policy"):
            modules.run(name, networks=gone)
        # What nftables.service loaded goes as it came; others' rules went with ours.
        host.run_test("systemctl stop nftables.service && systemctl try-restart libvirtd.service")


@pytest.mark.parametrize("how", FLUSHES)
def test_flushed_rules_are_there_again(host, modules, rules, figure, how):
    assert "flbr0" in rules and "flbr1" in rules
    # Timed on the host: until both tables are there, or are gone for good.
    there = "nft list chain inet virtnet made_by_virtnet_kvm && nft list chain bridge virtnet made_by_virtnet_kvm"
    wait = f"for one in $(seq 500); do ({there}) > /dev/null 2>&1 && break; sleep 0.02; done"
    milliseconds = int(host.check_output(f"({FLUSHES[how]}); b=$(date +%s%N); {wait}; echo $((($(date +%s%N) - b) / 1000000))"))
    again(lambda: ours(host) == rules)
    figure(f"{how}: our rules are there again {milliseconds} ms later")
    for name in ("net_policy", "nat_rule"):
        result = modules.run(name, networks=NETWORKS)
        assert not result["changed"], str(result["actions"])


def test_the_watch_is_watched(host, modules, rules):
    """It ends, and comes again; it is stopped, and a run sees that and starts it."""
    host.run_test(f"systemctl kill --kill-whom=all --signal=KILL {UNIT}")
    again(lambda: host.run(f"systemctl is-active {UNIT}").stdout.strip() == "active")
    host.run_test("nft flush ruleset")
    again(lambda: ours(host) == rules)
    host.run_test(f"systemctl stop {UNIT} && nft flush ruleset")
    result = modules.step("net_policy", "networks", networks=NETWORKS)
    assert "unit at boot: not running" in result["actions"][0]["note"], result["actions"]
    assert ours(host) == rules and host.service(UNIT).is_running


def test_tables_that_sleep_are_woken(host, modules, rules):
    """They list all of their rules, and none is in force."""
    host.run_test("nft add table inet virtnet '{ flags dormant; }'")
    result = modules.step("net_policy", "networks", networks=NETWORKS)
    assert "flags" in result["actions"][0]["note"], result["actions"]
    assert "dormant" not in ours(host)


def test_what_began_while_the_rules_were_gone_is_cut(host, modules, rules):
    host.run_test(f"systemctl stop {UNIT} && nft flush ruleset")
    new = "conntrack -I -p tcp --state ESTABLISHED --timeout 600 --sport 1000 --dport 22"
    # From outside to a NAT guest; and from it to its host, which it may.
    host.run_test(f"{new} -s 192.0.2.9 -d 10.94.1.2 && {new} -s 10.94.1.2 -d 10.94.1.1")
    try:
        modules.run("net_policy", networks=NETWORKS)
        left = host.check_output("conntrack -L -p tcp 2> /dev/null")
        assert "src=192.0.2.9" not in left and "src=10.94.1.2 dst=10.94.1.1" in left
    finally:
        host.run("conntrack -D -s 10.94.1.2; conntrack -D -s 192.0.2.9")


def test_rules_that_shall_go_stay_away(host, modules, rules):
    gone = [{**one, "state": "absent"} for one in NETWORKS]
    for name in ("nat_rule", "net_policy"):
        modules.run(name, networks=gone)
    assert not host.file("/etc/virtnet").exists and not host.service(UNIT).is_running
    time.sleep(3)
    assert "virtnet" not in host.check_output("nft list tables")
    assert host.run("pgrep -f 'nft monitor'").rc != 0


def test_rules_of_iptables(host, modules, rules):
    """A jump that somebody flushed, and chains."""
    rule = {"name": "vms", "type": "masquerade", "source": "10.94.7.0/24"}
    arguments = {"set": "flushed", "rules": [rule], "backend": "iptables"}
    modules.run("nat_rule", **arguments)
    try:
        again(lambda: host.run("pgrep -f 'nft monitor rules'").rc == 0)
        time.sleep(1.5)
        before = host.check_output("iptables-save -t nat | grep VIRTNET")
        host.run_test("iptables -t nat -F && iptables -t nat -X")
        again(lambda: host.run("iptables-save -t nat | grep VIRTNET").stdout.strip() == before)
        assert not modules.run("nat_rule", **arguments)["changed"]
    finally:
        modules.run("nat_rule", set="flushed", rules=[], purge=True)


def test_at_boot_no_network_is_up_before_its_rules(host, modules, rules):
    """libvirt's own hook looks, at the moment when a network begins to start; and before libvirt there is nobody to start one."""
    hook, seen, slow = "/etc/libvirt/hooks/network", "/var/lib/libvirt/flseen", f"/etc/systemd/system/{UNIT}.d"
    look = "\n".join([
        "#!/bin/sh",
        'case "$1 $2" in "flnat start") bridge=flbr0 ;; "fliso start") bridge=flbr1 ;; *) exit 0 ;; esac',
        f"exec >> {seen} 2>&1",
        'echo "$1"; nft list table inet virtnet; nft list table bridge virtnet; ip link show dev $bridge; exit 0',
    ])  # fmt: skip
    modules.run("virt_net_model", networks=[{**one, "autostart": True} for one in NETWORKS])
    kept = ours(host)
    # The rules take their time, so that whoever does not wait for them is early.
    host.run_test("mkdir %s && printf '[Service]\nExecCondition=/bin/sleep 5\n' > %s/slow.conf", slow, slow)
    host.run_test("mkdir -p /etc/libvirt/hooks && printf %%s %s > %s && chmod 755 %s", look, hook, hook)
    try:
        lab(host, "reboot", host.backend.host)
        again(lambda: all(f"{name}\n" in console(host, f"cat {seen}") for name in ("flnat", "fliso")))
        told = console(host, f"cat {seen}")
        for name in ("flnat", "fliso"):
            part = told.partition(f"{name}\n")[2]
            assert part.startswith("table inet virtnet") and "table bridge virtnet" in part, told
            assert '"flbr0"' in part and '"flbr1"' in part and "does not exist" in part, part
        assert ours(host) == kept, "the boot changed the rules"
        for name in ("net_policy", "nat_rule"):
            assert not modules.run(name, check=True, networks=NETWORKS)["changed"]
    finally:
        host.run("rm -rf %s %s %s; rmdir /etc/libvirt/hooks; systemctl daemon-reload", hook, seen, slow)
        modules.run("virt_net_model", networks=[{**one, "state": "absent"} for one in NETWORKS])
