# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import engine
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import client, domain, wiring
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.nic_room import NicRoom

MAC, MAC2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
BRIDGE = (
    "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>{target}<virtualport type='openvswitch'/>"
    "<model type='e1000'/>{alias}<boot order='1'/></interface>"
)
STORED = BRIDGE.format(target="", alias="")
LIVE = BRIDGE.format(target="<target dev='vnet7'/>", alias="<alias name='net0'/>")
USER = "<interface type='user'><mac address='52:54:00:00:00:02'/><backend type='passt'/><model type='virtio'/></interface>"


def xml(*nics, name="VM0"):
    return f"<domain><name>{name}</name><devices>{''.join(nics)}</devices></domain>"


def wish(**item):
    return wiring.parse_wishes([{"guest": "VM0", **item}])[0]


def test_the_articles_edit_leaves_all_else_as_it_is():
    node = wiring.wired(wiring.nodes(xml(STORED))[MAC], wish(network="natnet"))
    assert wiring.text(node) == (
        '<interface type="network"><mac address="52:54:00:00:00:01"/><source network="natnet"/>'
        '<model type="e1000"/><boot order="1"/></interface>'
    )


def test_a_nic_without_a_source_gets_one():
    node = wiring.wired(wiring.nodes(xml(USER))[MAC2], wish(network="natnet", dev="tap9", link="down"))
    expected = {"type": "network", "source": "natnet", "dev": "tap9", "link": "down", "model": "virtio", "filter": None}
    assert wiring.form(node) == expected
    assert node.find("backend") is None


def test_nothing_declared_changes_nothing():
    node = wiring.nodes(xml(LIVE))[MAC]
    assert wiring.text(wiring.wired(node, wish())) == wiring.text(node)


@pytest.mark.parametrize(
    ("item", "mac"),
    [({"mac": "52-54-00-00-00-02"}, MAC2), ({"index": 1}, MAC2), ({"alias": "net0"}, MAC)],
)
def test_which_nic_is_meant(item, mac):
    assert wiring.select(wish(**item), wiring.nodes(xml(STORED, USER)), wiring.nodes(xml(LIVE, USER))) == mac


@pytest.mark.parametrize(
    ("item", "words"),
    [({}, "it has 2 NICs"), ({"index": 2}, "no NIC number 2"), ({"alias": "net9"}, "no NIC with the alias net9")],
)
def test_none_is_meant(item, words):
    with pytest.raises(InvalidInput, match=words) as error:
        wiring.select(wish(**item), wiring.nodes(xml(STORED, USER)), {})
    assert MAC in str(error.value) and error.value.option.startswith("nics[0]")


@pytest.mark.parametrize(
    "items",
    [
        [{"mac": MAC, "index": 0}], [{"index": -1}], [{"dev": "vnet3"}], [{"dev": "a" * 16}], [{"mac": "01:00:5e:00:00:01"}],
        [{"dev": "tap0", "mac": MAC}, {"dev": "tap0", "mac": MAC2}],
    ],
)
def test_what_cannot_be_meant(items):
    with pytest.raises(InvalidInput, match=r"nics\[\d\]"):
        wiring.parse_wishes([{"guest": "VM0", **item} for item in items])


def test_a_passed_through_device_is_not_wired():
    node = wiring.nodes(xml("<interface type='hostdev'><mac address='52:54:00:00:00:01'/></interface>"))[MAC]
    with pytest.raises(InvalidInput, match="hostdev"):
        wiring.wired(node, wish(network="natnet"))


# -- the room -----------------------------------------------------------------------------------------------------


@dataclass
class Found:
    stored: Any
    live: Any

    @property
    def main(self):
        return self.stored or self.live


class Daemon:
    """What client.Domains does, on XML; C(fails) lists the calls that it refuses."""

    def __init__(self, domains, fails=()):
        self.domains = {name: Found(*both) for name, both in domains.items()}
        self.fails = fails
        self.calls = []

    def gather(self):
        return self.domains

    def networks(self):
        return {
            "natnet": client.Network(True, True), "stpnet": client.Network(True, True, stp=True),
            "offnet": client.Network(False, True), "macnet": client.Network(True, True, bridged=False),
        }

    def filters(self):
        return {"clean-traffic", "allow-arp"}

    def live_xml(self, name):
        return self.domains[name].live

    def change_nic(self, name, how, text, live):
        self.calls.append((how, "running" if live else "stored"))
        if self.calls[-1] in self.fails:
            raise CommandFailed("refused", name)
        found = self.domains[name]
        tree = domain.load(found.live if live else found.stored)
        devices = tree.find("devices")
        node = domain.load(text)
        mac = node.find("mac").get("address")
        for old in devices.findall("interface"):
            if old.find("mac").get("address") == mac:
                devices.remove(old)
        if how != "detach":
            devices.append(node)
        changed = domain.etree.tostring(tree, encoding="unicode")
        self.domains[name] = Found(found.stored, changed) if live else Found(changed, found.live)


