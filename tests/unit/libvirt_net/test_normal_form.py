# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The normal form, by properties: whatever is declared is read back as it was declared, and nothing else is a change."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import describe, live
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from hypothesis import given, settings
from hypothesis import strategies as st

LABEL = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
V4 = st.integers(10, 250).map("10.64.100.{}".format)
V6 = st.integers(0x10, 0xFFFF).map("fd00:64::{:x}".format)
MAC = st.integers(0, 0xFFFFFF).map(lambda number: "52:54:00:" + ":".join(f"{number:06x}"[at : at + 2] for at in (0, 2, 4)))
DUID = st.integers(0, 0xFFFFFF).map(lambda number: "00:03:00:01:" + ":".join(f"{number:06x}"[at : at + 2] for at in (0, 2, 4)))
WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=30)
LETTERS = st.characters(codec="ascii", categories=("L", "N", "P", "Zs"), exclude_characters='"\\#')
RECORD = st.text(LETTERS, min_size=1, max_size=20).filter(lambda text: text.strip())
UUID = st.uuids().map(str)


def maybe(strategy):
    return st.none() | strategy


def dictionary(**fields):
    return st.fixed_dictionaries(fields)


RATES = dictionary(average=st.integers(1, 10**6), peak=maybe(st.integers(1, 10**6)), burst=maybe(st.integers(1, 10**6)))
BANDWIDTH = dictionary(inbound=maybe(RATES), outbound=maybe(RATES))
VLAN = st.lists(st.integers(1, 4094), unique=True, max_size=3).flatmap(
    lambda ids: dictionary(
        trunk=st.just(True) if len(ids) > 1 else st.booleans() if ids else st.none(),
        tags=st.just([{"id": one, "native_mode": None} for one in ids]),
    )
)
VIRTUALPORT = st.sampled_from([{}, {"type": "openvswitch"}, {"profile_id": "web"}]) | st.one_of(
    dictionary(type=st.just("openvswitch"), interface_id=UUID, profile_id=maybe(LABEL)),
    dictionary(type=st.just("midonet"), interface_id=UUID),
    dictionary(type=st.just("802.1Qbg"), manager_id=st.integers(0, 255), type_id=st.integers(0, 0xFFFFFF), instance_id=UUID),
)


@st.composite
def portgroups(draw):
    names = draw(st.lists(LABEL, unique=True, max_size=3))
    default = draw(st.sampled_from([None, *names]))
    return [
        {
            "name": name,
            "default": name == default,
            "trust_guest_rx_filters": draw(st.sampled_from([None, True, False])),
            "virtualport": draw(maybe(VIRTUALPORT)),
            "vlan": draw(maybe(VLAN)),
            "bandwidth": draw(maybe(BANDWIDTH)),
        }
        for name in names
    ]


@st.composite
def dhcp(draw):
    ranges = []
    for number in draw(st.lists(st.integers(3, 7), unique=True, max_size=3)):
        ranges.append({"start": f"10.64.100.{number * 32}", "end": f"10.64.100.{number * 32 + draw(st.integers(0, 30))}"})
    if draw(st.booleans()):
        ranges.append({"start": "fd00:64::1:0", "end": "fd00:64::1:ff"})
    reservations = []
    for address, mac, name in zip(
        draw(st.lists(V4, unique=True, max_size=3)),
        draw(st.lists(MAC, unique=True, min_size=3, max_size=3)),
        draw(st.lists(LABEL, unique=True, min_size=3, max_size=3)),
    ):
        row = {"name": name, "mac": mac, "address": address, "duid": None}
        row[draw(st.sampled_from(["name", "mac", "duid"]))] = None
        reservations.append(row)
    for address, duid, name in zip(
        draw(st.lists(V6, unique=True, max_size=2)),
        draw(st.lists(DUID, unique=True, min_size=2, max_size=2)),
        draw(st.lists(LABEL, unique=True, min_size=2, max_size=2)),
    ):
        row = {"name": name, "mac": None, "address": address, "duid": duid}
        row[draw(st.sampled_from(["name", "mac", "duid"]))] = None
        reservations.append(row)
    rows = bool(ranges or reservations)
    return {
        "ranges": ranges,
        "reservations": reservations,
        "lease_time": draw(st.sampled_from([None, "infinite", "3600", "90m", "12h", "7d", "121s"])) if rows else None,
        "tftp_root": draw(st.sampled_from([None, "/srv/tftp", ""])),
        "boot": draw(st.sampled_from([None, {}, {"file": "pxelinux.0", "server": None}, {"file": "x", "server": "10.0.0.9"}])),
    }


