# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""FRR's configuration as text: which lines are ours, what is left without them, and what ours should be. Pure.

Ours are known by names that begin with VIRTNET: prefix lists, route maps, peer groups and their members, networks with the
route map. What has no name is ours by what is remembered of the time before us (Own). The text may be what somebody wrote by
hand, with comments and without indentation, or what FRR prints of itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

PREFIX = "VIRTNET-"
#: Marks a network statement as ours; it changes nothing.
NETWORK_MAP = f"{PREFIX}NET"
#: Which VXLAN segments neighbours are told of, and heard of: a route map and a list of route targets.
EVPN_MAP = f"{PREFIX}EVPN"
BEGIN = "! virtnet.kvm: what follows is made by frr_bgp, and goes with it"
END = "! virtnet.kvm: end"
#: A neighbour that was away is asked again so often; FRR's own two minutes are for the Internet.
CONNECT_S = 5
FAMILIES = {4: "ipv4 unicast", 6: "ipv6 unicast"}
EVPN = "l2vpn evpn"

#: First words that end a block `router bgp` even where nobody indents. None of them is a command of that block.
_TOP = re.compile(
    r"(no )?(router|route-map|interface|vrf|ip|ipv6|access-list|line|hostname|domainname|log|password|enable|service|key|debug"
    r"|frr|username|mpls|nexthop-group|pbr-map|banner|agentx|zebra|rpki|mac|allow-external-route-update|pseudowire|l2vpn"
    r"|bgp (as-path|community-list|large-community-list|extcommunity-list|community alias))\b|end$|bfd$|segment-routing$"
)
_ROUTER = re.compile(r"router bgp(?: (\d+(?:\.\d+)?))?(?: (?:vrf|view) (\S+))?(?: as-notation \S+)?$")
_MEMBER = re.compile(r"neighbor (\S+) (?:interface )?peer-group (\S+)$")
_LIST = re.compile(rf"(?:no )?(?:(?:ip|ipv6) prefix-list|bgp extcommunity-list standard) {PREFIX}\S+")
_MAP = re.compile(rf"(?:no )?route-map {PREFIX}\S+")
_NETWORK = re.compile(r"network (\S+)(?: .*)?$")
_NEIGHBOR = re.compile(r"(?:no )?neighbor (\S+) (.+)$")
#: How the name of a group ends whose members hear of VXLAN segments, too; FRR has them over IPv4 only.
_EVPN4 = "-EVPN4"
_ADVERTISE = "advertise-all-vni"
_INSTANCE = re.compile(r"bgp router-id |(?:no )?bgp network import-check$")
#: What FRR itself puts into a block, the last where the file says that it was written for an older version.
_BORDERS = re.compile(r"exit$|exit-address-family$|address-family |router bgp|no bgp enforce-first-as$")


class Own(NamedTuple):
    """What has no name, and is ours all the same.

    :param instance: the default BGP instance was made by us, so that its router ID is ours, too.
    :param evpn: nobody else has FRR tell others of this host's VXLAN segments.
    """

    instance: bool = False
    evpn: bool = False


@dataclass
class Line:
    """A line and where it stands: in the default BGP instance, in an address family of it, in a route map of ours, or in none."""

    raw: str
    block: int = 0  # 0: in none; else the number of the block `router bgp` or route map, in their order
    family: int = 0  # likewise, of the address family
    context: tuple = ()
    ours: bool = False

    @property
    def text(self):
        return " ".join(self.raw.split())

    @property
    def said(self):
        """Whether it says something: it is neither empty nor a comment."""
        return bool(self.text) and self.text[0] not in "!#"

    @property
    def border(self):
        return bool(_BORDERS.match(self.text))


@dataclass
class Read:
    """What a configuration has.

    C(asn) is the AS number of the default instance as it is written, None without one; C(ours) our own lines, as (context, text);
    C(rest) the text without them; C(neighbors) and C(networks) those of others in the default instance; C(alone) whether
    nobody else has said anything in it; C(activates) whether its neighbours are IPv4 neighbours unasked.
    """

    asn: object = None
    ours: set = field(default_factory=set)
    rest: str = ""
    neighbors: set = field(default_factory=set)
    networks: set = field(default_factory=set)
    alone: bool = True
    evpn: bool = False  # somebody else has all VXLAN segments told to others
    activates: bool = True
    import_check: bool = True


