# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a guest may claim to be: frames as nobody's stack would make them, and who gets them.

Guests are network namespaces whose links in the bridge are called as the taps of domains that guest_nic has wired; the domains
themselves do not run, but for one. Every question has frames among it that must arrive.
"""

from __future__ import annotations

import ipaddress
import json

import frames
import pytest
from module_calls import Modules

NETWORK = {
    "name": "spoof", "model": "nat", "bridge": "spbr0", "addresses": ["10.10.102.1/24", "fd10:102::1/64"],
    "dhcp": {
        "reservations": [
            {"name": f"s{number}", "mac": f"52:54:00:00:0b:0{number}", "address": f"{prefix}{number}"}
            for number in (2, 3) for prefix in ("10.10.102.", "fd10:102::")
        ],
    },
}  # fmt: skip
CLOSED = {"name": "shut", "model": "isolated", "bridge": "spbr1", "addresses": ["10.10.103.1/24", "fd10:103::1/64"], "dhcp": {}}
MACS = {name: f"52:54:00:00:0b:0{number}" for number, name in enumerate(("s2", "s3", "s4", "wan"), 2)}
#: s2 and s3 are wired by us, s4 by somebody else; wan is no guest: the LAN, or another host.
LINKS = {"s2": "vp525400000b02", "s3": "vp525400000b03", "s4": "vnet77", "wan": "spwan0"}
HOST_MAC = "02:00:00:00:0b:01"
ALL, NOBODY = "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"
#: An address of the host that is none of these networks'.
ELSEWHERE = ("192.0.2.99", "2001:db8:99::99")
SCRIPT = """
import json, socket, subprocess, sys, time

def opened(link):
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    one.bind((link, 0))
    return one

def listen(link, last):
    "Print what comes in by the link until the frame C(last) has come, or for 4 s."
    one, found, until = opened(link), [], time.monotonic() + 4
    print("ready", flush=True)
    while time.monotonic() < until:
        one.settimeout(max(0.01, until - time.monotonic()))
        try:
            data, address = one.recvfrom(2048)
        except socket.timeout:
            break
        if address[2] == socket.PACKET_OUTGOING:
            continue
        if data.hex() == last:
            until = min(until, time.monotonic() + 0.5)
        found.append(data.hex())
    print(json.dumps(found))

def send(link, frames):
    one = opened(link)
    for frame in json.loads(frames):
        one.send(bytes.fromhex(frame))
        time.sleep(0.01)

def ask(sender, receivers, frames):
    "Have the frames sent; print {receiver: [frames that came]}. Everybody is [namespace or nothing, link]."
    def command(who, *words):
        inside = ("ip", "netns", "exec", who[0]) if who[0] else ()
        return [*inside, sys.executable, sys.argv[0], words[0], who[1], *words[1:]]

    last = json.loads(frames)[-1]
    running = [subprocess.Popen(command(one, "listen", last), stdout=subprocess.PIPE, text=True) for one in json.loads(receivers)]
    for one in running:
        assert one.stdout.readline() == "ready\\n"
    subprocess.run(command(json.loads(sender), "send", frames), check=True)
    print(json.dumps([json.loads(one.communicate()[0]) for one in running]))

globals()[sys.argv[1]](*sys.argv[2:])
"""


def arp(source, sender, address, target="10.10.102.9", operation=1, to=ALL):
    """Return an ARP message from C(source) that says C(sender) has C(address)."""
    return frames.ether(to, source, frames.arp(operation, sender, address, NOBODY, target, b""), kind=0x0806)


def raw(source):
    """A protocol of nobody's (IEEE 802, local experiments)."""
    return frames.ether(ALL, source, b"x" * 46, kind=0x88B5)


def udp(source, address, ports, target):
    packet = frames.ip(address, target, frames.UDP, frames.udp(address, target, *ports, b"x" * 20))
    return frames.ether(frames.multicast_mac(target) if ":" in target else ALL, source, packet)


def udp4(source, address, ports, target="255.255.255.255"):
    return udp(source, address, ports, target)


def udp6(source, address, ports, target="ff02::1"):
    return udp(source, address, ports, target)


def icmp6(source, address, kind, body, target="ff02::1"):
    message = frames.icmp(address, target, kind, body[:4], body[4:])
    return frames.ether(frames.multicast_mac(target), source, frames.ip(address, target, frames.ICMP6, message, hops=255))