def plan(daemon, disruption="allow", **item):
    room = NicRoom([wish(**item)], daemon, disruption)
    return room, room.plan(room.gather())


RUNNING = LIVE.replace("type='bridge'", "type='network'").replace("bridge='br0'", "network='old' bridge='vb0' portid='1'")


@pytest.mark.parametrize(
    ("live", "item", "operations"),
    [
        (RUNNING, {"network": "natnet"}, [("update", "replug", 1.0)]),
        (LIVE, {"network": "natnet"}, [("update", "replug", 1.0)]),
        (RUNNING, {"network": "stpnet"}, [("update", "replug", 5.0)]),
        (RUNNING, {"network": "macnet"}, [("detach", "recreate", 10.0), ("attach", "recreate", 0.0)]),
        (RUNNING, {"network": "natnet", "dev": "tap3"}, [("detach", "recreate", 10.0), ("attach", "recreate", 0.0)]),
        (RUNNING, {"link": "down"}, [("update", "live", 0.0)]),
        (RUNNING, {"link": "up"}, []),
        (RUNNING, {"model": "virtio"}, [("detach", "recreate", 10.0), ("attach", "recreate", 0.0)]),
        (RUNNING, {"model": "e1000"}, []),
        (RUNNING, {"filter": {"name": "clean-traffic", "parameters": {"IP": "10.0.0.2"}}}, [("update", "live", 0.0)]),
        (RUNNING, {"filter": {}}, []),
        (RUNNING, {"bandwidth": {"inbound": {"average": 100}}, "link": "down"}, [("update", "live", 0.0)]),
        (RUNNING, {"bandwidth": {}}, []),
        (RUNNING, {"filter": {"name": "clean-traffic"}, "network": "natnet"}, [("update", "replug", 1.0)]),
        (RUNNING, {"network": "old"}, []),
        (RUNNING, {"state": "absent"}, [("detach", "recreate", 0.0)]),
    ],
)
def test_what_a_running_guest_notices(live, item, operations):
    found = plan(Daemon({"VM0": (None, xml(live))}), **item)[1]
    assert [(op.op, op.effect, op.outage_s) for op in found.ops] == operations


def test_both_definitions_converge_and_stay():
    daemon = Daemon({"VM0": (xml(STORED), xml(LIVE))})
    room, found = plan(daemon, network="natnet")
    for op in found.ops:
        room.apply(op)
    assert daemon.calls == [("update", "stored"), ("update", "running")]
    assert engine.difference(found.after, room.gather()) == []
    assert plan(daemon, network="natnet")[1].ops == []


def test_a_nic_of_one_definition_comes_into_the_other_too():
    daemon = Daemon({"VM0": (xml(STORED), xml())})
    room, found = plan(daemon, mac=MAC)
    assert [(op.op, op.note) for op in found.ops] == [("attach", "running")]
    room.apply(found.ops[0])
    assert engine.difference(found.after, room.gather()) == []


def test_one_that_fails_is_put_back():
    before = xml(STORED)
    daemon = Daemon({"VM0": (before, xml(LIVE))}, fails=[("update", "running")])
    room, found = plan(daemon, network="natnet")
    with pytest.raises(CommandFailed):
        engine._apply(room, found)
    assert wiring.form(wiring.nodes(daemon.domains["VM0"].stored)[MAC]) == wiring.form(wiring.nodes(before)[MAC])


FILTERED = {"name": "clean-traffic", "parameters": {"IP": ["10.0.0.2", "10.0.0.3"], "DHCPSERVER": "10.0.0.1"}}
LIMITED = {"inbound": {"average": 100, "peak": 200, "burst": 50}, "outbound": {"average": 10}}


def test_filter_and_limits_come_change_and_go():
    daemon = Daemon({"VM0": (xml(STORED), xml(LIVE))})
    for number, item in enumerate((
        {"filter": FILTERED, "bandwidth": LIMITED}, {"filter": {"name": "allow-arp"}, "bandwidth": {"outbound": {"average": 10}}},
        {"filter": {}, "bandwidth": {}},
    )):  # fmt: skip
        room, found = plan(daemon, **item)
        for op in found.ops:
            room.apply(op)
        assert engine.difference(found.after, room.gather()) == [], number
        assert plan(daemon, **item)[1].ops == [] == plan(daemon)[1].ops
        if number == 0:
            form = found.after[f"VM0 {MAC}"]["live"]
            assert form["filter"]["parameters"] == {"DHCPSERVER": ["10.0.0.1"], "IP": ["10.0.0.2", "10.0.0.3"]}
            assert form["bandwidth"] == LIMITED
    assert wiring.text(wiring.nodes(daemon.domains["VM0"].stored)[MAC]) == wiring.text(wiring.nodes(xml(STORED))[MAC])


