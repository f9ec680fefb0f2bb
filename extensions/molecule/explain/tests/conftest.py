# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

import pytest
import testinfra
from module_calls import Modules

# The filters, as a play has them: the steps of a question are many, and a play for each takes long.
sys.path.insert(0, str(Path(__file__).resolve().parents[4] / ".build"))
explain = importlib.import_module("ansible_collections.virtnet.kvm.plugins.filter.explain")
guest_mac = importlib.import_module("ansible_collections.virtnet.kvm.plugins.module_utils.names").guest_mac

#: Networks by number, and their models. Guests by name, each in one of them.
MODELS = {1: "nat", 2: "routed", 3: "isolated"}
GUESTS = {"vm0": 1, "vm1": 1, "vm2": 2, "vm3": 3}


def net(host):
    """Return the number in a host's addresses: the machine outside is to know the two hosts' networks apart."""
    return {"kvm1": 95}.get(host, 96)


def address(host, guest):
    return f"10.{net(host)}.{GUESTS[guest]}.{10 + int(guest[2:])}"


def networks(host):
    own = net(host)
    found = []
    for number, model in MODELS.items():
        reserved = [
            {"name": name, "mac": guest_mac(host, name, 0), "address": address(host, name)}
            for name, its in GUESTS.items()
            if its == number
        ]
        found.append(
            {
                "name": f"expl{number}",
                "model": model,
                "bridge": f"explbr{number}",
                "state": "active",
                "autostart": True,
                "stp": False,
                "addresses": [f"10.{own}.{number}.1/24", f"fd00:{own}:{number}::1/64"],
                "dhcp": {
                    "ranges": [{"start": f"10.{own}.{number}.100", "end": f"10.{own}.{number}.120"}],
                    "reservations": reserved,
                },
            }
        )
    return found


class Bench:
    """A host with guests on it, and who asks why one of them cannot reach another."""

    def __init__(self, host, modules):
        self.host, self.modules = host, modules
        self.name = host.backend.host
        inventory = host.backend.ansible_runner.inventory_file
        outside = testinfra.get_host("ansible://outside1", ansible_inventory=inventory)
        self.hosts = {self.name: ("kvm", modules), "outside1": ("outside", Modules(outside))}

    def call(self, where, **arguments):
        kind, modules = self.hosts[where]
        result = modules("packet_trace", kind=kind, **arguments)
        assert "msg" not in result, result["msg"]
        return result

    def explain(self, src, dst, *rest):
        """Do what the playbook does, in this process; return the explanation."""
        names = explain.explain_guests([src, dst])
        looks = {where: self.call(where, guests=names) for where in self.hosts}
        plan = explain.explain_plan(looks, src, dst, *rest)
        steps = {"listen": {}, "send": {}, "collect": {}}
        for step, found in steps.items():
            for where in plan["hosts"]:
                listening = {} if step == "listen" else {"listening": steps["listen"][where]["listening"]}
                found[where] = self.call(where, step=step, plan=plan, inventory_host=where, **listening)
        result = explain.explain_judge(plan, looks, **steps)
        assert self.host.run("nft list tables | grep virtnet_trace").rc == 1, "the table that traces is left"
        return result

    def here(self, text):
        """Return a text in which addresses are those of kvm1 with this host's."""
        return text.replace("10.95.", f"10.{net(self.name)}.").replace("fd00:95:", f"fd00:{net(self.name)}:")

    def tap(self, guest):
        return self.host.check_output(f"virsh -q domiflist {guest}").split()[0]

    @contextlib.contextmanager
    def broken(self, breaking, mending):
        """Break something on the host meanwhile; both are commands of the shell."""
        try:
            self.host.run_test(breaking)
            yield
        finally:
            self.host.run_test(mending)


@pytest.fixture(scope="module")
def bench(host):
    modules = Modules(host)
    name = host.backend.host
    items = networks(name)
    guests = [{"name": guest, "nics": [{"network": f"expl{number}"}]} for guest, number in GUESTS.items()]
    try:
        modules.run("ip_forward", ipv4=True, ipv6=True)
        modules.run("net_policy", networks=items)
        modules.run("nat_rule", networks=items)
        modules.run("virt_net_model", networks=items)
        modules.run("guest_vm", guests=guests, inventory_host=name)
        yield Bench(host, modules)
    finally:
        gone = [{"name": one["name"], "state": "absent"} for one in items]
        modules.run("guest_vm", guests=[{"name": guest, "state": "absent"} for guest in GUESTS])
        modules.run("virt_net_model", networks=gone)
        modules.run("nat_rule", networks=gone)
        modules.run("net_policy", networks=gone)
