# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A libvirt network on a bridge of the host's: what else is in that bridge, the uplink say, is not its to move."""

from __future__ import annotations

import pytest

LINKS = (
    "link add hbnbr0 type bridge", "link add hbnbr1 type bridge", "link add hbnveth0 type veth peer name hbnveth1",
    "link set hbnveth0 master hbnbr0", "link set hbnbr0 up", "link set hbnbr1 up",
)  # fmt: skip


@pytest.fixture
def bridges(host):
    for line in LINKS:
        host.run_test(f"ip {line}")
    yield
    host.run("virsh net-destroy hbnnet; virsh net-undefine hbnnet")
    host.run("for link in hbnveth0 hbnbr0 hbnbr1; do ip link del $link; done")


def master(host, link):
    return host.check_output(f"basename $(readlink /sys/class/net/{link}/master)")


def test_a_network_that_moves_to_another_bridge_takes_only_its_guests_along(host, modules, bridges):
    def network(bridge):
        return {"networks": [{"name": "hbnnet", "model": "bridged", "bridge": bridge}]}

    modules.run("virt_net_model", **network("hbnbr0"))
    done = modules.run("virt_net_model", **network("hbnbr1"))
    assert [one["op"] for one in done["actions"]] == ["define", "restart"]
    assert "<bridge name='hbnbr1'" in host.check_output("virsh net-dumpxml hbnnet")
    assert master(host, "hbnveth0") == "hbnbr0"
    assert not modules.run("virt_net_model", **network("hbnbr1"))["changed"]
