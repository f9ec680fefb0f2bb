# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""one_to_one and npt: which address stands for which, and beside which other rules they cannot be."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries, iptables_text, pairs, ruleset, translation
from hypothesis import given
from hypothesis import strategies as st


def rule(name, kind, networks=None, **item):
    if kind == "one":
        item = {
            "type": "one_to_one", "source": "10.9.0.0/24",
            "listen": {"address": item.get("outside", "192.0.2.7")}, "to": {"address": item.get("inside", "10.9.0.5")},
        }
    elif kind == "npt":
        item = {
            "type": "npt", "source": item.get("inside", "10.9.0.0/24"), "to": {"subnet": item.get("outside", "192.0.2.0/24")},
        }
    elif kind == "dnat":
        item = {"type": "dnat", "listen": {"ports": "80", **item}, "to": {"address": "10.9.0.6"}}
    else:
        item = {"type": kind, "source": "10.9.0.0/24", **({"to": {"address": "192.0.2.99"}} if kind == "snat" else {}), **item}
    return entries.parse_rule({"name": name, **item}, "r", networks or {})


def rules(*found):
    """The rules a, b, …, each in a set of its name; C(("a", rule))."""
    return {(name, name): one for name, one in found}


REFUSED = [
    (("one", {}), ("one", {"inside": "10.9.0.6"}), "192.0.2.7/32 outside"),
    (("one", {}), ("one", {"outside": "192.0.2.8"}), "10.9.0.5/32 inside"),
    (("npt", {}), ("npt", {"inside": "10.8.0.0/24"}), "192.0.2.0/24 outside"),
    (("npt", {}), ("npt", {"outside": "198.51.100.0/24"}), "10.9.0.0/24 inside"),
    (("npt", {}), ("npt", {"outside": "198.51.100.0/25", "inside": "10.9.0.128/25"}), "10.9.0.128/25 inside"),
    (("npt", {}), ("masquerade", {}), "never used"),
    (("npt", {}), ("snat", {"source": "10.9.0.64/26"}), "never used"),
    (("one", {}), ("snat", {"source": "10.9.0.5/32"}), "never used"),
    (("one", {}), ("masquerade", {"literal": True}), "literal"),
    (("npt", {}), ("masquerade", {"source": "10.0.0.0/8", "literal": True}), "literal"),
]


@pytest.mark.parametrize(("one", "other", "message"), REFUSED)
def test_two_rules_for_the_same_packets_are_refused_with_both_names(one, other, message):
    for first, second in itertools.permutations((one, other)):
        with pytest.raises(Conflict, match=message) as caught:
            translation.check(rules(("a", rule("a", first[0], **first[1])), ("b", rule("b", second[0], **second[1]))))
        assert "a/a" in str(caught.value)
        assert "b/b" in str(caught.value)


BESIDE = [
    (("one", {}), ("one", {"outside": "192.0.2.8", "inside": "10.9.0.6"}), None),
    (("npt", {}), ("npt", {"outside": "198.51.100.0/24", "inside": "10.8.0.0/24"}), None),
    (("npt", {}), ("npt", {"outside": "2001:db8::/64", "inside": "fd00::/64"}), None),
    # The more specific one comes first; the other's backend must not meet the packet before it.
    (("one", {}), ("npt", {}), "b"),
    (("one", {}), ("masquerade", {}), "b"),
    (("npt", {}), ("snat", {"source": "10.0.0.0/8"}), "b"),
    (("dnat", {"address": "192.0.2.7"}), ("one", {}), "b"),
    (("dnat", {"address": "192.0.2.9"}), ("npt", {}), "b"),
    (("npt", {}), ("dnat", {}), "b"),
    (("one", {}), ("dnat", {}), None),
    (("one", {}), ("dnat", {"address": "192.0.2.8"}), None),
    (("one", {}), ("masquerade", {"source": "10.10.0.0/24"}), None),
    (("one", {}), ("masquerade", {"source": "fd00::/64"}), None),
]


@pytest.mark.parametrize(("specific", "wide", "first"), BESIDE)
def test_who_says_more_wins_if_it_comes_first(specific, wide, first):
    found = rules(("a", rule("a", specific[0], **specific[1])), ("b", rule("b", wide[0], **wide[1])))
    for elsewhere in ((), ("a", "b"), ("b",)):
        translation.check(found, elsewhere)
    if first is None:
        translation.check(found, ("a",))
    else:
        with pytest.raises(Conflict, match="a/a, which is iptables', is an exception of b/b, which is nftables'"):
            translation.check(found, ("a",))


def test_a_network_s_own_masquerade_is_for_what_nobody_else_translates():
    translation.check({("lab", "a"): rule("a", "npt"), ("@natnet", "masquerade"): rule("masquerade", "masquerade")})


@given(st.integers(0, 2**8 - 1), st.integers(8, 24), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_each_address_has_one_place(host, length, inside, outside):
    width = 32 - length
    pair = [ipaddress.ip_network(((number << width) % 2**32, length)) for number in (inside, outside)]
    address = pair[0][host]
    there = pairs.mapped(address, pair[0], pair[1])
    assert there in pair[1]
    assert int(there) & pair[1].hostmask._ip == int(address) & pair[0].hostmask._ip
    assert pairs.mapped(there, pair[1], pair[0]) == address


def test_the_host_itself_has_no_address_outside(parse, natnet):
    [network] = parse(natnet)
    found = pairs.of({("lab", "p"): rule("p", "npt", inside="10.64.100.0/24"), ("lab", "o"): rule("o", "one")})
    assert pairs.outside_of_gateways([network], found, 4) == {"192.0.2.1": "natnet"}
    assert pairs.outside_of_gateways([network], found, 6) == {}


def test_a_guest_inside_a_prefix_is_let_through_once():
    found = {("lab", "p"): rule("p", "npt"), ("lab", "o"): rule("o", "one", inside="10.9.0.7")}
    inet, _bridge, _arp = ruleset.tables([], found)
    block = inet[inet.index("set forwarded_whole4"):].partition("}\n    }")[0]
    assert "10.9.0.0/24,  # lab/p" in block
    assert "10.9.0.7" not in block


def test_each_backend_has_its_own():
    """What iptables translates, nftables leaves alone; a forward on no address leaves the outside address to the guest."""
    found = rules(("a", rule("a", "one")), ("b", rule("b", "dnat")))
    inet, _bridge, _arp = ruleset.tables([], found, {"a"})
    assert "one_to_one4" not in inet
    assert "192.0.2.7,  # a/a" in inet[inet.index("set own_gateways4"):]
    mine = {("a", "a"): found[("a", "a")]}
    text = iptables_text.text([], found, mine, 4)
    assert "-d 192.0.2.7 -m comment --comment \"a/a\" -j DNAT --to-destination 10.9.0.5\n" in text
    assert iptables_text.text([], found, mine, 6) == ""
