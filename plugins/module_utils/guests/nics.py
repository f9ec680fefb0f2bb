# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NICs of a host's guests: where each is plugged in, and the addresses that the guest says it has."""

from __future__ import annotations

import functools

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import agent, domain
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.client import Domains

#: A guest without an agent must not keep the others waiting, so each has so many seconds for its answer.
ANSWER_S = 3


def gather(uri):
    """Return {guest: [its NICs]}; C(addresses) is null where no agent tells them."""
    client = Domains(uri)
    found = client.gather()
    nics = {name: of_domain(one.main if one.live is None else one.live) for name, one in found.items()}
    asked = [name for name, one in found.items() if one.active and nics[name] and _has_agent(one.live)]
    told = agent.in_parallel({name: functools.partial(_links, client.connection, name) for name in asked})
    for name, links in told.items():
        if isinstance(links, VirtnetError):
            continue
        by_mac = {link["mac"]: link["addresses"] for link in links}
        for nic in nics[name]:
            nic["addresses"] = by_mac.get(nic["mac"])
    return nics


def _links(connection, name):
    guest = agent.Agent(connection, name)
    guest.ping(ANSWER_S)
    return guest.interfaces()


def _has_agent(xml):
    """Return whether the guest's own end of the agent's channel is open, so that there is somebody to ask."""
    targets = domain.load(xml).iterfind("devices/channel/target")
    return any(one.get("name") == "org.qemu.guest_agent.0" and one.get("state") == "connected" for one in targets)


def of_domain(xml):
    """Return the NICs of a definition, in its order."""
    found = []
    for node in domain.load(xml).iterfind("devices/interface"):
        mac, target = node.find("mac"), node.find("target")
        source, link = node.find("source"), node.find("link")
        where = dict(source.attrib) if source is not None else {}
        found.append({
            "mac": (mac.get("address") or "").lower() if mac is not None else None,
            "type": node.get("type"),
            "network": where.get("network"),
            "link": where.get("bridge") or where.get("dev"),
            "dev": target.get("dev") if target is not None else None,
            "up": link is None or link.get("state") != "down",
            "addresses": None,
        })  # fmt: skip
    return found
