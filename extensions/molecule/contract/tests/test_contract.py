# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contract of all four models on one host, packet by packet, with guests that are network namespaces.

Everything is sent in one go, first where nothing filters, then under net_policy and nat_rule, then beside libvirt's rules. A no
counts only if nothing came under the policy, and the very same packet did come without, on a host whose kernel is as lenient as
it can be. What is expected is said by contract.py and, so that an error in it is seen, by a table written here from the
documentation.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import shlex
import sys
import time
from pathlib import Path

import frames
import hostile
import pytest
from module_calls import Modules

ROOT = Path(__file__).resolve().parents[4]
if str(ROOT / ".build") not in sys.path:
    sys.path.append(str(ROOT / ".build"))

from ansible_collections.virtnet.kvm.plugins.module_utils import contract, models, names  # noqa: E402 (the path is above)

WIRE = Path(__file__).resolve().parents[1] / "files" / "wire.py"
VERSIONS = (4, 6)
PROTOCOLS = ("tcp", "udp", "icmp")
PORT, OPENED, FORWARDED = hostile.PORT, 6001, 7001
#: By number; the number is that of the subnets, 10.81.<number>.0/24 and fd81:<number>::/64, where .1 is the host if it is there.
NAMES = ("iso1", "iso2", "iso3", "rou1", "rou2", "nat1", "nat2", "lan")
HOST, OUTSIDE, UPLINK = "host", "outside", "ctlan"


def guest_mac(name, letter):
    return f"52:54:00:00:81:{NAMES.index(name) + 1:x}{letter}"


def port_of(name, letter):
    """The host's end of a guest's cable: it has the name that guest_nic gives the NIC's link."""
    return names.port_name(guest_mac(name, letter))


def address(name, version, last):
    number = NAMES.index(name) + 1
    return f"10.81.{number}.{last}" if version == 4 else f"fd81:{number}::{last}"


def subnets(name):
    return [f"{address(name, 4, 0)}/24", f"{address(name, 6, 0)}/64"]


def gateways(name):
    return [f"{address(name, 4, 1)}/24", f"{address(name, 6, 1)}/64"]


def served(name):
    rows = [{"name": "a", "mac": guest_mac(name, "a"), "address": address(name, version, 11)} for version in VERSIONS]
    return {"addresses": gateways(name), "dhcp": {"reservations": rows}}


def to(network, protocol, *ports):
    return {"network": network, "protocol": protocol, "ports": list(ports)}


NETWORKS = [
    {"name": "iso1", "model": "isolated", "bridge_owner": "host", "subnets": subnets("iso1"),
     "policy": {"allow_to": [to("nat2", "tcp", "6001")]}},
    {"name": "iso2", "model": "isolated", **served("iso2"), "policy": {"host_access": [{"protocol": "tcp", "ports": ["6001"]}]}},
    {"name": "iso3", "model": "isolated", "subnets": subnets("iso3")},
    {"name": "rou1", "model": "routed", **served("rou1"), "policy": {"allow_to": [to("iso1", "udp", "6001-6003")]}},
    {"name": "rou2", "model": "routed", "bridge_owner": "host", "addresses": gateways("rou2")},
    {"name": "nat1", "model": "nat", **served("nat1"), "policy": {"allow_to": [to("nat2", "tcp", "6001")]}, "port_forwards": [
        {"name": "fwd", "protocol": "both", "listen": {"ports": str(FORWARDED)}, "to": {"guest": "a", "ports": str(PORT)}}]},
    {"name": "nat2", "model": "nat", **served("nat2")},
    {"name": "lan", "model": "bridged", "bridge": UPLINK, "subnets": subnets("lan")},
]  # fmt: skip
MACHINE = (
    "<domain type='qemu'><name>ctguests</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64'>hvm</type></os><devices><memballoon model='none'/></devices></domain>"
)
for row in NETWORKS:
    row.setdefault("bridge", f"ct{row['name']}")
GONE = [{"name": one["name"], "state": "absent"} for one in NETWORKS]
#: The host has an address in these, and guards them.
ADDRESSED = [one["name"] for one in NETWORKS if one.get("addresses")]
GUARDED = NAMES[:-1]
MODEL = {one["name"]: one["model"] for one in NETWORKS}
OWN_BRIDGES = [one["bridge"] for one in NETWORKS if one.get("bridge_owner") == "host"] + [UPLINK]
BRIDGE = {one["name"]: one["bridge"] for one in NETWORKS}
PARSED = {one.name: one for one in models.parse_networks(NETWORKS)}

