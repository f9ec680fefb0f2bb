# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the hosts found of a packet, and the hops that are told of it. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.explain import owners

OK, STOP, UNSEEN = "ok", "stop", "unseen"
GUEST, KERNEL = "the guest itself", "the kernel"


class Stopped(Exception):
    """The first thing that stops the packet was found."""


class Seen:
    """What was found of one packet and its reply, and what is told of it.

    :param plan: of resolve.plan().
    :param hosts: {name: result of facts.look()}.
    :param found: {name: {listen, send, collect}}, the results of the steps of packet_trace.
    """

    def __init__(self, plan, hosts, found):
        self.plan = plan
        self.hosts = hosts
        self.found = found
        self.src, self.dst = plan["src"], plan["dst"]
        self.version = plan["version"]
        self.hops = []
        #: What stands before the words of a hop on the way back.
        self.prefix = ""
        self.stop_at = None
        row = self.sent()
        self.replied = bool(row and row.get("replied_ms") is not None)
        self.refused = row.get("refused") if row else None
        self.arrival = next(iter(self.evidence(self.dst).get("arrivals") or ()), None)
        #: Whether no packet could be sent: then all there is are looks.
        self.blind = row is None

    # -- what was found

    def evidence(self, end):
        return (self.found.get(end["host"]) or {}).get("collect", {}).get("evidence", {}).get(end["process"]) or {}

    def sent(self):
        return next(iter(self.evidence(self.src).get("sends") or ()), None)

    def visits(self, host, direction):
        return (self.found.get(host) or {}).get("collect", {}).get("trace", {}).get(direction) or []

    def route(self, host, direction):
        return (self.found.get(host) or {}).get("collect", {}).get("routes", {}).get(direction) or {}

    @staticmethod
    def name(end):
        return end["process"] if end["kind"] == "guest" else end["label"]

    def why_silent(self, end):
        """Return why an end could not take part, or None."""
        mine = self.found.get(end["host"]) or {}
        for text in (
            (mine.get("listen", {}).get("probes", {}).get(end["process"]) or {}).get("error"),
            (mine.get("send", {}).get("errors") or {}).get(end["process"]),
            self.evidence(end).get("error"),
        ):
            if text:
                return text
        return None

    # -- what is told

    def ok(self, host, place, text):
        self.hops.append({"mark": OK, "host": host, "where": place, "text": self.prefix + text})

    def unseen(self, host, place, text):
        self.hops.append({"mark": UNSEEN, "host": host, "where": place, "text": text})

    def stop(self, host, place, text, owner, cure, drop=None):
        text = self.prefix + text
        self.hops.append({"mark": STOP, "host": host, "where": place, "text": text})
        self.stop_at = {"host": host, "where": place, "what": text, "owner": owner, "cure": cure, "drop": drop}
        raise Stopped

    def dropped(self, host, place, drop):
        whose = owners.owner(drop, drop.get("chains") or ())
        self.stop(host, place, owners.where(drop), whose, owners.cure(drop, whose, host), drop)
