# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""net_policy and nat_rule through the engine, on files of a temporary folder and a kernel made of a dictionary."""

from __future__ import annotations

import contextlib
import copy
import ipaddress
import json
import os
import re

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import engine
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import (
    CommandFailed,
    Conflict,
    InvalidInput,
    VerificationFailed,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import (
    boot,
    file_room,
    iptables,
    known_sets,
    nft,
    nfttext,
    policy_room,
    ports,
    store,
    stored,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.file_room import FileRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.policy_room import PolicyRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.translation_room import TranslationRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.links import management
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import journal


class Kernel:
    """nft and friends: a table is its lines, and so are the rules of iptables and ip6tables."""

    def __init__(self):
        self.tables = {}
        self.iptables = {"iptables": [], "ip6tables": []}
        self.refuse = None
        self._counted = (1, {})
        self.conntrack = True
        self.commands = []

    @contextlib.contextmanager
    def lock(self):
        yield

    def listed(self):
        """Return how many tables were listed: all of a family each, or none where the generation tells."""
        count = len([one for one in self.commands if one[:5] == nft.LIST])
        assert count in (0, len(nft.FAMILIES))
        return count

    def generation(self):
        """What others do to the tables is one transaction, whenever somebody asks."""
        number, tables = self._counted
        if tables != self.tables:
            self._counted = (number + 1, copy.deepcopy(self.tables))
        return ["here", self._counted[0]]

    @staticmethod
    def _read(text):
        parts = re.split(r"^table (\w+ \w+) ", text, flags=re.MULTILINE)[1:]
        return {name: body.rstrip("\n").split("\n") for name, body in zip(parts[::2], parts[1::2])}

    @staticmethod
    def _listing(tables):
        rows = [{"metainfo": {}}]
        for table, lines in tables.items():
            family, name = table.split()
            rows.append({"table": {"family": family, "name": name, "handle": 1}})
            if f"    chain {nfttext.MARK} {{" in lines:
                rows.append({"chain": {"family": family, "table": name, "name": nfttext.MARK}})
            rows += [{"rule": {"family": family, "table": name, "chain": "all", "expr": line}} for line in lines]
        return json.dumps({"nftables": rows})

    @staticmethod
    def _restore(lines, data):
        """iptables-restore --noflush, as far as ours goes; what is declared anew is emptied."""
        lines = list(lines)
        for line in data.splitlines():
            word, _space, rest = line.partition(" ")
            if word.startswith(":") or word == "-F":
                chain = rest if word == "-F" else word[1:]
                lines = [one for one in lines if not one.startswith(f"-A {chain} ")]
            if word.startswith(":"):
                lines = [line, *(one for one in lines if one != line)]
            elif word == "-A":
                lines.append(line)
            elif word == "-I":
                lines.append("-A " + rest.replace(" 1 ", " "))
            elif word == "-D":
                lines.remove(f"-A {rest}")
            elif word == "-X":
                lines.remove(f":{rest} - [0:0]")
        return lines

    def run(self, command, data=None, check=True, what=None, subject=None):
        self.commands.append(command)
        program, _dash, word = os.path.basename(command[0]).partition("-")
        if program in self.iptables:
            if word == "restore":
                if self.refuse and re.search(self.refuse, data):
                    raise CommandFailed("loading the rules failed: no")
                self.iptables[program] = self._restore(self.iptables[program], data)
            return 0, "\n".join(self.iptables[program]), ""
        if command[0] == "unshare" and "tables-restore" in command[-1]:
            return 0, "\n".join(self._restore([], data)), ""
        if command[:5] == nft.LIST:
            name = " ".join(command[5:])
            if name not in self.tables:
                return 1, "", "Error: No such file or directory"
            return 0, self._listing({name: self.tables[name]}), ""
        if command[:3] == ["nft", "--stateless", "list"]:
            name = " ".join(command[4:])
            return (0, f"table {name} " + "\n".join(self.tables[name]), "") if name in self.tables else (1, "", "No such file")
        if command[0] == "unshare":
            return 0, self._listing(self._read(data)), ""
        if command[:2] == ["nft", "-f"]:
            if self.refuse and re.search(self.refuse, data):
                raise CommandFailed("loading the ruleset failed: no")
            number = self.generation()[1]
            self.tables = self._read(data)
            self._counted = (number + 1, copy.deepcopy(self.tables))
            return 0, "", ""
        if command[0] == "conntrack":
            return 0, "", ""
        if command[0] == "ip":
            return 0, "[]", ""
        raise AssertionError(command)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    etc = tmp_path / "etc"
    for module, name, path in (
        (store, "ETC", etc), (store, "NETWORKS", etc / "networks.d"), (store, "RULES", etc / "rules.d"),
        (store, "README", etc / "README"), (stored, "PORTS", etc / "ports.json"), (boot, "RULES", etc / "virtnet.nft"),
        (nft, "EXPECTED", tmp_path / "run.json"), (known_sets, "PATH", tmp_path / "known.json"),
        (nft, "ADDRESSES", tmp_path / "if_inet6"),
        (iptables, "EXPECTED", tmp_path / "run4.json"),
        (boot, "_SYSTEMD", tmp_path / "no-systemd"), (journal, "PATH", tmp_path / "baseline.json"),
    ):
        monkeypatch.setattr(module, name, str(path))
    monkeypatch.setattr(boot, "IPTABLES", {4: str(etc / "virtnet.iptables"), 6: str(etc / "virtnet.ip6tables")})
    made = Kernel()
    made.etc = etc
    monkeypatch.setattr(nft.generation, "current", made.generation)
    return made


def files(kernel):
    return {
        os.path.relpath(os.path.join(folder, name), kernel.etc)
        for folder, _folders, names in os.walk(kernel.etc) for name in names
    }


def policy(kernel, *items, check=False):
    result, _warnings = engine.converge(PolicyRoom(kernel, list(items)), kernel, check)
    return result


def nat(kernel, *items, rules=None, owner="default", purge=False, check=False, backend="nftables"):
    room = TranslationRoom(kernel, owner, rules, list(items), purge, backend)
    result, _warnings = engine.converge(room, kernel, check)
    return result


def actions(result):
    return [(one["kind"], one["name"], one["op"]) for one in result["actions"]]


GONE = {"name": "natnet", "state": "absent"}
ISO = {"name": "iso", "model": "isolated", "subnets": ["10.64.102.0/24"]}


@pytest.mark.parametrize("run", [policy, nat])
def test_add_repeat_and_remove(run, kernel, natnet):
    predicted = run(kernel, natnet, check=True)
    assert files(kernel) == set()
    assert kernel.tables == {}
    done = run(kernel, natnet)
    assert predicted["diff"] == done["diff"]
    assert predicted["rendered"] == done["rendered"]
    assert predicted["actions"] == done["actions"]
    assert done["changed"]
    assert not run(kernel, natnet)["changed"]
    entry = "networks.d/natnet.json" if run is policy else "rules.d/@natnet.json"
    assert files(kernel) == {"README", "virtnet.nft", entry}
    assert (kernel.etc / "virtnet.nft").read_text().endswith(done["rendered"])
    predicted = run(kernel, GONE, check=True)
    done = run(kernel, GONE)
    assert predicted["diff"] == done["diff"]
    assert not os.path.exists(kernel.etc)
    assert kernel.tables == {}
    assert not run(kernel, GONE)["changed"]


@pytest.mark.parametrize("run", [policy, nat])
def test_what_a_run_that_was_killed_at_its_very_end_has_left(run, kernel, natnet):
    (kernel.etc / "networks.d").mkdir(parents=True)
    (kernel.etc / "README").write_text(store.README_TEXT)
    run(kernel, GONE, check=True)
    assert files(kernel) == {"README"}
    assert not run(kernel, GONE)["changed"]
    assert not os.path.exists(kernel.etc)
    # It is not the end of others' files, nor of what is declared.
    run(kernel, natnet)
    (kernel.etc / "bgp.json").write_text("{}")
    assert not run(kernel, natnet)["changed"]
    run(kernel, GONE)
    assert files(kernel) == {"bgp.json"}


def test_many_rules_with_the_same_fate_are_told_as_one(kernel):
    def rules(numbers, to=80):
        return [
            {"name": f"f{one}", "type": "dnat", "listen": {"ports": str(one)}, "to": {"address": "10.9.0.5", "ports": str(to)}}
            for one in numbers
        ]  # fmt: skip

    def told(result):
        return [(one["kind"], one["name"], one["op"], one.get("note")) for one in result["actions"] if one["kind"] != "ruleset"]

    def declare(items, check=False):
        room = TranslationRoom(kernel, "many", items, [], True)
        return engine.converge(room, kernel, check)[0]

    many = rules(range(1000, 1060))
    for check in (True, False):
        assert told(declare(many, check)) == [("rules", "many", "add", "60: f1000, f1001, f1002 and 57 more")]
    few = declare(rules(range(1000, 1003), 81) + many[3:])
    assert told(few) == [("rule", f"many/f{one}", "update", None) for one in range(1000, 1003)]
    assert told(declare([])) == [("rules", "many", "remove", "60: f1000, f1001, f1002 and 57 more")]


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
@pytest.mark.parametrize(
    "harm", [None, lambda kernel: kernel.tables.clear(), lambda kernel: (kernel.etc / "virtnet.nft").unlink()]
)
def test_two_rooms_that_plan_look_once_and_find_what_each_would(kernel, natnet, backend, harm):
    """As net_plan has them: before anything, in between, and when all is done."""
    for step in (None, lambda: policy(kernel, natnet), lambda: nat(kernel, natnet, ISO, backend=backend)):
        if step is not None:
            step()
            if harm is not None:
                harm(kernel)
        kernel.commands.clear()
        alone = [policy(kernel, natnet, ISO, check=True)]
        looked = kernel.listed()
        alone.append(nat(kernel, natnet, ISO, check=True, backend=backend))
        kernel.commands.clear()
        first = PolicyRoom(kernel, [natnet, ISO])
        second = TranslationRoom(kernel, "default", None, [natnet, ISO], False, backend, first)
        assert [engine.converge(one, kernel, True)[0] for one in (first, second)] == alone
        assert kernel.listed() == looked


def test_a_run_lists_nothing_while_nobody_has_changed_anything(kernel, natnet):
    policy(kernel, natnet)
    for check in (True, False):
        kernel.commands.clear()
        assert not policy(kernel, natnet, check=check)["changed"]
        assert kernel.listed() == 0
    # Somebody was there, and left all as it was: that is looked at once.
    kernel.tables["inet virtnet"].append("x")
    kernel.generation()
    kernel.tables["inet virtnet"].remove("x")
    for listed in (3, 0):
        kernel.commands.clear()
        assert not policy(kernel, natnet)["changed"]
        assert kernel.listed() == listed


def test_somebody_who_comes_while_the_rules_are_loaded_is_not_overlooked(kernel, natnet, monkeypatch):
    """Two transactions for one of ours: what the kernel has must be looked at."""
    run = kernel.run

    def with_a_guest(command, **more):
        answer = run(command, **more)
        if command[:2] == ["nft", "-f"]:
            kernel.tables["inet virtnet"].append("    chain by_hand {")
        return answer

    monkeypatch.setattr(kernel, "run", with_a_guest)
    with pytest.raises(VerificationFailed):
        policy(kernel, natnet)
    monkeypatch.setattr(kernel, "run", run)
    assert policy(kernel, natnet)["changed"]
    assert not policy(kernel, natnet)["changed"]


def test_in_check_mode_the_kernel_is_asked_and_in_a_real_run_it_is_told(kernel, natnet):
    policy(kernel, natnet, check=True)
    assert [one for one in kernel.commands if one[0] == "unshare"]
    kernel.commands.clear()
    policy(kernel, natnet)
    assert not [one for one in kernel.commands if one[0] == "unshare"]


FORWARDS = [
    {"name": f"f{port}", "type": "dnat", "listen": {"ports": port}, "to": {"address": "10.9.0.5", "ports": "80"}}
    for port in range(8000, 8005)
]


def from_file(kernel, rules, *items, owner="many", purge=True, check=False, backend="nftables"):
    file = kernel.etc.parent / "rules.json"
    file.write_text(json.dumps(rules))
    room = FileRoom(kernel, owner, str(file), list(items), purge, backend)
    return engine.converge(room, kernel, check)[0]


def test_rules_of_a_file_are_told_as_sets(kernel, natnet):
    predicted = from_file(kernel, FORWARDS, natnet, check=True)
    done = from_file(kernel, FORWARDS, natnet)
    assert predicted == done and done["changed"]
    assert done["sets"] == [
        {"set": "@natnet", "backend": "nftables", "rules": 1}, {"set": "many", "backend": "nftables", "rules": 5},
    ]
    assert [(one["kind"], one["name"], one["op"], one.get("note")) for one in done["actions"]] == [
        ("rules", "@natnet", "add", "1: masquerade"), ("rules", "many", "add", "5: f8000, f8001, f8002 and 2 more"),
        ("ruleset", "virtnet", "load", None),
    ]
    assert "rules" not in done and "rendered" not in done
    assert done["diff"]["after"]["many"]["rules"]["f8000"]["listen"]["ports"] == "8000"
    first = FORWARDS[0]
    changed = [*FORWARDS[1:], {**first, "to": {"address": "10.9.0.6"}}, {**first, "name": "g", "listen": {"ports": 9}}]
    done = from_file(kernel, changed, natnet)
    assert [(one["name"], one["op"], one.get("note")) for one in done["actions"]] == [
        ("many", "add", "1: g"), ("many", "update", "1: f8000"), ("virtnet", "load", None),
    ]
    # What is in the store is what the same rules under the option rules would be.
    assert not nat(kernel, natnet, rules=[{**one, "listen": {"ports": str(one["listen"]["ports"])}} for one in changed],
                   owner="many", purge=True)["changed"]
    done = from_file(kernel, [], {"name": "natnet", "state": "absent"})
    assert done["sets"] == [] and kernel.tables == {} and files(kernel) == set()


def test_what_was_asked_for_before_is_known_again(kernel, natnet, monkeypatch):
    from_file(kernel, FORWARDS, natnet)
    full = from_file(kernel, [*FORWARDS[:-1], {**FORWARDS[-1], "sources": []}], natnet)
    assert not full["changed"]
    monkeypatch.setattr(file_room.rule_file, "items", None)
    for check in (True, False):
        again = from_file(kernel, [*FORWARDS[:-1], {**FORWARDS[-1], "sources": []}], natnet, check=check)
        assert not again["changed"] and not again["actions"]
        assert [again[key] for key in ("sets", "backend")] == [full[key] for key in ("sets", "backend")]


@pytest.mark.parametrize(
    "harm",
    [
        lambda kernel, call: kernel.tables["inet virtnet"].append("x"),
        lambda kernel, call: kernel.tables.clear(),
        lambda kernel, call: (kernel.etc / "virtnet.nft").write_text((kernel.etc / "virtnet.nft").read_text() + "#\n"),
        lambda kernel, call: (kernel.etc / "rules.d/many.json").unlink(),
        lambda kernel, call: nat(kernel, rules=[], owner="many", purge=True),
        lambda kernel, call: call.update(purge=False, rules=[*FORWARDS[1:], {"name": "f8000", "state": "absent"}]),
        lambda kernel, call: call.update(rules=FORWARDS[1:]),
        lambda kernel, call: call.update(backend="iptables"),
    ],
)
def test_what_is_known_is_believed_of_nothing_else(kernel, natnet, harm):
    from_file(kernel, FORWARDS, natnet)
    assert not from_file(kernel, FORWARDS, natnet)["changed"]
    call = {}
    harm(kernel, call)
    rules = call.pop("rules", FORWARDS)
    done = from_file(kernel, rules, natnet, **call)
    assert done["changed"] and "f8001" in store.load().rules["many"]
    assert ("inet virtnet" in kernel.tables) is (store.load().backends["many"] == "nftables")


def test_a_known_set_that_is_warned_of_is_warned_of_again(kernel):
    literal = [{"name": "l", "type": "masquerade", "source": "10.9.0.0/24", "literal": True}]
    file = kernel.etc.parent / "rules.json"
    file.write_text(json.dumps(literal))
    for _run in range(3):
        _result, warnings = engine.converge(FileRoom(kernel, "many", str(file), [], True), kernel, False)
        assert [one for one in warnings if "is literal" in one]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("of_file", [False, True])
def test_nobody_is_led_past_the_host(kernel, natnet, of_file, check):
    came_in = management.Entrance(ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("192.0.2.1"), 8003, "eth0")
    file = kernel.etc.parent / "rules.json"
    file.write_text(json.dumps(FORWARDS))
    rules = [{**one, "listen": {"ports": str(one["listen"]["ports"])}} for one in FORWARDS]
    kind, given = (FileRoom, str(file)) if of_file else (TranslationRoom, rules)
    with pytest.raises(InvalidInput, match="192.0.2.1 port 8003 this very connection") as caught:
        engine.converge(kind(kernel, "many", given, [], True, entrance=lambda host: came_in), kernel, check)
    assert (caught.value.option, caught.value.subject) == ("src[3]" if of_file else "rules[3]", "many/f8003")
    # One that is there already, has not taken the entrance away.
    nat(kernel, rules=rules, owner="many")
    found = engine.converge(kind(kernel, "many", given, [], True, entrance=lambda host: came_in), kernel, check)
    assert not found[0]["changed"]
    web = {**natnet, "port_forwards": [{"name": "www", "listen": {"ports": "8003"}, "to": {"address": "10.64.100.2"}}]}
    with pytest.raises(InvalidInput, match="@natnet/www"):
        engine.converge(TranslationRoom(kernel, "other", None, [web], False, entrance=lambda host: came_in), kernel, check)


def test_the_result(kernel, natnet):
    result = policy(kernel, natnet, ISO)
    assert actions(result) == [("policy", "iso", "add"), ("policy", "natnet", "add"), ("ruleset", "virtnet", "load")]
    assert [one["name"] for one in result["networks"]] == ["iso", "natnet"]
    assert list(policy(kernel, natnet, ISO, check=True)["diff"]["after"]) == ["@firewall", "iso", "natnet"]
    assert result["backend"] == "nftables"
    result = nat(kernel, natnet)
    assert [(one["set"], one["name"]) for one in result["rules"]] == [("@natnet", "masquerade")]
    assert policy(kernel, GONE)["networks"] == []


def test_a_run_leaves_alone_what_it_was_not_given(kernel, natnet):
    policy(kernel, natnet)
    nat(kernel, natnet)
    policy(kernel, ISO)
    nat(kernel, rules=[{"name": "m", "type": "masquerade", "source": "10.80.0.0/24"}], owner="other")
    assert files(kernel) == {
        "README", "virtnet.nft", "networks.d/natnet.json", "networks.d/iso.json", "rules.d/@natnet.json", "rules.d/other.json",
    }
    exempt = {"name": "e", "type": "exempt", "source": "10.80.0.0/24", "destination": "10.81.0.0/24"}
    result = nat(kernel, rules=[exempt], owner="third", purge=True)
    assert actions(result)[0] == ("rule", "third/e", "add")
    assert nat(kernel, rules=[], owner="third", purge=True)["changed"]
    assert nat(kernel, rules=[{"name": "m", "state": "absent"}], owner="other")["changed"]
    assert files(kernel) == {"README", "virtnet.nft", "networks.d/natnet.json", "networks.d/iso.json", "rules.d/@natnet.json"}
    assert [one["name"] for one in policy(kernel, natnet)["networks"]] == ["natnet"]


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (lambda kernel: kernel.tables.clear(), "kernel: not loaded"),
        (lambda kernel: kernel.tables["inet virtnet"].append("hole"), "1 rule added by hand"),
        (lambda kernel: kernel.tables.pop("bridge virtnet"), "table bridge virtnet is gone"),
        (lambda kernel: (kernel.etc / "virtnet.nft").unlink(), "file at boot: missing"),
        (lambda kernel: (kernel.etc / "virtnet.nft").write_text(boot.HEADER), "file at boot: different"),
    ],
)
def test_what_was_changed_by_hand_is_seen_and_mended(kernel, natnet, harm, seen):
    policy(kernel, natnet)
    whole = copy.deepcopy(kernel.tables)
    harm(kernel)
    predicted = policy(kernel, natnet, check=True)
    assert actions(predicted) == [("ruleset", "virtnet", "load")]
    assert seen in predicted["actions"][0]["note"]
    assert policy(kernel, natnet)["diff"] == predicted["diff"]
    assert kernel.tables == whole
    assert not policy(kernel, natnet)["changed"]


