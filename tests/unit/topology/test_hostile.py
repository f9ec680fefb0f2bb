# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names come from guests, and from people on other hosts: nothing in them may become more than text."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from ansible_collections.virtnet.kvm.plugins.filter import topology as filters
from ansible_collections.virtnet.kvm.plugins.module_utils.topology import cards, look

NAMES = {
    "script": "<script>alert(1)</script>",
    "closing": "</title></svg></style></table><script>alert(1)</script>",
    "attribute": "\" onload=\"alert(1)\" x='y",
    "dot": '"]; evil [label="x"]; } digraph x { a -> b; //',
    "label": "></TD></TR></TABLE>>]; evil; x [label=<",
    "entity": "&amp;lt;&#60;b&#62; &nbsp; &undefined;",
    "cdata": "]]><!-- --><![CDATA[ <?xml version='1.0'?>",
    "lines": "one\ntwo\r\nthree\ttabs\x0bvertical",
    "control": "\x00\x01\x1b[31mred\x7f\x9b",
    "direction": "abc\u202egnp.exe\u2066\u200b",
    "surrogate": "half \ud800 of one",
    "blanks": "  \n ",
    "wide": "虚拟机 网络 テスト 가상",
    "emoji": "guest 🚀👩‍👩‍👧 é",
    "backslash": "a\\Nb\\lc\\",
    "template": "{{ 7 * 7 }} {% raw %}",
    "long": "x" * 5000,
    "many lines": "\n" * 5000,
}


class Page(HTMLParser):
    """Finds whatever a browser would run or load."""

    def __init__(self):
        super().__init__()
        self.tags, self.wrong, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("script", "iframe", "object", "embed", "link", "img", "form", "foreignobject", "base", "image", "use"):
            self.wrong.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in ("src", "srcset", "action", "data"):
                self.wrong.append((tag, name))
            if name in ("href", "xlink:href") and not (value or "").startswith("#"):
                self.wrong.append((tag, name, value))

    def handle_data(self, data):
        self.text.append(data)


def evil(lab, name):
    """Give everything that anybody can name that name."""
    state = lab.copy()
    for host in ("kvm1", "kvm2"):
        facts = state.looked[host]
        old = facts["guests"][0]["name"]
        facts["guests"][0]["name"] = name
        facts["guests"][0]["nics"][0]["addresses"] = [name, "10.80.0.235/24"]
        twice = copy.deepcopy(facts["guests"][0])
        twice["nics"] = twice["nics"] * 2
        loose = copy.deepcopy(facts["guests"][0])
        loose["nics"][0].update(network=name, mac=name, link=name, dev=name)
        facts["guests"] += [twice, loose]
        facts["forwards"][0]["name"] = name
        facts["bgp"]["sessions"][0].update(name=name, state=name)
        network = state.networks[host]["networks"][-1]
        network["bridge"] = name
        network["leases"] = [{"mac": name, "address": name, "hostname": name}]
        for cell in state.proof["cells"]:
            for key in ("from", "to"):
                cell[key] = cell[key].replace(f"{old}@{host}", f"{name}@{host}")
            if f"{name}@{host}" in cell["from"]:
                cell.update(ok=False, seen="unknown", why=name)
    state.looked["gateway1"] = {"unreachable": True, "msg": name}
    state.proof["notes"] = [name]
    return state


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name_is_text_and_nothing_else(lab, dot, name):
    quiet = evil(lab, "quiet").shown(title="quiet", told="quiet")
    loud = evil(lab, name).shown(title=name, told=name)
    drawn = {}
    for key, shown in (("quiet", quiet), ("loud", loud)):
        text = filters.topology_dot(shown)
        svg = filters.topology_svg(dot(text), shown)
        page = Page()
        page.feed(filters.topology_page(svg, shown))
        assert page.wrong == []
        svg.encode()
        # Nor may it become a template of Ansible's.
        assert not re.search(r"\{[{%#]", text + svg + filters.topology_page(svg, shown))
        root = ElementTree.fromstring(svg)
        drawn[key] = (
            # Which number a guest has is a matter of its name.
            sorted(re.sub(r"g\d+", "g", one.get("id")) for one in root.iter() if one.get("class") in ("node", "cluster")),
            text.count("->"),
            [tag for tag in page.tags if tag in ("table", "section", "tr", "td", "style", "svg")],
        )  # fmt: skip
    assert drawn["loud"] == drawn["quiet"]


def test_the_name_is_to_be_read(lab, dot):
    shown = evil(lab, NAMES["script"]).shown()
    page = Page()
    page.feed(filters.topology_page(filters.topology_svg(dot(filters.topology_dot(shown)), shown), shown))
    assert NAMES["script"] in page.text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a\nb\t c ", "a b c"), ("\x1b[31m", "\ufffd[31m"), ("a\u202eb", "a\ufffdb"), ("\ud800", "\ufffd"), (7, "7"),
        ("é虚", "é虚"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)  # fmt: skip
def test_clean(value, found):
    assert look.clean(value) == found


def test_short_keeps_the_end():
    assert look.short("a" * 30 + "-0815") == "a" * 17 + "…" + "aaa-0815"
    assert look.short("vm0") == "vm0"


def test_escape():
    assert look.escape("<a href='x' b=\"y\">&") == "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;"


def test_numbers_are_sorted_as_people_do():
    assert sorted(["kvm10", "kvm2", "kvm1"], key=look.natural) == ["kvm1", "kvm2", "kvm10"]
    order = ["10.0.0.9/24", "10.0.0.10/24", "fd00::1/64"]
    assert sorted([order[2], order[1], order[0]], key=look.address_key) == order


def test_a_label_is_never_empty():
    """Graphviz takes an empty <B></B> for an error."""
    assert ">-</FONT>" in cards.styled("\n")
