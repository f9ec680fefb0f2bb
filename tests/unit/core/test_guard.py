# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dead man's switch as text, a script for sh(1), whatever the files and links are called; and the controller's verdict."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.virtnet.kvm.plugins.action import host_bridge, net_policy
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, management
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard_text
from ansible_collections.virtnet.kvm.plugins.plugin_utils import guard

CHANGE = guard_text.Change(
    links=["br0", "eth 0"],
    kernel={"ip -force -batch -": "link delete dev br0\n", "nft -f -": "add table inet x\n"},
    files={"/etc/there": True, "/etc/it's new": False, "/etc/systemd/network/br0.netdev": True},
    folders=["/etc/a folder"],
    sysctls={"/proc/sys/net/ipv6/conf/eth 0/accept_ra": "2"},
    seeds={"br 0": ["/etc/systemd/network/br0.netdev"]},
    reload=["networkctl reload"],
)


@pytest.mark.parametrize("change", [CHANGE, guard_text.Change(links=[])])
def test_the_shell_can_read_it(change):
    text = guard_text.script(change, "0123", "12:00:00")
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False, capture_output=True).stderr == ""


def test_what_was_there_is_copied_back_and_what_was_not_is_removed():
    text = guard_text.script(CHANGE, "0123", "12:00:00")
    assert "rm -f '/etc/it'\"'\"'s new'\n" in text
    assert f"cp -p {guard_text.FOLDER}/files/2 /etc/there.virtnet && mv /etc/there.virtnet /etc/there\n" in text
    assert guard_text.copy_of("/etc/there", CHANGE) == f"{guard_text.FOLDER}/files/2"


def test_what_makes_a_link_comes_before_the_kernel_and_the_rest_after_it():
    text = guard_text.script(CHANGE, "0123", "12:00:00").partition("restore)")[2]
    order = ["br0.netdev", "networkctl reload", "ip -force -batch", "nft -f -", "/etc/there", "accept_ra", "end \"reverted"]
    places = [text.index(one) for one in order]
    assert places == sorted(places)


def test_each_command_for_the_kernel_has_its_own_to_read():
    text = guard_text.script(CHANGE, "0123", "12:00:00")
    assert list(guard_text.inputs(CHANGE).values()) == list(CHANGE.kernel.values())
    for command, path in zip(CHANGE.kernel, guard_text.inputs(CHANGE)):
        assert f"        {command} < {path} > /dev/null 2>&1\n" in text


def test_at_boot_the_kernel_is_left_alone():
    """Between the two blocks that a boot leaves out there are the files and nothing else."""
    body = guard_text.script(CHANGE, "0123", "12:00:00").partition("restore)")[2]
    outside = [part.partition("\n    fi\n")[2] for part in body.split('if [ "$2" != boot ]; then')[1:]]
    assert "/etc/there" in outside[0] and "rmdir '/etc/a folder' 2> /dev/null" in outside[0]
    assert "ip -force" not in outside[0] + outside[1] and "networkctl" not in outside[0] + outside[1]


