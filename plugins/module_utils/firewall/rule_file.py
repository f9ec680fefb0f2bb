# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules of nat_rule from a file: the same options as in a task, checked without Ansible, which takes seconds for many. Pure."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.virtnet.kvm.plugins.module_utils.argspec import rule_options
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries

_WORDS = {"str": "text", "bool": "true or false", "list": "a list of texts", "dict": "a dictionary"}


class _Spec:
    """Options of a dictionary: C(rules) of each, and what is made of them once, for thousands of rules ask for it."""

    def __init__(self, options: dict[str, dict[str, Any]]):
        self.rules = {
            key: {**rule, "options": _Spec(rule["options"])} if "options" in rule else rule for key, rule in options.items()
        }
        self.defaults = {key: rule.get("default") for key, rule in options.items()}
        self.required = [key for key, rule in options.items() if rule.get("required")]
        #: Options that take any text.
        self.texts = {key for key, rule in options.items() if rule["type"] == "str" and "choices" not in rule}
        self.known = ", ".join(options)


_SPEC = _Spec(rule_options())


def items(text, option):
    """Return the rules in the text of a file, as the option C(rules) would have them; JSON, for the controller reads YAML.

    Of those that entries.plain_forward() knows nothing is looked at here, and no default is added.
    """
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"the file is not JSON: {error}", None, option, "Write a list of rules.") from error
    if not isinstance(rows, list):
        raise InvalidInput("the file holds no list", None, option, "Write a list of rules.")
    return [
        row if entries.plain_forward(row) is not None else _item(row, _SPEC, f"{option}[{number}]", None)
        for number, row in enumerate(rows)
    ]


def _item(row, spec, path, subject):
    if not isinstance(row, dict):
        raise InvalidInput("this is no dictionary", subject, path, f"Give {spec.known}.")
    if subject is None and isinstance(row.get("name"), str):
        subject = row["name"]
    found = dict(spec.defaults)
    for key, value in row.items():
        if key not in found:
            raise InvalidInput(f"there is no option {key}", subject, f"{path}.{key}", f"Use {spec.known}.")
        if value is not None:
            text = key in spec.texts and isinstance(value, str)
            found[key] = value if text else _value(value, spec.rules[key], path, key, subject)
    for key in spec.required:
        if found[key] is None:
            raise InvalidInput(f"there is no {key}", subject, f"{path}.{key}", "Give it.")
    return found


def _value(value, rule, path, key, subject):
    kind, path = rule["type"], f"{path}.{key}"
    if kind == "str":
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # a port
        if isinstance(value, str):
            if value in rule.get("choices", (value,)):
                return value
            raise InvalidInput(f"{value!r} is not one of the choices", subject, path, f"Use {', '.join(rule['choices'])}.")
    elif kind == "bool":
        if isinstance(value, bool):
            return value
    elif kind == "dict":
        return _item(value, rule["options"], path, subject)
    elif isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise InvalidInput(f"{value!r} is not {_WORDS[kind]}", subject, path, f"Give {_WORDS[kind]}.")
