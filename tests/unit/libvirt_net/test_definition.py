# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import live
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import addresses
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition

NAT = {
    "name": "natnet", "model": "nat", "bridge": "natbr0", "addresses": ["10.64.100.1/24", "fd00:64::1/64"],
    "dhcp": {
        "ranges": [{"start": "10.64.100.100", "end": "10.64.100.200"}],
        "reservations": [
            {"name": "vm1", "mac": "52:54:00:00:00:02", "address": "10.64.100.3"},
            {"name": "vm0", "mac": "52:54:00:00:00:01", "address": "10.64.100.2"},
        ],
    },
}

# As libvirt 9.0 returned it for a network that was written by hand.
BY_HAND = """
<network connections='1'>
  <name>natnet</name>
  <uuid>2b0b3c86-4f5d-4ab4-8b1a-3f0b0a7d1c11</uuid>
  <forward mode='nat'>
    <nat>
      <port start='1024' end='65535'/>
    </nat>
  </forward>
  <bridge name='virbr5' stp='on' delay='0'/>
  <mac address='52:54:00:11:22:33'/>
  <domain name='lab'/>
  <ip address='188.64.100.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='188.64.100.128' end='188.64.100.254'/>
      <host mac='52:54:00:AA:BB:CC' name='vm0' ip='188.64.100.2'/>
      <bootp file='pxelinux.0'/>
    </dhcp>
  </ip>
</network>
"""


def network(**changes):
    return models.parse_networks([{**NAT, **changes}])[0]


def test_parse_reads_what_people_write():
    normal = definition.parse(definition.load(BY_HAND))
    assert normal["model"] == "nat" and normal["firewall"] == "libvirt" and normal["stp"]
    assert normal["addresses"] == ["188.64.100.1/24"]
    assert normal["dhcp"]["reservations"] == [
        {"name": "vm0", "mac": "52:54:00:aa:bb:cc", "duid": None, "address": "188.64.100.2"}
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"firewall": "libvirt"}, {"mtu": 9000}, {"stp": True}, {"model": "routed"},
        {"model": "isolated", "addresses": ["10.64.100.1/24"]},
        {"dns": {"enabled": False}}, {"dns": {"enabled": True, "domain": "lab", "local_only": True, "forwarders": ["10.0.0.1"]}},
        {"dns": {"enabled": True, "hosts": [{"address": "10.64.100.9", "names": ["b", "a"]}]}},
        {"routes": [{"to": "10.9.0.0/16", "via": "10.64.100.9"}, {"to": "fd09::/48", "via": "fd00:64::9"}]},
        {"policy": {"port_isolation": True}},
        {"model": "routed", "bridge_owner": "host", "dhcp": None},
        {"model": "bridged", "addresses": None, "dhcp": None},
        {"model": "bridged", "attach": "macvtap", "uplink": "eth0", "addresses": None, "dhcp": None},
    ],
)
def test_rendering_twice_changes_nothing(changes):
    declared = network(**changes)
    once = definition.edit(declared)
    again = definition.edit(declared, definition.load(definition.dump(once)))
    assert definition.parse(again) == definition.parse(once)
    assert definition.parse_mark(again)["model"] == declared.model


@pytest.mark.parametrize("model", ["routed", "isolated", "bridged"])
def test_on_a_bridge_of_the_hosts_libvirt_is_told_nothing_that_it_refuses(model):
    more = {} if model == "bridged" else {"addresses": ["10.64.100.1/24"], "bridge_owner": "host"}
    declared = network(model=model, mtu=9000, dhcp=None, routes=[], **{"addresses": None, **more})
    # Also where it has been on a bridge of libvirt's before.
    for tree in (definition.edit(declared), definition.edit(declared, definition.edit(network(mtu=9000)))):
        assert {one.tag for one in tree} - {"name", "metadata", "uuid", "port"} == {"forward", "bridge"}
        assert tree.find("forward").get("mode") == "bridge" and dict(tree.find("bridge").attrib) == {"name": declared.bridge}


def test_taking_over_leaves_alone_what_is_not_declared():
    tree = definition.load(BY_HAND)
    declared = models.parse_networks(
        [{"name": "natnet", "model": "nat", "firewall": "libvirt", "bridge": "virbr5", "stp": True}]
    )[0]
    edited = definition.edit(declared, tree)
    before, after = definition.parse(tree), definition.parse(edited)
    assert after == before
    assert edited.find("ip/dhcp/bootp") is not None and edited.find("mac") is not None
    assert edited.find("forward/nat/port") is not None
    assert definition.parse_mark(edited) == {"model": "nat", "firewall": "libvirt"}