def advertises(source, address, about):
    """Return a neighbour advertisement: C(about) has the MAC address C(source)."""
    return icmp6(source, address, 136, bytes([0x20, 0, 0, 0]) + frames.packed(about) + frames.option(2, source))


def router(source, address):
    return icmp6(source, address, 134, bytes([64, 0, 0, 30]) + bytes(8))


class Segment:
    def __init__(self, host):
        self.host = host

    def up(self):
        lines = []
        for bridge, network in (("spbr0", NETWORK), ("spbr1", CLOSED)):
            lines += [f"ip link add {bridge} type bridge", f"ip link set {bridge} address {HOST_MAC[:-1]}{bridge[-1]} up"]
            lines += [f"ip address add {one} dev {bridge} nodad" for one in network["addresses"]]
        lines += [f"ip address add {ELSEWHERE[0]}/32 dev lo", f"ip address add {ELSEWHERE[1]}/128 dev lo"]
        for name, link in LINKS.items():
            lines += [f"ip netns add {name}", f"ip link add {link} type veth peer name eth0 netns {name}"]
            lines += [f"ip -n {name} link set eth0 address {MACS[name]} up", f"ip link set {link} master spbr0 up"]
        lines += ["ip netns add c2", "ip link add spc2 type veth peer name eth0 netns c2", "ip link set spc2 master spbr1 up"]
        lines += ["ip -n c2 link set eth0 address 52:54:00:00:0b:12 up"]
        self.host.run_test(" && ".join(lines))
        for name in ("spd1", "spd2"):
            self.define(name)

    def define(self, name):
        self.host.run_test(
            "printf %s > /tmp/sp.xml && virsh define /tmp/sp.xml && rm /tmp/sp.xml",
            f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64'>hvm</type></os><devices><memballoon model='none'/></devices></domain>",
        )

    def down(self):
        for name in ("spd1", "spd2"):
            self.host.run(f"virsh destroy {name}; virsh undefine {name}; rm -f /var/log/libvirt/qemu/{name}.log")
        self.host.run("for name in s2 s3 s4 wan c2; do ip netns del $name; done; ip link del spbr0; ip link del spbr1")
        self.host.run(f"ip address del {ELSEWHERE[0]}/32 dev lo; ip address del {ELSEWHERE[1]}/128 dev lo; rm -f /run/spoof.py")
        self.host.run("virsh net-destroy spoof; virsh net-undefine spoof")

    def comes(self, sender, receiver, frames):
        """Return which of the frames arrive, and all that came; an end is a namespace, or C(host)."""
        ends = [["", "spbr0"] if one == "host" else [one, "eth0"] for one in (sender, receiver)]
        rows = json.dumps([frame.hex() for frame in frames])
        (came,) = json.loads(
            self.host.check_output("python3 /run/spoof.py ask %s %s %s", json.dumps(ends[0]), json.dumps(ends[1:]), rows)
        )
        return [frame.hex() in came for frame in frames], [bytes.fromhex(one) for one in came]

    def holds(self, sender, receiver, frames):
        """Assert that of C({what: (frame, whether it arrives)}) those arrive that shall; the last one must be one of them."""
        found, _all = self.comes(sender, receiver, [frame for frame, _wanted in frames.values()])
        assert dict(zip(frames, found)) == {what: wanted for what, (_frame, wanted) in frames.items()}


@pytest.fixture(scope="module")
def segment(host):
    modules, found = Modules(host), Segment(host)
    try:
        host.run_test("cat > /run/spoof.py <<'END'\n" + SCRIPT + "\nEND")
        found.up()
        host.run_test(
            "printf %s > /tmp/sp.xml && virsh net-define /tmp/sp.xml && rm /tmp/sp.xml && virsh net-start spoof",
            "<network><name>spoof</name><forward mode='bridge'/><bridge name='spbr0'/></network>",
        )
        modules.run("net_policy", networks=[NETWORK, CLOSED])
        yield found
    finally:
        found.down()
        # Its domains are gone: the next run that wires a guest forgets their ports.
        modules.run("guest_nic", nics=[{"guest": "nobody", "mac": MACS["s2"], "state": "absent"}])
        modules.run("net_policy", networks=[{"name": name, "state": "absent"} for name in ("spoof", "shut")])
    assert not host.file("/etc/virtnet").exists
    assert "virtnet" not in host.check_output("nft list tables")


NICS = [{"guest": f"spd{number - 1}", "mac": MACS[f"s{number}"], "network": "spoof"} for number in (2, 3)]


