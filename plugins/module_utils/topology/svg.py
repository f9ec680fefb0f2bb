# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Graphviz's SVG made into ours: with title and legend, and with texts that show when the mouse rests on something. Pure.

Graphviz writes its version, the names of nodes as titles, and a document type that names a file of the W3C's; all of that goes.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ansible_collections.virtnet.kvm.plugins.module_utils.topology import look, tips

_SVG = "http://www.w3.org/2000/svg"
_TITLE, _GROUP = f"{{{_SVG}}}title", f"{{{_SVG}}}g"
FONTS = "Arial, 'Liberation Sans', Helvetica, 'Nimbus Sans', 'Noto Sans', 'DejaVu Sans', 'Noto Sans CJK SC', sans-serif"
HEADER, ROW, MARGIN, LEAST = 76, 24, 18, 760


class NotDrawn(ValueError):
    """What should be Graphviz's SVG is none."""


def _root(text):
    # The document type names entities of nobody's, and expat would not fetch it; it just has no place in the result.
    try:
        root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", text, count=1))  # noqa: S314 - dot's own output
    except ElementTree.ParseError as error:
        raise NotDrawn(f"this is no SVG of Graphviz's: {error}") from error
    if root.tag != f"{{{_SVG}}}svg" or "viewBox" not in root.attrib:
        raise NotDrawn("this is no SVG of Graphviz's")
    return root


def _number(value):
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _element(parent, tag, text=None, **attributes):
    words = {key.replace("_", "-"): str(one) for key, one in attributes.items()}
    node = ElementTree.SubElement(parent, f"{{{_SVG}}}{tag}", words)
    if text is not None:
        node.text = look.clean(text)
    return node


def _say(parent, x, y, text, size=11, colour=look.INK, **attributes):
    return _element(parent, "text", text, x=_number(x), y=_number(y), font_size=size, fill=colour, **attributes)


def _with_tips(drawn, shown):
    """Give everything that Graphviz drew its text, in place of the names of nodes."""
    known = tips.of(shown)
    halo = {"paint-order": "stroke", "stroke": look.WALL, "stroke-width": "5", "stroke-linejoin": "round"}
    headings = ElementTree.Element(_GROUP, halo)
    parents = {child: parent for parent in drawn.iter() for child in parent}
    for node in list(drawn.iter(_TITLE)):
        group = parents[node]
        lines = known.get(group.get("id", ""))
        if lines:
            node.text = "\n".join(look.clean(line) for line in lines)
        else:
            group.remove(node)
    for node in list(drawn.iter()):
        if node.get("class") == "node":
            # Else thin lines show between the cells of a card.
            for cell in node.iter(f"{{{_SVG}}}polygon"):
                cell.set("shape-rendering", "crispEdges")
        if node.get("class") in ("cluster", "edge"):
            for word in list(node.findall(f"{{{_SVG}}}text")):
                node.remove(word)
                headings.append(word)
        if node.tag == f"{{{_SVG}}}text":
            node.attrib.pop("font-family", None)
        if node.tag == _GROUP and node.get("class") == "edge":
            node.attrib.pop("id", None)
    # Over the lines that may cross them.
    drawn.append(headings)


