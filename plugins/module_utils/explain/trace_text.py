# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's own trace of one packet: the table that asks for it, and what C(nft monitor trace) says of it. Pure.

The packet is known by its token (proof.packets), wherever it is and whatever translation does to its addresses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

from ansible_collections.virtnet.kvm.plugins.module_utils.proof import packets

TABLE = "virtnet_trace"
FAMILIES = ("bridge", "inet")
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
#: Before and behind all chains that people have.
FIRST, LAST = -5000, 5000
ASK, REPLY, ERROR, NEIGHBOUR = "ask", "reply", "error", "neighbour"
#: Lines of a capture that are looked at: a packet has some fifty.
LINES_MAX = 20000


def _magic(magic, token):
    return "0x" + magic.hex() + f"{token:08x}"


def _payload(magic, token, header):
    """Return the condition that a magic and a token follow after so many bytes of the transport header."""
    return f"@th,{header * 8},64 {_magic(magic, token)}"


def matches(version, protocol, token):
    """Return {direction: conditions} of the packets that belong to a probe."""
    ip, control = ("ip", "icmp") if version == 4 else ("ip6", "ipv6-icmp")
    base = f"meta protocol {ip} meta l4proto"
    # An error quotes the packet, its IP header first: RFC 792, RFC 4443.
    quoted = 8 + (20 if version == 4 else 40)
    answer = (token + 1) & 0xFFFFFFFF
    types = [f"0x{one:02x}" for one in packets.ECHO[version]]
    if protocol == "tcp":
        found = {
            ASK: f"{base} tcp @th,32,32 0x{token:08x} @th,104,8 & 0x12 == 0x02",
            REPLY: f"{base} tcp @th,64,32 0x{answer:08x}",
            ERROR: f"{base} {control} @th,{(quoted + 4) * 8},32 0x{token:08x}",
        }
    elif protocol == "udp":
        found = {
            ASK: f"{base} udp {_payload(packets.ASK, token, 8)}",
            REPLY: f"{base} udp {_payload(packets.SAID, token, 8)}",
            ERROR: f"{base} {control} {_payload(packets.ASK, token, quoted + 8)}",
        }
    else:
        found = {
            ASK: f"{base} {control} @th,0,8 {types[0]} {_payload(packets.ASK, token, 8)}",
            REPLY: f"{base} {control} @th,0,8 {types[1]} {_payload(packets.ASK, token, 8)}",
            ERROR: f"{base} {control} {_payload(packets.ASK, token, quoted + 8)}",
        }
    return found


def _neighbours(version, macs):
    """Return the conditions of guests' questions for, and answers of, neighbours: without them no packet is sent."""
    if not macs:
        return []
    senders = f"ether saddr {{ {', '.join(sorted(macs))} }}"
    if version == 4:
        return [f"{senders} meta protocol arp"]
    # Neighbour solicitation and advertisement, RFC 4861.
    return [f"{senders} meta protocol ip6 meta l4proto ipv6-icmp @th,0,8 {{ 0x87, 0x88 }}"]


def table(version, protocol, token, macs=()):
    """Return the text for nft that has the kernel tell of the packets of one probe."""
    wanted = matches(version, protocol, token)
    rules = [f'{match} meta nftrace set 1 comment "{name}"' for name, match in wanted.items()]
    near = [f'{match} meta nftrace set 1 comment "{NEIGHBOUR}"' for match in _neighbours(version, macs)]
    lines = []
    for family in FAMILIES:
        lines.append(f"table {family} {TABLE} {{")
        for hook in HOOKS:
            for name, priority in (("first", FIRST), ("last", LAST)):
                lines += [f"  chain {hook}_{name} {{", f"    type filter hook {hook} priority {priority}; policy accept;"]
                lines += [f"    {rule}" for rule in [*rules, *(near if family == "bridge" else [])]]
                lines.append("  }")
        lines.append("}")
    return "\n".join([*lines, ""])


