# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import itertools
import random

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries, translation


def dnat(name, **item):
    listen = {"address": item.pop("address", None), "interface": item.pop("interface", None), "ports": item.pop("ports", "80")}
    return entries.parse_rule(
        {"name": name, "type": "dnat", "listen": listen, "to": {"address": "10.64.100.2"}, **item}, "rules[0]", {}
    )


def rules(*found):
    return {("default", rule["name"]): rule for rule in found}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ports": "80"}, {"ports": "80"}),
        ({"ports": "80-90"}, {"ports": "85"}),
        ({"ports": "80-90"}, {"ports": "90-99"}),
        ({"ports": "80"}, {"ports": "80", "address": "192.0.2.1"}),
        ({"ports": "80"}, {"ports": "80", "interface": "eth0"}),
        ({"address": "192.0.2.1"}, {"interface": "eth0"}),
        ({"protocol": "both"}, {"protocol": "tcp"}),
        ({"sources": ["192.0.2.0/24"]}, {"sources": ["192.0.2.128/25"]}),
        ({"sources": ["192.0.2.0/24"]}, {}),
    ],
)
def test_two_forwards_of_one_port_are_refused_with_both_names(one, other):
    for first, second in itertools.permutations((one, other)):
        with pytest.raises(Conflict, match="default/(a|b).*default/(a|b)") as caught:
            translation.check(rules(dnat("a", **first), dnat("b", **second)))
        assert "default/a" in str(caught.value)
        assert "default/b" in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ports": "80"}, {"ports": "81"}),
        ({"ports": "80-89"}, {"ports": "90-99"}),
        ({"address": "192.0.2.1"}, {"address": "192.0.2.2"}),
        ({"interface": "eth0"}, {"interface": "eth1"}),
        ({"protocol": "udp"}, {"protocol": "tcp"}),
        ({"sources": ["192.0.2.0/25"]}, {"sources": ["192.0.2.128/25"]}),
    ],
)
def test_forwards_that_stand_beside_each_other(one, other):
    translation.check(rules(dnat("a", **one), dnat("b", **other)))


def test_a_long_range_is_compared_with_what_comes_later():
    others = [dnat(f"p{port}", ports=str(port)) for port in (10, 20, 30)]
    found = [dnat("long", ports="1000-2000"), *others, dnat("hit", ports="2000")]
    with pytest.raises(Conflict, match="default/long.*default/hit"):
        translation.check(rules(*found))


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (("10.0.0.0/8", None), ("10.1.0.0/16", None), True),
        (("10.0.0.0/8", "eth0"), ("10.1.0.0/16", None), True),
        (("10.0.0.0/8", "eth0"), ("10.1.0.0/16", "eth0"), True),
        (("10.0.0.0/8", "eth0"), ("10.1.0.0/16", "eth1"), False),
        (("10.0.0.0/16", None), ("10.1.0.0/16", None), False),
        (("fd00::/64", None), ("10.1.0.0/16", None), False),
    ],
)
def test_sources_that_are_translated_twice(one, other, clash):
    found = rules(*(
        entries.parse_rule({"name": name, "type": "masquerade", "source": source, "interface": link}, "r", {})
        for name, (source, link) in (("a", one), ("b", other))
    ))
    if clash:
        with pytest.raises(Conflict, match=r"default/a translates .* and default/b|default/b translates .* and default/a"):
            translation.check(found)
    else:
        translation.check(found)


@pytest.mark.parametrize(
    ("rows", "joined"),
    [
        ([], []),
        ([(80, 80), (80, 80)], [(80, 80)]),
        ([(90, 99), (80, 89)], [(80, 99)]),
        ([(80, 99), (85, 87), (101, 102)], [(80, 99), (101, 102)]),
    ],
)
def test_ranges_are_joined(rows, joined):
    assert translation.merged(rows) == joined


def test_sources_of_another_version_close_a_forward():
    rule = entries.parse_rule(
        {
            "name": "a", "type": "dnat", "listen": {"ports": "80"}, "to": {"address": "10.64.100.2"},
            "sources": ["10.0.0.0/9", "10.0.0.0/8"],
        },
        "r", {},
    )
    assert translation.collapsed(rule["sources"], 4) == ["10.0.0.0/8"]
    assert translation.collapsed(rule["sources"], 6) == []


def test_of_subnets_inside_each_other_the_widest_is_kept():
    """Against all pairs; what lies at the very ends of the address space among them."""
    texts = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "11.0.0.0/8", "192.0.2.0/25", "fd00::/8", "fd00:1::/64"]
    draw = random.Random(7)
    for count in range(40):
        number = ipaddress.ip_address(draw.getrandbits(12) << 20)
        texts.append(str(ipaddress.ip_network(f"{number}/{draw.randrange(13, 33)}", strict=False)))
        rule = {"type": "masquerade", "sources": draw.sample(texts, min(len(texts), 8 + count))}
        subnets = [ipaddress.ip_network(text) for text in set(rule["sources"])]
        kept = {
            one for one in subnets
            if not any(one != other and one.version == other.version and one.subnet_of(other) for other in subnets)
        }
        assert set(translation.own_subnets([], {("set", "m"): rule})) == kept
    everything = {"type": "masquerade", "sources": ["10.0.0.0/8", "0.0.0.0/0", "255.255.255.255/32", "::/0", "::1/128"]}
    assert [str(one) for one in translation.own_subnets([], {("set", "m"): everything})] == ["0.0.0.0/0", "::/0"]
