# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may import whom: KIND says what each file of module_utils is, and the tests hold that.

Imports point one way: modules -> rooms -> engine -> ground. The engine knows a room by its base class only.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
UTILS = PLUGINS / "module_utils"
OURS = "ansible_collections.virtnet.kvm.plugins.module_utils"

#: What each file is. A new file needs a line here.
#: pure: the same arguments give the same result; no file, process, clock, socket, daemon, and no object that leads to one.
#: effects: looks at the host or changes it; raises errors.py, knows nothing of Ansible.
#: ansible: takes Ansible's module object.
KIND = {
    # The ground that all stand on.
    "argspec": "pure",
    "bandwidth_xml": "pure",
    "columns": "pure",
    "contract": "pure",
    "daemon": "effects",
    "errors": "pure",
    "files": "effects",
    "host": "effects",
    "libvirt_files": "effects",
    "model_checks": "pure",
    "model_ports": "pure",
    "model_services": "pure",
    "model_stretch": "pure",
    "models": "pure",
    "names": "pure",
    "outage": "pure",
    "plan": "pure",
    "safety/guard": "effects",
    "safety/guard_text": "pure",
    "safety/journal": "effects",
    "values": "pure",
    # Ansible's module comes in here and its result goes out.
    "deps": "ansible",
    "engine": "ansible",
    "module": "ansible",
    "options": "ansible",
    # Rooms.
    "bgp/exchange": "pure",
    "bgp/frr": "effects",
    "bgp/frr_text": "pure",
    "bgp/room": "effects",
    "bgp/speaker": "pure",
    "explain/capture": "effects",
    "explain/facts": "effects",
    "explain/owners": "pure",
    "explain/part": "pure",
    "explain/report": "pure",
    "explain/resolve": "pure",
    "explain/seen": "pure",
    "explain/static": "pure",
    "explain/steps": "effects",
    "explain/trace_text": "pure",
    "explain/walk": "pure",
    "firewall/boot": "effects",
    "firewall/conversations": "effects",
    "firewall/drift": "pure",
    "firewall/drops": "pure",
    "firewall/entries": "pure",
    "firewall/generation": "effects",
    "firewall/known_sets": "effects",
    "firewall/foreign/firewalld": "effects",
    "firewall/foreign/firewalld_text": "pure",
    "firewall/foreign/needs": "pure",
    "firewall/foreign/nft_chains": "effects",
    "firewall/foreign/nft_text": "pure",
    "firewall/foreign/openings": "effects",
    "firewall/foreign/room": "effects",
    "firewall/foreign/xtables": "effects",
    "firewall/foreign/xtables_text": "pure",
    "firewall/iptables": "effects",
    "firewall/iptables_text": "pure",
    "firewall/nft": "effects",
    "firewall/nfttext": "pure",
    "firewall/pairs": "pure",
    "firewall/rates": "pure",
    "firewall/forwards": "pure",
    "firewall/ports": "effects",
    "firewall/ports_room": "effects",
    "firewall/file_room": "effects",
    "firewall/policy_room": "effects",
    "firewall/room": "effects",
    "firewall/translation_room": "effects",
    "firewall/rule_file": "pure",
    "firewall/ruleset": "pure",
    "firewall/spoofing": "pure",
    "firewall/store": "effects",
    "firewall/stored": "effects",
    "firewall/stretch": "pure",
    "firewall/translation": "pure",
    "firewall/way": "pure",
    "guests/agent": "effects",
    "guests/bound": "effects",
    "guests/client": "effects",
    "guests/cloudinit": "pure",
    "guests/cpio": "pure",
    "guests/domain": "pure",
    "fleet/clashes": "pure",
    "fleet/declared": "pure",
    "fleet/plan": "pure",
    "fleet/pools": "pure",
    "fleet/problems": "pure",
    "fleet/reservations": "pure",
    "guests/images": "effects",
    "guests/inventory": "effects",
    "guests/kernel": "effects",
    "guests/kvm_probe": "effects",
    "guests/nic_room": "effects",
    "guests/nics": "effects",
    "guests/room": "effects",
    "guests/spec": "pure",
    "guests/storage": "effects",
    "guests/tiny": "pure",
    "guests/wiring": "pure",
    "libvirt_net/client": "effects",
    "libvirt_net/definition/addresses": "pure",
    "libvirt_net/definition/known": "pure",
    "libvirt_net/definition/names": "pure",
    "libvirt_net/definition/network": "pure",
    "libvirt_net/definition/ports": "pure",
    "libvirt_net/definition/xml": "pure",
    "libvirt_net/describe": "pure",
    "libvirt_net/features": "pure",
    "libvirt_net/dnsmasq": "effects",
    "libvirt_net/leftovers": "effects",
    "libvirt_net/libvirt_rules": "effects",
    "libvirt_net/live": "pure",
    "libvirt_net/networks": "effects",
    "libvirt_net/replug": "effects",
    "libvirt_net/report": "effects",
    "libvirt_net/surroundings": "pure",
    "links/batch": "pure",
    "links/bridges": "effects",
    "links/declared": "pure",
    "links/facts": "effects",
    "links/forms": "pure",
    "links/forwarding": "effects",
    "links/host_links": "pure",
    "links/interfaces": "effects",
    "links/iproute2": "effects",
    "links/management": "effects",
    "links/moves": "effects",
    "links/neighbours": "effects",
    "links/persist/ifupdown": "effects",
    "links/persist/ifupdown_adopt": "pure",
    "links/persist/ifupdown_files": "pure",
    "links/persist/ifupdown_stanzas": "pure",
    "links/persist/keepers": "effects",
    "links/persist/networkd": "effects",
    "links/persist/units": "effects",
    "links/persist/networkmanager": "effects",
    "links/persist/networkmanager_files": "pure",
    "links/persist/networkd_files": "pure",
    "links/persist/vxlan_files": "pure",
    "links/persist/vxlan_unit": "effects",
    "links/return_routes": "pure",
    # Its function run() is the main() of three modules.
    "links/room": "ansible",
    "links/route_sets": "effects",
    "links/spec": "pure",
    "links/sysctl": "pure",
    "links/taps": "effects",
    "links/underlay": "pure",
    "links/vlans": "pure",
    "links/vxlans": "effects",
    "proof/answers": "pure",
    "proof/ask": "pure",
    "proof/ends": "pure",
    "proof/judge": "pure",
    "proof/kernel": "effects",
    "proof/matrix": "pure",
    # Writes and reads packets as bytes; of the module socket it takes the constants and inet_pton.
    "proof/packets": "pure",
    "proof/probe_agent": "effects",
    "proof/session": "effects",
    "proof/steps": "effects",
    "proof/table": "pure",
    "topology/cards": "pure",
    "topology/dot": "pure",
    "topology/look": "pure",
    "topology/machines": "pure",
    "topology/marks": "pure",
    "topology/page": "pure",
    "topology/svg": "pure",
    "topology/tips": "pure",
}
#: What pure code may import besides the pure files of ours.
HARMLESS = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "configparser", "copy", "dataclasses", "enum", "fnmatch",
    "functools", "hashlib", "io", "ipaddress", "itertools", "json", "lxml", "math", "operator", "re", "shlex", "stat", "string",
    "struct", "textwrap", "typing", "unicodedata", "xml",
}
EXCUSED = {("proof/packets", "_socket"), ("links/persist/networkmanager_files", "uuid")}
#: Names of objects that lead to the host; in `names`, `host` is a host's name, in these files a part of what was declared.
HANDLES = {"client", "connection", "module"}
LAYERS = ("ground", "engine", "room")
#: These are for a module's main(), and for nobody else.
ENGINE = {"engine"}
FOR_MODULES = {"deps", "module", "options"}


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path, top=UTILS):
    name = path.relative_to(top).with_suffix("").as_posix()
    return name[: -len("/__init__")] if name.endswith("/__init__") else name


