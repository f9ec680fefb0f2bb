# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin as ansible-inventory runs it. The "KVM hosts" are this machine; their replies are in files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.virtnet.kvm.plugins.plugin_utils import guest_lister

MAC = "52:54:00:00:00:0{}"
HOSTS = {
    "all": {
        "vars": {"ansible_port": 2022},
        "children": {
            "kvm_hosts": {
                "hosts": {"kvm1": {"ansible_connection": "local"}, "kvm2": {"ansible_connection": "local"}},
                "vars": {"ansible_python_interpreter": "/usr/bin/python3"},
            }
        },
    }
}


def reply(*guests, model="nat"):
    """Return what a KVM host prints that has guests: [(name, number, active)]."""
    rows = [
        {
            "name": name, "uuid": None, "active": active, "owned": True, "agent": None, "neighbours": [],
            "nics": [{"mac": MAC.format(number), "network": "nat.net", "bridge": None, "dev": None}],
        }
        for name, number, active in guests
    ]  # fmt: skip
    leases = [[MAC.format(number), f"10.64.100.{number}"] for _name, number, active in guests if active]
    network = {"model": model, "mode": "open", "bridge": "natbr0", "subnets": [["10.64.100.1", "24"]], "leases": leases}
    told = {"addresses": {"eth0": ["192.0.2.11/24"]}, "networks": {"nat.net": network}, "guests": rows}
    return guest_lister.MARK + json.dumps(told)


def plain(value):
    """Return what ansible-inventory prints without its marks of what is no template."""
    if isinstance(value, dict):
        return (
            plain(value["__ansible_unsafe"]) if "__ansible_unsafe" in value else {key: plain(one) for key, one in value.items()}
        )
    return [plain(one) for one in value] if isinstance(value, list) else value


