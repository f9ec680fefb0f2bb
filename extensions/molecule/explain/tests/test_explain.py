# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why can't A reach B? Each kind of breakage, made on a real host: what is named, and whose it is."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess

import pytest
from guest_agent import BUSYBOX, in_guest
from lab_side import variables

TRACE = "virtnet_trace"
DROPPING = (
    "nft 'add table {0} site; add chain {0} site {1} {{ type filter hook {1} priority 7; }}; add rule {0} site {1} {2} drop'"
)


@dataclasses.dataclass(frozen=True)
class Case:
    """C(breaking) and C(mending) are commands with {tap0}, {tap1}, {tap2}; then a question, and what its answer has."""

    breaking: str
    mending: str
    question: tuple
    where: str
    owner: str
    says: str = ""
    cure: str = ""


CASES = {
    "tap down": Case(
        "ip link set {tap0} down",
        "ip link set {tap0} up",
        ("vm0", "vm2"),
        "{tap0}",
        "kernel",
        "down",
        "ip link set {tap0} up",
    ),
    "tap out of its bridge": Case(
        "ip link set {tap1} nomaster",
        "ip link set {tap1} master explbr1",
        ("vm0", "vm1"),
        "{tap1}",
        "kernel",
        "no bridge",
        "master",
    ),
    # From the other network's router the guest would have an address for an hour, and use it.
    "tap in another bridge": Case(
        "nft 'add table bridge quiet; add chain bridge quiet out {{ type filter hook output priority 0; }};"
        " add rule bridge quiet out icmpv6 type nd-router-advert drop'; ip link set {tap0} master explbr3",
        "ip link set {tap0} master explbr1; nft delete table bridge quiet",
        ("vm0", "vm2"),
        "{tap0}",
        "kernel",
        "explbr3",
        "explbr1",
    ),
    "bridge down": Case(
        "ip link set explbr1 down",
        "ip link set explbr1 up; ip -6 address replace fd00:95:1::1/64 dev explbr1",
        ("vm0", "vm1"),
        "explbr1",
        "kernel",
        "down",
        "up",
    ),
    "port isolation": Case(
        "bridge link set dev {tap0} isolated on; bridge link set dev {tap1} isolated on",
        "bridge link set dev {tap0} isolated off; bridge link set dev {tap1} isolated off",
        ("vm0", "vm1"),
        "{tap1}",
        "kernel",
        "isolat",
        "isolated off",
    ),
    "link down in libvirt": Case(
        "virsh domif-setlink vm0 {tap0} down",
        "virsh domif-setlink vm0 {tap0} up",
        ("vm0", "vm1"),
        "vm0",
        "libvirt",
        "set down",
        "domif-setlink",
    ),
    "forwarding off": Case(
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        ("vm0", "vm2"),
        "routing",
        "sysctl",
        "forwarding is off on this host",
        "ip_forward",
    ),
    "forwarding of a link off": Case(
        "sysctl -qw net.ipv4.conf.explbr1.forwarding=0",
        "sysctl -qw net.ipv4.conf.explbr1.forwarding=1",
        ("vm0", "vm2"),
        "routing",
        "sysctl",
        "comes in by explbr1",
        "net.ipv4.conf.explbr1.forwarding=1",
    ),
    "forwarding of IPv6 off": Case(
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        # The guest has forgotten its router; a new address on the bridge has dnsmasq tell of itself within some seconds.
        "sysctl -qw net.ipv6.conf.all.forwarding=1; ip address add fd00:95:1::ff/64 dev explbr1 nodad; sleep 8;"
        " ip address del fd00:95:1::ff/64 dev explbr1",
        ("vm0", "vm2", "icmp", None, "ipv6"),
        "routing",
        "sysctl",
        "IPv6 forwarding is off",
        "forwarding=1",
    ),
    "rp_filter and an asymmetric route": Case(
        "sysctl -qw net.ipv4.conf.explbr1.rp_filter=1; ip route add 10.95.1.10/32 dev explbr3",
        "sysctl -qw net.ipv4.conf.explbr1.rp_filter=0; ip route del 10.95.1.10/32 dev explbr3",
        ("vm0", "vm2"),
        "routing",
        "rp_filter",
        "explbr3",
        "rp_filter=2",
    ),
    "no route": Case(
        "ip route add unreachable 10.95.2.12/32",
        "ip route del unreachable 10.95.2.12/32",
        ("vm0", "vm2"),
        "routing",
        "routes",
        "no route to 10.95.2.12",
        "ip route",
    ),
    "another route hides the network": Case(
        "ip route add 10.95.2.12/32 dev explbr3",
        "ip route del 10.95.2.12/32 dev explbr3",
        ("vm0", "vm2"),
        "routing",
        "kernel",
        "goes by explbr3 and not by explbr2",
        "ip route get",
    ),
    "no route back, on the host": Case(
        "ip route add unreachable 10.95.1.11/32",
        "ip route del unreachable 10.95.1.11/32",
        ("vm1", "vm2"),
        "routing",
        "routes",
        "no route to 10.95.1.11",
        "ip route",
    ),
    "a foreign table drops": Case(
        DROPPING.format("inet", "forward", "ip daddr 10.95.2.12"),
        "nft delete table inet site",
        ("vm0", "vm2"),
        "ip forward",
        "somebody's table site",
        "inet site, chain forward: rule 'ip daddr 10.95.2.12 drop'",
        "delete rule inet site forward",
    ),
    "a foreign table drops the answer": Case(
        DROPPING.format("inet", "forward", "ip saddr 10.95.2.12"),
        "nft delete table inet site",
        ("vm0", "vm2"),
        "ip forward",
        "somebody's table site",
        "ip saddr 10.95.2.12 drop",
        "delete rule inet site forward",
    ),
    "a foreign table rejects": Case(
        DROPPING.format("inet", "forward", "ip daddr 10.95.2.12").replace(" drop'", " reject'"),
        "nft delete table inet site",
        ("vm0", "vm2"),
        "ip forward",
        "somebody's table site",
        "reject",
        "delete rule inet site forward",
    ),
    "iptables' policy": Case(
        "iptables -P FORWARD DROP",
        "iptables -P FORWARD ACCEPT",
        ("vm0", "vm2"),
        "ip forward",
        "iptables",
        "policy",
        "iptables -P FORWARD ACCEPT",
    ),
    "Docker's policy": Case(
        "iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER; iptables -P FORWARD DROP",
        "iptables -P FORWARD ACCEPT; iptables -D FORWARD -j DOCKER-USER; iptables -X DOCKER-USER",
        ("vm0", "vm2"),
        "ip forward",
        "Docker",
        "policy",
        "DOCKER-USER",
    ),
    "ufw's chain": Case(
        "iptables -N ufw-user-forward; iptables -I FORWARD -j ufw-user-forward; "
        "iptables -A ufw-user-forward -d 10.95.2.12 -j DROP",
        "iptables -D FORWARD -j ufw-user-forward; iptables -F ufw-user-forward; iptables -X ufw-user-forward",
        ("vm0", "vm2"),
        "ip forward",
        "ufw",
        "ufw-user-forward",
        "ufw route allow",
    ),
    "a foreign table of the bridge drops": Case(
        DROPPING.format("bridge", "forward", "ip daddr 10.95.1.11"),
        "nft delete table bridge site",
        ("vm0", "vm1"),
        "bridge forward",
        "somebody's table site",
        "bridge site",
        "delete rule bridge site forward",
    ),
    "a foreign table of the bridge drops ARP": Case(
        DROPPING.format("bridge", "prerouting", "ether type arp") + "; ip neighbour flush dev explbr1",
        "nft delete table bridge site",
        ("vm0", "vm1"),
        "bridge prerouting",
        "somebody's table site",
        "arp",
        "bridge site",
    ),
    "an output that is closed": Case(
        DROPPING.format("inet", "output", "ip daddr 10.95.2.12"),
        "nft delete table inet site",
        ("HOST", "vm2"),
        "ip output",
        "somebody's table site",
        "chain output",
    ),
    "no masquerade": Case(
        "nft flush chain inet virtnet nat_postrouting",
        "systemctl restart virtnet-firewall",
        ("vm0", "outside"),
        "ip postrouting",
        "virtnet.kvm",
        "nobody translates it",
        "nat_rule",
    ),
    "a guest that is paused": Case("virsh suspend vm1", "virsh resume vm1", ("vm0", "vm1"), "vm1", "guest", "paused", "resume"),
}


