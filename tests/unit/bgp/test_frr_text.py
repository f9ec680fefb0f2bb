# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""running/ has what FRR 8.4 (Debian 12) and 10.3 (Debian 13) print once they have read our lines: alone (own), beside a
configuration of somebody else's (both), and where that changes what is the default (both_noact); foreign is that without ours.
evpn is alone, with VXLAN segments.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import frr_text
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp.speaker import Neighbor, Speaker

RUNNING = Path(__file__).with_name("running")
VERSIONS = ("8.4", "10.3")
SPEAKER = Speaker(
    64512, "10.77.0.11",
    neighbors={
        "kvm2": Neighbor(64512, ("10.77.0.12", "fd77::12"), ("10.77.0.11", "fd77::11")),
        "core1": Neighbor(65001, ("10.77.0.1",)),
    },
    announce={"kvm1/routenet": ("10.10.110.0/24", "fd00:10:110::/64")},
    accept={"kvm2/routenet": ("10.10.111.0/24", "fd00:10:111::/64"), "site": ("10.20.0.0/16 le 24",)},
)  # fmt: skip
EVPN_SPEAKER = Speaker(
    64512, "10.77.0.11",
    neighbors={
        "kvm2": Neighbor(64512, ("10.77.0.12", "fd77::12"), ("10.77.0.11", "fd77::11"), True),
        "kvm3": Neighbor(4200000001, ("10.77.0.13",), (), True), "core1": Neighbor(65001, ("10.77.0.1",)),
    },
    announce={"kvm1/routenet": ("10.10.110.0/24", "fd00:10:110::/64")}, vnis={"kvm1/lab": (4711,), "kvm1/wide": (16777215,)},
)  # fmt: skip
OWN, BESIDE = frr_text.Own(True, True), frr_text.Own()
BY_HAND = """\
! what the site's administrator wrote, as people write
hostname edge1
ip route 203.0.113.0/24 Null0
router bgp 64512
neighbor 10.77.0.99 remote-as 65099
! his neighbour
neighbor 10.77.0.99 description VIRTNET-like
network 192.0.2.0/24
address-family ipv6
neighbor 2001:db8::1 activate
exit-address-family
ip prefix-list HAND permit 192.0.2.0/25
route-map HAND permit 10
 match ip address prefix-list HAND
router bgp 65009 vrf RED
 neighbor 10.9.9.9 remote-as 65010
line vty
"""


def running(name, version):
    return frr_text.shown((RUNNING / f"{name}-{version}.conf").read_text())


def lines(own, speaker=SPEAKER):
    return frr_text.lines_of(speaker, own)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "own"), [("own", OWN), ("both", BESIDE), ("both_noact", BESIDE)])
def test_frr_prints_what_we_say(name, own, version):
    found = frr_text.read(running(name, version), own)
    assert found.asn == 64512 and found.ours == frr_text.wanted(lines(own), found.rest, own)
    assert found.alone == own.instance and found.import_check == (name != "both_noact")


@pytest.mark.parametrize("version", VERSIONS)
def test_frr_prints_what_we_say_of_segments(version):
    text = running("evpn", version)
    found = frr_text.read(text, OWN)
    assert found.ours == frr_text.wanted(lines(OWN, EVPN_SPEAKER), found.rest, OWN) and found.alone and not found.evpn
    assert "VIRTNET" not in found.rest and "evpn" not in found.rest
    # As long as it is told whose it is: the line has no name.
    other = frr_text.read(text, frr_text.Own(True, False))
    assert other.evpn and not other.alone and "advertise-all-vni" in other.rest
    assert "  advertise-all-vni" not in lines(frr_text.Own(True, False), EVPN_SPEAKER)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("rt 64512:4711", "rt 64512:4712"), ("  advertise-all-vni\n", ""), (" match extcommunity VIRTNET-EVPN\n", ""),
        ("  neighbor VIRTNET-IBGP-EVPN4 route-map VIRTNET-EVPN out\n", ""), ("  neighbor VIRTNET-IBGP-EVPN4 activate\n", ""),
    ],
)  # fmt: skip
def test_segments_changed_by_hand_are_seen(version, was, becomes):
    before = running("evpn", version)
    assert was in before
    found = frr_text.read(before.replace(was, becomes, 1), OWN)
    assert found.ours != frr_text.wanted(lines(OWN, EVPN_SPEAKER), found.rest, OWN)