def test_a_lost_cache_is_no_change(kernel, natnet):
    policy(kernel, natnet)
    os.unlink(nft.EXPECTED)
    assert not policy(kernel, natnet)["changed"]


def test_a_refused_ruleset_changes_nothing(kernel, natnet):
    policy(kernel, natnet)
    tables, before = dict(kernel.tables), {name: (kernel.etc / name).read_text() for name in files(kernel)}
    kernel.refuse = "10.64.102.0"
    with pytest.raises(CommandFailed):
        policy(kernel, ISO)
    assert kernel.tables == tables
    assert {name: (kernel.etc / name).read_text() for name in files(kernel)} == before
    assert not policy(kernel, natnet)["changed"]


def test_files_that_cannot_be_written_take_the_rules_back(kernel, natnet, monkeypatch):
    policy(kernel, natnet)
    tables = dict(kernel.tables)
    write_all = store.files.write_all

    def full(texts, mode=0o600, owner=None):
        if any(path.endswith("iso.json") for path in texts):
            raise OSError(28, "No space left on device")
        write_all(texts, mode)

    monkeypatch.setattr(store.files, "write_all", full)
    with pytest.raises(CommandFailed, match="No space left"):
        policy(kernel, ISO)
    assert kernel.tables == tables
    assert files(kernel) == {"README", "virtnet.nft", "networks.d/natnet.json"}
    assert not policy(kernel, natnet)["changed"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({**ISO, "subnets": ["10.64.0.0/16"]}, "iso.*natnet|natnet.*iso"),
        ({**ISO, "bridge": "natbr0"}, "also that of natnet"),
        ({**ISO, "stretch": {"mode": "vxlan", "vni": 7}}, "this host's address on the underlay is not given"),
        ({**ISO, "stretch": {"mode": "vxlan", "vni": 7, "local": "192.0.2.1"}}, "the addresses of the other hosts"),
        ({**ISO, "policy": {"allow_to": [{"network": "nobody"}]}}, "network nobody is not known"),
        ({**ISO, "policy": {"allow_to": [{"network": "iso"}]}}, "open to itself"),
        ({"name": "b", "model": "bridged", "policy": {"allow_to": [{"network": "natnet"}]}}, "all of their LAN"),
        ({"name": "b", "model": "bridged", "policy": {"deny_host": True}}, "deny_host with the model bridged"),
        ({**ISO, "policy": {"allow_to": [{"network": "natnet"}]}}, "close iso.*Give iso bridge_owner: host"),
        (
            {"name": "r", "model": "routed", "addresses": ["10.64.109.1/24"], "policy": {"allow_to": [{"network": "old"}]}},
            "old, which has firewall: libvirt",
        ),
    ],
)
def test_networks_that_cannot_stand_beside_the_stored_ones(kernel, natnet, item, message):
    old = {"name": "old", "model": "nat", "addresses": ["10.64.108.1/24"], "firewall": "libvirt"}
    policy(kernel, natnet, old)
    with pytest.raises(InvalidInput, match=message):
        policy(kernel, item)
    assert files(kernel) == {"README", "virtnet.nft", "networks.d/natnet.json", "networks.d/old.json"}