@pytest.fixture(scope="module")
def bound(host, segment):
    """The NICs of both domains, wired by us."""
    modules = Modules(host)
    free = "nft list set bridge virtnet bound_ports"
    assert host.run(free).rc != 0
    # Before that nobody could tell whose a MAC address is.
    segment.holds("s3", "s4", {"forged": (udp4(MACS["s2"], "10.10.102.2", (9, 9)), True)})
    done = modules.step("guest_nic", "nics", nics=NICS)
    assert [one["bound"] for one in done["nics"]] == [
        [{"dev": LINKS[name], "mac": MACS[name], "network": "spoof"}] for name in ("s2", "s3")
    ]
    assert [one["op"] for one in done["actions"]] == ["bind", "bind", "attach", "attach"]
    return segment


def kept(host):
    return host.check_output("stat -c %a /etc/virtnet/ports.json"), host.check_output("nft list set bridge virtnet port_macs")


def test_a_pair_is_bound_to_its_port(bound):
    own = ("10.10.102.3", "10.10.102.50")
    for address in own:
        forged = udp4(MACS["s2"], address, (9, 9))
        bound.holds("s3", "s4", {"MAC": (forged, False), "own": (udp4(MACS["s3"], "10.10.102.3", (9, 9)), True)})
    bound.holds("s3", "s4", {
        "MAC and address": (udp4(MACS["s2"], "10.10.102.2", (9, 9)), False),
        "MAC and address, ARP": (arp(MACS["s2"], MACS["s2"], "10.10.102.2", operation=2), False),
        "neighbour's MAC in ARP alone": (arp(MACS["s3"], MACS["s2"], "10.10.102.50", operation=2), False),
        "nobody's MAC in ARP": (arp(MACS["s3"], "52:54:00:00:0b:77", "10.10.102.51"), False),
        "nobody's MAC": (udp4("52:54:00:00:0b:77", "10.10.102.51", (9, 9)), False),
        "MAC and address, IPv6": (udp6(MACS["s2"], "fd10:102::2", (9, 9)), False),
        "MAC and address, advertised": (advertises(MACS["s2"], "fd10:102::2", "fd10:102::2"), False),
        "another protocol": (raw(MACS["s2"]), False),
        "another protocol of its own": (raw(MACS["s3"]), True),
        "itself, advertised": (advertises(MACS["s3"], "fd10:102::3", "fd10:102::3"), True),
        "itself, ARP": (arp(MACS["s3"], MACS["s3"], "10.10.102.3", operation=2), True),
    })  # fmt: skip
    # He whose they are.
    bound.holds("s2", "s3", {
        "IPv4": (udp4(MACS["s2"], "10.10.102.2", (9, 9)), True), "IPv6": (udp6(MACS["s2"], "fd10:102::2", (9, 9)), True),
        "ARP": (arp(MACS["s2"], MACS["s2"], "10.10.102.2", operation=2), True),
    })  # fmt: skip


def test_guests_that_others_wired_and_guests_that_moved_away(bound):
    bound.holds("s4", "s3", {
        "a bound MAC": (udp4(MACS["s2"], "10.10.102.2", (9, 9)), False),
        "a bound MAC in ARP": (arp(MACS["s4"], MACS["s2"], "10.10.102.60"), False),
        "any other MAC": (udp4("52:54:00:00:0b:77", "10.10.102.60", (9, 9)), True),
        "its own": (udp4(MACS["s4"], "10.10.102.60", (9, 9)), True),
        "its own, ARP": (arp(MACS["s4"], MACS["s4"], "10.10.102.60"), True),
    })  # fmt: skip
    # A guest that was migrated is behind the link to the other host.
    bound.holds("wan", "s3", {
        "IPv4": (udp4(MACS["s2"], "10.10.102.2", (9, 9)), True),
        "ARP": (arp(MACS["s2"], MACS["s2"], "10.10.102.2", operation=2), True),
    })  # fmt: skip


