# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SVG and the page, of a drawing that Graphviz made of the recorded lab; and what the filters do with odd arguments."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.filter import topology as filters
from ansible_collections.virtnet.kvm.plugins.module_utils.topology import look
from ansible_tags import Tagged, tagged

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def drawn(lab, recorded):
    shown = lab.shown(title="Lab", told="proof of today")
    return filters.topology_svg(recorded, shown), shown


def contrast(one, other):
    """Return the contrast of two colours, as WCAG 2 counts it."""

    def light(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_nothing_is_loaded_from_elsewhere(drawn):
    svg, shown = drawn
    page = filters.topology_page(svg, shown)
    for text in (svg, page):
        assert set(re.findall(r"https?://[^\s\"'<>]+", text)) == {"http://www.w3.org/2000/svg"}
        assert "<script" not in text and "DOCTYPE svg" not in text and "graphviz" not in text.lower()
    assert "default-src 'none'" in page


def test_title_verdict_and_legend(drawn):
    texts = [one.text for one in ElementTree.fromstring(drawn[0]).iter(f"{SVG}text")]
    total = drawn[1]["proof"]["total"]
    wanted = ["Lab", "2 KVM hosts, 7 networks, 7 guests", f"✓ {total} of {total} cells as declared", "proof of today"]
    for text in [*wanted, "isolated", "routed", "NAT", "bridged", "not as declared", "could not be judged"]:
        assert text in texts, text


def test_without_a_proof_it_says_so(lab, recorded):
    lab.proof = None
    shown = lab.shown()
    texts = [one.text for one in ElementTree.fromstring(filters.topology_svg(recorded, shown)).iter(f"{SVG}text")]
    assert "no proof was given" in texts and "Last proof:" not in texts
    assert "not in the proof" not in filters.topology_page("<svg/>", shown)


def test_what_a_thing_is_shows_when_the_mouse_rests_on_it(drawn):
    root = ElementTree.fromstring(drawn[0])
    groups = [one for one in root.iter(f"{SVG}g") if one.get("class") in ("node", "cluster")]
    tips = {one.get("id"): one.findtext(f"{SVG}title") for one in groups}
    host = next(one for one in drawn[1]["machines"] if one["name"] == "kvm1")
    office = next(one for one in host["networks"] if one["name"] == "fleet-office")
    assert tips[host["id"]].startswith("KVM host kvm1\neth0: 10.77.0.11/24")
    assert "forward web: :8080/tcp → 10.80.2.2:80" in tips[office["id"]]
    assert all(tips.values())


def test_the_picture_holds_the_drawing(drawn, recorded):
    inner = [float(one) for one in ElementTree.fromstring(recorded).get("viewBox").split()]
    outer = [float(one) for one in ElementTree.fromstring(drawn[0]).get("viewBox").split()]
    assert outer[2] >= inner[2] and outer[3] > inner[3]


def test_the_page_has_all_in_tables(drawn):
    page = filters.topology_page(*drawn)
    for text in ("<h2>Machines</h2>", "<h2>Networks</h2>", "<h2>Guests</h2>", "<h2>Port forwards</h2>", "52:54:00:78:46:d4",
                 "AS 64512, 6 of 6 sessions up", "VXLAN 4711", "10.80.1.176/24"):  # fmt: skip
        assert text in page, text
    assert "Not as declared" not in page


def test_the_page_tells_what_is_wrong(lab, recorded):
    cell = lab.proof["cells"][0]
    cell.update(ok=False, seen="unknown", why="the agent is silent")
    shown = lab.shown()
    page = filters.topology_page(filters.topology_svg(recorded, shown), shown)
    assert "<h2>Not as declared</h2>" in page and "the agent is silent" in page and "? could not be judged" in page


@pytest.mark.parametrize("model", look.MODELS)
def test_words_on_colours_can_be_read(model):
    colour, ink, _word, _means = look.MODELS[model]
    assert contrast(colour, ink) >= 4


def test_marks_and_words_on_paper_can_be_read():
    for _sign, colour, _words in (look.MARKS["bad"], look.MARKS["good"]):
        assert contrast(colour, look.PAPER) >= 4.5
    assert contrast(look.SOFT, look.WALL) >= 4.5


@pytest.mark.parametrize("text", ["", "Error: syntax error in line 1", "<html/>", "<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_drawing_is_refused(lab, text):
    with pytest.raises(AnsibleFilterError, match="topology_svg: what dot gave"):
        filters.topology_svg(text, lab.shown())


@pytest.mark.parametrize("proof", ["{", "[]", '{"ok": true}', {"cells": 3}])
def test_what_is_no_proof_is_refused_with_the_cure(lab, proof):
    with pytest.raises(AnsibleFilterError, match="topology_proof is no proof .* Give the file"):
        lab.shown(proof=proof)


@pytest.mark.parametrize("proof", ["", None, {}])
def test_no_proof_is_none(lab, proof):
    assert lab.shown(proof=proof)["proof"] is None


def test_what_lacks_something_is_refused(lab):
    del lab.looked["kvm1"]["memory_mb"]
    with pytest.raises(AnsibleFilterError, match=r"virtnet.kvm.topology: what was found lacks or spoils 'memory_mb'"):
        lab.shown()
    with pytest.raises(AnsibleFilterError, match="topology_dot: this is no picture"):
        filters.topology_dot({})


def test_ansibles_own_types(lab, recorded):
    given = [tagged(one) for one in (lab.looked, lab.networks, lab.hosts, lab.kvm_hosts)]
    shown = filters.topology(*given, json.dumps(lab.proof))
    assert shown == lab.shown()
    svg = filters.topology_svg(Tagged(recorded), tagged(shown))
    assert {type(svg)} == {str}
    assert filters.topology_page(Tagged(svg), tagged(shown)) == filters.topology_page(svg, shown)
