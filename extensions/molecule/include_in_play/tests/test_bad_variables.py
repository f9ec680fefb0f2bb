# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables that a role cannot take: one clear error, which names the variable's part and the cure, and nothing is touched."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[1] / "files" / "one_role.yml"
INVENTORY = f"/var/lib/virtnet-lab/{os.environ.get('VIRTNET_TEST_LAB') or 'mol'}/inventory.yml"
SNAPSHOT = Path(__file__).resolve().parents[2] / "files" / "host_snapshot.py"


def net(**more):
    return {"name": "badnet", "bridge": "badbr", **more}


NET = net(addresses=["10.98.1.1/24"])
#: A role, its variables, and words that its error must have.
ROWS = [
    ("kvm_host", {"kvm_host_daemons": "systemd"}, "kvm_host_daemons must be one of: auto, monolithic, split"),
    ("kvm_host", {"kvm_host_uri": "qemu+nonsense:///system"}, "libvirt at qemu+nonsense:///system does not answer"),
    ("net_nat", {"net_nat_networks": 7}, "'net_nat_networks'"),
    (
        "net_nat",
        {"net_nat_networks": [net(subnet="10.98.1.0/24")]},
        "networks[0].subnet: badnet: there is no such option. Did you mean",
    ),
    ("net_nat", {"net_nat_networks": [NET, {"bridge": "badbr2"}]}, "networks[1].name: it is required, and missing."),
    ("net_nat", {"net_nat_networks": [{**NET, "dhcp": True}]}, "networks[0].dhcp: badnet: it must be of type dict, not bool"),
    (
        "net_nat",
        {"net_nat_networks": [{**NET, "dhcp": {"ranges": [{"start": "10.98.2.1", "end": "10.98.2.9"}]}}]},
        "networks[0].dhcp.ranges[0]: badnet: the DHCP range 10.98.2.1 to 10.98.2.9 is outside the subnet: 10.98.2.1. Keep",
    ),
    (
        "net_nat",
        {"net_nat_networks": [{**NET, "bridge": "a-bridge-of-a-long-name"}]},
        "networks[0].bridge: badnet: the link name 'a-bridge-of-a-long-name' has 23 characters. The kernel takes at most 15.",
    ),
    ("net_nat", {"net_nat_networks": [NET, NET]}, "networks[1].name: badnet: the network is declared twice, as networks[0] too."),
    (
        "net_nat",
        {"net_nat_networks": [{**NET, "model": "routed"}]},
        "networks[0].model: badnet: its model is routed, and this role's networks are nat. Give it to the role net_routed",
    ),
    (
        "net_isolated",
        {"net_isolated_networks": [net(addresses=["10.98.1.1/24"])]},
        "networks[0].addresses: badnet: an isolated network with an address but without DHCP. Give dhcp too",
    ),
    ("net_isolated", {"net_isolated_networks": [net(nat={})]}, "networks[0].nat: badnet: there is no such option."),
    (
        "net_routed",
        {"net_routed_networks": [{**NET, "bridge": "eth0"}]},
        "networks[0].bridge: badnet: the link eth0 is there already and is not a bridge of this network. Choose another name",
    ),
    ("net_bridged", {"net_bridged_networks": [net()]}, "There is no bridge badbr. Name the uplink that it shall take in"),
    ("net_bridged", {"net_bridged_networks": [net(uplink="eth9")]}, "bridges[0].ports[0]: badbr: there is no link eth9. See ip"),
    (
        "net_bridged",
        {"net_bridged_networks": [NET]},
        "networks[0].addresses: badnet: a bridged network has no address of its own. The host's address is host_bridge's.",
    ),
    (
        "guests",
        {"guests_list": [{"name": "badvm", "nics": [{"network": "nosuchnet"}]}]},
        "guests[0].nics[0].network: badvm: the host has no libvirt network nosuchnet.",
    ),
    ("guests", {"guests_list": [{"name": "bad/vm"}]}, "guests[0].name: 'bad/vm' cannot be a name. Use at most 50 letters"),
    (
        "guests",
        {"guests_list": [{"name": "badvm", "memory": 64}]},
        "guests[0].memory: badvm: there is no such option. Did you mean memory_mb?",
    ),
    ("fleet_plan", {"fleet_plan_pools": [{"subnet": "10.64.0.0/99"}]}, "[0].subnet: '10.64.0.0/99' is not a subnet"),
    (
        "fleet_plan",
        {"kvm_networks": [{**NET, "model": "nat", "addresses": ["10.77.0.1/24"]}]},
        "overlaps 10.77.0.0/24 of this host's link eth0",
    ),
    (
        "route_exchange",
        {"route_exchange_networks": [NET], "route_exchange_peers": ["nobody"]},
        "neither a host nor a group nobody",
    ),
    (
        "reachability",
        {"reachability_networks": [net(model="sideways")]},
        "networks[0].model: badnet: it cannot be 'sideways'. It takes isolated",
    ),
    ("topology", {"topology_dot": "/nowhere/dot"}, "/nowhere/dot of Graphviz does not run on the controller"),
]


@pytest.mark.parametrize(("role", "variables", "says"), ROWS, ids=[f"{role} {says[:40]}" for role, _variables, says in ROWS])
def test_it_is_refused_before_anything_is_touched(host, role, variables, says):
    before = snapshot(host)
    done = subprocess.run(
        [
            "ansible-playbook", "-i", INVENTORY, BOOK, "--limit", host.backend.host,
            "-e", json.dumps({"role_under_test": f"virtnet.kvm.{role}", **variables}),
        ],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, told
    assert says in told or says.replace("'", "''") in told, told[-3000:]
    assert "Traceback" not in told
    assert "changed=0" in told
    assert snapshot(host) == before


def snapshot(host):
    """All of the host that the collection could change."""
    return json.loads(host.check_output(f"python3 - <<'END'\n{SNAPSHOT.read_text()}\nEND"))
