# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""New networks through the engine, several at once, on a libvirt made of a dictionary."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import types

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import engine, libvirt_files, models
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import dnsmasq, replug
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.client import Found, Nic
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.networks import NetworkRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op


class Libvirt:
    """As much of client.Networks as new networks need; C(most) is how many calls were there at once."""

    remote = unprivileged = False
    system = True
    uri = "qemu:///system"

    def __init__(self, refuse=()):
        self.refuse, self.networks, self.calls, self.plugged = refuse, {}, [], []
        self.turn, self.there, self.most = threading.Lock(), 0, 0

    def version(self):
        return (9, 0, 0)

    def gather(self):
        return {
            name: Found(
                None, name, "", one["active"], True, one["autostart"],
                definition.load(one["xml"]) if one["active"] else None, definition.load(one["xml"]),
            )
            for name, one in self.networks.items()
        }

    def nics(self):
        return self.plugged

    @contextlib.contextmanager
    def _call(self, verb, name):
        with self.turn:
            self.calls.append((verb, name))
            self.there += 1
            self.most = max(self.most, self.there)
        time.sleep(0.001)
        try:
            if (verb, name) in self.refuse:
                raise CommandFailed(f"{verb} failed", name)
            yield self.networks.get(name)
        finally:
            with self.turn:
                self.there -= 1

    def define(self, name, xml):
        with self._call("define", name):
            old = self.networks.get(name, {"active": False, "autostart": False})
            self.networks[name] = {**old, "xml": xml}

    def undefine(self, name):
        with self._call("undefine", name):
            del self.networks[name]

    def start(self, name):
        with self._call("start", name) as one:
            one["active"] = True

    def stop(self, name):
        with self._call("stop", name) as one:
            one["active"] = False

    def update_live(self, name, updates):
        with self._call("update", name) as one:
            one.setdefault("updates", []).extend(updates)

    def set_autostart(self, name, value):
        with self._call("autostart", name) as one:
            one["autostart"] = value


class Host:
    def __init__(self, links=()):
        """:param links: (link, address, prefix length, subnet), what C(ip) tells."""
        self.links = links

    def lock(self):
        return contextlib.nullcontext()

    def sysctl(self, key):
        return "1"

    def run(self, command, **options):
        rows = []
        if command == ["ip", "-j", "address"]:
            rows = [
                {"ifname": link, "addr_info": [{"local": address, "prefixlen": length}]}
                for link, address, length, _to in self.links
            ]
        elif command[:4] == ["ip", "-j", "-4", "route"]:
            rows = [{"dst": to, "dev": link} for link, _address, _length, to in self.links]
        return 0, json.dumps(rows), ""


class Everybody:
    """Whose dnsmasq runs, if nobody's has ended."""

    def __contains__(self, name):
        return True


@pytest.fixture(autouse=True)
def no_journal(monkeypatch):
    monkeypatch.setattr(dnsmasq, "running", Everybody)
    monkeypatch.setattr(engine.journal, "record", lambda entries: None)


def converge(libvirt, count, links=(), check=False, **more):
    items = [
        {"name": f"n{number}", "model": "nat", "bridge": f"br{number}", "addresses": [f"10.64.{number}.1/24"], **more}
        for number in range(count)
    ]
    result, _warnings = engine.converge(NetworkRoom(models.parse_networks(items), libvirt, Host(links)), Host(), check)
    return result


def test_new_networks_are_made_several_at_once_and_told_in_their_order():
    libvirt = Libvirt()
    result = converge(libvirt, 20)
    assert 1 < libvirt.most <= engine.AT_ONCE
    assert [(one["name"], one["op"]) for one in result["actions"]] == [
        (f"n{number}", verb) for number in range(20) for verb in ("define", "start", "autostart")
    ]
    assert [one["name"] for one in result["networks"]] == [f"n{number}" for number in range(20)]
    for number in range(20):
        assert [verb for verb, name in libvirt.calls if name == f"n{number}"] == ["define", "start", "autostart"]
    assert not converge(libvirt, 20)["changed"]


def test_networks_that_were_there_are_changed_one_after_another():
    libvirt = Libvirt()
    converge(libvirt, 8, state="inactive", autostart=False)
    libvirt.most = 0
    assert converge(libvirt, 8)["changed"]
    assert libvirt.most == 1


