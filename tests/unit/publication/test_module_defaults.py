# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The groups of module_defaults: every module is in one, and gets what is set for it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
GROUPS = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]


#: What each module cannot do without.
REQUIRED = {
    "guest_nic": {"nics": []},
    "guest_vm": {"guests": []},
    "host_bridge": {"bridges": []},
    "host_iface": {"interfaces": []},
    "nat_rule": {"set": "nothing", "rules": []},
    "net_plan": {"networks": [], "set": "nothing"},
    "net_policy": {"networks": []},
    "tap_iface": {"taps": []},
    "virt_net_model": {"networks": []},
    "vxlan_iface": {"vxlans": []},
}


def documentation(path, name):
    """Return a DOCUMENTATION of a plugin's file, as data."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{path} has no {name}")


def options_of(module):
    """Return the names of a module's options, its fragments' as well."""
    own = documentation(ROOT / "plugins/modules" / f"{module}.py", "DOCUMENTATION")
    found = set(own.get("options") or {})
    for full in own.get("extends_documentation_fragment") or ():
        file, _dot, part = full.removeprefix("virtnet.kvm.").partition(".")
        found |= set(documentation(ROOT / f"plugins/doc_fragments/{file}.py", (part or "documentation").upper())["options"] or {})
    return found


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """{(group, module): what it said} of a play whose module_defaults have an option for each group that no module knows."""
    folder = tmp_path_factory.mktemp("defaults")
    plays = [
        {
            "hosts": "localhost", "gather_facts": False, "connection": "local",
            "module_defaults": {f"group/virtnet.kvm.{group}": {f"set_for_{group}": True}},
            "tasks": [
                {
                    "name": f"{group} {module}", f"virtnet.kvm.{module}": REQUIRED.get(module, {}),
                    "ignore_errors": True, "check_mode": True,
                }
                for module in members
            ],
        }
        for group, members in GROUPS.items()
    ]  # fmt: skip
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    collections = next(one for one in sys.path if (Path(one) / "ansible_collections/virtnet/kvm").is_dir())
    env = {
        **os.environ, "ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"), "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_REMOTE_TEMP": str(folder / "remote"), "HOME": str(folder),
    }  # fmt: skip
    program = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = [program, "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}", folder / "play.yml"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=folder)
    said = {}
    for part in done.stdout.split("TASK [")[1:]:
        title, _bracket, text = part.partition("]")
        said[tuple(title.split())] = text
    return said


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_in_the_group_of_all(module, refused):
    assert module in GROUPS["kvm"]
    assert "set_for_kvm" in refused["kvm", module]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "module"), [(group, module) for group in GROUPS if group != "kvm" for module in GROUPS[group]])
def test_every_group_reaches_its_modules(group, module, refused):
    assert f"set_for_{group}" in refused[group, module]


def test_the_group_of_all_has_all():
    assert GROUPS["kvm"] == sorted(GROUPS["kvm"]) == MODULES


@pytest.mark.parametrize(("group", "options"), [("libvirt", {"uri"}), ("guarded", {"confirm", "confirm_timeout"})])
def test_the_modules_of_a_group_share_what_it_is_for(group, options):
    """Else a default for the group would be an unknown option for one of them."""
    assert {module for module in MODULES if options & options_of(module)} == set(GROUPS[group])
    for module in GROUPS[group]:
        assert options <= options_of(module), module
