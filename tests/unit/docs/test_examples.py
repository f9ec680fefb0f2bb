# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pages show exists: options of modules, variables of roles, networks and guests, commands, links, pictures.

Options are looked at by Ansible's own ArgumentSpecValidator, networks and guests by the collection's own parsers, so a renamed
option fails here. Scenarios run the examples on hosts; this looks at all of them, in a second.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import re
import textwrap
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from module_specs import spec_of
from ansible_collections.virtnet.kvm.plugins.module_utils import argspec, models
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import spec as guest_spec

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("roles/*/README.md"),
        ROOT / "README.md",
        ROOT / "README.zh.md",
        ROOT / "CONTRIBUTING.md",
    ]
)
FENCE = re.compile(r"(?ms)^( *)```(\w*)[^\n]*\n(.*?)^ *```")
TEMPLATE = re.compile(r"\{\{")
ROLES = {path.parent.parent.name for path in ROOT.glob("roles/*/meta/argument_specs.yml")}
#: Variables that hold items of the data model, whosever they are, and the key under which they stand in the tests here.
NETWORKS = re.compile(r"(kvm|net_\w+|reachability|route_exchange)_networks|networks")
GUESTS = re.compile(r"(kvm_guests|guests_list|reachability_guests)")
#: Keys of an item that only playbooks read, so no parser knows them.
ANY = {"type": "raw"}
#: Variables of plays that are not a role's: what site.yml and the like read, by the roles that they call.
PLAYBOOKS = "\n".join(
    path.read_text(encoding="utf-8") for path in [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/**/*.yml")]
)


def pages_with(kind):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if page.is_file() and blocks(page, kind)]


def blocks(page, kind):
    text = page.read_text(encoding="utf-8")
    return [textwrap.dedent(body) for _indent, language, body in FENCE.findall(text) if language == kind]


@functools.cache
def role_spec(role, entry):
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return specs["argument_specs"][entry]["options"]


def filled(value, rule):
    """Return a value with something that fits in the place of each template."""
    if isinstance(value, str) and TEMPLATE.search(value):
        return sample(rule)
    if isinstance(value, dict) and rule.get("options"):
        return {key: filled(one, rule["options"].get(key, ANY)) for key, one in value.items()}
    if isinstance(value, list) and rule.get("elements"):
        return [filled(one, {**rule, "type": rule["elements"]}) for one in value]
    return value


def sample(rule):
    if rule.get("choices"):
        return rule["choices"][0]
    return {"list": [], "dict": {}, "bool": True, "int": 1, "path": "/tmp/one"}.get(rule.get("type", "str"), "text")


def validate(what, spec, rules, given):
    given = {key: filled(value, spec.get(key, ANY)) for key, value in given.items()}
    # It writes defaults into what it is given, the spec's own among it.
    found = ArgumentSpecValidator(copy.deepcopy(spec), **rules).validate(copy.deepcopy(given))
    assert not found.error_messages, f"{what}: {'; '.join(found.error_messages)}"


def templated(value):
    """Return whether there is a template anywhere in a value."""
    if isinstance(value, dict):
        return any(map(templated, value.values()))
    if isinstance(value, list):
        return any(map(templated, value))
    return isinstance(value, str) and bool(TEMPLATE.search(value))


def look_at_variables(what, given, model=None):
    """Networks and guests among some variables: as items, and by the parsers that take them."""
    for name, items in given.items():
        if not isinstance(items, list):
            continue
        if NETWORKS.fullmatch(name):
            for item in items:
                validate(f"{what}: {name}", argspec.network_options(), {}, item)
            whole = [{"model": model, **item} if model else item for item in items if not templated(item)]
            # What fleet_plan gives a network, it has not here.
            models.parse_networks([one for one in whole if one.get("model") and complete(one)], name)
        elif GUESTS.fullmatch(name):
            for item in items:
                validate(f"{what}: {name}", argspec.guest_options(), {}, item)
            guest_spec.parse_guests([item for item in items if not templated(item)], "kvm1")


def complete(item):
    serves = isinstance(item.get("dhcp"), dict) or item["model"] in ("routed", "nat")
    return item.get("addresses") or not serves


def look_at_role(what, call, given, model_of=re.compile(r"net_(\w+)")):
    role = call["name"].removeprefix("virtnet.kvm.")
    assert role in ROLES, f"{what}: there is no role {call['name']}"
    entry = call.get("tasks_from", "main")
    spec = role_spec(role, entry)
    mine = {key: value for key, value in given.items() if key.startswith(f"{role}_")}
    strange = {key for key in given if any(key.startswith(f"{one}_") for one in ROLES)} - set(mine)
    assert not strange, f"{what}: {sorted(strange)} of another role than {role}"
    validate(what, spec, {}, mine)
    model = model_of.fullmatch(role)
    if entry == "main":
        look_at_variables(what, mine, model and model[1])


def look_at_task(task):
    what = task.get("name", task)
    for key, value in task.items():
        name = re.fullmatch(r"virtnet\.kvm\.(\w+)", key)
        if name:
            assert (ROOT / "plugins" / "modules" / f"{name[1]}.py").is_file(), f"{what}: there is no module {key}"
            validate(what, *spec_of(name[1]), value or {})
        elif key in ("ansible.builtin.include_role", "ansible.builtin.import_role") and value["name"].startswith("virtnet."):
            look_at_role(what, value, task.get("vars", {}))
    for part in ("block", "rescue", "always"):
        for one in task.get(part, ()):
            look_at_task(one)


