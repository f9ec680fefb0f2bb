# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import judge, matrix, table


def cell_of(proof, src, dst, family="ipv4", protocol="tcp"):
    wanted = (src, dst, family, protocol)
    return next(cell for cell in proof["cells"] if tuple(cell[key] for key in ("from", "to", "family", "protocol")) == wanted)


def change(plan, results, src, dst, protocol="tcp", **values):
    """Change what the sender of a cell says; return the cell's token."""
    cell = next(
        one for one in plan["cells"] if (one["from"], one["to"], one["family"], one["protocol"]) == (src, dst, "ipv4", protocol)
    )
    host, process = cell["sender"]
    for one in results[host][process]["sends"]:
        if one["token"] == cell["token"]:
            one.update(values)
    return cell["token"]


@pytest.fixture
def plan(fleet):
    return matrix.plan(fleet.lab(), ["www.lab"])


def test_all_as_promised(fleet, plan):
    proof = judge.judge(plan, fleet.results(plan))
    assert proof["ok"]
    assert proof["differences"] == []
    assert cell_of(proof, "outside", "vm0@kvm1")["why"].startswith("nothing arrived; control: ")
    assert cell_of(proof, "vm0@kvm1", "outside")["source_seen"] == "10.77.0.11"
    assert table.table(proof)[-1] == f"All {len(proof['cells'])} cells are as the contract says."


def test_what_must_not_arrive_and_does_fails_even_without_a_reply(fleet, plan):
    results = fleet.results(plan, allowed=lambda cell: True)
    change(plan, results, "outside", "vm0@kvm1", replied_ms=None)
    cell = cell_of(judge.judge(plan, results), "outside", "vm0@kvm1")
    assert (cell["seen"], cell["ok"]) == ("yes", False)


def test_a_missing_reply_is_no_yes(fleet, plan):
    results = fleet.results(plan)
    change(plan, results, "vm0@kvm1", "outside", replied_ms=None)
    cell = cell_of(judge.judge(plan, results), "vm0@kvm1", "outside")
    assert (cell["seen"], cell["ok"], cell["replied"]) == ("unknown", False, False)
    assert "no reply came back" in cell["why"]


def test_the_wrong_source_is_no_yes(fleet, plan):
    results = fleet.results(plan)
    for one in results["outside"]["host"]["arrivals"]:
        one["source"] = "10.64.100.2"
    cell = cell_of(judge.judge(plan, results), "vm0@kvm1", "outside")
    assert (cell["seen"], cell["ok"], cell["source_seen"]) == ("unknown", False, "10.64.100.2")
    assert cell["why"] == "it arrived from 10.64.100.2, not from 10.77.0.11"


def test_a_yes_that_does_not_arrive_is_a_no_with_a_control(fleet, plan):
    results = fleet.results(plan, allowed=lambda cell: cell["expected"] == "yes" and cell["from"] != "vm0@kvm1")
    proof = judge.judge(plan, results)
    cell = cell_of(proof, "vm0@kvm1", "outside")
    assert (cell["seen"], cell["why"]) == ("no", "nothing arrived; control: vm1@kvm1")
    assert proof["differences"][0].startswith("vm0@kvm1 → vm1@kvm1 ipv4 icmp: expected yes (same network), seen no: ")


def test_a_no_without_a_control_is_unknown(fleet, plan):
    results = fleet.results(plan, allowed=lambda cell: cell["expected"] == "yes" and cell["to"] != "vm0@kvm1")
    cell = cell_of(judge.judge(plan, results), "outside", "vm0@kvm1")
    assert (cell["seen"], cell["ok"]) == ("unknown", False)


def test_a_control_is_of_the_same_protocol_and_family(fleet, plan):
    def allowed(cell):
        return cell["expected"] == "yes" and (cell["to"] != "vm0@kvm1" or (cell["protocol"], cell["family"]) == ("udp", "ipv6"))

    proof = judge.judge(plan, fleet.results(plan, allowed=allowed))
    assert cell_of(proof, "outside", "vm0@kvm1", "ipv6", "udp")["seen"] == "no"
    assert cell_of(proof, "outside", "vm0@kvm1", "ipv4", "udp")["seen"] == "unknown"
    assert cell_of(proof, "outside", "vm0@kvm1", "ipv6", "tcp")["seen"] == "unknown"


@pytest.mark.parametrize(
    ("error", "seen", "path"),
    [
        ("ENETUNREACH", "no", "no route"), ("EHOSTUNREACH", "no", "no route"),
        ("EPERM", "no", "refused by the sender's own filter"), ("ENOBUFS", "unknown", "ENOBUFS"),
    ],
)  # fmt: skip
def test_what_could_not_be_sent(fleet, plan, error, seen, path):
    results = fleet.results(plan, allowed=lambda cell: cell["expected"] == "yes" and cell["name"] != "kvm1 → vm0@kvm1 ipv4 tcp")
    change(plan, results, "kvm1", "vm0@kvm1", sent=0, error=error)
    cell = cell_of(judge.judge(plan, results), "kvm1", "vm0@kvm1")
    assert (cell["seen"], cell["path"], cell["ok"]) == (seen, path, False)