def test_one_new_network_that_fails_is_put_back_and_the_others_stand():
    libvirt = Libvirt(refuse={("start", "n3"), ("autostart", "n11")})
    with pytest.raises(CommandFailed, match=r"^n3: start failed \(and 1 more failed: n11\)$") as caught:
        converge(libvirt, 20)
    assert sorted(libvirt.networks) == sorted(f"n{number}" for number in range(20) if number not in (3, 11))
    assert all(one["active"] and one["autostart"] for one in libvirt.networks.values())
    assert [verb for verb, name in libvirt.calls if name == "n11"] == ["define", "start", "autostart", "stop", "undefine"]
    assert [one["name"] for one in caught.value.details["failures"]] == ["n3", "n11"]
    libvirt.refuse = ()
    assert {one["name"] for one in converge(libvirt, 20)["actions"]} == {"n3", "n11"}


@pytest.mark.parametrize("check", [True, False])
def test_without_room_for_its_files_libvirt_is_not_asked(monkeypatch, check):
    """It would make running networks transient. net_plan, which is check mode, says so before a role has touched anything."""
    asked = []

    def full(folder, sizes, what):
        asked.append((folder, sizes))
        raise CommandFailed(what)

    monkeypatch.setattr(libvirt_files.files, "claim_room", full)
    libvirt = Libvirt()
    with pytest.raises(CommandFailed, match="making room for 70 definitions in /etc/libvirt/qemu/networks"):
        converge(libvirt, 70, check=check)
    assert libvirt.calls == []
    [(folder, sizes)] = asked
    assert (folder, len(sizes)) == ("/etc/libvirt/qemu/networks", 65) and sizes[-1] > 5 * sizes[0] > 5 * 4096


