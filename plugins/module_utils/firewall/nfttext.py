# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nftables' own language: one table as sets, maps and chains, written as text that a person can read. Pure."""

from __future__ import annotations

#: An empty chain in each of our tables: the mark of ownership. (JSON of nft 1.0 does not show a table's comment.)
MARK = "made_by_virtnet_kvm"
#: What the names of sets begin with that rules fill as packets pass: what is in them, nobody declared. (nft 1.0 does not tell
#: in its JSON that they are dynamic.)
LEARNT = "met_"
#: Elements that such a set holds at most; those beyond are not taken in.
LEARNT_MAX = 65535
COMMENT = "virtnet.kvm, see /etc/virtnet/README"


def quoted(text):
    """Return C(text) as a string of nft; names have been checked to hold no quotes."""
    return f'"{text}"'


def concat(*parts):
    """Return a concatenation, nft's word for a key of several fields."""
    return " . ".join(str(part) for part in parts)


def port_range(ports):
    """Return (first, last) as nft writes it."""
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


class Table:
    """One table; objects appear in the order in which they were added, empty sets and maps not at all."""

    def __init__(self, family, name):
        self.family = family
        self.name = name
        self._blocks = []
        self._names = set()

    def __contains__(self, name):
        return name in self._names

    def add_set(self, name, kind, elements, interval=False, about=None):
        """Add a set of C({element: what it is there for}); return whether it has any element."""
        return self._collection("set", name, kind, elements, interval, about)

    def add_map(self, name, kind, elements, interval=False, about=None):
        """Add a map of C({'key : value': what it is there for}); return whether it has any element."""
        return self._collection("map", name, kind, elements, interval, about)

    def _collection(self, word, name, kind, elements, interval, about):
        if not elements:
            return False
        lines = [f"{word} {name} {{", f"    type {kind}"]
        if interval:
            lines.append("    flags interval")
        # Of many elements one text is made, with the indentation that text() gives the first line of it.
        rows = [f"{text},  # {why}" if why else f"{text}," for text, why in elements.items()]
        lines += ["    elements = {", "        " + "\n            ".join(rows), "    }", "}"]
        self._add(name, lines, about)
        return True

    def add_learnt(self, name, of, about=None, memory_s=None):
        """Add a set that rules fill while packets pass, of values of the expression C(of); LEARNT begins its name.

        :param memory_s: seconds after which it forgets an element that no packet had meanwhile; None for never.
        """
        flags = ["flags dynamic"] if memory_s is None else ["flags dynamic,timeout", f"timeout {memory_s}s"]
        lines = [f"typeof {of}", f"size {LEARNT_MAX}", *flags]
        self._add(name, [f"set {name} {{", *(f"    {line}" for line in lines), "}"], about)

    def add_chain(self, name, rules, hook=None, about=None):
        """Add a chain of rules; with C(hook) ("filter hook input priority -5") a base chain, policy accept."""
        lines = [f"chain {name} {{"]
        if hook:
            lines.append(f"    type {hook}; policy accept;")
        lines.extend(f"    {rule}" for rule in rules)
        lines.append("}")
        self._add(name, lines, about)

    def _add(self, name, lines, about):
        self._names.add(name)
        if about:
            lines = [f"# {about}", *lines]
        self._blocks.append(lines)

    @property
    def empty(self):
        return not self._blocks

    def text(self):
        """Return the table; nothing if it holds nothing."""
        if self.empty:
            return ""
        blocks = [[f'comment "{COMMENT}"'], [f"chain {MARK} {{", "}"], *self._blocks]
        body = "\n\n".join("\n".join(f"    {line}" if line else "" for line in block) for block in blocks)
        return f"table {self.family} {self.name} {{\n{body}\n}}\n"
