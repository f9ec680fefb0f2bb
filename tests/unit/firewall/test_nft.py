# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import itertools
import json

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import drift, nft

# As nft 1.0.6 prints it.
LISTING = json.loads("""
{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "virtnet", "handle": 3}},
{"set": {"family": "inet", "name": "nat_bridges", "table": "virtnet", "type": "ifname", "handle": 7, "elem": ["b", "a"]}},
{"chain": {"family": "inet", "table": "virtnet", "name": "made_by_virtnet_kvm", "handle": 1}},
{"chain": {"family": "inet", "table": "virtnet", "name": "forward", "handle": 2, "type": "filter", "hook": "forward",
"prio": -5, "policy": "accept"}},
{"rule": {"family": "inet", "table": "virtnet", "chain": "forward", "handle": 9, "expr": [{"accept": null}]}},
{"rule": {"family": "inet", "table": "virtnet", "chain": "forward", "handle": 10, "expr": [{"drop": null}]}}]}
""")
MISSING = (1, "", "Error: No such file or directory\nlist table bridge virtnet\n")


def change(what):
    listing = copy.deepcopy(LISTING)
    objects = listing["nftables"]
    what(objects)
    return nft.canonical(listing)


NUMBER = "0xfd000064000000000000000000000002"


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        # nft 1.0.6, which takes it as it is; nft 1.1.3, which does not.
        (f"@th,64,128 {NUMBER} ether saddr . @th,64,128 != {{ 52:54:00:00:00:01 . {NUMBER} }} drop", None),
        (
            f"icmpv6 taddr != {{ 52:54:00:00:00:01 . {NUMBER},\n\t52:54:00:00:00:02 . {NUMBER[:-1]}3 }} drop",
            "icmpv6 taddr != { 52:54:00:00:00:01 . fd00:64::2,\n\t52:54:00:00:00:02 . fd00:64::3 } drop",
        ),
        ("", None),
    ],
)
def test_a_listing_as_nft_reads_it(listing, found):
    assert nft.readable(listing) == (listing if found is None else found)


def test_handles_and_the_order_of_elements_do_not_count():
    def other(objects):
        for one in objects[1:]:
            next(iter(one.values()))["handle"] += 100
        objects[2]["set"]["elem"].reverse()

    assert change(other) == nft.canonical(LISTING)
    assert drift.differences(nft.canonical(LISTING), change(other)) == []


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (lambda objects: objects.pop(5), ["chain forward of table inet virtnet: 1 rule gone"]),
        (lambda objects: objects.insert(5, objects[5]), ["inet virtnet: rules repeated or in another order"]),
        (lambda objects: objects.insert(5, objects.pop(6)), ["inet virtnet: rules repeated or in another order"]),
        (lambda objects: objects[5]["rule"].update(expr=[{"return": None}]), ["1 rule gone", "1 rule added by hand, such as"]),
        (lambda objects: objects[2]["set"]["elem"].append("c"), ["c: added by hand to set nat_bridges of table inet virtnet"]),
        (lambda objects: objects[2]["set"].pop("elem"), ["a, b: gone from set nat_bridges"]),
        (lambda objects: objects[4]["chain"].update(policy="drop"), ["chain forward of table inet virtnet: defined otherwise"]),
        (lambda objects: objects.pop(2), ["set nat_bridges of table inet virtnet: gone"]),
    ],
)
def test_what_was_changed_by_hand_is_told(what, told):
    lines = drift.differences(nft.canonical(LISTING), change(what))
    assert len(lines) == len(told)
    for line, words in zip(lines, told):
        assert words in line
    assert nft.digest(change(what)) != nft.digest(nft.canonical(LISTING))


def test_whole_tables():
    found = nft.canonical(LISTING)
    assert drift.differences(found, {}) == ["table inet virtnet is gone"]
    assert drift.differences({}, found) == ["table inet virtnet is there unasked"]


class Host:
    def __init__(self, answers):
        self.answers = answers

    def run(self, command, data=None, check=True, what=None, subject=None):
        answer = self.answers[command[5] if command[0] == "nft" else command[4]]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_tables_that_are_not_there():
    assert nft.Nft(Host({"inet": MISSING, "bridge": MISSING, "arp": MISSING})).found() == {}
    found = nft.Nft(Host({"inet": (0, json.dumps(LISTING), ""), "bridge": MISSING, "arp": MISSING})).found()
    assert list(found) == ["inet virtnet"]


def remembered(tmp_path, monkeypatch):
    """A host, what was loaded there, and an Nft in a run after the one that loaded it."""
    monkeypatch.setattr(nft, "EXPECTED", str(tmp_path / "expected.json"))
    counter = itertools.count()
    # Others change theirs all the time.
    monkeypatch.setattr(nft.generation, "current", lambda: ["here", next(counter)])
    text, listing = "\ntable inet virtnet {}", json.dumps(LISTING)
    trial = "nft -f - && nft -p -j list ruleset"
    host = Host({"inet": (0, listing, ""), "bridge": MISSING, "arp": MISSING, trial: (0, listing, "")})
    first = nft.Nft(host)
    assert first.state(text) == (True, [])
    first.remember(text)
    del host.answers[trial]
    return host, text, nft.Nft(host)


def test_a_listing_that_was_as_declared_is_so_again(tmp_path, monkeypatch):
    _host, text, again = remembered(tmp_path, monkeypatch)
    monkeypatch.setattr(nft, "canonical", None)
    assert again.state(text) == (True, [])


@pytest.mark.parametrize("change", ["kernel", "text", "nft", "dormant", "gone"])
def test_a_remembered_listing_is_believed_of_nothing_else(tmp_path, monkeypatch, change):
    host, text, again = remembered(tmp_path, monkeypatch)
    listing, expected = copy.deepcopy(LISTING), LISTING
    if change == "kernel":
        del listing["nftables"][-1]
    elif change == "dormant":
        next(one["table"] for one in listing["nftables"] if "table" in one)["flags"] = ["dormant"]
    elif change == "text":
        text += "# another"
        expected = copy.deepcopy(LISTING)
        del expected["nftables"][-1]
    elif change == "nft":
        monkeypatch.setattr(nft.Nft, "_key", lambda _self, _text: "another nft's")
        expected = copy.deepcopy(LISTING)
        del expected["nftables"][-1]
    host.answers["inet"] = MISSING if change == "gone" else (0, json.dumps(listing), "")
    host.answers["nft -f - && nft -p -j list ruleset"] = (0, json.dumps(expected), "")
    there, lines = again.state(text)
    assert there == (change != "gone") and lines


def test_a_table_of_that_name_that_is_not_ours():
    listing = copy.deepcopy(LISTING)
    del listing["nftables"][3]
    with pytest.raises(Conflict, match="inet virtnet is not one of"):
        nft.Nft(Host({"inet": (0, json.dumps(listing), ""), "bridge": MISSING, "arp": MISSING})).found()


def test_nft_that_cannot_list_or_is_not_there():
    with pytest.raises(CommandFailed, match="Operation not permitted"):
        nft.Nft(Host({"inet": (1, "", "Operation not permitted")})).found()
    with pytest.raises(MissingDependency):
        nft.Nft(Host({"inet": MissingDependency("the command nft is not there")})).found()
