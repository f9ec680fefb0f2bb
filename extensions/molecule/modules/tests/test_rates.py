# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits for each guest, and the log of what is dropped, with packets. Guests and the outside are network namespaces."""

from __future__ import annotations

import json

import pytest

NETWORK = {"name": "rates", "model": "routed", "bridge": "ratebr0", "addresses": ["10.94.3.1/24", "fd00:94:3::1/64"]}
OUTSIDE = ("198.51.100.2", "fd51::2")
#: Packets in a second, and new conversations; what is sent at once is far more.
PACKETS, CONNECTIONS, SENT = 60, 20, 400
#: Arguments: send, address, number, one: each packet is of the same conversation, or each of one of its own. hear: the number
#: of packets of each sender of the last second and a half.
SCRIPT = """
import json, select, socket, sys, time

def send(address, number, conversations):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM)
    for count in range(int(number)):
        if conversations == "many":
            one = socket.socket(family, socket.SOCK_DGRAM)
        one.sendto(b"x", (address, 4700))
        # veth holds 256 packets, and drops the others when nobody fetches them in time.
        if count % 20 == 19:
            time.sleep(0.002)

def hear():
    one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # SO_RCVBUFFORCE (socket(7)): beyond net.core.rmem_max, which holds 256 packets when nobody reads in time.
    one.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
    one.bind(("::", 4700))
    print("hears", flush=True)
    found = {}
    while select.select([one], [], [], 3)[0]:
        sender = one.recvfrom(9)[1][0].replace("::ffff:", "")
        found[sender] = found.get(sender, 0) + 1
    print(json.dumps(found))

globals()[sys.argv[1]](*sys.argv[2:])
"""


@pytest.fixture
def segment(host, modules):
    lines = [
        "ip link add ratebr0 type bridge", "ip link set ratebr0 up",
        *(f"ip address add {one} dev ratebr0 nodad" for one in NETWORK["addresses"]),
    ]
    for name, address in (("r2", "2"), ("r3", "3"), ("rout", None)):
        lines += [f"ip netns add {name}", f"ip link add rate{name} type veth peer name eth0 netns {name}"]
        addresses = [f"10.94.3.{address}/24", f"fd00:94:3::{address}/64"] if address else [f"{OUTSIDE[0]}/24", f"{OUTSIDE[1]}/64"]
        lines += [f"ip -n {name} address add {one} dev eth0 nodad" for one in addresses]
        lines += [f"ip -n {name} link set eth0 up", f"ip -n {name} link set lo up"]
        gateways = ("10.94.3.1", "fd00:94:3::1") if address else ("198.51.100.1", "fd51::1")
        lines += [f"ip link set rate{name} master ratebr0"] if address else [
            "ip address add 198.51.100.1/24 dev raterout", "ip address add fd51::1/64 dev raterout nodad",
        ]
        lines += [f"ip link set rate{name} up", *(f"ip -n {name} route add default via {one}" for one in gateways)]
    gone = {**NETWORK, "state": "absent"}
    host.run_test("cat > /run/rates.py <<'END'\n" + SCRIPT + "\nEND")
    try:
        host.run_test(" && ".join(lines))
        modules.run("ip_forward", ipv4=True, ipv6=True)
        # Packets that wait for a neighbour's answer are few; the others would be lost to no limit.
        pings = [f"ip netns exec {name} ping -c 1 -w 20 {to} > /dev/null" for name in ("r2", "r3") for to in OUTSIDE]
        host.run_test(" && ".join(pings))
        yield
    finally:
        modules.run("net_policy", networks=[gone])
        modules.run("ip_forward", state="absent")
        host.run("for one in r2 r3 rout; do ip netns del $one; done; ip link del ratebr0; ip link del raterout; rm /run/rates.*")


def arrived(host, *senders):
    """Return {sender's address: how many of its packets arrived}; senders are (namespace, address, conversations)."""
    script = "ip netns exec rout python3 /run/rates.py hear > /run/rates.heard &"
    script += " while ! grep -q hears /run/rates.heard; do sleep 0.1; done; "
    script += " ".join(f"ip netns exec {name} python3 /run/rates.py send {to} {SENT} {kind} &" for name, to, kind in senders)
    host.run_test(f": > /run/rates.heard; {script} wait")
    return json.loads(host.check_output("tail -n 1 /run/rates.heard"))


def policy(**rate):
    return {"networks": [{**NETWORK, "policy": {"rate": rate or None, "log_drops": True}}]}


@pytest.mark.parametrize("to", OUTSIDE)
def test_each_guest_has_its_own(host, modules, segment, figure, to):
    one, other = ("fd00:94:3::2", "fd00:94:3::3") if ":" in to else ("10.94.3.2", "10.94.3.3")
    modules.run("net_policy", **policy())
    both = [("r2", to, "one"), ("r3", to, "many")]
    # Without limits all of them arrive: what is lost below is lost to the limits.
    assert arrived(host, *both) == {one: SENT, other: SENT}
    modules.step("net_policy", "networks", **policy(packets=PACKETS))
    found = arrived(host, *both)
    figure(f"{SENT} packets at once, {PACKETS} in a second: {found[one]} and {found[other]} arrived")
    assert all(PACKETS <= found[guest] < SENT / 2 for guest in (one, other)), found
    # What the kernel met is no change.
    assert not modules.run("net_policy", **policy(packets=PACKETS))["changed"]
    modules.step("net_policy", "networks", **policy(connections=CONNECTIONS))
    found = arrived(host, *both)
    figure(f"{SENT} conversations at once, {CONNECTIONS} in a second: {found[other]} arrived; of one {found[one]}")
    assert found[one] == SENT and CONNECTIONS <= found[other] < SENT / 4, found
    modules.step("net_policy", "networks", **policy())
    assert arrived(host, *both) == {one: SENT, other: SENT}


def test_drops_are_logged_with_their_network(host, modules, segment):
    modules.run("net_policy", **policy(packets=PACKETS))
    host.run_test("tcpdump -i nflog:64 -U -w /run/rates.pcap > /dev/null 2>&1 & echo $! > /run/rates.pid; sleep 1")
    try:
        arrived(host, ("r2", OUTSIDE[0], "one"))
        # Forged: another's source.
        host.run_test("ip -n r2 address add 203.0.113.9/32 dev eth0")
        host.run("ip netns exec r2 ping -c 1 -W 1 -I 203.0.113.9 198.51.100.2")
    finally:
        host.run("sleep 1; kill $(cat /run/rates.pid)")
    assert int(host.check_output("grep -ao 'virtnet rates: ' /run/rates.pcap | wc -l")) > 10
    shown = host.check_output("tcpdump -n -r /run/rates.pcap 2> /dev/null")
    assert "10.94.3.2" in shown and "203.0.113.9" in shown