def test_a_no_that_was_to_be_forced_and_was_not_sent_is_unknown(fleet, plan):
    results = fleet.results(plan)
    change(plan, results, "outside", "vm0@kvm1", sent=0, error="EHOSTUNREACH")
    cell = cell_of(judge.judge(plan, results), "outside", "vm0@kvm1")
    assert (cell["seen"], cell["why"], cell["path"]) == ("unknown", "it could not be sent: EHOSTUNREACH", "via 10.77.0.11")


def test_answered_but_not_seen_is_unknown(fleet, plan):
    results = fleet.results(plan)
    change(plan, results, "outside", "vm0@kvm1", replied_ms=3.0)
    cell = cell_of(judge.judge(plan, results), "outside", "vm0@kvm1")
    assert cell["seen"] == "unknown"


@pytest.mark.parametrize("silent", ["sender", "receiver"])
def test_a_probe_that_went_silent_makes_unknown(fleet, plan, silent):
    results = fleet.results(plan)
    if silent == "sender":
        results["outside"]["host"] = {"error": "gone"}
    else:
        results["kvm1"]["vm0"] = {"error": "gone"}
    cell = cell_of(judge.judge(plan, results), "outside", "vm0@kvm1")
    assert (cell["seen"], cell["why"]) == ("unknown", "gone")


def test_no_word_at_all_is_unknown(plan):
    proof = judge.judge(plan, {})
    assert {cell["seen"] for cell in proof["cells"]} == {"unknown"}
    assert not proof["ok"]


def test_a_problem_known_beforehand_is_unknown(fleet):
    item, found = fleet.guest("vm0", "natnet", "10.64.100.2/24")
    found["links"][0]["addresses"] = []
    plan = matrix.plan(fleet.lab(guests=[(item, found)]))
    proof = judge.judge(plan, fleet.results(plan))
    assert not proof["ok"]
    assert "lacks the address 10.64.100.2 in natnet (on eth0: none)" in cell_of(proof, "vm0@kvm1", "outside")["why"]


def test_one_way_is_enough_where_no_way_back_was_declared(fleet):
    plan = matrix.plan(fleet.lab([fleet.ROUTED], [fleet.guest("rt0", "rtnet", "10.64.120.2/24")]))
    results = fleet.results(plan)
    change(plan, results, "rt0@kvm1", "outside", replied_ms=None)
    cell = cell_of(judge.judge(plan, results), "rt0@kvm1", "outside")
    assert (cell["seen"], cell["ok"]) == ("yes", True)
    assert "no way back was declared" in cell["why"]


@pytest.mark.parametrize(
    ("values", "seen", "why"),
    [
        ({"rcode": 0, "answers": ["192.0.2.1"], "replied_ms": 1.0}, "yes", "answered"),
        ({"rcode": 2, "answers": [], "replied_ms": 1.0}, "no", "SERVFAIL"),
        ({"rcode": 0, "answers": [], "replied_ms": 1.0}, "no", "answered, with no address"),
        ({"rcode": None, "answers": None, "replied_ms": None}, "no", "no answer"),
        ({"replied_ms": None, "refused": "ICMP type 3 code 3 by 10.0.0.1"}, "no", "no answer, ICMP type 3 code 3 by 10.0.0.1"),
    ],
)
def test_dns(fleet, plan, values, seen, why):
    results = fleet.results(plan)
    change(plan, results, "vm0@kvm1", "kvm1", "dns", **values)
    cell = cell_of(judge.judge(plan, results), "vm0@kvm1", "kvm1", protocol="dns")
    assert (cell["seen"], cell["why"]) == (seen, why)


def test_a_name_that_is_not_to_be_resolved_needs_an_answer_too(fleet):
    served = {**fleet.ISOLATED, "addresses": ["10.64.130.1/24"], "dhcp": {}, "subnets": []}
    plan = matrix.plan(fleet.lab([served], [fleet.guest("iso0", "isonet", "10.64.130.2/24")]), ["www.lab"])
    for values, seen in (
        ({"rcode": 5, "answers": [], "replied_ms": 1.0, "refused": None}, "no"),
        ({"rcode": 0, "answers": ["192.0.2.1"], "replied_ms": 1.0, "refused": None}, "yes"),
        ({"rcode": None, "answers": None, "replied_ms": None, "refused": None}, "unknown"),
    ):
        results = fleet.results(plan)
        change(plan, results, "iso0@kvm1", "kvm1", "dns", **values)
        cell = cell_of(judge.judge(plan, results), "iso0@kvm1", "kvm1", protocol="dns")
        assert (cell["seen"], cell["ok"]) == (seen, seen == "no")