@pytest.mark.parametrize(
    ("words", "status", "outcome", "is_open"),
    [
        (["confirm", "0123"], 0, "0123 confirmed", False),
        (["drop", "0123"], 0, "0123 reverted failed", False),
        (["restore", "asked"], 0, "0123 reverted asked", False),
        (["restore"], 0, "0123 reverted asked", False),
        (["confirm", "4567"], 3, None, True),
        (["drop"], 3, None, True),
        (["state"], 0, None, True),
        (["help"], 2, None, True),
    ],
)
def test_what_the_script_makes_of_a_word(tmp_path, words, status, outcome, is_open):
    """The script itself, in a folder of its own."""
    text = guard_text.script(guard_text.Change(links=["br0"]), "0123", "12:00:00")
    for path in (guard_text.STATE, guard_text.RUN, "/etc/systemd/system"):
        text = text.replace(path, f"{tmp_path}{path}")
    folder, written = tmp_path / guard_text.FOLDER[1:], tmp_path / guard_text.OUTCOME[1:]
    folder.mkdir(parents=True)
    (folder / "token").write_text("0123\n")
    (folder / "guard").write_text(text.replace("/run/systemd/system", f"{tmp_path}/none"))
    done = subprocess.run(["sh", folder / "guard", *words], check=False, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert (written.read_text().strip() if written.exists() else None) == outcome
    assert folder.exists() is is_open


@pytest.mark.parametrize("known", [True, False], ids=["the run that made the change", "some other program"])
def test_a_run_that_is_not_done_at_the_deadline_is_ended_first(tmp_path, known):
    """It holds the lock, and its child goes on with the change; a process of that number that does not hold it is left alone."""
    text = guard_text.script(guard_text.Change(links=["br0"]), "0123", "12:00:00").replace("flock -w 20", "flock -w 1")
    for path in (guard_text.STATE, guard_text.RUN, "/etc/systemd/system"):
        text = text.replace(path, f"{tmp_path}{path}")
    folder, run = tmp_path / guard_text.FOLDER[1:], tmp_path / guard_text.RUN[1:]
    folder.mkdir(parents=True)
    run.mkdir(parents=True)
    (folder / "token").write_text("0123\n")
    (folder / "guard").write_text(text.replace("/run/systemd/system", f"{tmp_path}/none"))
    holds = "import fcntl, subprocess, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX)"
    goes_on = f"{holds}; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
    with subprocess.Popen(["python3", "-c", goes_on, run / "lock"], stdout=subprocess.PIPE, text=True) as slow:
        try:
            child = int(slow.stdout.readline())
            other = subprocess.Popen(["sleep", "60"])
            (folder / "pid").write_text(f"{slow.pid if known else other.pid}\n")
            subprocess.run(["sh", folder / "guard", "restore", "deadline"], check=True, timeout=30)
            assert (tmp_path / guard_text.OUTCOME[1:]).read_text() == "0123 reverted deadline\n"
            if known:
                assert slow.wait(5) == -9
                assert not os.path.exists(f"/proc/{child}") or "State:\tZ" in Path(f"/proc/{child}/status").read_text()
            assert other.poll() is None and (known or slow.poll() is None)
        finally:
            for one in (slow, other):
                one.kill()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
            other.wait()


def test_ports_of_which_a_manager_has_let_go_are_put_back(tmp_path):
    """Those that are there and in no bridge; nobody is pulled out of another one."""
    net, tools = tmp_path / "net", tmp_path / "bin"
    tools.mkdir()
    for name in ("lost", "kept", "other"):
        (net / name).mkdir(parents=True)
    for name in ("kept", "other"):
        (net / name / "master").touch()
    ports = dict.fromkeys(("lost", "kept", "other", "gone"), "br0")
    change = guard_text.Change(links=["br0"], reload=["networkctl reload"], ports=ports)
    text = guard_text.script(change, "0123", "12:00:00")
    assert text.index("networkctl reload") < text.index("lost br0") < text.index('end "reverted ${2')
    lines = [line.strip() for line in guard_text._port_lines(change)]
    (tools / "ip").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls; touch {net}/lost/master\n')
    (tools / "ip").chmod(0o755)
    script = "\n".join([f"PATH={tools}:$PATH", *lines]).replace("/sys/class/net", str(net))
    subprocess.run(["sh", "-c", script], check=True, timeout=30)
    assert (tmp_path / "calls").read_text() == "link set dev lost master br0\n"


def test_a_link_that_the_change_made_goes_if_its_manager_has_left_it(tmp_path):
    """After the manager has read its files; one that it removes by itself in time is not touched."""
    net, tools = tmp_path / "net", tmp_path / "bin"
    tools.mkdir()
    for name in ("left", "going"):
        (net / name).mkdir(parents=True)
    change = guard_text.Change(links=["left"], reload=["nmcli connection reload"], made=["left", "going", "gone"])
    text = guard_text.script(change, "0123", "12:00:00")
    assert text.index("nmcli connection reload") < text.index("ip link delete dev left") < text.index('end "reverted ${2')
    lines = [line.strip() for line in guard_text._made_lines(change)]
    (tools / "ip").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    (tools / "ip").chmod(0o755)
    script = "\n".join([f"PATH={tools}:$PATH", f"(sleep 0.7; rmdir {net}/going) &", *lines]).replace("/sys/class/net", str(net))
    subprocess.run(["sh", "-c", script], check=True, timeout=30)
    assert (tmp_path / "calls").read_text() == "link delete dev left\n"


def link(name, kind="physical", bridge=None, lower=None, ports=()):
    form = {"name": name, "type": kind, "bridge": bridge, "description": None}
    return forms.Link(form, {"ifname": name, "link": lower}, ports=list(ports))


LINKS = {
    one.name: one
    for one in (
        link("lo", "loopback"), link("eth0", bridge="br0"), link("eth1"), link("vnet0", "tap", bridge="br0"),
        link("br0", "bridge", ports=["eth0", "vnet0"]), link("vlan5", "vlan", lower="br0"),
    )
}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"eth1"}, {"eth1"}), ({"br0"}, {"br0", "eth0"}), ({"vlan5"}, {"vlan5", "br0", "eth0"}), ({"eth0"}, {"eth0", "br0"}),
        ({"lo"}, set()), ({None}, set()), ({"gone0"}, set()), (set(), set()),
    ],
)
def test_the_way_goes_down_to_the_wire_but_not_to_the_guests(names, found):
    assert management.below(LINKS, names) == found


