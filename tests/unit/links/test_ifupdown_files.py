# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_adopt as shell
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_files as texts
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_stanzas as read

UPLINK = """\
# the administrator's
iface eth0 inet static
    address 192.0.2.2
    netmask 255.255.255.0
    gateway 192.0.2.1
    hwaddress ether 02:00:00:00:00:04
    mtu 1500
    dns-nameservers 192.0.2.53 \\
        192.0.2.54
    up ip route add 198.51.100.0/24 via 192.0.2.9 dev eth0 metric 5
    up ethtool -K eth0 tso off
    post-up echo $IFACE is up

iface eth0 inet6 static
    address 2001:db8::2/64
    accept_ra 2
"""
ROUTE = {"to": "198.51.100.0/24", "via": "192.0.2.9", "metric": 5}
FORM = {
    "name": "br0", "type": "bridge", "state": "up", "mtu": 1500, "mac": "02:00:00:00:00:03", "bridge": None,
    "description": "virtnet.kvm", "addresses": ["192.0.2.2/24", "2001:db8::2/64"], "gateway": ["192.0.2.1"], "routes": [ROUTE],
    "stp": False, "forward_delay": 15, "ageing": 300, "ipv6": True, "ports": ["eth0"],
}
TAP = {
    "name": "tap1", "type": "tap", "state": "up", "mtu": 1400, "mac": "02:00:00:00:00:05", "bridge": None, "owner": "nobody",
    "group": None, "multi_queue": True, "vnet_hdr": False, "description": "virtnet.kvm", "addresses": [], "gateway": [],
    "routes": [],
}
BARE = {**FORM, "ports": [], "addresses": [], "gateway": [], "routes": []}


def stanzas(text):
    assert text.startswith(texts.HEADER + "\n")
    return read.parse(text)


def test_a_file_is_read():
    found = read.parse("auto lo eth0\nallow-hotplug eth1\n\nsource interfaces.d/*\n" + UPLINK)
    assert [one.kind for one in found] == ["auto", "allow-hotplug", "source", "iface", "iface"]
    assert found[3].get("dns-nameservers") == "192.0.2.53          192.0.2.54"
    assert (found[4].family, found[4].method) == ("inet6", "static")
    assert read.brought_up(found, "eth0") and read.brought_up(found, "eth1") and not read.brought_up(found, "eth2")


@pytest.mark.parametrize(
    ("line", "name", "there"),
    [
        ("source /etc/network/interfaces.d/*", "virtnet-e0.5", True),
        ("source interfaces.d/virtnet-*", "virtnet-e0", True),
        ("source /etc/network/*", "virtnet-e0", False),
        ("source-directory /etc/network/interfaces.d", "virtnet-e0", True),
        ("source-directory interfaces.d", "virtnet-e0.5", False),
        ("auto eth0", "virtnet-e0", False),
    ],
)
def test_a_file_is_found_to_be_sourced(line, name, there):
    assert read.is_sourced(f"{texts.FOLDER}/{name}", read.sources(read.parse(line))) is there


def test_a_bridge_succeeds_its_uplink():
    text = texts.link(FORM, texts.successor(UPLINK, "eth0"))
    first, *kept = [one for one in stanzas(text) if one.kind == "iface"]
    assert (first.method, [one.method for one in kept]) == ("manual", ["static", "static"])
    assert {one.name for one in (first, *kept)} == {"br0"}
    assert kept[0].options == [
        ("address", "192.0.2.2"), ("netmask", "255.255.255.0"), ("gateway", "192.0.2.1"),
        ("dns-nameservers", "192.0.2.53          192.0.2.54"),
        ("up", "ip route add 198.51.100.0/24 via 192.0.2.9 dev $IFACE metric 5"), ("post-up", "echo $IFACE is up"),
    ]
    assert kept[1].options == [("address", "2001:db8::2/64"), ("accept_ra", "2")]
    assert texts.is_made(text) and texts.ageing(text) == 300 and texts.File(text).dns == ["192.0.2.53", "192.0.2.54"]
    # and again from itself
    assert texts.link(FORM, text) == text


