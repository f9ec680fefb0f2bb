# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What guests' ports are held to: sets that grow with them, rules that do not."""

from __future__ import annotations

import re

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import boot, entries, nft, room, ruleset

MAC, MAC2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
PORT = {("vp1", MAC): {"guest": "vm0", "network": "natnet"}}


def bridge(networks, ports=None):
    return ruleset.tables(networks, {}, (), ports)[1]


def elements(text, name):
    found = re.search(rf"set {name} \{{.*?elements = \{{\n(.*?)\n        \}}", text, re.DOTALL)
    return [] if found is None else [line.partition(",")[0].strip() for line in found[1].splitlines()]


def test_a_port_is_bound_where_the_networks_policy_wants_it(parse, natnet):
    text = bridge(parse(natnet), PORT)
    assert elements(text, "port_macs") == [f'"vp1" . {MAC}']
    assert elements(text, "bound_macs") == [MAC]
    assert elements(text, "no_routers") == elements(text, "no_dhcp_servers") == ['"vp1"']
    # The checks come before the rules for addresses, some of which let pass.
    assert text.index("iifname @bound_ports jump from_bound") < text.index("meta protocol vmap")
    for other in ({**natnet, "policy": {"anti_spoofing": False}}, {**natnet, "name": "another"}):
        assert "vp1" not in bridge(parse(other), PORT)
    lan = {"name": "natnet", "model": "bridged", "bridge": "br0"}
    assert bridge(parse(lan), PORT) == ""


def test_frames_of_bound_ports_are_logged_where_their_network_says_so(parse, natnet):
    logging = {**natnet, "policy": {"log_drops": True}}
    plain, text = bridge(parse(natnet), PORT), bridge(parse(logging), PORT)
    assert "log prefix" not in plain and "refuse" not in plain
    assert text.count('log prefix "virtnet natnet: " group 64') == 1 and re.search(r'"vp1" : jump log_\w+,  # natnet', text)
    # Nothing ends otherwise than by the chain that logs.
    assert len(re.findall(r" drop$", text, re.MULTILINE)) == 1 and text.count(" goto refuse") == plain.count(" drop\n")
    # Without a port of ours nobody knows of which network a frame is.
    assert "log prefix" not in bridge(parse(logging), {})


def test_a_network_without_known_subnets_has_bound_ports_too(parse):
    text = bridge(parse({"name": "natnet", "model": "isolated"}), PORT)
    assert elements(text, "port_macs") == [f'"vp1" . {MAC}']
    assert "met_link_locals" not in text and "no_dhcp_servers" not in text and "vmap" not in text


def test_two_macs_of_a_port_whose_guest_waits_for_a_restart(parse, natnet):
    text = bridge(parse(natnet), {**PORT, ("vp1", MAC2): PORT["vp1", MAC]})
    assert elements(text, "port_macs") == [f'"vp1" . {MAC}', f'"vp1" . {MAC2}']
    assert elements(text, "bound_ports") == ['"vp1"']


@pytest.mark.parametrize(
    ("routes", "silent"),
    [
        ([], ["vp1", "vp2"]),
        ([{"to": "10.9.0.0/16", "via": "10.64.100.2"}], ["vp1", "vp2"]),
        ([{"to": "fd99::/64", "via": "fd00:64::2"}], ["vp2"]),
        # Nobody knows who that is.
        ([{"to": "fd99::/64", "via": "fd00:64::9"}], []),
        ([{"to": "fd99::/64", "via": "fd00:64::2"}, {"to": "fd98::/64", "via": "fd00:64::9"}], []),
    ],
)
def test_a_guest_that_routes_advertises_itself(parse, natnet, routes, silent):
    ports = {**PORT, ("vp2", MAC2): PORT["vp1", MAC]}
    text = bridge(parse({**natnet, "routes": routes}), ports)
    assert elements(text, "no_routers") == [f'"{one}"' for one in silent]
    assert ("nd-router-advert" in text) == bool(silent)
    assert elements(text, "no_dhcp_servers") == ['"vp1"', '"vp2"']


def test_where_the_host_serves_no_dhcp_a_guest_may(parse, natnet):
    del natnet["dhcp"]
    assert "no_dhcp_servers" not in bridge(parse(natnet), PORT)


