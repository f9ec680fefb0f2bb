# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the picture, each a card: a table in Graphviz's HTML-like labels. Pure.

No text of anybody's gets into one but through look.escape().
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.topology import look

#: Guests of a network, and forwards, that are drawn one by one; those beyond are counted.
GUESTS_SHOWN, FORWARDS_SHOWN, ADDRESSES_SHOWN = 12, 4, 3
SIZE, SMALL = 11, 9


def styled(words, size=SIZE, colour=look.INK, bold=False):
    """Return words as they stand in a label."""
    inner = look.escape(words) or "-"
    inner = f"<B>{inner}</B>" if bold else inner
    return f'<FONT POINT-SIZE="{size}" COLOR="{colour}">{inner}</FONT>'


def _lines(texts, size=SMALL, colour=look.SOFT):
    return '<BR ALIGN="LEFT"/>'.join(styled(one, size, colour) for one in texts) + '<BR ALIGN="LEFT"/>'


#: A space that Graphviz keeps.
GAP = "&#160;"


def _cell(content, texts=(), size=SIZE, **attributes):
    """Return (a TD, how wide it is at least): wide enough for C(texts) in any font that a viewer may have."""
    attributes.setdefault("align", "left")
    if texts:
        attributes["width"] = max(round(max(look.width(one, size) for one in texts)) + 8, attributes.get("width", 0))
    words = "".join(f' {key.upper()}="{value}"' for key, value in sorted(attributes.items()))
    return f"<TD{words}>{content}</TD>", attributes.get("width", 0)


def _row(*cells):
    return f"<TR>{''.join(html for html, _width in cells)}</TR>", sum(width for _html, width in cells)


class Card:
    """A node: a table. Cards of one C(kind) are all as wide as the widest of them."""

    def __init__(self, rows, colour=look.LINE, background=look.PAPER, style=None, kind=None, ports=(), left=False):
        self.rows, self.colour, self.background, self.style, self.kind = rows, colour, background, style, kind
        self.wide = max(width for _html, width in rows)
        self.ports, self.left = ports, left

    def label(self, widths):
        wide = widths.get(self.kind, self.wide)
        rows = "".join(html(wide) if callable(html) else html for html, _width in self.rows)
        style = f' STYLE="{self.style}"' if self.style else ""
        frame = f'BORDER="1" CELLBORDER="0" CELLSPACING="0" COLOR="{self.colour}" BGCOLOR="{self.background}"{style}'
        if len(self.ports) < 2:
            return f'<<TABLE {frame} CELLPADDING="3" WIDTH="{wide}">{rows}</TABLE>>'
        # A narrow column at the side to which the networks are.
        plain = '<TD><TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="{}"{}>{}</TABLE></TD>'
        side = plain.format(0, "", "".join(f'<TR><TD PORT="{one}" WIDTH="3" HEIGHT="9"></TD></TR>' for one in self.ports))
        cells = [plain.format(3, f' WIDTH="{wide}"', rows), side]
        return f'<<TABLE {frame} CELLPADDING="0"><TR>{"".join(reversed(cells) if self.left else cells)}</TR></TABLE>>'


def _sign(mark, size=SIZE):
    """Return the cell of a mark; an empty one where the proof says nothing."""
    if mark is None:
        return _cell(GAP, width=12, align="center")
    sign, colour, _words = look.MARKS[mark]
    return _cell(styled(sign, size, colour, bold=True), width=12, align="center")


def _cut(texts, limit, more="+{} more"):
    return texts if len(texts) <= limit else [*texts[: limit - 1], more.format(len(texts) - limit + 1)]


def _score(tally):
    """Return how much of a tally is as declared, as words."""
    if not tally["total"]:
        return "not in the proof"
    if tally["mark"] == "good":
        return f"{tally['total']} as declared"
    return ", ".join(f"{tally[mark]} {look.MARKS[mark][2]}" for mark in ("bad", "unknown") if tally[mark])


# --- cards ---


def note(words, style=None):
    """Return a card with one line."""
    return Card([_row(_cell(styled(words, SMALL, look.SOFT), [words], SMALL))], style=style)


def uplink(link, networks, left):
    """Return the card of a link that leads out of a host, with a port for each of C(networks), by which they are sorted."""
    what = "bridge" if link["type"] == "bridge" else "uplink"
    name, below = look.short(link["name"], 20), []
    if link["ports"]:
        below.append(f"port{'s' if len(link['ports']) > 1 else ''} {', '.join(look.short(one, 16) for one in link['ports'][:4])}")
    below += _cut(link["addresses"], ADDRESSES_SHOWN)
    what += "" if link["up"] else ", down"
    head = styled(name, bold=True) + GAP * 2 + styled(what, SMALL, look.SOFT)
    rows = [_row(_cell(head, [f"{name}  {what}"]))]
    if below:
        rows.append(_row(_cell(_lines(below), below, SMALL)))
    return Card(rows, look.ROAD, kind="uplink", ports=networks, left=left)


