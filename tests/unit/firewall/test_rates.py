# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""policy.rate: what is refused, what is rendered, and that what the kernel learns is nobody's change."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import drops, entries, nft, ruleset


def network(rate, **more):
    return {"name": "lab", "model": "routed", "bridge": "labbr0", "addresses": ["10.64.1.1/24"], "policy": {"rate": rate}, **more}


@pytest.mark.parametrize(("key", "number"), [("packets", 0), ("connections", -1), ("packets", 10_000_001)])
def test_numbers_that_are_none(parse, key, number):
    with pytest.raises(InvalidInput) as caught:
        parse(network({key: number}))
    assert caught.value.option.endswith(f"policy.rate.{key}") and "10000000" in str(caught.value)


def test_bridged_guests_are_nobodys_business(parse):
    with pytest.raises(InvalidInput) as caught:
        parse({"name": "lan", "model": "bridged", "bridge": "br0", "policy": {"rate": {"packets": 5}}})
    assert caught.value.option.endswith("policy.rate")


def test_rules(parse):
    [lab] = parse(network({"packets": 100, "connections": 5}))
    text = ruleset.tables([lab], {})[0]
    mark = drops.log_chain(lab)[len("log_") :]
    assert f"update @met_packets_{mark} {{ ether saddr limit rate over 100/second burst 100 packets }} drop" in text
    first = "ct state new ct status & confirmed == 0 update"
    assert f"{first} @met_connections_{mark} {{ ether saddr limit rate over 5/second burst 5 packets }} drop" in text
    assert f'"labbr0" : jump rate_{mark},  # lab' in text
    assert "flags dynamic,timeout" in text
    [only] = parse(network({"connections": 5}))
    assert "met_packets_" not in ruleset.tables([only], {})[0]


def test_none_is_as_if_never_asked_for(parse):
    [one], [other] = parse(network({"packets": None})), parse(network(None))
    assert entries.network_entry(one) == entries.network_entry(other)
    assert "rate" not in entries.network_entry(one)["policy"]
    assert "limited" not in ruleset.tables([one], {})[0]


def test_the_store_keeps_them(parse):
    [lab] = parse(network({"packets": 100}))
    entry = entries.network_entry(lab)
    assert entries.network_entry(entries.stored_network(entry, "lab.json")) == entry
    assert entry["policy"]["rate"] == {"packets": 100}


def test_guests_that_the_kernel_met_are_no_change():
    table = {"table": {"family": "inet", "name": "virtnet", "handle": 1}}
    bucket = {"family": "inet", "table": "virtnet", "name": "met_packets_1", "type": "ether_addr", "flags": ["timeout"]}
    met = {"set": {**bucket, "elem": [{"elem": {"val": "52:54:00:00:00:01", "expires": 3}}]}}
    fresh = {"set": bucket}
    assert nft.canonical({"nftables": [table, met]}) == nft.canonical({"nftables": [table, fresh]})
    assert "set met_packets_1" in nft.canonical({"nftables": [table, met]})["inet virtnet"]
