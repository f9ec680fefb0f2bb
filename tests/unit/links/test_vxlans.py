# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VXLAN devices as lines, files and items; extensions/molecule/vxlan has them made."""

from __future__ import annotations

import json
import subprocess

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.filter import stretch as filters
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.links import batch, declared, forms, iproute2, vxlans
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import vxlan_files, vxlan_unit

DEVICE = {
    "name": "vx0", "type": "vxlan", "state": "up", "mac": None, "mtu": 1450, "bridge": "b0", "description": forms.ALIAS,
    "addresses": [], "gateway": [], "routes": [], "vni": 7, "local": "192.0.2.1", "udp_port": 4789,
    "peers": ["192.0.2.2", "192.0.2.10"], "home": "b0",
}  # fmt: skip
#: One that somebody else tells of its peers.
TOLD = {**DEVICE, "peers": [], "learning": False}
EVERYBODY = "00:00:00:00:00:00"


def test_a_new_one_in_lines():
    assert batch.create(DEVICE) == [
        "link add name vx0 type vxlan id 7 local 192.0.2.1 dstport 4789", "link set dev vx0 addrgenmode none",
        "link set dev vx0 mtu 1450", 'link set dev vx0 alias "virtnet.kvm"', "link set dev vx0 master b0",
        f"fdb append {EVERYBODY} dev vx0 dst 192.0.2.2", f"fdb append {EVERYBODY} dev vx0 dst 192.0.2.10", "link set dev vx0 up",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        (
            {"peers": ["192.0.2.3", "192.0.2.10"]},
            [f"fdb del {EVERYBODY} dev vx0 dst 192.0.2.2", f"fdb append {EVERYBODY} dev vx0 dst 192.0.2.3"],
        ),
        ({"bridge": None}, ["link set dev vx0 nomaster"]),
        ({"mtu": 1400}, ["link set dev vx0 mtu 1400"]),
        # Its peers stay until whoever tells it finds them.
        (
            {"learning": False, "peers": []},
            ["link set dev vx0 type vxlan nolearning", "link set dev vx0 type bridge_slave learning off"],
        ),
        (
            {"learning": False, "peers": [], "bridge": None},
            ["link set dev vx0 nomaster", "link set dev vx0 type vxlan nolearning"],
        ),
    ],
)  # fmt: skip
def test_a_change_in_lines(changes, lines):
    assert batch.between(DEVICE, {**DEVICE, **changes}) == lines


def test_one_that_is_told_in_lines():
    made = batch.create(TOLD)
    assert made[0] == "link add name vx0 type vxlan id 7 local 192.0.2.1 dstport 4789 nolearning"
    assert made[-3:] == ["link set dev vx0 master b0", "link set dev vx0 type bridge_slave learning off", "link set dev vx0 up"]
    assert batch.between(TOLD, DEVICE) == [
        "link set dev vx0 type vxlan learning", "link set dev vx0 type bridge_slave learning on",
        f"fdb append {EVERYBODY} dev vx0 dst 192.0.2.2", f"fdb append {EVERYBODY} dev vx0 dst 192.0.2.10",
    ]  # fmt: skip
    assert batch.between({**TOLD, "learning": None}, TOLD) == batch.between(DEVICE, {**DEVICE, "learning": False, "peers": []})


@pytest.mark.parametrize(
    ("device", "port", "found"),
    [
        (True, None, True), (False, None, False), (True, True, True), (False, False, False), (False, True, None),
        (True, False, None),
    ],
)
def test_who_learns_as_iproute2_tells_it(device, port, found):
    info = {"info_kind": "vxlan", "info_data": {"id": 7, "local": "192.0.2.1", "port": 4789, "learning": device}}
    if port is not None:
        info.update(info_slave_kind="bridge", info_slave_data={"learning": port})
    row = {"ifname": "vx0", "flags": [], "mtu": 1450, "link_type": "ether", "address": "02:00:00:00:00:01", "linkinfo": info}
    assert forms.links([row], [], [])["vx0"].form["learning"] is found


@pytest.mark.parametrize("key", ["vni", "local", "udp_port"])
def test_what_one_has_for_life(key):
    other = {**DEVICE, key: "192.0.2.9" if key == "local" else 9}
    assert batch.between(DEVICE, other) == ["link delete dev vx0", *batch.create(other)]


