# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the guests from inside, through their agent and over SSH: nothing here goes through a module of the collection."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from guest_agent import in_guest

GUESTS = ("tv0", "tv1")
ADDRESSES = {"tv0": {"10.64.120.2/24"}, "tv1": {"10.64.120.3/24", "fd00:64:120::3/64"}}
PEER = {"tv0": "10.64.120.3", "tv1": "10.64.120.2"}
LAB = Path("/var/lib/virtnet-lab") / os.environ.get("VIRTNET_TEST_LAB", "mol")


def output(host, guest, *command):
    rc, text = in_guest(host, guest, *command, seconds=300)
    assert rc == 0, (guest, command, text)
    return text.strip()


def ssh(user, address, command):
    """Log in from the controller, by way of the host, with the lab's key and nothing else."""
    options = ["IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    options += ["LogLevel=ERROR", "ConnectTimeout=60", f"ProxyCommand=ssh -F {LAB}/ssh/config -W %h:%p kvm1"]
    words = [word for option in options for word in ("-o", option)]
    return subprocess.run(
        ["ssh", "-F", "/dev/null", "-i", LAB / "ssh/id_ed25519", *words, f"{user}@{address}", command],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


@pytest.fixture(params=GUESTS)
def guest(request):
    return request.param


@pytest.fixture(scope="module", autouse=True)
def cloud_init_is_through(host):
    """It runs on after the guest has its addresses."""
    return {guest: in_guest(host, guest, "/usr/bin/cloud-init", "status", "--wait", "--long", seconds=300) for guest in GUESTS}


def test_cloud_init_is_done_from_our_seed(host, guest, cloud_init_is_through):
    rc, text = cloud_init_is_through[guest]
    assert rc == 0 and "status: done" in text, text
    status = json.loads(output(host, guest, "/bin/cat", "/run/cloud-init/status.json"))["v1"]
    assert status["datasource"].startswith("DataSourceNoCloud")
    assert [stage for stage in status.values() if isinstance(stage, dict) and stage.get("errors")] == []


def test_cloud_init_has_nothing_to_complain_about(host, guest):
    _rc, text = in_guest(host, guest, "/bin/grep", "-E", "WARNING|ERROR|Traceback", "/var/log/cloud-init.log")
    assert text == ""


def test_the_instance_is_the_one_that_was_declared(host, guest):
    data = json.loads(output(host, guest, "/bin/cat", "/run/cloud-init/instance-data.json"))["v1"]
    assert data["instance_id"].startswith(f"{guest}-")
    assert data["local_hostname"] == guest


def test_hostname(host, guest):
    assert output(host, guest, "/bin/hostname") == guest
    assert output(host, guest, "/bin/cat", "/etc/hostname") == guest


def test_addresses(host, guest):
    rows = json.loads(output(host, guest, "/sbin/ip", "-j", "address", "show", "dev", "eth0"))[0]
    found = {f"{one['local']}/{one['prefixlen']}" for one in rows["addr_info"] if one["scope"] == "global"}
    if guest == "tv0":
        # By DHCP; and one that it made from the router's advertisement.
        assert {one for one in found if "." in one} == ADDRESSES[guest]
        assert [one for one in found if one.startswith("fd00:64:120:")]
    else:
        assert found == ADDRESSES[guest]


def test_default_routes(host, guest):
    rows = json.loads(output(host, guest, "/sbin/ip", "-j", "-4", "route", "show", "default"))
    assert [(row["gateway"], row["dev"]) for row in rows] == [("10.64.120.1", "eth0")]
    rows = json.loads(output(host, guest, "/sbin/ip", "-j", "-6", "route", "show", "default"))
    assert len(rows) == 1
    assert rows[0]["gateway"] == "fd00:64:120::1" if guest == "tv1" else rows[0]["gateway"].startswith("fe80::")


def test_resolver(host, guest):
    """By DHCP, or the gateway that was declared."""
    text = output(host, guest, "/usr/bin/resolvectl", "dns", "eth0")
    assert "10.64.120.1" in text.split()
    output(host, guest, "/usr/bin/getent", "ahostsv4", "www.example.test")


def test_guests_ping_each_other_and_the_outside(host, guest):
    for address in (PEER[guest], "10.64.120.1", "10.77.0.2", "fd00:64:120::1", "fd77::2"):
        output(host, guest, "/bin/ping", "-c", "2", "-W", "5", address)


def test_user_data_is_done(host, guest):
    """And what the guest did is what its seed says."""
    generation = output(host, guest, "/bin/cat", "/etc/virtnet-generation")
    assert generation in {f"generation {number}, secret-of-{guest}" for number in (1, 2)}
    seed = f"/var/lib/virtnet/guests/{guest}/seed.iso"
    assert generation in host.check_output("isoinfo -R -x /user-data -i %s", seed)
    assert json.loads(host.check_output("isoinfo -R -x /meta-data -i %s", seed))["local-hostname"] == guest
    assert "cidata" in host.check_output("isoinfo -d -i %s | grep 'Volume id'", seed)
    if guest == "tv1":
        assert in_guest(host, guest, "/bin/test", "-e", "/var/lib/virtnet-runcmd")[0] == 0
        assert output(host, guest, "/usr/bin/passwd", "--status", "tester").split()[1] == "L"


def test_user_data_stands_nowhere_else(host, guest):
    """It may hold secrets."""
    assert f"secret-of-{guest}" not in host.check_output("virsh dumpxml --inactive %s && virsh dumpxml %s", guest, guest)
    log = host.check_output("journalctl --no-pager --all | grep 'Invoked with'")
    assert "guest_vm" in log and "guest_probe" in log and f"secret-of-{guest}" not in log


def test_keys_log_in(host):
    for user, address in (("debian", "10.64.120.2"), ("debian", "10.64.120.3"), ("tester", "10.64.120.3")):
        done = ssh(user, address, "id -un")
        assert done.stdout.strip() == user, (user, address, done.stderr)
    assert ssh("tester", "10.64.120.2", "true").returncode != 0


def test_files_on_the_host(host, guest):
    folder = f"/var/lib/virtnet/guests/{guest}"
    for name in ("disk.qcow2", "seed.iso"):
        assert host.file(f"{folder}/{name}").mode == 0o600
    disk = json.loads(host.check_output("qemu-img info -U --output=json %s", f"{folder}/disk.qcow2"))
    assert disk["backing-filename"] == "/var/lib/libvirt/images/virtnet-template.qcow2"
    assert sorted(host.file(folder).listdir()) == ["disk.qcow2", "seed.iso"]


def test_guests_start_with_the_host(host, guest):
    assert "enable" in host.check_output("virsh dominfo %s | grep Autostart", guest)