def test_rules_that_cannot_stand_beside_the_stored_ones(kernel, natnet):
    nat(kernel, natnet)
    with pytest.raises(Conflict, match="natnet/masquerade.*default/m"):
        nat(kernel, rules=[{"name": "m", "type": "masquerade", "source": "10.64.100.0/25"}])
    with pytest.raises(InvalidInput, match=r"declared twice, as rules\[0\]"):
        nat(kernel, rules=[{"name": "m", "state": "absent"}, {"name": "m", "state": "absent"}])
    with pytest.raises(InvalidInput, match="cannot be a name"):
        nat(kernel, rules=[], owner="@natnet")


def test_a_target_that_goes_is_a_warning(kernel, natnet):
    policy(kernel, natnet, {**ISO, "bridge_owner": "host", "policy": {"allow_to": [{"network": "natnet"}]}})
    for item in ({**natnet, "firewall": "libvirt"}, GONE):
        _result, warnings = engine.converge(PolicyRoom(kernel, [item]), kernel, False)
        assert any("iso has allow_to natnet" in warning for warning in warnings)


WAY = ({"virbr-iso"}, {"virbr-iso"}, {"10.64.102.9"})
BY_ISO = {**ISO, "bridge": "virbr-iso"}


class Armed:
    """The switch, as far as the engine knows it."""

    token = "0123"

    def __init__(self):
        self.changes = []

    def __call__(self, kernel, change, timeout_s):
        self.changes.append((change, copy.deepcopy(kernel.tables), files(kernel)))
        return self


