# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the examples of docs/virsh.md for libvirt's networks in their order, and compares with what virsh says."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest


def table(host, command):
    """Return virsh's table as rows of words."""
    return [line.split() for line in host.check_output(f"virsh -q {command}").splitlines() if line.strip()]


def facts(result, name="virshnet"):
    return next(one for one in result["networks"] if one["name"] == name)


@pytest.fixture(scope="module")
def clean(host):
    yield
    host.run("for net in virshnet virshtmp; do virsh net-destroy $net; virsh net-undefine $net; done")


def test_define_start_autostart(host, modules, document, clean):
    assert document.run(modules, "net-define, net-start, net-autostart")["changed"]
    assert ["virshnet", "active", "yes", "yes"] in table(host, "net-list --all")
    assert not document.run(modules, "net-define, net-start, net-autostart")["changed"]


def test_create(host, modules, document, clean):
    assert document.run(modules, "net-create")["changed"]
    assert ["virshtmp", "active", "no", "no"] in table(host, "net-list --all")
    assert not document.run(modules, "net-create")["changed"]


def test_list(host, modules, document, clean):
    found = document.run(modules, "net-list")["networks"]
    words = {True: "yes", False: "no"}
    rows = [[one["name"], one["state"], words[one["autostart"]], words[one["persistent"]]] for one in found]
    assert rows == sorted(table(host, "net-list --all"))
    assert [row for row in rows if row[1] == "active"] == sorted(table(host, "net-list"))


def test_info_uuid_name(host, modules, document, clean):
    one = facts(document.run(modules, "net-info, net-uuid, net-name"))
    lines = host.check_output("virsh net-info virshnet").splitlines()
    said = dict(re.split(r":\s+", line, maxsplit=1) for line in lines if ":" in line)
    words = {True: "yes", False: "no"}
    assert said == {
        "Name": one["name"], "UUID": one["uuid"], "Active": words[one["state"] == "active"],
        "Persistent": words[one["persistent"]], "Autostart": words[one["autostart"]], "Bridge": one["bridge"],
    }
    assert one["uuid"] == host.check_output("virsh net-uuid virshnet").strip()
    (by_uuid,) = modules("virt_net_info", names=[one["uuid"]])["networks"]
    assert by_uuid["name"] == host.check_output("virsh net-name %s", one["uuid"]).strip()


def test_dumpxml(host, modules, document, clean):
    one = facts(document.run(modules, "net-dumpxml"))
    assert one["xml"].strip() == host.check_output("virsh net-dumpxml virshnet").strip()
    assert one["xml_inactive"].strip() == host.check_output("virsh net-dumpxml --inactive virshnet").strip()


def test_leases_and_ports(host, modules, document, clean):
    """A port without a guest, as libvirt takes it from anybody; leases are compared where a lab has guests, too."""
    xml = (
        "<networkport><uuid>5ab5a3f3-51ae-44dc-a282-ecd2b9529d69</uuid>"
        "<owner><name>virshguest</name><uuid>5ab5a3f3-51ae-44dc-a282-ecd2b9529d68</uuid></owner>"
        "<mac address='52:54:00:00:16:00'/></networkport>"
    )
    host.run_test("printf %s > /tmp/port.xml && virsh net-port-create virshnet /tmp/port.xml; rm /tmp/port.xml", xml)
    uuids = [row[0] for row in table(host, "net-port-list virshnet")]
    one = facts(document.run(modules, "net-dhcp-leases, net-port-list"))
    try:
        assert [port["uuid"] for port in one["ports"]] == uuids and len(uuids) == 1
        tree = ElementTree.fromstring(host.check_output("virsh net-port-dumpxml virshnet %s", uuids[0]))
        (port,) = one["ports"]
        assert port["mac"] == tree.find("mac").get("address") and port["guest"] == tree.findtext("owner/name")
        assert port["bridge"] == tree.find("plug").get("bridge") == "virshbr0"
        assert [lease["mac"] for lease in one["leases"]] == [row[2] for row in table(host, "net-dhcp-leases virshnet")]
    finally:
        host.run("virsh net-port-delete virshnet 5ab5a3f3-51ae-44dc-a282-ecd2b9529d69")


def test_edit(host, modules, document, clean):
    assert document.run(modules, "net-edit, net-update")["changed"]
    for flag in ("", "--inactive"):
        xml = host.check_output(f"virsh net-dumpxml virshnet {flag}")
        assert "start='10.64.160.50'" in xml and "<hostname>nine</hostname>" in xml
    assert not document.run(modules, "net-edit, net-update")["changed"]


def test_destroy_and_undefine(host, modules, document, clean):
    assert document.run(modules, "net-destroy")["changed"]
    assert ["virshnet", "inactive", "yes", "yes"] in table(host, "net-list --all")
    assert document.run(modules, "net-undefine")["changed"]
    assert not {"virshnet", "virshtmp"} & {row[0] for row in table(host, "net-list --all")}


def test_every_network_example_was_run(document):
    """A new example in the document needs a test here."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert [heading for heading in document.headings("virt_net_") if f'"{heading}"' not in source] == []
