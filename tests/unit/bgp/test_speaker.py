# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import speaker
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

KVM2 = {"name": "kvm2", "asn": 64512, "addresses": ["fd77::12", "10.77.0.12"], "sources": ["10.77.0.11"]}
MINE = {"name": "kvm1/r", "prefixes": ["10.10.110.0/24", "fd00:10:110::/64"]}
ITS = {"name": "kvm2/r", "prefixes": ["10.10.111.0/24"]}


def wish(**options):
    return speaker.parse({"state": "present", "asn": 64512, **options})


FIRST = wish(router_id="10.77.0.11", neighbors=[KVM2], announce=[MINE], accept=[ITS]).on(None)


def test_the_first_call():
    assert FIRST.keepalive == 3 and FIRST.hold_time == 9
    assert FIRST.sessions(4) == [("10.77.0.12", "10.77.0.11", "kvm2", 64512, False)] and FIRST.sessions(6)[0].source is None
    assert FIRST.announced(6) == ["fd00:10:110::/64"] and FIRST.accepted(4) == ["10.10.111.0/24"]
    assert speaker.from_stored(speaker.stored(FIRST)) == FIRST


def test_later_calls_change_what_they_name():
    more = wish(neighbors=[{"name": "kvm3", "asn": 64512, "addresses": ["10.77.0.13"]}], keepalive=5, hold_time=15).on(FIRST)
    assert sorted(more.neighbors) == ["kvm2", "kvm3"] and more.announce == FIRST.announce and more.router_id == "10.77.0.11"
    assert (more.keepalive, more.hold_time) == (5, 15)
    less = wish(neighbors=[{"name": "kvm2"}], accept=[{"name": "kvm2/r", "prefixes": []}]).on(more)
    assert sorted(less.neighbors) == ["kvm3"] and less.accept == {}
    assert wish(neighbors=[{"name": "kvm3"}], announce=[{"name": "kvm1/r"}]).on(less) is None


LAB = {"name": "kvm1/lab", "vnis": [4711]}


def test_segments():
    more = wish(neighbors=[{**KVM2, "evpn": True}], vnis=[LAB, {"name": "kvm1/b", "vnis": [9, 4711]}]).on(FIRST)
    assert more.segments == [9, 4711] and more.announce == FIRST.announce and speaker.from_stored(speaker.stored(more)) == more
    # FRR has segments over IPv4 only.
    assert more.sessions(4)[0].evpn and not more.sessions(6)[0].evpn
    assert speaker.form(more)["vnis"] == [{"name": "kvm1/b", "vnis": [9, 4711]}, {"name": "kvm1/lab", "vnis": [4711]}]
    assert wish(vnis=[{"name": "kvm1/b"}]).on(more).segments == [4711]
    # Who does not know leaves it as it is.
    assert wish(neighbors=[{**KVM2, "evpn": None}]).on(more) == more == wish(neighbors=[KVM2]).on(more)
    assert FIRST.neighbors["kvm2"].evpn is False and not wish(neighbors=[{**KVM2, "evpn": False}]).on(more).neighbors["kvm2"].evpn
    only = wish(vnis=[LAB]).on(None)
    assert not only.idle and wish(vnis=[{"name": "kvm1/lab"}]).on(only) is None
    # What an older version has stored knows of none.
    old = {key: one for key, one in speaker.stored(FIRST).items() if key != "vnis"}
    for one in old["neighbors"].values():
        del one["evpn"]
    assert speaker.from_stored(old) == FIRST


