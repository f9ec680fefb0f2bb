# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the foreign play's includes left on the hosts, and what parts of it do to the rest; in the order of the file."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import testinfra

HERE = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
INVENTORY = f"/var/lib/virtnet-lab/{os.environ.get('VIRTNET_TEST_LAB') or 'mol'}/inventory.yml"
NETWORKS = {
    "inclnat1": "inclnatbr1", "inclnat2": "inclnatbr2", "incliso1": "inclisobr1", "incliso2": "inclisobr2",
    "inclrou1": "inclroubr1", "inclrou2": "inclroubr2", "incllan1": "theirsbr1", "incllan2": "theirsbr2",
}
#: Which key of a module's result is what is there afterwards.
AFTER = {
    "virt_net_model": "networks", "net_policy": "networks", "nat_rule": "rules", "ip_forward": "forwarding", "guest_vm": "guests",
}


def play(book, *arguments):
    """Run a playbook as a user does; return what the modules told."""
    told = FOLDER / "told.json"
    told.unlink(missing_ok=True)
    done = subprocess.run(
        ["ansible-playbook", "-i", INVENTORY, HERE / book, *arguments], capture_output=True, text=True, check=False,
        env=os.environ | {
            "TOLD": str(told), "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "files"), "ANSIBLE_CALLBACKS_ENABLED": "told",
        },
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    return json.loads(told.read_text(encoding="utf-8"))


def hosts():
    return {one.backend.host: one for one in testinfra.get_hosts(["ansible://kvm_hosts"], ansible_inventory=INVENTORY)}


def store(host):
    """Return {file: text} of what the host was told about networks and rules."""
    names = host.check_output("cd /etc/virtnet && ls networks.d/*.json rules.d/*.json").split()
    return {name: host.check_output("cat /etc/virtnet/%s", name) for name in names}


def definitions(host):
    names = host.check_output("virsh -q net-list --all --name").split()
    return {name: host.check_output("virsh net-dumpxml --inactive %s", name) for name in names}


def changes(told):
    """Return what was changed, as (host, module, object's name)."""
    return {
        (one["host"], one["module"], action["name"])
        for one in told for action in one["result"].get("actions", ()) if one["result"]["changed"]
    }


def state(one):
    found = one["result"].get(AFTER[one["module"]])
    if one["module"] == "guest_vm":
        # Their addresses are known when they run.
        return [dict(guest, interfaces=None) for guest in found]
    return found


def test_check_mode_said_what_came():
    check, real = (json.loads((FOLDER / f"told-{kind}.json").read_text(encoding="utf-8")) for kind in ("check", "real"))
    by_host = [{}, {}]
    for told, found in zip((check, real), by_host):
        for one in told:
            if one["module"] == "host_iface_info":
                continue  # it only tells
            found.setdefault(one["host"], []).append((one["task"], one["module"], state(one)))
    assert by_host[0] == by_host[1]
    for rows in by_host[1].values():
        assert {module for _task, module, _state in rows} == set(AFTER)
    # Each include changed something: none found its work done by another.
    names = {name for _host, module, name in changes(real) if module == "virt_net_model"}
    assert set(NETWORKS) <= names


def test_all_includes_are_there(host):
    rows = [line.split()[:3] for line in host.check_output("virsh -q net-list").splitlines()]
    assert sorted(rows) == sorted([[name, "active", "yes"] for name in NETWORKS] + [["theirs", "active", "no"]])
    found = store(host)
    assert {name for name in found if name.startswith("networks.d/")} == {f"networks.d/{name}.json" for name in NETWORKS}
    translated = ("inclnat1", "inclnat2", "inclrou1")
    assert {name for name in found if name.startswith("rules.d/")} == {f"rules.d/@{name}.json" for name in translated}


def test_the_filter_has_all_of_it_in_the_kernel_and_for_the_boot(host):
    for text in (host.check_output("nft list table inet virtnet"), host.check_output("cat /etc/virtnet/virtnet.nft")):
        for bridge in NETWORKS.values():
            if bridge.startswith("theirs"):
                continue  # their LANs; nothing is filtered there
            assert f'"{bridge}"' in text
        for subnet in ("10.64.181.0/24", "10.64.182.0/24", "10.64.185.0/24"):
            assert re.search(rf"{re.escape(subnet)}.*masquerade|{re.escape(subnet)}", text)
        assert "8182" in text and "10.64.182.9" in text
    assert "dport 7 accept" in host.check_output("nft list table inet theirs")


def test_the_guests_of_both_includes_run(host):
    assert set(host.check_output("virsh -q list --name").split()) == {"inclvm1", "inclvm2"}


def test_limit_and_tags_touch_their_part_only():
    here = hosts()
    before = {name: (store(host), definitions(host)) for name, host in here.items()}

    told = play("converge.yml", "--limit", "kvm1", "--tags", "translated", "-e", "incl_last=150", "-e", "incl_mtu=1400")
    assert changes(told) == {("kvm1", "virt_net_model", "inclnat1")}
    assert {one["task"].partition(" : ")[0] for one in told} == {"virtnet.kvm.net_nat"}
    limited = {name: (store(host), definitions(host)) for name, host in here.items()}
    assert limited["kvm2"] == before["kvm2"] and limited["kvm1"][0] == before["kvm1"][0]
    assert {name for name, xml in limited["kvm1"][1].items() if xml != before["kvm1"][1][name]} == {"inclnat1"}

    told = play("converge.yml", "--tags", "closed", "-e", "incl_last=100", "-e", "incl_mtu=1400")
    assert {one["task"].partition(" : ")[0] for one in told} == {"virtnet.kvm.net_isolated"}
    assert {(host, name) for host, module, name in changes(told) if module == "virt_net_model"} == {
        ("kvm1", "incliso1"), ("kvm2", "incliso1"),
    }
    for name, host in here.items():
        now = definitions(host)
        assert {one for one, xml in now.items() if xml != limited[name][1][one]} == {"incliso1"}

    # And all back, by the same play as it stands.
    told = play("converge.yml", "--tags", "translated,closed")
    assert {(host, name) for host, module, name in changes(told) if module == "virt_net_model"} == {
        ("kvm1", "inclnat1"), ("kvm1", "incliso1"), ("kvm2", "incliso1"),
    }
    assert {name: (store(host), definitions(host)) for name, host in here.items()} == before


def test_their_bridges_are_as_they_made_them(host):
    for name, isolated in (("incllan1", False), ("incllan2", True)):
        xml = host.check_output("virsh net-dumpxml %s", name)
        assert f"<bridge name='{NETWORKS[name]}'/>" in xml and ("isolated='yes'" in xml) == isolated
        link = json.loads(host.check_output("ip -j link show %s", NETWORKS[name]))[0]
        assert "ifalias" not in link and "UP" in link["flags"]


def test_what_one_include_takes_away_leaves_the_others_working():
    """The playbook itself proves with packets that the networks left do what their models promise."""
    here = hosts()
    before = {name: (store(host), definitions(host)) for name, host in here.items()}
    gone = {"inclnat2", "incliso2", "inclrou1"}
    told = play("part.yml")
    assert {name for _host, module, name in changes(told) if module == "virt_net_model"} == gone
    for name, host in here.items():
        files = {f"networks.d/{one}.json" for one in gone} | {f"rules.d/@{one}.json" for one in gone}
        assert store(host) == {one: text for one, text in before[name][0].items() if one not in files}
        assert definitions(host) == {one: xml for one, xml in before[name][1].items() if one not in gone}
        text = host.check_output("nft list table inet virtnet")
        assert not re.search("|".join(NETWORKS[one] for one in gone), text) and "8182" not in text
        # Two translated networks are gone; the third still needs forwarding.
        assert host.check_output("sysctl -n net.ipv4.ip_forward") == "1"
        assert "theirs" in definitions(host) and host.run("nft list table inet theirs").rc == 0
    # The foreign play brings back what was taken, and nothing else.
    told = play("converge.yml")
    assert {name for _host, module, name in changes(told) if module == "virt_net_model"} == gone


@pytest.mark.parametrize("arguments", [[], ["--check"]], ids=["again", "check"])
def test_then_there_is_nothing_to_do(arguments):
    assert changes(play("converge.yml", "--tags", "translated,closed,lan,routes", *arguments)) == set()
