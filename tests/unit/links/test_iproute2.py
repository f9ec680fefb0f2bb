# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ip(8) is asked, and what is made of its answers."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.links import iproute2


class Host:
    def __init__(self, rc=0, out="", err=""):
        self.answer, self.asked = (rc, out, err), []

    def run(self, command, data=None, check=True):
        assert not check
        self.asked.append(command)
        return self.answer


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ((0, '[{"dst": "192.0.2.7", "dev": "br0"}]', ""), ({"dst": "192.0.2.7", "dev": "br0"}, None)),
        ((2, "", "RTNETLINK answers: Network is unreachable\n"), (None, "Network is unreachable")),
        ((0, "", ""), (None, "no answer")),
        ((0, "[]", ""), (None, "[]")),
        ((0, "no JSON", "odd"), (None, "odd")),
    ],
)
def test_the_way_to_an_address(answer, found):
    assert iproute2.way_to(Host(*answer), "192.0.2.7") == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), []), (("10.0.0.1",), []), (("10.0.0.1", "br0"), ["from", "10.0.0.1", "iif", "br0"]), ((None, "br0"), ["iif", "br0"]),
    ],
)  # fmt: skip
def test_a_source_belongs_to_the_link_that_it_came_by(given, words):
    host = Host(0, "[{}]")
    iproute2.way_to(host, "192.0.2.7", *given)
    assert host.asked == [["ip", "-j", "route", "get", "192.0.2.7", *words]]


@pytest.mark.parametrize(("user", "cure"), [(1000, "This needs root. Set become: true."), (0, None)])
def test_who_may_not_is_told_to_become_root(monkeypatch, user, cure):
    monkeypatch.setattr(iproute2.os, "geteuid", lambda: user)
    refused = Host(1, "", "ioctl(TUNSETIFF): Operation not permitted\nCommand failed -:2\n")
    with pytest.raises(CommandFailed) as caught:
        iproute2.batch(refused, ["link set lo up", "tuntap add dev t0 mode tap"], "setting up the link")
    assert (caught.value.cure, caught.value.details["line"]) == (cure, 1)
