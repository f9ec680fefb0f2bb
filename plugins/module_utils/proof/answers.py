# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a probe answers, checked: a guest may say anything. Pure.

Each function returns plain values of the documented types and no others, or raises Nonsense.
"""

from __future__ import annotations

import ipaddress
import json
import re

#: Bytes of one answer; 65536 arrivals would be more, but a proof has thousands of cells at most.
ANSWER_MAX = 4 << 20
TEXT_MAX = 200
ADDRESSES_MAX = 32
PROTOCOLS = ("icmp", "tcp", "udp")
FAMILIES = ("ipv4", "ipv6")
LINK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,14}")


class Nonsense(ValueError):
    """The answer is not one of the probe's."""


def _object(value):
    if not isinstance(value, dict):
        raise Nonsense("no object")
    return value


def _rows(value):
    if not isinstance(value, list):
        raise Nonsense("no list")
    return [_object(one) for one in value]


def _number(value, last):
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= last:
        raise Nonsense("no number")
    return value


def _text(value):
    """Return a short text without control characters: it is printed on somebody's terminal."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise Nonsense("no text")
    return "".join(char if char.isprintable() else "?" for char in value[:TEXT_MAX])


def _address(value):
    if value is None:
        return None
    # A zone may follow an IPv6 address, and be any text.
    if not isinstance(value, str) or "%" in value:
        raise Nonsense("no address")
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise Nonsense("no address") from error


def links(found):
    """Return those of a guest's links, as guests.agent gives them, whose names and addresses are plain."""
    return [
        {**one, "addresses": [text for text in one["addresses"] if "%" not in text]}
        for one in found if LINK.fullmatch(one["name"])
    ]


def last_line(data):
    """Return the last line of what a program in a guest wrote, fit to be shown."""
    lines = data[-4096:].decode("utf-8", "backslashreplace").strip().splitlines()
    return _text(lines[-1]) if lines else "no message"


def parse(text):
    """Return the object in an answer's bytes."""
    if len(text) > ANSWER_MAX:
        raise Nonsense("too long")
    try:
        return _object(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise Nonsense("no JSON") from error


def ready(answer):
    """Return {port, families, problems} of a probe that has begun to listen."""
    families, problems = answer.get("families"), answer.get("problems")
    if not isinstance(families, list) or not isinstance(problems, list):
        raise Nonsense("no list")
    port = answer.get("port")
    return {
        "port": None if port is None else _number(port, 65535),
        "families": [one for one in FAMILIES if one in families],
        "problems": [_text(one) for one in problems[:8]],
    }


def _send(one):
    milliseconds = one.get("replied_ms")
    if milliseconds is not None and (isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float))):
        raise Nonsense("no number")
    found = one.get("answers")
    if found is not None and not isinstance(found, list):
        raise Nonsense("no list")
    return {
        "token": _number(one.get("token"), 0xFFFFFFFF),
        "sent": _number(one.get("sent"), 1000),
        "error": _text(one.get("error")),
        "replied_ms": milliseconds if milliseconds is None or 0 <= milliseconds < 1e6 else None,
        "reply_from": _address(one.get("reply_from")),
        "refused": _text(one.get("refused")),
        "rcode": None if one.get("rcode") is None else _number(one["rcode"], 15),
        "answers": None if found is None else [_address(each) for each in found[:ADDRESSES_MAX]],
    }


def result(answer, first, last):
    """Return {arrivals, sends}: of the tokens C(first) to C(last) alone, each once."""
    arrivals, sends = {}, {}
    for one in _rows(answer.get("arrivals")):
        protocol, token = one.get("protocol"), _number(one.get("token"), 0xFFFFFFFF)
        if protocol not in PROTOCOLS:
            raise Nonsense("no protocol")
        if first <= token <= last:
            arrivals[(protocol, token)] = {
                "protocol": protocol, "token": token, "source": _address(one.get("source")),
                "dev": _text(one.get("dev")), "count": _number(one.get("count"), 1 << 32),
            }
    for one in _rows(answer.get("sends")):
        row = _send(one)
        if first <= row["token"] <= last:
            sends[row["token"]] = row
    return {"arrivals": list(arrivals.values()), "sends": list(sends.values())}