def test_the_wrong_bridge_is_the_answer_wherever_the_packet_ends(bench):
    """A guest that knows its gateway's MAC address sends to it in any bridge, where other rules refuse what it says."""
    tap, case = bench.tap("vm0"), CASES["tap in another bridge"]
    assert bench.explain("vm0", "vm2")["reaches"]
    with bench.broken(*(text.format(tap0=tap) for text in (case.breaking, case.mending))):
        told = bench.explain("vm0", "vm2")
    lines = "\n".join(told["lines"])
    assert told["stopped"]["where"] == tap, lines
    assert "explbr3" in told["stopped"]["what"], lines
    assert f"ip link set {tap} master explbr1" in told["cure"], lines


def asked(bench, case):
    question = tuple(bench.name if word == "HOST" else word for word in case.question)
    if any(word == "arp" for word in (case.says,)):
        # What is known is not asked for.
        for guest in ("vm0", "vm1"):
            in_guest(bench.host, guest, BUSYBOX, "sh", "-c", "busybox ip neigh flush dev eth0; ip link set eth0 arp off arp on")
    return bench.explain(*question)


@pytest.mark.parametrize("name", CASES)
def test_what_is_broken_is_named(bench, name):
    given = dataclasses.asdict(CASES[name])
    case = Case(**{key: bench.here(text) if isinstance(text, str) else text for key, text in given.items()})
    taps = {f"tap{guest[2:]}": bench.tap(guest) for guest in ("vm0", "vm1", "vm2")}
    with bench.broken(*(text.format(**taps) if "{tap" in text else text for text in (case.breaking, case.mending))):
        told = asked(bench, case)
    lines = "\n".join(told["lines"])
    assert told["reaches"] is False, lines
    stop = told["stopped"]
    assert stop["where"] == case.where.format(**taps), lines
    assert case.owner in stop["owner"], lines
    assert case.says in stop["what"], lines
    assert case.cure.format(**taps) in told["cure"], lines
    assert [hop["mark"] for hop in told["hops"]].index("stop") == len(told["hops"]) - 1, lines