def test_segments_in_text():
    """Route targets are of the two lower bytes of an AS number (RFC 8365, 5.1.2.1), of whoever may tell."""
    found = lines(OWN, EVPN_SPEAKER)
    assert [line.split("permit ")[1] for line in found if line.startswith("bgp extcommunity-list")] == [
        "rt 64512:4711", f"rt {4200000001 & 0xFFFF}:4711", "rt 64512:16777215", f"rt {4200000001 & 0xFFFF}:16777215",
    ]  # fmt: skip
    # With nothing to tell there is no segment, but the session that can carry one.
    quiet = lines(OWN, replace(EVPN_SPEAKER, vnis={}))
    assert "route-map VIRTNET-EVPN deny 10" in quiet and "  neighbor VIRTNET-IBGP-EVPN4 route-map VIRTNET-EVPN out" in quiet
    assert not [line for line in quiet if "advertise-all-vni" in line or "extcommunity" in line]
    assert "VIRTNET-EBGP4" in "".join(quiet) and "neighbor VIRTNET-EBGP4 route-map" not in "".join(quiet)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_ours_it_is_what_others_have_configured(version):
    found = frr_text.read(running("both", version))
    assert found.rest == running("foreign", version)
    assert found.neighbors == {"EDGE", "10.77.0.99"} and found.networks == {"192.0.2.0/24"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_instance_of_ours_goes_as_a_whole(version):
    found = frr_text.read(running("own", version), OWN)
    assert found.alone and "bgp" not in found.rest and "VIRTNET" not in found.rest
    assert found.rest.rstrip().endswith("end") and "service integrated-vtysh-config" in found.rest


@pytest.mark.parametrize("version", VERSIONS)
def test_an_instance_of_somebody_elses_stays_even_if_he_has_said_nothing_in_it(version):
    found = frr_text.read(running("own", version))
    assert "router bgp 64512\n bgp router-id 10.77.0.11\n" in found.rest and "VIRTNET" not in found.rest


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["own", "foreign", "both", "both_noact"])
def test_merged_and_taken_out_again(name, version):
    own = OWN if name == "own" else BESIDE
    rest = frr_text.read(running(name, version), own).rest
    merged = frr_text.merged(rest, lines(own))
    assert merged.rstrip().endswith("end") and merged.count(frr_text.BEGIN) == 1
    again = frr_text.read(merged, own)
    assert again.rest == rest and again.ours == frr_text.wanted(lines(own), rest, own)
    assert frr_text.merged(again.rest, lines(own)) == merged


@pytest.mark.parametrize("text", ["", "log syslog informational\n", BY_HAND, BY_HAND + "end\n"])
@pytest.mark.parametrize("own", [OWN, BESIDE, frr_text.Own(False, True)])
def test_a_file_is_kept_to_the_line(text, own):
    merged = frr_text.merged(text, lines(own))
    assert frr_text.read(merged, own).rest == text
    head, _begin, tail = merged.partition(frr_text.BEGIN)
    assert head + tail.partition(f"{frr_text.END}\n")[2] == text


def test_a_file_that_nobody_has_indented():
    found = frr_text.read(BY_HAND)
    assert found.asn == 64512 and found.ours == set() and found.rest == BY_HAND
    assert found.neighbors == {"10.77.0.99", "2001:db8::1"} and found.networks == {"192.0.2.0/24"}


@pytest.mark.parametrize(
    ("text", "asn"),
    [
        ("router bgp 65009 vrf RED\nexit\n", None), ("router bgp 64512\n", 64512), ("router bgp 1.10\nexit\n", 65546),
        ("router bgp 64512 as-notation dot\nexit\n", 64512), ("router ospf\n", None), ("", None),
        ("router bgp 65009 view V\nexit\nrouter bgp 7\nexit\n", 7),
    ],
)  # fmt: skip
def test_the_as_number_of_the_default_instance(text, asn):
    assert frr_text.read(text).asn == asn


