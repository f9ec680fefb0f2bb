# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import model_checks, models
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

NAT = {"name": "natnet", "model": "nat", "addresses": ["10.64.100.1/24"]}


def nat(**changes):
    return {**NAT, **changes}


def dhcp(start="10.64.100.100", end="10.64.100.200", reservations=None, **changes):
    return nat(dhcp={"ranges": [{"start": start, "end": end}], "reservations": reservations or [], **changes})


def reserved(*rows):
    return dhcp(reservations=[{"name": name, "mac": mac, "address": address} for name, mac, address in rows])


def macvtap(**changes):
    return {"name": "m", "model": "bridged", "attach": "macvtap", "uplink": "eth0", **changes}


def stretched(vni=7, more=None, **changes):
    item = {"name": "far", "model": "isolated", "stretch": {"mode": "vxlan", "vni": vni, **(more or {})}}
    return {**item, **changes}


STRETCHED = {
    "option": "networks[0].stretch.",
    "bad": [
        (stretched(None), "vni", "without a network identifier"),
        (stretched(0), "vni", "out of range"),
        (stretched(2**24), "vni", "out of range"),
        (stretched(more={"control": "evpn", "local": "2001:db8::1"}), "control", "EVPN over IPv6"),
        (stretched(more={"local": "192.0.2"}), "local", "not an IP address"),
        (stretched(more={"local": "127.0.0.1"}), "local", "is no address by which"),
        (stretched(more={"local": "192.0.2.1", "peers": ["192.0.2.1"]}), "peers[0]", "this host itself"),
        (stretched(more={"peers": ["192.0.2.2", "192.0.2.2"]}), "peers[1]", "named twice"),
        (stretched(more={"local": "192.0.2.1", "peers": ["2001:db8::2"]}), "peers[0]", "two IP versions"),
        (stretched(more={"peers": ["fe80::1"]}), "peers[0]", "is no address by which"),
        (stretched(more={"peers": ["10.1.0.9"]}, subnets=["10.1.0.0/24"]), "peers[0]", "inside the network itself"),
        (stretched(model="nat", addresses=["10.1.0.1/24"]), "mode", "with the model nat"),
        (stretched(model="bridged", uplink="eth0"), "mode", "with the model bridged"),
    ],
}


