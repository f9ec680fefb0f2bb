# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the pages of docs/models and docs/guides on the lab's hosts, as somebody does who copies them.

A block of YAML that begins with a comment of one word is a file of that name, for the commands that follow. Any other is a play,
or tasks (a play is put around them), or variables of a role net_* (an include is put around them), and is run twice, the second
time without a change. In blocks of commands those that begin with '$ ' are the host's, kvm1's; of the others ansible-playbook's
are run.
needs/<page>.yml says what a page takes for granted:
  leave_out: why the whole page is not run
  vars: variables for all of it
  before, after, last: tasks before it, after it, and after all that is ours is taken away
  blocks: {name of a block's first task or network: {leave_out: why, again: why its second run changes something}}
  commands: {a command: what is run instead, null for nothing}
"""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[2]
LAB = Path("/var/lib/virtnet-lab", os.environ.get("VIRTNET_TEST_LAB") or "mol")
PAGES = sorted([*ROOT.glob("docs/models/*.md"), *ROOT.glob("docs/guides/*.md"), ROOT / "docs" / "getting-started.md"])
PLAY = {"name": "Tasks of the page", "hosts": "kvm_hosts", "become": True, "gather_facts": False}


def blocks(page):
    """Return [(kind, text)] of a page's blocks of code."""
    text = page.read_text(encoding="utf-8")
    return [(kind, textwrap.dedent(body)) for _indent, kind, body in re.findall(r"(?ms)^( *)```(\w+)\n(.*?)^ *```", text)]


def needs(page):
    path = HERE / "needs" / f"{page.stem}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def plays_of(content):
    """Return a block's plays, or None if it is none of them."""
    if isinstance(content, dict):
        (variable, items), *more = content.items()
        role = re.fullmatch(r"(net_\w+?)_networks", variable)
        if not role or more:
            return None
        task = {"name": items[0]["name"], "ansible.builtin.include_role": {"name": f"virtnet.kvm.{role[1]}"}, "vars": content}
        return [{**PLAY, "tasks": [task]}]
    return content if "hosts" in content[0] else [{**PLAY, "tasks": content}]


def name_of(plays):
    return next((task["name"] for play in plays for task in play.get("tasks", ())), plays[0]["name"])


class Reader:
    """Somebody who does what a page says, in a folder with an inventory."""

    def __init__(self, folder, told):
        self.folder, self.told = folder, told
        (folder / "inventory" / "group_vars").mkdir(parents=True)
        (folder / "inventory" / "hosts.yml").symlink_to(LAB / (os.environ.get("VIRTNET_TEST_INVENTORY") or "inventory.yml"))
        (folder / "vars.yml").write_text(yaml.safe_dump(told.get("vars") or {}), encoding="utf-8")

    def command(self, *argv):
        """Run a command of ansible-playbook; return how many tasks changed something."""
        done = subprocess.run(
            ["ansible-playbook", *argv, "-e", f"@{self.folder}/vars.yml"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"ansible-playbook {' '.join(map(str, argv))}\n{said[-6000:]}"
        return sum(map(int, re.findall(r"(?m)^\S+\s+: ok=\d+\s+changed=(\d+)", done.stdout.rpartition("PLAY RECAP")[2])))

    def plays(self, plays):
        book = self.folder / "example.yml"
        book.write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
        return self.command("-i", "inventory", str(book))

    def tasks(self, tasks):
        if tasks:
            self.plays([{**PLAY, "tasks": tasks}])

    def yaml(self, text):
        title = re.match(r"# (\S+)\n", text)
        if title:
            path = self.folder / title[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        plays = plays_of(yaml.safe_load(text))
        assert plays is not None, f"a block of variables needs its file's name as its first line:\n{text}"
        setting = self.told.get("blocks", {}).get(name_of(plays), {})
        if "leave_out" in setting:
            return
        self.plays(plays)
        if "again" not in setting:
            assert self.plays(plays) == 0, f"the second run of '{name_of(plays)}' changed something"

    def console(self, text):
        instead = self.told.get("commands", {})
        for line in text.splitlines():
            command = re.sub(r"\s+#.*", "", line.removeprefix("$ ")).strip()
            command = instead.get(command, command)
            if command is None:
                continue
            if line.startswith("$ "):
                done = subprocess.run(
                    ["ssh", "-F", str(LAB / "ssh" / "config"), "kvm1", command], capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            elif command.startswith("ansible-playbook ") and " myhost, " not in command:
                self.command(*command.split()[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_as_it_stands(page, tmp_path):
    told = needs(page)
    if "leave_out" in told:
        pytest.skip(told["leave_out"])
    reader = Reader(tmp_path, told)
    try:
        reader.tasks(told.get("before"))
        for kind, text in blocks(page):
            if kind in ("yaml", "console"):
                getattr(reader, kind)(text)
            elif kind == "json":
                (tmp_path / "forwards.json").write_text(text, encoding="utf-8")
    finally:
        reader.tasks(told.get("after"))
        reader.command("-i", "inventory", "virtnet.kvm.teardown", "-e", "teardown_all=true")
        reader.tasks(told.get("last"))
    reader.command("-i", "inventory", str(HERE.parent / "playbooks" / "compare.yml"))


def test_needs_are_of_pages_that_are_there():
    known = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
    for path in (HERE / "needs").glob("*.yml"):
        assert path.stem in known
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name in [*told.get("blocks", {}), *told.get("commands", {})]:
            assert name in known[path.stem], f"{path.name}: the page does not have {name!r}"