def test_where_nothing_is_written_no_room_is_needed(monkeypatch):
    libvirt = Libvirt()
    converge(libvirt, 2)
    monkeypatch.setattr(libvirt_files.files, "claim_room", lambda folder, sizes, what: pytest.fail(f"{sizes}") if sizes else None)
    assert not converge(libvirt, 2, links=own_links(2))["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_what_a_read_only_disk_holds_is_not_stopped(monkeypatch, check):
    libvirt = Libvirt()
    converge(libvirt, 3)
    calls = list(libvirt.calls)
    monkeypatch.setattr(libvirt_files.files.os, "statvfs", lambda folder: types.SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(CommandFailed, match=r"n0: /etc/libvirt/.*n0\.xml could not be changed: Read-only file system"):
        converge(libvirt, 3, check=check, links=own_links(3), state="absent")
    assert libvirt.calls == calls
    assert not converge(libvirt, 3, links=own_links(3))["changed"]


def own_links(count):
    return [(f"br{number}", f"10.64.{number}.1", 24, f"10.64.{number}.0/24") for number in range(count)]


def test_networks_that_run_do_not_collide_with_their_own_bridges():
    libvirt = Libvirt()
    converge(libvirt, 3)
    assert not converge(libvirt, 3, own_links(3))["changed"]


@pytest.mark.parametrize(
    ("link", "error", "text"),
    [
        (("eth0", "10.64.3.7", 24, "10.64.3.0/24"), InvalidInput, r"n3: its subnet 10\.64\.3\.0/24 overlaps 10\.64\.3\.7/24 of"),
        (("br3", "192.0.2.1", 24, "192.0.2.0/24"), Conflict, "n3: the link br3 is there already"),
        (("eth0", "192.0.2.1", 24, "10.64.3.128/25"), InvalidInput, "overlaps the host's route to 10.64.3.128/25 on eth0"),
    ],
)
def test_a_new_network_beside_them_may_not_have_what_is_another_links(link, error, text):
    libvirt = Libvirt()
    converge(libvirt, 3)
    with pytest.raises(error, match=text):
        converge(libvirt, 4, [*own_links(3), link])
    assert sorted(libvirt.networks) == ["n0", "n1", "n2"]


@pytest.mark.parametrize("state", ["gone", "stopped", "running"])
def test_guests_that_are_in_no_bridge_are_put_back(monkeypatch, state):
    libvirt, put = Libvirt(), []
    mine = Nic("vm0", "52:54:00:00:00:01", "tap0", "n0", "br0")
    if state != "gone":
        converge(libvirt, 1)
        libvirt.networks["n0"]["active"] = state == "running"
    libvirt.plugged = [mine, Nic("vm1", "52:54:00:00:00:02", "tap1", "other", "br9")]
    monkeypatch.setattr(replug, "unplugged", tuple)
    monkeypatch.setattr(replug, "plug", lambda client, host, name, side, nics: put.append((name, side.bridge, nics)))
    last = converge(libvirt, 1)["actions"][-1]
    assert (last["op"], last["effect"], last["guests"]) == ("plug", "live", ["vm0"])
    assert put == [("n0", "br0", (mine,))]
    if state != "gone":
        # To a daemon elsewhere, and in one that may make no links, nothing of that can be done from here.
        for word in ("remote", "unprivileged"):
            monkeypatch.setattr(Libvirt, word, True)
            assert "plug" not in [one["op"] for one in converge(libvirt, 1)["actions"]]
            monkeypatch.setattr(Libvirt, word, False)


def test_a_network_that_has_lost_its_dnsmasq_gets_a_new_one(monkeypatch):
    libvirt = Libvirt()
    converge(libvirt, 2)
    monkeypatch.setattr(dnsmasq, "running", lambda: {"n0": [7]})
    (action,) = converge(libvirt, 2)["actions"]
    assert (action["name"], action["op"], action["effect"]) == ("n1", "serve", "live")
    (_add, command, _index, xml), (_delete, undone, _index, same) = libvirt.networks["n1"]["updates"]
    assert (command, undone) == ("add", "delete")
    assert xml == same
    # Of a daemon elsewhere, and of a user's own, that cannot be seen from here.
    for word in ("remote", "unprivileged"):
        monkeypatch.setattr(Libvirt, word, True)
        assert converge(libvirt, 2)["actions"] == []
        monkeypatch.setattr(Libvirt, word, False)
    # A start has libvirt start it as well.
    libvirt.networks["n1"]["active"] = False
    assert [one["op"] for one in converge(libvirt, 2)["actions"]] == ["start"]


def test_a_dnsmasq_that_does_not_start_leaves_nothing_in_the_network(monkeypatch):
    """Libvirt has changed the running definition before it starts anything."""
    libvirt = Libvirt()
    converge(libvirt, 1)
    monkeypatch.setattr(dnsmasq, "running", dict)
    there, real = [], libvirt.update_live

    def update_live(name, updates):
        for _section, command, _index, xml in updates:
            there.append(xml) if command == "add" else there.remove(xml)
        raise CommandFailed("cannot start dnsmasq", name)

    libvirt.update_live = update_live
    with pytest.raises(CommandFailed, match="cannot start dnsmasq"):
        converge(libvirt, 1)
    assert there == []
    libvirt.update_live = real
    assert [one["op"] for one in converge(libvirt, 1)["actions"]] == ["serve"]


def test_what_has_libvirt_start_it_by_the_way_is_enough():
    served = {"forward": "nat", "addresses": ["10.0.0.1/24"], "dhcp": None, "dns": {"enabled": True}}

    def lost(op, **args):
        return dnsmasq.lost("n0", served, [Op("network", "n0", op, args=args)], {})

    assert lost("define")
    assert not lost("restart")
    assert not lost("start")
    assert not lost("update", updates=[("dns-host", "add", -1, "<host/>")])
    # A port group is none of dnsmasq's business.
    assert lost("update", updates=[("portgroup", "add", -1, "<portgroup/>")])
    assert not dnsmasq.lost("n0", served, [], {"n0": [7]})
    assert not dnsmasq.lost("n0", {**served, "addresses": []}, [], {})


def test_a_network_that_serves_nothing_needs_no_dnsmasq():
    served = {"forward": "nat", "addresses": ["10.0.0.1/24"], "dhcp": None, "dns": {"enabled": True}}
    silent = {**served, "dns": {"enabled": False}}
    assert dnsmasq.needed(served)
    assert dnsmasq.needed({**silent, "dhcp": {"ranges": [{}], "reservations": []}})
    assert not dnsmasq.needed(silent)
    assert not dnsmasq.needed({**silent, "dhcp": {"ranges": [], "reservations": []}})
    assert not dnsmasq.needed({**served, "addresses": []})
    assert not dnsmasq.needed({**served, "forward": "bridge"})


def test_a_dnsmasq_is_known_by_what_it_reads(monkeypatch):
    monkeypatch.undo()
    words = ["dnsmasq", "-c", "import time; time.sleep(60)", "--conf-file=/var/lib/libvirt/dnsmasq/of a test.conf"]
    with subprocess.Popen(words, executable=sys.executable) as process:
        try:
            deadline = time.monotonic() + 20
            while "of a test" not in dnsmasq.running() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert dnsmasq.running()["of a test"] == [process.pid]
            # That of a container on this host, which has another daemon.
            real = os.readlink
            monkeypatch.setattr(os, "readlink", lambda path: "net:[1]" if path == "/proc/self/ns/net" else real(path))
            assert "of a test" not in dnsmasq.running()
        finally:
            process.kill()


def test_a_network_that_is_to_be_stopped_puts_nobody_back(monkeypatch):
    libvirt = Libvirt()
    converge(libvirt, 1, state="inactive", autostart=False)
    libvirt.plugged = [Nic("vm0", "52:54:00:00:00:01", "tap0", "n0", "br0")]
    monkeypatch.setattr(replug, "unplugged", tuple)
    assert converge(libvirt, 1, state="inactive", autostart=False)["actions"] == []
