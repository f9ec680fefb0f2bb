# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example inventory is one that site.yml would carry out."""

from __future__ import annotations

from pathlib import Path

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager
from ansible_collections.virtnet.kvm.plugins.filter import fleet

EXAMPLE = Path(__file__).resolve().parents[3] / "inventory" / "example"


def test_the_example_has_a_plan_without_a_problem():
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(EXAMPLE / "hosts.yml")])
    variables = VariableManager(loader=loader, inventory=inventory)
    hosts = [host.name for host in inventory.get_hosts("kvm_hosts")]
    mine = {name: variables.get_vars(host=inventory.get_host(name)) for name in hosts}
    eth0 = {
        "name": "eth0", "owned": False, "manager": "networkd", "type": "physical", "ports": [],
        "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}],
        "addresses": [{"address": "192.0.2.11/24", "scope": "global", "dynamic": False}],
    }  # fmt: skip
    found = {"interfaces": [eth0], "networks": [], "libvirt_networks": None, "guests": None, "memory_mb": 4000, "processors": 4}
    plan = fleet.fleet_plan(
        {name: mine[name]["kvm_networks"] for name in hosts}, {name: mine[name]["kvm_guests"] for name in hosts},
        dict.fromkeys(hosts, found), inventory.get_groups_dict(), mine["kvm1"]["kvm_address_pools"],
    )  # fmt: skip
    assert plan["errors"] == []
    assert {name: [one["name"] for one in networks] for name, networks in plan["networks"].items()} == {
        "kvm1": ["office", "services", "lan"], "kvm2": ["guests", "services", "lan"], "kvm3": ["guests", "services", "databases"],
    }  # fmt: skip