def guarded(kernel, *items, check=False, window_s=30):
    return engine.converge(PolicyRoom(kernel, list(items), window_s, lambda: WAY), kernel, check)[0]


@pytest.fixture
def armed(monkeypatch):
    found = Armed()
    monkeypatch.setattr(policy_room.guard, "armed", found)
    return found


def test_a_change_on_the_controllers_way_is_guarded(kernel, natnet, armed):
    assert "guard" not in guarded(kernel, natnet), "another bridge"
    assert "guard" not in guarded(kernel, BY_ISO, check=True, window_s=0)
    predicted = guarded(kernel, BY_ISO, check=True)
    assert predicted["guard"] == {"state": "planned", "links": ["virbr-iso"], "timeout_s": 30} and armed.changes == []
    assert guarded(kernel, BY_ISO)["guard"] == {**predicted["guard"], "state": "pending", "token": "0123"}
    assert "guard" not in guarded(kernel, BY_ISO), "nothing to do"
    assert "guard" not in guarded(kernel, {**ISO, "state": "absent"})
    assert len(armed.changes) == 1


def nothing(kernel, natnet):
    pass


def another(kernel, natnet):
    policy(kernel, natnet)


def itself(kernel, natnet):
    policy(kernel, natnet, {**BY_ISO, "policy": {"host_access": [{"protocol": "icmp"}]}})