def removal():
    """Return the text for nft that takes the table away, whether it is there or not."""
    return "".join(f"table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in FAMILIES)


@dataclass
class Visit:
    """A packet at one hook: the tables that saw it, in their order, and the verdict that ended it there, if one did.

    C(layer) is bridge or ip. C(saddr) and C(daddr) are those with which it left, as far as it was seen.
    """

    layer: str
    hook: str
    iif: Optional[str] = None
    oif: Optional[str] = None
    saddr: Optional[str] = None
    daddr: Optional[str] = None
    tables: list = field(default_factory=list)
    left: bool = False
    drop: Optional[dict] = None


_LINE = re.compile(r"trace id (\w+) (\w+) (\S+) (\S+) (packet:|rule|policy|verdict) ?(.*)$")
_VERDICT = re.compile(r"(.*?) ?\(verdict ([^)]*)\)$")
_COMMENT = re.compile(r'comment "(\w+)"')
_WORDS = {
    "iif": re.compile(r'\biif "([^"]+)"'), "oif": re.compile(r'\boif "([^"]+)"'),
    "saddr": re.compile(r"\b(?:ip6?|arp) saddr (?:ip )?(\S+)"), "daddr": re.compile(r"\b(?:ip6?|arp) daddr (?:ip )?(\S+)"),
}  # fmt: skip
_LAYER = {"bridge": "bridge", "ip": "ip", "ip6": "ip", "inet": "ip", "arp": "arp"}


def hooks_of(listing):
    """Return {(family, table, chain): hook} of the base chains in an C(nft -j list chains)."""
    chains = [one["chain"] for one in listing.get("nftables", ()) if "chain" in one]
    return {(one["family"], one["table"], one["name"]): one["hook"] for one in chains if "hook" in one}


class _Packet:
    """What was said of one packet, by the kernel's number of it."""

    def __init__(self):
        self.direction = None
        self.visits = []
        self.where = None

    def at(self, layer, hook, header):
        """Begin, or go on with, the visit to a hook."""
        for one in self.visits:
            # Chains of bridge and ip alternate where br_netfilter is loaded.
            if (one.layer, one.hook) == (layer, hook) and one.drop is None:
                found = one
                break
        else:
            found = Visit(layer, hook)
            self.visits.append(found)
        for key, pattern in _WORDS.items():
            word = pattern.search(header)
            if word:
                setattr(found, key, word[1])
        self.where = found


def packets_of(text, hooks):
    """Return [(direction, [Visit, ...]), ...] of the packets in a capture, in their order.

    :param hooks: of hooks_of().
    """
    found = {}
    for line in text.splitlines()[:LINES_MAX]:
        match = _LINE.match(line.strip())
        if not match:
            continue
        number, family, name, chain, kind, rest = match.groups()
        packet = found.setdefault(number, _Packet())
        base = (family, name, chain)
        if kind == "packet:" or packet.where is None:
            packet.at(_LAYER.get(family, family), hooks.get(base) or chain.partition("_")[0], rest if kind == "packet:" else "")
        if name == TABLE:
            comment = _COMMENT.search(rest)
            packet.direction = packet.direction or (comment[1] if comment else None)
            packet.where.left = packet.where.left or chain.endswith("_last")
        elif kind != "packet:":
            _told(packet.where, family, name, chain, kind, rest)
    return [(one.direction, one.visits) for one in found.values() if one.direction]


def _told(visit, family, name, chain, kind, rest):
    label = f"{family} {name} {chain}"
    if not any(one.startswith(f"{family} {name} ") for one in visit.tables):
        visit.tables.append(label)
    rule, verdict = "", rest.strip()
    if kind == "rule":
        match = _VERDICT.match(rest.strip())
        rule, verdict = (match[1], match[2]) if match else (rest.strip(), "")
        # A reject ends the packet as well; the kernel calls that a drop, or says nothing at all.
        verdict = "drop" if re.search(r"\breject\b", rule) and not verdict.startswith("accept") else verdict
    if verdict == "drop":
        visit.drop = {"family": family, "table": name, "chain": chain, "rule": None if kind != "rule" else rule}


def ways(packets_seen, direction):
    """Return the ways, lists of Visits, that the packets of a direction took, one for each time it was sent.

    The kernel may give a packet another number on its way, from the bridge to the host say; what goes on is the same way.
    """
    found = []
    for its, visits in packets_seen:
        if its != direction:
            continue
        places = {(one.layer, one.hook) for one in visits}
        if not found or any((one.layer, one.hook) in places for one in found[-1]):
            found.append([])
        found[-1].extend(visits)
    return found


def farthest(packets_seen, direction):
    """Return that way of a direction which got farthest: others may have waited for a neighbour."""
    return max(ways(packets_seen, direction), key=len, default=[])


def plain(visits, listing):
    """Return Visits as dictionaries; what dropped the packet gets the names of the C(chains) beside it, which say whose it is."""
    found = [dict(vars(one)) for one in visits]
    for one in found:
        if one["drop"]:
            table = (one["drop"]["family"], one["drop"]["table"])
            chains = [row["chain"] for row in listing.get("nftables", ()) if "chain" in row]
            names = [row["name"] for row in chains if (row["family"], row["table"]) == table]
            one["drop"] = {**one["drop"], "chains": sorted(names)}
    return found