def test_lines_go_to_the_tool_that_knows_them():
    found = iproute2.batches(batch.create(DEVICE))
    assert list(found) == ["ip -force -batch -", "bridge -force -batch -"]
    assert found["bridge -force -batch -"].count("fdb append") == 2


@pytest.mark.parametrize(("key", "address"), [("local", "192.0.2.1"), ("local6", "2001:db8::1")])
def test_one_as_iproute2_tells_it(key, address):
    row = {
        "ifname": "vx0", "flags": ["BROADCAST", "UP"], "mtu": 1450, "link_type": "ether", "address": "02:00:00:00:00:01",
        "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 7, key: address, "port": 4789, "learning": True}},
    }  # fmt: skip
    form = forms.links([row], [], [])["vx0"].form
    assert (form["type"], form["vni"], form["local"], form["udp_port"]) == ("vxlan", 7, address, 4789)


@pytest.mark.parametrize(
    ("item", "option", "says"),
    [
        ({"vni": 2**24}, "vni", "out of range"),
        ({"local": "x"}, "local", "not an IP address"),
        ({"peers": ["192.0.2.2", "192.0.2.2"]}, "peers[1]", "named twice"),
        ({"local": "192.0.2.2", "peers": ["192.0.2.2"]}, "peers[0]", "this host itself"),
        ({"peers": ["192.0.2.2", "2001:db8::2"]}, "peers[1]", "two IP versions"),
        ({"peers": ["192.0.2.2"], "learning": False}, "peers", "a device that does not learn"),
    ],
)
def test_what_cannot_be_meant(item, option, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        declared.parse([{"name": "vx0", "state": "present", **item}], "vxlans")
    assert caught.value.option == f"vxlans[0].{option}"


def test_its_file_is_one_that_the_shell_reads():
    text = vxlan_files.entry(DEVICE)
    said = subprocess.run(
        ["/bin/sh", "-c", f'{text}\necho "$vni $local $port $mtu $bridge"; for one in $peers; do echo "$one"; done'],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.split() == ["7", "192.0.2.1", "4789", "1450", "b0", "192.0.2.2", "192.0.2.10"]
    assert vxlan_files.home(text) == "b0"
    assert vxlan_files.home(vxlan_files.entry({**DEVICE, "home": None})) is None
    subprocess.run(["/bin/sh", "-n"], input=vxlan_files.SCRIPT_TEXT, text=True, check=True)


def test_the_unit_makes_it_and_puts_it_into_its_bridge(tmp_path):
    """The script itself, with an ip(8) that only takes down what it is told."""
    net, tools, folder = tmp_path / "net", tmp_path / "bin", tmp_path / "vxlan.d"
    for path in (tools, folder, net / "b0" / "bridge", net / "b0" / "brif"):
        path.mkdir(parents=True)
    (tools / "ip").write_text(f'#!/bin/sh\n[ "$2" = monitor ] || [ "$1" = -o ] || echo "$@" >> {tmp_path}/calls\n')
    (tools / "bridge").write_text(f'#!/bin/sh\necho bridge "$@" >> {tmp_path}/calls\n')
    for tool in ("ip", "bridge"):
        (tools / tool).chmod(0o755)
    script = vxlan_files.SCRIPT_TEXT.replace("/sys/class/net", str(net)).replace(vxlan_files.FOLDER, str(folder))
    script = script.replace("PATH=", f"PATH={tools}:").replace(f"{vxlan_files.RUN}", str(tmp_path / "run"))
    # One by an older version of ours, which knew of one kind only, comes after one that is told of its peers.
    old = "".join(line for line in vxlan_files.entry({**DEVICE, "peers": []}).splitlines(True) if "learning" not in line)
    for name, text in (("vx0", vxlan_files.entry(TOLD)), ("vx1", old)):
        (folder / name).write_text(text)
    subprocess.run(["/bin/sh", "-c", script, "keep", "make"], check=True, timeout=30)
    made = [line for line in (tmp_path / "calls").read_text().splitlines() if line.startswith("link add")]
    assert [line.split("4789 ")[1] for line in made] == ["nolearning", "learning"]
    for name in ("vx0", "vx1"):
        (net / name).mkdir()
    (tmp_path / "calls").unlink()
    subprocess.run(["/bin/sh", "-c", script, "keep", "watch"], check=True, timeout=30)
    assert (tmp_path / "calls").read_text().splitlines() == [
        "link set dev vx0 master b0", "link set dev vx0 type bridge_slave learning off", "link set dev vx1 master b0",
    ]  # fmt: skip


# -- from networks to devices ------------------------------------------------------------------------------------


def link(name, *addresses, mtu=1500, default=False, kind="physical", **more):
    rows = [{"address": one, "scope": "global", "dynamic": False} for one in addresses]
    routes = [{"to": "0.0.0.0/0", "via": "192.0.2.254", "metric": None, "protocol": "static"}] if default else []
    return {
        "name": name, "type": kind, "addresses": rows, "routes": routes, "ports": [], "manager": None, "mtu": mtu, "owned": False,
        **more,
    }  # fmt: skip


def facts(*links, address=None):
    found = {"found": {"interfaces": list(links)}} if links else {}
    return {**found, **({"kvm_underlay_address": address} if address else {})}


KVM1 = facts(link("eth0", "192.0.2.1/24", "2001:db8::1/64", default=True), link("eth1", "10.0.0.1/24", mtu=9000))
KVM2 = facts(link("eth0", "192.0.2.2/24", "2001:db8::2/64", default=True), link("eth1", "10.0.0.2/24", mtu=9000))
KVM3 = facts(link("eth9", "10.0.0.3/24", mtu=9000))
ORDER = ["kvm1", "kvm2", "kvm3", "outside"]


def network(more=None, **changes):
    return {"name": "far", "model": "isolated", "stretch": {"mode": "vxlan", "vni": 7, **(more or {})}, **changes}


def completed(item, hostvars, here="kvm1", play=("kvm1", "kvm2")):
    return filters.stretched_networks([item], here, list(play), ORDER, hostvars, "found")[0]


def test_hosts_find_each_other_on_the_link_of_the_default_route():
    both = {"kvm1": KVM1, "kvm2": KVM2}
    first, second = (completed(network(), both, here) for here in ("kvm1", "kvm2"))
    assert first["stretch"]["local"] == second["stretch"]["peers"][0] == "192.0.2.1"
    assert second["stretch"]["local"] == first["stretch"]["peers"][0] == "192.0.2.2"
    assert (first["stretch"]["serves"], second["stretch"]["serves"]) == (True, False)
    assert first["mtu"] == second["mtu"] == 1450


def test_hosts_find_each_other_in_a_subnet_that_all_share():
    found = completed(network(), {"kvm1": KVM1, "kvm2": KVM2, "kvm3": KVM3}, "kvm3", ORDER[:3])
    assert (found["stretch"]["local"], found["stretch"]["peers"]) == ("10.0.0.3", ["10.0.0.1", "10.0.0.2"])
    assert found["mtu"] == 8950


def test_hosts_behind_routers_face_each_other():
    far = facts(link("ens3", "198.51.100.7/24", default=True))
    found = completed(network(), {"kvm1": KVM1, "kvm2": far})
    assert (found["stretch"]["local"], found["stretch"]["peers"]) == ("192.0.2.1", ["198.51.100.7"])


def test_hosts_of_ipv6_only():
    six = [facts(link("eth0", f"2001:db8::{number}/64", default=True)) for number in (1, 2)]
    found = completed(network(), {"kvm1": six[0], "kvm2": six[1]})
    assert (found["stretch"]["local"], found["stretch"]["peers"], found["mtu"]) == ("2001:db8::1", ["2001:db8::2"], 1430)


def test_a_host_says_its_address_itself():
    found = completed(network(hosts=["kvm1", "kvm2"]), {"kvm1": KVM1, "kvm2": facts(address="203.0.113.9")}, play=["kvm1"])
    assert (found["stretch"]["local"], found["stretch"]["peers"]) == ("192.0.2.1", ["203.0.113.9"])


def test_a_host_that_is_not_reached_does_not_stop_the_others():
    """Nor does a run of some of the hosts make them forget the others."""
    away = {"ansible_host": "192.0.2.2"}
    found = completed(network(hosts=["kvm1", "kvm2"]), {"kvm1": KVM1, "kvm2": away}, play=["kvm1"])
    assert (found["stretch"]["local"], found["stretch"]["peers"]) == ("192.0.2.1", ["192.0.2.2"])
    # A name, or an address elsewhere, says nothing of the links between the hosts.
    for other in ("kvm2.example.net", "198.51.100.2"):
        with pytest.raises(AnsibleFilterError, match="the address of kvm2 is not known"):
            completed(network(), {"kvm1": KVM1, "kvm2": {"ansible_host": other}})


def test_bridges_of_networks_are_no_underlay():
    """A host's own bridge that holds nothing but a VXLAN device of ours leads to guests."""
    inner = [
        link("vnet", "10.1.0.1/24", kind="bridge", ports=["vx0"]), link("vx0", kind="vxlan", owned=True),
        link("virbr0", "10.2.0.1/24", kind="bridge", manager="libvirt"),
    ]  # fmt: skip
    hosts = [facts(*inner, link("eth0", f"192.0.2.{number}/24")) for number in (1, 2)]
    assert completed(network(), {"kvm1": hosts[0], "kvm2": hosts[1]})["stretch"]["peers"] == ["192.0.2.2"]


@pytest.mark.parametrize(("here", "serves"), [("kvm1", False), ("kvm2", True)])
def test_the_item_may_say_who_serves(here, serves):
    found = completed(network({"dhcp_host": "kvm2"}), {"kvm1": KVM1, "kvm2": KVM2}, here)
    assert found["stretch"]["serves"] is serves


def test_what_is_declared_stays():
    item = network({"local": "192.0.2.1", "peers": ["192.0.2.7"], "serves": False}, mtu=1400)
    assert completed(item, {"kvm1": KVM1}) == {**item, "stretch": {**item["stretch"], "control": "static"}}
    plain = {"name": "near", "model": "isolated"}
    assert filters.stretched_networks([plain, network(state="absent")], "kvm1", ["kvm1"], ORDER, {}, "found") == [
        plain, network(state="absent"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "hostvars", "says"),
    [
        (network(), {"kvm1": KVM1}, r"stretch\.peers: far: the address of kvm2 is not known.*kvm_underlay_address"),
        (network(hosts=["kvm1"]), {"kvm1": KVM1}, r"\.hosts: far: its only host is kvm1"),
        (network(hosts=["kvm2", "kvm3"]), {}, r"\.hosts: far: kvm1 is not one of its hosts"),
        (network(hosts=["kvm1", "kvm9"]), {"kvm1": KVM1}, r"\.hosts\[1\]: far: the inventory has no host kvm9"),
        (network({"dhcp_host": "kvm3"}), {"kvm1": KVM1, "kvm2": KVM2}, r"dhcp_host: far: kvm3 is not one"),
        (network(mtu=1451), {"kvm1": KVM1, "kvm2": KVM2}, r"\.mtu: far: the MTU 1451 .* over eth0 of kvm1.*at most 1450"),
        (network(mtu=0), {"kvm1": KVM1, "kvm2": KVM2}, r"\.mtu: far: .*at most 1450"),
        (
            network(), {"kvm1": facts(address="192.0.2.1"), "kvm2": facts(address="2001:db8::2")}, "two IP versions",
        ),
        (
            network(), {"kvm1": facts(link("e", "192.0.2.1/24")), "kvm2": facts(link("e", "2001:db8::2/64"))},
            "no addresses of one",
        ),
    ],
)  # fmt: skip
def test_what_the_hosts_cannot_agree_on(item, hostvars, says):
    with pytest.raises(AnsibleFilterError, match=says):
        completed(item, hostvars)


def test_the_smallest_link_decides():
    small = facts(link("eth0", "192.0.2.2/24", mtu=1400, default=True))
    for here in ("kvm1", "kvm2"):
        assert completed(network(), {"kvm1": KVM1, "kvm2": small}, here)["mtu"] == 1350


def test_devices_of_networks():
    item = network({"local": "192.0.2.1", "peers": ["192.0.2.2"]}, bridge="farbr0", mtu=1450)
    assert filters.stretch_links([item]) == [
        {
            "name": "vx512eea46", "state": "present", "vni": 7, "local": "192.0.2.1", "peers": ["192.0.2.2"], "learning": True,
            "bridge": "farbr0", "mtu": 1450,
        }
    ]  # fmt: skip
    told = network({"local": "192.0.2.1", "peers": ["192.0.2.2"], "control": "evpn"}, bridge="farbr0")
    [device] = filters.stretch_links([told])
    assert (device["peers"], device["learning"]) == ([], False)
    gone = [{"name": "vx512eea46", "state": "absent"}]
    assert filters.stretch_links([{**item, "state": "absent"}]) == filters.stretch_links([{**item, "stretch": None}]) == gone
    assert filters.stretch_links([{"name": "n", "model": "nat", "addresses": ["10.1.0.1/24"]}]) == []
    with pytest.raises(AnsibleFilterError, match=r"stretch\.peers: far: the addresses of the other hosts"):
        filters.stretch_links([network({"local": "192.0.2.1"})])


def test_the_peers_of_all_devices_are_read_by_one_process():
    table = [("vx1", "192.0.2.10"), ("vx1", "192.0.2.9"), ("vx2", "2001:db8::2")]
    rows = [{"mac": batch.EVERYBODY, "ifname": link, "dst": peer} for link, peer in table]
    rows += [{"mac": "52:54:00:00:00:01", "ifname": "vx2", "dst": "192.0.2.7"}, {"mac": "33:33:00:00:00:01", "ifname": "eth0"}]
    asked = []

    class Host:
        def run(self, command, **more):
            asked.append(command)
            return 0, json.dumps(rows), ""

    room = vxlans.VxlanRoom.__new__(vxlans.VxlanRoom)
    room.host, room._forwarding = Host(), None
    assert [room._peers(name) for name in ("vx1", "vx2", "vx3")] == [["192.0.2.9", "192.0.2.10"], ["2001:db8::2"], []]
    assert asked == [["bridge", "-j", "fdb", "show"]]


class Keeper:
    """Stands for the unit: C(left) is whether it is there without a device."""

    name, makes, moves, wanted_state = "systemd", (), False, "running"

    def __init__(self, left=False):
        self.left = lambda: left

    def own(self, name):
        return {}

    def made(self, name):
        return False


def room(items, keeper=None, host=None):
    made = vxlans.VxlanRoom(host, declared.parse(items, "vxlans"), keeper or Keeper())
    made._forwarding, made._state = None, None
    return made


def test_what_others_tell_a_device_is_not_read():
    class Host:
        def run(self, *_command, **_more):
            raise AssertionError("nobody need ask")

    info = {"info_kind": "vxlan", "info_data": {"id": 7, "local": "192.0.2.1", "port": 4789, "learning": False}}
    row = {"ifname": "vx0", "flags": [], "mtu": 1450, "link_type": "ether", "address": "02:00:00:00:00:01", "linkinfo": info}
    form = room([], host=Host()).form(forms.links([row], [], [])["vx0"])
    assert form["peers"] == [] and form["learning"] is False


@pytest.mark.parametrize("left", [True, False])
def test_a_unit_that_a_killed_run_has_left_goes_with_the_next(left):
    plan = room([{"name": "vx0", "state": "absent"}], Keeper(left)).plan({})
    assert [(op.kind, op.op, op.note) for op in plan.ops] == [("manager", "reload", "the unit has no device left")] * left


@pytest.mark.parametrize("path", [None, "SCRIPT", "UNIT"])
def test_what_is_left_of_the_unit(tmp_path, monkeypatch, path):
    for name in ("SCRIPT", "UNIT", "FOLDER"):
        monkeypatch.setattr(vxlan_files, name, str(tmp_path / name))
    unit = vxlan_unit.VxlanUnit(None)
    if path:
        (tmp_path / path).write_text("somebody else's")
        assert not unit.left()
        (tmp_path / path).write_text(vxlan_files.HEADER)
    assert unit.left() is bool(path)
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FOLDER" / "vx0").touch()
    assert not unit.left()
