# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import networkmanager_files as texts

UPLINK = """\
# the administrator's
[connection]
id=Wired connection 1
uuid=11111111-2222-5333-8444-555555555555
type=ethernet
autoconnect=true
interface-name=eth0
timestamp=1700000000
zone=public

[ethernet]
mac-address=02:00:00:00:00:03
wake-on-lan=64

[ipv4]
address1=192.0.2.2/24,192.0.2.1
dns=192.0.2.53;192.0.2.54;
method=manual
route1=198.51.100.0/24,192.0.2.9,5
route2=203.0.113.0/24,192.0.2.9
route2_options=table=7

[ipv6]
addr-gen-mode=stable-privacy
method=auto
"""
UUID = "aaaaaaaa-bbbb-5ccc-8ddd-eeeeeeeeeeee"
FORMER = "11111111-2222-5333-8444-555555555555"
ROUTE = {"to": "198.51.100.0/24", "via": "192.0.2.9", "metric": 5}
BRIDGE = {
    "name": "br0", "type": "bridge", "state": "up", "mtu": 1500, "mac": "02:00:00:00:00:03", "bridge": None,
    "addresses": ["192.0.2.2/24"], "gateway": [], "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1", "metric": 100}, ROUTE],
    "stp": False, "forward_delay": 15, "ageing": 300, "ipv6": True,
}
TAP = {
    "name": "t0", "type": "tap", "state": "up", "mtu": 1500, "mac": "02:00:00:00:00:09", "bridge": None, "owner": 64055,
    "group": None, "vnet_hdr": True, "multi_queue": False, "addresses": [], "gateway": [], "routes": [],
}


def sections(text):
    return texts.Keyfile(text).sections


def test_a_bridge_succeeds_its_uplink():
    base = texts.successor(UPLINK, "100", "01:02", ["2001:db8::1234:5678:9abc:def0"])
    text = texts.made(BRIDGE, UUID, base)
    found = sections(text)
    assert found["connection"] == {
        "id": "virtnet-br0", "uuid": UUID, "type": "bridge", "interface-name": "br0", "zone": "public",
        "autoconnect-priority": "999", "autoconnect-slaves": "1",
    }
    assert found["ethernet"] == {"cloned-mac-address": "02:00:00:00:00:03", "mtu": "1500"}
    # All of the uplink's own, with the metric that its routes have had so far.
    before = sections(UPLINK)
    assert found["ipv4"] == {**before["ipv4"], "route-metric": "100"}
    assert found["ipv6"] == {**before["ipv6"], "route-metric": "100", "addr-gen-mode": "eui64", "token": "::1234:5678:9abc:def0"}
    assert texts.made(BRIDGE, UUID, text) == text


def test_what_the_dhcp_server_knows_the_uplink_by_goes_with_it():
    dynamic = "[connection]\ntype=ethernet\n[ipv4]\nmethod=auto\n"
    assert sections(texts.successor(dynamic, None, "ff:01:02"))["ipv4"]["dhcp-client-id"] == "ff:01:02"
    assert "dhcp-client-id" not in texts.successor(UPLINK, None, "ff:01:02")
    # A metric of the administrator's stays.
    assert sections(texts.successor(dynamic + "route-metric=7\n", "100"))["ipv4"]["route-metric"] == "7"


def test_its_port_keeps_what_belongs_to_the_link():
    text = texts.port("eth0", UUID, "br0", UPLINK, FORMER)
    found = sections(text)
    assert set(found) == {"connection", "ethernet"} and found["ethernet"] == sections(UPLINK)["ethernet"]
    assert found["connection"]["master"] == "br0" and found["connection"]["slave-type"] == "bridge"
    assert texts.Keyfile(text).former == FORMER
    # and from itself, with what is declared of it
    again = texts.port("eth0", UUID, "br0", text, options={"cost": 7, "priority": 5})
    assert texts.Keyfile(again).former == FORMER
    assert sections(again)["bridge-port"] == {"path-cost": "7", "priority": "5"}


def test_a_bridge_of_its_own():
    form = {
        **BRIDGE, "gateway": ["192.0.2.1"], "routes": [{**ROUTE, "metric": None}], "ipv6": False, "stp": True, "forward_delay": 4,
        "ageing": 100, "multicast_snooping": False,
    }
    found = sections(texts.made(form, UUID, dns=["192.0.2.53", "2001:db8::53"]))
    assert found["bridge"] == {"stp": "true", "forward-delay": "4", "ageing-time": "100", "multicast-snooping": "false"}
    assert found["ipv4"] == {
        "route-metric": "0", "address1": "192.0.2.2/24", "gateway": "192.0.2.1", "route1": "198.51.100.0/24,192.0.2.9,0",
        "dns": "192.0.2.53;", "method": "manual",
    }
    assert found["ipv6"] == {"route-metric": "0", "dns": "2001:db8::53;", "method": "disabled"}