def test_a_changed_reservation_keeps_the_other_elements():
    tree = definition.load(BY_HAND)
    declared = models.parse_networks(
        [
            {
                "name": "natnet", "model": "nat", "firewall": "libvirt", "bridge": "virbr5", "stp": True,
                "dhcp": {"reservations": [{"name": "vm1", "mac": "52:54:00:00:00:02", "address": "188.64.100.3"}]},
            }
        ]
    )[0]
    dhcp = definition.edit(declared, tree).find("ip/dhcp")
    assert [child.tag for child in dhcp] == ["range", "host", "bootp"]
    assert dhcp.find("host").get("name") == "vm1"


LAN = {"model": "bridged", "addresses": None, "dhcp": None}


def test_a_lan_on_a_bridge_and_back_again():
    """What libvirt adds of the one way is not left over for the other."""
    macvtap = definition.edit(network(**LAN, attach="macvtap", uplink="eth0"))
    macvtap.find("forward").set("dev", "eth0")
    bridge = definition.edit(network(**LAN, bridge="br0", uplink="eth0", mtu=9000), macvtap)
    assert dict(bridge.find("forward").attrib) == {"mode": "bridge"} and len(bridge.find("forward")) == 0
    assert bridge.find("bridge").get("name") == "br0" and bridge.find("mtu") is None
    other = definition.edit(network(**LAN, attach="macvtap", uplink="eth1"), macvtap)
    assert other.find("forward").get("dev") is None
    assert [one.get("dev") for one in other.find("forward")] == ["eth1"]
    assert definition.edit(network(**LAN, attach="macvtap", uplink="eth0"), bridge).find("bridge") is None


def test_nat_by_libvirt_translates_ipv6_too():
    tree = definition.edit(network(firewall="libvirt"))
    assert tree.find("forward/nat").get("ipv6") == "yes"


LIVE = [
    ({"dhcp": {"reservations": [NAT["dhcp"]["reservations"][0]]}}, [("ip-dhcp-host", "delete")], []),
    (
        {"dhcp": {"reservations": [dict(NAT["dhcp"]["reservations"][0], address="10.64.100.9"), NAT["dhcp"]["reservations"][1]]}},
        [("ip-dhcp-host", "delete"), ("ip-dhcp-host", "add")], [],
    ),
    (
        {"dhcp": {"ranges": [{"start": "10.64.100.50", "end": "10.64.100.60"}]}},
        [("ip-dhcp-range", "delete"), ("ip-dhcp-range", "add")], [],
    ),
    ({"dns": {"enabled": True, "hosts": [{"address": "10.64.100.9", "names": ["a"]}]}}, [("dns-host", "add")], []),
    ({"dns": {"txt": [{"name": "a", "value": "b"}]}}, [("dns-txt", "add")], []),
    ({"dns": {"srv": [{"service": "ldap"}]}}, [("dns-srv", "add")], []),
    ({"dns": {"forwarders": ["10.0.0.1"], "txt": [{"name": "a", "value": "b"}]}}, [], ["dns"]),
    (
        {"dhcp": {"lease_time": "1h"}},
        [
            ("ip-dhcp-host", "delete"), ("ip-dhcp-host", "delete"), ("ip-dhcp-host", "add"), ("ip-dhcp-host", "add"),
            ("ip-dhcp-range", "delete"), ("ip-dhcp-range", "add"),
        ],
        [],
    ),
    (
        {"dhcp": {"ranges": [], "reservations": []}},
        [("ip-dhcp-host", "delete"), ("ip-dhcp-host", "delete"), ("ip-dhcp-range", "delete")], [],
    ),
    ({"dhcp": {"boot": {"file": "x"}}}, [], ["dhcp"]),
    ({"portgroups": [{"name": "a"}]}, [("portgroup", "add")], []),
    ({"title": "a"}, [("title", "set")], []),
    ({"description": "a"}, [("description", "set")], []),
    ({"mac": "02:00:00:00:00:01"}, [], ["mac"]),
    ({"delay": 4}, [], ["delay"]),
    ({"dnsmasq_options": ["log-queries"]}, [], ["dnsmasq_options"]),
    ({"dns": {"enabled": False}}, [], ["dns"]),
    ({"mtu": 9000}, [], ["mtu"]),
    ({"stp": True}, [], ["stp"]),
    ({"addresses": ["10.64.100.1/24"]}, [], ["addresses"]),
]


@pytest.mark.parametrize(("changes", "updates", "restart"), LIVE, ids=[str(list(row[0].items())[0]) for row in LIVE])
def test_what_can_be_changed_at_run_time(changes, updates, restart):
    running = definition.edit(network())
    wanted = definition.edit(network(**changes), running)
    found, fields = live.live_updates(definition.parse(running), definition.parse(wanted))
    assert [row[:2] for row in found] == updates
    assert fields == restart