BAD = [
    *((item, STRETCHED["option"] + option, words) for item, option, words in STRETCHED["bad"]),
    (stretched(policy={"port_isolation": True}), "networks[0].policy.port_isolation", "guests of one host only"),
    (stretched(model="routed", addresses=["10.1.0.1/24"], masquerade=True), "networks[0].masquerade", "masquerade with stretch"),
    (
        stretched(addresses=["10.1.0.1/24"], bridge_owner="host"), "networks[0].addresses", "each of which would have the same",
    ),
    # item, option, words of the message
    (nat(name="a<b>"), "networks[0].name", "cannot be a name"),
    (nat(name='a"b'), "networks[0].name", "cannot be a name"),
    (nat(name="a\nb"), "networks[0].name", "cannot be a name"),
    (nat(name="a\n"), "networks[0].name", "cannot be a name"),
    (nat(name=""), "networks[0].name", "cannot be a name"),
    (nat(name="../x"), "networks[0].name", "cannot be a name"),
    (nat(model=None), "networks[0].model", "no model"),
    (nat(bridge="b" * 16), "networks[0].bridge", "16 characters"),
    (nat(bridge="br 0"), "networks[0].bridge", "cannot be a link's name"),
    (nat(bridge="br/0"), "networks[0].bridge", "cannot be a link's name"),
    (nat(addresses=["10.64.100.1"]), "networks[0].addresses[0]", "no prefix length"),
    (nat(addresses=["10.64.100.1/33"]), "networks[0].addresses[0]", "not an address"),
    (nat(addresses=["10.64.100.1/٢٤"]), "networks[0].addresses[0]", "no prefix length"),
    (nat(addresses=["010.64.100.1/24"]), "networks[0].addresses[0]", "not an address"),
    (nat(addresses=["10.1/24"]), "networks[0].addresses[0]", "not an address"),
    (nat(addresses=["10.64.100.0/24"]), "networks[0].addresses[0]", "network address"),
    (nat(addresses=["10.64.100.255/24"]), "networks[0].addresses[0]", "broadcast address"),
    (nat(addresses=["224.0.0.1/24"]), "networks[0].addresses[0]", "cannot be an address of a host"),
    (nat(addresses=[]), "networks[0].addresses", "without an address"),
    (nat(addresses=["10.64.100.1/24", "10.64.100.2/25"]), "networks[0].addresses", "overlap"),
    (nat(mtu=20), "networks[0].mtu", "out of range"),
    (nat(mtu=1000, addresses=["fd00::1/64"]), "networks[0].mtu", "too small for IPv6"),
    (dhcp("10.64.101.1", "10.64.101.9"), "networks[0].dhcp.ranges[0]", "outside the subnet"),
    (dhcp("10.64.100.100", "10.64.101.9"), "networks[0].dhcp.ranges[0]", "outside the subnet: 10.64.101.9"),
    (dhcp("10.64.100.1", "10.64.100.9"), "networks[0].dhcp.ranges[0]", "contains the gateway"),
    (dhcp("10.64.100.9", "10.64.100.2"), "networks[0].dhcp.ranges[0]", "runs backwards"),
    (dhcp("10.64.100.9", "fd00::1"), "networks[0].dhcp.ranges[0]", "two IP versions"),
    (dhcp("10.64.100.200", "10.64.100.255"), "networks[0].dhcp.ranges[0]", "which no guest can have"),
    (dhcp(lease_time="119s"), "networks[0].dhcp.lease_time", "too short"),
    (dhcp(lease_time="soon"), "networks[0].dhcp.lease_time", "not a lease time"),
    (
        reserved(("a", "52:54:00:00:00:01", "10.64.100.2"), ("b", "52:54:00:00:00:01", "10.64.100.3")),
        "networks[0].dhcp.reservations[1].mac", "reserved twice",
    ),
    (
        reserved(("a", "52:54:00:00:00:01", "10.64.100.2"), ("A", "52:54:00:00:00:02", "10.64.100.3")),
        "networks[0].dhcp.reservations[1].name", "reserved twice",
    ),
    (
        reserved(("a", "52:54:00:00:00:01", "10.64.100.2"), ("b", "52-54-00-00-00-02", "10.64.100.2")),
        "networks[0].dhcp.reservations[1].address", "reserved twice",
    ),
    (reserved(("a", "52:54:00:00:00", "10.64.100.2")), "networks[0].dhcp.reservations[0].mac", "not a MAC"),
    (reserved(("a", "53:54:00:00:00:01", "10.64.100.2")), "networks[0].dhcp.reservations[0].mac", "group address"),
    (reserved((None, None, "10.64.100.2")), "networks[0].dhcp.reservations[0].mac", "says not for whom"),
    (reserved(("0a", None, "10.64.100.2")), "networks[0].dhcp.reservations[0].name", "does not begin with a letter"),
    (reserved(("a", "52:54:00:00:00:01", "10.64.101.2")), "networks[0].dhcp.reservations[0].address", "outside the subnet"),
    (reserved(("a", "52:54:00:00:00:01", "10.64.100.1")), "networks[0].dhcp.reservations[0].address", "is the gateway's"),
    (
        nat(addresses=["fd00::1/64"], dhcp={"reservations": [{"mac": "52:54:00:00:00:01", "address": "fd00::2"}]}),
        "networks[0].dhcp.reservations[0].duid", "DHCPv6 knows no MAC",
    ),
    (
        dhcp(reservations=[{"duid": "00:03:00:01", "address": "10.64.100.2"}]),
        "networks[0].dhcp.reservations[0].duid", "has a DUID",
    ),
    (
        nat(addresses=["fd00::1/64"], dhcp={"reservations": [{"duid": "00:03:zz", "address": "fd00::2"}]}),
        "networks[0].dhcp.reservations[0].duid", "not a DUID",
    ),
    (
        nat(addresses=["10.64.100.1/24", "10.64.101.1/24"], dhcp={
            "ranges": [{"start": "10.64.100.9", "end": "10.64.100.19"}, {"start": "10.64.101.9", "end": "10.64.101.19"}],
        }),
        "networks[0].dhcp.ranges[1]", "two IPv4 subnets",
    ),
    (
        nat(addresses=["fd00::1/48"], dhcp={"ranges": [{"start": "fd00::10", "end": "fd00::20"}]}),
        "networks[0].dhcp.ranges[0]", "DHCPv6 in fd00::/48",
    ),
    (dhcp(tftp_root="srv/tftp"), "networks[0].dhcp.tftp_root", "not an absolute path"),
    (dhcp(tftp_root="/srv/tftp\ndhcp-script=/x"), "networks[0].dhcp.tftp_root", "holds '\\n'"),
    (dhcp(tftp_root="/srv,eth0"), "networks[0].dhcp.tftp_root", "would not read"),
    (dhcp(boot={"server": "10.0.0.1"}), "networks[0].dhcp.boot.file", "without a file"),
    (dhcp(boot={"file": "x", "server": "fd00::1"}), "networks[0].dhcp.boot.server", "not an IPv4 one"),
    (
        nat(addresses=["fd00::1/64"], dhcp={"boot": {"file": "x"}}), "networks[0].dhcp.boot", "boot without an IPv4 address",
    ),
    (nat(title="a\nb"), "networks[0].title", "holds '\\n'"),
    (nat(title="a\x00b"), "networks[0].title", "holds '\\x00'"),
    (nat(description="a\x1bb"), "networks[0].description", "holds '\\x1b'"),
    (nat(mac="01:00:5e:00:00:01"), "networks[0].mac", "group address"),
    (nat(zone="a b"), "networks[0].zone", "firewalld zone"),
    (nat(delay=31), "networks[0].delay", "out of range"),
    (nat(nat_ipv6=True), "networks[0].nat_ipv6", "without firewall: libvirt"),
    (nat(dns={"forwarders": ["10.0.0.1#0"]}), "networks[0].dns.forwarders[0]", "out of range"),
    (nat(dns={"forwarders": ["10.0.0.1#dns"]}), "networks[0].dns.forwarders[0]", "not a DNS server"),
    (nat(dns={"forward_zones": [{"domain": "a", "port": 5}]}), "networks[0].dns.forward_zones[0].port", "without an address"),
    (nat(dns={"enabled": False, "txt": [{"name": "a", "value": "b"}]}), "networks[0].dns.enabled", "whose DNS is off"),
    (nat(dns={"domain": "a", "register": True}), "networks[0].dns.local_only", "register without local_only"),
    (nat(dns={"local_only": True}), "networks[0].dns.local_only", "without a domain"),
    (nat(dns={"txt": [{"name": "a", "value": 'b"c'}]}), "networks[0].dns.txt[0].value", "would not read"),
    (nat(dns={"txt": [{"name": "a", "value": "b #c"}]}), "networks[0].dns.txt[0].value", "would not read"),
    (nat(dns={"srv": [{"service": "_ldap"}]}), "networks[0].dns.srv[0].service", "not a service"),
    (nat(dns={"srv": [{"service": "ldap", "target": "a"}]}), "networks[0].dns.srv[0].port", "a target without a port"),
    (nat(dns={"srv": [{"service": "ldap", "weight": 1}]}), "networks[0].dns.srv[0].target", "a weight without a target"),
    (nat(dnsmasq_options=["a=b\nconf-file=/etc/shadow"]), "networks[0].dnsmasq_options[0]", "holds '\\n'"),
    (nat(dnsmasq_options=[""]), "networks[0].dnsmasq_options[0]", "would not read"),
    (nat(virtualport={"type": "openvswitch"}), "networks[0].virtualport", "on a bridge of libvirt's"),
    (nat(vlan={"tags": [{"id": 4095}]}), "networks[0].vlan.tags[0].id", "out of range"),
    (nat(vlan={"tags": [{"id": 4}, {"id": 4}]}), "networks[0].vlan.tags[1].id", "given twice"),
    (nat(vlan={"trunk": True}), "networks[0].vlan.tags", "without VLANs"),
    (nat(vlan={"trunk": False, "tags": [{"id": 4}, {"id": 5}]}), "networks[0].vlan.trunk", "without a trunk"),
    (nat(vlan={"tags": [{"id": 4, "native_mode": "tagged"}]}), "networks[0].vlan.trunk", "native VLAN without a trunk"),
    (nat(bandwidth={"inbound": {"peak": 9}}), "networks[0].bandwidth.inbound.average", "without its average"),
    (nat(bandwidth={"inbound": {"average": 0}}), "networks[0].bandwidth.inbound.average", "out of range"),
    (nat(portgroups=[{"name": "a"}, {"name": "a"}]), "networks[0].portgroups[1].name", "declared twice"),
    (
        nat(portgroups=[{"name": "a", "default": True}, {"name": "b", "default": True}]),
        "networks[0].portgroups[1].default", "two default port groups",
    ),
    ({"name": "b", "model": "bridged", "bandwidth": {"inbound": {"average": 1}}}, "networks[0].bandwidth", "of the host's"),
    (
        {"name": "b", "model": "bridged", "virtualport": {"type": "openvswitch", "type_id": 1}},
        "networks[0].virtualport.type_id", "has no type_id",
    ),
    (
        {"name": "b", "model": "bridged", "virtualport": {"type": "midonet"}}, "networks[0].virtualport.interface_id", "without",
    ),
    (nat(dns={"enabled": True, "domain": "a b"}), "networks[0].dns.domain", "not a domain name"),
    (nat(bridge_owner="host"), "networks[0].bridge_owner", "host with the model nat"),
    (nat(attach="macvtap"), "networks[0].attach", "macvtap with the model nat"),
    (nat(model="routed", firewall="libvirt"), "networks[0].firewall", "firewall: libvirt with the model routed"),
    (
        nat(firewall="libvirt", port_forwards=[{"name": "w", "listen": {"ports": "80"}, "to": {"address": "10.64.100.2"}}]),
        "networks[0].port_forwards", "port forwards with firewall: libvirt",
    ),
    (
        nat(port_forwards=[{"name": "w", "listen": {"ports": "80"}, "to": {}}]), "networks[0].port_forwards[0].to", "one target",
    ),
    (
        nat(port_forwards=[{"name": "w", "listen": {"ports": "90-80"}, "to": {"address": "10.64.100.2"}}]),
        "networks[0].port_forwards[0].listen.ports", "not a range",
    ),
    ({"name": "i", "model": "isolated", "addresses": ["10.1.0.1/24"]}, "networks[0].addresses", "without DHCP"),
    ({"name": "b", "model": "bridged", "addresses": ["10.1.0.1/24"]}, "networks[0].addresses", "no address of its own"),
    ({"name": "b", "model": "bridged", "masquerade": True}, "networks[0].masquerade", "nothing to translate"),
    ({"name": "b", "model": "bridged", "policy": {"deny_host": True}}, "networks[0].policy.deny_host", "on the LAN"),
    (macvtap(mtu=9000), "networks[0].mtu", "which has no bridge"),
    (macvtap(policy={"port_isolation": True}), "networks[0].policy.port_isolation", "with attach: macvtap"),
]