@pytest.mark.parametrize("question", [
    ("vm0", "vm1"), ("vm0", "vm2"), ("vm0", "HOST"), ("HOST", "vm2"), ("vm0", "outside"), ("vm0", "vm2", "icmp", None, "ipv6"),
    ("vm0", "outside", "tcp", 22),
], ids=lambda words: " ".join(map(str, words)))  # fmt: skip
def test_nothing_is_broken(bench, question):
    told = bench.explain(*(bench.name if word == "HOST" else word for word in question))
    lines = "\n".join(told["lines"])
    assert told["reaches"] and told["stopped"] is None and told["cure"] is None, lines
    assert {hop["mark"] for hop in told["hops"]} == {"ok"}, lines
    assert told["promise"]["allowed"] and "promises this yes" in told["verdict"], lines


@pytest.mark.parametrize(("question", "why", "opening"), [
    (("vm2", "vm0"), "nat: closed from outside", "policy.allow_to: [{network: expl1"),
    (("vm3", "vm0"), "isolated", "policy.allow_to: [{network: expl1"),
    (("vm3", "HOST"), "isolated", "policy.host_access"),
    (("outside", "vm0", "tcp", 80), "nat: closed from outside", "port_forwards"),
], ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None)  # fmt: skip
def test_what_the_models_forbid(bench, question, why, opening):
    told = bench.explain(*(bench.name if word == "HOST" else word for word in question))
    lines = "\n".join(told["lines"])
    assert told["reaches"] is False, lines
    assert f"the model promises this no: {why}" in told["verdict"] and opening in told["cure"], lines


def test_our_own_table_is_ours(bench):
    told = bench.explain("vm2", "vm0")
    assert told["stopped"]["owner"] == "virtnet.kvm" and "inet virtnet" in told["stopped"]["what"], "\n".join(told["lines"])
    assert "by design" in told["verdict"]


def test_nobody_listens(bench):
    told = bench.explain("vm0", "vm2", "tcp", 4711)
    assert told["stopped"]["where"] == "vm2" and "nothing listens at tcp port 4711" in told["stopped"]["what"], "\n".join(
        told["lines"]
    )
    told = bench.explain("vm0", "vm2", "udp", 4711)
    assert told["stopped"]["where"] == "vm2" and "nothing listens at udp port 4711" in told["stopped"]["what"], "\n".join(
        told["lines"]
    )


@contextlib.contextmanager
def told_outside(bench):
    """The machine outside knows the way to the routed network meanwhile."""
    words = f"{bench.here('10.95.2.0/24')} via {variables(bench.host)['lab_hosts_address']}"
    outside = bench.hosts["outside1"][1].host
    outside.run_test(f"ip route replace {words}")
    try:
        yield
    finally:
        outside.run_test(f"ip route del {words}")


def test_the_outside_reaches_a_routed_guest(bench):
    with told_outside(bench):
        told = bench.explain("outside", "vm2")
    assert told["reaches"] and told["promise"]["allowed"], "\n".join(told["lines"])


