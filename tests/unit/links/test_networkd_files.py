# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import networkd_files as texts

UPLINK = """\
# the administrator's
[Match]
MACAddress=02:00:00:00:00:03

[Link]
MACAddress=02:00:00:00:00:04
WakeOnLan=magic

[Network]
Address=192.0.2.2/24
Gateway=192.0.2.1
DNS=192.0.2.53
IPv6AcceptRA=yes

[Route]
Destination=198.51.100.0/24
Gateway=192.0.2.9
Metric=5

[RoutingPolicyRule]
From=192.0.2.2
Table=7
"""
FORM = {
    "name": "br0", "type": "bridge", "state": "up", "mtu": 1500, "mac": "02:00:00:00:00:03", "bridge": None,
    "addresses": ["192.0.2.2/24"], "gateway": ["192.0.2.1"],
    "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.9", "metric": 5}],
    "stp": False, "forward_delay": 15, "ageing": 300, "ipv6": True,
}


def body(text):
    assert text.startswith(texts.HEADER + "\n")
    return text[len(texts.HEADER) + 2 :]


def test_a_bridge_succeeds_its_uplink():
    text = texts.network(FORM, texts.successor(UPLINK))
    assert "Name=br0" in text and "MACAddress" not in text and "WakeOnLan=magic" in text
    for line in ("Address=192.0.2.2/24", "Gateway=192.0.2.1", "DNS=192.0.2.53", "Destination=198.51.100.0/24", "Table=7"):
        assert text.count(line) == 1
    # and again from itself
    assert texts.network(FORM, text) == text


def test_its_port_keeps_what_belongs_to_the_link():
    assert body(texts.port("eth0", "br0", UPLINK, uplink=True)) == (
        "[Match]\nName=eth0\n\n[Link]\nMACAddress=02:00:00:00:00:04\nWakeOnLan=magic\nRequiredForOnline=enslaved\n\n"
        "[Network]\nBridge=br0\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )


@pytest.mark.parametrize(
    ("network", "client", "expected"),
    [("yes", "", True), ("ipv4", "", True), ("ipv4", "ClientIdentifier=mac\n", False), ("no", "", False)],
)
def test_the_dhcp_identity_is_kept(network, client, expected):
    text = texts.successor(f"[Match]\nName=eth0\n[Network]\nDHCP={network}\n[DHCPv4]\n{client}RouteMetric=5\n", 77)
    assert ("IAID=77" in text) is expected


@pytest.mark.parametrize(
    ("lease", "iaid"),
    [("ADDRESS=10.0.0.1\nCLIENTID=ffb6220feb00020000ab11\n", 0xB6220FEB), ("CLIENTID=0102da49bcaa66\n", None), ("", None)],
)
def test_the_iaid_of_a_lease(lease, iaid):
    assert texts.iaid(lease) == iaid


def test_a_new_bridge_without_address():
    form = {**FORM, "addresses": [], "gateway": [], "routes": [], "ipv6": False}
    assert body(texts.network(form, carrier_needed=False)) == (
        "[Match]\nName=br0\n\n[Link]\nMTUBytes=1500\nRequiredForOnline=no\n\n"
        "[Network]\nConfigureWithoutCarrier=yes\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n"
    )


def test_netdev_files():
    assert body(texts.netdev(FORM)) == (
        "[NetDev]\nName=br0\nKind=bridge\nMACAddress=02:00:00:00:00:03\n\n[Bridge]\nSTP=no\nForwardDelaySec=15\nAgeingTimeSec=300\n"
    )
    tap = {"name": "t0", "type": "tun", "mac": None, "multi_queue": True, "vnet_hdr": False, "owner": "u", "group": None}
    assert body(texts.netdev(tap)) == "[NetDev]\nName=t0\nKind=tun\n\n[Tun]\nMultiQueue=yes\nVNetHeader=no\nUser=u\n"


def test_only_what_is_declared_is_written():
    form = {**FORM, "name": "eth0", "type": "physical", "addresses": [], "mtu": 1400}
    text = texts.network(form, UPLINK, {"mtu"})
    assert "MTUBytes=1400" in text and "Address=192.0.2.2/24" in text
    assert texts.same(texts.network(form, UPLINK, set()), UPLINK.replace("MACAddress=02:00:00:00:00:03", "Name=eth0"))
    assert not texts.same(text, UPLINK)


def test_down_and_up_again():
    text = texts.network({**FORM, "state": "down"})
    assert "ActivationPolicy=down" in text and "ActivationPolicy" not in texts.network(FORM, text)


def test_values_as_systemd_reads_them():
    file = texts.Network("[Network]\nAddress=1.1.1.1/8\nAddress=\nAddress=2.2.2.2/8\n[Address]\nAddress=3.3.3.3/8\nLabel=x\n")
    assert file.addresses == ["2.2.2.2/8", "3.3.3.3/8"]
    file.set_addresses(["3.3.3.3/8", "2.2.2.2/8"])
    assert "Label=x" in file.text()
    file.set_addresses(["4.4.4.4/8"])
    assert "Label" not in file.text() and file.addresses == ["4.4.4.4/8"]


def test_lines_may_go_on():
    assert texts.parse("[A]\nx=1 \\\n2\n; no\n[A]\ny=\n") == [("A", [("x", "1  2")]), ("A", [("y", "")])]


def test_what_a_bridge_is_set_to_is_written_where_it_is_not_what_every_bridge_has():
    plain = {"hello_time": 2, "max_age": 20, "priority": 32768, "multicast_snooping": True}
    assert texts.netdev({**FORM, **plain}) == texts.netdev(FORM)
    other = texts.netdev({**FORM, "hello_time": 1, "max_age": 8, "priority": 0, "multicast_snooping": False})
    assert "HelloTimeSec=1\nMaxAgeSec=8\nPriority=0\nMulticastSnooping=no\n" in other


def test_what_a_port_is_set_to_stays_until_it_is_said_otherwise():
    first = texts.port("e0", "b0", "[Bridge]\nCost=9\n", options={"isolated": True, "cost": 5})
    assert "[Bridge]\nIsolated=yes\nCost=5\n" in first, "of the link's own file it was about another bridge"
    again = texts.port("e0", "b0", first, options={"cost": 7})
    assert "[Bridge]\nIsolated=yes\nCost=7\n" in again
    assert texts.port("e0", "b0", again) == again
