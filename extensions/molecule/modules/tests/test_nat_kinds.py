# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nat_rule's one_to_one, npt and snat to a range, by both backends: who answers, and whom does he take the caller for.

Guests and the outside are network namespaces of the host. Everybody runs the same server, also the host; it answers with its
own name and the address that it sees. The filter of the network is in force.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import json

import pytest
import yaml
from module_calls import Modules

BACKENDS = ("nftables", "iptables")
NETWORK = {
    "name": "kinds", "model": "nat", "bridge": "kindbr0", "addresses": ["10.10.101.1/24", "fd10:101::1/64"],
    "dhcp": {
        "reservations": [
            {"name": f"k{number}", "mac": f"52:54:00:00:0a:0{number}", "address": f"{prefix}{number}"}
            for number in (2, 3) for prefix in ("10.10.101.", "fd10:101::")
        ],
    },
}  # fmt: skip
PORTS = (4646, 4647)
#: Argument serve: the name. Argument ask: address, port, [source port of UDP]. The answers: name, address seen; of ping its hops.
SCRIPT = f"""
import json, re, select, socket, subprocess, sys

def plain(address):
    return address[0].replace("::ffff:", "")

def serve(name):
    found = {{}}
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for port in {PORTS}:
            one = socket.socket(socket.AF_INET6, kind)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                one.listen()
            found[one] = port
    while True:
        for one in select.select(list(found), [], [])[0]:
            if one.type == socket.SOCK_STREAM:
                peer, address = one.accept()
                peer.sendall(f"{{name}} {{plain(address)}}".encode())
                peer.close()
            else:
                address = one.recvfrom(9)[1]
                one.sendto(f"{{name}} {{plain(address)}}".encode(), address)

def ask(address, port, source=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = {{}}
    for name, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
        with socket.socket(family, kind) as one:
            one.settimeout(1.5)
            try:
                if name == "udp":
                    one.bind(("", int(source)))
                    one.sendto(b"x", (address, int(port)))
                else:
                    one.connect((address, int(port)))
                text, sender = one.recvfrom(99)
                found[name] = text.decode() or None
                # The host, which has many addresses, answers from another one than it was asked at; no guest may.
                if sender and plain(sender) != address and not text.startswith(b"host "):
                    found[name] += f" by {{plain(sender)}}"
            except OSError:
                found[name] = None
    ping = subprocess.run(["ping", "-c", "1", "-W", "1", address], capture_output=True, text=True).stdout
    ttl = re.search(r"ttl=(\\d+)", ping)
    found["hops"] = 64 - int(ttl[1]) if ttl else None
    print(json.dumps(found))

def ask_all(rows):
    "All at once, for most of the time goes into waiting for answers that do not come."
    def command(who, *row):
        inside = () if who == "host" else ("ip", "netns", "exec", who)
        return [*inside, sys.executable, sys.argv[0], "ask", *map(str, row)]

    running = [subprocess.Popen(command(*row), stdout=subprocess.PIPE, text=True) for row in json.loads(rows)]
    print(json.dumps([json.loads(one.communicate()[0]) for one in running]))

globals()[sys.argv[1]](*sys.argv[2:])
"""


def matches(found, expected):
    if isinstance(found, str) and isinstance(expected, str):
        return fnmatch.fnmatchcase(found, expected)
    return expected is ... or found == expected