@pytest.mark.parametrize(
    ("peer", "names", "ends"),
    [
        ("192.0.2.7", {"br0", "eth0"}, {"192.0.2.7"}), ("fe80::7%eth1", {"eth1"}, {"fe80::7"}), (None, set(), set()),
    ],
)
def test_the_way_to_the_client(monkeypatch, peer, names, ends):
    """By the kernel's route, but for a link-local address, of which only its own link knows."""
    monkeypatch.setattr(management, "client", lambda: peer)
    host = SimpleNamespace(run=lambda command, check: (0, '[{"dev": "br0"}]', ""))
    assert management.way(host, LINKS) == (names, ends)


@pytest.mark.parametrize(
    ("lines", "leads"),
    [
        (["route replace 0.0.0.0/0 via 192.0.2.1 dev x"], True),
        (["address replace 198.51.100.1/24 dev x broadcast +"], True),
        (["route replace ::/0 via fe80::1 dev x"], False),
        (["address replace 10.0.0.1/24 dev x", "link set dev x up"], False),
        (["route del 0.0.0.0/0 via 192.0.2.1 dev x"], False),
        ([], False),
    ],
)
def test_what_may_draw_the_way_onto_another_link(lines, leads):
    assert management.leads_elsewhere(lines, {"198.51.100.7"}) is leads


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (["0123", "confirmed"], ("confirmed", None)),
        (["0123", "reverted", "deadline"], ("reverted", "deadline")),
        (["0123", "reverted", "boot"], ("reverted", "boot")),
        (["4567", "confirmed"], ("unknown", None)),
        (["4567", "reverted", "deadline"], ("unknown", None)),
        (["0123", "reverted"], ("unknown", None)),
        (["0123"], ("unknown", None)),
        (["sudo:", "confirmed"], ("unknown", None)),
        ([], ("unknown", None)),
        (None, ("unknown", None)),
    ],
)
def test_only_the_outcome_of_this_very_change_counts(answer, found):
    assert guard.verdict(answer, "0123") == found


class Action(guard.GuardedAction):
    """The plugin without a host: it hears what it is told, and remembers what it forgets."""

    def __init__(self, answer):
        self.answer, self.asked, self.forgotten = answer, [], []

    def _ask(self, word, until):
        self.asked.append(word)
        return self.answer

    def _forget(self, token):
        self.forgotten.append(token)


def confirmed(answer):
    """Return the plugin after a module left a change open, and the task's result."""
    action = Action(answer)
    window = {"state": "pending", "links": ["eth0", "br0"], "timeout_s": 30, "token": "0123"}
    result = {"changed": True, "bridges": [{"name": "br0"}], "guard": window}
    action._confirm(result)
    assert action.asked == ["confirm 0123"] and "token" not in result["guard"]
    return action, result


def test_a_change_that_was_confirmed_is_as_the_module_said():
    action, result = confirmed(["0123", "confirmed"])
    assert result["changed"] and result["bridges"] and result["guard"]["state"] == "confirmed" and "failed" not in result
    assert action.forgotten == ["0123"]


def test_a_change_that_was_taken_back_fails_with_the_reason():
    action, result = confirmed(["0123", "reverted", "deadline"])
    assert result["failed"] and not result["changed"] and "bridges" not in result
    assert (result["guard"]["state"], result["guard"]["why"]) == ("reverted", "deadline")
    assert "eth0, br0 was taken back" in result["msg"] and "within 30 s" in result["msg"]
    assert action.forgotten == ["0123"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "has not been reached"),
        ([], "has no outcome of this change"),
        (["4567", "confirmed"], "has no outcome of this change"),
        (["4567", "reverted", "deadline"], "has no outcome of this change"),
    ],
)
def test_where_nobody_knows_the_outcome_nothing_is_claimed(answer, words):
    action, result = confirmed(answer)
    assert result["failed"] and result["changed"] and "bridges" not in result
    assert result["guard"]["state"] == "unknown" and "why" not in result["guard"]
    assert words in result["msg"] and "(eth0, br0)" in result["msg"] and "was taken back:" not in result["msg"]
    assert f"sh {guard_text.SCRIPT}" in result["msg"] and f"cat {guard_text.OUTCOME}" in result["msg"]
    assert action.forgotten == [], "it is another change's"


