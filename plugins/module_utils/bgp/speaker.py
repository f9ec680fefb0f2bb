# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What frr_bgp was asked for, checked, and added to what the host keeps of earlier calls. Pure.

Neighbours, announcements and what is accepted have names: a call changes those it names, and an empty one takes its own back.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import model_stretch, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

#: A host that is gone is noticed after the hold time; keepalives go three times as often, as RFC 4271 proposes.
KEEPALIVE_S = 3
HOLD_S = 9
ASN_MAX = 4294967294  # RFC 7300: the last is reserved
#: Options that are sets with names, and what is in each.
SETS = {"announce": "prefixes", "accept": "prefixes", "vnis": "vnis"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,79}")
_ACCEPTED = re.compile(r"(\S+)(?:\s+ge\s+(\d+))?(?:\s+le\s+(\d+))?")


@dataclass(frozen=True)
class Neighbor:
    """A machine, or a router, with which this host speaks BGP: one session for each of its addresses."""

    asn: int
    addresses: tuple  # of text, at most one of each IP version
    sources: tuple = ()  # this host's own, likewise
    evpn: Optional[bool] = False  # tell it of VXLAN segments, too; None in a Wish: as before

    def source(self, address):
        """Return this host's address for the session with C(address), or None: the kernel chooses."""
        return next((one for one in self.sources if version(one) == version(address)), None)


class Session(NamedTuple):
    """A session with a neighbour: of one IP version."""

    address: str
    source: Optional[str]
    name: str
    asn: int
    evpn: bool


@dataclass(frozen=True)
class Speaker:
    """This host's part in BGP."""

    asn: int
    router_id: Optional[str] = None
    keepalive: int = KEEPALIVE_S
    hold_time: int = HOLD_S
    neighbors: dict = field(default_factory=dict)  # {name: Neighbor}
    announce: dict = field(default_factory=dict)  # {name: (prefix, ...)}
    accept: dict = field(default_factory=dict)  # {name: (prefix or 'PREFIX ge N le N', ...)}
    vnis: dict = field(default_factory=dict)  # {name: (VXLAN network identifier, ...)}

    @property
    def idle(self):
        return not (self.neighbors or self.announce or self.accept or self.vnis)

    @property
    def segments(self):
        """The identifiers of the VXLAN segments that others are told of, and heard of."""
        return sorted({one for each in self.vnis.values() for one in each})

    def sessions(self, of_version):
        """Return the Sessions of an IP version."""
        return [
            Session(address, one.source(address), name, one.asn, one.evpn and of_version == 4)
            for name, one in sorted(self.neighbors.items())
            for address in one.addresses if version(address) == of_version
        ]  # fmt: skip

    def announced(self, of_version):
        return _merged(self.announce, of_version)

    def accepted(self, of_version):
        return _merged(self.accept, of_version)


def version(text):
    return 6 if ":" in text else 4


def _merged(sets, of_version):
    found = {one for each in sets.values() for one in each if version(one) == of_version}
    return sorted(found, key=lambda one: (ipaddress.ip_network(one.split()[0]), one))


# --- options ---


def name(text, option):
    if not _NAME.fullmatch(text):
        raise InvalidInput(f"{text!r} cannot be a name here", None, option, "Use letters, digits and any of _.:/@- inside.")
    return text


def asn(number, option, subject=None):
    return values.number(number, 1, ASN_MAX, "the AS number", option, subject)


def _router_id(text, option):
    found = values.address(text, option)
    if found.version != 4 or found.is_unspecified:
        raise InvalidInput(f"{text!r} cannot be a router ID", None, option, "Give an IPv4 address of this host.")
    return str(found)


def _addresses(texts, option, subject):
    found = []
    for number, text in enumerate(texts or ()):
        one = values.reachable(text, f"{option}[{number}]", subject)
        if any(one.version == version(other) for other in found):
            raise InvalidInput(
                f"a second IPv{one.version} address", subject, f"{option}[{number}]", "Give one for each IP version."
            )
        found.append(str(one))
    return tuple(sorted(found, key=version))


