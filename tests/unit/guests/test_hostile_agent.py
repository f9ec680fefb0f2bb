# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guest agents that answer whatever they like: each call ends, with a value of the kind that is expected or one error of ours."""

from __future__ import annotations

import ipaddress
import json
from types import SimpleNamespace

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import agent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CONNECTION = SimpleNamespace(lookupByName=lambda name: name)
WORDS = (
    "return", "error", "pid", "exited", "exitcode", "signal", "out-data", "err-data", "out-truncated", "handle", "count",
    "buf-b64", "eof", "name", "hardware-address", "ip-addresses", "ip-address", "ip-address-type", "prefix",
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(("52:54:00:00:00:01", "10.0.0.2", "fe80::1%eth0", "fe80::1", "AAAA", "=", "999", "24", "eth0", "lo")),
    st.sampled_from((24, 128, -1, 2**70)),
)  # fmt: skip
ANSWERS = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)),
    max_leaves=20,
)  # fmt: skip
#: What is nearly as it should be, for each command.
NEARLY = {
    "guest-exec": st.fixed_dictionaries({"pid": SCALARS}),
    "guest-exec-status": st.fixed_dictionaries(
        {"exited": st.sampled_from((True, True, True, 1, "yes", None))},
        optional=dict.fromkeys(("exitcode", "signal", "out-data", "err-data", "out-truncated", "err-truncated"), SCALARS),
    ),
    "guest-file-open": SCALARS,
    "guest-file-write": st.fixed_dictionaries({"count": SCALARS}),
    "guest-file-read": st.fixed_dictionaries({}, optional={"buf-b64": SCALARS, "eof": SCALARS, "count": SCALARS}),
    "guest-network-get-interfaces": st.lists(
        st.fixed_dictionaries(
            {"name": SCALARS, "hardware-address": st.sampled_from(("52:54:00:00:00:01", "x", None))},
            optional={"ip-addresses": st.lists(st.fixed_dictionaries({"ip-address": SCALARS, "prefix": SCALARS}), max_size=3)},
        ),
        max_size=3,
    ),
}  # fmt: skip


class Liar(agent.Agent):
    """An agent whose answers come from a strategy; one that never comes to an end answers no more."""

    def __init__(self, data):
        self.calls = 0

        def command(_domain, text, _seconds, _flags):
            self.calls += 1
            assert self.calls < 100, "it asks on and on"
            execute = json.loads(text)["execute"]
            if data.draw(st.integers(0, 9)) == 0:
                ends = ("[" * 5000, '{"return": ' * 3000, "NaN", "")
                return data.draw(st.one_of(st.text(max_size=20), st.sampled_from(ends)))
            return json.dumps({"return": data.draw(st.one_of(NEARLY.get(execute, ANSWERS), ANSWERS))})

        super().__init__(CONNECTION, "vm0", command)


@pytest.fixture
def no_pauses(monkeypatch):
    """Time flies: a wait for a command that does not end takes none."""
    clock = iter(range(10**6))
    monkeypatch.setattr(agent.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(agent.time, "sleep", lambda seconds: None)


CALLS = {
    "interfaces": lambda one: one.interfaces(),
    "run": lambda one: one.run("/bin/true", timeout_s=5),
    "write_file": lambda one: one.write_file("/tmp/x", b"0123456789"),
    "read_file": lambda one: one.read_file("/tmp/x", 100),
    "ping": lambda one: one.ping(),
}
HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=150, deadline=None, suppress_health_check=HEALTH, derandomize=True)
@given(data=st.data())
def test_whatever_it_answers(no_pauses, call, data):
    try:
        found = CALLS[call](Liar(data))
    except VirtnetError:
        return
    if call == "interfaces":
        for link in found:
            assert agent.MAC.match(link["mac"]) and len(link["name"]) <= 64
            assert all(str(ipaddress.ip_interface(one)) == one for one in link["addresses"])
    elif call == "run":
        assert isinstance(found.rc, int) and isinstance(found.out, bytes) and isinstance(found.text, str)
    elif call == "read_file":
        assert isinstance(found, bytes) and len(found) <= 100


@pytest.mark.parametrize("prefix", ["1e999", "-1e999", "NaN", "1e300", "24.9", "null", "[]", '"24"', "9" * 400])
def test_a_prefix_that_is_no_number(prefix):
    address = f'{{"ip-address": "10.0.0.2", "prefix": {prefix}}}'
    link = f'{{"name": "eth0", "hardware-address": "52:54:00:00:00:01", "ip-addresses": [{address}]}}'
    liar = agent.Agent(CONNECTION, "vm0", lambda *_: f'{{"return": [{link}]}}')
    if prefix in ("24.9", '"24"'):
        assert liar.interfaces()[0]["addresses"] == ["10.0.0.2/24"]
    else:
        with pytest.raises(agent.AgentNonsense):
            liar.interfaces()
