# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nat_rule with the backend iptables, and from one to the other: rules, drift, others' rules, what packets make of them.

The guests here are network namespaces of the host; the scenario nat has real ones.
"""

from __future__ import annotations

import json

import pytest

SUBNET = "10.10.101.0/24"
VMS = {"name": "vms", "type": "masquerade", "source": SUBNET}
SERVER = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 4646)); s.settimeout(10); "
    "print(s.recvfrom(9)[1][0])"
)
CLIENT = (
    "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    "[(s.sendto(b'x', ('10.10.101.3', 4646)), time.sleep(0.2)) for _ in range(20)]"
)


def tables(host):
    """All rules of iptables, without what others count."""
    saved = host.check_output("iptables-save; ip6tables-save")
    return [line for line in saved.splitlines() if line.startswith("-")]


@pytest.fixture
def segment(host, modules):
    """Two 'guests' of the article's subnet on a bridge, whose gateway is the host; nobody outside has a route to them."""
    script = ["ip link add litbr0 type bridge", "ip address add 10.10.101.1/24 dev litbr0", "ip link set litbr0 up"]
    for number in (2, 3):
        script += [
            f"ip netns add lit{number}",
            f"ip link add litv{number} type veth peer name eth0 netns lit{number}",
            f"ip link set litv{number} master litbr0 up",
            f"ip -n lit{number} address add 10.10.101.{number}/24 dev eth0",
            f"ip -n lit{number} link set eth0 up",
            f"ip -n lit{number} route add default via 10.10.101.1",
        ]
    modules.run("ip_forward", ipv4=True)
    try:
        host.run_test(" && ".join(script))
        yield
    finally:
        host.run("ip netns del lit2; ip netns del lit3; ip link del litbr0")
        modules.run("ip_forward", state="absent")


def outside_answers(host):
    gateway = json.loads(host.check_output("ip -j -4 route show default"))[0]["gateway"]
    return host.run("ip netns exec lit2 ping -c 2 -W 1 %s", gateway).rc == 0


def seen_by_the_neighbour(host):
    """The address under which one guest's packet arrives at the other, on the same bridge."""
    done = host.run(
        "ip netns exec lit3 python3 -c %s > /tmp/lit3.out & ip netns exec lit2 python3 -c %s; wait; cat /tmp/lit3.out; "
        "rm /tmp/lit3.out", SERVER, CLIENT,
    )
    return done.stdout.strip()


def test_packets_meet_the_rule(host, modules, segment):
    def declare(**changes):
        return modules.run("nat_rule", set="article", backend="iptables", **changes)

    filtered = host.check_output("sysctl -n net.bridge.bridge-nf-call-iptables")
    assert not outside_answers(host)
    try:
        declare(rules=[VMS])
        assert outside_answers(host)
        assert seen_by_the_neighbour(host) == "10.10.101.2"
        declare(rules=[{**VMS, "literal": True}])
        assert outside_answers(host)
        # To the letter: with br_netfilter, neighbours too are translated.
        assert seen_by_the_neighbour(host) == ("10.10.101.1" if filtered == "1" else "10.10.101.2")
    finally:
        declare(rules=[], purge=True)
    assert not outside_answers(host)


def test_a_set_moves_from_one_backend_to_the_other_without_a_gap(host, modules, segment):
    """A conversation every 20 ms: one that begins untranslated gets no answer, however long it waits."""
    gateway = json.loads(host.check_output("ip -j -4 route show default"))[0]["gateway"]
    probe = f"ip netns exec lit2 ping -c 1 -W 5 {gateway} > /dev/null || echo lost >> /tmp/lit.lost; sleep 0.02"
    modules.run("nat_rule", set="article", rules=[VMS])
    host.run_test(f"rm -f /tmp/lit.lost; touch /tmp/lit.run; (while [ -e /tmp/lit.run ]; do {probe}; done) > /dev/null 2>&1 &")
    try:
        for backend in ("iptables", "nftables", "iptables"):
            assert modules.run("nat_rule", set="article", rules=[VMS], backend=backend)["changed"]
    finally:
        host.run("rm -f /tmp/lit.run; sleep 5.2")
        modules.run("nat_rule", set="article", rules=[], purge=True)
    lost = host.run("cat /tmp/lit.lost; rm -f /tmp/lit.lost").stdout.split()
    assert lost == []