def look_at_play(play):
    look_at_variables(play.get("name"), play.get("vars", {}))
    for role in play.get("roles", ()):
        if role["role"].startswith("virtnet."):
            mine = {**play.get("vars", {}), **role.get("vars", {})}
            look_at_role(
                play["name"], {"name": role["role"]}, {key: one for key, one in mine.items() if not key.startswith("ansible_")}
            )
    for part in ("pre_tasks", "tasks", "post_tasks"):
        for task in play.get(part, ()):
            look_at_task(task)


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_yaml(page):
    for text in blocks(page, "yaml"):
        content = yaml.safe_load(text)
        if isinstance(content, dict):
            look_at_mapping(content)
            continue
        for one in content:
            if not isinstance(one, dict):
                continue
            if "hosts" in one or "ansible.builtin.import_playbook" in one:
                look_at_play(one)
            else:
                look_at_task(one)


def look_at_mapping(content):
    """Variables: of a role, whose spec knows them, or such that some playbook or role reads."""
    for name, value in content.items():
        role = next((one for one in sorted(ROLES, key=len, reverse=True) if name.startswith(f"{one}_")), None)
        if role:
            spec = role_spec(role, "main")
            assert name in spec, f"there is no variable {name} in the role {role}"
            validate(name, {name: spec[name]}, {}, {name: value})
        elif name.startswith(("kvm_", "verify_", "teardown_")):
            assert re.search(rf"\b{name}\b", PLAYBOOKS), f"no playbook or role reads {name}"
        model = re.fullmatch(r"net_(\w+)_networks", name)
        look_at_variables(name, {name: value}, model and model[1])


COMMANDS = sorted(
    {
        (page, line.split("  #")[0].removeprefix("$ ").strip())
        for page in PAGES
        if page.is_file()
        for kind in ("console", "shell")
        for text in blocks(page, kind)
        for line in text.splitlines()
        if re.match(r"(\$ )?(make|ansible-playbook|ansible-galaxy|\.build/\S+) ", line)
    }
    | {
        (page, command)
        for page in PAGES
        if page.is_file()
        for command in re.findall(r"`((?:make|ansible-playbook) [^`\n]*)`", page.read_text(encoding="utf-8"))
    }
)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "command"), [pytest.param(*one, id=f"{one[0].relative_to(ROOT)}: {one[1]}") for one in COMMANDS]
)
def test_a_command(page, command):
    program, *words = re.sub(r"'[^']*'", lambda quoted: quoted[0].replace(" ", "\0"), command).split()
    if program == "make":
        for word in words:
            name, equals, value = word.partition("=")
            if equals:
                assert re.search(rf"^{name} \?=", MAKEFILE, re.M) or name in ("SCENARIO", "KEEP"), f"the Makefile has no {name}"
                if name == "MODEL":
                    assert value == "all" or (ROOT / "playbooks" / f"{value}_lab.yml").is_file()
                if name == "ARGS":
                    look_at_variables_given(value.strip("'").replace("\0", " "))
            elif name != "…":
                assert re.search(rf"^{name}:", MAKEFILE, re.M), f"the Makefile has no target {name}"
    elif program == "ansible-playbook":
        for word in words:
            book = re.fullmatch(r"virtnet\.kvm\.([a-z_]+)", word)
            if book:
                assert (ROOT / "playbooks" / f"{book[1]}.yml").is_file(), f"there is no playbook {word}"
            elif word.startswith("playbooks/"):
                assert (ROOT / word).is_file()
            elif re.fullmatch(r"[\w-]+\.yml", word):
                assert any(f"# {word}\n" in text for text in blocks(page, "yaml")) or (ROOT / "playbooks" / word).is_file()
        look_at_variables_given(command)
        for tag in re.findall(r"--(?:skip-)?tags (\S+)", command):
            assert re.search(rf"tags: \[[^\]]*\b{tag}\b", PLAYBOOKS), f"no play has the tag {tag}"


def look_at_variables_given(text):
    for name in re.findall(r"(?:-e|--extra-vars) '?(?:\{\"?)?(\w+)", text):
        assert re.search(rf"\b{name}\b", PLAYBOOKS), f"no playbook or role reads {name}"


def anchors(path):
    """Return the anchors of a page's headings, as code-hosting sites and the documentation site make them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    found = set()
    for heading in re.findall(r"(?m)^#+ (.*)$", text):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).strip().replace(" ", "-")
        found.add(slug)
    return found


@pytest.mark.parametrize("page", [pytest.param(one, id=str(one.relative_to(ROOT))) for one in PAGES if one.is_file()])
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        name, dummy, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_file(), f"{target} leads nowhere"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{path.name} has no heading {anchor!r}"


def test_pictures_are_what_is_drawn():
    place = ROOT / "docs" / "pictures" / "draw.py"
    spec = importlib.util.spec_from_file_location("virtnet_draw", place)
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    drawn = draw.pictures()
    assert {path.name for path in place.parent.glob("*.svg")} == set(drawn)
    for name, text in drawn.items():
        assert (place.parent / name).read_text(encoding="utf-8") == text, f"{name}: run python3 docs/pictures/draw.py"


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("roles/*/README.md")]:
        name = str(page.relative_to(ROOT / "docs")) if page.is_relative_to(ROOT / "docs") else f"../{page.relative_to(ROOT)}"
        assert name == "index.md" or f"]({name})" in index, f"docs/index.md has no link to {name}"


@pytest.mark.parametrize(("page", "kinds"), [("docs/article", r"\w+"), ("README", "yaml|")])
def test_a_translation_has_the_same_code(page, kinds):
    """Text is translated, code is not; README's commands have comments, and are looked at as commands."""
    original, translated = (
        [(kind, body) for _indent, kind, body in FENCE.findall((ROOT / f"{page}{tail}").read_text(encoding="utf-8"))
         if re.fullmatch(kinds, kind)] for tail in (".md", ".zh.md")
    )  # fmt: skip
    assert translated == original
