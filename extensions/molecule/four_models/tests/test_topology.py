# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture of the hosts as they stand: what it has is compared with what virsh and ip say on them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import controller_tools
import pytest
import testinfra

PLAYBOOK = Path(__file__).resolve().parents[4] / "playbooks" / "topology.yml"
LAB = Path("/var/lib/virtnet-lab") / os.environ.get("VIRTNET_TEST_LAB", "mol") / "inventory.yml"
HOSTS = ("kvm1", "kvm2")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module", autouse=True)
def with_graphviz():
    controller_tools.install_graphviz()


class Picture:
    """Runs of the playbook, each into the same files."""

    def __init__(self, folder):
        self.file = folder / "topology"
        self.svg, self.html = folder / "topology.svg", folder / "topology.html"

    def draw(self, *options, rc=0):
        command = ["ansible-playbook", "-i", str(LAB), *options, "-e", f"topology_file={self.file}", str(PLAYBOOK)]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, env=environment
        )
        assert done.returncode == rc, done.stdout[-6000:] + done.stderr[-2000:]
        recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", done.stdout, flags=re.MULTILINE)
        # Which of the two has a failed task depends on who runs the tests.
        return done.stdout + done.stderr, sum(int(changed) for _host, changed in recap)

    def words(self):
        """Return all that stands in the drawing, and what shows when the mouse rests on it."""
        told = [one for one in ElementTree.parse(self.svg).iter() if one.tag in (f"{SVG}text", f"{SVG}title")]
        return [(one.text or "").strip() for one in told]


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    found = Picture(tmp_path_factory.mktemp("topology"))
    found.draw()
    return found


@pytest.mark.parametrize("name", HOSTS)
def test_all_of_a_host_is_in_it(picture, name):
    host = testinfra.get_host(f"ansible://{name}?ansible_inventory={LAB}")
    words, page = picture.words(), picture.html.read_text()
    assert name in words
    guests = host.check_output("virsh list --name").split()
    networks = host.check_output("virsh net-list --name").split()
    assert guests and networks
    for one in [*guests, *networks]:
        assert one in words, one
        assert f"<strong>{one}</strong>" in page, one
    # Addresses, by the host's own tools: those of the LAN, of the networks' gateways, and of the guests with a lease.
    rows = json.loads(host.check_output("ip -j address"))
    own = [
        f"{one['local']}/{one['prefixlen']}" for row in rows if row["ifname"] != "lo" for one in row["addr_info"]
        if one["scope"] == "global"
    ]  # fmt: skip
    assert own
    for address in own:
        assert address in words, address
    leases = [re.findall(r"(\S+)/\d+ ", host.check_output("virsh -q net-dhcp-leases %s", one)) for one in networks]
    for address in [one for row in leases for one in row]:
        assert address in words, address


def test_the_lan_and_the_machines_on_it(picture):
    words = picture.words()
    for one in ("LAN", "gateway1", "outside1", "isolated", "routed", "NAT", "bridged"):
        assert one in words, one


def test_the_second_time_nothing_is_written(picture):
    before = {one: (one.read_bytes(), one.stat().st_mtime_ns) for one in (picture.svg, picture.html)}
    _text, changed = picture.draw()
    assert changed == 0
    assert {one: (one.read_bytes(), one.stat().st_mtime_ns) for one in before} == before


def test_check_mode_tells_and_writes_nothing(picture):
    before = picture.svg.read_bytes()
    text, changed = picture.draw("--check", "--diff", "-e", "topology_title=Another")
    assert changed == 1 and ">Another<" in text
    assert picture.svg.read_bytes() == before


def test_a_host_that_is_left_out_and_one_that_is_not_there(picture, tmp_path):
    other = Picture(tmp_path)
    # Of a machine that refuses the connection: its own port 1.
    (tmp_path / "more.yml").write_text(
        "kvm_hosts: {hosts: {kvm9: {ansible_host: 127.0.0.1, ansible_port: 1, ansible_connection: ssh}}}\n"
    )
    text, changed = other.draw("-i", str(tmp_path / "more.yml"), "--limit", "kvm1:kvm9")
    words = other.words()
    assert changed == 1 and "unreachable" in text.lower()
    assert "not reached" in words and "kvm9" in words
    assert "not asked" in words and "kvm2" in words


def test_a_proof_that_found_something_wrong(picture, tmp_path):
    host = testinfra.get_host(f"ansible://kvm1?ansible_inventory={LAB}")
    first, second = host.check_output("virsh list --name").split()[:2]
    cell = {"family": "ipv4", "protocol": "tcp", "expected": "no", "forward": None, "networks": [], "why": "it arrived"}
    cells = [
        {**cell, "from": f"{first}@kvm1", "to": f"{second}@kvm1", "seen": "yes", "ok": False},
        {**cell, "from": "outside1", "to": "kvm2", "expected": "yes", "seen": "yes", "ok": True},
    ]
    proof = tmp_path / "proof.json"
    proof.write_text(json.dumps({"ok": False, "cells": cells, "notes": []}))
    other = Picture(tmp_path)
    other.draw("-e", f"topology_proof={proof}")
    words = other.words()
    assert "✗ 1 of 2 cells as declared" in words and "✗ gets through, and must not" in words
    assert any(one.startswith("proof of 20") for one in words)
    assert "<h2>Not as declared</h2>" in other.html.read_text()


def test_without_graphviz_it_says_what_to_do(picture):
    text, _changed = picture.draw("-e", "topology_dot=/nowhere/dot", rc=2)
    assert "Install the package graphviz" in re.sub(r"\s+", " ", text)
    assert "Look at the host" not in text
