# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict, InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.links import declared, route_sets
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import networkd_files as texts


def route(to, via="192.0.2.9", metric=None):
    return {"to": to, "via": via, "metric": metric}


A, B, C = route("10.1.0.0/16"), route("10.2.0.0/16"), route("10.3.0.0/16")


def test_sets_share_routes_and_leave_what_was_there():
    first = route_sets.Sets().changed({"x": [A, B]}, [B, C], True)
    assert first.ours == [A] and first.there == [B] and first.alone
    second = first.changed({"y": [A]}, [A, B, C], True)
    assert second.sets == {"x": [A, B], "y": [A]}
    third = second.changed({"x": []}, [A, B, C], True)
    assert third.sets == {"y": [A]} and third.ours == [A] and third.there == []
    assert third.changed({"y": []}, [A, B, C], True) == route_sets.Sets()


def test_a_set_that_comes_back_is_still_ours():
    """The route is there because of another set, not because of an administrator."""
    sets = route_sets.Sets().changed({"x": [A]}, [], True).changed({"y": [A]}, [A], True).changed({"x": []}, [A], True)
    assert sets.ours == [A]


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        ([], False), ([("eth0", A)], False), ([("eth0", B)], False), ([("eth0", route("10.1.0.0/16", None))], True),
        ([("eth1", route("10.1.0.0/16", None))], True), ([("eth0", route("10.1.0.0/16", "192.0.2.8"))], True),
    ],
)  # fmt: skip
def test_no_route_takes_the_place_of_another(rows, refused):
    (item,) = declared.parse([{"name": "eth0", "state": "present", "route_sets": [{"name": "x", "routes": [A]}]}], "interfaces")
    before = route_sets.Sets()
    after = before.changed(item.more["route_sets"], [], True)
    if refused:
        with pytest.raises(Conflict, match=r"interfaces\[0\]\.route_sets: eth0: there is a route to 10\.1\.0\.0/16 already"):
            route_sets.check_free("eth0", item, before, after, rows)
    else:
        route_sets.check_free("eth0", item, before, after, rows)


def test_a_set_may_change_its_own_route():
    before = route_sets.Sets().changed({"x": [A]}, [], True)
    after = before.changed({"x": [route("10.1.0.0/16", "192.0.2.7")]}, [A], True)
    (item,) = declared.parse([{"name": "eth0", "state": "present", "route_sets": []}], "interfaces")
    route_sets.check_free("eth0", item, before, after, [("eth0", A)])


@pytest.mark.parametrize(
    ("sets", "option", "words"),
    [
        ([{"name": "x y", "routes": []}], "route_sets[0].name", "cannot name a set"),
        ([{"name": "x", "routes": []}] * 2, "route_sets[1].name", "declared twice"),
        ([{"name": "x", "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}]}], "route_sets[0].routes", "no default route"),
        ([{"name": "x", "routes": [{"to": "10.0.0.1/8"}]}], "route_sets[0].routes[0].to", "not a subnet"),
    ],
)
def test_refusals(sets, option, words):
    with pytest.raises(InvalidInput) as caught:
        declared.parse([{"name": "eth0", "state": "present", "route_sets": sets}], "interfaces")
    assert caught.value.option == f"interfaces[0].{option}" and words in str(caught.value)


FILE = """\
[Match]
Name=eth0

[Network]
Address=192.0.2.2/24
Gateway=192.0.2.1

[Route]
Destination=10.3.0.0/16
Gateway=192.0.2.9

[Route]
Destination=10.4.0.0/16
Gateway=192.0.2.9
Table=7
"""


def test_the_file_keeps_all_other_routes():
    once = texts.with_routes(FILE, [A, C], [])
    assert once.count("10.1.0.0/16") == 1 and once.count("10.3.0.0/16") == 1 and "Table=7" in once
    assert "Gateway=192.0.2.1\n" in once
    assert texts.with_routes(once, [A], []) == once
    back = texts.with_routes(once, [], [A])
    assert sorted(texts.parse(back)) == sorted(texts.parse(FILE))


def test_all_routes_of_a_form_leave_those_that_no_form_can_express():
    file = texts.Network(FILE)
    file.set_routes([A])
    assert file.routes == [A] and "Table=7" in file.text()
