# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.fleet import pools
from hypothesis import given
from hypothesis import strategies as st


def net(text):
    return ipaddress.ip_network(text)


def given_of(pool, taken, count):
    pool.take([net(one) for one in taken])
    return [pool.next() for _number in range(count)]


def test_the_lowest_that_is_free_and_gaps_are_filled():
    pool = pools.Pool({"subnet": "10.0.0.0/22", "prefix": 24}, "p")
    assert given_of(pool, ["10.0.0.0/24", "10.0.2.7/32"], 3) == [net("10.0.1.0/24"), net("10.0.3.0/24"), None]


def test_a_taken_subnet_may_be_larger_or_smaller_than_what_is_given():
    pool = pools.Pool({"subnet": "10.0.0.0/16", "prefix": 24}, "p")
    assert given_of(pool, ["10.0.0.0/17", "10.0.128.64/26", "172.16.0.0/12", "fd00::/8"], 1) == [net("10.0.129.0/24")]
    assert given_of(pools.Pool({"subnet": "10.0.0.0/16", "prefix": 24}, "p"), ["10.0.0.0/8"], 1) == [None]


@given(st.integers(24, 29), st.lists(st.tuples(st.integers(0, 1023), st.integers(22, 32)), max_size=12))
def test_what_is_given_overlaps_nothing_and_nothing_lower_was_free(prefix, rows):
    whole = net("10.0.0.0/22")
    taken = [net((int(whole.network_address) + start, 32)).supernet(new_prefix=length) for start, length in rows]
    pool = pools.Pool({"subnet": str(whole), "prefix": prefix}, "p")
    pool.take(taken)
    free = [one for one in whole.subnets(new_prefix=prefix) if not any(one.overlaps(other) for other in taken)]
    found = []
    while True:
        one = pool.next()
        if one is None:
            break
        found.append(one)
    assert found == free


def test_pools_are_used_up_in_their_order_and_each_ip_version_by_itself():
    both = pools.Pools([{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/63"}, {"subnet": "10.1.0.0/24", "prefix": None}])
    both.take([])
    assert both.give("a") == [net("10.0.0.0/24"), net("fd00::/64")]
    assert both.give("b") == [net("10.1.0.0/24"), net("fd00:0:0:1::/64")]
    with pytest.raises(InvalidInput, match=r"b2: no IPv4 subnet is left in the pools \(10.0.0.0/24 in /24, 10.1.0.0/24 in /24\)"):
        both.give("b2")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"subnet": "10.0.0.0/24", "prefix": 23}, r"p\[0\].prefix: subnets of /23 out of 10.0.0.0/24. Use 24 to 29"),
        ({"subnet": "10.0.0.0/24", "prefix": 30}, "Use 24 to 29"),
        ({"subnet": "fd00::/48", "prefix": 65}, "Use 48 to 64"),
        ({"subnet": "10.0.0.1/24"}, r"p\[0\].subnet: .*has host bits set"),
    ],
)
def test_a_pool_that_cannot_be(item, said):
    with pytest.raises(InvalidInput, match=said):
        pools.Pools([item], "p")


def test_what_a_network_gets_of_its_subnet():
    assert pools.gateway(net("10.0.0.0/24")) == "10.0.0.1/24"
    assert pools.gateway(net("fd00::/64")) == "fd00::1/64"
    assert pools.dhcp_range(net("10.0.0.0/24")) == {"start": "10.0.0.128", "end": "10.0.0.254"}
    assert pools.dhcp_range(net("10.0.0.0/29")) == {"start": "10.0.0.4", "end": "10.0.0.6"}
