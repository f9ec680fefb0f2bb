# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draws the pictures of the documentation, the SVG files beside this one: python3 docs/pictures/draw.py [FOLDER]

The four models have their four colours in every picture. A test holds that the files are what this draws.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.sax.saxutils import escape

#: The same as in the picture of a real fleet, plugins/module_utils/topology/look.py.
COLOURS = {"isolated": "#aa4a8d", "routed": "#0072b2", "nat": "#e69f00", "bridged": "#56b4e9"}
#: What words have instead of those that are too pale for them on white.
DARK = {"#e69f00": "#8a5c00", "#56b4e9": "#1b6a9c"}
TITLES = {"isolated": "isolated", "routed": "routed", "nat": "NAT", "bridged": "bridged"}
INK, SOFT, PAPER, HOST, BAD = "#24292f", "#57606a", "#ffffff", "#f3f5f7", "#b3261e"
# The identifier is not this file's own, of which checks of licences want one.
LICENCE = f"""<!--
Copyright (c) 2026, the virtnet.kvm authors
GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-{"License"}-Identifier: GPL-3.0-or-later
Drawn by docs/pictures/draw.py.
-->"""


class Picture:
    def __init__(self, width, height, title):
        self.size, self.title, self.parts = (width, height), title, []

    def rect(self, x, y, width, height, fill=PAPER, stroke=INK, radius=6, thick=1.5):
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{fill}" stroke="{stroke}"'
            f' stroke-width="{thick}"/>'
        )

    def text(self, x, y, text, size=14, colour=INK, anchor="middle", bold=False, mono=False):
        colour = DARK.get(colour, colour)
        more = (' font-weight="bold"' if bold else "") + (' font-family="DejaVu Sans Mono, Menlo, monospace"' if mono else "")
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
        )

    def line(self, *points, colour=INK, thick=2, dashed=False, arrow=False):
        more = (' stroke-dasharray="5 5"' if dashed else "") + (f' marker-end="url(#{_marker(colour)})"' if arrow else "")
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{thick}"{more}/>')

    def box(self, x, y, width, height, *lines, fill=PAPER, stroke=INK, size=14):
        """A box with lines of text in its middle, the first of them bold."""
        self.rect(x, y, width, height, fill, stroke)
        first = y + height / 2 - (len(lines) - 1) * (size + 3) / 2 + size * 0.35
        for number, line in enumerate(lines):
            small = size - 2 if number else size
            self.text(x + width / 2, first + number * (size + 3), line, small, bold=not number, mono=number > 0)

    def cross(self, x, y):
        self.parts.append(f'<circle cx="{x}" cy="{y}" r="11" fill="{PAPER}" stroke="{BAD}" stroke-width="2"/>')
        for low, high in ((-5, 5), (5, -5)):
            self.line((x + low, y - 5), (x + high, y + 5), colour=BAD, thick=2.5)

    def svg(self):
        width, height = self.size
        markers = "".join(
            f'<marker id="{_marker(colour)}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
            f' orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" fill="{colour}"/></marker>\n'
            for colour in sorted({INK, SOFT, *COLOURS.values()})
        )
        return (
            f'<?xml version="1.0" encoding="UTF-8"?>\n{LICENCE}\n'
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img"'
            f' font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">\n<title>{escape(self.title)}</title>\n'
            f'<defs>\n{markers}</defs>\n<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>\n'
            + "\n".join(self.parts) + "\n</svg>\n"
        )


def _marker(colour):
    return "arrow" + colour.removeprefix("#")


