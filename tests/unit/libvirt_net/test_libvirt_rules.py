# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which rules are libvirt's for one network: all of these, and nobody else's."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import libvirt_rules

FILTER = """\
-P INPUT ACCEPT
-N LIBVIRT_FWI
-N LIBVIRT_INP
-A INPUT -j LIBVIRT_INP
-A INPUT -i flt2 -p tcp -m comment --comment "the administrator's own" -j ACCEPT
-A LIBVIRT_FWI -o flt2 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWI -o flt22 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_INP -i flt2 -p udp -m udp --dport 53 -j ACCEPT
"""
NAT = """\
# Warning: iptables-legacy tables present, use iptables-legacy to see them
-N LIBVIRT_PRT
-A POSTROUTING -j LIBVIRT_PRT
-A POSTROUTING -s 10.88.1.0/24 -j MASQUERADE
-A LIBVIRT_PRT -s 10.88.1.0/24 -d 224.0.0.0/24 -j RETURN
-A LIBVIRT_PRT -s 10.88.1.0/24 ! -d 10.88.1.0/24 -p tcp -j MASQUERADE --to-ports 1024-65535
-A LIBVIRT_PRT -s 10.88.11.0/24 -d 224.0.0.0/24 -j RETURN
"""


def meta(key, value, op="=="):
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": value}}


def saddr(address, length, op="=="):
    left = {"payload": {"protocol": "ip", "field": "saddr"}}
    return {"match": {"op": op, "left": left, "right": {"prefix": {"addr": address, "len": length}}}}


def rule(handle, *expr):
    return {"rule": {"family": "ip", "table": "libvirt_network", "chain": "guest_nat", "handle": handle, "expr": list(expr)}}


TABLE = {
    "nftables": [
        {"metainfo": {"version": "1.1.3"}}, {"table": {"family": "ip", "name": "libvirt_network"}},
        rule(4, meta("oif", "flt2"), {"counter": {}}, {"reject": None}), rule(5, meta("iif", "flt22"), {"reject": None}),
        rule(6, saddr("10.88.1.0", 24), {"masquerade": None}), rule(7, saddr("10.88.1.0", 24, "!="), {}),
        rule(8, saddr("10.88.1.0", 25), {"masquerade": None}), rule(9, {"counter": {}}, meta("iifname", "flt2"), {}),
        rule(10, {"match": {"op": "==", "left": {"ct": {"key": "state"}}, "right": "flt2"}}),
        rule(11, {"match": {"op": "==", "left": "x", "right": "flt2"}}, {"accept": None}),
    ]
}  # fmt: skip


def test_of_iptables_those_in_its_chains_about_the_bridge_or_its_subnets():
    assert libvirt_rules.of_iptables(FILTER, "flt2", []) == [
        ["LIBVIRT_FWI", "-o", "flt2", "-j", "REJECT", "--reject-with", "icmp-port-unreachable"],
        ["LIBVIRT_INP", "-i", "flt2", "-p", "udp", "-m", "udp", "--dport", "53", "-j", "ACCEPT"],
    ]
    assert [one[:3] + one[-2:] for one in libvirt_rules.of_iptables(NAT, "flt1", ["10.88.1.0/24"])] == [
        ["LIBVIRT_PRT", "-s", "10.88.1.0/24", "-j", "RETURN"],
        ["LIBVIRT_PRT", "-s", "10.88.1.0/24", "--to-ports", "1024-65535"],
    ]


def test_of_nft_those_in_its_table_about_the_bridge_or_its_subnets():
    assert libvirt_rules.of_nft(TABLE, "flt2", ["10.88.1.0/24"]) == [("guest_nat", 4), ("guest_nat", 6), ("guest_nat", 9)]
    assert libvirt_rules.of_nft({}, "flt2", []) == []


class Host:
    """Answers of programs, and what was asked of them."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def run(self, command, check=True, **_what):
        self.asked.append(command)
        for words, answer in self.answers.items():
            if set(words.split()) <= set(command):
                return 0, answer, ""
        if command[0] == "nft":
            raise MissingDependency("the command nft is not there")
        return 1, "", "no such table"


@pytest.mark.parametrize("there", [True, False])
def test_they_are_deleted_as_they_were_listed(there):
    host = Host({"iptables filter -S": FILTER, "iptables -D": ""} if there else {})
    libvirt_rules.remove(host, "flt2", [])
    deleted = [command for command in host.asked if "-D" in command]
    assert len(deleted) == (2 if there else 0)
    assert not there or deleted[0][:7] == ["iptables", "-w", "5", "-t", "filter", "-D", "LIBVIRT_FWI"]
