# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input: one clear error, the option named, before anything is touched. The unit tests have the pure cases."""

from __future__ import annotations

import pytest


def net(**changes):
    return {"name": "badnet", "model": "nat", "bridge": "badbr0", "addresses": ["10.64.120.1/24"], **changes}


@pytest.mark.parametrize("name", ["virt_net_model", "net_policy", "nat_rule"])
def test_every_module_refuses_a_bad_network_alike(modules, name):
    message = modules.refused(name, networks=[net(), net(name="a<b>")])
    assert message.startswith("networks[1].name: a<b>: 'a<b>' cannot be a name")


def test_what_the_host_has_already(host, modules):
    own = next(iter(host.interface("eth0").addresses))
    prefix = own.rsplit(".", 1)[0]
    assert "eth0" in modules.refused("virt_net_model", networks=[net(addresses=[f"{prefix}.1/25"])])
    host.run_test("ip link add badbr1 type bridge")
    host.run_test("ip route add 10.64.125.0/24 via %s", f"{prefix}.1")
    try:
        assert "badbr1 is there already" in modules.refused("virt_net_model", networks=[net(bridge="badbr1")])
        assert "10.64.125.0/24" in modules.refused("virt_net_model", networks=[net(addresses=["10.64.125.1/24"])])
    finally:
        host.run_test("ip link del badbr1")
        host.run_test("ip route del 10.64.125.0/24")


def test_unknown_words(modules):
    assert "bogus" in modules.refused("virt_net_model", networks=[net(model="bogus")])
    assert "colour" in modules.refused("virt_net_model", networks=[net(colour="red")])


def test_no_daemon_says_so(host, modules):
    host.run_test("systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service")
    try:
        message = modules.refused("virt_net_model", networks=[net()])
        assert "libvirt does not answer" in message and "Start libvirtd" in message
    finally:
        host.run_test("systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket")


def test_no_bindings_say_so(host, modules):
    folder = "/usr/lib/python3/dist-packages"
    host.run_test(f"mv {folder}/libvirt.py {folder}/libvirt.py.away && rm -f {folder}/__pycache__/libvirt.*")
    try:
        message = modules.refused("virt_net_model", networks=[net()])
        assert "python3-libvirt" in message
    finally:
        host.run_test(f"mv {folder}/libvirt.py.away {folder}/libvirt.py")
