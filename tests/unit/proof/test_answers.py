# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import answers

SEND = {
    "token": 100, "sent": 1, "error": None, "replied_ms": 1.5, "reply_from": "10.0.0.1", "refused": None, "rcode": None,
    "answers": None,
}  # fmt: skip
ARRIVAL = {"protocol": "tcp", "token": 100, "source": "10.0.0.2", "dev": "eth0", "count": 1}


def test_a_good_answer_is_kept_as_it_is():
    assert answers.ready({"port": 46464, "families": ["ipv4", "ipv6"], "problems": []}) == {
        "port": 46464, "families": ["ipv4", "ipv6"], "problems": [],
    }
    assert answers.result({"arrivals": [ARRIVAL], "sends": [SEND]}, 100, 100) == {"arrivals": [ARRIVAL], "sends": [SEND]}


def test_tokens_of_others_are_dropped():
    found = answers.result({"arrivals": [ARRIVAL, {**ARRIVAL, "token": 7}], "sends": [{**SEND, "token": 999}]}, 100, 200)
    assert [one["token"] for one in found["arrivals"]] == [100]
    assert found["sends"] == []


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"nonsense", b'"x"', b"[" * 100_000, b" " * (answers.ANSWER_MAX + 1), b"\xff\xfe{}"]
)
def test_what_is_no_object_is_refused(text):
    with pytest.raises(answers.Nonsense):
        answers.parse(text)


@pytest.mark.parametrize(
    "answer",
    [
        {}, {"port": 46464, "families": "ipv4", "problems": []}, {"port": 46464, "families": [], "problems": {}},
        {"port": "46464", "families": [], "problems": []}, {"port": 99999, "families": [], "problems": []},
        {"port": True, "families": [], "problems": []}, {"port": 1, "families": [], "problems": [1]},
    ],
)  # fmt: skip
def test_a_hostile_greeting_is_refused(answer):
    with pytest.raises(answers.Nonsense):
        answers.ready(answer)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token", "100"), ("token", -1), ("token", 1 << 32), ("token", None), ("token", True), ("sent", 1e9), ("sent", None),
        ("replied_ms", "fast"), ("replied_ms", True), ("reply_from", "here"), ("reply_from", 4), ("error", 5), ("refused", []),
        ("rcode", 99), ("answers", "10.0.0.1"), ("answers", [{}]), ("answers", ["a name"]),
    ],
)
def test_a_hostile_send_is_refused(key, value):
    with pytest.raises(answers.Nonsense):
        answers.result({"arrivals": [], "sends": [{**SEND, key: value}]}, 0, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("protocol", "gre"), ("protocol", []), ("token", 1.5), ("source", "x"), ("source", ["10.0.0.1"]), ("dev", 3),
        ("source", "fd00::1%\x1b[2J"), ("count", -1),
    ],
)
def test_a_hostile_arrival_is_refused(key, value):
    with pytest.raises(answers.Nonsense):
        answers.result({"arrivals": [{**ARRIVAL, key: value}], "sends": []}, 0, 0xFFFFFFFF)


@pytest.mark.parametrize(
    "answer", [{"arrivals": {}, "sends": []}, {"arrivals": [1], "sends": []}, {"sends": []}, {"arrivals": []}]
)
def test_a_hostile_report_is_refused(answer):
    with pytest.raises(answers.Nonsense):
        answers.result(answer, 0, 0xFFFFFFFF)


def test_text_of_a_guest_cannot_steer_a_terminal_and_is_short():
    found = answers.result({"arrivals": [{**ARRIVAL, "dev": "\x1b[2Jeth0\n" + "x" * 999}], "sends": []}, 0, 200)
    dev = found["arrivals"][0]["dev"]
    assert dev.startswith("?[2Jeth0?xxx")
    assert len(dev) == answers.TEXT_MAX
    assert answers.last_line(b"Traceback\n\x1b]0;title\x07 no\n") == "?]0;title? no"
    assert answers.last_line(b"") == "no message"


def test_infinite_times_are_no_times():
    sends = [{**SEND, "token": token, "replied_ms": float(text)} for token, text in ((100, "inf"), (101, "nan"))]
    text = json.dumps({"arrivals": [], "sends": sends})
    found = answers.result(answers.parse(text.encode()), 0, 200)
    assert [one["replied_ms"] for one in found["sends"]] == [None, None]


def test_links_of_a_guest_with_names_and_zones_of_its_own_making():
    found = answers.links([
        {"name": "eth0", "mac": "52:54:00:00:00:01", "addresses": ["10.0.0.2/24", "fd00::1%x y/64"]},
        {"name": "eth0\nsend", "mac": "52:54:00:00:00:02", "addresses": []}, {"name": "", "mac": "", "addresses": []},
    ])  # fmt: skip
    assert found == [{"name": "eth0", "mac": "52:54:00:00:00:01", "addresses": ["10.0.0.2/24"]}]
