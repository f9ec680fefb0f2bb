# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a KVM host says of its guests (guest_lister.py), read and doubted. Pure.

A guest's addresses are where the next play sends its commands, so a guest must not be able to name somebody else's: not its
host's, not another guest's, none outside of its network's subnets. Nothing that a guest says is kept but addresses, as
addresses: no name of a host or a link, no zone of an address.
"""

from __future__ import annotations

import ipaddress
import json
import re
import types

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.agent import Agent
from ansible_collections.virtnet.kvm.plugins.module_utils.values import NAME
from ansible_collections.virtnet.kvm.plugins.plugin_utils.guest_lister import MARK

#: Where addresses come from; whom to believe more comes first.
SOURCES = ("reservation", "lease", "agent", "neighbours")
MODELS = ("isolated", "routed", "nat", "bridged")
#: What libvirt's forward modes are to us, where a network has no mark of ours.
MODES = {None: "isolated", "nat": "nat", "route": "routed", "open": "routed", "bridge": "bridged"}
#: Networks whose guests their host reaches come before those whose it does not.
REACHED = {"routed": 0, "nat": 0, "bridged": 0, None: 1, "macvtap": 2, "isolated": 3}

_NAME = re.compile(NAME)
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LINK = re.compile(r"[A-Za-z0-9_.:@-]{1,15}")


#: Stands for the connection of an agent that has answered before.
_TOLD = types.SimpleNamespace(lookupByName=str)


def document(text):
    """Return the JSON of a host's reply; raise InvalidInput if there is none, or if it tells of an error."""
    line = next((one for one in reversed(text.splitlines()) if one.startswith(MARK)), None)
    if line is None:
        raise InvalidInput("it did not answer in time, or with something else than a list of guests")
    try:
        found = json.loads(line[len(MARK) :])
    except (ValueError, RecursionError) as error:
        raise InvalidInput("its list of guests is no JSON") from error
    if not isinstance(found, dict):
        raise InvalidInput("its list of guests is none")
    if "error" in found:
        raise InvalidInput(_line(found["error"]))
    return found


def _line(text):
    """Return a text of a host's as one line that a terminal can be shown."""
    return "".join(one if one.isprintable() else " " for one in str(text))[:500]


def _matching(pattern, value):
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def address(value):
    """Return an address that somebody may be connected to by, or None."""
    # A zone is free text.
    if not isinstance(value, str) or "%" in value:
        return None
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped or found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        return None
    return found


def _pairs(value):
    """Return [(MAC, address)] of a list of pairs, those that are any."""
    rows = value if isinstance(value, list) else []
    rows = [one for one in rows if isinstance(one, list) and len(one) == 2 and isinstance(one[0], str)]
    found = [(_matching(_MAC, mac.lower()), address(text)) for mac, text in rows]
    return [(mac, one) for mac, one in found if mac and one]


def _subnet(text):
    try:
        return ipaddress.ip_interface(text).network
    except ValueError:
        return None


def _own(value):
    """Return {link: [interface]} of a host's own addresses."""
    links = value if isinstance(value, dict) else {}
    found = {}
    for name, texts in links.items():
        for text in texts if isinstance(texts, list) else []:
            if isinstance(text, str) and "%" not in text:
                try:
                    found.setdefault(name, []).append(ipaddress.ip_interface(text))
                except ValueError:
                    continue
    return found


def _network(item, own):
    """Return a network in our own words."""
    item = item if isinstance(item, dict) else {}
    model = item.get("model")
    model = model if model in MODELS else MODES.get(item.get("mode"))
    bridge = _matching(_LINK, item.get("bridge"))
    rows = item.get("subnets") if isinstance(item.get("subnets"), list) else []
    rows = [one for one in rows if isinstance(one, list) and len(one) == 2 and "%" not in str(one)]
    # libvirt's schema has no prefix where it means all bits.
    subnets = [_subnet(f"{text}/{size}" if size else str(text)) for text, size in rows]
    # A bridge of the host's has its addresses, and not libvirt's network.
    subnets += [one.network for one in own.get(bridge, ()) if not one.ip.is_link_local]
    return {
        "model": model,
        "macvtap": model == "bridged" and bridge is None,
        "bridge": bridge,
        # On a LAN there may be subnets that its host is not in.
        "subnets": [] if model == "bridged" else [one for one in subnets if one is not None],
        "reservation": _pairs(item.get("reservations")),
        "lease": _pairs(item.get("leases")),
    }