def network(one, proven):
    colour, ink, word, _means = look.MODELS[one["model"]]
    name = look.short(one["name"])
    label = word + ("" if one["active"] else ", off")
    title, narrow = _cell(styled(name, colour=ink, bold=True), [name], bgcolor=colour)
    least = round(look.width(label, SMALL)) + 8

    def head(wide):
        """Return the coloured row, which goes from one side of the card to the other."""
        kind = _cell(styled(label, SMALL, ink), bgcolor=colour, align="right", width=max(least, wide - narrow))
        return f"<TR>{title}{kind[0]}</TR>"

    rows = [(head, narrow + least)]
    below = _cut(one["addresses"] or one["subnets"], ADDRESSES_SHOWN)
    facts = [look.short(one["bridge"], 16)] if one["bridge"] else []
    facts += ["DHCP"] if one["dhcp"] else []
    facts += ["translated by libvirt"] if one["translated_by"] else []
    facts += [f"VNI {one['vni']}"] if one["vni"] is not None else []
    facts += [f"return routes: {one['return_routes']}"] if one["return_routes"] else []
    facts += [f"macvtap on {look.short(one['uplink'], 16)}"] if one["attach"] == "macvtap" and one["uplink"] else []
    below += [" · ".join(facts)] if facts else []
    if below:
        rows.append(_row(_cell(_lines(below), below, SMALL, colspan=2)))
    forwards = [forward_text(row) for row in one["forwards"]]
    for text, row in zip(_cut(forwards, FORWARDS_SHOWN, "+{} more forwards"), one["forwards"]):
        sign, tint, _words = look.MARKS.get(row["mark"], ("▸", look.SOFT, ""))
        rows.append(_row(_cell(styled(sign, SMALL, tint, True) + GAP + styled(text, SMALL), [f"✓ {text}"], SMALL, colspan=2)))
    tally = one["marks"]["network"]
    if proven:
        sign, tint, _words = look.MARKS.get(tally["mark"], ("·", look.SOFT, ""))
        text = _score(tally)
        rows.append(_row(_cell(styled(f"{sign} {text}", SMALL, tint), [f"{sign} {text}"], SMALL, colspan=2)))
    return Card(rows, colour, style=None if one["active"] else "dashed", kind="network")


def forward_text(row):
    protocols = "/".join(row["protocols"])
    listen = f"{row['address'] or ''}:{row['ports']}"
    to = f"{', '.join(row['to'][:1])}:{row['to_ports']}" if row["to_ports"] else ", ".join(row["to"][:1])
    return f"{listen}/{protocols} → {to}"


def _nic_lines(nic):
    found = _cut([text.partition("/")[0] for text in nic["addresses"]], ADDRESSES_SHOWN)
    return found or ["no address known"]


def guest_row(guest, nic, proven, column):
    """Return the row of a guest with one NIC; C(column) is how wide the column of the names is."""
    name = look.short(guest["name"])
    off = not guest["active"]
    below = ["off"] if off else _nic_lines(nic)
    cells = [_sign(guest["mark"]["mark"])] if proven else []
    ink, soft = (look.SOFT, look.SOFT) if off else (look.INK, look.SOFT)
    cells.append(_cell(styled(name, colour=ink, bold=not off), [name], port=guest["id"], valign="top", width=column))
    cells.append(_cell(_lines(below, colour=soft), below, SMALL))
    return _row(*cells)


def guests(members, proven, column=0):
    """Return the card of guests with one NIC in one network: [(guest, nic)]."""
    urgent = {"bad": 0, "unknown": 1}
    shown, rest = members, []
    if len(members) > GUESTS_SHOWN:
        # Those with something wrong are not among those that are only counted, if there is room for them.
        ranked = sorted(members, key=lambda pair: urgent.get(pair[0]["mark"]["mark"], 2))
        keep = {pair[0]["id"] for pair in ranked[: GUESTS_SHOWN - 1]}
        shown = [pair for pair in members if pair[0]["id"] in keep]
        rest = [pair for pair in members if pair[0]["id"] not in keep]
    rows = [guest_row(guest, nic, proven, column) for guest, nic in shown]
    if rest:
        text = f"+ {look.count(len(rest), 'more guest')}"
        bad = sum(guest["mark"]["mark"] in ("bad", "unknown") for guest, _nic in rest)
        text += f", {bad} not as declared" if bad else ""
        rows.append(_row(_cell(styled(text, SMALL, look.SOFT), [text], SMALL, colspan=3 if proven else 2)))
    return Card(rows, kind="guests")