def test_the_listener_itself_is_the_last_control(fleet):
    plan = matrix.plan(fleet.lab([fleet.ISOLATED], [fleet.guest("iso0", "isonet", "10.64.130.2/24")]))
    proof = judge.judge(plan, fleet.results(plan))
    assert proof["ok"]
    assert cell_of(proof, "outside", "iso0@kvm1")["why"] == "nothing arrived; control: itself only"
    assert not any(cell["control"] for cell in proof["cells"])
    assert proof["controls"]


def test_nothing_to_prove_is_said():
    proof = judge.judge(matrix.plan({}), {})
    assert proof["ok"]
    assert table.table(proof)[-1] == "Nothing was proven."


def test_the_table(fleet):
    plan = matrix.plan(fleet.lab(guests=[fleet.guest("vm0", "natnet", "10.64.100.2/24")]), ["www.lab"])
    proof = judge.judge(plan, fleet.results(plan, allowed=lambda cell: cell["expected"] == "yes" and cell["protocol"] != "udp"))
    assert table.table(proof)[:8] == [
        "from      to                  v4 icmp  v4 tcp  v4 udp     v4 dns  arrived from",
        "--------  ------------------  -------  ------  ---------  ------  ------------",
        "vm0@kvm1  kvm1 (10.64.100.1)  yes ✓    yes ✓   unknown ✗  yes ✓   10.64.100.2",
        "vm0@kvm1  kvm1 (10.77.0.11)   yes ✓    yes ✓   unknown ✗  ·       10.64.100.2",
        "kvm1      vm0@kvm1            yes ✓    yes ✓   unknown ✗  ·       10.77.0.11",
        "vm0@kvm1  outside             yes ✓    yes ✓   unknown ✗  ·       10.77.0.11",
        "outside   vm0@kvm1            no ✓     no ✓    unknown ✗  ·",
        (
            "vm0@kvm1 → kvm1 (10.64.100.1) ipv4 udp: expected yes (nat), seen unknown: "
            "nothing arrived, and nothing else was heard by that listener either (and 4 more cells)"
        ),
    ]


def test_several_networks_have_a_line_each(fleet):
    guests = [fleet.guest("vm0", "natnet", "10.64.100.2/24"), fleet.guest("iso0", "isonet", "10.64.130.2/24")]
    plan = matrix.plan(fleet.lab([fleet.NAT, fleet.ISOLATED], guests))
    wrong = {"from": "vm0@kvm1", "to": "iso0@kvm1", "protocol": "udp"}
    proof = judge.judge(plan, fleet.results(plan))
    for cell in proof["cells"]:
        if wrong.items() <= cell.items():
            cell.update(ok=False, seen="yes")
    rows = [line.split() for line in table.networks(proof["cells"])]
    assert rows[0] == ["network", "cells", "yes", "✓", "no", "✓", "✗"]
    counted = {row[0]: [int(one) for one in row[1:]] for row in rows[2:]}
    assert list(counted) == ["isonet@kvm1", "natnet@kvm1"]
    assert {name: row[-1] for name, row in counted.items()} == {"isonet@kvm1": 1, "natnet@kvm1": 1}
    assert all(row[0] == sum(row[1:]) for row in counted.values())
    assert counted["isonet@kvm1"][1] == 0
    assert table.table(proof)[-3 - len(counted)].startswith("network")
    # One network's proof says it all in its last line.
    assert table.networks(judge.judge(plan, fleet.results(plan))["cells"][:0]) == []


def test_a_port_forward_has_a_row_of_its_own(fleet):
    forward = {"name": "web", "listen": {"ports": "8080"}, "to": {"address": "10.64.100.2", "ports": "80"}}
    network = {**fleet.NAT, "port_forwards": [forward]}
    plan = matrix.plan(fleet.lab([network], [fleet.guest("vm0", "natnet", "10.64.100.2/24")]))
    proof = judge.judge(plan, fleet.results(plan))
    assert proof["ok"]
    assert "outside   vm0@kvm1 via kvm1:8080  ·        yes ✓   ·       10.77.0.50" in table.table(proof)
    assert {cell["forward"] for cell in proof["cells"]} == {None, "kvm1:8080"}


def test_a_cause_is_told_once(plan):
    lines = table.told(judge.judge(plan, {}))
    assert len(lines) == 1
    assert lines[0].endswith(f"the sender did not say what it sent (and {len(plan['cells']) - 1} more cells)")


def test_many_causes_are_cut(fleet, plan):
    proof = judge.judge(plan, fleet.results(plan, allowed=lambda cell: True, source="192.0.2.99"))
    for number, cell in enumerate(proof["cells"]):
        cell["why"] = str(number)
    lines = table.told(proof)
    assert len(lines) == table.SHOWN_MAX + 1
    assert lines[-1] == f"... and {len(proof['differences']) - table.SHOWN_MAX} more causes."