@pytest.fixture
def inventory(tmp_path):
    """A function that returns (inventory, stderr) for a source's options, and what its hosts reply, {host: text}."""

    def run(replies, check=True, **options):
        for name, text in replies.items():
            (tmp_path / f"reply-{name}").write_text(text)
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(HOSTS))
        (tmp_path / "lab.virtnet.yml").write_text(yaml.safe_dump({"plugin": "virtnet.kvm.guests", **options}))
        collections = next(folder for folder in sys.path if (Path(folder) / "ansible_collections/virtnet/kvm").is_dir())
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")}
        env.update({"ANSIBLE_NOCOLOR": "1", "HOME": str(tmp_path), "COLUMNS": "1000"})
        program = shutil.which("ansible-inventory", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        done = subprocess.run(
            [program, "-i", tmp_path / "hosts.yml", "-i", tmp_path / "lab.virtnet.yml", "--list"], env=env, cwd=tmp_path,
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        # Older ones break the lines of warnings.
        return (plain(json.loads(done.stdout)) if done.returncode == 0 else None), " ".join(done.stderr.split())

    return run


@pytest.fixture
def python(tmp_path):
    """A program in Python's place: it prints the reply whose name is the last part of the URI."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\ncat > /dev/null\necho asked >> {tmp_path}/asked\ncat "{tmp_path}/reply-${{2##*/}}"\n')
    path.chmod(0o755)
    return str(path)


def test_guests_become_hosts(inventory, python):
    found, errors = inventory(
        {"kvm": reply(("vm0", 2, True), ("db", 3, True), ("old", 4, False))}, python=python, uri="qemu:///kvm",
        compose={"ansible_user": "'root'"}, groups={"bases": "virtnet_guest is match('db')"},
        keyed_groups=[{"key": "virtnet_host", "prefix": "at"}],
    )  # fmt: skip
    assert "WARNING" not in errors
    names = ["db.kvm1", "db.kvm2", "vm0.kvm1", "vm0.kvm2"]
    assert sorted(found["virtnet_guests"]["hosts"]) == names
    assert sorted(found["virtnet_network_nat_net"]["hosts"]) == sorted(found["virtnet_model_nat"]["hosts"]) == names
    assert sorted(found["virtnet_host_kvm1"]["hosts"]) == sorted(found["at_kvm1"]["hosts"]) == ["db.kvm1", "vm0.kvm1"]
    assert sorted(found["bases"]["hosts"]) == ["db.kvm1", "db.kvm2"]
    one, other = (found["_meta"]["hostvars"][name] for name in ("vm0.kvm1", "vm0.kvm2"))
    assert (one["ansible_host"], one["ansible_user"], one["ansible_connection"]) == ("10.64.100.2", "root", "ssh")
    assert (one["virtnet_guest"], one["virtnet_host"], one["virtnet_addresses"]) == ("vm0", "kvm1", ["10.64.100.2"])
    # The same address behind two hosts is two machines: no key and no connection of one may be taken for the other's.
    assert one["ansible_control_path"] != other["ansible_control_path"]
    assert "HostKeyAlias=vm0.kvm1" in one["ansible_ssh_common_args"]
    # This machine is the KVM host, so there is nothing to go through.
    assert "ProxyCommand" not in one["ansible_ssh_common_args"]


def test_stopped_guests_and_short_names(inventory, python):
    options = {"python": python, "uri": "qemu:///kvm", "hosts": ["kvm1"], "hostnames": "short"}
    replies = {"kvm": reply(("vm0", 2, True), ("old", 4, False))}
    found, _errors = inventory(replies, stopped=True, **options)
    assert sorted(found["virtnet_guests"]["hosts"]) == ["old", "vm0"]
    # What has no address is no machine that the DNS knows.
    assert found["_meta"]["hostvars"]["old"]["ansible_host"] == "old.invalid"
    _found, errors = inventory(replies, check=False, **{**options, "hosts": ["kvm?"], "strict": True})
    assert "both have a guest vm0" in errors


def test_a_guest_is_no_kvm_host(inventory, python):
    found, errors = inventory(
        {"kvm": reply(("kvm2", 2, True))}, python=python, uri="qemu:///kvm", hosts=["kvm*"], hostnames="short"
    )
    assert "has the name of a group or a KVM host" in errors
    assert "ansible_ssh_common_args" not in found["_meta"]["hostvars"]["kvm2"]


def test_targets_without_an_inventory_are_gone_through(inventory, python):
    target = {"ansible_host": "192.0.2.11", "ansible_connection": "local"}
    found, _errors = inventory({"kvm": reply(("vm0", 2, True))}, python=python, uri="qemu:///kvm", targets={"far": target})
    assert found["virtnet_guests"]["hosts"] == ["vm0.far"]
    assert "far" not in found["_meta"]["hostvars"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"python": "/bin/false"}, "did not answer|ended with 1"),
        ({"python": "/nonexistent/python"}, "No such file|not found"),
        ({"uri": "test:///missing.xml"}, "libvirt"),
    ],
)
def test_a_host_that_does_not_answer(inventory, options, says):
    options = {"python": sys.executable, **options}
    found, errors = inventory({}, **options)
    assert "the guests of kvm1 are not in the inventory" in errors
    assert any(one in errors for one in says.split("|"))
    assert "hosts" not in found.get("virtnet_guests", {})
    found, errors = inventory({}, check=False, strict=True, **options)
    assert "the guests of kvm" in errors
    assert found is None or "virtnet_guests" not in found


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hosts": ["nobody"]}, "no host or group nobody"),
        ({"targets": {"far": "192.0.2.11"}}, "far is no set of variables"),
        ({"families": ["ipv5"]}, "ipv5"),
    ],
)
def test_bad_options(inventory, options, says):
    _found, errors = inventory({}, check=False, **options)
    assert says in errors


def test_cache(inventory, python, tmp_path):
    options = {
        "python": python, "uri": "qemu:///kvm", "hosts": ["kvm1"], "cache": True, "cache_plugin": "jsonfile",
        "cache_connection": str(tmp_path / "cache"),
    }  # fmt: skip
    replies = {"kvm": reply(("vm0", 2, True))}
    first, _errors = inventory(replies, **options)
    second, _errors = inventory({"kvm": "nonsense"}, **options)
    assert first == second
    assert (tmp_path / "asked").read_text() == "asked\n"
    # Of those that the cache has not, nobody is left out.
    _found, errors = inventory({"kvm": "nonsense"}, **{**options, "hosts": ["kvm_hosts"]})
    assert "the guests of kvm2 are not in the inventory" in errors
