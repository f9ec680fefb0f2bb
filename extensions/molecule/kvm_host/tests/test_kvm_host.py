# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host is like after role kvm_host."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://kvm_hosts"]


@pytest.mark.parametrize("unit", ["libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"])
def test_starts_at_boot(host, unit):
    assert host.run("systemctl is-enabled %s", unit).stdout.strip() == "enabled"


def test_listens_now(host):
    assert host.run("systemctl is-active libvirtd.socket").stdout.strip() == "active"


def test_answers(host):
    assert host.run("virsh --quiet --connect qemu:///system hostname").rc == 0


def test_the_systems_python_has_the_libraries(host):
    assert host.run("/usr/bin/python3 -c 'import libvirt, libvirt_qemu, lxml.etree'").rc == 0


@pytest.mark.parametrize("program", ["qemu-system-x86_64", "qemu-img", "nft", "ip", "conntrack", "dnsmasq", "virsh"])
def test_has_what_the_modules_call(host, program):
    assert host.exists(program)
