# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option src: a file means what the same list under rules means."""

from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtnet.kvm.plugins.action import nat_rule
from ansible_collections.virtnet.kvm.plugins.module_utils.argspec import rule_options
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries, rule_file
from hypothesis import given
from hypothesis import strategies as st

RULES = [
    {"name": "a", "type": "dnat", "listen": {"ports": 8080}, "to": {"address": "10.9.0.5", "ports": "80"}, "sources": []},
    {"name": "b", "type": "masquerade", "source": "10.9.0.0/24", "literal": True, "interface": None},
    {"name": "c", "state": "absent"},
    {"name": "d", "type": "npt", "source": "fd00::/64", "to": {"subnet": "2001:db8::/64"}, "hairpin": False},
    {"name": "e", "type": "dnat", "protocol": "both", "listen": {"ports": "1-2"}, "to": {}, "sources": ["10.0.0.0/8"]},
]


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_a_file_is_what_ansible_makes_of_the_same_rules(write):
    spec = {"rules": {"type": "list", "elements": "dict", "options": rule_options()}}
    result = ArgumentSpecValidator(spec).validate({"rules": RULES})
    assert result.error_messages == []
    assert rule_file.items(nat_rule.as_json(write(RULES)), "src") == result.validated_parameters["rules"]


@pytest.mark.parametrize(
    ("text", "option", "message"),
    [
        ("[", "src", "not JSON"),
        ("{}", "src", "no list"),
        ('["a"]', "src[0]", "no dictionary"),
        ('[{"name": "a"}, {"state": "absent"}]', "src[1].name", "no name"),
        ('[{"name": "a", "state": "gone"}]', "src[0].state", "present, absent"),
        ('[{"name": "a", "type": "other"}]', "src[0].type", "one_to_one"),
        ('[{"name": "a", "port": 1}]', "src[0].port", "no option port"),
        ('[{"name": "a", "listen": {"port": 1}}]', "src[0].listen.port", "no option port"),
        ('[{"name": "a", "listen": "80"}]', "src[0].listen", "no dictionary"),
        ('[{"name": "a", "sources": "10.0.0.0/8"}]', "src[0].sources", "a list"),
        ('[{"name": "a", "hairpin": "no"}]', "src[0].hairpin", "true or false"),
        ('[{"name": "a", "source": true}]', "src[0].source", "text"),
        ('[{"name": "a", "source": 1.5}]', "src[0].source", "text"),
    ],
)
def test_what_no_rule_is(text, option, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        rule_file.items(text, "src")
    assert caught.value.option == option


def test_what_is_neither_json_nor_yaml():
    with pytest.raises(yaml.YAMLError):
        nat_rule.as_json("[a: {")
    with pytest.raises(TypeError):
        nat_rule.as_json("- 2026-11-26")


PLAIN = {
    "name": "f1", "type": "dnat", "protocol": "tcp", "listen": {"ports": "8080"}, "to": {"address": "10.9.0.5", "ports": "80"},
}  # fmt: skip
ODD = st.sampled_from([
    None, True, 0, 80, 80.0, "", " 80", "80 ", "080", "0", "65535", "65536", "99999", "80-80", "80-90", "8\u0660",
    "tcp", "both", "icmp", "10.9.0.5", "010.9.0.5", "10.9.0.256", "10.9.0", "0.0.0.0", "fd00::1", "10.9.0.5\n",
    "a b", "f1", "-f", "f" * 51, [], ["80"], {}, {"ports": "80"}, {"address": "10.9.0.5", "ports": "80"},
    {"guest": "vm0", "ports": "80"}, {"ports": "80", "interface": "eth0"},
])  # fmt: skip


@st.composite
def nearly_plain(draw):
    """A plain forward in which up to two things are odd, or there, or not."""
    row = json.loads(json.dumps(PLAIN))
    for _again in range(draw(st.integers(0, 2))):
        place = draw(st.sampled_from([row, *(one for one in row.values() if isinstance(one, dict))]))
        key = draw(st.sampled_from([*PLAIN, "ports", "address", "guest", "interface", "network", "sources", "state", "hairpin"]))
        if draw(st.booleans()):
            place[key] = draw(ODD)
        else:
            place.pop(key, None)
    return row


@given(nearly_plain())
def test_the_short_way_for_plain_forwards_is_the_long_one(row):
    short = entries.plain_forward(row)
    if short is not None:
        whole = rule_file._item(row, rule_file._SPEC, "src[0]", None)
        assert entries.plain_forward(whole) is None and entries.parse_rule(whole, "src[0]", {}) == short
    else:
        # It is only for what is simple, but all that is simple.
        assert row != {**PLAIN, "protocol": row.get("protocol")} or row["protocol"] not in ("tcp", "udp", "both")


def test_plain_forwards_take_the_short_way():
    for more in ({}, {"protocol": "both"}, {"name": "a.b+c"}):
        assert entries.plain_forward({**PLAIN, **more}) == entries.parse_rule(
            rule_file._item({**PLAIN, **more}, rule_file._SPEC, "src[0]", None), "src[0]", {}
        )
    other = {"to": {"address": "fd00::5", "ports": "80"}}
    for number in ("0", "65536", "99999"):
        assert entries.plain_forward({**PLAIN, "listen": {"ports": number}}) is None
        assert entries.plain_forward({**PLAIN, "to": {"address": "10.9.0.5", "ports": number}}) is None
    for more in ({"state": "present"}, {"listen": {"ports": 8080}}, other, {"sources": []}, {"name": 5}):
        assert entries.plain_forward({**PLAIN, **more}) is None