def _neighbors(items, option):
    found: dict = {}
    for number, item in enumerate(items or ()):
        path = f"{option}[{number}]"
        subject = name(item["name"], f"{path}.name")
        if subject in found:
            raise InvalidInput("the neighbour is there twice", subject, f"{path}.name", "Name each once, with all its addresses.")
        addresses = _addresses(item.get("addresses"), f"{path}.addresses", subject)
        number_of_as = item.get("asn")
        if addresses and number_of_as is None:
            raise InvalidInput("no AS number is given", subject, f"{path}.asn", "Give the neighbour's own.")
        found[subject] = Neighbor(
            0 if number_of_as is None else asn(number_of_as, f"{path}.asn", subject),
            addresses, _addresses(item.get("sources"), f"{path}.sources", subject), _evpn(item, addresses, path, subject),
        )  # fmt: skip
    return found


def _evpn(item, addresses, path, subject):
    wanted = item.get("evpn")
    if wanted and addresses and all(version(one) == 6 for one in addresses):
        raise InvalidInput(
            "VXLAN segments over IPv6", subject, f"{path}.evpn", "FRR tells of them over IPv4 only: give an IPv4 address, too."
        )
    return wanted


def _vni(number, option, subject):
    return values.number(number, 1, model_stretch.VNI_MAX, "the VNI", option, subject)


def _prefix(text, option, subject):
    found = values.subnet(text, option, subject)
    if found.prefixlen == 0:
        raise InvalidInput("a default route", subject, option, "Name the guests' subnets; a default route is never exchanged.")
    if found.is_multicast or found.is_link_local or found.is_loopback:
        raise InvalidInput(f"{found} leads nowhere from another machine", subject, option, "Name the guests' subnets.")
    return found


def _announced(text, option, subject):
    return str(_prefix(text, option, subject))


def _accepted(text, option, subject):
    match = _ACCEPTED.fullmatch(text.strip())
    if not match:
        raise InvalidInput(f"{text!r} is not a prefix", subject, option, "Write 10.10.1.0/24 or 10.10.0.0/16 le 24.")
    found = _prefix(match[1], option, subject)
    ends = [found.prefixlen, *(int(one) for one in match.groups()[1:] if one is not None), found.max_prefixlen]
    # FRR wants the prefix length below ge, ge at most le, and le at most the whole address.
    if ends != sorted(ends) or (match[2] and int(match[2]) == found.prefixlen):
        raise InvalidInput(f"the lengths of {text!r} do not follow one another", subject, option, "Write PREFIX/LEN ge N le N.")
    words = [str(found)] + ([f"ge {int(match[2])}"] if match[2] else []) + ([f"le {int(match[3])}"] if match[3] else [])
    return " ".join(words)


def _sets(items, option, read):
    inner = SETS[option]
    found: dict = {}
    for number, item in enumerate(items or ()):
        path = f"{option}[{number}]"
        subject = name(item["name"], f"{path}.name")
        if subject in found:
            raise InvalidInput("the name is there twice", subject, f"{path}.name", f"Name each once, with all its {inner}.")
        told = (read(one, f"{path}.{inner}[{place}]", subject) for place, one in enumerate(item.get(inner) or ()))
        found[subject] = tuple(dict.fromkeys(told))
    return found


@dataclass(frozen=True)
class Wish:
    """One call of the module."""

    absent: bool
    asn: Optional[int]
    router_id: Optional[str]
    keepalive: Optional[int]
    hold_time: Optional[int]
    neighbors: dict
    announce: dict
    accept: dict
    vnis: dict

    def on(self, kept):
        """Return the Speaker that this call makes of the one from before (None: there was none); None if nothing is left."""
        if self.absent:
            return self._off(kept)
        base = kept or Speaker(0)
        # A source that is not given again is forgotten: who names a neighbour says all of it.
        after = replace(
            base, asn=self.asn,
            router_id=self.router_id or base.router_id,
            keepalive=self.keepalive or base.keepalive,
            hold_time=self.hold_time or base.hold_time,
            neighbors=_laid(base.neighbors, self._known(base), lambda one: one.addresses),
            announce=_laid(base.announce, self.announce, bool),
            accept=_laid(base.accept, self.accept, bool),
            vnis=_laid(base.vnis, self.vnis, bool),
        )  # fmt: skip
        check(after)
        return None if after.idle else after

    def _known(self, base):
        """Return the neighbours with what is known of them where it is not said: whether they hear of segments."""
        return {
            key: replace(one, evpn=key in base.neighbors and base.neighbors[key].evpn) if one.evpn is None else one
            for key, one in self.neighbors.items()
        }

    def _off(self, kept):
        if kept is None or not (self.announce or self.vnis):
            return None
        left = {key: one for key, one in kept.announce.items() if key not in self.announce}
        vnis = {key: one for key, one in kept.vnis.items() if key not in self.vnis}
        return replace(kept, announce=left, vnis=vnis) if left or vnis else None


