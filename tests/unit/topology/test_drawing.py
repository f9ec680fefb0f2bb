# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ansible_collections.virtnet.kvm.plugins.filter import topology as filters
from ansible_collections.virtnet.kvm.plugins.module_utils.topology import cards
from ansible_collections.virtnet.kvm.plugins.module_utils.topology import dot as drawing

SVG = "{http://www.w3.org/2000/svg}"


def nodes(text):
    return re.findall(r"^ +(\w+) \[id=", text, re.M)


def guest_named(state, host, template, number):
    guest = copy.deepcopy(next(one for one in state.guests(host) if one["name"] == template))
    guest["name"] = f"{template[:-1]}x{number}"
    state.guests(host).append(guest)
    return guest


def boxes(svg):
    """Return {ID: (left, top, right, bottom)} of the cards and clusters that Graphviz drew."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") not in ("node", "cluster"):
            continue
        points = [pair.split(",") for one in group.iter(f"{SVG}polygon") for pair in one.get("points").split()]
        numbers = [re.findall(r"-?[\d.]+", one.get("d")) for one in group.iter(f"{SVG}path")]
        points += [pair for row in numbers for pair in zip(row[::2], row[1::2])]
        xs, ys = [float(one[0]) for one in points], [float(one[1]) for one in points]
        found[group.get("id")] = (min(xs), min(ys), max(xs), max(ys))
    return found


def test_everything_is_drawn(lab):
    text = filters.topology_dot(lab.shown())
    for name in ("fleet-campus", "fleet-backend", "office0", "10.80.2.2", "LAN", "BGP AS 64512", "VXLAN 4711", "outside1", "br0"):
        assert f">{name}<" in text, name
    assert ":8080/tcp → 10.80.2.2:80" in text


def test_an_isolated_network_hangs_on_nothing(lab):
    text = filters.topology_dot(lab.shown())
    isolated = next(line for line in text.splitlines() if "h0u0 -> h0n0 " in line or "h2u0 -> h2n0 " in line)
    assert 'style="invis"' in isolated


def test_arrows_lead_where_conversations_may_be_opened(lab):
    lab.proof = None
    shown = lab.shown()
    host = next(one for one in shown["machines"] if one["name"] == "kvm2")
    uplink = host["uplinks"][0]["id"]
    lines = filters.topology_dot(shown).splitlines()
    ways = {}
    for network in host["networks"]:
        line = next(one for one in lines if f"  {uplink} -> {network['id']} " in one)
        ways[network["model"]] = re.search(r'dir="(\w+)"', line)
    assert {model: way and way[1] for model, way in ways.items()} == {
        "isolated": None, "bridged": "none", "nat": "back", "routed": "both",
    }  # fmt: skip


def test_on_the_left_of_the_lan_it_is_the_other_way_round(many):
    shown = many(6).shown()
    host = shown["machines"][-1]
    nat = next(one for one in host["networks"] if one["model"] == "nat")
    line = next(one for one in filters.topology_dot(shown).splitlines() if f"  {nat['id']} -> {host['uplinks'][0]['id']} " in one)
    assert 'dir="forward"' in line and f'headport="{nat["id"]}"' in line


def test_of_many_guests_the_picture_has_some_and_those_with_something_wrong(lab, dot):
    for number in range(40):
        guest_named(lab, "kvm1", "office0", number)
    lab.proof["cells"].append({
        "from": "officex33@kvm1", "to": "kvm2", "family": "ipv4", "protocol": "tcp", "expected": "yes", "seen": "no", "ok": False,
        "forward": None, "networks": ["fleet-office@kvm1"], "why": "nothing arrived",
    })  # fmt: skip
    text = filters.topology_dot(lab.shown())
    names = re.findall(r">(office\w+)<", text)
    assert "officex33" in names
    assert len([one for one in names if one.startswith("officex")]) == cards.GUESTS_SHOWN - 2
    assert "+ 30 more guests" in text
    assert "officex33" in dot(text)


def test_many_guests_with_several_nics(lab, dot):
    for number in range(30):
        guest = guest_named(lab, "kvm1", "office0", number)
        guest["nics"] += [copy.deepcopy(one["nics"][0]) for one in lab.guests("kvm1")[:2]]
    text = filters.topology_dot(lab.shown())
    assert f"+ {30 - cards.GUESTS_SHOWN} more guests with several NICs" in text
    dot(text)


def test_a_guest_on_two_networks_hangs_on_both(lab, dot):
    guest = guest_named(lab, "kvm1", "office0", 1)
    guest["nics"] += copy.deepcopy(next(one for one in lab.guests("kvm1") if one["name"] == "services0")["nics"])
    shown = lab.shown()
    host = next(one for one in shown["machines"] if one["name"] == "kvm1")
    name = next(one["id"] for one in host["guests"] if one["name"] == "officex1")
    lines = [line for line in filters.topology_dot(shown).splitlines() if f"-> {name} " in line]
    assert [re.search(r'headport="(\w+)"', line)[1] for line in lines] == ["p0", "p1"]
    dot(filters.topology_dot(shown))


def test_thousands_of_forwards(lab, dot):
    row = lab.looked["kvm1"]["forwards"][0]
    lab.looked["kvm1"]["forwards"] = [{**row, "name": f"f{number}", "ports": str(1000 + number)} for number in range(1000)]
    lab.looked["kvm1"]["forwards_total"] = 10000
    text = filters.topology_dot(lab.shown())
    assert "+997 more forwards" in text and "9000 more forwards" in text
    assert len(text) < 30000
    dot(text)


def test_a_difference_is_an_arrow_and_many_are_not(lab, dot):
    for cell in lab.proof["cells"]:
        if (cell["from"], cell["to"]) == ("office0@kvm1", "backend0@kvm2"):
            cell.update(ok=False, seen="yes")
    text = filters.topology_dot(lab.shown())
    assert text.count("gets through, and must not") == 1
    dot(text)
    for cell in lab.proof["cells"]:
        cell.update(ok=False, seen="yes" if cell["expected"] == "no" else "no")
    assert "gets through" not in filters.topology_dot(lab.shown())


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_nothing_lies_upon_anything_else(many, dot, count):
    state = many(count)
    shown = state.shown()
    found = boxes(dot(filters.topology_dot(shown)))
    cluster = {f"h{number}" for number, one in enumerate(shown["machines"]) if one["kind"] == "kvm"}
    assert len(cluster) == count
    cards_of = {name: box for name, box in found.items() if name not in cluster}
    assert len(cards_of) >= count * 7
    for rows in (cards_of, {name: found[name] for name in cluster}):
        names = sorted(rows)
        for place, one in enumerate(names):
            for other in names[place + 1 :]:
                (left, top, right, bottom), (its_left, its_top, its_right, its_bottom) = rows[one], rows[other]
                apart = right <= its_left or its_right <= left or bottom <= its_top or its_bottom <= top
                assert apart, (one, other)


@pytest.mark.parametrize(("count", "lost"), [(2, None), (3, "kvm2"), (8, None), (20, "kvm7")])
def test_hosts_stand_in_the_inventorys_order(many, dot, count, lost):
    state = many(count)
    if lost:
        state.looked[lost] = {"unreachable": True, "msg": "timed out"}
    shown = state.shown()
    found = boxes(dot(filters.topology_dot(shown)))
    hosts = [one["id"] for one in shown["machines"] if one["kind"] == "kvm"]
    half = (count + 1) // 2 if count >= drawing.BOTH_SIDES else count
    for side in (hosts[:half], hosts[half:]):
        tops = [found[one][1] for one in side]
        assert tops == sorted(tops)
    if count >= drawing.BOTH_SIDES:
        assert max(found[one][2] for one in hosts[half:]) < found["s0"][0] < min(found[one][0] for one in hosts[:half])


def test_twenty_hosts_take_seconds_and_make_a_picture_of_a_screens_width(many, dot):
    began = time.monotonic()
    shown = many(20).shown()
    svg = filters.topology_svg(dot(filters.topology_dot(shown)), shown)
    assert time.monotonic() - began < 60
    wide, tall = (float(one) for one in ElementTree.fromstring(svg).get("viewBox").split()[2:])
    assert wide < 2200 and tall < 6000


def test_the_same_state_gives_the_same_bytes(lab, many, dot):
    for state in (lab, many(6)):
        first, second = state.copy().shown(), state.copy().shown()
        text = filters.topology_dot(first)
        assert text == filters.topology_dot(second)
        assert filters.topology_svg(dot(text), first) == filters.topology_svg(dot(text), second)


def test_no_order_comes_from_hashes():
    """Python shuffles its sets anew in each process."""
    code = (
        "import json, sys; from ansible_collections.virtnet.kvm.plugins.filter import topology as one;"
        "state = json.load(open(sys.argv[1])); drawn = open(sys.argv[2]).read();"
        "shown = one.topology(state['looked'], state['networks'], state['hosts'], state['kvm_hosts'], state['proof']);"
        "svg = one.topology_svg(drawn, shown); sys.stdout.write(one.topology_dot(shown) + svg + one.topology_page(svg, shown))"
    )
    data = Path(__file__).parent / "data"
    digests = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"}
        command = [sys.executable, "-c", code, str(data / "lab.json"), str(data / "lab.svg")]
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        digests.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(digests) == 1


def test_the_order_in_which_hosts_answered_does_not_matter(lab):
    text = filters.topology_dot(lab.shown())
    lab.looked = dict(reversed(lab.looked.items()))
    lab.networks = dict(reversed(lab.networks.items()))
    assert filters.topology_dot(lab.shown()) == text


def test_hosts_that_were_not_reached(lab, dot):
    lab.looked["kvm1"] = {"unreachable": True, "msg": "No route to host"}
    del lab.looked["outside1"]
    text = filters.topology_dot(lab.shown())
    assert ">not reached<" in text and "No route to host" in text and ">not asked<" in text
    dot(text)


def test_an_empty_inventory(dot):
    shown = filters.topology({}, {}, [])
    assert "KVM hosts" in filters.topology_page(filters.topology_svg(dot(filters.topology_dot(shown)), shown), shown)
