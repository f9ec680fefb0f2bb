# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of an explanation on one host: listen, send, collect."""

from __future__ import annotations

import contextlib

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.explain import capture, facts, trace_text
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import agent as guest_agent
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import session, steps

HOST = "host"


class Steps:
    """What the steps of one module call need.

    :param host: module_utils.host.Host.
    :param kind: kvm or outside.
    :param connection: libvirt.virConnect, or None on a machine outside.
    :param plan: of resolve.plan().
    """

    def __init__(self, host, kind, connection, plan):
        self.host = host
        self.kind = kind
        self.connection = connection
        self.plan = plan
        self.capture = capture.Capture(host, plan["session"])

    def _end(self):
        if self.kind == "kvm":
            self.capture.end()

    def _probe(self, end):
        if end == HOST:
            return session.Probe(session.HostChannel(self.host), self.plan["session"])
        return session.Probe(session.GuestChannel(guest_agent.Agent(self.connection, end)), self.plan["session"])

    def listen(self, ends):
        """Begin to trace, and start the probes of C(ends); return {end: why it has none, or None}."""
        if self.kind == "kvm":
            plan = self.plan
            self.capture.begin(trace_text.table(plan["version"], plan["protocol"], plan["token"], plan["macs"]))
        found = {}
        try:
            for end in ends:
                mode = "socket" if end == HOST and self.kind == "kvm" else "wire"
                try:
                    found[end] = {"error": None, **self._probe(end).start(mode)}
                except VirtnetError as error:
                    found[end] = {"error": steps.words(error)}
        except BaseException:
            self._end()
            raise
        return {"probes": found, "counters": facts.counters()}

    def send(self, end, item, listening):
        """Have the end that asks send its packet; the others are told what to look for."""
        tokens = (self.plan["token"], self.plan["token"])
        errors = {}
        try:
            for one in listening:
                if one != end:
                    with self._noted(errors, one):
                        self._probe(one).send(tokens, [])
            if end in listening:
                with self._noted(errors, end):
                    self._probe(end).send(tokens, [item])
        except BaseException:
            self._end()
            raise
        return errors

    @staticmethod
    @contextlib.contextmanager
    def _noted(errors, end):
        try:
            yield
        except VirtnetError as error:
            errors[end] = steps.words(error)

    def collect(self, listening, lookups):
        """Return all that was seen here, and end what was begun.

        :param lookups: {direction: {source, target, iif}}, for packets that were not seen.
        """
        tokens = (self.plan["token"], self.plan["token"])
        evidence, errors = {}, {}
        try:
            for end in listening:
                with self._noted(errors, end):
                    evidence[end] = self._probe(end).collect(tokens)
        finally:
            trace = self.capture.finish() if self.kind == "kvm" else {}
        evidence.update({end: {"error": text} for end, text in errors.items()})
        routes = {}
        for direction in (trace_text.ASK, trace_text.REPLY):
            wanted = dict(lookups.get(direction) or {})
            for visit in trace.get(direction) or ():
                if (visit["layer"], visit["hook"]) == ("ip", "prerouting") and visit["daddr"]:
                    wanted.update(source=visit["saddr"], target=visit["daddr"], iif=visit["iif"])
            if wanted.get("target"):
                routes[direction] = {
                    **wanted,
                    "in": facts.route(self.host, wanted["target"], wanted.get("source"), wanted.get("iif")),
                    "out": facts.route(self.host, wanted["target"]),
                    "back": facts.route(self.host, wanted["source"]) if wanted.get("source") else None,
                }
        asked = self.plan.get("guest_route")
        inner = {}
        if asked and self.connection is not None and asked["guest"] in listening:
            source = next((one.get("source") for one in (evidence.get(asked["guest"]) or {}).get("arrivals") or ()), None)
            inner = {"guest_route": facts.route_in_guest(self.connection, asked["guest"], source or asked["target"])}
        if self.kind == "outside":
            source = next((one.get("source") for one in (evidence.get(HOST) or {}).get("arrivals") or ()), None)
            if source:
                routes["back"] = {"target": source, "out": facts.route(self.host, source)}
        return {"trace": trace, "evidence": evidence, "routes": routes, "counters": facts.counters(), **inner}