def as_number(text):
    """Return an AS number, written plain or with a dot (RFC 5396)."""
    high, dot, low = text.partition(".")
    return (int(high) << 16) + int(low) if dot else int(text)


def shown(text):
    """Return what `show running-config` prints, without its heading."""
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if line.startswith("!")), len(lines))
    return "\n".join(lines[begin:]) + "\n"


def _lines(text):
    """Return the Lines of a text, each with its context."""
    context: tuple = ()
    found, block, family, blocks, families = [], 0, 0, 0, 0
    for raw in text.splitlines():
        line = Line(raw)
        indented = raw[:1].isspace()
        if line.said and context and not indented and (_TOP.match(line.text) or _ROUTER.match(line.text)):
            context, block, family = (), 0, 0
        if line.said and not context:
            router = _ROUTER.match(line.text)
            if (router and router[2] is None) or (_MAP.match(line.text) and not line.text.startswith("no ")):
                blocks += 1
                block, context = blocks, ("router bgp",) if router else (line.text,)
        elif line.said and context == ("router bgp",) and line.text.startswith("address-family "):
            families += 1
            family = families
            words = line.text.split()
            context = ("router bgp", " ".join([words[1], *(words[2:] or ["unicast"])]))
        line.block, line.family, line.context = block, family, context
        found.append(line)
        if line.text == "exit-address-family" or (line.text == "exit" and len(context) == 2):
            context, family = context[:1], 0
        elif line.text == "exit" and context:
            context, block = (), 0
    return found


#: Nothing of that kind.
NOTHING = Own()


def read(text, own=NOTHING):
    """Return what a configuration has, as Read.

    :param own: Own.
    """
    lines = _lines(text)
    result = Read()
    members = set()
    for line in lines:
        router = _ROUTER.match(line.text)
        if line.context == ("router bgp",) and router and result.asn is None and router[1]:
            result.asn = as_number(router[1])
        member = _MEMBER.match(line.text)
        if member and line.context[:1] == ("router bgp",) and member[2].startswith(PREFIX):
            members.add(member[1])
    marked, ours = False, set()
    for line in lines:
        marked = marked or line.text == BEGIN
        # What somebody else has put between the marks stays his.
        line.ours = (marked and not line.said) or _is_ours(line, members, Own(True, True) if marked else own)
        if marked and line.block:
            ours.add(("block", line.block))
        marked = marked and line.text != END
        _note(line, result)
    _keep(lines, own.instance, ours, result)
    result.ours = {one for one in result.ours if not _is_default(one, result.activates)}
    return result


def _is_ours(line, members, own):
    if not line.said:
        return False
    if line.context[:1] != ("router bgp",):
        return bool(line.context or _LIST.match(line.text) or _MAP.match(line.text))
    neighbor = _NEIGHBOR.match(line.text)
    if neighbor:
        return neighbor[1] in members or neighbor[1].startswith(PREFIX)
    if _NETWORK.match(line.text):
        return line.text.endswith(f" route-map {NETWORK_MAP}")
    if line.context == ("router bgp", EVPN):
        return own.evpn and line.text == _ADVERTISE
    return own.instance and line.context == ("router bgp",) and bool(_INSTANCE.match(line.text))


def _note(line, result):
    """Take down what a line says."""
    if not line.said:
        return
    if line.context[:1] == ("router bgp",):
        if line.text == "no bgp default ipv4-unicast":
            result.activates = False
        if line.text == "no bgp network import-check" and not line.ours:
            result.import_check = False
        if not line.ours and not line.border:
            result.alone = False
            result.evpn = result.evpn or (line.context == ("router bgp", EVPN) and line.text == _ADVERTISE)
            neighbor, network = _NEIGHBOR.match(line.text), _NETWORK.match(line.text)
            if neighbor:
                result.neighbors.add(neighbor[1])
            elif network:
                result.networks.add(network[1])
    if line.ours and not line.border:
        result.ours.add((line.context, line.text))


