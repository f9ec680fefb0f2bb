# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the examples of docs/virsh.md for the host's links in their order, and compares with what virsh and the kernel say."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

UNSUPPORTED = "this function is not supported by the connection driver"
MAC = "52:54:00:16:00:01"
FILE = (
    "[Match]\\nName=eth1\\n\\n[Network]\\nAddress=10.64.161.10/24\\nIPv6AcceptRA=no\\nConfigureWithoutCarrier=yes\\n"
)


@pytest.fixture(scope="module", autouse=True)
def eth1(host):
    """A second NIC of the host, which others set up; its cable leads to eth1far."""
    host.run_test(f"ip link add eth1 address {MAC} type veth peer name eth1far && ip link set eth1far up")
    host.run_test(f"printf '{FILE}' > /etc/systemd/network/60-eth1.network && networkctl reload && networkctl up eth1 && sleep 1")
    yield
    host.run("for link in virshbr2 virshbr3 virshtap0 eth1; do ip link del $link; done")
    host.run_test("rm -f /etc/systemd/network/60-eth1.network; networkctl reload")


@pytest.fixture
def virsh(host):
    """Call virsh; return what it says, or None where its libvirt has no such driver, and then it must say just that."""

    def call(command, reads=True):
        said = host.run(f"virsh -q {command}")
        if UNSUPPORTED in said.stderr:
            return None
        assert reads and said.rc == 0, f"virsh {command}: {said.stdout}{said.stderr}"
        return said.stdout.strip()

    return call


def links(host):
    return {row["ifname"]: row for row in json.loads(host.check_output("ip -j -d link"))}


def addresses(host, name):
    rows = json.loads(host.check_output(f"ip -j address show {name}"))[0]["addr_info"]
    return {f"{one['local']}/{one['prefixlen']}" for one in rows if one["scope"] == "global"}


def test_which_virsh_reads_links(host, virsh):
    """Debian 12's libvirt has the driver, in Debian 13 it is another package: what the document says."""
    release = host.check_output(". /etc/os-release; echo $VERSION_ID")
    assert (virsh("iface-list") is not None) == (release == "12")


def test_iface_list(host, modules, document, virsh):
    found = {one["name"]: one for one in document.run(modules, "iface-list")["interfaces"]}
    here = links(host)
    # The loopback has none; ip and virsh write zeros.
    macs = {name: one["mac"] or "00:00:00:00:00:00" for name, one in found.items()}
    assert macs == {name: row.get("address") for name, row in here.items()}
    active = {name for name, one in found.items() if one["state"] == "up" and one["carrier"]}
    # The kernel does not call the loopback UP, but UNKNOWN.
    assert active - {"lo"} == {name for name, row in here.items() if row["operstate"] == "UP"}
    said = virsh("iface-list --all")
    if said is not None:
        rows = {row[0]: row[1:] for row in map(str.split, said.splitlines())}
        assert set(rows) == {name for name, one in found.items() if one["bridge"] is None}
        assert {name: mac for name, (_state, mac) in rows.items()} == {name: macs[name] for name in rows}
        assert {name for name, (state, _mac) in rows.items() if state == "active"} == active & set(rows) - {"lo"}
        assert {row.split()[0] for row in virsh("iface-list").splitlines()} == active & set(rows) - {"lo"}


def test_iface_mac(host, modules, document, virsh):
    (one,) = document.run(modules, "iface-mac")["interfaces"]
    assert one["mac"] == links(host)["eth1"]["address"] == MAC
    assert virsh("iface-mac eth1") in (None, one["mac"])


def test_iface_name(host, modules, document, virsh):
    (one,) = document.run(modules, "iface-name")["interfaces"]
    assert one["name"] == "eth1"
    assert virsh(f"iface-name {one['mac']}") in (None, "eth1")


