# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dead man's switch as text: a script for sh(1), whatever the files and links are called."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, management
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard_text

CHANGE = guard_text.Change(
    links=["br0", "eth 0"],
    undo=["link delete dev br0"],
    files={"/etc/there": True, "/etc/it's new": False, "/etc/systemd/network/br0.netdev": True},
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
    order = ["br0.netdev", "networkctl reload", "ip -force -batch", "/etc/there", "accept_ra", "end \"reverted"]
    places = [text.index(one) for one in order]
    assert places == sorted(places)


def test_at_boot_the_kernel_is_left_alone():
    """Between the two blocks that a boot leaves out there are the files and nothing else."""
    body = guard_text.script(CHANGE, "0123", "12:00:00").partition("restore)")[2]
    outside = [part.partition("\n    fi\n")[2] for part in body.split('if [ "$2" != boot ]; then')[1:]]
    assert "/etc/there" in outside[0]
    assert "ip -force" not in outside[0] + outside[1] and "networkctl" not in outside[0] + outside[1]


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