def _is_default(one, activates):
    """Return whether a line says what FRR does anyhow: then it does not print it."""
    context, text = one
    if text == "bgp network import-check":
        return True
    if context == ("router bgp", FAMILIES[4]):
        if activates:
            return bool(re.fullmatch(rf"neighbor {PREFIX}\S+4 activate", text))
        return bool(re.fullmatch(rf"no neighbor {PREFIX}\S+6 activate", text))
    return False


def _keep(lines, own_instance, marked, result):
    """Set the text without our lines, and without blocks that held nothing else.

    :param marked: the blocks between our marks.
    """
    routers = [line.block for line in lines if line.context == ("router bgp",) and _ROUTER.match(line.text)]
    foreign = {key for line in lines if line.said and not line.ours and not line.border for key in _places(line)}
    mixed = {key for line in lines if line.ours for key in _places(line)}
    gone = {key for key in mixed - foreign if key[0] == "family"}
    # The last block of an instance that somebody else made stays, however empty it was.
    kept = [one for one in routers if ("block", one) not in mixed or ("block", one) in foreign]
    for one in routers:
        if ("block", one) in mixed and ("block", one) not in foreign and (
            own_instance or kept or one != routers[0] or ("block", one) in marked
        ):
            gone.add(("block", one))
    gone |= {("block", line.block) for line in lines if line.block and line.context[:1] != ("router bgp",)}
    out, cut = [], False
    for line in lines:
        if line.ours or any(key in gone for key in _places(line)):
            cut = True
            continue
        # FRR puts a separator on either side of a block.
        if cut and line.text == "!" and out and out[-1].strip() == "!":
            continue
        cut = False
        out.append(line.raw)
    result.rest = "".join(f"{line}\n" for line in out)


def _places(line):
    return [("block", line.block)] * bool(line.block) + [("family", line.family)] * bool(line.family)


def merged(rest, lines):
    """Return a configuration without our lines with these added, marked, before its last word."""
    if not lines:
        return rest
    head = rest.splitlines()
    tail = []
    while head and head[-1].strip() in ("end", "", "!") and "end" in [one.strip() for one in head[-3:]]:
        tail.insert(0, head.pop())
    return "".join(f"{line}\n" for line in [*head, BEGIN, *lines, END, *tail])


def lines_of(speaker, own):
    """Return our part of the configuration for a Speaker.

    :param own: Own.
    """
    lines = []
    for number, words in ((4, "ip"), (6, "ipv6")):
        if speaker.sessions(number):
            for name, entries in (("IN", speaker.accepted(number)), ("OUT", speaker.announced(number))):
                lines += _prefix_list(f"{words} prefix-list {PREFIX}{name}{number}", entries)
    lines += [f"route-map {NETWORK_MAP} permit 10", "exit"]
    evpn = [group for group in _groups(speaker) if group.endswith(_EVPN4)]
    lines += _evpn_map(speaker) if evpn else []
    lines += [f"router bgp {speaker.asn}"]
    if own.instance:
        lines += [f" bgp router-id {speaker.router_id}"] if speaker.router_id else []
        # Said, since the default depends on the version that a configuration says it was written for.
        lines += [" bgp network import-check"]
    groups = _groups(speaker)
    for group in groups:
        lines += [
            f" neighbor {group} peer-group",
            f" neighbor {group} timers {speaker.keepalive} {speaker.hold_time}",
            f" neighbor {group} timers connect {CONNECT_S}",
        ]
    for number in FAMILIES:
        for one in speaker.sessions(number):
            lines += [f" neighbor {one.address} remote-as {one.asn}"]
            lines += [f" neighbor {one.address} peer-group {_group(speaker, one, number)}"]
            lines += [f" neighbor {one.address} description {one.name}"]
            lines += [f" neighbor {one.address} update-source {one.source}"] if one.source else []
    for number, family in FAMILIES.items():
        inner = [f"  network {one} route-map {NETWORK_MAP}" for one in speaker.announced(number)]
        for group in groups:
            if group.endswith(str(number)):
                inner += [
                    f"  neighbor {group} activate",
                    f"  neighbor {group} prefix-list {PREFIX}IN{number} in",
                    f"  neighbor {group} prefix-list {PREFIX}OUT{number} out",
                ]
            elif number == 4:
                inner += [f"  no neighbor {group} activate"]
        lines += [f" address-family {family}", *inner, " exit-address-family"] if inner else []
    told = ("activate", f"route-map {EVPN_MAP} in", f"route-map {EVPN_MAP} out")
    inner = [f"  neighbor {group} {one}" for group in evpn for one in told]
    if speaker.segments and own.evpn:
        inner.append(f"  {_ADVERTISE}")
    lines += [f" address-family {EVPN}", *inner, " exit-address-family"] if inner else []
    return [*lines, "exit"]


