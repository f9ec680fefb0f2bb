# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an inventory's administrator does with site.yml after the first run; the hosts stand as converge.yml has left them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import testinfra
import yaml
from lab_side import lab

PLAYBOOKS = Path(__file__).resolve().parents[4] / "playbooks"
LAB = Path("/var/lib/virtnet-lab") / os.environ.get("VIRTNET_TEST_LAB", "mol") / "inventory.yml"
HOSTS = ("kvm1", "kvm2")
EXTRA = {"name": "fleet-extra", "model": "nat", "dhcp": {}}
RUN = ("site.yml", "--skip-tags", "verify")


def connected(name):
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={LAB}")


class Site:
    """The inventory that the administrator edits, and runs of playbooks with it."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "group_vars").mkdir()
        (folder / "hosts.yml").write_text("kvm_hosts:\n")
        self.declared = yaml.safe_load((PLAYBOOKS / "vars" / "fleet_lab.yml").read_text())
        self.declare()

    def declare(self, *networks):
        """Have these networks besides those of the lab."""
        content = {**self.declared, "kvm_networks": [*self.declared["kvm_networks"], *networks]}
        (self.folder / "group_vars" / "kvm_hosts.yml").write_text(yaml.safe_dump(content))

    def command(self, playbook, *options):
        return ["ansible-playbook", "-i", str(LAB), "-i", str(self.folder / "hosts.yml"), str(PLAYBOOKS / playbook), *options]

    def run(self, playbook, *options, rc=0):
        done = subprocess.run(self.command(playbook, *options), check=False, timeout=900, **OUTPUT)
        assert done.returncode == rc, done.stdout[-12000:]
        return Run(done.stdout)


OUTPUT = {
    "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True,
    "env": {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"},
}  # fmt: skip


class Run:
    """What a run of a playbook has said."""

    def __init__(self, text):
        self.text = text
        recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", text, flags=re.MULTILINE)
        self.recap = {host: dict(zip(("changed", "unreachable", "failed"), map(int, row))) for host, *row in recap}
        self.changed = set()
        tasks = r"^TASK \[(?:virtnet\.kvm\.)?([^]]*)\] \**\n(.*?)(?=^TASK|^PLAY|\Z)"
        for task, body in re.findall(tasks, text, flags=re.MULTILINE | re.DOTALL):
            self.changed |= {(host, task) for host in re.findall(r"^changed: \[(\w+)\]", body, flags=re.MULTILINE)}

    def rows(self):
        """Return {(host, network): (subnets, where they come from)} of the plan's table."""
        found = {}
        for line in self.text.splitlines():
            words = line.split()
            if len(words) >= 6 and words[0] in HOSTS and words[1].startswith("fleet-"):
                found[words[0], words[1]] = (" ".join(words[4:-2]), words[-1])
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def hosts():
    return {name: connected(name) for name in HOSTS}


def state(hosts):
    """Return what a change would show in: the store, the rules, the networks and the links of each host."""
    look = (
        "find /etc/virtnet /etc/libvirt/qemu -type f | sort | xargs md5sum; nft -s list ruleset | grep -v '^#';"
        " virsh -q net-list --all; ip -br link | sort; ip -br address | sort"
    )
    return {name: host.check_output(look) for name, host in hosts.items()}


def test_a_converged_fleet_has_no_drift(site, table):
    began = time.monotonic()
    run = site.run(*RUN, "--check", "--diff")
    assert {host: row["changed"] for host, row in run.recap.items()} == {"kvm1": 0, "kvm2": 0}, run.changed
    # The inventory says what the lab's playbook says: everything was given before.
    rows = run.rows()
    assert len(rows) == 7 and {origin for _subnets, origin in rows.values()} == {"declared", "kept", "-"} - {"declared"}
    subnets = [subnets for subnets, origin in rows.values() if origin == "kept"]
    # One of them is one segment over both hosts.
    assert len(subnets) == 6 and len(set(subnets)) == 5 and rows["kvm1", "fleet-backend"] == rows["kvm2", "fleet-backend"]
    table("check mode of a converged fleet", [f"{time.monotonic() - began:.0f} s, changed=0 on both hosts"])


def test_what_somebody_changed_by_hand_is_all_that_differs_and_a_run_mends_it(site, hosts):
    hosts["kvm1"].check_output("sysctl -w net.ipv4.ip_forward=0")
    hosts["kvm2"].check_output("virsh net-destroy fleet-backend")
    run = site.run(*RUN, "--check", "--diff")
    assert {(host, task.rpartition(" : ")[2]) for host, task in run.changed} == {
        ("kvm1", "Forward packets"), ("kvm2", "Define and start the networks"),
    }  # fmt: skip
    assert hosts["kvm1"].check_output("sysctl -n net.ipv4.ip_forward") == "0"
    mended = site.run(*RUN)
    assert {host: row["changed"] > 0 for host, row in mended.recap.items()} == {"kvm1": True, "kvm2": True}
    assert {host: row["changed"] for host, row in site.run(*RUN, "--check").recap.items()} == {"kvm1": 0, "kvm2": 0}
    # The guest of the network that was down is in it again.
    proof = site.run("verify.yml")
    assert "cells are as the contract says" in proof.text
    assert re.search(r"fleet-backend@kvm2 +\d+ +\d+ +\d+ +0$", proof.text, flags=re.MULTILINE), proof.text[-6000:]