@pytest.mark.parametrize(
    ("text", "spelling"),
    [("3600", "1h"), ("90m", "90m"), ("7d", "168h"), ("infinite", "infinite"), ("45s", "45s"), ("120", "2m")],
)
def test_a_lease_time_has_one_spelling(text, spelling):
    assert addresses.seconds_to_lease(addresses.lease_to_seconds(text)) == spelling


@pytest.mark.parametrize("addresses_again", [True, False])
def test_a_network_that_libvirt_begins_to_translate_has_its_ipv6_translated(addresses_again):
    tree = definition.edit(network())  # our own rules: open
    changes = {"firewall": "libvirt"} if addresses_again else {"firewall": "libvirt", "addresses": None}
    tree = definition.edit(network(**changes), tree)
    assert tree.find("forward").get("mode") == "nat"
    assert tree.find("forward/nat").get("ipv6") == "yes"


def test_dns_that_goes_off_takes_its_records_along():
    """libvirt refuses a network with records and no DNS."""
    records = {
        "domain": "lab", "forwarders": ["10.0.0.1"], "forward_zones": [{"domain": "a.test", "address": "10.0.0.2"}],
        "hosts": [{"address": "10.64.100.9", "names": ["a"]}], "txt": [{"name": "a", "value": "b"}],
        "srv": [{"service": "ldap", "target": "b.test", "port": 389}],
    }
    before = definition.edit(network(dns=records))
    after = definition.edit(network(dns={"enabled": False}), before)
    assert [node.tag for node in before.find("dns")] == ["forwarder", "forwarder", "host", "txt", "srv"]
    assert len(after.find("dns")) == 0 and after.find("domain").get("name") == "lab"


def test_several_vlans_are_a_trunk_said_or_not():
    tags = "<tag id='43'/><tag id='42' nativeMode='untagged'/>"
    said, unsaid = (
        definition.parse(definition.load(f"<network><name>a</name><vlan{word}>{tags}</vlan></network>"))["vlan"]
        for word in (" trunk='yes'", "")
    )
    assert said == unsaid and said["trunk"] and [one["id"] for one in said["tags"]] == [42, 43]


def test_a_domain_is_registered_and_not():
    for register in (True, False):
        tree = definition.edit(network(dns={"domain": "lab", "local_only": True, "register": register}))
        assert tree.find("domain").get("register") == ("yes" if register else None)
        assert definition.parse(tree)["dns"]["register"] == register


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({"name": "vm2", "mac": "52:54:00:00:00:03", "address": "10.64.100.4"}, ["vm0", "vm1"]),
        ({"name": "vm2", "mac": "52:54:00:00:00:01", "address": "10.64.100.4"}, ["vm1"]),
        ({"name": "vm1", "mac": "52:54:00:00:00:03", "address": "10.64.100.4"}, ["vm0"]),
        ({"name": "vm2", "mac": "52:54:00:00:00:03", "address": "10.64.100.2"}, ["vm1"]),
    ],
    ids=["another", "its MAC", "its name", "its address"],
)
def test_without_purge_a_reservation_takes_the_place_of_its_own_only(row, kept):
    before = definition.edit(network())
    declared = network(dhcp={"reservations": [row]})
    names = {
        purge: [one["name"] for one in definition.parse(definition.edit(declared, before, purge))["dhcp"]["reservations"]]
        for purge in (True, False)
    }
    assert names[True] == [row["name"]]
    assert sorted(names[False]) == sorted([row["name"], *kept])


def stretched(serves, **changes):
    item = {
        "name": "far", "model": "routed", "bridge": "farbr0", "addresses": ["10.64.100.1/24"],
        "dhcp": {
            "ranges": [{"start": "10.64.100.100", "end": "10.64.100.200"}],
            "reservations": [{"name": "vm0", "mac": "52:54:00:00:00:01", "address": "10.64.100.2"}],
        },
        "stretch": {"mode": "vxlan", "vni": 7, "serves": serves},
        **changes,
    }  # fmt: skip
    return models.parse_networks([item])[0]


@pytest.mark.parametrize("model", ["routed", "isolated"])
def test_one_host_of_a_stretched_network_serves_it(model):
    serving = definition.edit(stretched(True, model=model))
    other = definition.edit(stretched(False, model=model), serving)
    assert definition.parse(serving)["addresses"] == ["10.64.100.1/24"]
    assert len(definition.parse(serving)["dhcp"]["reservations"]) == 1
    assert definition.parse(other)["dhcp"] is None
    # A routed network's gateway is on all hosts, under one MAC address; an isolated one's on that which serves.
    assert definition.parse(other)["addresses"] == (["10.64.100.1/24"] if model == "routed" else [])
    assert definition.parse(other)["mac"] == definition.parse(serving)["mac"]
    assert (definition.parse(other)["mac"] is not None) == (model == "routed")
    assert definition.parse(definition.edit(stretched(True, model=model), other)) == definition.parse(serving)