#: The documentation's table, by hand: who may open a conversation with whom. 'same' is the own network, every other column
#: another one. Exceptions by port are in EXCEPTIONS, port forwards in FORWARDS.
TABLE = """
          same isolated routed nat bridged host outside
isolated  yes  no       no     no  no      no   no
routed    yes  no       yes    no  yes     yes  yes
nat       yes  no       host   no  host    yes  host
bridged   yes  no       yes    no  yes     yes  yes
host      -    no       yes    yes yes     -    yes
outside   -    no       yes    no  yes     yes  -
"""
HAND = {
    (line.split()[0], column): cell
    for head, *lines in [TABLE.strip().splitlines()] for line in lines
    for column, cell in zip(head.split(), line.split()[1:]) if cell != "-"
}  # fmt: skip
#: (from, to, protocol, port): whether it passes; of the host its address in the asker's own network is meant.
EXCEPTIONS = {
    ("nat1a", "nat2a", "tcp", OPENED): "own",
    ("nat1a", "nat2a", "tcp", OPENED + 1): "no",
    ("nat1a", "nat2a", "udp", OPENED): "no",
    ("nat2a", "nat1a", "tcp", OPENED): "no",
    ("rou1a", "nat2a", "tcp", OPENED): "no",
    ("outside", "nat2a", "tcp", OPENED): "no",
    ("iso1a", "nat2a", "tcp", OPENED): "own",
    ("iso1a", "nat2a", "tcp", OPENED - 1): "no",
    ("iso1a", "outside", "tcp", OPENED): "no",
    ("iso1a", "nat1a", "tcp", OPENED): "no",
    ("nat2a", "iso1a", "tcp", OPENED): "no",
    ("rou1a", "iso1a", "udp", OPENED): "own",
    ("rou1a", "iso1a", "udp", OPENED + 2): "own",
    ("rou1a", "iso1a", "udp", OPENED + 3): "no",
    ("rou1a", "iso1a", "tcp", OPENED): "no",
    ("rou2a", "iso1a", "udp", OPENED): "no",
    ("iso1a", "rou1a", "udp", OPENED): "no",
    ("iso2a", "host", "tcp", OPENED): "own",
    ("iso2a", "host", "tcp", OPENED + 1): "no",
    ("iso2a", "host", "udp", OPENED): "no",
    ("host", "iso2a", "tcp", OPENED): "no",
    ("iso2a", "host", "udp", 53): "own",
    ("iso2a", "host", "tcp", 53): "own",
    ("iso2a", "host", "udp", 67): "own",
    ("iso2a", "host", "udp", 547): "own",
    ("iso2a", "host", "udp", 54): "no",
    ("iso2a", "host", "tcp", 67): "no",
}
#: Who gets to nat1a by the forwarded port of the host's address on the LAN, and as whom.
FORWARDS = {
    "outside": "own", "host": "own", "lana": "own", "rou1a": "own", "rou2a": "own", "nat2a": "host", "nat1b": "host",
    "iso1a": "no", "iso2a": "no", "iso3a": "no",
}  # fmt: skip
#: Shots that no kernel of today lets through even where nothing filters; not arriving they prove nothing, and are not counted.
INERT = {
    "VLAN 5": "the host has no link in that VLAN",
    "IP for the host to unpack": "the host has no tunnel",
    "GRE for the host to unpack": "the host has no tunnel",
    ("overlapping fragments", HOST): "discarded where they are put together",
    ("a later fragment alone", HOST): "never whole",
    ("ports hidden in TCP fragments", HOST, 6): "RFC 7112: a first fragment has all headers",
}
#: Whom an isolated guest, and who is closed out, may not reach.
FORBIDDEN = {
    "iso1": ("outside", "rou1a", "nat1a", "iso2a", "uplink"), "iso2": ("outside", "rou2a", "nat2a", "iso3a", "gateway", "uplink"),
    "iso3": ("outside", "rou1a", "nat2a", "iso1a", "uplink"), "rou1": ("nat1a", "iso2a"), "rou2": ("nat2a", "iso1a"),
    "nat1": ("nat2a", "iso2a"), "nat2": ("nat1a", "iso3a"), "lan": ("nat1a", "iso2a"), "outside": ("nat1a", "iso2a", "iso1a"),
}  # fmt: skip
#: What could disturb the others' ways comes after them: sections in the second and the third round.
ROUNDS = {"hostile": 1, "many": 1, "error": 1, "segment": 2, "bound": 2, "arp": 2}
#: What an isolated guest may ask its gateway for, if that serves DHCP.
SERVICES = ("UDP to 53", "UDP to 67")
RESERVED = [one["name"] for one in NETWORKS if "dhcp" in one]
SYSCTLS = ("rp_filter=0", "accept_source_route=1", "accept_local=1", "bc_forwarding=1", "send_redirects=0")


@dataclasses.dataclass(frozen=True)
class Cell:
    token: int
    section: str
    row: str  # the attack, or whom it was sent to
    sender: str
    receiver: str
    version: int
    protocol: str
    expected: str  # no; yes as own or host: the address under which it comes
    forbidden: tuple = ()  # who must not see it either
    control: bool = True  # whether it must come where nothing filters
    replied: bool = False

    @property
    def name(self):
        return f"{self.sender} → {self.receiver}, {self.row}, IPv{self.version} {self.protocol}".rstrip(", ")


def guests(letter):
    return [f"{name}{letter}" for name in NAMES]