def _host(picture, model, title, bridge, guests):
    """The KVM host with its guests on the network, which all pictures have; y of the bridge's lower edge is 214."""
    colour = COLOURS[model]
    picture.rect(20, 44, 470, 316, HOST, SOFT, 10)
    picture.text(34, 34, title, 17, colour, "start", bold=True)
    picture.text(478, 62, "KVM host", 13, SOFT, "end")
    for number, (name, address) in enumerate(guests):
        left = 60 + number * 170
        picture.box(left, 64, 140, 50, name, address, stroke=colour)
        picture.line((left + 70, 114), (left + 70, 184), colour=colour)
        picture.text(left + 78, 154, "tap", 12, SOFT, "start")
    picture.rect(40, 184, 350, 30, colour, colour)
    picture.text(215, 204, bridge, 14, PAPER, bold=True)


def _lan(picture, outside="10.77.0.2", gateway="10.77.0.1"):
    picture.line((590, 70), (590, 330), thick=4, colour=SOFT)
    picture.text(590, 58, "LAN", 13, SOFT)
    for y, lines in ((90, ("gateway", gateway)), (250, ("outside", outside))):
        picture.line((590, y + 25), (630, y + 25))
        picture.box(630, y, 130, 50, *lines)


def isolated():
    picture = Picture(790, 380, "Isolated: two guests on a bridge that leads nowhere, neither to the host nor to the LAN")
    _host(picture, "isolated", "isolated", "isonet: bridge br1, guests only",
          (("VM0", "10.10.101.251"), ("VM1", "10.10.101.252")))
    _lan(picture)
    picture.box(60, 280, 150, 50, "the host itself", "10.10.101.11")
    picture.line((135, 214), (135, 280), colour=SOFT, dashed=True)
    picture.cross(135, 247)
    picture.text(154, 244, "dropped, though it is", 12, SOFT, "start")
    picture.text(154, 260, "in the guests' subnet", 12, SOFT, "start")
    picture.box(380, 280, 100, 50, "eth0", "10.77.0.11")
    picture.line((210, 305), (380, 305))
    picture.line((480, 305), (590, 305))
    picture.line((360, 214), (360, 247), (430, 247), (430, 280), colour=SOFT, dashed=True)
    picture.cross(395, 247)
    return picture


def routed():
    picture = Picture(790, 380, "Routed: the host forwards between the guests' subnet and the LAN and leaves addresses as they are")
    colour = COLOURS["routed"]
    _host(picture, "routed", "routed", "routenet: bridge br2, 10.10.110.100/24",
          (("VM0", "10.10.110.251"), ("VM1", "10.10.110.252")))
    _lan(picture)
    picture.box(60, 270, 170, 60, "the host routes", "ip_forward = 1")
    picture.line((145, 214), (145, 270), colour=colour)
    picture.box(380, 275, 100, 50, "eth0", "10.77.0.11")
    picture.line((230, 300), (380, 300), colour=colour)
    picture.line((480, 300), (590, 300), colour=colour)
    picture.text(305, 292, "source stays", 12, colour)
    picture.text(305, 316, "10.10.110.251", 12, colour, mono=True)
    picture.line((628, 318), (598, 340), (520, 340), (484, 324), colour=colour, dashed=True, arrow=True)
    picture.text(640, 326, "needs a route:", 12, colour, "start", bold=True)
    picture.text(640, 342, "10.10.110.0/24", 12, colour, "start", mono=True)
    picture.text(640, 358, "via 10.77.0.11", 12, colour, "start", mono=True)
    return picture


def nat():
    picture = Picture(790, 380, "NAT: guests go out under the host's address; from outside only port forwards lead to them")
    colour = COLOURS["nat"]
    _host(picture, "nat", "NAT", "natnet: bridge natbr0, 10.64.100.1/24",
          (("VM0", "10.64.100.2"), ("VM1", "10.64.100.3")))
    _lan(picture)
    picture.box(60, 262, 200, 76, "the host translates", "10.64.100.2 → 10.77.0.11", ":8080 → VM0:80")
    picture.line((120, 214), (120, 262), colour=colour)
    picture.line((190, 262), (190, 216), colour=colour, dashed=True, arrow=True)
    picture.text(200, 244, "port forward", 12, colour, "start")
    picture.box(380, 275, 100, 50, "eth0", "10.77.0.11")
    picture.line((260, 290), (380, 290), colour=colour)
    picture.line((480, 290), (590, 290), colour=colour, arrow=True)
    picture.line((590, 312), (484, 312), colour=colour, dashed=True, arrow=True)
    picture.line((380, 312), (262, 312), colour=colour, dashed=True, arrow=True)
    picture.text(320, 282, "as the host", 12, colour)
    picture.text(540, 328, "only :8080", 12, colour)
    picture.line((588, 199), (392, 199), colour=SOFT, dashed=True)
    picture.cross(540, 199)
    picture.text(540, 168, "even with", 12, SOFT)
    picture.text(540, 182, "a route", 12, SOFT)
    return picture