def test_its_port_keeps_what_belongs_to_the_link():
    text = texts.port("eth0", "br0", "virtnet-port-eth0", UPLINK)
    mapping, port = stanzas(text)
    assert (mapping.words, mapping.options) == (["mapping", "eth0"], [("script", "/bin/grep"), ("map", "virtnet-port-eth0")])
    assert port.words == ["iface", "virtnet-port-eth0", "inet", "manual"]
    assert texts.is_port(text) and texts.port("eth0", "br0", "virtnet-port-eth0", text) == text
    assert port.options[:4] == [
        ("virtnet", "port"), ("hwaddress", "ether 02:00:00:00:00:04"), ("mtu", "1500"), ("up", "ethtool -K eth0 tso off"),
    ]
    assert "address" not in dict(port.options) and "master br0" in text and not texts.is_made(text)


def test_the_mapping_s_script_chooses_by_the_link_s_name():
    done = subprocess.run(["grep", "eth0"], input="virtnet-eth0\n", text=True, capture_output=True, check=True)
    assert done.stdout == "virtnet-eth0\n"


def test_a_port_that_nobody_brings_up_is_brought_up():
    assert stanzas(texts.port("eth1", "br0", "virtnet-new-eth1", by_itself=False))[0].words == ["auto", "eth1"]


def test_the_rest_of_a_port_s_options_stays():
    text = texts.port("eth0", "br0", "virtnet-eth0", options={"isolated": True, "cost": 5})
    assert "type bridge_slave isolated on cost 5" in text
    again = texts.port("eth0", "br0", "virtnet-eth0", base=text, options={"cost": 7})
    assert "type bridge_slave isolated on cost 7" in again


def test_other_addresses_and_routes():
    text = texts.link(FORM, texts.successor(UPLINK, "eth0"))
    other = {**FORM, "addresses": ["192.0.2.3/24", "2001:db8::2/64"], "gateway": [], "routes": [{**ROUTE, "metric": None}]}
    file = texts.File(texts.link(other, text))
    assert [(one.method, one.get("address"), one.get("netmask")) for one in file.kept] == [
        ("static", "192.0.2.3/24", None), ("static", "2001:db8::2/64", None)
    ]
    assert sorted(file.addresses) == other["addresses"] and file.routes == other["routes"]
    back = texts.File(texts.link(FORM, texts.link(other, text)))
    assert [one["via"] for one in back.routes] == ["192.0.2.1", "192.0.2.9"] and sorted(back.addresses) == FORM["addresses"]


def test_a_stanza_without_its_address_listens_to_routers_still():
    text = texts.link({**FORM, "addresses": ["192.0.2.2/24"]}, texts.successor(UPLINK, "eth0"))
    last = texts.File(text).kept[1]
    assert (last.method, last.options) == ("manual", [("pre-up", "sysctl -q -e -w net.ipv6.conf.$IFACE.accept_ra=2")])


def test_stanzas_of_commands_stay_their_user_s():
    base = "iface eth0 inet manual\n    up ip address add 192.0.2.2/24 dev eth0\n    up ip link set dev eth0 promisc on\n"
    text = texts.link({**BARE, "addresses": ["192.0.2.2/24"]}, texts.successor(base, "eth0"))
    assert "    up ip address add 192.0.2.2/24 dev $IFACE\n" in text and "promisc" not in text
    assert texts.link({**BARE, "addresses": ["192.0.2.2/24"]}, text) == text


def test_a_bridge_that_asks_by_dhcp():
    base = texts.successor("iface eth0 inet dhcp\n    hostname x\n", "eth0", metric=1002, link_local=False)
    text = texts.link(BARE, base)
    assert "    metric 1002\n" in text and "pre-up ip link set dev $IFACE addrgenmode none" in text
    assert texts.File(text).dynamic and "accept_ra" not in text
    assert texts.link(BARE, text) == text


def test_routes_wait_for_the_lease():
    """dhcpcd lets ifup go on before the IPv4 address is there; a route that fails would take the uplink down again."""
    route = {"to": "10.1.0.0/16", "via": "10.0.0.2", "metric": None}
    base = texts.successor("iface eth0 inet dhcp\n", "eth0", metric=None, link_local=False)
    form = {**BARE, "routes": [route]}
    text = texts.link(form, base)
    line = "ip route replace 10.1.0.0/16 via 10.0.0.2 dev $IFACE proto static"
    assert f"up {line} || for wait in $(seq 20); do sleep 1; {line} && break; done || true\n" in text
    assert texts.File(text).routes == [route] and texts.link(form, text) == text


