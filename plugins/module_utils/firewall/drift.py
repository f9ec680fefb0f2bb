# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody changed by hand in our tables, in words: of networks and rules of translation, not of handles. Pure.

Both sides are tables as nft.canonical() gives them. Who an element is there for stands behind it in our text.
"""

from __future__ import annotations

import json
import re

_TABLE = re.compile(r"table (\w+ \w+) \{")
_OBJECT = re.compile(r"    (set|map|chain) (\w+) \{")
_ELEMENT = re.compile(r" {12}(\S.*?)(?: : [^:#]+?)?,(?:  # (.*))?")
#: How many are named of those that have the same fate.
_NAMED = 3
_RULES = "rules of chain "
_PROTOCOLS = {"6": "tcp", "17": "udp"}

_encode = json.JSONEncoder(sort_keys=True).encode


def differences(expected, found, text=""):
    """Return sentences: tables, sets, maps, chains, elements and rules that are gone, added, changed or in another order.

    :param text: that of nft which C(expected) was made of; it tells what is there for whom.
    """
    known = _Words(text)
    lines = []
    for table in sorted(set(expected) | set(found)):
        if table not in found:
            lines.append(f"table {table} is gone")
        elif table not in expected:
            lines.append(f"table {table} is there unasked")
        else:
            before, after = expected[table], found[table]
            for name in sorted(set(before) | set(after)):
                if before.get(name) != after.get(name):
                    lines += _of_object(known, table, name, before.get(name), after.get(name))
    return lines


def _of_object(known, table, name, before, after):
    if before is None:
        return [f"{name} of table {table}: there unasked"]
    what = known.about(table, name)
    if after is None:
        return [f"{what}: gone"]
    if isinstance(before, list):
        return of_rules(what, *(list(map(_encode, side)) for side in (before, after)))
    if not isinstance(before, dict):
        return [f"{what}: defined otherwise"]
    a, b = (_elements(one.get("elem", ()), before.get("type")) for one in (before, after))
    name = name.partition(" ")[2]
    lines = []
    for keys, fate in (
        ([key for key in a if key not in b], "gone from"),
        ([key for key in b if key not in a], "added by hand to"),
        ([key for key in a if key in b and a[key] != b[key]], "changed in"),
    ):
        if keys:
            lines.append(f"{known.named(table, name, keys)}: {fate} {what}")
    return lines or [f"{what}: defined otherwise"]


def of_rules(what, before, after):
    """Return sentences about a chain, of rules as texts in their order, that are not the same."""
    lines = []
    for rules, others, fate in ((before, set(after), "gone"), (after, set(before), "added by hand")):
        found = [one for one in rules if one not in others]
        if found:
            lines.append(f"{what}: {len(found)} rule{'s' * (len(found) > 1)} {fate}, such as {found[0]}")
    return lines or [f"{what}: rules repeated or in another order"]


def _elements(elements, kinds):
    """Return {key as we write it: the rest}; of a set there is no rest.

    :param kinds: the type of a key, or a list of those of its fields.
    """
    found = {}
    for one in elements:
        if isinstance(one, dict) and "elem" in one:
            one = one["elem"]["val"]
        key, rest = one if isinstance(one, list) else (one, None)
        found[_written(key, kinds)] = _encode(rest)
    return found


def _written(value, kinds=None):
    """Return a value of nft's JSON as our text has it."""
    if not isinstance(value, dict):
        # nft is asked for numbers here (nft.LIST).
        return _PROTOCOLS.get(str(value), str(value)) if kinds == "inet_proto" else str(value)
    kind, body = next(iter(value.items()))
    if kind == "concat":
        of_fields = kinds if isinstance(kinds, list) and len(kinds) == len(body) else [None] * len(body)
        return " . ".join(map(_written, body, of_fields))
    if kind == "range":
        return "-".join(map(_written, body))
    if kind == "prefix":
        return f"{_written(body['addr'])}/{body['len']}"
    return _encode(value)


class _Words:
    """What our text says beside the rules."""

    def __init__(self, text):
        self._about = {}
        self._owners = {}
        table = name = comment = None
        for line in text.splitlines():
            begins, opens, element = _TABLE.fullmatch(line), _OBJECT.fullmatch(line), _ELEMENT.fullmatch(line)
            if begins:
                table = begins[1]
            elif opens:
                kind, name = opens.groups()
                self._about[table, (_RULES if kind == "chain" else f"{kind} ") + name] = comment
            elif element and element[2]:
                self._owners[table, name, element[1].replace('"', "")] = element[2]
            comment = line.strip()[2:] if line.startswith("    # ") else None

    def about(self, table, name):
        comment = self._about.get((table, name))
        what = name[len("rules of "):] if name.startswith(_RULES) else name
        return f"{what} of table {table}" + (f" ({comment})" if comment else "")

    def named(self, table, name, keys):
        """Return whom elements are there for, and which they are."""
        told = []
        for key in keys[:_NAMED]:
            owner = self._owners.get((table, name, key))
            told.append(f"{owner} ({key})" if owner else key)
        return ", ".join(told) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
