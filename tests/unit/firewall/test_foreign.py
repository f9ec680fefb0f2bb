# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Openings in others' firewalls: what must pass, what would drop it, and the text that opens and closes exactly that."""

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign import (
    firewalld,
    firewalld_text,
    needs,
    nft_chains,
    nft_text,
    xtables,
    xtables_text,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign.needs import FORWARD, INPUT, Need


def network(name, model, **more):
    return models.parse_network({"name": name, "model": model, "bridge": f"{name}0", **more}, "networks[0]")


NAT = network("n", "nat", addresses=["10.64.0.1/24"], dhcp={})
ROUTED = network("r", "routed", addresses=["10.64.1.1/24"])


def passes(*networks):
    return {(one.hook, one.iif, one.oif, one.what) for one in needs.needs(networks)}


def test_nat_is_open_inwards_for_answers_and_forwards_only():
    assert {one for one in passes(NAT) if one[0] == FORWARD} == {
        (FORWARD, "n0", None, "any"), (FORWARD, None, "n0", "answers"), (FORWARD, None, "n0", "forwarded"),
    }
    assert {one[3] for one in passes(NAT) if one[0] == INPUT} == {"dhcp", "dhcp6", "dns", "icmp"}


def test_routed_is_open_both_ways():
    assert {(FORWARD, "r0", None, "any"), (FORWARD, None, "r0", "any")} < passes(ROUTED)


def test_isolated_reaches_itself_and_its_services_only():
    assert passes(network("i", "isolated")) == {(FORWARD, "i0", "i0", "any")}
    served = passes(network("i", "isolated", addresses=["10.64.2.1/24"], dhcp={}))
    assert {one[3] for one in served if one[0] == INPUT} == {"dhcp", "dhcp6", "dns", "nd"}


def test_what_denies_the_host_gets_no_icmp():
    assert (INPUT, "r0", None, "icmp") not in passes(network("r", "routed", policy={"deny_host": True}))


def test_the_hosts_of_a_stretched_network_are_let_in():
    far = {"mode": "vxlan", "vni": 7, "local": "192.0.2.1", "peers": ["192.0.2.2", "192.0.2.3"]}
    more = {"mode": "vxlan", "vni": 8, "local": "192.0.2.1", "peers": ["192.0.2.3"]}
    six = {"mode": "vxlan", "vni": 9, "local": "2001:db8::1", "peers": ["2001:db8::2"]}
    wanted = needs.needs([network(f"i{number}", "isolated", stretch=one) for number, one in enumerate((far, more, six))])
    four = ["ip saddr 192.0.2.2 udp dport 4789 accept", "ip saddr 192.0.2.3 udp dport 4789 accept"]
    assert nft_text.rules(wanted, INPUT, "ip") == four
    assert nft_text.rules(wanted, INPUT, "inet") == [*four, "ip6 saddr 2001:db8::2 udp dport 4789 accept"]
    assert xtables_text.rules(wanted, INPUT, 6) == ["-s 2001:db8::2/128 -p udp -m udp --dport 4789 -j ACCEPT"]
    assert len(xtables_text.rules(wanted, INPUT, 4)) == 2


SAVED = """*filter
:INPUT ACCEPT [0:0]
:FORWARD {policy} [0:0]
:DOCKER-USER - [0:0]
:rest - [0:0]
{rules}
COMMIT
"""


@pytest.mark.parametrize(
    ("policy", "rules", "drops"),
    [
        ("ACCEPT", "", False),
        ("DROP", "", True),
        ("DROP", "-A FORWARD -j ACCEPT", False),
        ("ACCEPT", "-A FORWARD -j REJECT --reject-with icmp-port-unreachable", True),
        ("ACCEPT", "-A FORWARD -j rest\n-A rest -j DROP", True),
        ("ACCEPT", "-A FORWARD -j rest\n-A rest -j RETURN\n-A rest -j DROP", False),
        ("ACCEPT", "-A FORWARD -m conntrack --ctstate NEW -j DROP", True),
        # What is meant for some packets is somebody's will: fail2ban's, or an administrator's.
        ("ACCEPT", "-A FORWARD -m conntrack --ctstate INVALID -j DROP", False),
        ("ACCEPT", "-A FORWARD -s 192.0.2.7/32 -j REJECT --reject-with icmp-port-unreachable", False),
        ("ACCEPT", "-A FORWARD -i n0 -j DROP", False),
        ("ACCEPT", "-A FORWARD ! -i lo -j DROP", True),
        ("ACCEPT", '-A FORWARD -m comment --comment "the end" -j DROP', True),
        # Words of a match that nobody here knows, and that have no end.
        ("ACCEPT", "-A FORWARD -m odd --words it's -j DROP", False),
        ("ACCEPT", "-A FORWARD -m", False),
    ],
)
def test_would_iptables_drop(policy, rules, drops):
    assert xtables_text.would_drop(xtables_text.parse(SAVED.format(policy=policy, rules=rules)), FORWARD) is drops


def saved(rules):
    return xtables_text.parse(SAVED.format(policy="DROP", rules=rules))


def test_who_opens_where():
    assert xtables_text.holder(saved(""), FORWARD, 4, False) == ("iptables", "FORWARD")
    assert xtables_text.holder(saved("-A FORWARD -j DOCKER-USER"), FORWARD, 4, False) == ("docker", "DOCKER-USER")
    assert xtables_text.holder(saved("-A ufw-before-forward -j rest"), FORWARD, 4, True) == ("ufw", "ufw-before-forward")
    assert xtables_text.holder(saved("-A INPUT_direct -j rest"), FORWARD, 4, False) is None
    assert xtables_text.holder(saved(""), INPUT, 4, False) is None


def test_the_jump_goes_behind_libvirts_but_before_a_drop():
    text = "-A FORWARD -j LIBVIRT_FWX\n-A FORWARD -j LIBVIRT_FWI\n-A FORWARD -j DROP"
    assert xtables_text.first_place(saved(text), "FORWARD") == 3
    assert xtables_text.first_place(saved("-A FORWARD -j DROP\n-A FORWARD -j LIBVIRT_FWX"), "FORWARD") == 1


def test_a_jump_that_works_stays_and_one_too_late_moves():
    wanted = {FORWARD: ("FORWARD", ["-i n0 -j ACCEPT"])}
    text = xtables_text.transaction(saved("-A FORWARD -j VIRTNET_FORWARD\n-A VIRTNET_FORWARD -j ACCEPT"), wanted)
    assert text.splitlines() == ["*filter", ":VIRTNET_FORWARD - [0:0]", "-A VIRTNET_FORWARD -i n0 -j ACCEPT", "COMMIT"]
    text = xtables_text.transaction(saved("-A FORWARD -j DROP\n-A FORWARD -j VIRTNET_FORWARD"), wanted)
    assert "-D FORWARD -j VIRTNET_FORWARD\n" in text
    assert "-I FORWARD 1 -j VIRTNET_FORWARD\n" in text


def test_nothing_is_left_of_it():
    text = xtables_text.transaction(saved("-A FORWARD -j VIRTNET_FORWARD\n-A VIRTNET_FORWARD -i n0 -j ACCEPT"), {})
    assert text.splitlines() == [
        "*filter", "-D FORWARD -j VIRTNET_FORWARD", "-F VIRTNET_FORWARD", "-X VIRTNET_FORWARD", "COMMIT",
    ]
    assert xtables_text.transaction(saved(""), {}) == ""


OPENED = "-A FORWARD -j VIRTNET_FORWARD\n-A VIRTNET_FORWARD -i old0 -j ACCEPT"
AS_OPENED = [":VIRTNET_FORWARD - [0:0]", "-A VIRTNET_FORWARD -i old0 -j ACCEPT"]
CALL = f"{xtables.command(4)} {' '.join(xtables.WAIT)}"


@pytest.mark.parametrize(
    ("rules", "wanted", "lines"),
    [
        ("", {}, []),
        (OPENED, {FORWARD: ("FORWARD", ["-i old0 -j ACCEPT"])}, []),
        (
            "", {FORWARD: ("FORWARD", ["-i n0 -j ACCEPT"])},
            [
                f"{CALL} -D FORWARD -j VIRTNET_FORWARD 2> /dev/null",
                f"{CALL} -F VIRTNET_FORWARD && {CALL} -X VIRTNET_FORWARD",
            ],
        ),
        (OPENED, {FORWARD: ("FORWARD", ["-i n0 -j ACCEPT"])}, AS_OPENED),
        (OPENED, {}, AS_OPENED),
        (OPENED, {FORWARD: ("DOCKER-USER", ["-i old0 -j ACCEPT"])}, [f"{CALL} -D DOCKER-USER -j VIRTNET_FORWARD 2> /dev/null"]),
    ],
)  # fmt: skip
def test_the_way_back_of_openings(monkeypatch, rules, wanted, lines):
    monkeypatch.setattr(xtables, "UFW_RULES", {})
    room = xtables.Xtables(None)
    room._saved = {4: saved(rules)}
    _files, found = room.undo({4: wanted})
    assert bool(found) == bool(lines)
    for line in lines:
        assert line in found
    assert "n0" not in "\n".join(found)


def test_the_way_back_in_chains_of_nft():
    """Each changed chain as it was: what was there again, what was not gone; one that stays so is not touched."""
    same, was, new = (("inet", "site", name) for name in ("same", "was", "new"))
    room = nft_chains.Chains(None)
    room._found = {same: [("iifname a accept", "7")], was: [("iifname b accept", "8")]}
    found = "\n".join(room.undo({same: ["iifname a accept"], new: ["iifname c accept"]}))
    assert 'insert rule inet site was iifname b accept comment "virtnet.kvm"' in found and "delete rule inet site new" in found
    assert "inet site same" not in found and "iifname c" not in found
    assert room.undo({same: ["iifname a accept"], was: ["iifname b accept"]}) == []


@pytest.mark.parametrize("running", [False, True])
def test_the_way_back_in_firewalld(running):
    room = firewalld.Firewalld(None)
    room._running, room._files = running, {"virtnet-nat": "before", "virtnet-out": "same"}
    paths, commands = room.undo({"virtnet-nat": ("after", ""), "virtnet-out": ("same", ""), "virtnet-in": ("new", "")})
    assert paths == ["/etc/firewalld/policies/virtnet-in.xml", "/etc/firewalld/zones/virtnet-nat.xml"]
    assert commands == ["firewall-cmd --reload"] * running
    assert room.undo({"virtnet-nat": ("before", ""), "virtnet-out": ("same", "")}) == ([], [])


def test_the_block_of_ufw_goes_without_a_trace():
    text = "# theirs\n*filter\n:a - [0:0]\n-A a -j b\n\n# last\nCOMMIT\n*nat\nCOMMIT\n"
    lines = xtables_text.block_lines({FORWARD: ("ufw-before-forward", ["-i n0 -j ACCEPT"])})
    with_it = xtables_text.with_block(text, lines)
    assert xtables_text.block(with_it) == lines
    assert with_it.index("VIRTNET_FORWARD") < with_it.index("COMMIT")
    assert xtables_text.with_block(with_it, lines) == with_it
    assert xtables_text.with_block(with_it, []) == text


def listing(policy, *rules):
    chain = {"family": "inet", "table": "site", "type": "filter", "hook": "forward", "policy": policy}
    rows = [{"chain": {**chain, "name": "forward"}}, {"chain": {"family": "inet", "table": "site", "name": "rest"}}]
    return {"nftables": [
        *rows, *({"rule": {"chain": where, "expr": expr, **more}} for where, expr, more in rules),
    ]}


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


IIF = {"meta": {"key": "iifname"}}
STATE = {"ct": {"key": "state"}}


@pytest.mark.parametrize(
    ("policy", "rules", "drops"),
    [
        ("accept", [], False),
        ("drop", [], True),
        ("drop", [[{"accept": None}]], False),
        ("accept", [[{"counter": None}, {"reject": None}]], True),
        ("accept", [[match(IIF, "eth0"), {"drop": None}]], False),
        ("accept", [[match(IIF, "lo", "!="), {"drop": None}]], True),
        ("accept", [[match(STATE, ["invalid"], "in"), {"drop": None}]], False),
        ("accept", [[match({"payload": {"protocol": "ip", "field": "saddr"}}, "@banned"), {"drop": None}]], False),
    ],
)
def test_would_nft_drop(policy, rules, drops):
    rows = [("forward", expr, {}) for expr in rules]
    assert nft_text.would_drop(listing(policy, *rows), "forward") == (drops, False)


def test_a_rule_of_ours_behind_a_drop_is_too_late():
    ours = ("forward", [match(IIF, "n0"), {"accept": None}], {"comment": nft_text.COMMENT})
    jump = ("forward", [{"jump": {"target": "rest"}}], {})
    drop = ("rest", [{"drop": None}], {})
    assert nft_text.would_drop(listing("accept", ours, jump, drop), "forward") == (True, False)
    assert nft_text.would_drop(listing("accept", jump, drop, ours), "forward") == (True, True)


def test_nft_rules_are_found_again_and_replaced():
    found = nft_text.ours('\t\tiifname "n0" accept comment "virtnet.kvm" # handle 7\n\t\ttcp dport 22 accept # handle 4\n')
    assert found == [('iifname "n0" accept', "7")]
    assert nft_text.transaction(("inet", "site", "forward"), ["7"], ["a", "b"]) == [
        "delete rule inet site forward handle 7",
        'insert rule inet site forward b comment "virtnet.kvm"', 'insert rule inet site forward a comment "virtnet.kvm"',
    ]
    assert nft_text.rules([Need(INPUT, "n0", None, "icmp")], INPUT, "ip6") == ['iifname "n0" meta l4proto ipv6-icmp accept']


def test_tables_of_iptables_and_firewalld_are_others_business():
    rows = [
        {"chain": {"family": family, "table": table, "name": name, "type": "filter", "hook": "forward"}}
        for family, table, name in (
            ("ip", "filter", "FORWARD"), ("inet", "firewalld", "filter_FORWARD"), ("inet", "site", "forward"),
        )
    ]
    assert nft_text.base_chains({"nftables": rows}) == [("inet", "site", "forward", "forward")]
    assert nft_text.has_iptables({"nftables": rows}) == [4]


def test_firewalld_lets_nobody_into_nat():
    assert firewalld_text.zones([NAT, ROUTED])["virtnet-nat"] == {"interfaces": ["n0"], "services": ["dhcp", "dhcpv6", "dns"]}
    assert firewalld_text.policies([NAT]) == {"virtnet-out": {"ingress": ["virtnet-nat"], "egress": ["ANY"]}}
    assert firewalld_text.policies([ROUTED])["virtnet-in"] == {"ingress": ["ANY"], "egress": ["virtnet-routed"]}
    # libvirt gives these to zones of its own.
    assert firewalld_text.zones([network("i", "isolated")]) == {}


def test_what_somebody_added_to_a_zone_is_seen():
    data = {"interfaces": ["n0"], "services": ["dns", "dhcpv6", "dhcp"], "forward": True, "target": "default"}

    def said(**more):
        return firewalld_text.said_zone("z", {"data": [{key: {"data": value} for key, value in {**data, **more}.items()}]})

    assert said() == firewalld_text.zone_line("z", {"interfaces": ["n0"], "services": ["dhcp", "dhcpv6", "dns"]})
    assert len({said(), said(ports=[["22", "tcp"]]), said(target="ACCEPT"), said(forward=False), said(services=[])}) == 5
