# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of each thing when the mouse rests on it, and of the whole. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.topology import cards, look

#: Lines of one text.
LINES_MAX = 24


def summary(shown):
    """Return the picture in a sentence."""
    hosts = [one for one in shown["machines"] if one["kind"] == "kvm"]
    parts = [
        look.count(len(hosts), "KVM host"),
        look.count(sum(len(one["networks"]) for one in hosts), "network"),
        look.count(sum(len(one["guests"]) for one in hosts), "guest"),
    ]
    missing = [one["name"] for one in shown["machines"] if one["state"] != "reached"]
    text = ", ".join(parts)
    return f"{text}; not looked at: {', '.join(missing[:6])}{' …' if len(missing) > 6 else ''}" if missing else text


def proven(tally):
    """Return a line on a tally of the proof."""
    if not tally["total"]:
        return "not in the proof"
    return "proof: " + ", ".join(f"{tally[mark]} {look.MARKS[mark][2]}" for mark in look.MARKS if tally[mark])


def _guest(one):
    lines = [f"guest {one['name']}, {'running' if one['active'] else 'off'}",
             f"{look.count(one['vcpus'], 'CPU')}, {one['memory_mb']} MiB"]  # fmt: skip
    for nic in one["nics"]:
        told = {"guest": "as the guest says", "lease": "as DHCP gave it", None: "no address known"}[nic["told_by"]]
        where = nic["network"] or nic["link"] or "no network"
        lines.append(f"{where}: {', '.join(nic['addresses'])} ({told}), {nic['mac']}" if nic["addresses"]
                     else f"{where}: {told}, {nic['mac']}")  # fmt: skip
    return lines


def _network(one):
    _colour, _ink, word, means = look.MODELS[one["model"]]
    lines = [f"network {one['name']}, {word}: {means}"]
    lines += [f"bridge {one['bridge']}"] if one["bridge"] else []
    lines += [", ".join(one["addresses"])] if one["addresses"] else []
    lines += [f"forward {row['name']}: {cards.forward_text(row)}" for row in one["forwards"]]
    return lines


def _machine(one):
    lines = [f"{'KVM host' if one['kind'] == 'kvm' else 'machine'} {one['name']}"]
    if one["state"] != "reached":
        return [*lines, f"{cards.missed(one)}{': ' + one['why'] if one['why'] else ''}"]
    lines += [f"{link['name']}: {', '.join(link['addresses']) or 'no address'}" for link in one["uplinks"]]
    if one["bgp"]:
        lines += [f"BGP with {row['peer']}: {row['state']}" for row in one["bgp"]["sessions"]]
    return lines


def of(shown):
    """Return {ID: lines} of all that is drawn."""
    found = {}
    with_proof = shown["proof"] is not None

    def say(name, lines, tally=None):
        if with_proof and tally is not None:
            lines = [*lines, proven(tally)]
        found[name] = lines if len(lines) <= LINES_MAX else [*lines[: LINES_MAX - 1], "…"]

    for one in shown["machines"]:
        say(one["id"], _machine(one), one["marks"]["machine"])
        for link in one["uplinks"]:
            say(link["id"], [f"{link['name']} of {one['name']}", *link["addresses"]], one["marks"]["uplink"])
        for network in one["networks"]:
            say(network["id"], _network(network), network["marks"]["network"])
            names = [
                f"{guest['name']}: {', '.join(nic['addresses']) or 'no address known'}" for guest in one["guests"]
                for nic in guest["nics"][:1] if nic["network"] == network["name"] and len(guest["nics"]) == 1
            ]
            say(f"{network['id']}c", [f"guests on {network['name']} of {one['name']}", *names])
        for guest in one["guests"]:
            say(guest["id"], _guest(guest), guest["mark"])
    for one in shown["segments"]:
        say(one["id"], [one["name"], *one["subnets"]])
    for one in shown["bgp"]:
        say(one["id"], [f"BGP in AS {one['asn']}: {', '.join(one['speakers'])}", f"{one['up']} of {one['sessions']} sessions up"])
    for one in shown["tunnels"]:
        say(one["id"], [f"VXLAN {one['vni']}", *(f"{network} on {name}" for name, network in one["ends"])])
    return found