def test_what_somebody_writes_between_our_marks_stays_his():
    theirs = " neighbor 10.77.0.99 remote-as 65099\n"
    first = " neighbor VIRTNET-EBGP4 peer-group\n"
    merged = frr_text.merged("", lines(OWN)).replace(first, first + theirs)
    found = frr_text.read(merged, OWN)
    assert found.neighbors == {"10.77.0.99"} and not found.alone and theirs in found.rest
    assert found.rest.splitlines() == ["router bgp 64512", theirs.rstrip(), "exit"]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("timers 3 9", "timers 60 180"), ("seq 5 permit 10.10.111.0/24", "seq 5 permit 0.0.0.0/0 le 32"),
        ("  neighbor VIRTNET-IBGP4 prefix-list VIRTNET-IN4 in\n", ""), ("remote-as 65001", "remote-as 65002"),
        ("bgp router-id 10.77.0.11", "bgp router-id 10.77.0.19"), ("route-map VIRTNET-NET permit", "route-map VIRTNET-NET deny"),
        (" bgp router-id 10.77.0.11\n", " bgp router-id 10.77.0.11\n no bgp network import-check\n"),
        ("  neighbor VIRTNET-IBGP4 prefix", "  no neighbor VIRTNET-IBGP4 activate\n  neighbor VIRTNET-IBGP4 prefix"),
        ("  no neighbor VIRTNET-IBGP6 activate\n", ""), (" neighbor fd77::12 peer-group VIRTNET-IBGP6\n", ""),
        ("exit\n!\nend", "exit\n!\nip prefix-list VIRTNET-XX seq 5 permit any\nend"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", VERSIONS)
def test_changes_by_hand_are_seen(version, was, becomes):
    before = running("own", version)
    if was == "exit\n!\nend":
        was, becomes = before[-6:], becomes.replace("exit\n!\n", before[-6:-4])
    assert was in before
    found = frr_text.read(before.replace(was, becomes, 1), OWN)
    assert found.ours != frr_text.wanted(lines(OWN), found.rest, OWN)


def test_a_list_that_permits_nothing_says_so():
    quiet = lines(OWN, Speaker(64512, neighbors={"kvm2": Neighbor(64512, ("10.77.0.12",))}))
    assert "ip prefix-list VIRTNET-IN4 seq 5 deny any" in quiet and "ip prefix-list VIRTNET-OUT4 seq 5 deny any" in quiet
    assert not [line for line in quiet if "6" in line.replace("64512", "")]


def test_groups():
    rest = frr_text.read(running("both", "10.3")).rest
    found = frr_text.groups_in(frr_text.wanted(lines(BESIDE), rest, BESIDE))
    four, six = ("ipv4 unicast",), ("ipv6 unicast",)
    assert found == {"VIRTNET-EBGP4": four, "VIRTNET-IBGP4": four, "VIRTNET-IBGP6": six}
    found = frr_text.groups_in(frr_text.wanted(lines(OWN, EVPN_SPEAKER), "", OWN))
    assert found["VIRTNET-IBGP-EVPN4"] == ("ipv4 unicast", "l2vpn evpn") and found["VIRTNET-IBGP6"] == six


DAEMONS = '# bgpd=yes is an example\nbgpd=no\nospfd=yes\nvtysh_enable=yes\nzebra_options="  -A 127.0.0.1"\n#bfdd=yes\n'


def test_the_list_of_daemons():
    assert not frr_text.starts(DAEMONS) and frr_text.others_start(DAEMONS) == ["ospfd"]
    on = frr_text.with_daemon(DAEMONS, True)
    assert frr_text.starts(on) and on == DAEMONS.replace("\nbgpd=no", "\nbgpd=yes")
    assert frr_text.with_daemon(on, False) == DAEMONS
    assert frr_text.with_daemon("ospfd=no", True) == "ospfd=no\nbgpd=yes\n" and not frr_text.starts("")
