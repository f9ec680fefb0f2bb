# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, VerificationFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import replug
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.client import Nic

NORMAL = {"bridge": "br0", "mtu": None, "port_isolation": False, "addresses": [], "mac": None, "forward": "open"}
VM0 = Nic("vm0", "52:54:00:00:00:01", "tap0", "net", "br0")
VM1 = Nic("vm1", "52:54:00:00:00:AA", "tap1", "net", "br0", isolated=True, mtu=1300)
OTHER = Nic("vm2", "52:54:00:00:00:03", "tap2", "", "br0")


def change(was=None, then=None):
    sides = [replug.Side({**NORMAL, **(values or {})}) for values in (was, then)]
    return replug.Restart(*sides, persistent=True, nics=(VM0, VM1, OTHER))


def lines(was=None, then=None, settings=None):
    one = change(was, then)
    links = ("tap0", "tap1", "tap2", "tapx")
    return replug._plug_lines(one, one.then, links, replug._wanted_settings(one, one.then, links, settings or {}))


def test_links_go_into_the_bridge_that_is_to_be():
    assert lines(then={"bridge": "br1"}) == [f"link set dev {link} master br1" for link in ("tap0", "tap1", "tap2", "tapx")]


def test_what_a_link_was_as_a_port_it_is_again():
    found = lines(settings={"tap2": {"isolated": True, "learning": False}})
    assert found[2:4] == ["link set dev tap2 master br0", "link set dev tap2 type bridge_slave isolated on learning off"]
    assert len(found) == 5


@pytest.mark.parametrize(("was", "then", "isolated"), [(False, True, {"tap0", "tap1"}), (True, False, {"tap1"})])
def test_isolation_is_the_networks_or_the_nics_own(was, then, isolated):
    settings = {link: {"isolated": True} for link in (("tap0", "tap1") if was else ("tap1",))}
    found = lines({"port_isolation": was}, {"port_isolation": then}, settings)
    assert {line.split()[3] for line in found if "isolated on" in line} == isolated


def test_an_mtu_is_the_networks_or_the_nics_own_and_of_no_others():
    assert lines({"mtu": 1400}, {"mtu": None}) == [
        "link set dev tap0 mtu 1500 master br0", "link set dev tap1 mtu 1300 master br0",
        "link set dev tap2 mtu 1500 master br0", "link set dev tapx master br0",
    ]  # fmt: skip


def test_a_port_is_moved_and_isolated():
    xml = "<networkport><mac address='52:54:00:00:00:AA'/><port isolated='yes'/><plug type='network' bridge='br0'/></networkport>"
    moved = replug._moved(xml, "br1", {})
    assert "bridge=\"br1\"" in moved and "isolated" in moved
    assert "isolated" not in replug._moved(xml, "br1", {"52:54:00:00:00:aa": False})
    assert replug._moved(xml, "br1", {"52:54:00:00:00:aa": True}).count("isolated") == 1


def test_the_way_back_is_the_other_way():
    one = change({"mtu": 1400}, {"mtu": 1450})
    assert (one.back().was, one.back().then) == (one.then, one.was)


class Client:
    """A daemon whose network starts when what its errors say is over."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.started = 0

    def start(self, name):
        if self.errors:
            raise CommandFailed(f"starting the network failed: {self.errors.pop(0)}", name)
        self.started += 1


IN_USE = "dnsmasq: failed to create listening socket for 10.65.1.1: Address already in use"


def test_a_network_starts_again_when_the_old_dnsmasq_has_gone():
    client = Client(IN_USE, IN_USE)
    replug._start(client, "net", None, True)
    assert client.started == 1


@pytest.mark.parametrize(("errors", "left"), [((IN_USE, "no such bridge"), 0), ((IN_USE,) * 50, 1)])
def test_what_does_not_go_away_is_told(monkeypatch, errors, left):
    monkeypatch.setattr(replug, "LETS_GO_S", 0.3)
    client = Client(*errors)
    with pytest.raises(CommandFailed):
        replug._start(client, "net", None, True)
    assert client.started == 0 and len(client.errors) >= left


class Ports:
    """As much of client.Networks as plugging needs: port objects."""

    def __init__(self, *ports):
        self.there, self.made = ports, []

    def ports(self, name):
        return [f"<networkport><uuid>{one}</uuid></networkport>" for one in self.there]

    def reclaim_port(self, name, xml):
        self.made.append(xml)


def test_nics_that_are_in_no_bridge_are_put_into_theirs_with_their_ports(monkeypatch):
    said = []
    mine = [replace(VM0, owner="u0", port="p0"), replace(VM1, owner="u1", port="p1", portgroup="staff")]
    monkeypatch.setattr(replug.os.path, "exists", lambda path: True)
    monkeypatch.setattr(replug, "bridge_ports", lambda bridge: ["tap0", "tap1"])
    monkeypatch.setattr(replug, "_port_settings", lambda host, links: {"tap0": {}, "tap1": {"isolated": True}})
    monkeypatch.setattr(replug.iproute2, "batch", lambda host, lines, *words, **more: said.extend(lines))
    client = Ports("p0")
    replug.plug(client, None, "net", replug.Side(NORMAL), mine)
    assert said == [
        "link set dev tap0 master br0", "link set dev tap1 master br0", "link set dev tap1 type bridge_slave isolated on",
    ]  # fmt: skip
    # A port object that is there already stays.
    (made,) = client.made
    assert "".join(line.strip() for line in made.splitlines()) == (
        "<networkport><uuid>p1</uuid><owner><name>vm1</name><uuid>u1</uuid></owner><group>staff</group>"
        '<mac address="52:54:00:00:00:AA"/><port isolated="yes"/><plug type="network" bridge="br0"/></networkport>'
    )


def test_a_nic_that_does_not_come_back_is_an_error(monkeypatch):
    monkeypatch.setattr(replug.os.path, "exists", lambda path: True)
    monkeypatch.setattr(replug, "bridge_ports", lambda bridge: [])
    monkeypatch.setattr(replug.iproute2, "batch", lambda *words, **more: None)
    with pytest.raises(VerificationFailed, match="tap0 are not in br0"):
        replug.plug(Ports(), None, "net", replug.Side(NORMAL), [VM0])


def test_only_links_that_are_in_no_bridge_are_adrift(monkeypatch):
    monkeypatch.setattr(replug.os.path, "isdir", lambda path: path != "/sys/class/net/tap2")
    monkeypatch.setattr(replug.os.path, "exists", lambda path: path == "/sys/class/net/tap1/master")
    assert replug.unplugged([VM0, VM1, OTHER]) == (VM0,)