FORWARD = {"name": "web", "type": "dnat", "listen": {"ports": "8080-8081"}, "to": {"address": "10.10.101.2", "ports": "80-81"}}


def test_check_mode_is_true_and_others_rules_are_left_alone(host, modules):
    host.run_test("iptables -t nat -A POSTROUTING -s 10.99.0.0/24 -j MASQUERADE")
    before = tables(host)
    try:
        for rules in ([VMS, FORWARD], []):
            arguments = {"set": "article", "rules": rules, "purge": True, "backend": "iptables"}
            predicted = modules.run("nat_rule", check=True, **arguments)
            real = modules.run("nat_rule", **arguments)
            assert predicted["changed"] and predicted["actions"] == real["actions"] and predicted["rules"] == real["rules"]
            assert not modules.run("nat_rule", **arguments)["changed"], rules
            ours = [line for line in tables(host) if line not in before]
            assert bool(ours) == bool(rules)
            assert [line for line in tables(host) if line in before] == before
    finally:
        modules.run("nat_rule", set="article", rules=[], purge=True)
        host.run_test("iptables -t nat -D POSTROUTING -s 10.99.0.0/24 -j MASQUERADE")
    assert not host.file("/etc/virtnet").exists


HARM = (
    "iptables -t nat -F VIRTNET_POST; iptables -t nat -I POSTROUTING -j VIRTNET_POST; iptables -t nat -F PREROUTING; "
    "iptables -t nat -F VIRTNET_PRE; iptables -t nat -X VIRTNET_PRE; rm /etc/virtnet/virtnet.iptables"
)


def test_what_is_changed_by_hand_is_seen_and_mended_and_the_boot_loads_all(host, modules):
    arguments = {"set": "article", "rules": [VMS, FORWARD], "backend": "iptables"}
    modules.run("nat_rule", **arguments)
    try:
        before = sorted(tables(host))
        # Else it is mended before anybody sees it.
        host.run_test("systemctl stop virtnet-firewall.service")
        host.run_test(HARM)
        [action] = modules.run("nat_rule", **arguments)["actions"]
        assert action["op"] == "load"
        for word in ("VIRTNET_POST", "VIRTNET_PRE", "jumps", "iptables at boot: missing", "unit at boot: not running"):
            assert word in action["note"]
        assert sorted(tables(host)) == before
        # Switched off, as /etc/virtnet/README says, and on again.
        readme = host.file("/etc/virtnet/README").content_string
        recipe = [line.strip() for line in readme.splitlines() if line.startswith(("    iptables -t", "    for chain"))]
        assert len(recipe) == 4 and "    systemctl stop virtnet-firewall.service" in readme.splitlines()
        host.run_test("systemctl stop virtnet-firewall.service")
        host.run_test("; ".join(recipe))
        assert not [line for line in tables(host) if "VIRTNET" in line]
        for word in ("start", "restart", "reload"):
            host.run_test(f"systemctl {word} virtnet-firewall.service")
            assert sorted(tables(host)) == before
        assert not modules.run("nat_rule", **arguments)["changed"]
    finally:
        modules.run("nat_rule", set="article", rules=[], purge=True)


def test_chains_of_that_name_that_are_not_ours(host, modules):
    host.run_test("iptables -t nat -N VIRTNET_PRE && iptables -t nat -A VIRTNET_PRE -j RETURN")
    try:
        message = modules.refused("nat_rule", set="article", rules=[VMS], backend="iptables")
        assert "VIRTNET_PRE" in message and "not one of virtnet.kvm" in message
    finally:
        host.run_test("iptables -t nat -F VIRTNET_PRE && iptables -t nat -X VIRTNET_PRE")