def legend(parent, y, proven):
    """Draw what the colours and lines mean, in one row."""
    x = MARGIN
    for colour, ink, word, _means in list(look.MODELS.values())[:4]:
        wide = look.width(word, 10) + 14
        _element(parent, "rect", x=_number(x), y=y - 12, width=_number(wide), height=17, fill=colour)
        _say(parent, x + wide / 2, y, word, 10, ink, text_anchor="middle", font_weight="bold")
        x += wide + 8
    x += 12
    for words, dash, colour, extra in (
        ("may open conversations", None, look.ROAD, "arrow"), ("same LAN (layer 2)", None, look.ROAD, "thick"),
        ("BGP", "2 3", look.BGP, ""), ("VXLAN", None, look.MODELS["isolated"][0], "double"),
    ):
        where = {"x1": _number(x), "x2": _number(x + 26), "stroke": colour}
        dashes = {"stroke_dasharray": dash} if dash else {}
        if extra == "double":
            for shift in (-5.5, -2.5):
                _element(parent, "line", y1=_number(y + shift), y2=_number(y + shift), stroke_width=1.2, **where)
        else:
            _element(parent, "line", y1=y - 4, y2=y - 4, stroke_width={"thick": 4}.get(extra, 1.8), **where, **dashes)
        if extra == "arrow":
            _element(parent, "path", d=f"M{_number(x + 26)} {y - 8} l7 4 l-7 4 z", fill=colour)
            x += 6
        x += 32
        _say(parent, x, y, words, 10, look.SOFT)
        x += look.width(words, 10) * 0.86 + 16
    if proven:
        x = MARGIN
        y += ROW
        _say(parent, x, y, "Last proof:", 10, look.SOFT)
        x += 66
        for mark, (sign, colour, words) in look.MARKS.items():
            line = {"x1": _number(x), "x2": _number(x + 26), "y1": y - 4, "y2": y - 4, "stroke": colour, "stroke_width": 2}
            _element(parent, "line", **line, **({"stroke_dasharray": "5 3"} if mark == "unknown" else {}))
            _say(parent, x + 32, y, sign, 11, colour, font_weight="bold")
            _say(parent, x + 44, y, words, 10, look.SOFT)
            x += 62 + look.width(words, 10) * 0.86
        _say(parent, x, y, "line without a sign: not in the proof", 10, look.SOFT)


def render(text, shown):
    """Return the picture as SVG, a whole document.

    :param text: what C(dot -Tsvg) made of the picture's DOT.
    :param shown: of machines.picture().
    """
    ElementTree.register_namespace("", _SVG)
    source = _root(text)
    drawn = source.find(_GROUP)
    if drawn is None:
        raise NotDrawn("this is no SVG of Graphviz's")
    _with_tips(drawn, shown)
    _x, _y, wide, high = (float(one) for one in source.get("viewBox").split())
    proven = shown["proof"] is not None
    whole = max(wide, LEAST) + 2 * MARGIN
    top = HEADER + (2 if proven else 1) * ROW
    tall = high + top
    size = {"width": _number(whole), "height": _number(tall), "viewBox": f"0 0 {_number(whole)} {_number(tall)}"}
    root = ElementTree.Element(f"{{{_SVG}}}svg", {**size, "role": "img", "font-family": FONTS})
    _element(root, "title", shown["title"])
    _element(root, "desc", tips.summary(shown))
    _element(root, "rect", width=_number(whole), height=_number(tall), fill=look.PAPER)
    _say(root, MARGIN, 30, look.short(shown["title"], 48), 19, font_weight="bold")
    _say(root, MARGIN, 50, tips.summary(shown), 11, look.SOFT)
    verdict(root, whole, shown)
    place = _element(root, "g", transform=f"translate({_number((whole - wide) / 2)} {top})")
    # Graphviz puts the origin at the picture's lower left.
    place.append(drawn)
    legend(root, HEADER + 6, proven)
    ElementTree.indent(root, " ")
    # No brace of anybody's may reach a template of Ansible's; of our own there is none.
    return ElementTree.tostring(root, encoding="unicode").replace("{", "&#123;") + "\n"


def verdict(root, whole, shown):
    """Write what the proof came to into the upper right corner."""
    proof = shown["proof"]
    if proof is None:
        _say(root, whole - MARGIN, 30, shown["told"] or "no proof was given", 11, look.SOFT, text_anchor="end")
        return
    if not proof["total"]:
        words, colour = "the proof has no cells", look.SOFT
    else:
        sign, colour, _words = look.MARKS[proof["mark"]]
        words = f"{sign} {proof['good']} of {proof['total']} cells as declared"
    _say(root, whole - MARGIN, 30, words, 13, colour, text_anchor="end", font_weight="bold")
    if shown["told"]:
        _say(root, whole - MARGIN, 50, shown["told"], 11, look.SOFT, text_anchor="end")