def test_another_model_takes_the_old_ones_driver_along():
    nic = STORED.replace("<boot", "<driver name='vhost' queues='4'/><boot")
    node = wiring.wired(wiring.nodes(xml(nic))[MAC], wish(model="rtl8139"))
    assert wiring.form(node)["model"] == "rtl8139" and node.find("driver") is None and node.find("boot") is not None


def test_the_limits_of_a_port_group_are_not_the_nics_own():
    """A running NIC tells them; nothing is pending, and nothing to do, as long as none are declared."""
    live = LIVE.replace("<model", "<bandwidth><inbound average='5'/></bandwidth><model")
    found = plan(Daemon({"VM0": (xml(STORED), xml(live))}))[1]
    assert found.ops == [] and found.after[f"VM0 {MAC}"]["pending"] == []


@pytest.mark.parametrize(
    ("item", "option"),
    [
        ({"model": "<x/>"}, "model"), ({"filter": {"parameters": {"IP": "1"}}}, "filter.name"),
        ({"filter": {"name": "a", "parameters": {"I P": "1"}}}, "filter.parameters"),
        ({"filter": {"name": "a", "parameters": {"IP": {}}}}, "filter.parameters"),
        ({"bandwidth": {"inbound": {"peak": 5}}}, "bandwidth.inbound.average"),
        ({"bandwidth": {"outbound": {"average": 0}}}, "bandwidth.outbound.average"),
    ],
)
def test_what_no_model_filter_or_limit_is(item, option):
    with pytest.raises(InvalidInput) as error:
        wish(**item)
    assert error.value.option == f"nics[0].{option}"


def test_a_filter_that_is_not_there():
    found = plan(Daemon({"VM0": (xml(STORED), None)}), filter={"name": "nosuch"})[1]
    assert "called nosuch" in str(found.unmet[0])


def test_live_only_refuses_and_defer_stores():
    daemon = Daemon({"VM0": (xml(STORED), xml(LIVE))})
    with pytest.raises(InvalidInput, match="re-plugs"):
        plan(daemon, "live_only", network="natnet")
    _room, found = plan(daemon, "defer", network="natnet")
    assert [(op.op, op.note) for op in found.ops] == [("update", "stored")] and found.warnings
    assert found.after[f"VM0 {MAC}"]["pending"] == ["source", "type"]


def test_what_must_be_there_first_is_unmet():
    daemon = Daemon({"VM0": (xml(STORED), xml(LIVE))})
    assert "not active" in str(plan(daemon, network="offnet")[1].unmet[0])
    assert "no libvirt network nosuch" in str(plan(daemon, network="nosuch")[1].unmet[0])
    assert "no domain" in str(plan(Daemon({}), network="natnet")[1].unmet[0])
    assert plan(Daemon({}), state="absent", mac=MAC)[1].unmet == []


@pytest.mark.parametrize("item", [{"mac": MAC2, "network": "natnet"}, {"mac": MAC, "dev": "tap7"}])
def test_what_another_guest_has_is_a_conflict(item):
    other = USER.replace("<model", "<target dev='tap7'/><model")
    with pytest.raises(Conflict, match="that of the guest other"):
        plan(Daemon({"VM0": (xml(STORED), None), "other": (xml(other, name="other"), None)}), **item)


def test_a_new_nic_needs_a_network():
    with pytest.raises(InvalidInput, match="for a new one a network is missing"):
        plan(Daemon({"VM0": (xml(), None)}), mac=MAC)


def test_a_running_nic_on_a_network_that_is_a_bridge_of_the_hosts():
    """libvirt tells what it came to, a bridge; it is still of the network."""
    live = LIVE.replace("bridge='br0'", "network='natnet' portid='1' bridge='br0'")
    assert "type='bridge'" in live
    assert plan(Daemon({"VM0": (None, xml(live))}), network="natnet")[1].ops == []


def test_a_new_nic_has_a_name_that_stays():
    [op] = plan(Daemon({"VM0": (xml(), None)}), mac=MAC, network="natnet")[1].ops
    assert op.args["node"].find("target").get("dev") == "vp" + MAC.replace(":", "")
    [op] = plan(Daemon({"VM0": (xml(), None)}), mac=MAC, network="natnet", dev="tap3")[1].ops
    assert op.args["node"].find("target").get("dev") == "tap3"