def test_a_change_in_whose_middle_the_connection_broke_is_taken_back():
    action = Action(["4567", "reverted", "asked"])
    action._task = SimpleNamespace(args={})
    result = action._lost(AnsibleConnectionFailure("gone"))
    assert result["failed"] and result["guard"] == {"state": "reverted", "why": "asked"} and action.forgotten == ["4567"]


def test_a_change_that_failed_while_the_connection_was_broken_says_so():
    action = Action(["4567", "reverted", guard_text.FAILED])
    action._task = SimpleNamespace(args={})
    result = action._lost(AnsibleConnectionFailure("gone"))
    assert result["failed"] and not result["changed"] and "failed on the host, and was taken back" in result["msg"]
    assert action.forgotten == ["4567"]


def test_a_host_that_is_not_reached_any_more_is_told_about():
    action = Action(None)
    action._task = SimpleNamespace(args={})
    with pytest.raises(AnsibleConnectionFailure, match=f"has not been reached since.*{guard_text.SCRIPT}.* gone"):
        action._lost(AnsibleConnectionFailure("gone"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (["4567", "reverted", "deadline"], "not done within 5 s and was ended"),
        (["4567", "reverted", "asked"], "ended in the middle of the change"),
        (None, "has not been reached since"),
        ([], None),
    ],
)
def test_a_module_that_was_killed(answer, words):
    """By the host itself at the deadline, by anybody, where nobody comes in any more, and before it had begun."""
    action = Action(answer)
    action._task = SimpleNamespace(args={"confirm_timeout": "5"})
    found = action._died({"failed": True, "rc": 137, "msg": "MODULE FAILURE"})
    assert action.asked == ["restore asked"]
    assert (words in found["msg"] and "MODULE FAILURE" in found["msg"]) if words else found == {}
    assert action.forgotten == (["4567"] if answer else [])


@pytest.mark.parametrize("answer", [[], ["4567", "confirmed"], ["4567", "reverted"]])
def test_a_broken_connection_stays_one_if_nothing_was_taken_back(answer):
    action = Action(answer)
    action._task = SimpleNamespace(args={"confirm_timeout": "5"})
    with pytest.raises(AnsibleConnectionFailure, match="gone"):
        action._lost(AnsibleConnectionFailure("gone"))
    assert action.forgotten == []


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("0123 confirmed\n", False), ("0123 reverted deadline\n", False), ("4567 confirmed\n", True), ("01234 confirmed\n", True),
        ("", True), (None, False),
    ],
)
def test_only_its_own_outcome_is_removed(tmp_path, text, stays):
    file = tmp_path / "outcome"
    if text is not None:
        file.write_text(text)
    done = subprocess.run(["sh", "-c", guard.removal("0123", file)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.exists() is stays


@pytest.mark.parametrize(
    ("plugin", "transport", "found"),
    [
        (host_bridge, "local", {"confirm": True}), (net_policy, "local", {"confirm": False}),
        (host_bridge, "ssh", {"confirm": True}), (net_policy, "ssh", {"confirm": True}),
    ],
)
def test_a_filter_has_nobody_to_ask_where_there_is_no_way_to_close(plugin, transport, found):
    action = plugin.ActionModule.__new__(plugin.ActionModule)
    action._task, action._connection = SimpleNamespace(args={"confirm": True}), SimpleNamespace(transport=transport)
    assert action._module_args() == found


class Connection(guard.GuardedAction):
    """The plugin with a host that answers (rc, stdout), or is not reached (None), once each."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self._connection = SimpleNamespace(transport="ssh", reset=lambda: None)

    def _low_level_execute_command(self, command, sudoable=True):
        answer = self.answers.pop(0)
        if answer is None:
            raise AnsibleConnectionFailure("no route")
        return {"rc": answer[0], "stdout": answer[1]}


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([(0, "0123 confirmed\n")], ["0123", "confirmed"]),
        ([(3, "0123 reverted boot\n0123 reverted boot\n")], ["0123", "reverted", "boot"]),
        ([(3, "")], []),
        ([None, (0, "0123 confirmed\n")], ["0123", "confirmed"]),
        ([(guard_text.LOCKED, ""), (0, "0123 confirmed\n")], ["0123", "confirmed"]),
        ([None, None], None),
        # It was reached, and another run held its lock to the end.
        ([None, (guard_text.LOCKED, "")], []),
        ([(guard_text.LOCKED, ""), None], None),
    ],
)
def test_the_host_is_asked_until_it_answers_or_the_time_is_over(monkeypatch, answers, found):
    clock = SimpleNamespace(monotonic=iter(range(10)).__next__, sleep=lambda seconds: None)
    monkeypatch.setattr(guard, "time", clock)
    action = Connection(*answers)
    assert action._ask("confirm 0123", until=0) == found
    assert action.answers == []