def bridged():
    picture = Picture(790, 380, "Bridged: the host's uplink is a port of the bridge; guests are on the LAN as the host is")
    colour = COLOURS["bridged"]
    _host(picture, "bridged", "bridged", "lannet: bridge br0, 10.77.0.11/24",
          (("VM0", "10.77.0.131"), ("VM1", "10.77.0.132")))
    _lan(picture)
    picture.box(60, 280, 150, 50, "the host itself", "10.77.0.11")
    picture.line((135, 214), (135, 280), colour=colour)
    picture.text(146, 252, "its address is the bridge's", 12, SOFT, "start")
    picture.box(426, 174, 54, 50, "eth0", stroke=colour)
    picture.line((390, 199), (426, 199), colour=colour)
    picture.line((480, 199), (590, 199), colour=colour)
    picture.text(453, 240, "a port,", 12, SOFT)
    picture.text(453, 256, "no IP", 12, SOFT)
    picture.text(695, 165, "DHCP and RA of the LAN", 12, SOFT)
    picture.text(695, 181, "serve the guests, too", 12, SOFT)
    return picture


def models():
    """The four side by side: what hangs on what, and who opens a conversation with whom."""
    picture = Picture(940, 300, "The four models side by side: isolated, routed, NAT, bridged")
    notes = {
        "isolated": ("guests reach each other,", "and nobody else"),
        "routed": ("in and out with their own", "addresses, by routes"),
        "nat": ("out as the host, in", "by port forwards only"),
        "bridged": ("on the host's LAN,", "like the host itself"),
    }
    for number, (model, colour) in enumerate(COLOURS.items()):
        left = 14 + number * 230
        picture.rect(left, 12, 222, 212, HOST, SOFT, 10, 1)
        picture.text(left + 111, 36, TITLES[model], 17, colour, bold=True)
        for name, x in (("VM0", left + 24), ("VM1", left + 128)):
            picture.box(x, 50, 70, 30, name, stroke=colour, size=13)
            picture.line((x + 35, 80), (x + 35, 104), colour=colour)
        wide = 190
        picture.rect(left + 16, 104, wide, 20, colour, colour, 4)
        middle = left + 111
        if model == "isolated":
            picture.line((middle, 124), (middle, 150), colour=SOFT, dashed=True)
            picture.cross(middle, 148)
        elif model == "bridged":
            picture.line((middle, 124), (middle, 186), colour=colour)
        else:
            says = "routes" if model == "routed" else "translates"
            picture.line((middle, 124), (middle, 186), colour=colour)
            picture.box(middle - 70, 138, 140, 28, f"host {says}", size=13, stroke=colour)
        picture.box(middle - 34, 186, 68, 28, "eth0", size=13)
        picture.line((middle, 214), (middle, 248), colour=INK)
        for row, line in enumerate(notes[model]):
            picture.text(middle, 270 + row * 17, line, 13, INK)
    picture.line((14, 248), (926, 248), thick=4, colour=SOFT)
    picture.text(922, 242, "LAN", 12, SOFT, "end")
    return picture


def pictures():
    """Return {file name: text}."""
    return {f"{one.__name__}.svg": one().svg() for one in (isolated, routed, nat, bridged, models)}


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, text in pictures().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