def by_hand(kernel, natnet):
    itself(kernel, natnet)
    kernel.tables["inet virtnet"].append("    hole")


def flushed(kernel, natnet):
    itself(kernel, natnet)
    kernel.tables.clear()


@pytest.mark.parametrize("before", [nothing, another, itself, by_hand, flushed])
def test_what_takes_a_guarded_change_back_is_complete(kernel, natnet, armed, before):
    before(kernel, natnet)
    guarded(kernel, BY_ISO)
    [(change, tables, there)] = armed.changes
    written = {os.path.relpath(path, kernel.etc) for path in change.files}
    assert {"networks.d/iso.json", "virtnet.nft", "README"} <= written and "networks.d/natnet.json" not in written
    assert {os.path.relpath(path, kernel.etc) for path, was in change.files.items() if was} == there & written
    assert list(change.kernel) == ["nft -f -"] and kernel.tables != tables
    kernel.run(["nft", "-f", "-"], data=change.kernel["nft -f -"])
    assert kernel.tables == tables


@pytest.mark.parametrize(
    "harm", [lambda lines: None, lambda lines: lines.append("-A VIRTNET_PRE -j RETURN"), lambda lines: lines.clear()]
)
def test_rules_of_iptables_that_follow_are_taken_back_too(kernel, natnet, armed, harm):
    policy(kernel, natnet)
    nat(kernel, natnet, backend="iptables")
    harm(kernel.iptables["iptables"])
    before = {name: sorted(lines) for name, lines in kernel.iptables.items()}
    # An exception from translation for what the policy opens.
    open_to = {**natnet, "policy": {"allow_to": [{"network": "iso"}]}}
    guarded(kernel, {**BY_ISO, "bridge_owner": "host"}, open_to)
    assert {name: sorted(lines) for name, lines in kernel.iptables.items()} != before
    [(change, _tables, _there)] = armed.changes
    for command, text in change.kernel.items():
        words = command.split()
        if words[0] != "nft":
            assert words[1:] == [*iptables.WAIT, "--noflush"]
            kernel.run([words[0]], data=text)
    assert {name: sorted(lines) for name, lines in kernel.iptables.items()} == before