def many_nics(guest, proven):
    """Return the card of a guest with several NICs; each has a row to which its network leads."""
    name = look.short(guest["name"])
    head = styled(name, bold=True) + ("" if guest["active"] else GAP * 2 + styled("off", SMALL, look.SOFT))
    mark = guest["mark"]["mark"]
    if proven and mark:
        sign, colour, _words = look.MARKS[mark]
        head = styled(sign, colour=colour, bold=True) + GAP + head
    least = round(look.width(f"✓ {name} off", SIZE)) + 8
    rows = [(lambda wide: _row(_cell(head, port=guest["id"], bgcolor=look.WALL, width=max(least, wide)))[0], least)]
    for number, nic in enumerate(guest["nics"]):
        below = _nic_lines(nic) if guest["active"] else [look.short(nic["network"] or nic["link"] or "no network")]
        rows.append(_row(_cell(_lines(below), below, SMALL, port=f"p{number}")))
    return Card(rows, kind="guests")


def machine(one, proven):
    """Return the card of a machine without guests."""
    name, tally = look.short(one["name"]), one["marks"]["machine"]
    rows = [_row(_cell(styled(name, bold=True), [name]))]
    below = _cut([text for link in one["uplinks"] for text in link["addresses"]], 4)
    if one["state"] != "reached":
        below = [missed(one)]
    if below:
        rows.append(_row(_cell(_lines(below), below, SMALL)))
    if proven and tally["total"]:
        sign, tint, _words = look.MARKS[tally["mark"]]
        text = f"{sign} {_score(tally)}"
        rows.append(_row(_cell(styled(text, SMALL, tint), [text], SMALL)))
    if one["state"] != "reached":
        return Card(rows, look.LINE, look.WALL, "dashed")
    return Card(rows, look.ROAD)


def missed(one):
    return {"unreachable": "not reached", "failed": "could not be read", "left_out": "not asked"}[one["state"]]


def _ports(columns, height):
    """Return rows with a port for each host of both sides, in their order.

    Graphviz has lines cross as little as it can, so that the hosts stand in the order of the ports.
    """
    rows = []
    for number in range(max(map(len, columns), default=0)):
        cells = [
            _cell("", width=10, **({"port": column[number], "height": height, "cellpadding": 0} if number < len(column) else {}))
            for column in columns
        ]
        rows.append(_row(*cells))
    return rows


def segment(one, columns):
    """Return the card of a LAN; C(columns) are the hosts to the left and to the right of it."""
    below = _cut(one["subnets"], 6)
    rows = [
        _row(_cell(styled(one["name"], 12, look.PAPER, True), [one["name"]], 12, align="center", colspan=2)),
        _row(_cell(_lines(below, colour=look.PAPER), below, SMALL, colspan=2)),
        *_ports(columns, 14),
    ]
    return Card(rows, look.ROAD, look.ROAD)


def hub(head, below, colour, columns):
    """Return the card of what several hosts have together."""
    rows = [_row(_cell(styled(head, colour=colour, bold=True), [head], align="center", colspan=2))]
    rows += [_row(_cell(styled(one, SMALL, look.SOFT), [one], SMALL, align="center", colspan=2)) for one in below]
    rows += _ports(columns, 5)
    return Card(rows, colour, style="ROUNDED")


def heading(one, proven):
    """Return the label of a host's cluster."""
    facts = []
    if one["state"] == "reached":
        facts = [look.count(one["processors"], "CPU"), f"{max(1, round(one['memory_mb'] / 1024))} GiB"]
        facts += [look.count(len(one["guests"]), "guest")] if one["guests"] else []
        facts += [f"{one['forwards_more']} more forwards"] if one["forwards_more"] else []
    else:
        facts = [missed(one)]
    name, tail = look.short(one["name"], 40), " · ".join(facts)
    colour = look.INK if one["state"] == "reached" else look.SOFT
    label = styled(name, 14, colour, True) + GAP * 3 + styled(tail, SMALL, look.SOFT)
    tally = one["marks"]["machine"]
    if proven and tally["total"] and one["state"] == "reached":
        sign, tint, _words = look.MARKS[tally["mark"]]
        label = styled(sign, 14, tint, True) + GAP + label
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLPADDING="2"><TR><TD ALIGN="LEFT">{label}</TD></TR></TABLE>>'