def test_a_guest_without_a_way_back(bench):
    _rc, routes = in_guest(bench.host, "vm2", BUSYBOX, "sh", "-c", "busybox ip route del default; busybox ip route")
    assert "default" not in routes
    try:
        with told_outside(bench):
            told = bench.explain("outside", "vm2")
    finally:
        in_guest(bench.host, "vm2", BUSYBOX, "ip", "route", "add", "default", "via", bench.here("10.95.2.1"))
    lines = "\n".join(told["lines"])
    assert told["stopped"]["where"] == "vm2" and "no route back" in told["stopped"]["what"], lines
    assert told["stopped"]["owner"] == "the guest itself", lines


def test_a_guest_without_a_way_out(bench):
    in_guest(bench.host, "vm1", BUSYBOX, "ip", "route", "del", "default")
    try:
        told = bench.explain("vm1", "vm2")
    finally:
        in_guest(bench.host, "vm1", BUSYBOX, "ip", "route", "add", "default", "via", bench.here("10.95.1.1"))
    lines = "\n".join(told["lines"])
    assert told["stopped"]["where"] == "vm1" and bench.here("it has no route to 10.95.2.12") in told["stopped"]["what"], lines


def test_the_outside_without_a_way_back(bench):
    """A routed network whose peers were not told of it: the packet arrives, the answer goes elsewhere."""
    told = bench.explain("vm2", "outside")
    lines = "\n".join(told["lines"])
    assert told["stopped"]["host"] == "outside1" and "way back" in told["stopped"]["what"], lines
    assert "return_routes" in told["cure"] and bench.here("it came, from 10.95.2.12") in lines, lines


def test_a_guest_that_is_off(bench):
    bench.modules.run(
        "guest_vm", guests=[{"name": "vm1", "nics": [{"network": "expl1"}], "state": "stopped"}], inventory_host=bench.name
    )
    try:
        away, here = bench.explain("vm1", "vm0"), bench.explain("vm0", "vm1")
    finally:
        bench.modules.run("guest_vm", guests=[{"name": "vm1", "nics": [{"network": "expl1"}]}], inventory_host=bench.name)
    for told in (away, here):
        assert told["stopped"]["where"] == "vm1" and "is shut off" in told["stopped"]["what"], "\n".join(told["lines"])
        assert "virsh start vm1" in told["cure"]


def test_a_capture_that_was_killed_is_forgotten(bench):
    """It takes itself away, and the next one does if it could not."""
    leftover = f"nft 'add table inet {TRACE}; add chain inet {TRACE} stale'"
    with bench.broken(leftover, "true"):
        told = bench.explain("vm0", "vm1")
    assert told["reaches"]
    assert bench.host.run("ls -d /run/virtnet/trace*").rc != 0


def playbook(bench, *extra):
    inventory = bench.host.backend.ansible_runner.inventory_file
    command = ["ansible-playbook", "-i", inventory, "virtnet.kvm.explain", "--limit", f"{bench.name},outside1"]
    return subprocess.run([*command, *extra], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_the_playbook(bench):
    done = playbook(bench, "-e", "from=vm0", "-e", "to=vm2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"vm0@{bench.name} reaches vm2@{bench.name}" in done.stdout, done.stdout
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout
    assert len(done.stdout.splitlines()) < 60, done.stdout


@pytest.mark.parametrize(("src", "dst", "more", "says"), [
    ("vm0", "nobody", (), "'nobody' is no guest, no host of the play and no address"),
    ("vm0", "vm0", (), "one and the same"),
    ("vm0@kvm9", "vm1", (), "there is no host 'kvm9' in the play"),
    ("198.51.100.9", "vm1", (), "has the address 198.51.100.9"),
    ("vm0", "vm1", ("-e", "protocol=tcp"), "tcp without a port"),
    ("vm0", "vm1", ("-e", "protocol=sctp"), "'sctp' is no protocol"),
])  # fmt: skip
def test_bad_input_is_one_clear_error(bench, src, dst, more, says):
    done = playbook(bench, "-e", f"from={src}", "-e", f"to={dst}", *more)
    assert done.returncode != 0
    # A failed task is on one of the two, in lines of any length.
    text = " ".join((done.stdout + done.stderr).split())
    assert says in text and "Traceback" not in text, text
    assert text.count("fatal: ") + text.count("[ERROR]") <= 2, text
    assert bench.host.run(f"nft list tables | grep {TRACE}").rc == 1


def test_a_name_of_two_kinds(bench):
    """An address means who has it."""
    told = bench.explain("vm0", variables(bench.host)["lab_hosts_address"])
    assert told["reaches"] and bench.name in told["lines"][0], "\n".join(told["lines"])