def test_stp_is_said_where_it_is_off():
    # NetworkManager's own default is on.
    assert sections(texts.made(BRIDGE, UUID))["bridge"] == {"stp": "false"}


def test_a_tap():
    found = sections(texts.made(TAP, UUID))
    assert found["tun"] == {"mode": "2", "owner": "64055", "vnet-hdr": "true"}
    assert found["ipv4"]["method"] == "disabled" and found["ipv6"]["method"] == "link-local"
    inside = sections(texts.made({**TAP, "bridge": "br0"}, UUID, texts.made(TAP, UUID)))
    assert "ipv4" not in inside and inside["connection"]["master"] == "br0"
    # and out again
    assert sections(texts.made(TAP, UUID, texts.made({**TAP, "bridge": "br0"}, UUID))) == found


def test_routes_that_no_form_can_express_stay():
    file = texts.Keyfile(UPLINK)
    assert file.routes == [{"to": "0.0.0.0/0", "via": "192.0.2.1", "metric": -1}, ROUTE]
    file.set_routes([{"to": "192.0.2.128/25", "via": None, "metric": None}])
    found = file.sections["ipv4"]
    assert found["route2"] == "203.0.113.0/24,192.0.2.9" and found["route2_options"] == "table=7"
    assert found["route1"] == "192.0.2.128/25,,0" and "gateway" not in found and found["address1"] == "192.0.2.2/24"


def test_other_addresses_keep_the_gateway():
    file = texts.Keyfile(UPLINK)
    file.set_addresses(["192.0.2.3/24", "192.0.2.2/24"])
    found = file.sections["ipv4"]
    assert (found["address1"], found["address2"], found["gateway"]) == ("192.0.2.3/24", "192.0.2.2/24", "192.0.2.1")
    before = file.text()
    file.set_addresses(["192.0.2.2/24", "192.0.2.3/24"])
    assert file.text() == before


@pytest.mark.parametrize("key", ["address1", "addresses", "address"])
def test_addresses_are_read_in_every_spelling(key):
    assert texts.Keyfile(f"[ipv4]\n{key}=192.0.2.2/24,192.0.2.1\n").addresses == ["192.0.2.2/24"]


def test_an_existing_link():
    form = {"name": "eth0", "type": "physical", "mtu": 1400, "mac": None, "addresses": [], "gateway": [], "routes": []}
    text = texts.existing(form, UUID, UPLINK, FORMER, declared={"mtu"})
    assert sections(text)["ethernet"]["mtu"] == "1400" and sections(text)["ipv4"] == sections(UPLINK)["ipv4"]
    assert texts.says_the_same(texts.existing(form, UUID, UPLINK, FORMER), UPLINK)
    assert not texts.says_the_same(text, UPLINK)
    more = {"to": "198.51.100.128/25", "via": "192.0.2.7", "metric": None}
    text = texts.existing(form, UUID, UPLINK, FORMER, added=[more])
    assert sections(text)["ipv4"]["route3"] == "198.51.100.128/25,192.0.2.7,0"
    assert sections(text)["ipv4"]["gateway"] == "192.0.2.1"
    back = texts.Keyfile(texts.existing(form, UUID, text, removed=[more]))
    assert (back.routes, back.addresses) == (texts.Keyfile(UPLINK).routes, texts.Keyfile(UPLINK).addresses)


def test_a_running_link_is_given_all_of_it():
    words = texts.modification(texts.made({**BRIDGE, "ipv6": False}, UUID, texts.successor(UPLINK, "100")))
    pairs = dict(zip(words[::2], words[1::2]))
    assert pairs["ipv4.addresses"] == "192.0.2.2/24" and pairs["ipv4.gateway"] == "192.0.2.1"
    assert pairs["ipv4.routes"] == "198.51.100.0/24 192.0.2.9 5,203.0.113.0/24 192.0.2.9"
    assert pairs["ipv6.method"] == "auto" and pairs["ipv6.addresses"] == ""
    assert words.index("ipv4.addresses") < words.index("ipv4.gateway")


def test_what_is_ignored_is_not_reapplied():
    assert texts.is_reapplied(UPLINK) and not texts.is_reapplied(UPLINK.replace("method=auto", "method=ignore"))
    # and an ignored family stays so
    form = {"name": "eth0", "type": "physical", "addresses": ["192.0.2.7/24"], "gateway": [], "routes": []}
    text = texts.existing(form, UUID, UPLINK.replace("method=auto", "method=ignore"), declared={"addresses"})
    assert sections(text)["ipv6"]["method"] == "ignore"


def test_names():
    assert texts.name_of(texts.path("br0.5")) == "br0.5"
    assert texts.own_uuid("m", "br0") == texts.own_uuid("m", "br0") != texts.own_uuid("n", "br0")