@pytest.mark.parametrize("count", [2, 100])
def test_rules_do_not_grow_with_ports(parse, count):
    plain = {"model": "nat", "dhcp": {}}
    networks = parse(*({**plain, "name": f"n{one}", "addresses": [f"10.70.{one}.1/24"]} for one in range(count)))
    ports = {(f"vp{one}", f"52:54:00:00:00:{one:02x}"): {"guest": f"g{one}", "network": f"n{one}"} for one in range(count)}
    text = bridge(networks, ports)
    assert len(elements(text, "port_macs")) == count
    assert len(re.findall(r"(?:drop|accept|jump \w+|\})$", text.partition("chain from_bound")[2], re.MULTILINE)) < 25


def test_arp_for_a_closed_host(parse, natnet):
    rule = "iifname @host_closed arp operation request"
    assert ruleset.tables(parse(natnet), {})[2] == ""
    closed = ruleset.tables(parse({**natnet, "policy": {"deny_host": True}}), {})[2]
    assert f"{rule} iifname . arp daddr ip != @near drop" in closed and elements(closed, "near") == ['"natbr0" . 10.64.100.1']
    bare = {"name": "bare", "model": "isolated", "bridge": "barebr0"}
    assert f"{rule} drop" in ruleset.tables(parse(bare), {})[2]
    # What it has of addresses was not said: any of its subnets.
    known = ruleset.tables(parse({**bare, "subnets": ["10.64.103.0/24"]}), {})[2]
    assert elements(known, "near") == ['"barebr0" . 10.64.103.0/24']


def test_what_packets_put_into_the_set_is_no_drift_and_is_kept(parse, natnet):
    learnt = {"family": "bridge", "table": "virtnet", "name": "met_link_locals", "type": "integer"}
    rows = [{"nftables": [{"set": {**learnt, **more}}]} for more in ({}, {"elem": ["0xfe80"]})]
    assert nft.canonical(rows[0]) == nft.canonical(rows[1])
    # nft lists the bytes as the field that they are, and does not take that in a set of bytes.
    text = bridge(parse(natnet), PORT)
    listed = text.replace("@nh,64,128", "ip6 saddr").replace("@th,64,128 @host", "icmpv6 taddr @host")
    listed = listed.replace("typeof ip6 saddr", "typeof @nh,64,128")
    assert nft.readable(listed) == text


class Host:
    """Takes what is loaded."""

    def run(self, command, data=None, check=True, what=None, subject=None):
        self.loaded = data
        return 0, "", ""


ADDRESSES = """\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000000000000000002 1d 40 20 80    br1
fe800000000000000000000000000001 1c 40 20 80    br0
fe800000000000000000000000000009 02 40 20 80     eth0
fd100102000000000000000000000001 1c 40 00 82    br0
"""


def test_the_set_begins_with_the_addresses_that_are_there(parse, natnet, tmp_path, monkeypatch):
    monkeypatch.setattr(nft, "LINKS", str(tmp_path))
    monkeypatch.setattr(nft, "ADDRESSES", str(tmp_path / "if_inet6"))
    host = Host()
    text = ruleset.transaction(parse(natnet), {})
    nft.Nft(host).load(text)
    assert host.loaded == text, "no IPv6 at all"
    (tmp_path / "if_inet6").write_text(ADDRESSES)
    nft.Nft(host).load(text)
    assert host.loaded == text, "no bridge"
    for name in ("br0", "br1"):
        (tmp_path / name / "bridge").mkdir(parents=True)
    nft.Nft(host).load(text)
    numbers = ", ".join(f"0xfe80{'0' * 27}{one}" for one in (1, 2))
    assert host.loaded == f"{text}add element bridge virtnet met_link_locals {{ {numbers} }}\n"
    text = ruleset.transaction([], {})
    nft.Nft(host).load(text)
    assert host.loaded == text
    # The unit does the same, after the rules themselves.
    rendered = room.Rendered(ruleset.transaction(parse(natnet), {}), {4: "", 6: ""})
    lines = [line for line in boot.unit_text(rendered).splitlines() if line.startswith("ExecReload=")]
    assert "virtnet.nft" in lines[0] and f'done < {nft.ADDRESSES}' in lines[1] and 'met_link_locals "{ $$known }"' in lines[1]
    closed = room.Rendered(ruleset.transaction(parse({"name": "iso", "model": "isolated"}), {}), {4: "", 6: ""})
    assert "met_link_locals" not in boot.unit_text(closed)


def test_the_stored_entry_of_a_network_gives_the_same_rules(parse, natnet):
    stored = [entries.stored_network(entries.network_entry(one), "here") for one in parse(natnet)]
    assert bridge(stored, PORT) == bridge(parse(natnet), PORT)