class World:
    """The nodes, and every packet that they send."""

    def __init__(self, bridge_macs):
        self.bridge_macs = bridge_macs
        self.cells, self.asked = [], []
        self.nodes = {HOST: None, OUTSIDE: "ctout", **{one: f"ct{one}" for letter in "ab" for one in guests(letter)}}
        self.sends = {node: ([], [], []) for node in self.nodes}
        for make in (self.pairs, self.exceptions, self.forwards, self.hostile, self.segments, self.many, self.bound):
            make()

    # -- who is who

    @staticmethod
    def network(node):
        return None if node in (HOST, OUTSIDE) else node[:-1]

    def model(self, node):
        return node if node in (HOST, OUTSIDE) else MODEL[node[:-1]]

    def mac(self, node):
        return (
            self.bridge_macs[UPLINK]
            if node == HOST
            else "52:54:00:00:81:02"
            if node == OUTSIDE
            else guest_mac(node[:-1], node[-1])
        )

    @staticmethod
    def ip(node, version):
        if node in (HOST, OUTSIDE):
            return address("lan", version, 1 if node == HOST else 2)
        return address(node[:-1], version, 11 if node[-1] == "a" else 12)

    def gate(self, node):
        """The MAC of the host for this node."""
        name = self.network(node)
        return self.bridge_macs[UPLINK if name is None else BRIDGE[name]]

    def next_hop(self, sender, receiver):
        on_lan = [self.network(one) == "lan" or one == OUTSIDE for one in (sender, receiver)]
        near = all(on_lan) or self.network(sender) == self.network(receiver)
        return self.mac(receiver) if near and receiver != HOST else self.gate(sender)

    def host_addresses(self, version):
        return {address(name, version, 1) for name in (*ADDRESSED, "lan")}

    def party(self, node):
        name = self.network(node)
        return (
            contract.Endpoint("guest", "here", PARSED[name])
            if name
            else contract.Endpoint(node, "here" if node == HOST else None)
        )

    # -- sending

    def add(self, section, row, sender, receiver, version, protocol, expected, **more):
        cell = Cell(len(self.cells) + 1, section, row, sender, receiver, version, protocol, expected, **more)
        self.cells.append(cell)
        return cell

    def send(self, cell, packets):
        for data in packets:
            self.sends[cell.sender][ROUNDS.get(cell.section, 0)].append({"token": cell.token, "frame": data.hex()})

    def ask(self, cell, target, port):
        """Send an honest question: TCP, UDP or ping."""
        source, data = self.ip(cell.sender, cell.version), b"VNQ?" + cell.token.to_bytes(4, "big")
        if cell.sender == HOST and cell.section != "forward" and self.network(cell.receiver) in ADDRESSED:
            source = address(self.network(cell.receiver), cell.version, 1)
        sport = 10000 + cell.token
        if cell.protocol == "icmp":
            number, body = frames.icmp_of(target), frames.echo(source, target, cell.token, data)
        elif cell.protocol == "udp":
            number, body = frames.UDP, frames.udp(source, target, sport, port, data)
        else:
            number, body = frames.TCP, frames.tcp(source, target, sport, port, data, seq=0x5A000000 + cell.token)
        packet = frames.ip(source, target, number, body, ident=cell.token)
        if cell.sender == HOST:
            self.sends[HOST][0].append({"token": cell.token, "packet": packet.hex()})
        else:
            receiver = HOST if cell.section == "forward" else cell.receiver
            self.send(cell, [frames.ether(self.next_hop(cell.sender, receiver), self.mac(cell.sender), packet)])

    def pairs(self):
        """Each network with each, by their first guests; in the own network the second asks."""
        nodes = [*guests("a"), HOST, OUTSIDE]
        for sender in [*nodes, *guests("b")]:
            # Its second guest is a positive control of the first one as a listener.
            targets = (
                [(one, one, None) for one in nodes if one not in (sender, HOST)]
                if sender in nodes
                else [(f"{sender[:-1]}a", "same", None)]
            )
            if sender in nodes and sender != HOST:
                own = self.network(sender)
                targets += [
                    (HOST, "host" if name == own else "uplink" if name == "lan" else f"host in {name}", name)
                    for name in (*ADDRESSED, "lan")
                ]
            for receiver, row, home in targets:
                for version in VERSIONS:
                    target = address(home, version, 1) if home else self.ip(receiver, version)
                    for protocol in PROTOCOLS:
                        column = "same" if row == "same" else self.model(receiver)
                        hand = HAND[self.model(sender), column]
                        # To the host itself nobody is translated; the host is itself everywhere.
                        expected = {"yes": "own"}.get(hand, hand)
                        cell = self.add("pair", row, sender, receiver, version, protocol, expected, replied=expected != "no")
                        self.asked.append((cell, contract.verdict(self.party(sender), self.party(receiver), protocol, PORT)))
                        self.ask(cell, target, PORT)

    def exceptions(self):
        for (sender, receiver, protocol, port), expected in EXCEPTIONS.items():
            for version in VERSIONS:
                target = address(self.network(sender), version, 1) if receiver == HOST else self.ip(receiver, version)
                cell = self.add("exception", f"port {port}", sender, receiver, version, protocol, expected)
                self.asked.append((cell, contract.verdict(self.party(sender), self.party(receiver), protocol, port)))
                self.ask(cell, target, port)

    def forwards(self):
        rule = PARSED["nat1"].port_forwards[0]
        for sender, expected in FORWARDS.items():
            for version in VERSIONS:
                for protocol, port in (("tcp", FORWARDED), ("udp", FORWARDED), ("tcp", FORWARDED + 1)):
                    wanted = expected if port == FORWARDED else "no"
                    # Where nothing translates, nothing is forwarded: the control is that others come by it.
                    cell = self.add("forward", f"port {port}", sender, "nat1a", version, protocol, wanted, control=False,
                                    replied=wanted != "no")  # fmt: skip
                    if port == FORWARDED:
                        near = ipaddress.ip_address(self.ip(sender, version))
                        verdict = contract.forward(self.party(sender), self.party("nat1a"), rule, near, None, protocol, PORT)
                        self.asked.append((cell, verdict))
                    self.ask(cell, self.ip(HOST, version), port)

    # -- what is hostile

    def shot(self, cell, target, inner=None, neighbour=None):
        sender, version = cell.sender, cell.version
        name = self.network(sender)
        other = "rou2a" if name == "rou1" else "rou1a"
        forge = {
            "outside": self.ip(OUTSIDE, version), "other": self.ip(other, version), "uplink": self.ip(HOST, version),
            "foreign": hostile.FOREIGN[version], "link-local": f"fe80::5054:ff:fe00:8100:{cell.token:x}" if version == 6 else "",
        }  # fmt: skip
        if name in ADDRESSED:
            forge["gateway"] = address(name, version, 1)
            if version == 6:
                forge["gateway's own"] = frames.link_local(self.gate(sender))
        if name and MODEL[name] != "bridged":
            forge["neighbour"] = self.ip(f"{name}a", version)
        gate = self.gate(sender)
        macs = {
            "neighbour": self.mac(neighbour or (f"{name}a" if name else "lana")),
            "port": self.bridge_macs.get(port_of(name, "b") if name else "ctup", gate),
        }
        way = address(name, version, 1) if name in ADDRESSED else self.ip(HOST, version)
        return hostile.Shot(version, cell.token, self.mac(sender), self.ip(sender, version), gate, target, forge, macs,
                            inner or target, way, hostile.GROUPS[version])  # fmt: skip

    def others(self, sender):
        """All nodes that are not in the sender's own segment."""
        home = "lan" if sender == OUTSIDE else self.network(sender)
        return tuple(
            node
            for node in self.nodes
            if node != sender and self.network(node) != home and not (home == "lan" and node in (HOST, OUTSIDE))
        )

    def target(self, sender, word, version):
        """Return (the node, its address) that is meant by a word of FORBIDDEN."""
        if word == "gateway":
            return HOST, address(self.network(sender), version, 1)
        return (HOST, self.ip(HOST, version)) if word == "uplink" else (word, self.ip(word, version))

    def try_out(self, section, row, make, sender, word, version):
        if (word == "gateway" and row in SERVICES) or (word in ("gateway", "uplink") and "unpack" in row):
            return
        receiver, target = self.target(sender, word, version)
        control = not {row, (row, receiver), (row, receiver, version)} & set(INERT)
        # To the host itself most may send something to unpack; it must not get out of it.
        forbidden = (receiver,) if "unpack" in row and self.model(sender) != "isolated" else self.others(sender)
        cell = self.add(section, row, sender, receiver, version, "", "no", forbidden=forbidden, control=control)
        packets = make(self.shot(cell, target))
        if not packets:
            self.cells.pop()
            return
        self.send(cell, packets)

    def hostile(self):
        for name, words in FORBIDDEN.items():
            sender = OUTSIDE if name == OUTSIDE else f"{name}b"
            for version in VERSIONS:
                for word in words:
                    for row, make in {**hostile.PACKETS, **hostile.FORGED}.items():
                        self.try_out("hostile", row, make, sender, word, version)
                # Whom it may reach, it may not reach under a name that is not its own.
                for word in ("outside", "uplink") if MODEL.get(name) in ("routed", "nat") else ():
                    for row, make in hostile.FORGED.items():
                        if "neighbour" not in row or name in RESERVED:
                            self.try_out("hostile", row, make, sender, word, version)

    def segments(self):
        for name in ADDRESSED:
            for version in VERSIONS:
                for row, make in hostile.CLAIMS.items():
                    if "neighbour" in row and name not in RESERVED:
                        continue
                    self.in_segment("segment", row, make, name, version, "no")
                self.in_segment("segment", "of itself", hostile.own_claim, name, version, "own")

    def in_segment(self, section, row, make, name, version, expected):
        cell = self.add(section, row, f"{name}b", f"{name}a", version, "", expected)
        packets = make(self.shot(cell, self.ip(cell.receiver, version)))
        if packets:
            self.send(cell, packets)
        else:
            self.cells.pop()

    def many(self):
        for name in ("iso1", "iso2", "iso3"):
            sender = f"{name}b"
            for version in VERSIONS:
                for row, make in hostile.FOR_MANY.items():
                    # In the segment it is everybody's, and so is the control for that it was sent.
                    cells = [
                        self.add("many", row, sender, f"{name}a", version, "", "own", forbidden=self.others(sender)),
                    ]
                    packets = make(self.shot(cells[0], ""))
                    if packets:
                        self.send(cells[0], packets)
                    else:
                        self.cells.pop()
                        continue
                    control = "IGMP" not in row
                    second = self.add("many", row, sender, HOST, version, "", "no", control=control)
                    self.send(second, make(self.shot(second, "")))
            cell = self.add("many", "broadcast of another network", sender, "rou1a", 4, "", "no", forbidden=self.others(sender))
            self.send(cell, hostile.to_broadcast_of(self.shot(cell, ""), address("rou1", 4, 255)))

    # -- what only a port that is bound may not send, and conversations of others

    def bound(self):
        for name in ADDRESSED:
            for version in VERSIONS:
                for row, make in (("a guest advertises itself as router", hostile.advertised_router),
                                  ("a guest offers DHCP", hostile.dhcp_offer),
                                  ("the gateway's link-local address", hostile.link_local_claim)):  # fmt: skip
                    # Where the host serves no DHCP a guest may.
                    if make is not hostile.dhcp_offer or name != "rou2":
                        self.in_segment("bound", row, make, name, version, "no")
                if name in ("nat1", "nat2", "rou1"):
                    cell = self.add("bound", "MAC and address of a neighbour", f"{name}b", OUTSIDE, version, "", "no")
                    self.send(cell, hostile.mac_and_address(self.shot(cell, self.ip(OUTSIDE, version))))
        for name in ("iso1", "iso2", "iso3"):
            for wanted in ("lan", "rou1", *(["iso2"] if name != "iso2" else [])):
                cell = self.add(
                    "arp", "ARP for another address of the host", f"{name}b", HOST, 4, address(wanted, 4, 1), "no",
                )
                self.send(cell, hostile.asks_for(self.shot(cell, ""), address(wanted, 4, 1)))
        self.errors()

    def one(self, sender, receiver, version):
        """Return the cell of an honest conversation."""
        wanted = ("pair", sender, receiver, version, "udp")
        return next(one for one in self.cells if (one.section, one.sender, one.receiver, one.version, one.protocol) == wanted)

    def errors(self):
        """Isolated guests speak to the ends of a conversation of others, of which they know addresses and ports."""
        for version in VERSIONS:
            talk, own = self.one("rou1a", OUTSIDE, version), self.one(HOST, "rou1a", version)
            for name in ("iso1", "iso2", "iso3"):
                for receiver, conversation in (
                    (OUTSIDE, (self.ip(OUTSIDE, version), self.ip("rou1a", version), PORT, 10000 + talk.token)),
                    ("rou1a", (self.ip("rou1a", version), self.ip(OUTSIDE, version), 10000 + talk.token, PORT)),
                    (HOST, (address("rou1", version, 1), self.ip("rou1a", version), 10000 + own.token, PORT)),
                ):
                    cell = self.add("error", "ICMP error about others' conversation", f"{name}b", receiver, version, "", "no",
                                    forbidden=self.others(f"{name}b"))  # fmt: skip
                    self.send(cell, hostile.error_about(self.shot(cell, conversation[0]), conversation))
            # About a translated conversation it is translated itself; one from the outside, where routers are, must pass.
            talk = self.one("nat1a", OUTSIDE, version)
            conversation = (self.ip(HOST, version), self.ip(OUTSIDE, version), 10000 + talk.token, PORT)
            for sender, expected in (("iso1b", "no"), ("iso2b", "no"), ("iso3b", "no"), (OUTSIDE, "own")):
                cell = self.add("error", "ICMP error about a translated conversation", sender, "nat1a", version, "", expected,
                                control=False)  # fmt: skip
                self.send(cell, hostile.error_about(self.shot(cell, conversation[0]), conversation))


