# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forwarding of what comes in on single links, seen with packets: two namespaces with the host between them."""

from __future__ import annotations

import pytest

SIDES = {"lnka": ("10.95.1", "fd00:95:1:"), "lnkb": ("10.95.2", "fd00:95:2:")}
FILE = "/etc/sysctl.d/60-virtnet.conf"
KEYS = {"ipv4": "net.ipv4.conf.{}.forwarding", "ipv6": "net.ipv6.conf.{}.force_forwarding"}


@pytest.fixture
def between(host):
    """A machine on either side of the host, which forwards nothing of itself."""
    assert host.sysctl("net.ipv4.ip_forward") == 0 and host.sysctl("net.ipv6.conf.all.forwarding") == 0
    for name, (four, six) in SIDES.items():
        host.run_test(
            f"ip netns add {name} && ip link add {name} type veth peer name eth0 netns {name}"
            f" && ip address add {four}.1/24 dev {name} && ip address add {six}:1/64 dev {name} nodad && ip link set {name} up"
            f" && ip -n {name} address add {four}.2/24 dev eth0 && ip -n {name} address add {six}:2/64 dev eth0 nodad"
            f" && ip -n {name} link set eth0 up && ip -n {name} route add default via {four}.1"
            f" && ip -n {name} route add default via {six}:1"
        )
    yield
    for name in SIDES:
        host.run(f"ip link del {name}; ip netns del {name}")


def reaches(host, version):
    target = {"ipv4": "10.95.2.2", "ipv6": "fd00:95:2::2"}[version]
    return host.run(f"ip netns exec lnka ping -c 1 -W 1 {target}").rc == 0


def values(host, version):
    return [host.sysctl(KEYS[version].format(name)) for name in SIDES]


@pytest.mark.parametrize("version", ["ipv4", "ipv6"])
def test_the_way_there_and_the_way_back(host, modules, between, version):
    assert not reaches(host, version)
    try:
        one = modules.step("ip_forward", "forwarding", interfaces=["lnka"], **{version: True})
        assert [(row["interface"], row["running"], row["persistent"]) for row in one["forwarding"]] == [("lnka", True, True)]
        assert values(host, version) == [1, 0] and not reaches(host, version), "nothing comes back from there"
        modules.step("ip_forward", "forwarding", interfaces=["lnka", "lnkb"], **{version: True})
        assert values(host, version) == [1, 1] and reaches(host, version)
        # Of all others nothing is said, and the host is no router.
        assert host.sysctl("net.ipv4.ip_forward") == 0 and host.sysctl("net.ipv6.conf.all.forwarding") == 0
        assert [f"{KEYS[version].format(name)} = 1" in host.file(FILE).content_string for name in SIDES] == [True, True]
        modules.step("ip_forward", "forwarding", interfaces=["lnkb"], **{version: False})
        assert values(host, version) == [1, 0]
    finally:
        modules.run("ip_forward", interfaces=["lnka", "lnkb"], state="absent")
    assert values(host, version) == [0, 0] and not host.file(FILE).exists
    assert not modules.run("ip_forward", interfaces=["lnka", "lnkb"], state="absent")["changed"]


def test_a_link_that_is_gone_is_forgotten(host, modules):
    host.run_test("ip link add lnkgone type bridge")
    modules.run("ip_forward", interfaces=["lnkgone"], ipv4=True)
    host.run_test("ip link del lnkgone")
    assert "lnkgone" in host.file(FILE).content_string
    modules.run("ip_forward", interfaces=["lnkgone"], state="absent")
    assert not host.file(FILE).exists and not host.file("/var/lib/virtnet/baseline.json").exists


def test_refusals(modules):
    assert "there is no link" in modules("ip_forward", interfaces=["lnkno0"], ipv4=True)["msg"]
    assert "interfaces[0]" in modules.refused("ip_forward", interfaces=["a/b"], ipv4=True)