def test_a_host_without_systemd_is_told(kernel, natnet):
    _result, warnings = engine.converge(PolicyRoom(kernel, [natnet]), kernel, False)
    assert any("does not run systemd" in warning for warning in warnings)


@pytest.mark.parametrize("content", ["", "{}", '{"made_by": "me"}', "[]", '{"made_by": '])
def test_files_that_are_not_ours(kernel, natnet, content):
    folder = kernel.etc / "networks.d"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text(content)
    (folder / ".hidden.json").write_text("")
    (folder / "notes").write_text("")
    with pytest.raises(Conflict, match=r"x\.json"):
        policy(kernel, natnet)


def test_a_ruleset_file_that_is_not_ours(kernel, natnet):
    kernel.etc.mkdir()
    (kernel.etc / "virtnet.nft").write_text("flush ruleset\n")
    with pytest.raises(Conflict, match=r"virtnet\.nft"):
        policy(kernel, natnet)


def translators(kernel):
    """Who has the network's masquerade: nft, iptables and ip6tables."""
    found = {name for name, lines in kernel.iptables.items() if any("MASQUERADE" in line for line in lines)}
    return found | {"nft" for lines in kernel.tables.values() if any("masquerade4 masquerade" in line for line in lines)}


def test_what_a_killed_run_has_left_of_iptables_goes_with_the_next(kernel, natnet):
    """It was killed between its last rule and what it remembers of it."""
    nat(kernel, natnet, backend="iptables")
    with open(iptables.EXPECTED, encoding="utf-8") as handle:
        remembered = handle.read()
    nat(kernel, GONE, backend="iptables")
    assert not os.path.exists(iptables.EXPECTED)
    with open(iptables.EXPECTED, "w", encoding="utf-8") as handle:
        handle.write(remembered)
    assert not nat(kernel, GONE, backend="iptables", check=True)["changed"] and os.path.exists(iptables.EXPECTED)
    assert not nat(kernel, GONE, backend="iptables")["changed"] and not os.path.exists(iptables.EXPECTED)


