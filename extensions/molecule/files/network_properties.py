# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each property of a network: two values of it, none, and what a running network takes for the change.

Used by the scenarios modules (every property on a network of its own) and live (under guests that ping). {n} is the
network's number.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Property:
    """A property with a first and a second value, none, and what a running network takes for the change."""

    name: str
    first: dict
    second: dict
    none: dict
    effect: str  # update: while it runs; restart; stored: it is not started here
    xml: tuple  # what the definition holds with the first value and with the second; never with none
    since: tuple = (0, 0)
    base: str = "routed"


def dhcp(**changes):
    return {"dhcp": {"ranges": [], "reservations": [], **changes}}


def dns(**changes):
    return {"dns": changes}


RANGE = {"start": "10.65.{n}.100", "end": "10.65.{n}.120"}


def reserved(**row):
    return dhcp(reservations=[row])


def group(**changes):
    return {"portgroups": [{"name": "office", **changes}]}


PROPERTIES = [
    Property("title", {"title": "One & <two>"}, {"title": "Three"}, {"title": ""}, "update",
             ("<title>One &amp; &lt;two&gt;</title>", "<title>Three</title>"), (9, 7)),
    Property("description", {"description": "One\ntwo"}, {"description": "Three"}, {"description": ""}, "update",
             ("<description>One\ntwo</description>", "<description>Three</description>"), (9, 7)),
    Property("mac", {"mac": "02:00:00:00:{n:02x}:01"}, {"mac": "02:00:00:00:{n:02x}:02"}, {}, "restart",
             ("<mac address='02:00:00:00:{n:02x}:01'/>", "<mac address='02:00:00:00:{n:02x}:02'/>")),
    Property("bridge", {"bridge": "propx{n}"}, {"bridge": "propy{n}"}, {"bridge": "propz{n}"}, "restart",
             ("<bridge name='propx{n}'", "<bridge name='propy{n}'")),
    Property("stp", {"stp": True}, {"stp": False}, {}, "restart", ("stp='on'", "stp='off'")),
    Property("delay", {"stp": True, "delay": 3}, {"stp": True, "delay": 4}, {"stp": True, "delay": 0}, "restart",
             ("delay='3'", "delay='4'")),
    Property("zone", {"zone": "dmz"}, {"zone": "work"}, {"zone": ""}, "stored", ("zone='dmz'", "zone='work'"), base="article"),
    Property("mtu", {"mtu": 1400}, {"mtu": 1450}, {"mtu": 0}, "restart", ("<mtu size='1400'/>", "<mtu size='1450'/>")),
    Property("addresses", {"addresses": ["10.65.{n}.1/25"]}, {"addresses": ["10.65.{n}.1/25", "10.65.{n}.129/25"]},
             {"addresses": ["10.65.{n}.1/24"]}, "restart", ("prefix='25'", "address='10.65.{n}.129'")),
    Property("ranges", dhcp(ranges=[RANGE]), dhcp(ranges=[RANGE, {"start": "10.65.{n}.130", "end": "10.65.{n}.140"}]), dhcp(),
             "update", ("<range start='10.65.{n}.100'", "<range start='10.65.{n}.130'")),
    Property("ranges6", dhcp(ranges=[{"start": "fd00:65:{n}::100", "end": "fd00:65:{n}::1ff"}]),
             dhcp(ranges=[{"start": "fd00:65:{n}::200", "end": "fd00:65:{n}::2ff"}]), dhcp(), "update",
             ("<range start='fd00:65:{n}::100'", "<range start='fd00:65:{n}::200'")),
    Property("lease_time", dhcp(ranges=[RANGE], lease_time="2h"), dhcp(ranges=[RANGE], lease_time="121s"),
             dhcp(), "update", ("<lease expiry='120'", "<lease expiry='121'")),
    Property("mac reserved", reserved(name="vm0", mac="52:54:00:00:{n:02x}:01", address="10.65.{n}.2"),
             reserved(name="vm0", mac="52:54:00:00:{n:02x}:01", address="10.65.{n}.3"), dhcp(), "update",
             ("ip='10.65.{n}.2'", "ip='10.65.{n}.3'")),
    Property("name reserved", reserved(name="vm0", address="10.65.{n}.2"), reserved(name="vm1", address="10.65.{n}.2"), dhcp(),
             "update", ("name='vm0'", "name='vm1'")),
    Property("duid reserved", reserved(duid="00:03:00:01:52:54:00:00:00:01", address="fd00:65:{n}::2"),
             reserved(duid="00:03:00:01:52:54:00:00:00:02", address="fd00:65:{n}::2"), dhcp(), "update",
             ("id='00:03:00:01:52:54:00:00:00:01'", "id='00:03:00:01:52:54:00:00:00:02'")),
    Property("name reserved6", reserved(name="vm0", address="fd00:65:{n}::2"), reserved(name="vm0", address="fd00:65:{n}::3"),
             dhcp(), "update", ("ip='fd00:65:{n}::2'", "ip='fd00:65:{n}::3'")),
    Property("tftp_root", dhcp(ranges=[RANGE], tftp_root="/srv"), dhcp(ranges=[RANGE], tftp_root="/var/lib"),
             dhcp(ranges=[RANGE], tftp_root=""), "restart", ("<tftp root='/srv'/>", "<tftp root='/var/lib'/>")),
    Property("boot", dhcp(ranges=[RANGE], boot={"file": "one.0"}),
             dhcp(ranges=[RANGE], boot={"file": "two.0", "server": "10.0.0.9"}), dhcp(ranges=[RANGE], boot={}), "restart",
             ("<bootp file='one.0'", "<bootp file='two.0' server='10.0.0.9'/>")),
    Property("domain", dns(domain="one.test"), dns(domain="two.test", local_only=True), dns(domain=""), "restart",
             ("<domain name='one.test'/>", "<domain name='two.test' localOnly='yes'/>")),
    Property("register", dns(domain="one.test", local_only=True, register=False),
             dns(domain="one.test", local_only=True, register=True), dns(domain=""), "stored",
             ("<domain name='one.test' localOnly='yes'/>", "register='yes'"), (10, 1)),
    Property("dns", dns(enabled=False), dns(enabled=True), {}, "restart", ("<dns enable='no'/>", "")),
    Property("forwarders", dns(forwarders=["10.0.0.1"]), dns(forwarders=["10.0.0.2", "fd00::53"]), dns(forwarders=[]), "restart",
             ("<forwarder addr='10.0.0.1'/>", "<forwarder addr='fd00::53'/>")),
    Property("forwarder's port", dns(forwarders=["10.0.0.1#5353"]), dns(forwarders=["10.0.0.1#5354"]), dns(forwarders=[]),
             "restart", ("port='5353'", "port='5354'"), (12, 0)),
    Property("forward_zones", dns(forward_zones=[{"domain": "a.test", "address": "10.0.0.1"}]),
             dns(forward_zones=[{"domain": "b.test"}]), dns(forward_zones=[]), "restart",
             ("<forwarder domain='a.test' addr='10.0.0.1'/>", "<forwarder domain='b.test'/>")),
    Property("forward_plain_names", dns(forward_plain_names=False), dns(forward_plain_names=True), {}, "restart",
             ("forwardPlainNames='no'", "")),
    Property("hosts", dns(hosts=[{"address": "10.65.{n}.9", "names": ["b", "a"]}]),
             dns(hosts=[{"address": "10.65.{n}.9", "names": ["a"]}]), dns(hosts=[]), "update",
             ("<hostname>b</hostname>", "<hostname>a</hostname>")),
    Property("txt", dns(txt=[{"name": "_a.test", "value": "one, two"}]), dns(txt=[{"name": "_a.test", "value": "v=3"}]),
             dns(txt=[]), "update", ("<txt name='_a.test' value='one, two'/>", "<txt name='_a.test' value='v=3'/>")),
    Property("srv", dns(srv=[{"service": "ldap", "domain": "a.test", "target": "b.test", "port": 389, "priority": 1}]),
             dns(srv=[{"service": "ldap", "domain": "a.test", "target": "c.test", "port": 389}]), dns(srv=[]), "update",
             ("target='b.test' port='389' priority='1'", "target='c.test' port='389'")),
    Property("dnsmasq_options", {"dnsmasq_options": ["txt-record=a.test,one"]}, {"dnsmasq_options": ["log-queries"]},
             {"dnsmasq_options": []}, "restart", ("value='txt-record=a.test,one'", "value='log-queries'")),
    Property("routes", {"routes": [{"to": "10.66.{n}.0/24", "via": "10.65.{n}.9"}]},
             {"routes": [{"to": "10.67.{n}.0/24", "via": "10.65.{n}.9"}]}, {"routes": []}, "restart",
             ("address='10.66.{n}.0'", "address='10.67.{n}.0'")),
    Property("port_isolation", {"policy": {"port_isolation": True}}, {"policy": {"port_isolation": False}}, {}, "restart",
             ("<port isolated='yes'/>", "")),
    Property("portgroups", group(default=True), group(trust_guest_rx_filters=True), {"portgroups": []}, "update",
             ("<portgroup name='office' default='yes'>", "trustGuestRxFilters='yes'")),
    Property("bandwidth", {"bandwidth": {"inbound": {"average": 1000, "peak": 2000, "burst": 512}}},
             {"bandwidth": {"outbound": {"average": 500}}}, {"bandwidth": {}}, "stored",
             ("<inbound average='1000' peak='2000' burst='512'/>", "<outbound average='500'/>")),
    Property("uplink", {"uplink": "eth0"}, {"uplink": "lo"}, {"uplink": ""}, "restart", ("dev='eth0'", "dev='lo'"),
             base="article"),
    Property("nat_ipv6", {"nat_ipv6": True}, {"nat_ipv6": False}, {}, "restart", ("<nat ipv6='yes'", ""), base="article"),
    Property("firewall", {"firewall": "libvirt"}, {"firewall": "nftables"}, {"firewall": "nftables"}, "restart",
             ("mode='nat'", "mode='open'"), base="article"),
    Property("virtualport", {"virtualport": {"type": "openvswitch"}},
             {"virtualport": {"type": "openvswitch", "profile_id": "web"}}, {"virtualport": {}}, "restart",
             ("<virtualport type='openvswitch'/>", "profileid='web'"), base="bridged"),
    Property("vlan", {"virtualport": {"type": "openvswitch"}, "vlan": {"tags": [{"id": 42}]}},
             {"virtualport": {"type": "openvswitch"},
              "vlan": {"tags": [{"id": 43, "native_mode": "untagged"}, {"id": 44}]}},
             {"virtualport": {}, "vlan": {}}, "restart", ("<tag id='42'/>", "<tag id='43' nativeMode='untagged'/>"),
             base="bridged"),
    Property("vlan on a Linux bridge", {"vlan": {"tags": [{"id": 42}]}}, {"vlan": {"trunk": True, "tags": [{"id": 42}]}},
             {"vlan": {}}, "restart", ("<tag id='42'/>", "trunk='yes'"), (11, 0), base="bridged"),
    Property("group's vlan", {"virtualport": {"type": "openvswitch"}, **group(vlan={"tags": [{"id": 42}]})},
             {"virtualport": {"type": "openvswitch"}, **group(bandwidth={"inbound": {"average": 100}})},
             {"virtualport": {"type": "openvswitch"}, "portgroups": []}, "update",
             ("<tag id='42'/>", "<inbound average='100'/>"), base="bridged"),
]
BASES = {
    "routed": {"model": "routed", "addresses": ["10.65.{n}.1/24", "fd00:65:{n}::1/64"]},
    "article": {"model": "nat", "firewall": "libvirt", "addresses": ["10.65.{n}.1/24", "fd00:65:{n}::1/64"]},
    "bridged": {"model": "bridged"},
}


def filled(value, number):
    """Return a value with {n} in its texts replaced."""
    if isinstance(value, dict):
        return {key: filled(one, number) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, number) for one in value]
    return value.format(n=number) if isinstance(value, str) else value
