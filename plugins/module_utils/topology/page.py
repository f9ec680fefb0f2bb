# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture as one HTML page: the SVG, and tables of all that is in it. Pure.

Nothing is loaded from anywhere, no script runs, and the page's own policy would let none.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.topology import cards, look, tips

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #EDF1F5; color: #1F2933; }
body { font: 14px/1.45 Arial, "Liberation Sans", Helvetica, "Noto Sans", sans-serif; }
main { margin: 0 auto; padding: 24px; max-width: 2400px; }
figure { margin: 0 0 24px; background: #FFF; border: 1px solid #D5DCE3; border-radius: 8px; overflow: auto; padding: 8px; }
figure svg { display: block; margin: 0 auto; max-width: 100%; height: auto; min-width: min(100%, 900px); }
svg a { text-decoration: none; }
svg a:hover text { text-decoration: underline; }
section { background: #FFF; border: 1px solid #D5DCE3; border-radius: 8px; margin: 0 0 16px; padding: 4px 20px 16px; }
section { overflow-x: auto; }
h2 { font-size: 17px; margin: 14px 0 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0; border-bottom: 1px solid #E4E9EE; }
td { overflow-wrap: anywhere; min-width: 4em; }
th { color: #52606D; font-weight: 600; font-size: 12px; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
tr:target td { background: #FFF6D6; }
code { font: 12px/1.5 "DejaVu Sans Mono", "Liberation Mono", Consolas, monospace; overflow-wrap: anywhere; }
.model { display: inline-block; padding: 1px 8px; border-radius: 3px; font-size: 12px; font-weight: 600; }
.good { color: #1B7F4B; } .bad { color: #C8102E; font-weight: 600; } .unknown, .soft { color: #52606D; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 14px; margin: 0; } dd { margin: 0; }
@media print { body { background: #FFF; } section, figure { break-inside: avoid; border: 0; } }
"""
NONE, UNPROVEN = '<span class="soft">none</span>', '<span class="soft">not in the proof</span>'
#: Rows of the table of differences, and of forwards; what is beyond is counted.
DIFFERENCES_MAX, FORWARDS_MAX = 500, 1000


def _cell(content):
    return f"<td>{content}</td>"


def _several(texts, mono=True):
    return "<br>".join(f"<code>{look.escape(one)}</code>" if mono else look.escape(one) for one in texts) or NONE


def _table(heads, rows):
    """Return a table; rows are [(id or None, [cells])]."""
    if not rows:
        return '<p class="soft">None.</p>'
    head = "".join(f'<th scope="col">{look.escape(one)}</th>' for one in heads)
    lines = ["<table>", f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for name, cells in rows:
        mark = f' id="t-{name}"' if name else ""
        lines.append(f"<tr{mark}>{''.join(map(_cell, cells))}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def _proven(tally):
    if not tally["total"]:
        return UNPROVEN
    return "<br>".join(
        f'<span class="{mark}">{sign} {tally[mark]} {words}</span>'
        for mark, (sign, _colour, words) in look.MARKS.items() if tally[mark]
    )


def _model(word):
    colour, ink, name, _means = look.MODELS[word]
    return f'<span class="model" style="background:{colour};color:{ink}">{look.escape(name)}</span>'


def _names(one):
    """Return what every table of the page begins a row with: the machine."""
    return look.escape(one["name"])


def _sessions(bgp):
    """Return what is told of a machine's BGP; each session by its name only if it is down."""
    if not bgp:
        return []
    down = [f"{row['peer']} ({row['address']}): {row['state']}" for row in bgp["sessions"] if not row["up"]]
    return [f"AS {bgp['asn']}, {bgp['up']} of {len(bgp['sessions'])} sessions up", *down]


def _machines(shown, with_proof):
    rows = []
    for one in shown["machines"]:
        links = [f"{link['name']}: {', '.join(link['addresses']) or 'no address'}" for link in one["uplinks"]]
        if one["state"] == "reached":
            state = look.escape(f"{look.count(one['processors'], 'CPU')}, {one['memory_mb']} MiB")
        else:
            why = f": {look.escape(one['why'])}" if one["why"] else ""
            state = f'<span class="unknown">{cards.missed(one)}{why}</span>'
        cells = [f"<strong>{_names(one)}</strong>", "KVM host" if one["kind"] == "kvm" else "machine", state, _several(links),
                 _several(_sessions(one["bgp"]), mono=False)]  # fmt: skip
        rows.append((one["id"], cells + ([_proven(one["marks"]["machine"])] if with_proof else [])))
    return _table(["Machine", "Kind", "State", "Uplinks", "BGP", *(["Proof"] if with_proof else [])], rows)


def _networks(shown, with_proof):
    rows = []
    for one in shown["machines"]:
        for network in one["networks"]:
            more = [f"VXLAN {network['vni']}"] if network["vni"] is not None else []
            more += ["DHCP"] if network["dhcp"] else []
            more += ["translated by libvirt"] if network["translated_by"] else []
            more += [f"return routes: {network['return_routes']}"] if network["return_routes"] else []
            more += ["not made by virtnet.kvm"] if not network["owned"] else []
            guests = sum(nic["network"] == network["name"] for guest in one["guests"] for nic in guest["nics"])
            cells = [_names(one), f"<strong>{look.escape(network['name'])}</strong>", _model(network["model"]),
                     "active" if network["active"] else "off", _several([network["bridge"]] if network["bridge"] else []),
                     _several(network["addresses"] or network["subnets"]), str(guests), look.escape(", ".join(more))]  # fmt: skip
            rows.append((network["id"], cells + ([_proven(network["marks"]["network"])] if with_proof else [])))
    heads = ["Host", "Network", "Model", "State", "Bridge", "Addresses", "NICs", "", *(["Proof"] if with_proof else [])]
    return _table(heads, rows)


def _guests(shown, with_proof):
    rows = []
    for one in shown["machines"]:
        for guest in one["guests"]:
            nics = guest["nics"]
            cells = [
                _names(one), f"<strong>{look.escape(guest['name'])}</strong>", "running" if guest["active"] else "off",
                _several([nic["network"] or nic["link"] or "none" for nic in nics], mono=False),
                _several([", ".join(nic["addresses"]) or "not known" for nic in nics]),
                _several([nic["mac"] or "not known" for nic in nics]),
            ]
            rows.append((guest["id"], cells + ([_proven(guest["mark"])] if with_proof else [])))
    return _table(["Host", "Guest", "State", "Network", "Addresses", "MAC address", *(["Proof"] if with_proof else [])], rows)


def _forwards(shown, with_proof):
    rows, beyond = [], 0
    for one in shown["machines"]:
        beyond += one["forwards_more"]
        named = [(network["name"], row) for network in one["networks"] for row in network["forwards"]]
        for name, row in [*named, *(("", row) for row in one["forwards"])]:
            if len(rows) >= FORWARDS_MAX:
                beyond += 1
                continue
            sign = look.MARKS.get(row.get("mark"))
            cells = [_names(one), look.escape(name) or NONE, look.escape(row["name"]),
                     f"<code>{look.escape(cards.forward_text(row))}</code>"]  # fmt: skip
            told = f'<span class="{row["mark"]}">{sign[0]} {sign[2]}</span>' if sign else UNPROVEN
            rows.append((None, cells + ([told] if with_proof else [])))
    more = f'<p class="soft">And {beyond} more.</p>' if beyond else ""
    return _table(["Host", "Network", "Forward", "From → to", *(["Proof"] if with_proof else [])], rows) + more


def _differences(shown):
    rows = []
    for row in shown["differences"][:DIFFERENCES_MAX]:
        sign, _colour, words = look.MARKS[row["mark"]]
        cells = [f'<span class="{row["mark"]}">{sign} {words}</span>', look.escape(row["from"]), look.escape(row["to"]),
                 look.escape(f"expected {row['expected']}, seen {row['seen']}"), look.escape(", ".join(row["kinds"])),
                 look.escape(row["why"])]  # fmt: skip
        rows.append((None, cells))
    beyond = len(shown["differences"]) - DIFFERENCES_MAX
    more = f'<p class="soft">And {beyond} more pairs.</p>' if beyond > 0 else ""
    return _table(["", "From", "To", "", "With", "Why"], rows) + more


def _legend():
    rows = "".join(f"<dt>{_model(word)}</dt><dd>{look.escape(means)}</dd>" for word, (_c, _i, _n, means) in look.MODELS.items())
    marks = "".join(
        f'<dt class="{mark}">{sign}</dt><dd>{look.escape(words)}{", a dashed line" if mark == "unknown" else ""}</dd>'
        for mark, (sign, _colour, words) in look.MARKS.items()
    )
    return (
        f"<dl>{rows}{marks}<dt>arrow</dt><dd>where conversations may be opened: NAT out only, routed both ways; a thick line is "
        "the LAN itself, and an isolated network has none</dd></dl>"
    )


def _section(head, body):
    return f"<section>\n<h2>{look.escape(head)}</h2>\n{body}\n</section>"


def render(svg, shown):
    """Return the page.

    :param svg: of svg.render().
    :param shown: of machines.picture().
    """
    title, with_proof = look.escape(shown["title"]), shown["proof"] is not None
    parts = [
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{title}</title>", f"<style>{_STYLE}</style>", "</head>", "<body>", "<main>",
        f"<figure>\n{svg.strip()}\n</figure>",
    ]  # fmt: skip
    if shown["differences"]:
        parts.append(_section("Not as declared", _differences(shown)))
    if shown["notes"]:
        notes = "".join(f"<li>{look.escape(one)}</li>" for one in shown["notes"])
        parts.append(_section("Notes of the proof", f"<ul>{notes}</ul>"))
    parts += [
        _section("Machines", _machines(shown, with_proof)), _section("Networks", _networks(shown, with_proof)),
        _section("Guests", _guests(shown, with_proof)), _section("Port forwards", _forwards(shown, with_proof)),
        _section("Legend", _legend()), f'<p class="soft">{look.escape(tips.summary(shown))}</p>', "</main>", "</body>", "</html>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"