def test_a_guest_is_no_router_and_no_dhcp_server(bound):
    mine = frames.link_local(MACS["s3"])
    bound.holds("s3", "s4", {
        "router": (router(MACS["s3"], mine), False),
        "redirect": (icmp6(MACS["s3"], mine, 137, bytes(4) + frames.packed("fd00::9") * 2), False),
        "offer": (udp4(MACS["s3"], "10.10.102.3", (67, 68)), False),
        "offer by another port": (udp4(MACS["s3"], "10.10.102.3", (4067, 68)), False),
        "reply of DHCPv6": (udp6(MACS["s3"], mine, (547, 546)), False),
        "asks for a router": (icmp6(MACS["s3"], mine, 133, bytes(4), "ff02::2"), True),
        "asks for an address": (udp4(MACS["s3"], "0.0.0.0", (68, 67)), True),
        "asks for an IPv6 address": (udp6(MACS["s3"], mine, (546, 547), "ff02::1:2"), True),
        "is there": (advertises(MACS["s3"], mine, mine), True),
    })  # fmt: skip
    # Of a link that is no guest's of ours nobody knows what is behind it.
    bound.holds("wan", "s3", {
        "router": (router(MACS["wan"], frames.link_local(MACS["wan"])), True),
        "offer": (udp4(MACS["wan"], "10.10.102.9", (67, 68)), True),
    })  # fmt: skip


@pytest.mark.parametrize("guest", ["s3", "s4"])
def test_the_gateways_link_local_address(host, bound, guest):
    mac, mine = MACS[guest], frames.link_local(MACS[guest])
    other = "s4" if guest == "s3" else "s3"

    def impostor(address):
        asked = icmp6(mac, address, 135, bytes(4) + frames.packed("fd00::9"))
        return {"advertised": advertises(mac, mine, address), "spoken from": asked}

    # It was there when the rules were loaded, by a module or by the unit, and has been silent since.
    gateway = frames.link_local(HOST_MAC[:-1] + "0")
    assert f"inet6 {gateway}" in host.check_output("ip -6 address show dev spbr0")
    told = {what: (frame, False) for what, frame in impostor(gateway).items()}
    for loads in ("true", "systemctl reload virtnet-firewall.service"):
        host.run_test(loads)
        bound.holds(guest, other, {**told, "itself": (advertises(mac, mine, mine), True)})
    # One that comes later is known once the host has spoken from it; a bridge alone changes no rule.
    later = f"fe80::{guest[1]}77"
    host.run_test(f"ip address add {later}/64 dev spbr0 nodad")
    try:
        bound.holds(guest, other, {what: (frame, True) for what, frame in impostor(later).items()})
        host.run_test(
            "python3 -c %s",
            "import socket; index = socket.if_nametoindex('spbr0'); one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); "
            f"one.bind(('{later}', 0, 0, index)); one.sendto(b'x', ('ff02::1', 9, 0, index))",
        )
        told = {what: (frame, False) for what, frame in impostor(later).items()}
        bound.holds(guest, other, {**told, "itself": (advertises(mac, mine, mine), True)})
    finally:
        host.run(f"ip address del {later}/64 dev spbr0")


def test_what_is_bound_stays_so_and_is_healed(host, modules, bound):
    mode, elements = kept(host)
    assert mode == "600"
    assert not modules.run("net_policy", networks=[NETWORK, CLOSED])["changed"], "what the host's packets filled is no drift"
    rule = {"name": "m", "type": "masquerade", "source": "10.99.0.0/24"}
    modules.run("nat_rule", set="spoof", rules=[rule])
    modules.run("nat_rule", set="spoof", rules=[], purge=True)
    assert kept(host) == (mode, elements)
    host.run_test(f"nft delete element bridge virtnet port_macs '{{ {LINKS['s2']} . {MACS['s2']} }}'")
    assert "gone from set port_macs" in json.dumps(modules.run("net_policy", check=True, networks=[NETWORK, CLOSED])["actions"])
    assert modules.run("net_policy", networks=[NETWORK, CLOSED])["changed"]
    assert kept(host) == (mode, elements)
    # What a flush does to us; it would take libvirt's rules too (test_flushed.py).
    host.run_test("for family in inet bridge arp; do nft delete table $family virtnet; done")
    for _again in range(30):
        if host.run("sleep 0.2; nft list set bridge virtnet port_macs").rc == 0:
            break
    assert kept(host) == (mode, elements)
    assert LINKS["s3"] in host.check_output("cat /etc/virtnet/virtnet.nft")