def test_a_set_moves_to_iptables_and_back(kernel, natnet):
    policy(kernel, natnet)
    nat(kernel, natnet)
    filtered = policy(kernel, natnet)["rendered"].count("drop")
    predicted = nat(kernel, natnet, check=True, backend="iptables")
    assert translators(kernel) == {"nft"}
    kernel.commands.clear()
    done = nat(kernel, natnet, backend="iptables")
    assert predicted["diff"] == done["diff"]
    assert predicted["rendered_iptables"] == done["rendered_iptables"]
    assert actions(done) == [("rule", "@natnet/masquerade", "update"), ("ruleset", "virtnet", "load")]
    assert [one["backend"] for one in done["rules"]] == ["iptables"]
    assert translators(kernel) == {"iptables", "ip6tables"}
    # Never without translation: the new one comes first.
    loads = [os.path.basename(one[0]) for one in kernel.commands if "-f" in one or one[0].endswith("-restore")]
    assert loads == ["iptables-restore", "ip6tables-restore", "nft"]
    assert not nat(kernel, natnet, backend="iptables")["changed"]
    assert not policy(kernel, natnet)["changed"]
    assert done["rendered"].count("drop") == filtered
    assert {"virtnet.iptables", "virtnet.ip6tables"} <= files(kernel)
    kernel.commands.clear()
    nat(kernel, natnet)
    loads = [os.path.basename(one[0]) for one in kernel.commands if "-f" in one or one[0].endswith("-restore")]
    assert loads == ["nft", "iptables-restore", "ip6tables-restore"]
    assert translators(kernel) == {"nft"}
    assert kernel.iptables == {"iptables": [], "ip6tables": []}
    assert files(kernel) == {"README", "virtnet.nft", "networks.d/natnet.json", "rules.d/@natnet.json"}
    assert not nat(kernel, natnet)["changed"]


def test_a_set_keeps_its_backend_whatever_others_have(kernel, natnet):
    rule = {"name": "m", "type": "masquerade", "source": "10.80.0.0/24"}
    nat(kernel, rules=[rule], owner="old", backend="iptables")
    nat(kernel, natnet)
    assert any("10.80.0.0/24" in line for line in kernel.iptables["iptables"])
    assert not any("10.80.0.0/24 -j MASQ" in line for line in kernel.tables["inet virtnet"])
    exempt = {"name": "e", "type": "exempt", "source": "10.80.0.0/24", "destination": "10.81.0.0/24"}
    nat(kernel, rules=[exempt], owner="third")
    # What one set leaves untranslated, no other translates.
    assert any(line.startswith("-A VIRTNET_POST -s 10.80.0.0/24 -d 10.81.0.0/24") for line in kernel.iptables["iptables"])
    assert nat(kernel, {"name": "natnet", "state": "absent"}, backend="iptables")["changed"]
    assert store.load().backends == {"old": "iptables", "third": "nftables"}
    assert nat(kernel, rules=[{"name": "m", "state": "absent"}], owner="old")["changed"]
    assert kernel.iptables == {"iptables": [], "ip6tables": []}


def test_iptables_is_not_asked_for_where_nothing_needs_it(kernel, natnet):
    policy(kernel, natnet)
    nat(kernel, natnet)
    assert not [one for one in kernel.commands if "tables" in one[0]]


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (lambda kernel: kernel.iptables["iptables"].clear(), "iptables: iptables, chain VIRTNET_OUT: gone"),
        (lambda kernel: kernel.iptables["ip6tables"].append("-A POSTROUTING -j VIRTNET_POST"), "jumps to our chains"),
        (lambda kernel: (kernel.etc / "virtnet.ip6tables").unlink(), "ip6tables at boot: missing"),
    ],
)
def test_rules_of_iptables_changed_by_hand_are_seen_and_mended(kernel, natnet, harm, seen):
    nat(kernel, natnet, backend="iptables")
    whole = {name: sorted(lines) for name, lines in kernel.iptables.items()}
    harm(kernel)
    predicted = policy(kernel, natnet, check=True)
    assert seen in predicted["actions"][-1]["note"]
    again = nat(kernel, natnet, backend="iptables")
    assert actions(again) == [("ruleset", "virtnet", "load")]
    assert {name: sorted(lines) for name, lines in kernel.iptables.items()} == whole
    assert not nat(kernel, natnet, backend="iptables")["changed"]


