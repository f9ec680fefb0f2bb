# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each variable of each role: refused by its name when it is not what it should be, before the role's first task.

Ansible holds them against meta/argument_specs.yml. So each must stand there, with the default that it really has, and with so
narrow a type that a wrong value is no right one.
"""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.parent.parent.name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
#: A wrong value of each type that can have one: any value is a text.
WRONG = {"list": [{"a": 1}], "dict": ["a"], "bool": ["maybe", 7], "int": ["many", 1.5, [1]], "float": ["much", {}]}
#: One name, or a list of them.
RAW = {"route_exchange_peers"}


@functools.cache
def entries(role):
    """The argument specs of a role by their entry point, which is a file in tasks."""
    return load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def options(found, path=()):
    """Yield each option, however deep, with the names that lead to it."""
    for name, rule in found.items():
        yield (*path, name), rule
        yield from options(rule.get("options", {}), (*path, name))


def all_options():
    for role in ROLES:
        for entry, spec in entries(role).items():
            for path, rule in options(spec.get("options", {})):
                yield pytest.param(role, entry, path, rule, id=f"{role}-{entry}-{'.'.join(path)}")


def wrong_values(rule):
    """Values that an option must refuse."""
    kind = rule.get("type", "str")
    if rule.get("choices"):
        yield ["nonsense"] if kind == "list" else "nonsense"
    elif kind == "list":
        yield from WRONG["list"] if rule["elements"] not in ("dict", "str", "path") else ()
        if rule["elements"] == "dict":
            yield [7]
            yield ["a"]
        elif rule["elements"] in ("str", "path"):
            yield {"a": 1}
    else:
        yield from WRONG.get(kind, ())
    if rule.get("options"):
        unknown = {"no_such_key": 1}
        yield [unknown] if kind == "list" else unknown


def given(role, entry, path, value):
    """What a role is given where one option, however deep, has this value and all around it is right."""
    found = entries(role)[entry]["options"]
    rules = []
    for name in path:
        rules.append(found[name])
        found = found[name].get("options", {})
    for place in range(len(path) - 1, 0, -1):
        outer = rules[place - 1]
        value = {**required(outer["options"], path[place]), path[place]: value}
        value = [value] if outer["type"] == "list" else value
    return {**required(entries(role)[entry]["options"], path[0]), path[0]: value}


def required(found, but):
    samples = {"list": [], "dict": {}, "int": 1, "bool": True, "float": 1.0}
    return {
        name: rule["choices"][0] if rule.get("choices") else samples.get(rule.get("type", "str"), "one")
        for name, rule in found.items()
        if rule.get("required") and name != but
    }


def complaints(role, entry, variables):
    """What Ansible says before the role's first task."""
    spec = copy.deepcopy(entries(role)[entry]["options"])
    return ArgumentSpecValidator(spec).validate(copy.deepcopy(variables)).error_messages


@pytest.mark.parametrize(("role", "entry", "path", "rule"), list(all_options()))
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(role, entry, path, rule):
    assert rule["description"], path
    assert rule.get("type"), f"{path} takes anything"
    assert rule["type"] != "raw" or path[-1] in RAW, f"{path} takes anything"
    if rule["type"] == "list":
        assert rule.get("elements"), f"{path} takes anything"
    for value in wrong_values(rule):
        told = "; ".join(complaints(role, entry, given(role, entry, path, value)))
        assert re.search(rf"\b{path[-1]}\b", told), (value, told)
        # Of a wrong choice, the right ones; of an unknown key, the known.
        assert all(str(choice) in told for choice in rule.get("choices", ())), told
        assert "no_such_key" not in str(value) or all(name in told for name in rule["options"]), told


@pytest.mark.parametrize("role", ROLES)
def test_what_is_said_of_a_variable_is_so(role):
    """Defaults are those that the role has, and there is no variable of which nothing is said."""
    defaults = load(ROOT / "roles" / role / "defaults" / "main.yml")
    said = {name: rule for spec in entries(role).values() for name, rule in spec.get("options", {}).items()}
    tasks = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "roles" / role / "tasks").glob("*.yml"))
    assert set(defaults) <= set(said)
    for name, rule in said.items():
        if name not in defaults:
            assert rule.get("required") or f"{name} | default(omit)" in tasks, f"{name} has no default"
        elif "default" in rule:
            assert defaults[name] == rule["default"], name
        else:
            described = "default" in str(rule["description"]) or defaults[name] in (None, [], {}, "")
            assert described, f"{name}: its default is said nowhere"


@pytest.mark.parametrize("role", ROLES)
def test_each_entry_point_checks_its_variables(role):
    """A file of tasks that a playbook or a page names is an entry point, whose variables Ansible looks at."""
    places = ("playbooks/**/*.yml", "docs/**/*.md", "roles/*/*.md")
    texts = [path.read_text(encoding="utf-8") for place in places for path in ROOT.glob(place)]
    call = re.compile(rf"name: virtnet\.kvm\.{role}\n *tasks_from: (\w+)")
    called = {entry for text in texts for entry in call.findall(text)}
    assert called or "absent" not in entries(role), "nobody calls it"
    files = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert set(entries(role)) <= files
    assert called <= set(entries(role)), f"{called - set(entries(role))} check nothing"
