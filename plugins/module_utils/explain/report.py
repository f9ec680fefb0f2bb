# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole explanation: the path, the verdict and the cure, and the same as lines that a person reads. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import columns
from ansible_collections.virtnet.kvm.plugins.module_utils.explain import owners
from ansible_collections.virtnet.kvm.plugins.module_utils.explain.seen import OK, STOP, UNSEEN
from ansible_collections.virtnet.kvm.plugins.module_utils.explain.walk import Walk

MARKS = {OK: "✓", STOP: "✗", UNSEEN: "?"}
AGAIN = (
    "The host's rules are not those that were declared: the role of the network again, or "
    "systemctl restart virtnet-firewall.service"
)
#: Chains of ours that ask who a packet is from, and not where it goes.
GUARDS = ("guard", "prerouting_guard")
SPOOFED = (
    "The guest sends from an address or MAC address that is not its own: dhcp.reservations of its network, addresses of its NIC, "
    "or policy.anti_spoofing: false"
)


def explain(plan, hosts, found):
    """Return {reaches, hops, stopped, promise, verdict, cure, lines}.

    C(reaches) is true, false, or None where no packet could be sent.
    """
    walk = Walk(plan, hosts, found)
    walk.follow()
    reaches = True if walk.replied else False if walk.stop_at else None
    if reaches is None and walk.arrival is not None:
        reaches = True
    verdict, cure = _verdict(plan, walk.stop_at, reaches)
    result = {
        "reaches": reaches,
        "hops": walk.hops,
        "stopped": walk.stop_at,
        "promise": plan["promise"],
        "verdict": verdict,
        "cure": cure,
    }
    return {**result, "lines": lines(plan, result)}


def _names(plan):
    return plan["src"]["label"], plan["dst"]["label"]


def _verdict(plan, stop, reaches):
    promise = plan["promise"]
    src, dst = _names(plan)
    no = promise is not None and not promise["allowed"]
    says = "no model speaks of it" if promise is None else f"the model promises this {'no' if no else 'yes'}: {promise['why']}"
    opening = owners.opening(promise, plan["src"], plan["dst"], plan["protocol"], plan["port"]) if no else None
    if reaches:
        if no:
            return f"{src} reaches {dst}, though {says}", AGAIN
        return f"{src} reaches {dst}; {says}", None
    if stop is None:
        return f"not known whether {src} reaches {dst}: no packet could be sent; {says}", opening
    place = f"{src} does not reach {dst}: stopped on {stop['host']}, {stop['where']}, by {stop['owner']}"
    if stop["owner"] == owners.OURS and stop["drop"]:
        if no:
            return f"{place}. It is so by design, {says}", f"To allow it: {opening}"
        drop = stop["drop"]
        spoofed = drop["family"] in ("bridge", "arp") or drop["chain"] in GUARDS
        return f"{place}; {says}", SPOOFED if spoofed else AGAIN
    if no and stop["host"] == plan["src"]["host"] != plan["dst"]["host"] and stop["where"] == "routing":
        # Nobody owes a route to where nobody may come in.
        return f"{place}; and besides, {says}", f"To allow it: {opening}"
    if no:
        return f"{place}; and besides, {says}", f"{stop['cure'].rstrip('.')}. Then, to allow it: {opening}"
    return f"{place}; {says}", stop["cure"]


def lines(plan, result):
    """Return the explanation as lines: its question, a line for each hop, the verdict, the cure."""
    src, dst = plan["src"], plan["dst"]
    port = f"/{plan['port']}" if plan["protocol"] != "icmp" else ""
    ends = [
        f"{end['label']} ({end['address'] or 'no address'})" if end["label"] != end["address"] else end["label"]
        for end in (src, dst)
    ]
    found = [f"{' → '.join(ends)}, {plan['protocol']}{port}, IPv{plan['version']}"]
    grid = [[f"  {MARKS[hop['mark']]}", hop["host"] or "", hop["where"], hop["text"]] for hop in result["hops"]]
    found += columns.lines(grid) if grid else []
    found.append(result["verdict"])
    if result["cure"]:
        found.append(f"Cure: {result['cure']}")
    return found