def _evpn_map(speaker):
    """Return what lets pass no routes but those of the host's segments.

    By the route targets that FRR makes of AS number and identifier (RFC 8365, 5.1.2.1), since its C(match evpn vni) does not know
    the routes by which hosts say that they have a segment at all (type 3).
    """
    if not speaker.segments:
        return [f"route-map {EVPN_MAP} deny 10", "exit"]
    systems = sorted({speaker.asn, *(one.asn for one in speaker.sessions(4) if one.evpn)})
    targets = [f"rt {asn & 0xFFFF}:{vni}" for vni in speaker.segments for asn in systems]
    head = f"bgp extcommunity-list standard {EVPN_MAP}"
    return [
        *(f"{head} seq {5 * (number + 1)} permit {one}" for number, one in enumerate(dict.fromkeys(targets))),
        f"route-map {EVPN_MAP} permit 10", f" match extcommunity {EVPN_MAP}", "exit",
    ]  # fmt: skip


def _prefix_list(head, entries):
    # A list that permits nothing must be there all the same, and say so.
    rows = [f"permit {one}" for one in entries] or ["deny any"]
    return [f"{head} seq {5 * (number + 1)} {row}" for number, row in enumerate(rows)]


def _group(speaker, session, number):
    kind = "IBGP" if session.asn == speaker.asn else "EBGP"
    return f"{PREFIX}{kind}{_EVPN4 if session.evpn else number}"


def _groups(speaker):
    """Return the peer groups that have members; FRR wants one for internal neighbours and another for external ones."""
    return sorted({_group(speaker, one, number) for number in FAMILIES for one in speaker.sessions(number)})


def wanted(lines, rest, own):
    """Return what read() finds of our lines once they are in a configuration that else is C(rest).

    :param own: Own.
    """
    return read(merged(rest, lines), own).ours


def groups_in(ours):
    """Return {peer group: (its address families)} of our lines."""
    found = {}
    for _context, text in ours:
        match = re.fullmatch(rf"neighbor ({PREFIX}\S+([46])) peer-group", text)
        if match:
            found[match[1]] = (FAMILIES[int(match[2])], *((EVPN,) if match[1].endswith(_EVPN4) else ()))
    return found


# --- /etc/frr/daemons ---


def starts(daemons, name="bgpd"):
    """Return whether FRR's list of daemons has one of them started."""
    found = re.findall(rf"^\s*{name}=(\S+)", daemons, flags=re.MULTILINE)
    return bool(found) and found[-1].strip("\"'") == "yes"


def others_start(daemons):
    """Return the routing daemons that somebody has switched on beside bgpd."""
    found = re.findall(r"^\s*([a-z0-9]+d)=[\"']?yes\b", daemons, flags=re.MULTILINE)
    return sorted(set(found) - {"bgpd", "zebra", "staticd", "mgmtd", "watchfrr"})


def with_daemon(daemons, wish, name="bgpd"):
    """Return the list of daemons with one of them switched on or off."""
    word = "yes" if wish else "no"
    pattern = re.compile(rf"^(\s*{name}=)\S+", flags=re.MULTILINE)
    if pattern.search(daemons):
        return pattern.sub(rf"\g<1>{word}", daemons)
    return f"{daemons}{'' if daemons.endswith(chr(10)) or not daemons else chr(10)}{name}={word}\n"
