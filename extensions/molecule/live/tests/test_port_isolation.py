# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Isolated ports stay apart over a restart of their network, and a NIC that asks for it by itself stays so."""

from __future__ import annotations

import json

from guest_agent import ping
from live_guests import network

NUMBER, PEER, GATEWAY = 1, "10.65.1.3", "10.65.1.1"


def isolated(host, name):
    """Return [whether it is isolated] of a network's links, as the kernel has it, and as libvirt's ports have it."""
    rows = json.loads(host.check_output("bridge -j -d link show"))
    kernel = [row["isolated"] for row in rows if row["master"] == f"livebr{NUMBER}"]
    text = host.check_output(f"for port in $(virsh -q net-port-list {name}); do virsh net-port-dumpxml {name} $port; done")
    return kernel, text.count("<port isolated='yes'/>")


def test_ports_are_isolated_and_are_not(bench):
    def run(**values):
        bench.modules.step("virt_net_model", "networks", networks=[network(NUMBER, **values)])

    on, off = {"policy": {"port_isolation": True}}, {"policy": {"port_isolation": False}}
    run(**on)
    assert isolated(bench.host, "live1") == ([True, True], 2)
    assert ping(bench.host, "vm0", GATEWAY) and not ping(bench.host, "vm0", PEER)
    # A restart for another reason lets nobody through.
    run(**on, mtu=1400)
    assert isolated(bench.host, "live1") == ([True, True], 2)
    assert ping(bench.host, "vm0", GATEWAY) and not ping(bench.host, "vm0", PEER)
    run(**off, mtu=0)
    assert isolated(bench.host, "live1") == ([False, False], 0)
    assert ping(bench.host, "vm0", PEER)


def test_a_nic_keeps_what_it_asks_for_itself(bench):
    """An isolated NIC of vm0's own in a network that isolates nobody, then everybody, then nobody again."""
    mac = "52:54:00:00:65:99"
    nic = (
        f"<interface type='network'><mac address='{mac}'/><source network='live1'/><port isolated='yes'/>"
        "<mtu size='1300'/><model type='virtio'/></interface>"
    )
    bench.host.run_test("printf %s > /tmp/nic.xml && virsh attach-device vm0 /tmp/nic.xml --live --config", nic)
    try:
        link = next(row for row in bench.host.check_output("virsh -q domiflist vm0").splitlines() if mac in row).split()[0]

        def own():
            rows = json.loads(bench.host.check_output("bridge -j -d link show"))
            row = next(row for row in rows if row["ifname"] == link)
            return row["isolated"], row["mtu"], row["master"]

        assert own() == (True, 1300, "livebr1")
        for values in ({"policy": {"port_isolation": True}}, {"policy": {"port_isolation": False}}, {"mtu": 1400}, {"mtu": 0}):
            bench.modules.run("virt_net_model", networks=[network(NUMBER, **values)])
            assert own() == (True, 1300, "livebr1"), values
    finally:
        bench.host.run("virsh detach-device vm0 /tmp/nic.xml --live --config; rm /tmp/nic.xml")
