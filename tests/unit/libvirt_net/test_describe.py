# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import describe
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition

DHCP = {
    "ranges": [{"start": "10.1.0.100", "end": "10.1.0.200"}],
    "reservations": [
        {"name": "a", "mac": "52:54:00:00:00:01", "address": "10.1.0.2"}, {"name": "b", "mac": None, "address": "fd00::2"},
    ],
    "lease_time": "12h",
}
BOTH = ["10.1.0.1/24", "fd00::1/64"]
POLICY = {
    "deny_host": True, "port_isolation": True, "host_access": [{"protocol": "tcp", "ports": ["22"]}],
    "allow_to": [{"network": "other", "protocol": "any", "ports": None}],
}
ITEMS = {
    "nat": {"model": "nat", "addresses": BOTH, "dhcp": DHCP, "mtu": 9000, "uplink": "eth1", "policy": POLICY},
    "article's nat": {"model": "nat", "firewall": "libvirt", "addresses": BOTH, "stp": True, "uplink": "eth0"},
    "routed": {"model": "routed", "addresses": BOTH, "masquerade": True, "routes": [{"to": "10.9.0.0/16", "via": "10.1.0.9"}]},
    "names": {
        "model": "routed", "addresses": BOTH,
        "dns": {
            "domain": "x.test", "local_only": True, "forwarders": ["10.1.0.3"],
            "hosts": [{"address": "10.1.0.9", "names": ["b", "a"]}],
        },
    },
    "no names": {"model": "routed", "addresses": BOTH, "dns": {"enabled": False}},
    "isolated": {"model": "isolated", "bridge": "br1", "subnets": ["10.1.0.0/24"]},
    "isolated with dhcp": {"model": "isolated", "addresses": BOTH, "dhcp": DHCP},
    "host's bridge": {"model": "routed", "bridge_owner": "host", "bridge": "br2", "addresses": BOTH},
    "isolated on the host's": {"model": "isolated", "bridge_owner": "host", "bridge": "br2", "subnets": ["10.1.0.0/24"]},
    "bridged": {"model": "bridged", "bridge": "br0", "uplink": "eth0"},
    "macvtap": {"model": "bridged", "attach": "macvtap", "uplink": "eth0"},
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_what_is_told_changes_nothing_when_it_is_declared(item):
    network = models.parse_network({"name": "net", **item}, "networks[0]")
    tree = definition.edit(network)
    entry = entries.network_entry(network)
    told, differs, dummy = describe.describe(tree, "active", True, True, entry)
    assert differs == []
    again = models.parse_network(told, "networks[0]")
    assert definition.parse(definition.edit(again, tree)) == definition.parse(tree)
    # It is the whole network: declared on another host, it comes to the same there, the firewall's part as well.
    if network.bridge_owner != "host":
        assert definition.parse(definition.edit(again)) == definition.parse(tree)
        assert entries.network_entry(again) == {**entry, "routes": entry["routes"] or []}


FOREIGN = {
    "route becomes open": (
        "<forward mode='route'/><bridge name='b0'/><ip address='10.1.0.1' prefix='24'/>", "routed", ["forward"],
    ),
    "an isolated one keeps its address": ("<bridge name='b0' stp='on'/><ip address='10.1.0.1' prefix='24'/>", "isolated", []),
    "nat": ("<forward/><bridge name='b0'/><ip address='10.1.0.1' netmask='255.255.255.0'/>", "nat", []),
    "on a bridge": ("<forward mode='bridge'/><bridge name='br0'/>", "bridged", []),
}


@pytest.mark.parametrize(("body", "model", "differs"), FOREIGN.values(), ids=FOREIGN)
def test_networks_of_others(body, model, differs):
    tree = definition.load(f"<network><name>net</name>{body}</network>")
    item, found, dummy = describe.describe(tree, "inactive", False, True)
    assert (item["model"], item["state"], item["autostart"], found) == (model, "inactive", False, differs)


def test_a_reservation_without_words_leaves_all_of_them_alone():
    xml = (
        "<network><name>net</name><forward mode='open'/><bridge name='b0'/><ip address='10.1.0.1' prefix='24'><dhcp>"
        "<host mac='52:54:00:00:00:01' name='a'/><host mac='52:54:00:00:00:02' ip='10.1.0.2'/></dhcp></ip></network>"
    )
    item, differs, dummy = describe.describe(definition.load(xml), "active", True, True)
    assert item["dhcp"] == {"ranges": []} and differs == []


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("net", "<forward mode='passthrough'><interface dev='eth1'/></forward>", "libvirt's forward mode passthrough"),
        ("a net", "<bridge name='b0'/>", "'a net' cannot be a name"),
    ],
)
def test_no_model_and_why(name, body, why):
    tree = definition.load(f"<network><name>{name}</name>{body}</network>")
    item, differs, dummy = describe.describe(tree, "active", True, True)
    assert item is None and why in differs[0]


def test_a_port_and_a_lease():
    xml = (
        "<networkport><uuid>9a</uuid><owner><name>vm0</name><uuid>7b</uuid></owner><mac address='52:54:00:AA:00:01'/>"
        "<plug type='network' bridge='b0'/></networkport>"
    )
    assert describe.port(xml, {("vm0", "52:54:00:aa:00:01"): "vnet3"}) == {
        "uuid": "9a", "guest": "vm0", "guest_uuid": "7b", "mac": "52:54:00:aa:00:01", "dev": "vnet3",
        "type": "network", "bridge": "b0",
    }
    row = {"iface": "b0", "expirytime": 17, "mac": "52:54:00:AA:00:01", "ipaddr": "10.1.0.2", "prefix": 24, "hostname": None}
    assert describe.lease(row) == {
        "mac": "52:54:00:aa:00:01", "address": "10.1.0.2/24", "hostname": None, "client_id": None, "expires": 17,
    }
