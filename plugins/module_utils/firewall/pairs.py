# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands for something else in both directions: an address for a guest (one_to_one), a prefix for a prefix (npt). Pure.

Inwards a port forward on an address comes first, then one_to_one, then npt, then forwards on no address in particular;
outwards one_to_one, npt, then snat and masquerade: who says more of the packet wins. What that does not settle is refused.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict

KINDS = ("one_to_one", "npt")
_CURE = "Give it to one of them."


@dataclass(frozen=True)
class Pair:
    """A rule that translates in both directions."""

    label: str
    kind: str
    owner: str  # the set
    outside: Any  # networks of the module ipaddress, of one length
    inside: Any
    hairpin: bool

    @property
    def version(self):
        return self.outside.version


def of_rule(rule, label="", owner=""):
    """Return the Pair of a stored rule."""
    if rule["type"] == "one_to_one":
        outside, inside = rule["listen"]["address"], rule["to"]["addresses"][0]
    else:
        outside, inside = rule["to"]["subnet"], rule["sources"][0]
    return Pair(
        label, rule["type"], owner, ipaddress.ip_network(outside), ipaddress.ip_network(inside), rule["hairpin"]
    )


def of(rules):
    """Return the Pairs of {(set, name): rule}, in their order."""
    return [of_rule(rule, f"{owner.lstrip('@')}/{name}", owner) for (owner, name), rule in rules.items() if rule["type"] in KINDS]


def mapped(address, frm, into):
    """Return the address of C(into) that has the place that C(address) has in C(frm)."""
    return into[int(address) - int(frm.network_address)]


def outside_of_gateways(networks, pairs, version):
    """Return {address: network} of what would stand for the host's own addresses in its networks, but does not.

    The host serves DNS there, to guests alone.
    """
    found = {}
    for pair in pairs:
        if pair.kind == "npt" and pair.version == version:
            for network in networks:
                for one in network.addresses or ():
                    if one.version == version and one.ip in pair.inside:
                        found[str(mapped(one.ip, pair.inside, pair.outside))] = network.name
    return found


# --- what cannot stand beside each other ---


def check(rules, elsewhere=()):
    """Refuse what meets the same packets as a Pair and is neither more nor less specific, naming both.

    :param elsewhere: names of the sets that iptables translates. nft meets a packet first, however specific its rule is.
    """
    pairs = of(rules)
    if not pairs:
        return
    _check_each_other(pairs, elsewhere)
    for (owner, name), rule in rules.items():
        if rule["type"] == "dnat":
            for pair in pairs:
                _check_forward(pair, f"{owner.lstrip('@')}/{name}", owner, rule, elsewhere)
        elif rule["type"] in ("masquerade", "snat"):
            for pair in pairs:
                _check_source(pair, f"{owner.lstrip('@')}/{name}", owner, rule, elsewhere)


def _check_each_other(pairs, elsewhere):
    for side in ("outside", "inside"):
        # In this order what overlaps lies within what came before it.
        rows = sorted(pairs, key=lambda one: (one.version, int(getattr(one, side).network_address), getattr(one, side).prefixlen))
        open_rows: list[Pair] = []
        for pair in rows:
            mine = getattr(pair, side)
            open_rows = [one for one in open_rows if one.version == pair.version and mine.subnet_of(getattr(one, side))]
            for other in open_rows:
                if other.kind == pair.kind:
                    raise Conflict(
                        f"{other.label} and {pair.label} both have {mine} {side}", pair.label, cure=_CURE,
                    )
                specific, wide = (pair, other) if pair.kind == "one_to_one" else (other, pair)
                _check_backends(specific.label, specific.owner, wide.label, wide.owner, elsewhere)
            open_rows.append(pair)


def _check_backends(specific, owner, wide, wide_owner, elsewhere):
    if owner in elsewhere and wide_owner not in elsewhere:
        raise Conflict(
            f"{specific}, which is iptables', is an exception of {wide}, which is nftables' and meets the packet first", specific,
            "backend", "Give both sets one backend.",
        )


def _check_forward(pair, label, owner, rule, elsewhere):
    address = rule["listen"]["address"]
    if address is None:
        # one_to_one's address is left out by forwards on no address, in either backend.
        if pair.kind == "npt" and any((":" in one) == (pair.version == 6) for one in rule["to"]["addresses"]):
            _check_backends(pair.label, pair.owner, label, owner, elsewhere)
    elif (":" in address) == (pair.version == 6) and ipaddress.ip_address(address) in pair.outside:
        _check_backends(label, owner, pair.label, pair.owner, elsewhere)


def _check_source(pair, label, owner, rule, elsewhere):
    for text in rule["sources"]:
        if (":" in text) != (pair.version == 6):
            continue
        subnet: Any = ipaddress.ip_network(text)
        if not subnet.overlaps(pair.inside):
            continue
        if rule.get("literal"):
            raise Conflict(
                f"{label} is literal and translates all of {subnet}, {pair.label} translates {pair.inside}", label,
                cure="Leave out literal, or one of the rules.",
            )
        # A network's own masquerade is for what nobody else translates.
        if subnet.subnet_of(pair.inside) and not owner.startswith("@"):
            raise Conflict(
                f"{label} translates {subnet} and {pair.label} translates {pair.inside}, so one is never used", label, cure=_CURE,
            )
        _check_backends(pair.label, pair.owner, label, owner, elsewhere)
