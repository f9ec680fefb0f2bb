# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks as people write them, of every kind in https://libvirt.org/formatnetwork.html; {n} is a number of their own.

Used by the unit tests and, on real daemons, by the scenario modules.
"""

from __future__ import annotations

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class ByHand:
    """A definition's body, what virt_net_info calls it, and one thing that is changed then.

    C(model) is None where no model is like it. C(differs) are the fields that applying the model would change, C(lacks)
    what the model has no words for. C(change) goes over the model; C(gone) and C(come) are words of the XML before and
    after it, without quotes.
    """

    body: str
    model: str | None
    change: dict = dataclasses.field(default_factory=dict)
    gone: str = ""
    come: str = ""
    differs: tuple = ()
    lacks: tuple = ()
    root: str = ""

    def xml(self, name, number):
        body = self.body.replace("{n}", str(number))
        return f"<network{self.root}><name>{name}</name>{body}</network>"

    def changed(self, number):
        """Return C(change) with the network's number in its texts."""
        return json.loads(json.dumps(self.change).replace("{n}", str(number)))


BY_HAND = {
    "libvirt's own default": ByHand(
        "<forward mode='nat'/><bridge name='hand{n}' stp='on' delay='0'/>"
        "<ip address='10.70.{n}.1' netmask='255.255.255.0'><dhcp><range start='10.70.{n}.2' end='10.70.{n}.254'/></dhcp></ip>",
        "nat", {"stp": False}, "stp=on", "stp=off",
    ),
    "a bare forward, a port range": ByHand(
        "<forward dev='eth0'><nat><address start='10.77.0.50' end='10.77.0.60'/><port start='500' end='1000'/></nat></forward>"
        "<bridge name='hand{n}'/><ip address='10.70.{n}.1' prefix='24'/>",
        "nat", {"mtu": 1400}, "", "mtu size=1400", lacks=("forward/nat/address", "forward/nat/port"),
    ),
    "dual stack, IPv6 routed": ByHand(
        "<forward mode='nat'/><bridge name='hand{n}'/><ip address='10.70.{n}.1' netmask='255.255.255.128'/>"
        "<ip family='ipv6' address='fd00:70:{n}::1' prefix='64'/>",
        "nat", {"nat_ipv6": True}, "", "nat ipv6=yes",
    ),
    "dual stack, both translated": ByHand(
        "<forward mode='nat'><nat ipv6='yes'/></forward><bridge name='hand{n}'/>"
        "<ip family='ipv6' address='FD00:70:{n}::1' prefix='64'><dhcp><range start='fd00:70:{n}::100' end='fd00:70:{n}::1ff'/>"
        "<host id='0:4:7e:7d:f0:7d:a8:bc:c5:d2:13:32:11:ed:16:ea:84:63' name='paul' ip='fd00:70:{n}:0::2'/>"
        "<host name='ralph' ip='fd00:70:{n}::3'/></dhcp></ip><ip address='10.70.{n}.1' netmask='255.255.255.0'/>",
        "nat", {"delay": 2}, "delay=0", "delay=2",
    ),
    "routed by libvirt": ByHand(
        "<!-- to the rack's router --><forward mode='route' dev='eth0'/><bridge name='hand{n}'/>"
        "<ip address='10.70.{n}.1' netmask='255.255.255.0'/>",
        "routed", differs=("forward", "uplink"),
    ),
    "open": ByHand(
        "<forward mode='open'/><bridge name='hand{n}' stp='off'/><mac address='02:01:02:03:04:AB'/><mtu size='9000'/>"
        "<ip address='10.70.{n}.1' prefix='24' localPtr='yes'/>"
        "<route address='10.71.{n}.0' prefix='24' gateway='10.70.{n}.9' metric='3'/>"
        "<route family='ipv4' address='10.72.{n}.0' netmask='255.255.255.0' gateway='10.70.{n}.9'/>",
        "routed", {"mtu": 1400}, "mtu size=9000", "mtu size=1400", lacks=("ip/@localPtr", "route/@metric"),
    ),
    "hosts without MAC, a lease each": ByHand(
        "<forward mode='open'/><bridge name='hand{n}'/><ip address='10.70.{n}.1' netmask='255.255.255.0'><dhcp>"
        "<range start='10.70.{n}.100' end='10.70.{n}.110'><lease expiry='2' unit='hours'/></range>"
        "<host name='boy' ip='10.70.{n}.2'><lease expiry='0'/></host>"
        "<host mac='00:16:3E:77:E2:ED' name='a.example.com' ip='10.70.{n}.3'/></dhcp></ip>",
        "routed", {"mtu": 1400}, "", "mtu size=1400", lacks=("ip/dhcp/*/lease",),
    ),
    "booting guests": ByHand(
        "<bridge name='hand{n}'/><domain name='boot.test'/><ip address='10.70.{n}.1' netmask='255.255.255.0'><tftp root='/srv'/>"
        "<dhcp><range start='10.70.{n}.100' end='10.70.{n}.110'/><bootp file='pxelinux.0' server='10.0.0.9'/></dhcp></ip>",
        "isolated", {"mtu": 1400}, "", "mtu size=1400",
    ),
    "names of all kinds": ByHand(
        "<forward mode='open'/><bridge name='hand{n}'/><domain name='lab.test' localOnly='yes'/><dns forwardPlainNames='no'>"
        "<forwarder addr='10.0.0.1'/><forwarder domain='corp.test' addr='10.0.0.2'/><forwarder domain='own.test'/>"
        "<txt name='a.test' value='one, two'/><host ip='10.70.{n}.9'><hostname>b</hostname><hostname>a</hostname></host>"
        "<srv service='ldap' protocol='tcp' domain='a.test' target='.' port='1024' priority='10' weight='10'/>"
        "<srv service='kerberos' protocol='udp'/></dns><ip address='10.70.{n}.1' netmask='255.255.255.0'/>",
        "routed", {"mtu": 1400}, "", "mtu size=1400",
    ),
    "no names": ByHand(
        "<forward mode='open'/><bridge name='hand{n}'/><dns enable='no'/><ip address='10.70.{n}.1' netmask='255.255.255.0'/>",
        "routed", {"mtu": 1400}, "", "mtu size=1400",
    ),
    "dnsmasq's own options": ByHand(
        "<forward mode='open'/><bridge name='hand{n}'/><ip address='10.70.{n}.1' netmask='255.255.255.0'/><dnsmasq:options>"
        "<dnsmasq:option value='log-queries'/><dnsmasq:option value='cname=*.foo.test,master.test'/></dnsmasq:options>",
        "routed", {"dnsmasq_options": ["log-dhcp"]}, "cname=", "log-dhcp",
        root=" xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'",
    ),
    "very isolated": ByHand("<bridge name='hand{n}' stp='off'/>", "isolated", {"stp": True}, "stp=off", "stp=on"),
    "isolated, the host in it": ByHand(
        "<bridge name='hand{n}'/><ip address='10.70.{n}.1' netmask='255.255.255.0'/>", "isolated", {"mtu": 1400}, "",
        "mtu size=1400", lacks=("ip",),
    ),
    "isolated, IPv6 among guests": ByHand(
        "<bridge name='hand{n}'/>", "isolated", {"mtu": 1400}, "", "mtu size=1400", root=" ipv6='yes'", lacks=("@ipv6",),
    ),
    "nothing but a name": ByHand("", "isolated", {"mtu": 1400}, "", "mtu size=1400"),
    "on the host's bridge": ByHand(
        "<forward mode='bridge'/><bridge name='hand{n}'/>", "bridged", {"portgroups": [{"name": "a"}]}, "", "portgroup name=a",
    ),
    "Open vSwitch": ByHand(
        "<forward mode='bridge'/><bridge name='hand{n}'/><virtualport type='openvswitch'/>"
        "<vlan trunk='yes'><tag id='42' nativeMode='untagged'/><tag id='47'/></vlan>"
        "<portgroup name='vlan-01' default='yes'/><portgroup name='vlan-02'><vlan><tag id='2'/></vlan>"
        "<bandwidth><inbound average='1000' peak='5000' burst='1024'/><outbound average='1000'/></bandwidth>"
        "</portgroup>",
        "bridged", {"vlan": {"tags": [{"id": 43}]}}, "tag id=47", "tag id=43",
    ),
    "a pool of links": ByHand(
        "<forward mode='bridge'><interface dev='eth0'/><interface dev='eth8'/></forward>", "bridged",
        {"portgroups": [{"name": "a"}]}, "", "portgroup name=a", lacks=("forward/interface",),
    ),
    "passthrough": ByHand("<forward mode='passthrough'><interface dev='eth8'/></forward>", None),
    "private": ByHand("<forward mode='private'><interface dev='eth8'/></forward>", None),
    "vepa": ByHand(
        "<forward mode='vepa'><interface dev='eth8'/></forward><virtualport type='802.1Qbg'><parameters managerid='11' "
        "typeid='1193047' typeidversion='2' instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport>", None,
    ),
    "a pool of virtual functions": ByHand("<forward mode='hostdev' managed='yes'><pf dev='eth8'/></forward>", None),
}