def _of_agent(text):
    """Return [(MAC, address)] that a guest's agent told."""
    if not isinstance(text, str):
        return []
    try:
        links = Agent(_TOLD, "guest", lambda *_: text).interfaces()
    except VirtnetError:
        return []
    found = [(link["mac"], address(text.partition("/")[0])) for link in links for text in link["addresses"]]
    return [(mac, one) for mac, one in found if one]


class Claims:
    """Whose the addresses of a host's networks are.

    :param given: {(network, address): the MAC address that it was given to}.
    :param subnets: of all networks of the host.
    :param of_host: addresses of the host itself.
    """

    def __init__(self, given, subnets, of_host):
        self.given, self.subnets, self.of_host = given, subnets, of_host

    def may_have(self, mac, one, name, subnets):
        """Return whether a NIC in the network C(name) of C(subnets) may have an address."""
        # Where nobody knows the network's subnets, as on a LAN, it is at least none of another network.
        there = any(one in subnet for subnet in subnets or self.subnets)
        return one not in self.of_host and there == bool(subnets) and self.given.get((name, one), mac) == mac


def parse(text, sources=SOURCES):
    """Return (guests, warnings) of a host's reply.

    A guest: {name, uuid, active, owned, nics: [{mac, network, model, macvtap, dev, addresses: [text]}]}.
    """
    told, warnings, guests = document(text), [], []
    own = _own(told.get("addresses"))
    networks = told.get("networks") if isinstance(told.get("networks"), dict) else {}
    networks = {name: _network(item, own) for name, item in networks.items() if _matching(_NAME, name)}
    claims = Claims(
        {(network, one): mac for network, item in networks.items() for kind in SOURCES[:2] for mac, one in item[kind]},
        [subnet for item in networks.values() for subnet in item["subnets"]],
        {one.ip for rows in own.values() for one in rows},
    )
    for item in told.get("guests") if isinstance(told.get("guests"), list) else []:
        if not isinstance(item, dict):
            continue
        name = _matching(_NAME, item.get("name"))
        if name is None:
            warnings.append(f"the guest {_line(item.get('name'))!r} has a name that an inventory cannot have; left out")
            continue
        said = {"agent": _of_agent(item.get("agent")), "neighbours": _pairs(item.get("neighbours"))}
        nics = item.get("nics") if isinstance(item.get("nics"), list) else []
        nics = [_nic(one, networks, said, sources, claims) for one in nics if isinstance(one, dict)]
        guests.append(
            {
                "name": name, "uuid": _matching(_UUID, item.get("uuid")), "active": item.get("active") is True,
                "owned": item.get("owned") is True, "nics": [one for one in nics if one],
            }
        )  # fmt: skip
    return sorted(guests, key=lambda one: one["name"]), warnings


def _nic(item, networks, said, sources, claims):
    """Return a NIC with its addresses, the most credible first; None without a MAC address."""
    mac = _matching(_MAC, str(item.get("mac")).lower())
    if mac is None:
        return None
    name = item.get("network") if item.get("network") in networks else None
    network = networks.get(name) or _network({"mode": "bridge", "bridge": item.get("bridge")}, {})
    found = []
    for source in (one for one in SOURCES if one in sources):
        for owner, one in said[source] if source in said else network[source]:
            if owner == mac and one not in found and claims.may_have(mac, one, name, network["subnets"]):
                found.append(one)
    return {
        "mac": mac, "network": name, "model": network["model"], "macvtap": network["macvtap"],
        "dev": _matching(_LINK, item.get("dev")), "addresses": [str(one) for one in found],
    }  # fmt: skip


def best(guest, networks=(), families=("ipv4", "ipv6")):
    """Return (NIC, address) by which a guest is asked, or (None, None).

    :param networks: names of networks, the most wanted first; any other comes after them.
    :param families: those that may be used, the most wanted first.
    """
    candidates = []
    for place, nic in enumerate(guest["nics"]):
        wish = networks.index(nic["network"]) if nic["network"] in networks else len(networks)
        reached = REACHED["macvtap" if nic["macvtap"] else nic["model"]]
        for rank, text in enumerate(nic["addresses"]):
            family = f"ipv{ipaddress.ip_address(text).version}"
            if family in families:
                candidates.append(((wish, reached, families.index(family), place, rank), nic, text))
    return min(candidates, key=lambda one: one[0])[1:] if candidates else (None, None)
