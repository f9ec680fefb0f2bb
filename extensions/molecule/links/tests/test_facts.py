# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json


def test_all_links_by_name_and_by_mac(host, modules):
    rows = modules.links()
    found = modules.run("host_iface_info", xml=False)["interfaces"]
    assert [one["name"] for one in found] == sorted(rows, key=lambda name: rows[name]["ifindex"])
    (eth0,) = modules.run("host_iface_info", names=["eth0", "lnknone"])["interfaces"]
    assert (eth0["mac"], eth0["mtu"], eth0["manager"]) == (rows["eth0"]["address"], rows["eth0"]["mtu"], "networkd")
    assert modules.run("host_iface_info", macs=[eth0["mac"].upper()], check=True)["interfaces"] == [eth0]
    here = json.loads(host.check_output("ip -j address show eth0"))[0]["addr_info"]
    assert [one["address"] for one in eth0["addresses"]] == [f"{one['local']}/{one['prefixlen']}" for one in here]
    assert {"to": "0.0.0.0/0", "via": "10.77.0.1", "metric": None, "protocol": "static"} in eth0["routes"]
    assert not modules.run("host_iface_info", names=[])["interfaces"]


def test_a_bridge_of_ours(modules):
    modules.run("host_bridge", bridges=[{"name": "lnkbr0"}])
    modules.run("tap_iface", taps=[{"name": "lnktap0", "bridge": "lnkbr0"}])
    try:
        bridge, tap = modules.run("host_iface_info", names=["lnkbr0", "lnktap0"])["interfaces"]
        assert (bridge["type"], bridge["ports"], bridge["owned"], bridge["manager"]) == ("bridge", ["lnktap0"], True, "networkd")
        assert (tap["type"], tap["bridge"], tap["owned"], tap["carrier"]) == ("tap", "lnkbr0", True, False)
    finally:
        modules.run("tap_iface", taps=[{"name": "lnktap0", "state": "absent"}])
        modules.run("host_bridge", bridges=[{"name": "lnkbr0", "state": "absent"}])


def test_libvirt_xml_where_there_is_any(host, modules):
    (eth0,) = modules.run("host_iface_info", names=["eth0"], xml=True)["interfaces"]
    said = host.run("virsh iface-dumpxml eth0")
    assert eth0["xml"] is None if said.rc else eth0["xml"].split() == said.stdout.split()