@st.composite
def srv(draw):
    row = {
        "service": draw(LABEL), "protocol": draw(st.sampled_from(["tcp", "udp"])), "domain": draw(maybe(DOMAIN)),
        "target": None, "port": None, "priority": None, "weight": None,
    }
    if draw(st.booleans()):
        row.update(target=draw(DOMAIN), port=draw(st.integers(1, 65535)))
        row.update({key: draw(maybe(st.integers(0, 65535))) for key in ("priority", "weight")})
    return row


@st.composite
def dns(draw):
    enabled = draw(st.sampled_from([True, True, True, False]))
    domain = draw(maybe(DOMAIN))
    local = bool(domain) and draw(st.booleans())
    row = {
        "enabled": enabled, "domain": domain, "local_only": local, "register": (local and draw(st.booleans())) or None,
        "forward_plain_names": draw(st.sampled_from([None, True, False])),
    }
    if enabled:
        row["forwarders"] = draw(st.lists(st.sampled_from(["10.0.0.1", "fd00::53", "10.0.0.2#5353", "fd00::54#54"]), unique=True))
        row["forward_zones"] = draw(
            st.lists(
                st.builds(
                    lambda domain, server: {"domain": domain, "address": server[0], "port": server[1]},
                    DOMAIN, st.sampled_from([(None, None), ("10.0.0.1", None), ("fd00::53", 5353)]),
                ),
                max_size=2,
            )
        )
        row["hosts"] = draw(
            st.lists(
                dictionary(address=V4 | V6, names=st.lists(DOMAIN, min_size=1, max_size=2, unique=True)),
                max_size=2, unique_by=lambda one: one["address"],
            )
        )
        row["txt"] = draw(
            st.lists(dictionary(name=DOMAIN, value=RECORD), max_size=2, unique_by=lambda one: (one["name"], one["value"].strip()))
        )
        row["srv"] = draw(st.lists(srv(), max_size=2, unique_by=str))
    return row


@st.composite
def items(draw):
    """An item of kvm_networks, with much or little declared."""
    kind = draw(st.sampled_from(["nat", "libvirt nat", "routed", "isolated", "host", "ovs", "macvtap"]))
    item = {"name": "net", "title": draw(maybe(WORDS)), "description": draw(maybe(WORDS))}
    item["portgroups"] = draw(maybe(portgroups()))
    item["vlan"] = draw(maybe(VLAN))
    if kind == "macvtap":
        return {**item, "model": "bridged", "attach": "macvtap", "uplink": "eth1", "virtualport": draw(maybe(VIRTUALPORT))}
    item["bridge"] = "br7"
    item["policy"] = {"port_isolation": draw(st.booleans())}
    if kind == "ovs":
        return {**item, "model": "bridged", "virtualport": draw(maybe(VIRTUALPORT))}
    if kind == "host":
        return {**item, "model": "routed", "bridge_owner": "host"}
    item.update(
        mac=draw(maybe(MAC.map(lambda text: "02" + text[2:]))), zone=draw(st.sampled_from([None, "", "dmz"])),
        mtu=draw(st.sampled_from([None, 0, 1400, 9000])), stp=draw(st.booleans()), delay=draw(maybe(st.integers(0, 30))),
        bandwidth=draw(maybe(BANDWIDTH)), dns=draw(maybe(dns())),
        dnsmasq_options=draw(maybe(st.lists(RECORD.map(lambda text: f"txt-record=a,{text}"), max_size=2))),
        dhcp=draw(dhcp()) if kind == "isolated" else draw(maybe(dhcp())),
        addresses=["10.64.100.1/24", "fd00:64::1/64"],
        routes=draw(st.sampled_from([None, [], [{"to": "10.9.0.0/16", "via": "10.64.100.9"}]])),
    )
    if kind == "libvirt nat":
        item.update(firewall="libvirt", uplink=draw(maybe(st.just("eth0"))), nat_ipv6=draw(maybe(st.booleans())))
    return {**item, "model": kind.rpartition(" ")[2]}