# -- the host ------------------------------------------------------------------------------------------------------------


class Site:
    """The networks and namespaces on a host, and what came where."""

    def __init__(self, host, modules):
        self.host, self.modules = host, modules
        self.seen, self.arp, self.errors = {}, {}, {}

    def shell(self, lines):
        self.host.check_output("set -e\n" + "\n".join(lines))

    def up(self):
        run, bridges = self.modules.run, []
        keys = " ".join(f"net.ipv4.conf.{where}.{one.partition('=')[0]}" for where in ("all", "default") for one in SYSCTLS)
        self.shell([
            f"sysctl {keys} > /run/ct.sysctl",
            # The kernel is to stop nothing by itself.
            *(f"sysctl -q -w net.ipv4.conf.{where}.{one}" for where in ("all", "default") for one in SYSCTLS),
            "ip netns add ctout", "ip link add ctup type veth peer name eth0 netns ctout", "ip link set ctup up",
        ])  # fmt: skip
        for name in ("iso1", "rou2", "lan"):
            ports = {"ports": ["ctup"]} if name == "lan" else {}
            bridges.append({"name": BRIDGE[name], "addresses": [] if name == "iso1" else gateways(name), **ports})
        run("ip_forward", ipv4=True, ipv6=True)
        run("host_bridge", bridges=bridges)
        run("virt_net_model", networks=NETWORKS)
        self.shell(self.namespaces())
        links = json.loads(self.host.check_output("ip -j link"))
        self.world = World({one["ifname"]: one.get("address") for one in links})
        jobs = {
            node: {"netns": netns, "rounds": self.world.sends[node], "groups": [] if netns else self.groups()}
            for node, netns in self.world.nodes.items()
        }
        self.copy(WIRE, "/run/ctwire.py")
        path = ROOT / ".build" / f"contract-{self.modules.name}.json"
        path.write_text(json.dumps(jobs))
        self.copy(path, "/run/ct.json")
        path.unlink()

    def copy(self, source, target):
        assert "msg" not in self.host.ansible("copy", json.dumps({"src": str(source), "dest": target}), check=False)

    @staticmethod
    def groups():
        groups = [group for version in VERSIONS for group in hostile.GROUPS[version] if ipaddress.ip_address(group).is_multicast]
        return [[group, BRIDGE[name]] for name in ("iso1", "iso2", "iso3") for group in groups if group != "224.0.0.1"]

    @staticmethod
    def namespaces():
        lines = [
            # An administrator who slipped: the host has a way into all networks.
            *(f"sysctl -q -w net.ipv6.conf.{BRIDGE[name]}.disable_ipv6=0" for name in ("iso1", "iso3")),
            *(f"sysctl -q -w net.ipv4.conf.ctup.{one}" for one in SYSCTLS),
        ]
        for name in NAMES:
            for letter in "ab":
                netns, port = f"ct{name}{letter}", port_of(name, letter)
                lines += [
                    f"ip netns add {netns}",
                    f"ip link add {port} type veth peer name eth0 address {guest_mac(name, letter)} netns {netns}",
                    f"ip link set {port} master {BRIDGE[name]} up",
                    # Forged frames are not to lead honest ones astray, where nothing keeps them out.
                    f"bridge fdb replace {guest_mac(name, letter)} dev {port} master static sticky",
                ]
        for name in (*guests("a"), *guests("b"), OUTSIDE):
            netns, home = ("ctout", "lan") if name == OUTSIDE else (f"ct{name}", name[:-1])
            # What is claimed where no rule is must not last.
            quiet = "net.ipv6.conf.eth0.accept_ra net.ipv6.conf.eth0.accept_redirects net.ipv4.conf.all.rp_filter"
            quiet += " net.ipv4.conf.all.accept_redirects net.ipv4.conf.eth0.accept_redirects"
            lines.append(f"ip netns exec {netns} sysctl -q -w {quiet.replace(' ', '=0 ')}=0")
            lines += [f"ip -n {netns} link set lo up"]
            lines += [f"ip -n {netns} link set eth0 address 52:54:00:00:81:02"] if name == OUTSIDE else []
            lines.append(f"ip -n {netns} link set eth0 up")
            for version in VERSIONS:
                flags = " nodad" if version == 6 else ""
                own, length = World.ip(name, version), 24 if version == 4 else 64
                lines.append(f"ip -n {netns} address add {own}/{length} dev eth0{flags}")
                lines.append(f"ip -n {netns} -{version} route add default via {address(home, version, 1)}")
        for name in ("iso1", "iso3"):
            bridge = f"$(cat /sys/class/net/{BRIDGE[name]}/address)"
            lines.append(f"ip address add fe80::81/64 dev {BRIDGE[name]} nodad")
            for version in VERSIONS:
                lines.append(f"ip -{version} route replace {subnets(name)[VERSIONS.index(version)]} dev {BRIDGE[name]}")
                lines += [
                    f"ip -n ct{name}{letter} neigh replace {address(name, version, 1)} lladdr {bridge} dev eth0 nud permanent"
                    for letter in "ab"
                ]
        return lines

    def send(self, word):
        """Send everything; keep what came under this word."""
        warm = [World.ip(one, version) for one in (OUTSIDE, *guests("a")) for version in VERSIONS]
        # Who does not know his neighbours loses what comes while he asks for them.
        lines = [f"ip -n ct{one} neigh flush all" for one in ("out", *guests("a"), *guests("b"))]
        lines += ["ip neigh flush all", "conntrack -F"]
        lines += [f"ping -c 2 -i 0.2 -W 2 {one} &" for one in warm]
        self.host.run("(" + "\n".join(lines) + "\nwait) > /dev/null 2>&1")
        found = json.loads(self.host.check_output("python3 /run/ctwire.py run /run/ct.json"))
        self.seen[word] = {}
        for node, one in found.items():
            for token, kind, source in one["seen"]:
                self.seen[word].setdefault((node, token, kind), []).append(source)
        self.arp[word] = {node: set(one["arp"]) for node, one in found.items()}
        self.errors[word] = {node: one["errors"] for node, one in found.items()}

    def without_rules(self):
        """Nobody filters: not even libvirt, whose rules close isolated networks, too, and would hide what ours leave open."""
        self.shell([
            "iptables-save > /run/ct.rules4", "ip6tables-save > /run/ct.rules6",
            "for t in iptables ip6tables; do $t -F; done",
        ])  # fmt: skip
        self.send("open")

    def with_rules(self):
        self.modules.run("net_policy", networks=NETWORKS)
        self.modules.run("nat_rule", networks=NETWORKS)
        # A machine that never runs has them all for NICs: their links are those of the namespaces.
        self.shell([f"echo {shlex.quote(MACHINE)} > /run/ct.xml", "virsh -q define /run/ct.xml"])
        nics = [{"guest": "ctguests", "network": name, "mac": guest_mac(name, letter)} for name in NAMES for letter in "ab"]
        done = self.modules.run("guest_nic", nics=nics)
        assert {one["bound"][0]["dev"] for one in done["nics"]} == {port_of(name, letter) for name in NAMES for letter in "ab"}
        self.send("policy")

    def with_libvirts(self):
        self.shell(["iptables-restore < /run/ct.rules4", "ip6tables-restore < /run/ct.rules6"])
        self.send("beside")

    def down(self):
        nodes = " ".join(f"ct{one}" for letter in "ab" for one in guests(letter))
        self.host.run("iptables-restore < /run/ct.rules4; ip6tables-restore < /run/ct.rules6")
        self.host.run(f"for one in {nodes}; do ip netns pids $one | xargs -r kill; ip netns del $one; done")
        self.host.run("virsh undefine ctguests")
        # The next run that wires a guest forgets the ports of those that are gone.
        self.modules("guest_nic", nics=[{"guest": "nobody", "mac": guest_mac(NAMES[0], "a"), "state": "absent"}])
        self.modules("virt_net_model", networks=GONE)
        self.modules("nat_rule", networks=GONE)
        self.modules("net_policy", networks=GONE)
        self.modules("host_bridge", bridges=[{"name": one, "state": "absent"} for one in OWN_BRIDGES])
        self.modules("ip_forward", state="absent")
        # Not before its bridge: with its end the port would be gone, too.
        self.host.run("ip netns del ctout; ip link del ctup; sysctl -q -p /run/ct.sysctl; rm -f /run/ct.* /run/ctwire.py")

    # -- judging

    def came(self, word, node, token, kind="ask"):
        return self.seen[word].get((node, token, kind), [])

    def wrong(self, cell, word="policy"):
        """Return what is wrong with a cell, or None.

        :param word: policy, or beside: under the policy and libvirt's own rules.
        """
        asks = self.came(word, cell.receiver, cell.token)
        leaks = [node for node in cell.forbidden if self.came(word, node, cell.token)]
        if leaks:
            return f"it came to {', '.join(leaks)}"
        if cell.expected == "no":
            if asks:
                return f"it came, from {', '.join(asks)}"
            if not self.heard(cell, word):
                return "unknown: nobody was heard by that listener"
            if cell.control and not self.came("open", cell.receiver, cell.token):
                return f"unknown: it does not come where nothing filters either {self.error('open', cell)}"
            return None
        if not asks:
            return f"nothing came {self.error(word, cell)}"
        own = (
            self.world.host_addresses(cell.version)
            if HOST in (cell.sender, cell.expected)
            else {self.world.ip(cell.sender, cell.version)}
        )
        if cell.section != "segment" and not set(asks) <= own:
            return f"it came from {', '.join(asks)}"
        if cell.replied and not self.came(word, cell.sender, cell.token, "reply"):
            return "it came, but no answer came back"
        return None

    def error(self, word, cell):
        return self.errors[word][cell.sender].get(str(cell.token), "")

    def heard(self, cell, word):
        """Return whether that listener heard somebody by this protocol in the same run."""
        return any(
            self.came(word, cell.receiver, one.token)
            for one in self.world.cells
            if one.section in ("pair", "exception")
            and one.receiver == cell.receiver
            and one.version == cell.version
            and one.expected != "no"
            and cell.protocol in ("", one.protocol)
        )

    def holds(self, cells, word="policy"):
        """Assert that all of these cells are as they should be; else tell which are not, and what rules and links there are."""
        cells = list(cells)
        assert cells
        wrong = {cell: self.wrong(cell, word) for cell in cells}
        wrong = {cell: text for cell, text in wrong.items() if text}
        if wrong:
            print(self.host.run("nft list table inet virtnet; nft list table bridge virtnet; ip -br link; ip route").stdout)
        told = [f"{cell.name}: expected {cell.expected}, seen: {text}" for cell, text in wrong.items()]
        assert not told, f"{len(told)} of {len(cells)}\n" + "\n".join(told[:60])

    def matrix(self):
        """Return the lines of the contract's matrix: rows ask, columns are asked."""
        columns = ["same", *NAMES, "own bridge", "others", "uplink", OUTSIDE]
        found = {}
        for cell in self.of("pair"):
            column = {"host": "own bridge"}.get(cell.row, "others" if " in " in cell.row else cell.row.rstrip("a"))
            row = cell.sender if cell.sender in (HOST, OUTSIDE) else cell.sender[:-1]
            text = {"no": "no", "own": "yes", "host": "host"}[cell.expected]
            found.setdefault((row, column), set()).add(text.upper() + "!" if self.wrong(cell) else text)
        rows = [*NAMES, HOST, OUTSIDE]
        lines = ["".join(f"{text:<11}" for text in ("from \\ to", *columns)).rstrip()]
        for row in rows:
            told = ["/".join(sorted(found.get((row, column), "-"))) for column in columns]
            lines.append("".join(f"{text:<11}" for text in (row, *told)).rstrip())
        exceptions, forwards = len(self.of("exception")), len(self.of("forward"))
        return [
            *lines, "", "Each is TCP, UDP and ICMP over IPv4 and IPv6. yes: under its own address; host: under the host's.",
            "own bridge, others, uplink: the host's address in the asker's network, in all others, on the LAN.",
            f"iso is isolated, rou routed, lan bridged. Further cells: {exceptions} of exceptions, {forwards} of forwards.",
        ]

    def stopped(self, section, columns):
        found, rows = {}, {}
        for cell in self.of(section, expected="no"):
            column = OUTSIDE if cell.sender == OUTSIDE else cell.sender[:-1]
            count = found.setdefault((cell.row, column), [0, 0, 0])
            count[2 if self.wrong(cell) else 0 if cell.control else 1] += 1
            rows[cell.row] = True
        lines = ["".join([f"{'':<46}", *(f"{text:<9}" for text in columns)]).rstrip()]
        for row in rows:
            told = []
            for column in columns:
                stopped, inert, wrong = found.get((row, column), (0, 0, 0))
                counts = [text for text, count in ((str(stopped), stopped), (f"k{inert}", inert)) if count]
                told.append(f"{wrong} WRONG" if wrong else "+".join(counts) or "-")
            lines.append("".join([f"{row:<46}", *(f"{text:<9}" for text in told)]).rstrip())
        return [*lines, "", "Packets, each of which came to its target where no rule was; k: no kernel of today lets it through."]

    def of(self, section, **values):
        return [
            cell
            for cell in self.world.cells
            if cell.section == section and all(getattr(cell, key) == value for key, value in values.items())
        ]


