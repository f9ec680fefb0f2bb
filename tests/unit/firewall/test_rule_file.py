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
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import rule_file

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
