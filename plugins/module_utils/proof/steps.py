# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The three steps of a proof on one host: listen, send, collect; all its guests at once."""

from __future__ import annotations

import functools
import json
import os
import time

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import agent as guest_agent
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import answers, ends, session
from ansible_collections.virtnet.kvm.plugins.module_utils.proof.ends import HOST

#: Seconds between two looks at whether a guest has its addresses by now.
PAUSE_S = 0.3
UNUSABLE = ("tentative", "dadfailed", "deprecated")


def new_session():
    """Return the text that names a proof, and its folders; nobody guesses it."""
    return os.urandom(8).hex()


def host_links(host, taps=()):
    """Return (links, uplinks, plugged) of the managed host: [{name, mac, addresses}], the links of its default routes, and
    {name: the bridge that it is in, or None} of those of C(taps) that are there.
    """
    links, uplinks, plugged = [], [], {}
    for link in json.loads(host.run(["ip", "-j", "address", "show"], what="listing the links")[1] or "[]"):
        if link.get("ifname") is None or link["ifname"] == "lo":
            continue
        if link["ifname"] in taps:
            plugged[link["ifname"]] = link.get("master")
        rows = link.get("addr_info") or []
        addresses = [
            f"{one['local']}/{one['prefixlen']}" for one in rows
            if one.get("family") in ("inet", "inet6") and "local" in one and not any(one.get(flag) for flag in UNUSABLE)
        ]
        if addresses or link.get("linkinfo", {}).get("info_kind") == "bridge" or link.get("link_type") == "ether":
            links.append({"name": link["ifname"], "mac": link.get("address", ""), "addresses": addresses})
    for version in ("-4", "-6"):
        command = ["ip", "-j", version, "route", "show", "default"]
        rc, out, _err = host.run(command, check=False)
        for route in json.loads(out or "[]") if rc == 0 else []:
            if route.get("dev") and route["dev"] not in uplinks:
                uplinks.append(route["dev"])
    # Taps and cables without an address say nothing that a proof needs, and a host may have thousands.
    kept = [one for one in links if one["addresses"] or os.path.isdir(f"/sys/class/net/{one['name']}/bridge")]
    return kept, uplinks, plugged


def extra_ports(networks):
    """Return the first ports of what policies open: something must listen there."""
    accesses = [one for network in networks for one in (*network.policy.allow_to, *network.policy.host_access)]
    return sorted({first for access in accesses for first, last in access.ports})


def forwarded_ports(networks):
    """Return the first and last ports of guests that port forwards lead to."""
    return sorted({port for network in networks for rule in network.port_forwards for port in rule.to_ports})


def words(error):
    """Return what went wrong at an end, whose name the reader is told anyway."""
    return f"{error.problem}. {error.cure}" if error.cure else error.problem


class Steps:
    """What the steps of one module call need.

    :param host: module_utils.host.Host.
    :param connection: libvirt.virConnect, or None when no guest takes part.
    :param name: the host's name in the inventory.
    """

    def __init__(self, host, connection, name):
        self.host = host
        self.connection = connection
        self.name = name

    def _probe(self, end, text):
        if end == HOST:
            return session.Probe(session.HostChannel(self.host), text)
        return session.Probe(session.GuestChannel(guest_agent.Agent(self.connection, end)), text)

    def listen(self, text, outside, guests, networks, port, wait_s):
        """Start the probes of the host and its guests; return C(endpoints).

        :param text: the session.
        :param guests: items of the data model, or of C(name) alone.
        :param networks: their Networks; guests are waited for until they have their addresses in them.
        """
        ports = extra_ports(networks)
        inner = sorted({*ports, *forwarded_ports(networks)})
        by_name = {one.name: one for one in networks}
        taps = {ends.tap(item["name"], number, nic) for item in guests for number, nic in enumerate(item.get("nics") or ())}
        links, uplinks, plugged = host_links(self.host, taps)
        calls = {HOST: functools.partial(self._listen_host, text, outside, port, ports)}
        for item in guests:
            calls[item["name"]] = functools.partial(self._listen_guest, text, item, by_name, port, inner, wait_s, links)
        found = guest_agent.in_parallel(calls)
        if isinstance(found[HOST], VirtnetError):
            raise found[HOST]
        found[HOST].update(links=links, uplinks=uplinks, plugged=plugged)
        return {
            end: {"kind": "guest", "error": words(one)} if isinstance(one, VirtnetError) else one
            for end, one in found.items()
        }

    def _listen_host(self, text, outside, port, ports):
        ready = self._probe(HOST, text).start("wire" if outside else "socket", ports, port)
        return {"kind": "outside" if outside else "host", **ready}

    def _listen_guest(self, text, item, networks, port, ports, wait_s, host):
        probe = self._probe(item["name"], text)
        ready = probe.start("wire", ports, port)
        deadline = time.monotonic() + wait_s
        while True:
            links = answers.links(probe.channel.agent.interfaces())
            if time.monotonic() >= deadline or not self._lacking(item, links, networks, host):
                return {"kind": "guest", "links": links, **ready}
            time.sleep(PAUSE_S)

    def _lacking(self, item, links, networks, host):
        """Return whether a NIC has not all of its addresses yet; C(host): the host's own links."""
        for number, nic in enumerate(item.get("nics") or []):
            network = networks.get(nic.get("network"))
            if network is None or (nic.get("link") or "up") == "down":
                continue
            _link, found, problems = ends.nic_state(item["name"], number, nic, network, self.name, links)
            if problems or any(not found.get(version) for version in ends.lan_versions(nic, network, host)):
                return True
        return False

    def send(self, text, tokens, sends, processes):
        """Let each probe send its part; the others learn which tokens to look for."""
        calls = {
            end: lambda end=end: self._probe(end, text).send(tokens, sends.get(end) or []) for end in processes
        }
        found = guest_agent.in_parallel(calls)
        return {end: f"{end}: {words(one)}" for end, one in found.items() if isinstance(one, VirtnetError)}

    def collect(self, text, tokens, processes):
        """Return {end: {arrivals, sends} or {error}}, and end the probes."""
        calls = {end: lambda end=end: self._probe(end, text).collect(tokens) for end in processes}
        found = guest_agent.in_parallel(calls)
        errors = {end: {"error": f"{end}: {words(one)}"} for end, one in found.items() if isinstance(one, VirtnetError)}
        return {**found, **errors}