@pytest.fixture(scope="module")
def site(host):
    made, times = Site(host, Modules(host)), [time.monotonic()]
    try:
        for step in (made.up, made.without_rules, made.with_rules, made.with_libvirts):
            step()
            times.append(time.monotonic())
        made.times = [after - before for before, after in zip(times, times[1:])]
        yield made
    finally:
        made.down()


# -- the tests -----------------------------------------------------------------------------------------------------------


def test_the_contract_is_the_documentations(site):
    """contract.py says of every cell what the table says that was written by hand."""
    said = {cell: verdict.source if verdict.allowed else "no" for cell, verdict in site.world.asked}
    assert {cell.name: (cell.expected, text) for cell, text in said.items() if text != cell.expected} == {}


@pytest.mark.parametrize("sender", [*guests("a"), *guests("b"), HOST, OUTSIDE])
def test_conversations(site, sender):
    site.holds(site.of("pair", sender=sender))


def test_exceptions(site):
    site.holds(site.of("exception"))


def test_port_forwards(site):
    site.holds(site.of("forward"))


@pytest.mark.parametrize("row", [*hostile.PACKETS, *hostile.FORGED])
def test_hostile(site, row):
    site.holds(site.of("hostile", row=row))


@pytest.mark.parametrize("row", [*hostile.CLAIMS, "of itself"])
def test_in_the_segment(site, row):
    site.holds(site.of("segment", row=row))