@pytest.mark.parametrize(("item", "option", "words"), BAD, ids=[f"{row[1]}: {row[2]}" for row in BAD])
def test_bad_input_is_one_clear_error(item, option, words):
    with pytest.raises(InvalidInput) as caught:
        models.parse_networks([item])
    assert caught.value.option == option
    assert words in str(caught.value)
    assert caught.value.cure


PAIRS = [
    ({**NAT, "name": "other"}, "addresses", "overlaps 10.64.100.0/24 of natnet (networks[0])"),
    (nat(name="other", addresses=["10.64.0.1/16"]), "addresses", "overlaps"),
    (nat(addresses=["10.9.0.1/24"]), "name", "declared twice"),
    (nat(name="other", bridge="natbr0", addresses=["10.9.0.1/24"]), "bridge", "also that of natnet"),
]


@pytest.mark.parametrize(("item", "key", "words"), PAIRS, ids=[row[2] for row in PAIRS])
def test_two_networks_that_clash(item, key, words):
    with pytest.raises(InvalidInput) as caught:
        models.parse_networks([nat(bridge="natbr0"), item])
    assert caught.value.option == f"networks[1].{key}"
    assert words in str(caught.value)


def test_a_network_that_goes_clashes_with_nothing():
    networks = models.parse_networks([nat(), {"name": "old", "state": "absent", "addresses": ["10.64.100.1/24"]}])
    assert [one.wanted for one in networks] == [True, False]


