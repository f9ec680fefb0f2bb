# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of guests, against a libvirt and a disk that are dictionaries."""

from __future__ import annotations

import contextlib
import os
import types

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import engine, libvirt_files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import client, domain, images, kvm_probe, room, spec, storage

pytest.importorskip("lxml.etree")


class Domains:
    """client.Domains, in memory."""

    version = 9000000
    connection = None
    system = True

    def __init__(self, broken=()):
        self.stored, self.live, self.auto, self.broken, self.done = {}, {}, set(), set(broken), []
        self.nets = {"a": client.Network(True, True), "b": client.Network(True, True), "off": client.Network(False, True)}

    def _do(self, what, name):
        self.done.append((what, name))
        if (what, name) in self.broken:
            raise CommandFailed(f"{what} is broken", name)

    def gather(self):
        names = set(self.stored) | set(self.live)
        return {
            name: client.Found(None, name, "u", name in self.live, name in self.auto, self.live.get(name), self.stored.get(name))
            for name in names
        }

    def networks(self):
        return self.nets

    def types(self):
        return {"qemu", "kvm"}

    def define(self, name, xml):
        self._do("define", name)
        self.stored[name] = xml

    def undefine(self, name):
        self._do("undefine", name)
        del self.stored[name]
        self.auto.discard(name)

    def start(self, name):
        self._do("start", name)
        self.live[name] = self.stored[name]

    def destroy(self, name):
        self._do("destroy", name)
        self.live.pop(name, None)

    shutdown = destroy

    def set_autostart(self, name, value):
        self._do("autostart", name)
        (self.auto.add if value else self.auto.discard)(name)

    def live_xml(self, name):
        return self.live[name]

    def update_nic(self, name, xml):
        self._do("update_nic", name)
        tree, new = domain.load(self.live[name]), domain.load(xml)
        for node in tree.iterfind("devices/interface"):
            if node.find("mac").get("address") == new.find("mac").get("address"):
                node.getparent().replace(node, new)
        self.live[name] = domain.etree.tostring(tree, encoding="unicode")


class Image:
    """images.Builtin, in memory."""

    vmlinuz, initrd = "/c/builtin-1/vmlinuz", "/c/builtin-1/initrd"
    kernel = types.SimpleNamespace(version="6.1")
    built = False

    def ready(self):
        return Image.built

    def build(self):
        Image.built = True


class Host:
    lock = staticmethod(contextlib.nullcontext)


@pytest.fixture(autouse=True)
def _host(monkeypatch, tmp_path):
    Image.built = False
    monkeypatch.setattr(images, "Builtin", Image)
    monkeypatch.setattr(images, "is_image", lambda *paths: Image.built and "builtin" in paths[0])
    monkeypatch.setattr(images, "tidy", lambda used: setattr(Image, "built", any(used)))
    monkeypatch.setattr(storage, "GUESTS", str(tmp_path / "guests"))
    monkeypatch.setattr(storage, "STATE", str(tmp_path))
    monkeypatch.setattr(storage, "LOGS", str(tmp_path))
    monkeypatch.setattr(engine.journal, "record", lambda entries: None)
    monkeypatch.setattr(kvm_probe, "recall", lambda: kvm_probe.Answer("tcg", "known"))


def converge(libvirt, *items, check=False, keys=None, **options):
    guests = spec.parse_guests(list(items), "kvm1", keys)
    options = {"wait": "none", **options}
    return engine.converge(room.GuestRoom(guests, libvirt, Host(), **options), Host(), check)


def vm(name="vm0", **more):
    return {"name": name, "nics": [{"network": "a"}], **more}


