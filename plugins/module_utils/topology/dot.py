# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture in Graphviz's language. Pure.

From left to right: machines, the LAN, and each host as a cluster with its uplinks, networks and guests; of many hosts every other
one stands to the left of the LAN. Only IDs of ours are names in DOT; all other text stands in HTML-like labels, escaped.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.topology import cards, look
from ansible_collections.virtnet.kvm.plugins.module_utils.topology.cards import GUESTS_SHOWN, SIZE, SMALL
from ansible_collections.virtnet.kvm.plugins.module_utils.topology.marks import end

#: From so many hosts on they stand on both sides of the LAN.
BOTH_SIDES = 5
#: Pairs of ends between which an arrow says what is wrong; if there are more, signs and the table say it.
ARROWS_SHOWN = 6

# --- lines ---

#: How a network hangs on its uplink: arrows lead where conversations may be opened.
_WAYS = {"nat": "in", "routed": "both", "bridged": "none", "other": "none", "isolated": None}


def _edge(tail, head, **attributes):
    words = ", ".join(f'{key}="{value}"' for key, value in sorted(attributes.items()) if value is not None)
    return f"  {tail} -> {head} [{words}];"


def _stroke(tally, colour, proven):
    """Return colour and style of a line."""
    if not proven:
        return {"color": colour}
    mark = tally["mark"]
    if mark in (None, "unknown"):
        return {"color": look.MARKS["unknown"][1], "style": "dashed" if mark else "solid"}
    return {"color": look.MARKS[mark][1], "penwidth": 2.2 if mark == "bad" else 1.4}