def test_a_bridge_of_its_own():
    route = {"to": "10.1.0.0/16", "via": "10.0.0.2", "metric": None}
    form = {**BARE, "addresses": ["10.0.0.1/24", "fd00::1/64"], "routes": [route]}
    text = texts.link(form, dns=["10.0.0.3"])
    assert "up ip address replace 10.0.0.1/24 dev $IFACE broadcast +\n" in text
    assert "up ip address replace fd00::1/64 dev $IFACE nodad\n" in text
    assert "up ip route replace 10.1.0.0/16 via 10.0.0.2 dev $IFACE proto static\n" in text
    assert "echo 0 > /proc/sys/net/ipv6/conf/$IFACE/accept_ra" in text
    file = texts.File(text)
    assert (file.addresses, file.routes, file.dns) == (form["addresses"], form["routes"], ["10.0.0.3"])
    assert texts.link(form, text) == text
    assert texts.File(texts.link({**form, "state": "down"}, text)).down
    assert "disable_ipv6" in texts.link({**form, "ipv6": False}, text)


def test_a_tap():
    text = texts.link({**TAP, "bridge": "br0", "port": {"isolated": True}})
    assert "|| ip tuntap add dev $IFACE mode tap user nobody multi_queue\n" in text
    assert "address 02:00:00:00:00:05 mtu 1400 alias virtnet.kvm" in text
    # What host_bridge said of it stays when tap_iface writes the file.
    assert texts.link({**TAP, "bridge": "br0"}, text) == text
    assert "bridge" not in texts.link(TAP, text)


def test_a_link_that_is_there():
    form = {**FORM, "name": "eth0", "type": "physical", "mtu": 1400}
    text = texts.existing(form, "virtnet-eth0", UPLINK, {"mtu"})
    assert text.count("mtu 1400") == 1 and "mtu 1500" not in text and "ethtool -K eth0" in text
    assert not texts.same(text, UPLINK) and texts.same(texts.existing(FORM, "virtnet-eth0", UPLINK, set()), UPLINK)
    added = [{"to": "10.1.0.0/16", "via": "192.0.2.7", "metric": None}]
    routed = texts.existing(form, "virtnet-eth0", text, set(), added=added)
    assert texts.File(routed).routes[-1] == added[0]
    assert texts.existing(form, "virtnet-eth0", routed, set(), removed=added) == text


def test_routes_of_a_lease():
    lease = (
        "lease {\n  option routers 10.0.0.1, 10.0.0.2;\n"
        "  option rfc3442-classless-static-routes 24,10,5,6,10,0,0,9,0,10,0,0,1;\n}\n"
    )
    found = [(one["to"], one["via"]) for one in read.leased(lease)]
    assert found == [("0.0.0.0/0", "10.0.0.1"), ("0.0.0.0/0", "10.0.0.2"), ("10.5.6.0/24", "10.0.0.9"), ("0.0.0.0/0", "10.0.0.1")]


@pytest.mark.parametrize(
    ("command", "to"),
    [
        ("ip route add default via 10.0.0.1", "0.0.0.0/0"),
        ("ip -6 route add default via fe80::1 dev e0 onlink", "::/0"),
        ("ip ro replace 10.1.2.3/8 dev e0", "10.0.0.0/8"),
        ("ip route add 10.0.0.0/8 via 10.0.0.1 table 7", None),
        ("ip route add 10.0.0.0/8 via 10.0.0.1 src 10.0.0.9 || true", "10.0.0.0/8"),
        ("route add -net 10.0.0.0/8 gw 10.0.0.1", None),
        ("ip route del 10.0.0.0/8", None),
    ],
)
def test_a_route_of_a_command(command, to):
    found = texts.File(f"iface e0 inet manual\n    up {command}\n").routes
    assert [one["to"] for one in found] == ([to] if to else [])


def test_the_shell_can_read_its_text():
    text = "\n".join([shell.functions(), shell.making("br0"), *shell.adoption(["br0", "eth0"], afresh=True)])
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    assert "@" not in text


def test_a_bridge_that_looks_at_vlans_says_its_default():
    """Its port may have made it without one."""
    assert "vlan_default_pvid" not in texts.link(BARE)
    assert "vlan_default_pvid 1" in texts.link({**BARE, "vlan_filtering": True, "vlan_default_pvid": 1})