def test_without_anti_spoofing_nothing_is_held(host, modules, bound):
    loose = {**NETWORK, "policy": {"anti_spoofing": False}}
    modules.step("net_policy", "networks", networks=[loose])
    try:
        assert host.run("nft list table bridge virtnet").rc == 0  # of the other network
        bound.holds("s3", "s4", {
            "forged": (udp4(MACS["s2"], "10.10.102.2", (9, 9)), True), "router": (router(MACS["s3"], "fe80::9"), True),
        })  # fmt: skip
    finally:
        modules.run("net_policy", networks=[NETWORK])
    bound.holds("s3", "s4", {
        "forged": (udp4(MACS["s2"], "10.10.102.2", (9, 9)), False), "own": (udp4(MACS["s3"], "10.10.102.3", (9, 9)), True),
    })  # fmt: skip


def test_dropped_frames_are_logged_with_their_network(host, modules, bound):
    """Of a guest that we wired, and questions for the host's other addresses; each as long as it is asked for."""
    mac = "52:54:00:00:0b:12"
    plain = [NETWORK, CLOSED]

    def logged():
        host.run_test("tcpdump -i nflog:64 -U -w /run/spoof.pcap > /dev/null 2>&1 & echo $! > /run/spoof.pid; sleep 1")
        try:
            bound.holds("s3", "s4", {
                "forged": (udp4(MACS["s2"], "10.10.102.3", (9, 9)), False),
                "own": (udp4(MACS["s3"], "10.10.102.3", (9, 9)), True),
            })  # fmt: skip
            bound.comes("c2", "c2", [arp(mac, mac, "10.10.103.9", ELSEWHERE[0])])
        finally:
            host.run("sleep 1; kill $(cat /run/spoof.pid)")
        return set(host.run("grep -ao 'virtnet [a-z]*: ' /run/spoof.pcap").stdout.splitlines())

    assert logged() == set()
    modules.step("net_policy", "networks", networks=[{**one, "policy": {"log_drops": True}} for one in plain])
    try:
        assert logged() == {"virtnet spoof: ", "virtnet shut: "}
    finally:
        modules.run("net_policy", networks=plain)
        host.run("rm -f /run/spoof.pcap /run/spoof.pid")
    assert logged() == set()


def test_an_isolated_guest_finds_no_address_of_the_host_but_its_networks(host, modules, bound):
    mac = "52:54:00:00:0b:12"
    questions = {address: arp(mac, mac, "10.10.103.9", address) for address in ("10.10.102.1", ELSEWHERE[0], "10.10.103.1")}

    def answered():
        _own, came = bound.comes("c2", "c2", list(questions.values()))
        return {str(ipaddress.ip_address(one[28:32])) for one in came if one[12:14] == b"\x08\x06" and one[21] == 2}

    assert answered() == {"10.10.103.1"}
    host.run_test("nft flush chain arp virtnet input")
    assert answered() == set(questions), "the kernel would answer for all of them"
    assert modules.run("net_policy", networks=[NETWORK, CLOSED])["changed"]
    assert answered() == {"10.10.103.1"}
    # IPv6 needs no rule: neighbour discovery answers for the link's own addresses only.
    host.run_test("ip -n c2 address add fd10:103::9/64 dev eth0 nodad")
    asked = []
    for address in ("fd10:102::1", ELSEWHERE[1], "fd10:103::1"):
        group = str(ipaddress.IPv6Address(frames.packed("ff02::1:ff00:0")[:13] + frames.packed(address)[13:]))
        asked.append(icmp6(mac, "fd10:103::9", 135, bytes(4) + frames.packed(address) + frames.option(1, mac), group))
    _own, came = bound.comes("c2", "c2", asked)
    told = {str(ipaddress.IPv6Address(one[62:78])) for one in came if one[12:14] == b"\x86\xdd" and one[54] == 136}
    assert told == {"fd10:103::1"}


def test_a_domain_that_runs(host, modules, bound):
    """Its tap has the name that is bound, and is in the bridge; taken away, it is free again."""
    host.run_test(f"ip link del {LINKS['s2']}")
    host.run_test("virsh start spd1")
    assert host.check_output("basename $(readlink /sys/class/net/%s/master)", LINKS["s2"]) == "spbr0"
    assert not modules.run("guest_nic", nics=NICS)["changed"]
    host.run_test("virsh destroy spd1")
    done = modules.step("guest_nic", "nics", nics=[{**NICS[0], "state": "absent"}])
    assert [one["op"] for one in done["actions"]] == ["detach", "unbind"]
    assert LINKS["s2"] not in host.check_output("nft list table bridge virtnet; cat /etc/virtnet/*.json /etc/virtnet/virtnet.nft")
    assert LINKS["s3"] in host.check_output("nft list set bridge virtnet port_macs")
