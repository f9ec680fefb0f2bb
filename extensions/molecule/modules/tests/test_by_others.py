# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others took away of what is ours, while the rest of it is there still: the next run mends it."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("module", "option", "folder", "item"),
    [
        ("virt_net_model", "networks", "/etc/libvirt/qemu/networks", {"model": "isolated", "subnets": ["10.77.231.0/24"]}),
        ("guest_vm", "guests", "/etc/libvirt/qemu", {}),
    ],
)
def test_a_link_that_an_autostart_has_left_is_not_in_the_way(host, modules, module, option, folder, item):
    """Whose definition was removed by hand, say: libvirt's symlink(2) fails then."""
    link = f"{folder}/autostart/left1.xml"
    item = {"name": "left1", **item}
    assert host.run(f"mkdir -p {folder}/autostart && ln -sf {folder}/left1.xml {link}").rc == 0
    try:
        assert modules.run(module, **{option: [item]})["changed"]
        assert host.run(f"readlink -e {link}").stdout.strip() == f"{folder}/left1.xml"
        assert not modules.run(module, **{option: [item]})["changed"]
    finally:
        modules.run(module, **{option: [{"name": "left1", "state": "absent"}]})
    assert not host.file(link).exists


def test_a_bridge_that_somebody_deleted_is_made_anew(host, modules):
    """Its files are there still, so nothing of them differs."""
    wanted = [{"name": "othbr0", "addresses": ["10.88.39.1/24"]}, {"name": "othbr1", "stp": True}]
    modules.run("host_bridge", bridges=wanted)
    try:
        for gone in ("othbr0", "othbr1", "othbr0 othbr1"):
            host.run_test(f"for name in {gone}; do ip link del $name; done")
            planned = modules.run("host_bridge", bridges=wanted, check=True)
            result = modules.run("host_bridge", bridges=wanted)
            assert {one["name"] for one in result["actions"] if one["op"] == "create"} == set(gone.split())
            assert planned["actions"] == result["actions"] and planned["bridges"] == result["bridges"]
            assert not modules.run("host_bridge", bridges=wanted)["changed"]
            assert "10.88.39.1/24" in host.check_output("ip -br address show dev othbr0")
    finally:
        modules.run("host_bridge", bridges=[{"name": one["name"], "state": "absent"} for one in wanted])