FILES = {
    name_of(path): path for path in sorted(UTILS.rglob("*.py"))
    if path.name != "__init__.py" or tree(path).body[1:]
}


def imports(path):
    """Return (names of ours, other packages' first names) that a file imports, wherever in it."""
    ours, others = set(), set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            assert not [one.name for one in node.names if one.name.startswith(OURS)], f"{path}: say 'from … import'"
            others |= {one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import; AnsiballZ wants the full name"
            if node.module == OURS or node.module.startswith(f"{OURS}."):
                base = node.module[len(OURS) + 1 :].replace(".", "/")
                for one in node.names:
                    inner = f"{base}/{one.name}".strip("/")
                    # A package's own name stands for what is in its __init__.py.
                    ours.add(inner if inner in FILES or (UTILS / inner).is_dir() else base)
            else:
                others.add(node.module.split(".")[0])
    return ours, others


GRAPH = {name: imports(path)[0] for name, path in FILES.items()}


def layer(name):
    if name in ENGINE:
        return "engine"
    return "room" if "/" in name and not name.startswith("safety/") else "ground"


def package(name):
    return name.split("/")[0] if layer(name) == "room" else None


def cycles(graph):
    """Return one way round in a graph, as a list of names; an empty one if there is none."""
    done = set()

    def walk(name, path):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for one in sorted(graph.get(name, ())):
            found = walk(one, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for found in (walk(name, []) for name in sorted(graph)) if found), [])


