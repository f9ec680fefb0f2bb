# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only guests from a template have: user data, a disk, a console that speaks to a terminal, a long start."""

from __future__ import annotations

import json
import types

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virtnet.kvm.plugins.module_utils import argspec
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import agent, cloudinit, domain, room, spec, storage
from ansible_collections.virtnet.kvm.plugins.modules import guest_vm

MAC = "52:54:00:00:00:01"


def guest(**more):
    item = {"name": "web", "image": "/t.qcow2", **more}
    return spec.parse_guests([item], "kvm1", [])[0]


# -- user data --------------------------------------------------------------------------------------------------------


def test_user_data_leaves_the_parameters_and_blots_out_nothing():
    data = {"password": "hunter2", "count": 1}
    declared = [{"name": "web", "user_data": data}, {"name": "vm0", "user_data": None}]
    module = types.SimpleNamespace(params={"guests": [dict(item) for item in declared]}, no_log_values={"hunter2", "1"})
    assert guest_vm.take_user_data(module) == declared
    assert module.no_log_values == set()
    assert module.params["guests"] == [{"name": "web", "user_data": guest_vm.HIDDEN}, {"name": "vm0", "user_data": None}]


def test_user_data_is_not_logged(monkeypatch):
    logged = []
    monkeypatch.setattr(AnsibleModule, "__init__", lambda self, spec: None)
    monkeypatch.setattr(AnsibleModule, "log", lambda self, *said: logged.append(said))
    module = guest_vm.GuestModule({})
    module.log("Invoked with guests=[hunter2] wait=none", log_args={"guests": "[hunter2]", "wait": "none"})
    module.log("something else")
    assert logged[0] == (f"Invoked with guests={guest_vm.HIDDEN} wait=none", {"guests": guest_vm.HIDDEN, "wait": "none"})
    assert logged[1] == ("something else", None)
    assert argspec.guest_options()["user_data"]["no_log"] is True


# -- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "gateway", "accept"),
    [
        (["fd00::2/64"], ["fd00::1"], False),
        (["10.0.0.2/24", "fd00::2/64"], ["10.0.0.1", "fd00::1"], False),
        (["fd00::2/64"], [], None),
        (["10.0.0.2/24"], ["10.0.0.1"], None),
        (["dhcp", "fd00::2/64"], ["fd00::1"], None),
        (["dhcp"], [], None),
    ],
)
def test_a_declared_ipv6_gateway_is_the_only_one(addresses, gateway, accept):
    nics = [{"network": "n", "mac": MAC, "addresses": addresses, "gateway": gateway}]
    assert cloudinit.network(guest(nics=nics))["ethernets"]["nic0"].get("accept-ra") is accept


# -- the disk ---------------------------------------------------------------------------------------------------------


class Host:
    """A host whose guest has a disk over one template."""

    backing = "/t.qcow2"

    def run(self, command, **_more):
        assert command[:2] == ["qemu-img", "info"]
        return 0, json.dumps({"format": "qcow2", "backing-filename": self.backing} if self.backing else {"format": "qcow2"}), ""


def rooms_operations(monkeypatch, form, host):
    monkeypatch.setattr(storage, "has_disk", lambda name: True)
    monkeypatch.setattr(storage, "has_seed", lambda name: False)
    monkeypatch.setattr(storage, "iso_maker", lambda: "genisoimage")
    one = guest()
    return [op.op for op in room.GuestRoom([one], None, host)._disk_operations(one, form, types.SimpleNamespace(unmet=[]))]


@pytest.mark.parametrize("form", [None, {"image": "builtin", "seed": ""}])
@pytest.mark.parametrize("backing", ["/t.qcow2", "/other.qcow2", ""])
def test_a_disk_that_was_left_lying_is_used_only_if_it_is_of_that_template(monkeypatch, form, backing):
    host = Host()
    host.backing = backing
    if backing == "/t.qcow2":
        assert rooms_operations(monkeypatch, form, host) == ["seed"]
    else:
        with pytest.raises(InvalidInput, match=f"made from {backing}"):
            rooms_operations(monkeypatch, form, host)


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "expected"),
    [(0o644, 0o755, True), (0o604, 0o711, True), (0o640, 0o755, False), (0o644, 0o750, False)],
)
def test_which_templates_qemu_may_read_anyway(tmp_path, file_mode, folder_mode, expected, monkeypatch):
    path = tmp_path / "t.qcow2"
    path.touch(file_mode)
    path.chmod(file_mode)
    tmp_path.chmod(folder_mode)
    real = storage.os.stat
    # The folders above are pytest's own, for nobody else.
    monkeypatch.setattr(storage.os, "stat", lambda one, **more: real(one if one in (str(path), str(tmp_path)) else "/", **more))
    assert storage.readable_by_all(str(path)) is expected


