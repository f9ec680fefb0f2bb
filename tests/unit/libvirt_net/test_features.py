# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import features

ROUTED = {"name": "net", "model": "routed", "addresses": ["10.1.0.1/24", "fd00::1/64"]}
NAT = {**ROUTED, "model": "nat", "firewall": "libvirt"}
OVS = {"name": "net", "model": "bridged", "virtualport": {"type": "openvswitch"}}
VLAN = {"tags": [{"id": 4}]}

NEEDS = [
    ({**ROUTED, "title": "x"}, "9.7", "title"),
    ({**ROUTED, "description": "x"}, "9.7", "description"),
    ({**ROUTED, "vlan": VLAN}, "11.0", "vlan"),
    ({**OVS, "virtualport": None, "portgroups": [{"name": "a", "vlan": VLAN}]}, "11.0", "vlan"),
    ({**ROUTED, "dns": {"forwarders": ["10.0.0.1#54"]}}, "12.0", "dns.forwarders"),
    ({**ROUTED, "dns": {"forward_zones": [{"domain": "a", "address": "10.0.0.1", "port": 54}]}}, "12.0", "dns.forwarders"),
    ({**ROUTED, "dns": {"domain": "a", "local_only": True, "register": True}}, "10.1", "dns.register"),
    ({**ROUTED, "zone": "dmz"}, "10.8", "zone"),
    ({**NAT, "zone": "dmz"}, "6.5", "addresses"),
    ({**NAT, "zone": "dmz", "nat_ipv6": False}, "5.1", "zone"),
    ({**ROUTED, "dnsmasq_options": ["log-queries"]}, "5.6", "dnsmasq_options"),
    ({**ROUTED, "dhcp": {"lease_time": "1h"}}, "6.3", "dhcp.lease_time"),
    ({**ROUTED, "policy": {"port_isolation": True}}, "6.1", "policy.port_isolation"),
]
ALWAYS = [
    ROUTED, {**NAT, "nat_ipv6": False}, {**OVS, "vlan": VLAN}, {**OVS, "portgroups": [{"name": "a", "vlan": VLAN}]},
    {**ROUTED, "title": "", "description": "", "zone": "", "vlan": {}, "dnsmasq_options": []},
    {"name": "net", "model": "bridged", "attach": "macvtap", "uplink": "eth0", "vlan": VLAN},
    {**ROUTED, "dns": {"forwarders": ["10.0.0.1#53"], "register": False}},
]


def before(text):
    major, minor = (int(part) for part in text.split("."))
    return (major, minor - 1, 0) if minor else (major - 1, 99, 0)


@pytest.mark.parametrize(("item", "first", "option"), NEEDS, ids=[f"{row[2]} {row[1]}" for row in NEEDS])
def test_what_is_too_new_is_refused_by_name_and_version(item, first, option):
    network = models.parse_network(item, "networks[0]")
    features.check(network, (*(int(part) for part in first.split(".")), 0))
    with pytest.raises(Unsupported) as caught:
        features.check(network, before(first))
    assert caught.value.option == f"networks[0].{option}"
    assert f"needs libvirt {first}" in str(caught.value)


@pytest.mark.parametrize("item", ALWAYS, ids=range(len(ALWAYS)))
def test_what_every_libvirt_has(item):
    features.check(models.parse_network(item, "networks[0]"), (5, 0, 0))