class Segment:
    """Namespaces k2 and k3, guests of the network; out, the outside, 198.51.100.2 and fd51::2, which has routes to what
    the documentation's prefixes are, but none to the guests; and the host."""

    def __init__(self, host):
        self.host = host

    def answers(self, rows):
        """Return {row: (TCP's answer, UDP's, hops of the ping's)}; a row is (who, address, [port, [source port of UDP]])."""
        rows = list(rows)
        asked = json.dumps([[*row, *(PORTS[0], 0)[len(row) - 2 :]] for row in rows])
        found = json.loads(self.host.check_output("python3 /run/kinds.py ask_all %s", asked))
        return {row: (one["tcp"], one["udp"], one["hops"]) for row, one in zip(rows, found)}

    def holds(self, expected):
        """Assert that the answers are those expected, patterns of fnmatch; ... is anything."""
        found = self.answers(expected)
        assert {row: one for row, one in found.items() if not all(map(matches, one, expected[row]))} == {}, expected

    def up(self):
        lines = ["ip link add kindbr0 type bridge", "ip link set kindbr0 up"]
        lines += [f"ip address add {one} dev kindbr0 nodad" for one in NETWORK["addresses"]]
        for name, numbers in (("k2", ("10.10.101.2/24", "fd10:101::2/64")), ("k3", ("10.10.101.3/24", "fd10:101::3/64")),
                              ("out", ("198.51.100.2/24", "fd51::2/64"))):  # fmt: skip
            lines += [f"ip netns add {name}", f"ip link add kind{name} type veth peer name eth0 netns {name}"]
            lines += [f"ip -n {name} address add {one} dev eth0 nodad" for one in numbers]
            lines += [f"ip -n {name} link set eth0 up", f"ip -n {name} link set lo up"]
        for guest in ("k2", "k3"):
            lines += [
                f"ip -n {guest} link set eth0 address 52:54:00:00:0a:0{guest[1]}", f"ip link set kind{guest} master kindbr0 up",
                f"ip -n {guest} route add default via 10.10.101.1", f"ip -n {guest} route add default via fd10:101::1",
            ]
        lines += [
            "ip address add 198.51.100.1/24 dev kindout", "ip address add fd51::1/64 dev kindout nodad", "ip link set kindout up",
            "ip address add 192.0.2.7/32 dev kindout", "ip address add 2001:db8:7::7/128 dev kindout nodad",
            *(f"ip -n out route add {one} via 198.51.100.1" for one in ("192.0.2.0/24", "203.0.113.0/24")),
            "ip -n out route add 2001:db8::/32 via fd51::1",
        ]
        self.host.run_test(" && ".join(lines))
        for name in ("k2", "k3", "out", "host"):
            inside = "" if name == "host" else f"ip netns exec {name} "
            self.host.run_test(f"{inside}python3 /run/kinds.py serve {name} > /dev/null 2>&1 & echo $! >> /run/kinds.pids")

    def down(self):
        self.host.run("kill $(cat /run/kinds.pids); rm -f /run/kinds.pids /run/kinds.py")
        self.host.run("for name in k2 k3 out; do ip netns del $name; done; ip link del kindbr0; ip link del kindout")


@pytest.fixture(scope="module")
def whole_segment(host):
    """Once for all tests: it is what takes long."""
    modules, found = Modules(host), Segment(host)
    modules.run("ip_forward", ipv4=True, ipv6=True)
    try:
        host.run_test("cat > /run/kinds.py <<'END'\n" + SCRIPT + "\nEND")
        found.up()
        modules.run("net_policy", networks=[NETWORK])
        for _again in range(20):
            if found.answers([("out", "fd51::1")])["out", "fd51::1"] == both("host fd51::2", 0):
                break
        yield found
    finally:
        modules.run("net_policy", networks=[{"name": "kinds", "state": "absent"}])
        found.down()
        modules.run("ip_forward", state="absent")
    assert not host.file("/etc/virtnet").exists
    assert "VIRTNET" not in host.check_output("iptables-save; ip6tables-save; nft list tables")


@pytest.fixture
def segment(modules, whole_segment):
    # All that is asked below is there to answer.
    whole_segment.holds({("out", "198.51.100.1"): both("host 198.51.100.2", 0), ("out", "fd51::1"): both("host fd51::2", 0)})
    try:
        yield whole_segment
    finally:
        modules.run("nat_rule", rules=[], set="kinds", purge=True, networks=[{"name": "kinds", "state": "absent"}])


def both(text, hops):
    return text, text, hops


NOTHING = both(None, None)
ONE = [
    {"name": "one4", "type": "one_to_one", "network": "kinds", "listen": {"address": "192.0.2.7"}, "to": {"guest": "k2"}},
    {"name": "one6", "type": "one_to_one", "network": "kinds", "listen": {"address": "2001:db8:7::7"}, "to": {"guest": "k2"}},
]
NPT = [
    {"name": "npt4", "type": "npt", "network": "kinds", "to": {"subnet": "203.0.113.0/24"}},
    {"name": "npt6", "type": "npt", "network": "kinds", "to": {"subnet": "2001:db8:1::/64"}},
]
POOL = [
    {"name": "pool4", "type": "snat", "source": "10.10.101.0/24", "to": {"address": "192.0.2.16-192.0.2.23"}},
    {"name": "pool6", "type": "snat", "source": "fd10:101::/64", "to": {"address": "2001:db8:2::10-2001:db8:2::1f"}},
]