CHANGES = {
    "new": [[], [vm(), vm("vm1", state="stopped")]],
    "nothing": [[vm()], [vm()]],
    "memory": [[vm()], [vm(memory_mb=256)]],
    "network": [[vm()], [vm(nics=[{"network": "b"}])]],
    "link": [[vm()], [vm(nics=[{"network": "a", "link": "down"}])]],
    "link and memory": [[vm()], [vm(memory_mb=256, nics=[{"network": "a", "link": "down"}])]],
    "a NIC more": [[vm()], [vm(nics=[{"network": "a"}, {"network": "b"}])]],
    "address": [[vm()], [vm(nics=[{"network": "a", "addresses": ["10.0.0.2/24"]}])]],
    "stop": [[vm()], [vm(state="stopped")]],
    "start": [[vm(state="stopped")], [vm()]],
    "absent": [[vm(), vm("vm1")], [vm(state="absent")]],
    "absent, stopped": [[vm(state="stopped")], [vm(state="absent")]],
    "absent, not there": [[], [vm(state="absent")]],
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("restart", [False, True])
def test_check_mode_says_what_a_run_does_and_a_second_run_does_nothing(case, restart):
    before, after = CHANGES[case]
    libvirt = Domains()
    converge(libvirt, *before)
    libvirt.done.clear()
    planned, _warnings = converge(libvirt, *after, check=True, restart=restart)
    assert libvirt.done == []
    result, _warnings = converge(libvirt, *after, restart=restart)
    assert planned == result
    assert result["changed"] == (case not in ("nothing", "absent, not there"))
    again, _warnings = converge(libvirt, *after, restart=restart)
    assert not again["changed"]
    assert again["guests"] == result["guests"]


def ops(result):
    return [(action["name"], action["op"]) for action in result["actions"]]


def test_all_are_defined_before_any_starts():
    result, _warnings = converge(Domains(), vm(), vm("vm1"))
    assert ops(result) == [
        ("builtin", "build"), ("vm0", "define"), ("vm1", "define"), ("vm0", "start"), ("vm1", "start"),
        ("vm0", "autostart"), ("vm1", "autostart"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "restart", "expected", "effects", "pending"),
    [
        ("memory", False, ["define"], {"none"}, ["memory_mb"]),
        ("memory", True, ["define", "stop", "start"], {"none", "recreate"}, []),
        ("link", False, ["define", "update_nic"], {"none", "live"}, []),
        ("network", False, ["define", "update_nic"], {"none", "replug"}, []),
        ("link and memory", False, ["define", "update_nic"], {"none", "live"}, ["memory_mb"]),
        ("link and memory", True, ["define", "stop", "start"], {"none", "recreate"}, []),
        ("a NIC more", False, ["define"], {"none"}, ["nics"]),
    ],
)
def test_the_least_disturbance(case, restart, expected, effects, pending):
    libvirt = Domains()
    converge(libvirt, *CHANGES[case][0])
    result, warnings = converge(libvirt, *CHANGES[case][1], restart=restart)
    assert [op for _name, op in ops(result)] == expected
    assert {action["effect"] for action in result["actions"]} == effects
    assert result["guests"][0]["pending"] == pending
    assert bool(warnings) == bool(pending)


@pytest.mark.parametrize("check", [True, False])
def test_a_guest_whose_definition_cannot_be_removed_goes_on(monkeypatch, check):
    libvirt = Domains()
    converge(libvirt, vm())
    done = list(libvirt.done)
    monkeypatch.setattr(libvirt_files.files.os, "statvfs", lambda folder: types.SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(CommandFailed, match=r"vm0: /etc/libvirt/qemu/vm0\.xml could not be changed: Read-only file system"):
        converge(libvirt, vm(state="absent"), check=check)
    assert libvirt.done == done


def test_the_image_goes_with_the_last_guest():
    libvirt = Domains()
    converge(libvirt, vm(), vm("vm1"))
    converge(libvirt, vm(state="absent"))
    assert Image.built
    converge(libvirt, vm("vm1", state="absent"))
    assert not Image.built


def test_a_stopped_guest_without_image_is_defined_anew():
    libvirt = Domains()
    converge(libvirt, vm(state="stopped"))
    Image.built = False
    result, _warnings = converge(libvirt, vm(state="stopped"))
    assert ops(result) == [("builtin", "build"), ("vm0", "define")]


def test_keys_stay_unless_they_are_declared():
    libvirt = Domains()
    key = "ssh-ed25519 AAAA me"
    converge(libvirt, vm(), keys=[key])
    assert not converge(libvirt, vm())[0]["changed"]
    assert converge(libvirt, vm(), keys=[])[0]["guests"][0]["pending"] == ["authorized_keys"]


def test_a_foreign_domain_is_left_alone():
    libvirt = Domains()
    libvirt.stored["vm0"] = "<domain type='kvm'><name>vm0</name><memory>1024</memory><vcpu>1</vcpu><os/><devices/></domain>"
    for item in (vm(), vm(state="absent")):
        with pytest.raises(Conflict) as error:
            converge(libvirt, item)
        assert error.value.option == "guests[0].name"
    assert libvirt.done == []


def test_macs_and_links_of_other_guests_are_taken():
    libvirt = Domains()
    converge(libvirt, vm("other", nics=[{"network": "a", "mac": "52:54:00:00:00:01", "dev": "t0"}]))
    for key, value in (("mac", "52:54:00:00:00:01"), ("dev", "t0")):
        with pytest.raises(Conflict) as error:
            converge(libvirt, vm(nics=[{"network": "a", key: value}]))
        assert error.value.option == f"guests[0].nics[0].{key}"


@pytest.mark.parametrize(("network", "problem"), [("none", "has no libvirt network none"), ("off", "is not active")])
def test_a_network_that_is_not_there(network, problem):
    libvirt = Domains()
    item = vm(nics=[{"network": "a"}, {"network": network}])
    with pytest.raises(InvalidInput, match=problem) as error:
        converge(libvirt, item)
    assert error.value.option == "guests[0].nics[1].network"
    assert libvirt.done == []
    _result, warnings = converge(libvirt, item, check=True)
    assert problem in warnings[0]
    converge(libvirt, {**item, "state": "stopped"})


def test_a_new_guest_that_does_not_start_leaves_nothing():
    libvirt = Domains(broken=[("start", "vm0")])
    with pytest.raises(CommandFailed, match="start is broken") as error:
        converge(libvirt, vm(), vm("vm1"))
    assert set(libvirt.stored) == set(libvirt.live) == {"vm1"}
    assert [one["name"] for one in error.value.details["failures"]] == ["vm0"]


def test_a_guest_that_cannot_be_defined_is_not_started():
    libvirt = Domains(broken=[("define", "vm0")])
    with pytest.raises(CommandFailed, match="define is broken"):
        converge(libvirt, vm(), vm("vm1"))
    assert ("start", "vm0") not in libvirt.done
    assert ("start", "vm1") in libvirt.done


def test_a_restart_that_fails_brings_the_old_guest_back():
    libvirt = Domains()
    converge(libvirt, vm())
    old = libvirt.stored["vm0"]
    start = libvirt.start

    def fail_once(name):
        libvirt.start = start
        raise CommandFailed("no memory", name)

    libvirt.start = fail_once
    with pytest.raises(CommandFailed, match="no memory"):
        converge(libvirt, vm(memory_mb=4096), restart=True)
    assert libvirt.stored["vm0"] == libvirt.live["vm0"] == old


@pytest.mark.parametrize("declared", ["builtin", "/other.qcow2"])
def test_a_disk_is_not_thrown_away(monkeypatch, declared):
    monkeypatch.setattr(storage, "check_template", lambda guest, host: None)
    monkeypatch.setattr(storage, "iso_maker", lambda: "genisoimage")
    monkeypatch.setattr(storage, "make_disk", lambda guest, host: None)
    monkeypatch.setattr(storage, "make_seed", lambda guest, host: None)
    monkeypatch.setattr(storage, "has_disk", lambda name: False)
    libvirt = Domains()
    result, _warnings = converge(libvirt, vm(image="/t.qcow2"))
    assert [op for _name, op in ops(result)] == ["disk", "seed", "define", "start", "autostart"]
    with pytest.raises(InvalidInput, match="made from /t.qcow2"):
        converge(libvirt, vm(image=declared))


@pytest.mark.parametrize(
    ("asked", "known", "offered", "expected"),
    [
        ("auto", "kvm", {"kvm", "qemu"}, "kvm"),
        ("auto", "kvm", {"qemu"}, "tcg"),
        ("auto", "tcg", {"kvm", "qemu"}, "tcg"),
        ("kvm", "tcg", {"qemu"}, "kvm"),
        ("tcg", "kvm", {"kvm"}, "tcg"),
    ],
)
def test_accelerator(monkeypatch, asked, known, offered, expected):
    monkeypatch.setattr(kvm_probe, "recall", lambda: kvm_probe.Answer(known, "known"))
    libvirt = Domains()
    libvirt.types = lambda: offered
    result, _warnings = converge(libvirt, vm(), accelerator=asked)
    assert result["accelerator"] == result["guests"][0]["accelerator"] == expected
    assert result["accelerator_reason"]


def nic(network="a", link="up", addresses=("dhcp",)):
    return {"network": network, "mac": "52:54:00:00:00:01", "link": link, "addresses": list(addresses)}


@pytest.mark.parametrize(
    ("nics", "addresses", "lacking"),
    [
        ([nic()], [], True),
        ([nic()], ["fe80::1/64"], True),
        ([nic()], ["fd00::1/64", "fe80::1/64"], True),
        ([nic()], ["10.0.0.9/24"], False),
        ([nic("v6")], ["fd00::1/64"], False),
        ([nic("v6")], ["10.0.0.9/24", "fe80::1/64"], True),
        ([nic(link="down")], [], False),
        ([nic(addresses=[])], [], False),
        ([nic(addresses=["10.0.0.2/24"])], ["10.0.0.2/24"], False),
        ([nic(addresses=["10.0.0.2/24"])], ["10.0.0.2/16"], True),
        ([nic(addresses=["10.0.0.2/24", "dhcp"])], ["10.0.0.2/24"], True),
        ([nic(addresses=["10.0.0.2/24", "dhcp"])], ["10.0.0.2/24", "10.0.0.9/24"], False),
    ],
)
def test_what_a_guest_still_lacks(nics, addresses, lacking):
    links = [{"name": "eth0", "mac": "52:54:00:00:00:01", "addresses": addresses}]
    assert bool(room._lacking(nics, links, {"v6"})) is lacking
    assert bool(room._lacking([nic()], [], {"v6"}))


class Ports:
    """firewall.ports.Ports, in memory; notes each change among what libvirt was asked for."""

    def __init__(self, done):
        self.ports, self.done = {}, done

    def load(self):
        return dict(self.ports)

    def change(self, gone, new):
        self.done.append(("ports", sorted([*gone, *new])))
        self.ports = {**{key: port for key, port in self.ports.items() if key not in gone}, **new}


@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.parametrize("restart", [False, True])
def test_ports_are_as_predicted_and_are_bound_before_a_start(change, restart):
    libvirt = Domains()
    ports = Ports(libvirt.done)
    before, after = CHANGES[change]
    if before:
        converge(libvirt, *before, ports=ports)
    libvirt.done.clear()
    predicted, _warnings = converge(libvirt, *after, check=True, restart=restart, ports=ports)
    assert libvirt.done == []
    real, _warnings = converge(libvirt, *after, restart=restart, ports=ports)
    assert predicted["diff"]["after"] == real["diff"]["after"] and predicted["actions"] == real["actions"]
    again, _warnings = converge(libvirt, *after, restart=restart, ports=ports)
    assert not again["changed"]
    nics = {
        (nic["dev"], nic["mac"]): {"guest": name, "network": nic["network"]}
        for name, xml in libvirt.stored.items() for nic in domain.parse(xml)["nics"]
    }
    assert ports.ports == nics
    told = [what for what, _name in libvirt.done]
    if change == "new":
        assert told.index("ports") < told.index("define") < told.index("start")
    if change == "absent":
        assert told.index("destroy") < told.index("undefine") < told.index("ports")


def test_a_guest_that_waits_for_its_restart_has_both_ports():
    libvirt = Domains()
    ports = Ports(libvirt.done)
    converge(libvirt, vm(nics=[{"network": "a", "mac": "52:54:00:00:00:01"}]), ports=ports)
    changed = vm(nics=[{"network": "a", "mac": "52:54:00:00:00:02"}])
    result, _warnings = converge(libvirt, changed, ports=ports)
    assert [one["mac"] for one in result["guests"][0]["bound"]] == ["52:54:00:00:00:01", "52:54:00:00:00:02"]
    assert not converge(libvirt, changed, ports=ports)[0]["changed"]
    converge(libvirt, changed, restart=True, ports=ports)
    assert [mac for _link, mac in ports.ports] == ["52:54:00:00:00:02"]
