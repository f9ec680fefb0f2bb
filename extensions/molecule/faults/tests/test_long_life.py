# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cycles of create, change and remove on one host: nothing grows, beside what libvirt itself grows by."""

from __future__ import annotations

import json
import os

from fault_cases import CASES, filled, left, taken_back

CYCLES = 200 if os.environ.get("VIRTNET_TEST_MATRIX") else 3
#: Each cycle has one of them, in turn: with all in each, the hosts would be busy for hours.
KINDS = ["networks", "policies", "rules", "taps", "bridges", "interfaces", "forwarding", "vxlans"]
#: What of libvirt's memory may be chance, in KiB.
CHANCE_KIB = 6000
#: The same calls to libvirt as a cycle of networks has, by its own bindings: what it grows by is its own.
LOOP = """
import libvirt, sys, uuid
libvirt.registerErrorHandler(lambda context, error: None, None)
for cycle in range(int(sys.argv[1])):
    connection = libvirt.open("qemu:///system")
    for number, mode in ((1, "<forward mode='nat'/>"), (2, ""), (3, "<forward mode='open'/>")):
        xml = (
            f"<network><name>fltc{number}</name><uuid>{uuid.uuid5(uuid.NAMESPACE_DNS, mode)}</uuid>{mode}"
            f"<bridge name='fltc{number}' stp='off' delay='0'/>"
            f"<ip address='10.88.{number}.1' prefix='24'><dhcp>"
            f"<range start='10.88.{number}.100' end='10.88.{number}.200'/></dhcp></ip></network>"
        )
        for _change in range(2):
            network = connection.networkDefineXML(xml)
            if not network.isActive():
                network.create()
        network.destroy()
        network.undefine()
    connection.close()
"""
COUNTS = {
    "processes": "ps -e --no-headers | grep -vc '[ (]ps$\\|kworker\\|sshd\\|systemd-\\|python\\|ansible'",
    "links": "ls /sys/class/net | wc -l",
    "rules": "nft -s list ruleset | wc -l",
    "files": "find /etc /run/virtnet /var/lib/virtnet /var/cache/virtnet /var/lib/libvirt /run/systemd/network | wc -l",
    "units": "systemctl list-units --all --no-legend 'virtnet*' | wc -l",
    "descriptors of libvirtd": "ls /proc/$(systemctl show -P MainPID libvirtd)/fd | wc -l",
}


def counted(host):
    return {name: int(host.check_output(command)) for name, command in COUNTS.items()}


def memory_kib(host):
    return int(host.check_output("awk '/VmRSS/ {print $2}' /proc/$(systemctl show -P MainPID libvirtd)/status"))


def one_cycle(host, modules, lan, kind):
    case = CASES[kind]
    for command in case.before:
        host.run_test(command)
    try:
        for step in case.steps:
            modules.run(case.module, **filled(step, lan))
    finally:
        taken_back(case, modules, filled(case.absent, lan))
        for command in case.after:
            host.run(command)


def test_nothing_grows(host, modules, snapshot, figure, lan):
    # No idle end of the daemon, whose memory is looked at.
    host.run_test("mkdir -p /run/systemd/system/libvirtd.service.d; printf '[Service]\\nEnvironment=LIBVIRTD_ARGS=\\n'"
                  " > /run/systemd/system/libvirtd.service.d/flt.conf; systemctl daemon-reload; systemctl restart libvirtd")
    try:
        for kind in KINDS:  # what is made once and stays
            one_cycle(host, modules, lan, kind)
        first, before, began = snapshot(), counted(host), memory_kib(host)
        for number in range(CYCLES):
            one_cycle(host, modules, lan, KINDS[number % len(KINDS)])
        after, ended = counted(host), memory_kib(host)
        assert left(first, snapshot) == []
        assert after == before
        forwarding = host.check_output("cat /proc/sys/net/ipv4/ip_forward")
        networks = sum(KINDS[number % len(KINDS)] == "networks" for number in range(CYCLES))
        host.check_output("python3 - %s <<'END'\n" + LOOP + "\nEND", str(networks))
        # Libvirt turns it on for a NAT network and leaves it on.
        host.run_test(f"echo {forwarding} > /proc/sys/net/ipv4/ip_forward")
        own = memory_kib(host) - ended
        grown = ended - began
        figure(f"{CYCLES} cycles: libvirtd grew by {grown} KiB, and by {own} KiB for the same networks made by its own bindings")
        figure(f"{CYCLES} cycles: {json.dumps(after)}, before and after")
        assert grown <= max(own, 0) + CHANCE_KIB
    finally:
        host.run("rm -r /run/systemd/system/libvirtd.service.d; systemctl daemon-reload; systemctl restart libvirtd")
