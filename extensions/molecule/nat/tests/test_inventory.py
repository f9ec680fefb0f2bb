# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guests of the host as inventory: found, with their addresses, and reached by SSH through the host."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import yaml
from lab_side import variables

GUESTS = {"vm0": "10.64.100.2", "vm1": "10.64.100.3"}


@pytest.fixture
def ansible(host, tmp_path):
    """A function that runs one of Ansible's programs with the lab's inventory and the plugin's, whose options it takes."""

    def run(program, *words, **options):
        strangers = f"-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={tmp_path}/known"
        source = {"plugin": "virtnet.kvm.guests", "hosts": [host.backend.host], "ssh_args": strangers, **options}
        (tmp_path / "lab.virtnet.yml").write_text(yaml.safe_dump(source))
        return subprocess.run(
            [program, "-i", host.backend.ansible_runner.inventory_file, "-i", tmp_path / "lab.virtnet.yml", *words],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "COLUMNS": "1000"},
        )

    return run


def test_guests_are_hosts_of_the_inventory(host, ansible):
    name = host.backend.host
    done = ansible("ansible-inventory", "--list")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    found = json.loads(done.stdout, object_hook=lambda one: one.get("__ansible_unsafe", one))
    full = {f"{guest}.{name}": address for guest, address in GUESTS.items()}
    for group in ("virtnet_guests", f"virtnet_host_{name}", "virtnet_network_natnet", "virtnet_model_nat"):
        assert set(found[group]["hosts"]) == set(full)
    for guest, address in full.items():
        its = found["_meta"]["hostvars"][guest]
        assert (its["ansible_host"], its["virtnet_host"], its["virtnet_guest"]) == (address, name, guest.split(".")[0])
        assert f"HostKeyAlias={guest}" in its["ansible_ssh_common_args"]


def test_guests_are_reached_through_their_host(host, ansible):
    """The other host's guests have the same addresses, and are other machines."""
    done = ansible("ansible", "virtnet_guests", "-m", "ansible.builtin.raw", "-a", "echo it is $(hostname)")
    assert done.returncode == 0, done.stdout + done.stderr
    for guest in GUESTS:
        assert f"it is {guest}" in done.stdout
    # The SSH server of the built-in guest makes its key when it is first asked, so no two have the same.
    seen = ansible("ansible", "virtnet_guests", "-m", "ansible.builtin.raw", "-a", "cat /etc/dropbear/*key | md5sum")
    sums = [line.split()[0] for line in seen.stdout.splitlines() if line.rstrip().endswith("-") and len(line.split()) == 2]
    assert len(set(sums)) == len(GUESTS), seen.stdout


def test_through_ipv6(ansible):
    done = ansible("ansible", "virtnet_guests", "-m", "ansible.builtin.raw", "-a", "echo it is $(hostname)", families=["ipv6"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"it is {guest}" in done.stdout for guest in GUESTS)


def test_a_host_that_does_not_answer_is_told_of(host, ansible):
    name = host.backend.host
    # Nobody listens at that port of the host.
    deaf = {key: variables(host)[key] for key in variables(host) if key.startswith("ansible_")} | {"ansible_port": 1}
    done = ansible("ansible-inventory", "--graph", targets={"deaf": deaf})
    assert done.returncode == 0
    assert "the guests of deaf are not in the inventory" in done.stderr
    assert f"vm0.{name}" in done.stdout
    done = ansible("ansible-inventory", "--graph", targets={"deaf": deaf}, strict=True)
    assert f"vm0.{name}" not in done.stdout


def test_a_daemon_that_is_not_there_is_told_of(ansible):
    done = ansible("ansible-inventory", "--graph", uri="qemu+unix:///system?socket=/run/libvirt/none")
    assert done.returncode == 0
    assert "are not in the inventory: libvirt at qemu+unix" in done.stderr