#: (outside address, caller, his gateway, the guests' gateway, how the guests' addresses begin)
FAMILIES = (
    ("192.0.2.7", "198.51.100.2", "198.51.100.1", "10.10.101.1", "10.10.101."),
    ("2001:db8:7::7", "fd51::2", "fd51::1", "fd10:101::1", "fd10:101::"),
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_address_for_one_guest(modules, segment, backend):
    call = {"set": "kinds", "backend": backend, "networks": [NETWORK]}
    modules.run("nat_rule", **call, rules=[])
    segment.holds({("out", outside): both(f"host {caller}", 0) for outside, caller, *_rest in FAMILIES})
    modules.step("nat_rule", "rules", **call, rules=ONE)
    expected = {}
    for outside, caller, host, gateway, guests in FAMILIES:
        expected.update({
            # Inwards, outwards; its neighbour leaves as ever, as the host.
            ("out", outside): both(f"k2 {caller}", 1),
            ("k2", caller): both(f"out {outside}", 1),
            ("k3", caller): both(f"out {host}", 1),
            # By the outside address also from inside, and from the host; neighbours directly as ever.
            ("k3", outside): (f"k2 {gateway}", f"k2 {gateway}", ...),
            ("host", outside): both("k2 *", 0),
            ("k3", f"{guests}2"): both(f"k2 {guests}3", 0),
            # Nobody else is reached, nor is the host replaced at its other addresses.
            ("out", f"{guests}3"): NOTHING,
            ("out", host): both(f"host {caller}", 0),
        })  # fmt: skip
    segment.holds(expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_says_more_wins(modules, segment, backend):
    """A forward on the address comes first, one on no address leaves the address to the guest; no hairpin is none."""
    forward = {"type": "dnat", "network": "kinds", "protocol": "both", "to": {"guest": "k3", "ports": "4646"}}
    rules = [
        {**ONE[0], "hairpin": False},
        {**forward, "name": "on-it", "listen": {"address": "192.0.2.7", "ports": "4647"}},
        {**forward, "name": "on-any", "listen": {"ports": "4646"}},
    ]
    modules.step("nat_rule", "rules", set="kinds", backend=backend, rules=rules)
    segment.holds({
        ("out", "192.0.2.7"): both("k2 198.51.100.2", 1),
        ("out", "192.0.2.7", 4647): ("k3 198.51.100.2", "k3 198.51.100.2", 1),
        ("out", "198.51.100.1"): ("k3 198.51.100.2", "k3 198.51.100.2", 0),
        # Guests and the host find the host there, as without the rule.
        ("k3", "192.0.2.7"): both("host 10.10.101.3", 0),
        ("host", "192.0.2.7"): both("host *", 0),
    })  # fmt: skip
    message = modules.refused("nat_rule", set="kinds2", backend=backend, rules=[{**ONE[0], "to": {"guest": "k3"}}])
    assert "kinds/one4" in message and "kinds2/one4" in message


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_prefix_for_a_prefix(modules, segment, backend):
    modules.step("nat_rule", "rules", set="kinds", backend=backend, networks=[NETWORK], rules=NPT)
    expected = {}
    for (_outside, caller, _host, gateway, _guests), prefix in zip(FAMILIES, ("203.0.113.", "2001:db8:1::")):
        for number in (2, 3):
            expected["out", f"{prefix}{number}"] = both(f"k{number} {caller}", 1)
            expected[f"k{number}", caller] = both(f"out {prefix}{number}", 1)
        expected["k3", f"{prefix}2"] = (f"k2 {gateway}", f"k2 {gateway}", ...)
        expected["host", f"{prefix}2"] = both("k2 *", 0)
        # The host serves DNS to its guests at its own address there; the outside does not get at it.
        expected["out", f"{prefix}1"] = (None, None, ...)
    segment.holds(expected)
    message = modules.refused("nat_rule", set="kinds2", backend=backend, rules=[{**NPT[0], "to": {"subnet": "192.0.2.0/24"}}])
    assert "kinds2/npt4" in message and "kinds/npt4" in message


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_range_of_addresses(modules, segment, backend):
    modules.step("nat_rule", "rules", set="kinds", backend=backend, rules=POOL)
    rows = [(guest, caller, port) for guest in ("k2", "k3") for _o, caller, *_rest in FAMILIES for port in PORTS]
    found = segment.answers(rows)
    for guest in ("k2", "k3"):
        for (_outside, caller, *_rest), rule in zip(FAMILIES, POOL):
            first, last = map(ipaddress.ip_address, rule["to"]["address"].split("-"))
            # A guest keeps the address that it got.
            [text] = {text for port in PORTS for text in found[guest, caller, port][:2]}
            name, address = text.split()
            assert name == "out" and first <= ipaddress.ip_address(address) <= last
            assert found[guest, caller, PORTS[0]][2] == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_conversation_ends_with_the_rule_that_it_stands_by(modules, segment, backend):
    """The same sockets again: conntrack knows them, and would go on translating as before."""
    call = {"set": "kinds", "backend": backend, "networks": [NETWORK], "purge": True}
    modules.run("nat_rule", **call, rules=[*ONE, *NPT[1:]])
    # Sockets of its own: those of the other backend are remembered as they were without rules.
    port = 5555 + 10 * BACKENDS.index(backend)
    rows = [
        ("out", "192.0.2.7", 4646, port), ("k2", "198.51.100.2", 4646, port), ("k3", "fd51::2", 4646, port + 1),
        ("out", "2001:db8:1::3", 4646, port + 2),
    ]  # fmt: skip
    told = ["k2 198.51.100.2", "out 192.0.2.7", "out 2001:db8:1::3", "k3 fd51::2"]
    assert [one[1] for one in segment.answers(rows).values()] == told
    # Another rule goes: of those that stay nothing is cut.
    modules.run("nat_rule", **call, rules=[ONE[0], NPT[1]])
    assert [one[1] for one in segment.answers(rows).values()] == told
    modules.run("nat_rule", **call, rules=[])
    told = ["host 198.51.100.2", "out 198.51.100.1", "out fd51::1", None]
    assert [one[1] for one in segment.answers(rows).values()] == told


def test_rules_from_a_file(modules, host, tmp_path):
    """JSON, YAML and the same under rules are one and the same; what is wrong in the file is told with its place."""
    rules = [
        {"name": f"f{one}", "type": "dnat", "listen": {"ports": 20000 + one}, "to": {"address": f"10.9.0.{one}", "ports": "80"}}
        for one in range(1, 250)
    ]
    files = {}
    for name, write in (("json", json.dumps), ("yml", yaml.safe_dump)):
        files[name] = tmp_path / f"rules.{name}"
        files[name].write_text(write(rules))
    call = {"set": "kinds-file", "purge": True}
    try:
        done = modules.step("nat_rule", "sets", **call, src=str(files["json"]))
        assert done["sets"] == [{"set": "kinds-file", "backend": "nftables", "rules": len(rules)}]
        assert not modules.run("nat_rule", **call, src=str(files["yml"]))["changed"]
        assert not modules.run("nat_rule", **call, rules=rules)["changed"]
        rules[7]["listen"] = {"port": 80}
        files["yml"].write_text(yaml.safe_dump(rules))
        assert "src[7].listen.port" in modules.refused("nat_rule", **call, src=str(files["yml"]))
        assert "no-such-file" in modules.refused("nat_rule", **call, src="no-such-file.json")
        assert host.check_output("find / -xdev -name rules.json -path '*ansible-tmp*'") == ""
    finally:
        modules.run("nat_rule", **call, rules=[])
    assert not host.file("/etc/virtnet/rules.d/kinds-file.json").exists


def test_ten_thousand_forwards(modules, segment, host, tmp_path, figure):
    """The first, the last and the one beside it; and of all of them the one that somebody takes away."""
    count = 10000
    rules = [
        {
            "name": f"f{port}", "type": "dnat", "listen": {"ports": port},
            "to": {"address": f"10.10.101.{2 + port % 2}", "ports": PORTS[0]},
        }
        for port in range(20000, 20000 + count)
    ]  # fmt: skip
    file = tmp_path / "forwards.json"
    file.write_text(json.dumps(rules))
    call = {"set": "kinds", "purge": True, "src": str(file)}
    done = modules.step("nat_rule", "sets", **call)
    assert done["sets"] == [{"set": "kinds", "backend": "nftables", "rules": count}]
    assert done["actions"][0]["note"] == f"{count}: f20000, f20001, f20002 and {count - 3} more"
    figure(f"{count} forwards asked for again: {modules.timed('nat_rule', **call)} s with Ansible and SSH")
    address, nobody = "198.51.100.1", (None, None, ...)
    first = {("out", address, 20000): ("k2 198.51.100.2", None, ...), ("k3", address, 20000): ("k2 10.10.101.1", None, ...)}
    others = {
        ("out", address, 29999): ("k3 198.51.100.2", None, ...), ("host", address, 29999): ("k3 *", None, ...),
        ("out", address, 30000): nobody, ("out", address, 19999): nobody,
    }  # fmt: skip
    segment.holds({**first, **others})
    host.run_test("nft delete element inet virtnet forwards4 '{ tcp . 25001 : 10.10.101.3 . 4646 }'")
    mended = modules.step("nat_rule", "sets", **call)
    assert [one["kind"] for one in mended["actions"]] == ["ruleset"]
    assert "kinds/f25001" in mended["actions"][0]["note"], mended["actions"]
    # One goes; all others stay what they are.
    file.write_text(json.dumps(rules[1:]))
    assert modules.step("nat_rule", "sets", **call)["actions"][0]["note"] == "1: f20000"
    segment.holds({**dict.fromkeys(first, nobody), **others})