@pytest.mark.parametrize("row", [*hostile.FOR_MANY, "broadcast of another network"])
def test_for_many(site, row):
    site.holds(site.of("many", row=row))


def test_errors_about_conversations_of_others(site):
    site.holds(site.of("error"))


@pytest.mark.parametrize("section", ["pair", "exception", "forward", "hostile", "segment", "many", "error"])
def test_beside_libvirts_own_rules(site, section):
    """All of the above without them: they close isolated networks, too."""
    site.holds(site.of(section), "beside")


def test_what_no_kernel_lets_through(site):
    """What is not counted as stopped by the rules is what did not come where nothing filters."""
    uncounted = [cell for cell in site.of("hostile") if not cell.control]
    assert uncounted
    assert [cell.name for cell in uncounted if site.came("open", cell.receiver, cell.token)] == []


def test_show(site, table, figure):
    """Print what was seen, the same for both releases; a cell that is not as expected is in capitals."""
    cells = site.world.cells
    table("the contract, as seen", site.matrix())
    table("hostile packets that were stopped, by sender", site.stopped("hostile", [*FORBIDDEN]))
    table("claims in the segment that were stopped", site.stopped("segment", ADDRESSED))
    table("what a bound port may not send", site.stopped("bound", GUARDED))
    times = "set up {:.0f} s, sent without rules {:.0f} s, with them {:.0f} s, beside libvirt's {:.0f} s".format(*site.times)
    figure(f"{len(cells)} cells, {sum(cell.expected == 'no' for cell in cells)} of them no; {times}")
    model = site.world.model
    tried = {(model(cell.sender), "same" if cell.row == "same" else model(cell.receiver)) for cell in site.of("pair")}
    assert tried >= set(HAND) - {("bridged", "bridged")}


BOUND = (
    "a guest advertises itself as router",
    "a guest offers DHCP",
    "the gateway's link-local address",
    "MAC and address of a neighbour",
)


@pytest.mark.parametrize("row", BOUND)
def test_what_a_bound_port_may_not_send(site, row):
    site.holds(site.of("bound", row=row))


def test_arp_for_other_addresses_of_the_host(site):
    cells = site.of("arp")
    assert all(cell.protocol in site.arp["open"][cell.sender] for cell in cells)
    assert [cell.name for cell in cells if cell.protocol in site.arp["policy"][cell.sender]] == []
