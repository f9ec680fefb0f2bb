# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import ask, judge, table


@pytest.fixture
def endpoints(fleet):
    return {
        "host": fleet.end("host", fleet.link("eth0", "10.77.0.11/24"), fleet.link("natbr0", "10.64.100.1/24", "fd00:64::1/64")),
        "vm0": fleet.guest("vm0", "natnet", "10.64.100.2/24", "fd00:64::2/64")[1],
        "vm1": fleet.guest("vm1", "natnet", "10.64.100.3/24")[1],
        "dead": {"kind": "guest", "error": "the guest agent does not answer"},
    }


def test_everybody_to_everybody(endpoints):
    plan = ask.plan("s", "kvm1", endpoints, ask.everything(["host", "vm0", "vm1"]))
    asked = {(cell["from"], cell["to"], cell["family"]): cell["address"] for cell in plan["cells"]}
    assert asked == {
        ("host", "vm0", "ipv4"): "10.64.100.2", ("host", "vm0", "ipv6"): "fd00:64::2", ("host", "vm1", "ipv4"): "10.64.100.3",
        ("vm0", "host", "ipv4"): "10.64.100.1", ("vm0", "host", "ipv6"): "fd00:64::1", ("vm0", "vm1", "ipv4"): "10.64.100.3",
        ("vm1", "host", "ipv4"): "10.64.100.1", ("vm1", "vm0", "ipv4"): "10.64.100.2",
    }  # fmt: skip
    assert len(plan["cells"]) == 3 * len(asked)


def test_addresses_names_and_ports(endpoints):
    probes = [
        {"from": "vm0", "to": "192.0.2.1", "protocol": "tcp", "port": 443},
        {"from": "vm0", "to": "10.64.100.1", "protocol": "dns", "name": "www.lab"},
    ]
    plan = ask.plan("s", "kvm1", endpoints, probes)
    sends = plan["sends"]["kvm1"]["vm0"]
    asked = [(one["to"], one["port"], one.get("name")) for one in sends]
    assert asked == [("192.0.2.1", 443, None), ("10.64.100.1", 53, "www.lab")]
    assert [cell["receiver"] for cell in plan["cells"]] == [None, None]
    assert plan["cells"][0]["name"] == "vm0 → 192.0.2.1 ipv4 tcp/443"


def test_an_address_where_nobody_listens_is_judged_by_its_reply(endpoints):
    plan = ask.plan("s", "kvm1", endpoints, [{"from": "vm0", "to": "192.0.2.1", "protocol": "tcp", "port": 443}])
    send = {"token": plan["tokens"][0], "sent": 1, "error": None, "refused": None, "rcode": None, "answers": None}
    for replied, seen in ((1.0, "yes"), (None, "unknown")):
        proof = judge.judge(plan, {"kvm1": {"vm0": {"arrivals": [], "sends": [{**send, "replied_ms": replied}]}}})
        assert [cell["seen"] for cell in proof["cells"]] == [seen]
        assert table.table(proof)[-1] == f"1 questions: 1 {seen}."


def test_who_is_silent_or_lacks_the_family_is_unknown(endpoints):
    probes = [{"from": "dead", "to": "vm0", "protocol": "icmp", "family": "ipv4"}, {"from": "vm0", "to": "vm1", "family": "ipv6"}]
    proof = judge.judge(ask.plan("s", "kvm1", endpoints, probes), {})
    assert {cell["seen"] for cell in proof["cells"]} == {"unknown"}
    assert proof["cells"][0]["why"] == "dead: the guest agent does not answer"
    assert proof["cells"][1]["why"] == "vm1 has no ipv6 address"


@pytest.mark.parametrize(
    ("probe", "option"),
    [
        ({"from": "nobody", "to": "vm0"}, "probes[0].from"),
        ({"from": "vm0", "to": "10.0.0.1", "protocol": "dns"}, "probes[0].name"),
        ({"from": "vm0", "to": "10.0.0.1", "protocol": "dns", "name": "a b"}, "probes[0].name"),
        ({"from": "vm0", "to": "10.0.0.1", "protocol": "tcp"}, "probes.port"),
    ],
)
def test_bad_questions(endpoints, probe, option):
    with pytest.raises(InvalidInput) as caught:
        ask.plan("s", "kvm1", endpoints, [probe])
    assert caught.value.option == option


def test_the_ends_that_probes_name():
    probes = [{"from": "vm0", "to": "10.0.0.1"}, {"from": "host", "to": "vm0"}, {"from": "vm1", "to": "fd00::1"}]
    assert ask.names_of(probes) == ["vm0", "host", "vm1"]
