# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Daemons other than the host's own, and one that goes away in the middle of a call."""

from __future__ import annotations

import re

import pytest

USER = "connuser"
KEY = "/root/conn-key"
REMOTE = f"qemu+ssh://root@127.0.0.1/system?keyfile={KEY}&no_verify=1"
ACCOUNTS = "/root/conn-accounts.tar"
FILES = " ".join(f"{name} {name}-" for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"))
SESSION = "qemu:///session"
NAT = {"name": "connat", "model": "nat", "addresses": ["10.65.240.1/24"], "autostart": False}
MANY = [
    {"name": f"congone{n}", "model": "routed", "bridge": f"congone{n}", "addresses": [f"10.66.{n}.1/24"], "autostart": False,
     "dhcp": {"ranges": [{"start": f"10.66.{n}.100", "end": f"10.66.{n}.200"}]}}
    for n in range(40)
]  # fmt: skip


def gone(networks):
    return [{"name": one["name"], "state": "absent"} for one in networks]


@pytest.fixture
def ssh_to_itself(host):
    """The host under a remote URI: libvirt goes through ssh, and we must take it for another machine."""
    host.run_test(f"ssh-keygen -q -t ed25519 -N '' -C conn-test -f {KEY}")
    host.run_test(f"cp -a /root/.ssh /root/.ssh-before && cat {KEY}.pub >> /root/.ssh/authorized_keys")
    # Another host's forwarding is not ours to remember: libvirt turns it on, and nobody off.
    forwarding = host.check_output("sysctl -n net.ipv4.ip_forward")
    yield REMOTE
    host.run_test(f"sysctl -q -w net.ipv4.ip_forward={forwarding}")
    host.run_test(f"rm -rf /root/.ssh {KEY} {KEY}.pub && mv /root/.ssh-before /root/.ssh")


def test_another_hosts_networks(host, modules, ssh_to_itself):
    try:
        real = modules.step("virt_net_model", "networks", networks=[NAT], uri=ssh_to_itself)
        assert [one["op"] for one in real["actions"]] == ["define", "start"]
        changed = modules.step("virt_net_model", "networks", networks=[dict(NAT, mtu=1400)], uri=ssh_to_itself)
        assert [one["op"] for one in changed["actions"]] == ["define", "restart"]
        (told,) = modules.run("virt_net_info", names=["connat"], uri=ssh_to_itself)["networks"]
        assert told["state"] == "active" and told["model"]["mtu"] == 1400
        assert "mtu size='1400'" in host.check_output("virsh net-dumpxml connat")
    finally:
        modules.run("virt_net_model", networks=gone([NAT]), uri=ssh_to_itself)
    assert "connat" not in host.check_output("virsh -q net-list --all --name")


@pytest.fixture
def user(host):
    """A user who is not root, and whose own daemon ends with the test."""
    host.run_test(f"cd /etc && tar -cf {ACCOUNTS} $(ls -d {FILES} 2> /dev/null) && useradd --create-home {USER}")
    host.run_test("ip link add conbr0 type bridge")
    yield USER
    host.run(f"pkill -KILL -u {USER}; while pgrep -u {USER}; do sleep 0.1; done")
    host.run_test(f"ip link del conbr0 && userdel --remove {USER}")
    # The tools keep what was before them in files of their own.
    host.run_test(f"cd /etc && rm -f {FILES} && tar -xf {ACCOUNTS} && rm {ACCOUNTS}")


def test_a_users_own_networks(host, modules, user):
    mine = {"become": True, "become_user": user, "uri": SESSION}
    own = {"name": "conown", "model": "bridged", "bridge": "conbr0", "autostart": False}
    real = modules.step("virt_net_model", "networks", networks=[own], **mine)
    assert [one["op"] for one in real["actions"]] == ["define", "start"]
    (told,) = modules.run("virt_net_info", names=["conown"], **mine)["networks"]
    assert told["state"] == "active" and told["owned"] and told["model_differs"] == []
    assert "conown" not in host.check_output("virsh -q net-list --all --name")
    # It may be stored; but a bridge of its own nobody but root can make.
    stored = modules.step("virt_net_model", "networks", networks=[dict(NAT, state="inactive")], **mine)
    assert [one["op"] for one in stored["actions"]] == ["define"]
    message = modules.refused("virt_net_model", networks=[dict(NAT, state="active")], **mine)
    assert re.search(r"networks\[0\].state: connat: qemu:///session runs without root and cannot make its bridge vn\w+", message)
    modules.step("virt_net_model", "networks", networks=gone([own, NAT]), **mine)


def test_a_daemon_that_goes_away_is_told_once_and_the_next_run_goes_on(host, modules):
    host.run_test(
        "nohup sh -c 'while ! ip link show congone15; do sleep 0.01; done; kill -KILL $(pidof libvirtd)' > /dev/null 2>&1 &"
    )
    try:
        result = modules("virt_net_model", networks=MANY)
        assert result["failed"] and result["error"]["kind"] == "ConnectionLost", result
        assert "libvirt went away while" in result["msg"] and "run it again" in result["msg"]
        assert re.search(r"\(\d+ of 80 operations were done\)", result["msg"]) and result["changed"]
        # Of the fifteen before it, all but those that were begun at the same time, each with two operations.
        assert len(result["done"]) >= 2 * (15 - 3)
        # What was cut off in the middle has its bridge, and libvirt does not know it any more.
        again = modules.run("virt_net_model", networks=MANY)
        assert ("clear", "congone15") in [(one["op"], one["name"]) for one in again["actions"]]
        assert again["changed"] and {one["state"] for one in again["networks"]} == {"active"}
        assert modules.run("virt_net_model", networks=MANY)["actions"] == []
    finally:
        modules.run("virt_net_model", networks=gone(MANY))
    assert "congone" not in host.check_output("virsh -q net-list --all --name; ip -br link")
