# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the YAML blocks of each role's README on the lab's hosts, as somebody does who copies them.

A block is a play, or tasks (a play is put around them). needs/<role>.yml says what a README takes for granted:
  leave_out: why the whole README is not run
  vars: variables for `before` and `after`
  before, after: tasks around all of its examples
  blocks: {name of a block's first task, else of its play: {leave_out: why, vars: variables of its run}}
"""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import controller_tools
import pytest
import yaml

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[2]
FOLDER = Path(os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY", "."))
LAB = Path("/var/lib/virtnet-lab", os.environ.get("VIRTNET_TEST_LAB") or "mol")
ROLES = sorted(path.parent.name for path in ROOT.glob("roles/*/README.md"))


class Block:
    def __init__(self, text):
        content = yaml.safe_load(text)
        self.plays = content if isinstance(content, list) else None
        if self.plays and "hosts" not in self.plays[0]:
            self.plays = [{"name": "Tasks of the README", "hosts": "kvm_hosts", "become": True, "gather_facts": False,
                           "tasks": self.plays}]

    @property
    def name(self):
        return next((task["name"] for play in self.plays for task in play.get("tasks", ())), self.plays[0]["name"])

    @property
    def removes(self):
        tasks = [task for play in self.plays for task in play.get("tasks", ())]
        return any((task.get(f"ansible.builtin.{how}_role") or {}).get("tasks_from") == "absent"
                   for task in tasks for how in ("include", "import"))


def blocks(role):
    text = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    found = [Block(textwrap.dedent(body)) for _indent, body in re.findall(r"(?ms)^( *)```yaml\n(.*?)^ *```", text)]
    return [block for block in found if block.plays]


def needs(role):
    path = HERE / "needs" / f"{role}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


class Runner:
    def __init__(self, folder):
        self.folder = folder
        # A reader has a key of this name; here it is the lab's.
        (folder / ".ssh").mkdir()
        (folder / ".ssh" / "id_ed25519.pub").write_bytes((LAB / "ssh" / "id_ed25519.pub").read_bytes())

    def __call__(self, plays, variables=None):
        """Run plays, or a playbook's path; return how many tasks changed something."""
        book = plays
        if not isinstance(plays, Path):
            book = self.folder / "example.yml"
            book.write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
        extra = self.folder / "vars.yml"
        extra.write_text(yaml.safe_dump(variables or {}), encoding="utf-8")
        done = subprocess.run(
            ["ansible-playbook", "-i", LAB / "inventory.yml", book, "-e", f"@{extra}"], cwd=self.folder,
            capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(self.folder)},
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        found = re.findall(r"^\S+\s+: ok=\d+\s+changed=(\d+)", done.stdout.rpartition("PLAY RECAP")[2], flags=re.MULTILINE)
        assert found, done.stdout
        return sum(map(int, found))

    def tasks(self, tasks, variables):
        if tasks:
            play = {"name": "What the README takes for granted", "hosts": "kvm_hosts", "become": True, "gather_facts": False}
            self([{**play, "tasks": tasks}], variables)


@pytest.fixture
def run(tmp_path):
    return Runner(tmp_path)


@pytest.mark.parametrize("role", ROLES)
def test_the_readmes_examples(role, run):
    told = needs(role)
    if "leave_out" in told:
        pytest.skip(told["leave_out"])
    if role == "topology":
        controller_tools.install_graphviz()
    examples, settings = blocks(role), told.get("blocks", {})
    assert examples, "a README needs an example"
    assert set(settings) <= {block.name for block in examples}, "needs has blocks that the README has not"
    examples = [block for block in examples if "leave_out" not in settings.get(block.name, {})]
    try:
        run.tasks(told.get("before"), told.get("vars"))
        # All that is set up, then all that is removed, whatever their order in the text.
        for block in sorted(examples, key=lambda one: one.removes):
            variables = settings.get(block.name, {}).get("vars")
            run(block.plays, variables)
            assert run(block.plays, variables) == 0, f"the second run of '{block.name}' changed something"
    finally:
        run.tasks(told.get("after"), told.get("vars"))
    run(HERE.parent / "playbooks" / "compare.yml")


def test_needs_are_of_roles_that_are_there():
    assert {path.stem for path in (HERE / "needs").glob("*.yml")} <= set(ROLES)