def test_all_that_clashes_is_told_at_once_and_nothing_is_touched(site, hosts):
    before = state(hosts)
    site.declare(
        {"name": "fleet-lan", "model": "nat", "addresses": ["10.77.0.65/26"], "hosts": ["kvm1"]},
        {"name": "fleet-same", "model": "routed", "addresses": ["10.81.0.1/24"]},
        {"name": "fleet-odd", "model": "nat", "bridge": "a-name-that-is-too-long", "hosts": ["kvm2"]},
    )
    try:
        said = site.run(*RUN, rc=2).text
    finally:
        site.declare()
    for line in (
        "3 problems, and nothing was touched",
        "fleet-lan: its subnet 10.77.0.64/26 overlaps 10.77.0.0/24 of this host's link",
        "kvm2: kvm_networks[5].addresses: fleet-same: its subnet 10.81.0.0/24 overlaps 10.81.0.0/24 of fleet-same on kvm1",
        "kvm2: kvm_networks[6].bridge: fleet-odd: the link name",
    ):
        assert line in said, said[-6000:]
    assert "net_isolated" not in said
    assert state(hosts) == before


def test_a_limited_run_gives_what_no_other_host_has(site, hosts):
    before = site.run("site.yml", "--tags", "plan").rows()
    assert len(before) == 7
    site.declare(EXTRA)
    try:
        site.run(*RUN, "--limit", "kvm2", "--tags", "networks")
        rows = site.run("site.yml", "--tags", "plan").rows()
    finally:
        site.declare()
    assert {key: rows[key] for key in before} == before
    assert rows["kvm2", "fleet-extra"][1] == "kept" and rows["kvm1", "fleet-extra"][1] == "new"
    subnets = [subnets for subnets, origin in rows.values() if origin != "-"]
    assert len(subnets) == 8 and len(set(subnets)) == 7
    assert hosts["kvm1"].run("virsh net-info fleet-extra").rc != 0
    # What is declared no more is told, and stays.
    said = site.run("site.yml", "--tags", "plan").text
    assert "kvm2: the network fleet-extra was made there and is declared for it no more" in said
    site.declare({"name": "fleet-extra", "state": "absent"})
    try:
        run = site.run(*RUN, "--tags", "networks")
    finally:
        site.declare()
    assert {host for host, _task in run.changed} == {"kvm2"}
    assert hosts["kvm2"].run("virsh net-info fleet-extra").rc != 0


def test_a_host_that_goes_away_in_the_middle(site, hosts, table):
    """The other one comes to its end, and the next run completes the first."""
    site.declare(EXTRA)
    process = subprocess.Popen(site.command(*RUN, "--timeout", "10"), **OUTPUT)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("TASK [virtnet.kvm.net_isolated"):
                lab(hosts["kvm2"], "kill", "kvm2")
                break
        rest = process.communicate(timeout=600)[0]
    finally:
        process.kill()
        lab(hosts["kvm2"], "start", "kvm2")
    run = Run("".join(lines) + rest)
    assert process.returncode == 4, run.text[-6000:]
    assert run.recap["kvm2"]["unreachable"] == 1 and run.recap["kvm2"]["failed"] == 0
    assert run.recap["kvm1"]["unreachable"] == run.recap["kvm1"]["failed"] == 0
    hosts["kvm1"].check_output("virsh net-info fleet-extra")
    began = time.monotonic()
    again = site.run("site.yml")
    assert ("kvm2", "net_nat : Define and start the networks") in again.changed, again.changed
    assert not [task for host, task in again.changed if host == "kvm1"]
    assert "cells are as the contract says" in again.text
    connected("kvm2").check_output("virsh net-info fleet-extra")
    table("a host that was lost in the middle of site.yml", [f"the next run, with the proof: {time.monotonic() - began:.0f} s"])
    site.declare({"name": "fleet-extra", "state": "absent"})
    site.run(*RUN, "--tags", "networks")


def test_the_proof_as_a_nightly_check(site, tmp_path, hosts):
    proof = tmp_path / "proof.json"
    site.run("verify.yml", "-e", f"reachability_json={proof}")
    found = json.loads(proof.read_text())
    assert found["ok"]
    assert {"fleet-services@kvm1", "fleet-campus@kvm2"} <= {one for cell in found["cells"] for one in cell["networks"]}
    across = [cell for cell in found["cells"] if cell["networks"] == ["fleet-services@kvm1", "fleet-services@kvm2"]]
    assert across and all(cell["seen"] == "yes" for cell in across)
    # What somebody breaks, it finds: a network that lets nobody out.
    bridge = hosts["kvm1"].check_output("virsh net-info fleet-office | sed -n 's/Bridge: *//p'")
    rules = [
        "add table inet broken", "add chain inet broken f { type filter hook forward priority -5; }",
        f"add rule inet broken f iifname {bridge} drop",
    ]  # fmt: skip
    for rule in rules:
        hosts["kvm1"].check_output(f"nft '{rule}'")
    try:
        broken = site.run("verify.yml", "-e", f"reachability_json={proof}", rc=2)
    finally:
        hosts["kvm1"].check_output("nft delete table inet broken")
    found = json.loads(proof.read_text())
    wrong = {tuple(cell["networks"]) for cell in found["cells"] if not cell["ok"]}
    assert wrong and all("fleet-office@kvm1" in networks for networks in wrong), wrong
    assert "fleet-office0@kvm1" in broken.text or "office0@kvm1" in broken.text