def test_the_table_knows_every_file_and_no_other():
    assert sorted(set(FILES) - set(KIND)) == [], "say in KIND what these files are"
    assert sorted(set(KIND) - set(FILES)) == [], "these are in KIND, but not there"


@pytest.mark.parametrize("name", [name for name, kind in KIND.items() if kind == "pure" and name in FILES])
def test_pure_code_imports_pure_code_only(name):
    ours, others = imports(FILES[name])
    assert {one for one in others - HARMLESS if (name, one) not in EXCUSED} == set()
    assert {one for one in ours if KIND.get(one) != "pure"} == set()


@pytest.mark.parametrize("name", [name for name, kind in KIND.items() if kind == "pure" and name in FILES])
def test_pure_code_has_nothing_in_its_hands_that_leads_to_the_host(name):
    for node in ast.walk(tree(FILES[name])):
        if isinstance(node, ast.arg):
            assert node.arg not in HANDLES, f"line {node.lineno}"
        elif isinstance(node, ast.Attribute):
            assert node.attr not in {"run", "run_command"}, f"line {node.lineno}: .{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval", "__import__"}, f"line {node.lineno}"


@pytest.mark.parametrize("name", [name for name, kind in KIND.items() if kind != "ansible" and name in FILES])
def test_only_the_files_that_say_so_speak_ansible(name):
    assert "ansible" not in imports(FILES[name])[1]
    for node in ast.walk(tree(FILES[name])):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"fail_json", "exit_json", "AnsibleModule"}, f"line {node.lineno}: .{node.attr}"


@pytest.mark.parametrize("name", list(GRAPH))
def test_imports_point_one_way(name):
    mine = LAYERS.index(layer(name))
    for other in GRAPH[name]:
        assert LAYERS.index(layer(other)) <= mine, f"{layer(name)} {name} imports {layer(other)} {other}"
        assert name in FOR_MODULES or other not in FOR_MODULES, f"{name} imports {other}, which is for main()"


def test_nothing_imports_itself_by_a_detour():
    assert cycles(GRAPH) == []
    packages = {}
    for name, others in GRAPH.items():
        if package(name):
            found = {package(one) for one in others} - {None, package(name)}
            packages.setdefault(package(name), set()).update(found)
    # One room may use another one's parts, but never both ways.
    assert cycles(packages) == []


def test_a_detour_would_be_found():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


@pytest.mark.parametrize("path", sorted((PLUGINS / "modules").glob("*.py")), ids=lambda path: path.stem)
def test_modules_import_what_ansiballz_can_ship(path):
    """A module is its documentation, its options and one call; the work is in module_utils."""
    ours, others = imports(path)
    assert {one for one in ours if one not in KIND} == set()
    assert others <= {"__future__", "ansible", "libvirt", "os"}, "the work belongs into module_utils"


@pytest.mark.parametrize("name", list(FILES))
def test_no_import_by_a_computed_name(name):
    """What is imported so, AnsiballZ does not ship; the built-in guest's own script runs without it."""
    for node in ast.walk(tree(FILES[name])):
        if isinstance(node, ast.Attribute):
            assert node.attr != "import_module", f"line {node.lineno}"