def test_defaults_are_the_data_model_s():
    network = models.parse_networks([NAT])[0]
    assert (network.state, network.autostart, network.persistent, network.stp) == ("active", True, True, False)
    assert network.bridge.startswith("vn") and len(network.bridge) == 10
    assert network.masquerade and network.bridge_owner == "libvirt" and network.firewall == "nftables"
    assert network.policy.anti_spoofing


def test_dual_stack_reservations_share_name_and_mac():
    item = reserved(("vm0", "52:54:00:00:00:01", "10.64.100.2"))
    item["dhcp"]["reservations"].append({"name": "vm0", "mac": None, "address": "fd00:64::2"})
    item = {**item, "addresses": ["10.64.100.1/24", "fd00:64::1/64"]}
    assert len(models.parse_networks([item])[0].dhcp.reservations) == 2


def test_hundreds_of_networks_are_checked_quickly_and_without_false_alarm():
    items = [nat(name=f"n{number}", addresses=[f"10.{number // 250}.{number % 250}.1/24"]) for number in range(500)]
    assert len(models.parse_networks(items)) == 500


def test_two_networks_of_a_host_have_two_identifiers():
    with pytest.raises(InvalidInput, match=r"networks\[1\]\.stretch\.vni: other: the VNI 7 is also that of far") as caught:
        models.parse_networks([stretched(), stretched(name="other")])
    assert caught.value.option == "networks[1].stretch.vni"
    models.parse_networks([stretched(), stretched(8, name="other")])
    models.parse_networks([stretched(), {**stretched(name="other"), "state": "absent"}])


