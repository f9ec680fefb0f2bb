# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import time

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import cloudinit, kvm_probe, spec

# -- KVM ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A host with a KVM device, a kernel and busybox, all of them empty files."""
    for name in ("kvm", "busybox", "initrd"):
        (tmp_path / name).write_bytes(b"")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(kvm_probe, "DEVICE", str(tmp_path / "kvm"))
    monkeypatch.setattr(kvm_probe, "BUSYBOX", (str(tmp_path / "busybox"),))
    fake = type("Fake", (), {"image": str(tmp_path / "kernel")})
    monkeypatch.setattr(kvm_probe.Kernel, "newest", classmethod(lambda cls: fake))
    return tmp_path


def emulator(folder, monkeypatch, text):
    """A QEMU that is a shell script; it notes its process number."""
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\necho $$ > {folder}/pid\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setattr(kvm_probe, "EMULATORS", (str(path),))


def alive(folder):
    return os.path.exists(f"/proc/{(folder / 'pid').read_text().strip()}")


@pytest.mark.parametrize(
    ("script", "accelerator", "reason"),
    [
        ("echo booting; echo virtnet-probe-ok; exec sleep 60", "kvm", "started with KVM"),
        ("echo 'failed to initialize kvm: Permission denied' >&2; exit 1", "tcg", "Permission denied"),
        ("kill -ABRT $$", "tcg", "no message"),
        ("trap '' TERM; sleep 60 & wait", "tcg", "did not come up"),
        ("while :; do echo noise; sleep 0.01; done", "tcg", "did not come up"),
        ("printf virtnet-; sleep 0.2; echo probe-ok; sleep 60", "kvm", "started with KVM"),
    ],
)
def test_probe_believes_only_a_guest_that_speaks(kernel, monkeypatch, script, accelerator, reason):
    monkeypatch.setattr(kvm_probe, "TIMEOUT_S", 1.0)
    emulator(kernel, monkeypatch, script)
    start = time.monotonic()
    answer = kvm_probe.probe()
    assert answer.accelerator == accelerator
    assert reason in answer.reason
    assert answer.fresh
    assert time.monotonic() - start < 2.5
    assert not alive(kernel)


def test_the_probe_takes_five_seconds_at_most():
    assert kvm_probe.TIMEOUT_S + kvm_probe.END_S < 5


def test_no_device_no_emulator(kernel, monkeypatch):
    monkeypatch.setattr(kvm_probe, "EMULATORS", ("/no/such/qemu",))
    assert "no QEMU" in kvm_probe.probe().reason
    monkeypatch.setattr(kvm_probe, "BUSYBOX", ())
    emulator(kernel, monkeypatch, "exit 0")
    assert "no busybox" in kvm_probe.probe().reason
    monkeypatch.setattr(kvm_probe, "DEVICE", str(kernel / "none"))
    assert kvm_probe.probe().accelerator == "tcg"


def test_an_answer_is_kept_until_the_next_boot(kernel):
    path = str(kernel / "kvm.json")
    assert kvm_probe.recall(path) is None
    kvm_probe.remember(kvm_probe.Answer("kvm", "yes", True), path)
    assert kvm_probe.recall(path) == kvm_probe.Answer("kvm", "yes")
    with open(path, encoding="utf-8") as handle:
        known = json.load(handle)
    (kernel / "kvm").unlink()
    assert kvm_probe.recall(path) is None
    (kernel / "kvm").write_bytes(b"")
    for text in (json.dumps({**known, "boot_id": "another"}), json.dumps({**known, "accelerator": "x"}), "{", "[]", ""):
        (kernel / "kvm.json").write_text(text)
        assert kvm_probe.recall(path) is None


# -- cloud-init ---------------------------------------------------------------------------------------------------


def guest(**more):
    item = {"name": "web_1", "image": "/t.qcow2", **more}
    return spec.parse_guests([item], "kvm1", ["ssh-ed25519 AAAA me"])[0]


def test_seed_files():
    files = cloudinit.files(guest(user_data="#cloud-config\npackages: [nginx]\n"))
    assert set(files) == {"meta-data", "user-data", "network-config"}
    meta = json.loads(files["meta-data"])
    assert meta["local-hostname"] == "web-1"
    assert meta["public-keys"] == ["ssh-ed25519 AAAA me"]
    assert files["user-data"] == "#cloud-config\npackages: [nginx]\n"
    assert cloudinit.files(guest())["user-data"].startswith("#cloud-config\n")


def test_another_content_is_another_instance():
    ids = [json.loads(cloudinit.files(guest(user_data=text))["meta-data"])["instance-id"] for text in ("#a", "#b", "#a")]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    ("nic", "expected"),
    [
        ({}, {"dhcp4": True, "dhcp6": True}),
        ({"addresses": []}, {"dhcp4": False, "dhcp6": False}),
        (
            {"addresses": ["10.0.0.2/24", "fd00::2/64"], "gateway": ["fd00::1", "10.0.0.1"]},
            {
                "dhcp4": False, "dhcp6": False, "addresses": ["10.0.0.2/24", "fd00::2/64"],
                "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}, {"to": "::/0", "via": "fd00::1"}],
                "nameservers": {"addresses": ["10.0.0.1", "fd00::1"]}, "accept-ra": False,
            },
        ),
    ],
)  # fmt: skip
def test_network_config(nic, expected):
    network = cloudinit.network(guest(nics=[{"network": "n", "mac": "52:54:00:00:00:01", **nic}]))
    match = {"match": {"macaddress": "52:54:00:00:00:01"}, "set-name": "eth0"}
    assert network == {"version": 2, "ethernets": {"nic0": {**match, **expected}}}