def test_rules_that_iptables_refuses_leave_all_as_it_was(kernel, natnet):
    nat(kernel, natnet)
    tables, before = copy.deepcopy(kernel.tables), {name: (kernel.etc / name).read_text() for name in files(kernel)}
    kernel.refuse = "-s fd00:64::/64"
    with pytest.raises(CommandFailed):
        nat(kernel, natnet, backend="iptables")
    assert kernel.tables == tables
    assert kernel.iptables == {"iptables": [], "ip6tables": []}
    assert {name: (kernel.etc / name).read_text() for name in files(kernel)} == before
    assert not nat(kernel, natnet)["changed"]


def test_a_literal_rule_is_a_warning(kernel):
    item = {"name": "m", "type": "masquerade", "source": "10.10.101.0/24", "literal": True}
    _result, warnings = engine.converge(TranslationRoom(kernel, "default", [item], [], False, "iptables"), kernel, False)
    assert any("default/m is literal" in warning and "10.10.101.0/24" in warning for warning in warnings)
    assert [line for line in kernel.iptables["iptables"] if line.startswith("-A VIRTNET_POST")][1:] == [
        '-A VIRTNET_POST -s 10.10.101.0/24 -m comment --comment "default/m" -j MASQUERADE'
    ]


PORT = {("vp1", "52:54:00:00:00:01"): {"guest": "vm0", "network": "natnet"}}
PORT2 = {("vp2", "52:54:00:00:00:02"): {"guest": "vm1", "network": "natnet"}}


def bound(kernel):
    return [one for one in ("vp1", "vp2") if f'"{one}" . ' in "".join(kernel.tables.get("bridge virtnet", ()))]


def test_ports_of_guests_are_kept_by_all_who_come_after(kernel, natnet):
    policy(kernel, natnet)
    kept = ports.Ports(kernel)
    kept.change((), PORT)
    kept.change((), PORT2)
    assert kept.load() == {**PORT, **PORT2} and bound(kernel) == ["vp1", "vp2"]
    assert os.stat(kernel.etc / "ports.json").st_mode & 0o777 == 0o600
    assert not policy(kernel, natnet)["changed"]
    nat(kernel, natnet, rules=[{"name": "m", "type": "masquerade", "source": "10.80.0.0/24"}])
    assert bound(kernel) == ["vp1", "vp2"]
    assert '"vp1"' in (kernel.etc / "virtnet.nft").read_text()
    kept.change(PORT, {})
    assert bound(kernel) == ["vp2"]
    kept.change(PORT2, {})
    assert kept.load() == {} and "ports.json" not in files(kernel) and bound(kernel) == []
    assert not policy(kernel, natnet)["changed"]


def test_ports_come_before_the_network_and_stay_after_it(kernel, natnet):
    """A host without rules of ours needs no nft for it."""
    kept = ports.Ports(kernel)
    kept.change((), PORT)
    kept.change((), PORT)
    assert kernel.commands == [] and files(kernel) == {"README", "ports.json"}
    policy(kernel, natnet)
    assert bound(kernel) == ["vp1"]
    policy(kernel, GONE)
    assert kernel.tables == {} and files(kernel) == {"README", "ports.json"}
    kept.change(PORT, {})
    assert not os.path.exists(kernel.etc)


@pytest.mark.parametrize("fault", ["kernel", "file"])
def test_ports_that_cannot_be_bound_leave_all_as_it_was(kernel, natnet, monkeypatch, fault):
    policy(kernel, natnet)
    kept = ports.Ports(kernel)
    kept.change((), PORT2)
    before, tables = files(kernel), copy.deepcopy(kernel.tables)
    if fault == "kernel":
        kernel.refuse = "vp1"
    else:
        write = store.files.write

        def broken(path, text, **more):
            write(path + "/" if "vp1" in text else path, text, **more)

        monkeypatch.setattr(store.files, "write", broken)
    with pytest.raises(CommandFailed):
        kept.change((), PORT)
    assert kept.load() == PORT2 and files(kernel) == before and kernel.tables == tables


def test_rules_that_were_changed_by_hand_are_mended_with_the_ports(kernel, natnet):
    policy(kernel, natnet)
    kernel.tables.pop("inet virtnet")
    ports.Ports(kernel).change((), PORT)
    assert set(kernel.tables) == {"inet virtnet", "bridge virtnet"} and not policy(kernel, natnet)["changed"]


@pytest.mark.parametrize(
    ("uri", "here"),
    [("qemu:///system", True), ("qemu+unix:///system", True), ("qemu:///session", False), ("qemu+ssh://kvm2/system", False)],
)
def test_whose_guests_have_ports_here(kernel, uri, here):
    assert (ports.of_daemon(kernel, uri) is not None) == here