def test_a_stretched_gateway_is_the_same_on_all_hosts():
    routed = {"model": "routed", "addresses": ["10.1.0.1/24"]}
    here, there = (
        models.parse_networks([stretched(more={"local": local}, **routed)])[0] for local in ("192.0.2.1", "192.0.2.2")
    )
    assert here.gateway_mac == there.gateway_mac == here.mac and here.mac.startswith("02:")
    [declared] = models.parse_networks([stretched(mac="02:00:00:00:00:01", **routed)])
    assert declared.gateway_mac == "02:00:00:00:00:01"
    [own] = models.parse_networks([stretched(bridge_owner="host", **routed)])
    assert own.mac is None and own.gateway_mac == here.gateway_mac
    [isolated] = models.parse_networks([stretched()])
    assert isolated.mac is None and isolated.gateway_mac is None


def test_one_host_serves_a_stretched_network():
    item = {"addresses": ["10.1.0.1/24"], "dhcp": {"ranges": [{"start": "10.1.0.9", "end": "10.1.0.19"}]}}
    for model, others in (("isolated", []), ("routed", ["10.1.0.1/24"])):
        [serving] = models.parse_networks([stretched(model=model, **item)])
        [other] = models.parse_networks([stretched(more={"serves": False}, model=model, **item)])
        assert serving.serves_dhcp and [str(one) for one in serving.host_addresses] == ["10.1.0.1/24"]
        assert not other.serves_dhcp and [str(one) for one in other.host_addresses] == others
        assert other.subnets == serving.subnets


def test_a_wide_subnet_overlaps_all_that_are_inside_not_the_next_one_only():
    def routed(name, address):
        return models.parse_network({"name": name, "model": "routed", "addresses": [address]}, f"networks[{name}]")

    wide, first, second, apart = (
        routed("w", "10.0.0.1/16"), routed("a", "10.0.1.1/24"), routed("b", "10.0.2.1/24"), routed("z", "10.1.0.1/24"),
    )  # fmt: skip
    found = {(later.name, earlier.name) for later, _mine, earlier, _its in model_checks.overlaps([wide, first, second, apart])}
    assert found == {("a", "w"), ("b", "w")}
    assert [error.subject for error in model_checks.conflicts([wide, first, second, apart])] == ["a", "b"]