def test_segments_that_are_taken_back():
    both = wish(vnis=[LAB], announce=[MINE]).on(None)
    left = speaker.parse({"state": "absent", "announce": [{"name": "kvm1/r"}]}).on(both)
    assert left.announce == {} and left.segments == [4711]
    left = speaker.parse({"state": "absent", "vnis": [{"name": "kvm1/lab"}]}).on(both)
    assert left.vnis == {} and list(left.announce) == ["kvm1/r"]
    assert speaker.parse({"state": "absent", "announce": [{"name": "kvm1/r"}], "vnis": [{"name": "kvm1/lab"}]}).on(both) is None


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, None),
        ({"announce": [{"name": "kvm1/r"}]}, ["kvm1/s"]),
        ({"announce": [{"name": "kvm1/r"}, {"name": "kvm1/s"}]}, None),
        ({"announce": [{"name": "never"}]}, ["kvm1/r", "kvm1/s"]),
    ],
)  # fmt: skip
def test_absent(options, left):
    both = wish(announce=[{"name": "kvm1/s", "prefixes": ["10.10.120.0/24"]}]).on(FIRST)
    gone = speaker.parse({"state": "absent", **options})
    found = gone.on(both)
    assert (found and sorted(found.announce)) == left and gone.on(None) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.20.0.0/16 le 24", "10.20.0.0/16 le 24"),
        ("10.20.0.0/16  ge 20 le 24", "10.20.0.0/16 ge 20 le 24"),
        ("FD00::/48", "fd00::/48"),
    ],
)
def test_what_is_accepted(text, found):
    assert wish(accept=[{"name": "x", "prefixes": [text]}]).on(None).accept == {"x": (found,)}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"asn": None}, "asn: no AS number is given"),
        ({"asn": 0}, "asn: the AS number 0 is out of range"), ({"asn": 4294967295}, "out of range"),
        ({"router_id": "fd77::1"}, "router_id: 'fd77::1' cannot be a router ID"),
        ({"neighbors": [{"name": "a b"}]}, r"neighbors\[0\]\.name: 'a b'"),
        ({"vnis": [{"name": "x", "vnis": [0]}]}, r"vnis\[0\]\.vnis\[0\]: x: the VNI 0 is out of range"),
        ({"vnis": [LAB, LAB]}, r"vnis\[1\]\.name: kvm1/lab: the name is there twice. Name each once, with all its vnis"),
        (
            {"neighbors": [{"name": "x", "asn": 7, "addresses": ["fd77::12"], "evpn": True}]},
            r"neighbors\[0\]\.evpn: x: VXLAN segments over IPv6",
        ),
        ({"neighbors": [KVM2, KVM2]}, r"neighbors\[1\]\.name: kvm2: the neighbour is there twice"),
        ({"neighbors": [{"name": "x", "addresses": ["10.77.0.1"]}]}, r"neighbors\[0\]\.asn: x: no AS number"),
        ({"neighbors": [{"name": "x", "asn": 1, "addresses": ["fe80::1"]}]}, r"addresses\[0\]: x: fe80::1 is no address"),
        ({"neighbors": [{"name": "x", "asn": 1, "addresses": ["10.0.0.1", "10.0.0.2"]}]}, r"addresses\[1\]: x: a second IPv4"),
        ({"neighbors": [KVM2, {**KVM2, "name": "kvm3"}]}, "neighbors: kvm3: 10.77.0.12 is also the neighbour kvm2"),
        ({"announce": [{"name": "r", "prefixes": ["0.0.0.0/0"]}]}, r"announce\[0\]\.prefixes\[0\]: r: a default route"),
        ({"announce": [{"name": "r", "prefixes": ["10.10.110.1/24"]}]}, "is not a subnet"),
        ({"accept": [{"name": "r", "prefixes": ["::/0"]}]}, r"accept\[0\]\.prefixes\[0\]: r: a default route"),
        ({"accept": [{"name": "r", "prefixes": ["0.0.0.0/0 le 32"]}]}, "a default route"),
        ({"accept": [{"name": "r", "prefixes": ["10.20.0.0/16 le 8"]}]}, "do not follow one another"),
        ({"accept": [{"name": "r", "prefixes": ["10.20.0.0/16 upto 24"]}]}, "is not a prefix"),
        ({"accept": [{"name": "r", "prefixes": ["fe80::/64"]}]}, "leads nowhere"),
        (
            {"neighbors": [KVM2], "accept": [{"name": "r", "prefixes": ["10.77.0.0/24"]}]},
            "accept: r: 10.77.0.0/24 holds the address 10.77.0.12 of the neighbour kvm2",
        ),
        ({"keepalive": 5}, "hold_time: the hold time 9 is less than three keepalives of 5"),
        ({"hold_time": 2}, "hold time 2 is out"),
    ],
)  # fmt: skip
def test_refusals(options, says):
    with pytest.raises(InvalidInput, match=says):
        wish(**options).on(None)