def test_iface_dumpxml(host, modules, document, virsh):
    (one,) = document.run(modules, "iface-dumpxml")["interfaces"]
    said = virsh("iface-dumpxml eth1")
    assert one["xml"] is None if said is None else one["xml"].strip() == said
    if said is not None:
        tree = ElementTree.fromstring(said)
        assert (one["name"], one["mac"]) == (tree.get("name"), tree.find("mac").get("address"))
        assert one["mtu"] == int(tree.find("mtu").get("size"))
    assert one["mtu"] == links(host)["eth1"]["mtu"]
    told = {two["address"] for two in one["addresses"] if two["scope"] == "global"}
    assert told == addresses(host, "eth1") == {"10.64.161.10/24"}


def changed(modules, document, heading):
    """Run an example twice: it changes something, and then no more; return the first result."""
    result = document.run(modules, heading)
    assert result["changed"] and not document.run(modules, heading)["changed"]
    return result


def test_iface_edit(host, modules, document, virsh):
    changed(modules, document, "iface-edit")
    assert links(host)["eth1"]["mtu"] == 1400
    assert addresses(host, "eth1") == {"10.64.162.10/24", "fd00:64:162::10/64"}
    said = virsh("iface-dumpxml eth1")
    assert said is None or "<mtu size='1400'/>" in said


def test_iface_destroy_and_start(host, modules, document, virsh):
    assert virsh("iface-destroy eth1", reads=False) is None
    changed(modules, document, "iface-destroy")
    assert "UP" not in links(host)["eth1"]["flags"]
    said = virsh("iface-list")
    assert said is None or "eth1" not in said
    assert virsh("iface-start eth1", reads=False) is None
    changed(modules, document, "iface-start")
    assert "UP" in links(host)["eth1"]["flags"] and "10.64.162.10/24" in addresses(host, "eth1")


def test_iface_define(host, modules, document, virsh):
    host.run_test("printf \"<interface type='bridge' name='virshbr2'><bridge/></interface>\" > /tmp/virshbr2.xml")
    assert virsh("iface-define /tmp/virshbr2.xml", reads=False) is None
    host.run_test("rm /tmp/virshbr2.xml")
    changed(modules, document, "iface-define")
    assert links(host)["virshbr2"]["linkinfo"]["info_kind"] == "bridge" and addresses(host, "virshbr2") == {"10.64.163.1/24"}
    assert "UP" in links(host)["virshbr2"]["flags"]
    said = virsh("iface-mac virshbr2")
    assert said in (None, links(host)["virshbr2"]["address"])


def test_taps(host, modules, document, virsh):
    changed(modules, document, "Taps")
    row = links(host)["virshtap0"]
    assert (row["linkinfo"]["info_kind"], row["linkinfo"]["info_data"]["type"], row["master"]) == ("tun", "tap", "virshbr2")
    said = virsh("iface-dumpxml virshbr2")
    assert said is None or "virshtap0" in {one.get("name") for one in ElementTree.fromstring(said).iter("interface")}


def test_iface_bridge_and_unbridge(host, modules, document, virsh):
    before = addresses(host, "eth1")
    assert virsh("iface-bridge eth1 virshbr3 --no-start", reads=False) is None
    changed(modules, document, "iface-bridge")
    assert links(host)["eth1"]["master"] == "virshbr3" and links(host)["virshbr3"]["address"] == MAC
    assert (addresses(host, "virshbr3"), addresses(host, "eth1")) == (before, set())
    said = virsh("iface-dumpxml virshbr3")
    assert said is None or {one.get("name") for one in ElementTree.fromstring(said).iter("interface")} == {"virshbr3", "eth1"}
    changed(modules, document, "iface-unbridge")
    assert "virshbr3" not in links(host) and addresses(host, "eth1") == before


def test_iface_undefine(host, modules, document, virsh):
    assert virsh("iface-undefine eth1", reads=False) is None
    changed(modules, document, "iface-undefine")
    here = links(host)
    assert not {"virshbr2", "virshtap0"} & set(here)
    assert (here["eth1"]["mtu"], addresses(host, "eth1")) == (1500, {"10.64.161.10/24"})


def test_every_example_was_run(document):
    """A new example in the document needs a test here."""
    source = Path(__file__).read_text(encoding="utf-8")
    wanted = document.headings("host_", "tap_")
    assert [heading for heading in wanted if f'"{heading}"' not in source] == [] and len(wanted) == 12
