# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import types

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import agent


class LibvirtError(Exception):
    def __init__(self, code, text="no"):
        super().__init__(text)
        self.code, self.text = code, text

    def get_error_code(self):
        return self.code

    def get_error_message(self):
        return self.text


LIBVIRT = types.SimpleNamespace(
    libvirtError=LibvirtError, VIR_ERR_NO_DOMAIN=42, VIR_ERR_OPERATION_INVALID=55, VIR_ERR_AGENT_UNRESPONSIVE=86,
    VIR_ERR_AGENT_UNSYNCED=97, VIR_ERR_OPERATION_TIMEOUT=68,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _libvirt(monkeypatch):
    monkeypatch.setattr(agent, "libvirt", LIBVIRT)


class Guest:
    """A guest whose agent gives the answers of a list, exceptions among them."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def lookupByName(self, name):  # libvirt's name
        return name

    def command(self, _domain, text, timeout, _flags):
        self.asked.append(json.loads(text))
        assert isinstance(timeout, int)
        assert timeout > 0
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else json.dumps({"return": answer})

    def agent(self):
        return agent.Agent(self, "vm0", self.command)


def b64(data):
    return base64.b64encode(data).decode()


def test_run():
    ended = {"exited": True, "exitcode": 3, "out-data": b64(b"a\xff"), "err-data": b64(b"b")}
    guest = Guest({"pid": 7}, {"exited": False}, ended)
    result = guest.agent().run("/bin/x", ["-y", 1], data="in", env=["A=b"])
    assert (result.rc, result.out, result.err, result.truncated) == (3, b"a\xff", b"b", False)
    assert result.text == "a\\xff"
    arguments = guest.asked[0]["arguments"]
    assert arguments["arg"] == ["-y", "1"]
    assert base64.b64decode(arguments["input-data"]) == b"in"
    assert guest.asked[1] == {"execute": "guest-exec-status", "arguments": {"pid": 7}}


def test_a_signal_is_a_return_code():
    assert Guest({"pid": 7}, {"exited": True, "signal": 9}).agent().run("/bin/x").rc == 137


def test_what_takes_too_long_is_killed():
    guest = Guest({"pid": 7}, {"exited": False}, {"pid": 8})
    with pytest.raises(agent.AgentSilent, match="within 0 s"):
        guest.agent().run("/bin/sleep", ["99"], timeout_s=0)
    assert guest.asked[-1]["arguments"]["arg"] == ["-9", "7"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (42, CommandFailed), (55, agent.GuestOff), (86, agent.AgentSilent), (97, agent.AgentSilent),
        (68, agent.AgentSilent), (1, CommandFailed),
    ],
)
def test_libvirts_errors(code, kind):
    with pytest.raises(CommandFailed) as error:
        Guest(LibvirtError(code)).agent().ping()
    assert error.type is kind
    assert error.value.subject == "vm0"


def test_wait_goes_on_while_silent_and_stops_when_off():
    assert Guest(LibvirtError(86), LibvirtError(86), {}).agent().wait(5) < 5
    with pytest.raises(agent.GuestOff):
        Guest(LibvirtError(86), LibvirtError(55)).agent().wait(5)
    with pytest.raises(agent.AgentSilent):
        Guest(LibvirtError(86)).agent().wait(0)


@pytest.mark.parametrize(
    "answer",
    [
        "", "[]", "{}", "null", "{" * 100000, "not json",
        json.dumps({"return": None}), json.dumps({"return": {"pid": "7"}}), json.dumps({"return": {"pid": True}}),
        json.dumps({"return": {"pid": -1}}), json.dumps({"return": {"pid": 1 << 80}}), json.dumps({"return": [7]}),
    ],
)  # fmt: skip
def test_nonsense_for_a_process_number(answer):
    with pytest.raises(agent.AgentNonsense):
        Guest(answer).agent().start("/bin/x")


@pytest.mark.parametrize(
    "answer",
    [
        [], {}, {"exited": 1}, {"exited": True, "exitcode": "0"}, {"exited": True, "out-data": 5},
        {"exited": True, "out-data": "***"}, {"exited": True, "signal": None},
    ],
)  # fmt: skip
def test_nonsense_for_a_result(answer):
    with pytest.raises(agent.AgentNonsense):
        Guest(answer).agent().status(7)


def test_output_is_bounded():
    answer = {"exited": True, "out-data": b64(b"x" * (agent.OUTPUT_MAX + 10))}
    result = Guest(answer).agent().status(7)
    assert len(result.out) == agent.OUTPUT_MAX
    assert result.truncated
    with pytest.raises(agent.AgentNonsense):
        Guest({"exited": True, "out-data": "A" * (agent.OUTPUT_MAX * 2 + 4)}).agent().status(7)


def test_interfaces():
    answer = [
        {"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": []},
        {
            "name": "eth0", "hardware-address": "52:54:00:AA:00:01",
            "ip-addresses": [
                {"ip-address": "10.0.0.2", "ip-address-type": "ipv4", "prefix": 24},
                {"ip-address": "FE80::1", "ip-address-type": "ipv6", "prefix": 64},
            ],
        },
        {"name": "sit0"},
        {"name": "eth1", "hardware-address": "52:54:00:aa:00:02"},
    ]  # fmt: skip
    assert Guest(answer).agent().interfaces() == [
        {"name": "eth0", "mac": "52:54:00:aa:00:01", "addresses": ["10.0.0.2/24", "fe80::1/64"]},
        {"name": "eth1", "mac": "52:54:00:aa:00:02", "addresses": []},
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {}, [1], [{}] * 1000, [{"ip-addresses": 5, "hardware-address": "52:54:00:aa:00:01"}],
        [{"hardware-address": "52:54:00:aa:00:01", "ip-addresses": [{"ip-address": "x", "prefix": 1}]}],
        [{"hardware-address": "52:54:00:aa:00:01", "ip-addresses": [{"ip-address": "10.0.0.1", "prefix": 99}]}],
        [{"hardware-address": "52:54:00:aa:00:01", "ip-addresses": [7]}],
    ],
)  # fmt: skip
def test_nonsense_for_interfaces(answer):
    with pytest.raises(agent.AgentNonsense):
        Guest(answer).agent().interfaces()


def test_files():
    size = agent.CHUNK + 5
    guest = Guest(3, {"count": agent.CHUNK}, {"count": 5}, {})
    guest.agent().write_file("/tmp/x", b"y" * size)
    assert [one["execute"].rpartition("-")[2] for one in guest.asked] == ["open", "write", "write", "close"]
    guest = Guest(3, {"buf-b64": b64(b"ab"), "eof": False}, {"buf-b64": b64(b"c"), "eof": True}, {})
    assert guest.agent().read_file("/tmp/x") == b"abc"
    guest = Guest(3, {"count": 0}, {})
    with pytest.raises(agent.AgentNonsense):
        guest.agent().write_file("/tmp/x", "text")


def test_in_parallel():
    def fail():
        raise CommandFailed("no")

    results = agent.in_parallel({"a": lambda: 1, "b": fail})
    assert results["a"] == 1
    assert isinstance(results["b"], CommandFailed)
    assert agent.in_parallel({}) == {}
    with pytest.raises(ZeroDivisionError):
        agent.in_parallel({"a": lambda: 1 // 0})
