# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host is its own controller, with connection: local: there is no connection to come in by, and the gateway decides."""

from __future__ import annotations

import json
import re
import shlex
import tarfile
from importlib import metadata
from pathlib import Path

import pytest
from controllers import open_change
from lab_side import console, look

ROOT = Path(__file__).resolve().parents[4]
#: ansible-core and what it needs; no compiled part of them is needed, nor fits another release's Python.
PACKAGES = ("ansible-core", "jinja2", "markupsafe", "packaging", "pyyaml", "resolvelib")
UNWANTED = re.compile(r"__pycache__|\.so$|^ansible_test/|^\.\.")
THERE = "/root/grd-ansible"
OURS = "ansible_collections/virtnet/kvm"
IN = {"bridges": [{"name": "grdbr0", "ports": ["eth0"], "take_over": True}]}
GATEWAY = ["10.77.0.253"]
OUT = {"bridges": [{"name": "grdbr0", "state": "absent"}]}


def wanted(member):
    return None if UNWANTED.search(member.name) else member


@pytest.fixture
def local(host, tmp_path):
    """A function that calls a module with an ansible(1) of the host's own, and returns what that says."""
    archive = tmp_path / "ansible.tar"
    with tarfile.open(archive, "w") as made:
        for package in PACKAGES:
            for file in metadata.files(package):
                made.add(file.locate(), str(file), filter=wanted)
        for part in ("galaxy.yml", "meta", "plugins"):
            made.add(ROOT / part, f"{OURS}/{part}", filter=wanted)
    console(host, f"mkdir {THERE}")
    host.ansible("ansible.builtin.unarchive", f"src={archive} dest={THERE}", check=False)

    def call(module, **arguments):
        variables = f"PYTHONPATH={THERE} ANSIBLE_COLLECTIONS_PATH={THERE} ANSIBLE_NOCOLOR=1 ANSIBLE_HOME={THERE}"
        words = ["python3", "-m", "ansible.cli.adhoc", "localhost", "-c", "local", "-m", f"virtnet.kvm.{module}"]
        words += ["-a", json.dumps(arguments), "-e", "ansible_python_interpreter=/usr/bin/python3"]
        return console(host, f"cd {THERE} && {variables} {shlex.join(words)} 2>&1")

    yield call
    console(host, f"rm -r {THERE}")


def test_the_uplink_into_the_bridge_and_back(host, modules, local):
    before = look(host)
    text = local("host_bridge", **IN)
    assert "CHANGED" in text and '"state": "confirmed"' in text, text
    assert not open_change(host) and "virtnet-guard" not in look(host)
    assert not modules.run("host_bridge", **IN)["changed"]
    text = local("host_bridge", **OUT)
    assert "CHANGED" in text and '"state": "confirmed"' in text, text
    assert look(host) == before


def test_a_wrong_gateway_is_taken_back(host, local):
    before = look(host)
    item = {**IN["bridges"][0], "gateway": GATEWAY}
    for call in (("host_bridge", {"bridges": [item]}), ("host_iface", {"interfaces": [{"name": "eth0", "gateway": GATEWAY}]})):
        text = local(call[0], **call[1])
        assert "FAILED" in text and "10.77.0.253 did not answer" in text and "put back" in text, text
        assert not open_change(host) and look(host) == before