def network(item):
    return models.parse_network(item, "networks[0]")


def reread(tree):
    return definition.load(definition.dump(tree))


@settings(max_examples=30, deadline=None)
@given(items())
def test_what_is_written_is_read_and_writing_again_changes_nothing(item):
    once = reread(definition.edit(network(item)))
    again = reread(definition.edit(network(item), once))
    assert definition.parse(again) == definition.parse(once)
    assert definition.dump(again) == definition.dump(once)


@settings(max_examples=30, deadline=None)
@given(items())
def test_what_is_declared_is_what_is_read(item):
    """Without the writer's help: each declared value against the normal form."""
    found = definition.parse(definition.edit(network(item)))
    declared = network(item)
    for key in ("title", "description", "zone", "virtualport", "vlan", "bandwidth", "portgroups", "dnsmasq_options"):
        value = getattr(declared, key)
        if value is not None:
            assert (found[key] or None) == (value or None), key
    for key in ("mac", "delay"):
        if getattr(declared, key) is not None:
            assert found[key] == getattr(declared, key)
    if item.get("dhcp"):
        told = found["dhcp"] or {"ranges": [], "reservations": [], "tftp_root": None, "boot": None}
        assert [(row["start"], row["end"]) for row in told["ranges"]] == sorted(
            ((row["start"], row["end"]) for row in item["dhcp"]["ranges"]), key=lambda pair: (":" in pair[0], len(pair[0]), pair)
        )
        assert {tuple(row[key] for key in ("name", "mac", "duid", "address")) for row in told["reservations"]} == {
            tuple(row[key] for key in ("name", "mac", "duid", "address")) for row in item["dhcp"]["reservations"]
        }
        assert told["tftp_root"] == (item["dhcp"]["tftp_root"] or None) and told["boot"] == (item["dhcp"]["boot"] or None)
    for key, value in (item.get("dns") or {}).items():
        if value is None or key == "enabled":
            continue
        if isinstance(value, list) and key != "forwarders":
            assert len(found["dns"][key]) == len(value), key
        else:
            assert found["dns"][key] == value, key


@settings(max_examples=30, deadline=None)
@given(items())
def test_what_is_told_of_it_is_the_same_network(item):
    tree = definition.edit(network(item))
    told, differs, lacks = describe.describe(tree, "active", True, True)
    assert differs == []
    if told["model"] == "isolated" and definition.parse(tree)["dhcp"] is None:
        return  # its address is not told
    assert lacks == []
    assert definition.parse(definition.edit(network(told))) == definition.parse(tree)


@settings(max_examples=30, deadline=None)
@given(items(), items())
def test_two_networks_differ_if_and_only_if_there_is_something_to_do(one, other):
    old, new = definition.edit(network(one)), definition.edit(network(other))
    live_old, live_new = definition.parse(old), definition.parse(new)
    updates, restart = live.live_updates(live_old, live_new)
    same = all(live_old[key] == live_new[key] for key in live_new if key not in live.MARK_FIELDS)
    assert same == (not updates and not restart)
    # And what is changed at run time comes to what was wanted: no row is both added and there, none deleted twice.
    assert len(set(updates)) == len(updates)


@settings(max_examples=30, deadline=None)
@given(items(), items())
def test_what_is_not_declared_stays(one, other):
    """A network changed into another and told nothing of a property keeps it."""
    old = definition.edit(network(one))
    keys = ("name", "model", "bridge", "bridge_owner", "attach", "uplink", "firewall")
    bare = {key: other[key] for key in keys if key in other}
    before, after = definition.parse(old), definition.parse(definition.edit(network(bare), old))
    kept = ["title", "description", "vlan", "portgroups", "virtualport"]
    if after["forward"] != "bridge":  # what libvirt serves on bridges of its own it refuses on others
        kept += ["routes", "dns", "dnsmasq_options", "bandwidth", "dhcp", "addresses"]
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