def test_a_template_that_is_gone_is_readable_by_nobody():
    assert not storage.readable_by_all("/nonexistent/t.qcow2")


FILES = {"disk": "/g/disk", "seed": "/g/seed", "console": "/l"}


def test_the_owner_of_a_template_that_all_may_read_stays(tmp_path):
    pytest.importorskip("lxml.etree")
    disks = [
        domain.load(domain.render(guest(), "tcg", files, 9000000)).find("devices/disk")
        for files in (FILES, {**FILES, "template": "/t.qcow2"})
    ]
    assert disks[0].find("backingStore") is None
    source = disks[1].find("backingStore[@type='file']/source")
    assert source.get("file") == "/t.qcow2"
    assert dict(source.find("seclabel").attrib) == {"model": "dac", "relabel": "no"}
    assert disks[1].find("backingStore/format").get("type") == "qcow2"
    # What lies under the template is libvirt's to find out.
    assert disks[1].find("backingStore/backingStore") is None


def test_the_console_is_told_of_as_plain_text(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "LOGS", str(tmp_path))
    assert storage.console_tail("web") == ""
    said = b"\x1bc\x1b[?7l\x1b[H[\x1b[0;32m  OK  \x1b[0m] Started\t\xc3\xa4.\r\n\x1b[K\x07kernel: ok\r\n"
    (tmp_path / "web-console.log").write_bytes(said)
    assert storage.console_tail("web") == "[  OK  ] Started\tä.\nkernel: ok\n"


# -- waiting ----------------------------------------------------------------------------------------------------------


class Agent:
    """The agent of a guest that gives the answers of a list, exceptions among them, the last one for ever."""

    def __init__(self, answers):
        self.answers = list(answers)

    def __call__(self, _connection, _name):
        return self

    def wait(self, timeout_s):
        return 0.0

    def interfaces(self):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


READY = [{"name": "eth0", "mac": MAC, "addresses": ["10.0.0.2/24"]}]
BOOTING = [{"name": "enp1s0", "mac": MAC, "addresses": ["fe80::1/64"]}]


def wait_for(monkeypatch, *answers, wait_s=5, wait="address"):
    monkeypatch.setattr(room, "Agent", Agent(answers))
    monkeypatch.setattr(room.time, "sleep", lambda _seconds: None)
    one = guest(nics=[{"network": "n", "mac": MAC}])
    client = types.SimpleNamespace(connection=None)
    form = {**domain.desired(one, "tcg"), "pending": []}
    return room.GuestRoom([one], client, None, wait=wait, wait_s=wait_s)._await("web", form)


def test_a_guest_may_fall_silent_while_it_is_waited_for(monkeypatch):
    """It reboots itself after cloud-init, or is too busy to answer in time."""
    assert wait_for(monkeypatch, BOOTING, agent.AgentSilent("silent"), agent.AgentSilent("silent"), READY) == READY


def test_the_agent_may_be_all_that_is_waited_for(monkeypatch):
    assert wait_for(monkeypatch, agent.AgentSilent("silent"), BOOTING, wait="agent") == BOOTING


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (agent.AgentSilent("the guest agent does not answer"), agent.AgentSilent, "does not answer"),
        (BOOTING, CommandFailed, "no address after 0 s on 52:54"),
        (agent.GuestOff("the guest does not run"), agent.GuestOff, "does not run"),
    ],
)
def test_waiting_ends(monkeypatch, answer, error, says):
    with pytest.raises(error, match=says):
        wait_for(monkeypatch, answer, wait_s=0)


def test_a_guest_that_is_off_is_not_waited_for(monkeypatch):
    with pytest.raises(agent.GuestOff):
        wait_for(monkeypatch, BOOTING, agent.GuestOff("the guest does not run"), wait_s=60)
