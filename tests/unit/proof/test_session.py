# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.agent import AgentNonsense, AgentSilent
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import probe_agent, session

namespaces = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")


class Alone(session.HostChannel):
    """A probe in a network namespace of its own, where it has but lo."""

    def __init__(self, folder, python=sys.executable):
        self.folder = str(folder)
        self.pythons = (python,)

    def run(self, command, data):
        up = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', *command]
        done = subprocess.run(up, input=data, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandFailed(done.stderr)
        return done.stdout


class Guest:
    """A channel to a guest that says what the test wants."""

    name = "vm0"
    folder = "/tmp"
    pythons = ("/usr/bin/python3", "/usr/local/bin/python3")

    def __init__(self, out="", files=()):
        self.out = out
        self.files = dict(files)
        self.written = {}

    def run(self, command, data):
        if isinstance(self.out, Exception):
            raise self.out
        return self.out

    def write(self, path, text):
        self.written[os.path.basename(path)] = text

    def read(self, path):
        return self.files.get(os.path.basename(path))


def sends(first):
    rows, token = [], first
    for version, address in ((4, "127.0.0.1"), (6, "::1")):
        for protocol in ("icmp", "tcp", "udp"):
            rows.append({
                "token": token, "to": address, "family": version, "protocol": protocol, "port": 46464,
                "sport": 12000 + token % 100, "wanted": True,
            })  # fmt: skip
            token += 1
    return rows


@namespaces
@pytest.mark.parametrize("mode", ["wire", "socket"])
def test_a_probe_hears_itself_and_leaves_nothing(tmp_path, mode):
    probe = session.Probe(Alone(tmp_path), "test")
    ready = probe.start(mode, ports=[46465])
    assert ready == {"port": 46464, "families": ["ipv4", "ipv6"], "problems": []}
    rows = sends(1000)
    # One that cannot be sent: there is no route out of here.
    lost = {**rows[0], "token": 1006, "to": "192.0.2.1", "wanted": False}
    other = {**rows[1], "token": 1007, "port": 46465}
    closed = {**rows[1], "token": 1008, "port": 9, "wanted": False}
    probe.send((1000, 1008), [*rows, lost, other, closed])
    found = probe.collect((1000, 1008))
    arrived = {(one["token"], one["protocol"], one["source"]) for one in found["arrivals"]}
    expected = {(one["token"], one["protocol"], one["to"]) for one in [*rows, other, closed]}
    assert arrived == expected
    by_token = {one["token"]: one for one in found["sends"]}
    assert all(by_token[one["token"]]["replied_ms"] is not None for one in [*rows, other])
    assert (by_token[1006]["sent"], by_token[1006]["error"]) == (0, "ENETUNREACH")
    assert by_token[1008]["refused"] == "reset by 127.0.0.1"
    deadline = time.monotonic() + 5
    while os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert os.listdir(tmp_path) == []


@namespaces
def test_a_probe_ends_by_itself(tmp_path):
    session.Probe(Alone(tmp_path), "test").start("socket", lifetime_s=1)
    assert os.listdir(tmp_path) == [".virtnet-proof-test"]
    deadline = time.monotonic() + 10
    while os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert os.listdir(tmp_path) == []


def test_the_program_stands_alone():
    text = session.program()
    assert "ansible" not in text.replace("AnsiballZ", "")
    names = {"__name__": "probe_under_test"}
    sys.modules["probe_under_test"] = type(sys)("probe_under_test")
    try:
        exec(compile(text, "probe", "exec"), names)
    finally:
        del sys.modules["probe_under_test"]
    assert len(session.script({})) < 120_000


def test_a_probe_that_was_told_to_send_and_to_report():
    report = {"arrivals": [], "sends": []}
    guest = Guest('{"port": 46464, "families": ["ipv4"], "problems": []}', {"1.out": b"{}", "2.out": json.dumps(report).encode()})
    probe = session.Probe(guest, "s")
    assert probe.start("wire")["families"] == ["ipv4"]
    probe.send((7, 9), [{"token": 7, "to": "10.0.0.1", "family": 4, "protocol": "tcp", "port": 1, "sport": 2, "wanted": False}])
    assert probe.collect((7, 9)) == report
    assert guest.written == {"1": "send 7 9\n7 10.0.0.1 4 tcp 1 2 0 - - - -\nend\n", "2": "report\nend\n", "3": "bye\nend\n"}


def test_what_is_told_is_understood():
    item = {
        "token": 7, "to": "fd00::1", "family": 6, "protocol": "dns", "port": 53, "sport": 2, "wanted": True, "via": "fd00::2",
        "dev": "eth0", "source": "fd00::3", "name": "www.lab",
    }  # fmt: skip
    assert probe_agent.decode(session.line_of(item)) == {**item, "wanted": 1}


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "a", ["x", {"y": None}], {"a": [1, 2.5, False]}])
def test_json_by_hand(value):
    assert json.loads(probe_agent.encode(value)) == value


def test_json_by_hand_has_no_control_characters():
    assert json.loads(probe_agent.encode('a"b\\c\nd\x1b')) == "a?b?c?d?"


@pytest.mark.parametrize("out", ["", "no", "[]", '{"port": 1}'])
def test_a_hostile_greeting(out):
    with pytest.raises(AgentNonsense):
        session.Probe(Guest(out), "s").start("wire")


def test_a_hostile_report():
    guest = Guest(files={"2.out": b'{"arrivals": 7}'})
    with pytest.raises(AgentNonsense):
        session.Probe(guest, "s").collect((1, 2))


def test_a_guest_that_never_answers(monkeypatch):
    monkeypatch.setattr(session, "ANSWER_S", 0.05)
    with pytest.raises(AgentSilent):
        session.Probe(Guest(), "s").send((1, 2), [])


def test_a_guest_without_python_says_so():
    with pytest.raises(CommandFailed) as caught:
        session.Probe(Guest(CommandFailed("guest-exec was refused: no such file")), "s").start("wire")
    assert "needs Python" in caught.value.cure


def test_other_failures_are_told_as_they_are():
    with pytest.raises(CommandFailed) as caught:
        session.Probe(Guest(CommandFailed("there is no such guest")), "s").start("wire")
    assert caught.value.problem == "there is no such guest"