class Drawing:
    """Collects the lines of a picture in DOT."""

    def __init__(self, shown):
        self.shown = shown
        self.proven = shown["proof"] is not None
        self.nodes, self.edges = [], []
        #: {(machine, guest or None): where an arrow to it ends}
        self.places = {}
        hosts = [one for one in shown["machines"] if one["kind"] == "kvm"]
        both = len(hosts) >= BOTH_SIDES
        half = (len(hosts) + 1) // 2 if both else len(hosts)
        self.left = {one["id"] for one in hosts[half:]}
        self.hosts = hosts
        names = [look.short(guest["name"]) for one in hosts for guest in one["guests"]]
        self.column = max((round(look.width(name, SIZE)) + 8 for name in names), default=0)

    def node(self, name, card, indent=1):
        self.nodes.append((indent, name, card))

    def edge(self, side, tail, head, **attributes):
        """Draw from the LAN's side to the guests' side; on the left of the LAN all is the other way round.

        :param attributes: Graphviz's, and C(dir=in) for an arrow that leads to the LAN.
        """
        way = attributes.get("dir")
        if side in self.left:
            head, tail = tail, head
            attributes["tailport"], attributes["headport"] = attributes.pop("headport", None), attributes.pop("tailport", None)
        if way == "in":
            attributes["dir"] = "forward" if side in self.left else "back"
        self.edges.append(_edge(tail, head, **attributes))

    def columns(self, hosts):
        """Return the IDs of hosts to the left and to the right of the LAN."""
        mine = [one["id"] for one in hosts if one["kind"] == "kvm"]
        return [name for name in mine if name in self.left], [name for name in mine if name not in self.left]

    # -- one host

    def host(self, one):
        style = "rounded,filled" if one["state"] == "reached" else "rounded,dashed"
        just = "r" if one["id"] in self.left else "l"
        frame = f'style="{style}"; color="{look.LINE}"; fillcolor="{look.WALL}"; penwidth=1; margin=12;'
        label = f'id="{one["id"]}"; label={cards.heading(one, self.proven)}; labeljust="{just}";'
        self.nodes += [f"  subgraph cluster_{one['id']} {{", f"    {label} {frame}"]
        door = f"{one['id']}d"
        self.places[(one["name"], None)] = one["uplinks"][0]["id"] if one["uplinks"] else door
        if one["state"] == "reached":
            for link in one["uplinks"]:
                mine = [network["id"] for network in one["networks"] if link in self._doors(one, network)]
                self.node(link["id"], cards.uplink(link, mine, one["id"] in self.left), 2)
            if not one["uplinks"]:
                self.node(door, cards.note("no uplink known"), 2)
            self.networks(one)
        else:
            text = look.short(one["why"] or cards.missed(one), 60)
            self.node(door, cards.note(text, "dashed"), 2)
        self.nodes.append("  }")

    def networks(self, one):
        known = {network["name"]: network for network in one["networks"]}
        alone, several, loose = {}, [], []
        for guest in one["guests"]:
            if len(guest["nics"]) > 1:
                several.append(guest)
            elif guest["nics"] and guest["nics"][0]["network"] in known:
                alone.setdefault(guest["nics"][0]["network"], []).append((guest, guest["nics"][0]))
            else:
                loose.append((guest, guest["nics"][0] if guest["nics"] else {"addresses": []}))
        for network_of in one["networks"]:
            self.network(one, network_of, alone.get(network_of["name"], []))
        for guest in several[:GUESTS_SHOWN]:
            self.node(guest["id"], cards.many_nics(guest, self.proven), 2)
            self.places[(one["name"], guest["name"])] = f"{guest['id']}:{guest['id']}"
            for number, nic in enumerate(guest["nics"]):
                if nic["network"] in known:
                    into = known[nic["network"]]
                    self.edge(
                        one["id"], into["id"], guest["id"], headport=f"p{number}", dir="none",
                        **_stroke(guest["mark"], look.MODELS[into["model"]][0], self.proven),
                    )  # fmt: skip
        if len(several) > GUESTS_SHOWN:
            text = f"+ {len(several) - GUESTS_SHOWN} more guests with several NICs"
            self.node(f"{one['id']}m", cards.note(text), 2)
        if loose:
            card = cards.guests(loose, self.proven, self.column)
            self.node(f"{one['id']}l", card, 2)
            self.place(one, f"{one['id']}l", loose, card)

    def network(self, one, network_of, members):
        name, colour = network_of["id"], look.MODELS[network_of["model"]][0]
        self.node(name, cards.network(network_of, self.proven), 2)
        for link in self._doors(one, network_of):
            way = _WAYS[network_of["model"]]
            port = name if len([each for each in one["networks"] if link in self._doors(one, each)]) > 1 else None
            if way is None or not network_of["active"]:
                self.edge(one["id"], link["id"], name, style="invis", tailport=port)
                continue
            stroke = _stroke(network_of["marks"]["outer"], colour, self.proven)
            if way == "none" and network_of["model"] == "bridged":
                stroke["penwidth"] = 4
            self.edge(one["id"], link["id"], name, dir=way, tailport=port, **stroke)
        if not one["uplinks"]:
            self.edge(one["id"], f"{one['id']}d", name, style="invis")
        if members:
            card = cards.guests(members, self.proven, self.column)
            self.node(f"{name}c", card, 2)
            self.place(one, f"{name}c", members, card)
            stroke = _stroke(network_of["marks"]["inner"], colour, self.proven)
            self.edge(one["id"], name, f"{name}c", dir="none", weight=8, **stroke)

    @staticmethod
    def _doors(one, network_of):
        """Return the uplinks by which a network leads out of its host."""
        names = (network_of["bridge"], network_of["uplink"]) if network_of["model"] == "bridged" else ()
        return [link for link in one["uplinks"] if link["name"] in names] or one["uplinks"][:1]

    def place(self, one, name, members, card):
        """Keep where an arrow to each of these guests ends: at its row, or where they are only counted, at their card."""
        text = "".join(html for html, _width in card.rows if not callable(html))
        for guest, _nic in members:
            port = f":{guest['id']}" if f'PORT="{guest["id"]}"' in text else ""
            self.places[(one["name"], guest["name"])] = name + port

    # -- between hosts

    def outside(self):
        for one in self.shown["segments"]:
            self.node(one["id"], cards.segment(one, self.columns(self._on(one))))
        inner = {one["id"] for one in self.shown["segments"] if one["kvm"]}
        for one in self.shown["machines"]:
            if one["kind"] == "kvm":
                continue
            self.node(one["id"], cards.machine(one, self.proven))
            self.places[(one["name"], None)] = one["id"]
            linked = list(dict.fromkeys(link["segment"] for link in one["uplinks"] if link["segment"]))
            lans = [name for name in linked if name in inner]
            for name in linked:
                # What leads on from a router stands on its other side.
                ends = (name, one["id"]) if lans and name not in inner else (one["id"], name)
                self.edges.append(_edge(*ends, dir="none", color=look.ROAD, penwidth=2))

    def _on(self, segment_of):
        """Return the hosts that a LAN leads to; to the first LAN belong those, too, of which that is not known."""
        first = next((one for one in self.shown["segments"] if one["kvm"]), None)
        return [
            one for one in self.hosts
            if any(link["segment"] == segment_of["id"] for link in one["uplinks"])
            or (segment_of is first and not any(link["segment"] for link in one["uplinks"]))
        ]  # fmt: skip

    def roads(self):
        """Draw the lines from the LAN to each host's uplinks."""
        lans = [one["id"] for one in self.shown["segments"] if one["kvm"]]
        for one in self.hosts:
            port, linked = one["id"], any(link["segment"] for link in one["uplinks"])
            for link in one["uplinks"]:
                if link["segment"]:
                    stroke = _stroke(one["marks"]["uplink"], look.ROAD, self.proven)
                    stroke["penwidth"] = max(2, stroke.get("penwidth", 2))
                    self.edge(one["id"], link["segment"], link["id"], tailport=port, dir="none", **stroke)
            if lans and not linked:
                self.edge(one["id"], lans[0], self.places[(one["name"], None)], tailport=port, style="invis")

    def shared(self, name, members):
        """Return the columns of what these machines share.

        Hosts that could not be asked have invisible lines to it, too: else the lines of all others push them out of their place.
        """
        missed = [one for one in self.hosts if one["state"] != "reached"]
        for one in missed:
            self.edge(one["id"], name, self.places[(one["name"], None)], tailport=one["id"], style="invis")
        return self.columns([one for one in self.hosts if one in members or one in missed])

    def exchanges(self):
        by_name = {one["name"]: one for one in self.shown["machines"]}
        for one in self.shown["bgp"]:
            good = one["up"] == one["sessions"]
            columns = self.shared(one["id"], [by_name[name] for name in one["speakers"]])
            told = f"{one['up']} of {one['sessions']} sessions up"
            tint = look.BGP if good else look.MARKS["bad"][1]
            self.node(one["id"], cards.hub(f"BGP AS {one['asn']}", [told], tint, columns))
            for name in one["speakers"]:
                speaker = by_name[name]
                whole = speaker["bgp"]["up"] == len(speaker["bgp"]["sessions"])
                colour = look.BGP if whole else look.MARKS["bad"][1]
                how = {"dir": "none", "style": "dotted", "color": colour, "penwidth": 1.8}
                place = self.places[(name, None)]
                if speaker["kind"] == "kvm":
                    self.edge(speaker["id"], one["id"], place, tailport=speaker["id"], **how)
                else:
                    self.edges.append(_edge(place, one["id"], **how))
        for one in self.shown["tunnels"]:
            below = [look.count(len(one["ends"]), "host"), *([f"found by {one['control'].upper()}"] if one["control"] else [])]
            columns = self.shared(one["id"], [by_name[name] for name, _network in one["ends"]])
            self.node(one["id"], cards.hub(f"VXLAN {one['vni']}", [", ".join(below)], look.MODELS["isolated"][0], columns))
            for name, network_name in one["ends"]:
                host = by_name[name]
                into = next(each for each in host["networks"] if each["name"] == network_name)
                colour = look.MODELS[into["model"]][0]
                stroke = _stroke(into["marks"]["between"], colour, self.proven)
                tint = stroke.pop("color")
                stroke["penwidth"] = 1.2
                stroke.update(dir="none", minlen=2, tailport=host["id"], color=f"{tint}:{look.PAPER}:{tint}")
                self.edge(host["id"], one["id"], into["id"], **stroke)

    def differences(self):
        rows = [row for row in self.shown["differences"] if row["mark"] == "bad"]
        if len(rows) > ARROWS_SHOWN:
            return
        for row in rows:
            tail, head = self.places.get(end(row["from"])), self.places.get(end(row["to"]))
            if tail is None or head is None or tail == head:
                continue
            text = "✗ gets through, and must not" if row["expected"] == "no" else "✗ does not get through"
            colour = look.MARKS["bad"][1]
            stroke = _edge(tail, head, color=colour, penwidth=2.4, constraint="false", arrowhead="vee")
            self.edges.append(f"{stroke[:-2]}, label=<{cards.styled(text, SMALL, colour, True)}>];")

    def text(self):
        """Return all of it."""
        self.outside()
        for one in self.hosts:
            self.host(one)
        self.roads()
        self.exchanges()
        self.differences()
        head = [
            "digraph topology {",
            '  graph [rankdir="LR", splines="spline", nodesep="0.16", ranksep="0.75", pad="0.25"];',
            '  graph [bgcolor="transparent", fontname="Arial", outputorder="edgesfirst"];',
            '  node [shape="plain", fontname="Arial"];',
            '  edge [fontname="Arial", arrowsize="0.7", penwidth="1.4"];',
        ]
        return "\n".join([*head, *self._nodes(), *self.edges, "}"]) + "\n"

    def _nodes(self):
        widths = {}
        for _indent, _name, card in (one for one in self.nodes if isinstance(one, tuple)):
            if card.kind:
                widths[card.kind] = max(widths.get(card.kind, 0), card.wide)
        for one in self.nodes:
            if isinstance(one, tuple):
                indent, name, card = one
                yield f'{"  " * indent}{name} [id="{name}", label={card.label(widths)}];'
            else:
                yield one


def text(shown):
    """Return a picture in DOT.

    :param shown: of machines.picture().
    """
    return Drawing(shown).text()
