# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Colours, words and texts of the picture. Pure.

Names come from guests and from other people's hosts, and whoever chose them may mean harm: clean() takes out what is no text, and
everything that goes into DOT, SVG or HTML goes through escape().
"""

from __future__ import annotations

import re
import unicodedata

#: {model: (colour, colour of text on it, what it is called, what it means)}. Colours of Okabe and Ito, which people with any kind
#: of colour vision can tell apart; none of them is the green or the red of the proof.
MODELS = {
    "isolated": ("#AA4A8D", "#FFFFFF", "isolated", "guests of the network reach one another, and nobody else"),
    "routed": ("#0072B2", "#FFFFFF", "routed", "guests are known outside by their own addresses"),
    "nat": ("#E69F00", "#1F2933", "NAT", "guests go out under their host's address; in by port forwards only"),
    "bridged": ("#56B4E9", "#1F2933", "bridged", "guests are on the LAN itself"),
    "other": ("#616E7C", "#FFFFFF", "other", "none of the four models"),
}
INK, SOFT, LINE, PAPER, WALL, ROAD = "#1F2933", "#52606D", "#9AA5B1", "#FFFFFF", "#F4F7FA", "#3E4C59"
BGP = "#6A51A3"
#: {mark: (sign, colour, in words)}, from the worst to the best.
MARKS = {
    "bad": ("✗", "#C8102E", "not as declared"),
    "unknown": ("?", "#7B8794", "could not be judged"),
    "good": ("✓", "#1B7F4B", "as declared"),
}
NAME_MAX, TEXT_MAX = 26, 200

_NUMBERS = re.compile(r"(\d+)")
_NARROW, _BROAD = frozenset("iljtfrI.,:;'|!()[]{}/ -"), frozenset("mwMW@%")


def clean(value, limit=TEXT_MAX):
    """Return a value as one line of harmless text, C(limit) characters at most.

    Control characters, halves of surrogates and what turns the direction of writing around become U+FFFD.
    """
    found = []
    for sign in str(value)[: limit * 4]:
        if sign in "\t\n\r\x0b\x0c":
            found.append(" ")
        elif unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn") or sign in "\u2028\u2029":
            found.append("\ufffd")
        else:
            found.append(sign)
    text = " ".join("".join(found).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def short(value, limit=NAME_MAX):
    """Return a text that fits into a column; it keeps its end, where names are told apart."""
    text = clean(value)
    if len(text) <= limit:
        return text
    tail = limit // 3
    return text[: limit - tail - 1] + "…" + text[-tail:]


def escape(text):
    """Return a clean text as it stands in DOT's HTML-like labels, in SVG, and in HTML, attributes too.

    Braces go, too: what comes of it passes through templates of Ansible's.
    """
    found = clean(text, 4 * TEXT_MAX)
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;"), ("{", "&#123;")):
        found = found.replace(sign, entity)
    return found


def natural(text):
    """Sort by it: kvm2 before kvm10."""
    return [(0, int(one), "") if one.isdecimal() else (1, 0, one) for one in _NUMBERS.split(str(text)) if one]


def width(text, size):
    """Return about how many points a text takes, in the widest of the fonts that may be used."""
    ems = 0.0
    for sign in text:
        if unicodedata.east_asian_width(sign) in "WF":
            ems += 1.05
        elif unicodedata.combining(sign):
            continue
        elif sign in _NARROW:
            ems += 0.4
        elif sign in _BROAD:
            ems += 1.0
        else:
            ems += 0.7 if sign.isupper() else 0.62
    return ems * size


def count(number, one, many=None):
    """Return '1 guest', '2 guests'."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def address_key(text):
    """Sort addresses: IPv4 before IPv6."""
    return (":" in text, natural(text))
