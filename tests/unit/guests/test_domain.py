# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import domain, spec, tiny

etree = pytest.importorskip("lxml.etree")

FILES = {"kernel": "/c/builtin-1/vmlinuz", "initrd": "/c/builtin-1/initrd", "disk": "/g/disk", "seed": "/g/seed", "console": "/l"}
ITEMS = {
    "plain": {"name": "vm0", "nics": []},
    "dhcp": {"name": "vm0", "nics": [{"network": "natnet"}]},
    "static": {
        "name": "vm0", "memory_mb": 256, "vcpus": 2,
        "nics": [
            {"network": "a", "addresses": ["10.0.0.2/24", "fd00::2/64"], "gateway": ["10.0.0.1", "fd00::1"], "link": "down"},
            {"network": "b", "addresses": []},
        ],
    },
    "template": {"name": "vm0", "image": "/t & <x>.qcow2", "user_data": "secret", "nics": [{"network": "natnet"}]},
}  # fmt: skip


def guest(key):
    return dataclasses.replace(spec.parse_guests([ITEMS[key]], "kvm1")[0], authorized_keys=("ssh-ed25519 AAAA me",))


@pytest.mark.parametrize("key", ITEMS)
@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
def test_what_is_rendered_is_read_back(key, accelerator):
    xml = domain.render(guest(key), accelerator, FILES, 9000000)
    assert domain.parse(xml) == domain.desired(guest(key), accelerator)


def test_order_of_the_nics_counts_and_they_have_no_boot_rom():
    tree = domain.load(domain.render(guest("static"), "tcg", FILES, 9000000))
    assert [node.find("source").get("network") for node in tree.iterfind("devices/interface")] == ["a", "b"]
    assert {node.find("rom").get("enabled") for node in tree.iterfind("devices/interface")} == {"no"}


def test_a_foreign_domain_has_no_mark():
    tree = domain.load(domain.render(guest("dhcp"), "tcg", FILES, 9000000))
    assert domain.mark_of(tree)["image"] == "builtin"
    tree.remove(tree.find("metadata"))
    assert domain.mark_of(tree) is None


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_a_damaged_mark_is_still_ours(text):
    tree = domain.load(domain.render(guest("dhcp"), "tcg", FILES, 9000000))
    tree.find(f"metadata/{domain.MARK}").text = text
    assert domain.mark_of(tree) == {}
    assert domain.parse(etree.tostring(tree)) != domain.desired(guest("dhcp"), "tcg")


def test_altered_boot_data_show():
    xml = domain.render(guest("dhcp"), "tcg", FILES, 9000000).replace("hostname vm0", "hostname other")
    assert domain.parse(xml)["image"] == "builtin, altered"


@pytest.mark.parametrize(
    ("key", "accelerator", "version", "tb_cache", "cpu"),
    [
        ("dhcp", "tcg", 9000000, True, None),
        ("dhcp", "tcg", 8000000, False, None),
        ("dhcp", "kvm", 9000000, False, "host-passthrough"),
        ("template", "tcg", 9000000, True, "maximum"),
        ("template", "tcg", 7000000, False, None),
    ],
)
def test_what_depends_on_libvirts_version(key, accelerator, version, tb_cache, cpu):
    tree = domain.load(domain.render(guest(key), accelerator, FILES, version))
    assert (tree.find("features/tcg/tb-cache") is not None) is tb_cache
    assert (None if tree.find("cpu") is None else tree.find("cpu").get("mode")) == cpu


def test_secrets_are_not_in_the_definition():
    assert "secret" not in domain.render(guest("template"), "tcg", FILES, 9000000)


def test_the_clock_is_told_only_without_kvm():
    def cmdline(accelerator):
        return domain.load(domain.render(guest("dhcp"), accelerator, FILES, 9000000)).findtext("os/cmdline")

    assert tiny.CMDLINE_TCG in cmdline("tcg")
    assert tiny.CMDLINE_TCG not in cmdline("kvm")


def test_a_running_nic_is_changed_as_it_is():
    live = domain.render(guest("dhcp"), "tcg", FILES, 9000000).replace(
        '<source network="natnet"/>', '<source network="natnet" portid="1" bridge="b"/><alias name="net0"/>'
    )
    nic = dataclasses.replace(guest("dhcp").nics[0], network="other", link="down")
    changed = etree.fromstring(domain.changed_interface(live, nic))
    assert dict(changed.find("source").attrib) == {"network": "other"}
    # One on a network that is a bridge of the host's is told as a bridge while it runs.
    bridge = live.replace('<interface type="network"', '<interface type="bridge"')
    assert bridge != live
    told = etree.fromstring(domain.changed_interface(bridge, nic))
    assert told.get("type") == changed.get("type") == "network"
    assert changed.find("link").get("state") == "down"
    assert changed.find("alias").get("name") == "net0"
    assert domain.changed_interface(live, dataclasses.replace(nic, mac="52:54:00:ff:ff:ff")) is None


def test_libvirts_own_units():
    xml = domain.render(guest("dhcp"), "tcg", FILES, 9000000).replace('<memory unit="MiB">128<', '<memory unit="KiB">131072<')
    assert domain.parse(xml)["memory_mb"] == 128


def test_macs_and_links_of_any_domain():
    xml = "<domain><devices><interface><mac address='AA:00:00:00:00:01'/></interface><interface/></devices></domain>"
    assert domain.macs_and_links(xml) == [("aa:00:00:00:00:01", ""), ("", "")]