def _laid(kept, given, is_left):
    return {key: one for key, one in {**kept, **given}.items() if is_left(one)}


def parse(options):
    """Return the Wish of a module's options; raise InvalidInput."""
    absent = options["state"] == "absent"
    if not absent and options.get("asn") is None:
        raise InvalidInput("no AS number is given", None, "asn", "Give this host's own, of the private ones 64512 to 65534, say.")
    for key, low, high in (("keepalive", 1, 21845), ("hold_time", 3, 65535)):
        if options.get(key) is not None:
            values.number(options[key], low, high, key.replace("_", " "), key)
    return Wish(
        absent,
        None if options.get("asn") is None else asn(options["asn"], "asn"),
        _router_id(options["router_id"], "router_id") if options.get("router_id") else None,
        options.get("keepalive"), options.get("hold_time"),
        _neighbors(options.get("neighbors"), "neighbors"),
        _sets(options.get("announce"), "announce", _announced),
        _sets(options.get("accept"), "accept", _accepted),
        _sets(options.get("vnis"), "vnis", _vni),
    )  # fmt: skip


def check(speaker):
    """Refuse what cannot be meant of a host as a whole, earlier calls included."""
    if speaker.hold_time < 3 * speaker.keepalive:
        raise InvalidInput(
            f"the hold time {speaker.hold_time} is less than three keepalives of {speaker.keepalive}", None, "hold_time",
            "A neighbour would be given up for one lost packet.",
        )  # fmt: skip
    whose: dict = {}
    for subject, one in sorted(speaker.neighbors.items()):
        for address in one.addresses:
            other = whose.setdefault(address, subject)
            if other != subject:
                raise InvalidInput(f"{address} is also the neighbour {other}", subject, "neighbors", "Give each address once.")
    for subject, texts in sorted(speaker.accept.items()):
        for text in texts:
            prefix = ipaddress.ip_network(text.split()[0])
            # The LAN itself, or a part of it: the way to the neighbour would lead over the neighbour.
            near = next((one for one in whose if version(one) == prefix.version and ipaddress.ip_address(one) in prefix), None)
            if near:
                raise InvalidInput(
                    f"{text} holds the address {near} of the neighbour {whose[near]}, on the LAN", subject, "accept",
                    "Name the guests' subnets only.",
                )  # fmt: skip


# --- as data ---


def stored(speaker):
    """Return a Speaker as it is kept in a file."""
    return {
        "asn": speaker.asn, "router_id": speaker.router_id, "keepalive": speaker.keepalive, "hold_time": speaker.hold_time,
        "neighbors": {
            key: {"asn": one.asn, "addresses": list(one.addresses), "sources": list(one.sources), "evpn": one.evpn}
            for key, one in sorted(speaker.neighbors.items())
        },
        "announce": {key: list(one) for key, one in sorted(speaker.announce.items())},
        "accept": {key: list(one) for key, one in sorted(speaker.accept.items())},
        "vnis": {key: list(one) for key, one in sorted(speaker.vnis.items())},
    }  # fmt: skip


def from_stored(data):
    return Speaker(
        data["asn"], data["router_id"], data["keepalive"], data["hold_time"],
        {
            key: Neighbor(one["asn"], tuple(one["addresses"]), tuple(one["sources"]), one.get("evpn", False))
            for key, one in data["neighbors"].items()
        },
        {key: tuple(one) for key, one in data["announce"].items()},
        {key: tuple(one) for key, one in data["accept"].items()},
        {key: tuple(one) for key, one in data.get("vnis", {}).items()},
    )  # fmt: skip


def form(speaker):
    """Return the normal form of a Speaker: lists, by name."""
    data = stored(speaker)
    data["neighbors"] = [{"name": key, **one} for key, one in data["neighbors"].items()]
    for key, inner in SETS.items():
        data[key] = [{"name": each, inner: one} for each, one in data[key].items()]
    return data
