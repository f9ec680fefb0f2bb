# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ends between which a proof's packets go: guests in their networks, KVM hosts, outside machines. Pure.

They are made from what was declared (networks, guests) and what the step C(listen) of guest_probe found on each
host: its C(endpoints), C({name: {kind, port, families, links, error}}), where C(host) is the host itself.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import contract, models, names

VERSIONS = (4, 6)
HOST = "host"


@dataclass(frozen=True)
class End:
    """One end. C(process) names the probe on C(host) that serves it, C(label) is what people read.

    C(addresses) are, by IP version, those by which it is asked, the first, and from which its own packets may come;
    C(problems), by IP version, say why it cannot be asked although it should.
    """

    label: str
    kind: str  # guest, host, outside
    host: str
    process: str
    port: Optional[int] = None
    network: Any = None
    dev: Optional[str] = None
    mac: Optional[str] = None
    addresses: dict = field(default_factory=dict)
    problems: dict = field(default_factory=dict)

    def has(self, version):
        """Return whether it takes part in an IP version, able or not."""
        return bool(self.addresses.get(version) or self.problems.get(version))

    def address(self, version):
        found = self.addresses.get(version)
        return found[0] if found else None

    @property
    def party(self):
        """The end as the contract knows it."""
        return contract.Endpoint(self.kind, self.host, self.network)


def interfaces(link):
    """Return the addresses of a link that others can use, as interfaces."""
    found = [ipaddress.ip_interface(text) for text in link["addresses"]]
    return [one for one in found if not (one.ip.is_link_local or one.ip.is_loopback or one.ip.is_multicast)]


def versions(texts):
    """Return the texts' addresses by IP version."""
    found = {version: [] for version in VERSIONS}
    for text in texts:
        one = ipaddress.ip_interface(text)
        found[one.version].append(str(one.ip))
    return {version: tuple(values) for version, values in found.items()}


def networks_of(host, items):
    """Return the networks that a host is to have, running."""
    mine = [item for item in items if not item.get("hosts") or host in item["hosts"]]
    return [one for one in models.parse_networks(mine) if one.state in ("active", "present")]


def guests_of(host, items):
    """Return the guests that a host is to have, running."""
    return [
        item for item in items
        if item.get("host") in (None, host) and (item.get("state") or "running") == "running"
    ]


@dataclass(frozen=True)
class Machine:
    """A KVM host or an outside machine: its links, and the addresses by which the LAN knows it."""

    name: str
    kind: str  # host, outside
    networks: tuple
    links: dict
    end: End
    lan: dict  # version: interfaces

    def shared(self, other, version):
        """Return (mine, the other's) LAN addresses of one subnet, or None."""
        for mine in self.lan[version]:
            for its in other.lan[version]:
                if mine.network == its.network:
                    return str(mine.ip), str(its.ip)
        return None

    def on_link(self, name, version):
        """Return its addresses of an IP version on one link."""
        link = self.links.get(name)
        return [str(one.ip) for one in interfaces(link) if one.version == version] if link else []

    def link_of(self, address):
        """Return the name of the link that has an address."""
        for name, link in self.links.items():
            if any(str(one.ip) == address for one in interfaces(link)):
                return name
        return None

    def bridge_mac(self, network):
        link = self.links.get(network.bridge)
        return link["mac"] if link else None

    def lan_mac(self, version):
        """Return the MAC address of the link that has its first LAN address of an IP version, or None."""
        first = self.lan[version][:1]
        return next((link["mac"] for link in self.links.values() if first and first[0] in interfaces(link)), None)

    def own(self, version, but=None):
        """Return all of its addresses of an IP version, but those on one link."""
        found = [one for name, link in self.links.items() if name != but for one in interfaces(link)]
        return [str(one.ip) for one in found if one.version == version]


def machine(name, facts):
    """Return the Machine of what C(listen) found on one host of the play."""
    kind = "outside" if facts["kind"] == "outside" else "host"
    networks = tuple(networks_of(name, facts.get("networks") or []))
    found = facts["endpoints"].get(HOST) or {}
    links = {link["name"]: link for link in found.get("links") or []}
    inner = {one.bridge for one in networks if one.model != "bridged"}
    uplinks = found.get("uplinks") or []
    outer = [link for link in links if link not in inner and link != "lo"]
    outer.sort(key=lambda link: (link not in uplinks, link))
    facing = [one for link in outer for one in interfaces(links[link])]
    lan = {version: [one for one in facing if one.version == version] for version in VERSIONS}
    own = versions(str(one) for link in [*outer, *sorted(inner & set(links))] for one in interfaces(links[link]))
    error = found.get("error")
    problems = dict.fromkeys(VERSIONS, f"{name}: {error}") if error else {
        version: f"{name}: its probe has no {family(version)}" for version in VERSIONS
        if own[version] and family(version) not in found.get("families", [])
    }
    end = End(name, kind, name, HOST, found.get("port"), addresses=own, problems=problems)
    return Machine(name, kind, networks, links, end, lan)


def family(version):
    return f"ipv{version}"


def _link(links, nic, number, guest, host, network):
    """Return the link of a guest's NIC: by MAC, else by subnet, else by its place."""
    mac = (nic.get("mac") or names.guest_mac(host, guest, number)).lower()
    for link in links:
        if link["mac"] == mac:
            return link
    for link in links:
        if any(one.ip in subnet for one in interfaces(link) for subnet in network.subnets):
            return link
    return links[number] if number < len(links) else None


def nic_addresses(guest, nic, network, mac=None):
    """Return {version: the address that a NIC must have, or None for any}, for the versions that it must have."""
    declared = nic.get("addresses") or ["dhcp"]
    wanted: dict = {}
    if "dhcp" in declared:
        wanted.update({one.version: None for one in network.addresses or ()})
        if network.model == "bridged":
            # Which it is the LAN's DHCP decides, and nobody knows beforehand.
            wanted.update({one.version: None for one in network.subnets} or {4: None})
        for one in (network.dhcp.reservations if network.dhcp else None) or ():
            if (one.mac and one.mac == mac) or (one.mac is None and one.name == guest):
                wanted[one.address.version] = str(one.address)
    for text in declared:
        if text != "dhcp":
            one = ipaddress.ip_interface(text)
            wanted[one.version] = str(one.ip)
    return wanted


def lan_link(network):
    """Return the name of the host's link that is on the LAN of a bridged network."""
    return network.uplink if network.attach == "macvtap" else network.bridge


def lan_versions(nic, network, links):
    """Return the IP versions that a NIC with addresses of its LAN may well get: those that its host has there.

    A router advertisement brings IPv6 if the LAN has one. Nobody declares that, so it is waited for, and told if it did not come.

    :param links: the host's.
    """
    if network.model != "bridged" or "dhcp" not in (nic.get("addresses") or ["dhcp"]):
        return set()
    name = lan_link(network)
    return {one.version for link in links if link["name"] == name for one in interfaces(link)}


def nic_state(guest, number, nic, network, host, links):
    """Return (link, addresses by version, problems by version) of a guest's NIC as it was found."""
    link = _link(links, nic, number, guest, host, network)
    wanted = nic_addresses(guest, nic, network, link["mac"] if link else None)
    if link is None:
        return None, {}, dict.fromkeys(wanted or VERSIONS, f"the guest has no NIC number {number}")
    found, problems = {}, {}
    for version in VERSIONS:
        subnets = [one for one in network.subnets if one.version == version]
        usable = [
            str(one.ip) for one in interfaces(link)
            if one.version == version and (not network.subnets or any(one.ip in subnet for subnet in subnets))
        ]
        must = wanted.get(version)
        if must in usable:
            usable.remove(must)
            usable.insert(0, must)
        elif version in wanted and (must or not usable):
            has = ", ".join(link["addresses"]) or "none"
            lacks = f"the address {must}" if must else f"an {family(version)} address"
            problems[version] = f"it lacks {lacks} in {network.name} (on {link['name']}: {has})"
        found[version] = tuple(usable)
    return link, found, problems


def tap(guest, number, nic):
    """Return the name of the host's link of a guest's NIC."""
    return nic.get("dev") or names.tap_name(guest, number)


def _adrift(guest, number, nic, network, plugged):
    """Return what is wrong if a NIC is not in its network's bridge: nothing reaches such a guest, and no I(no) is worth anything.

    :param plugged: {link: the bridge that it is in, or None}, of what is known.
    """
    link = tap(guest, number, nic)
    if network.attach != "bridge" or plugged.get(link, network.bridge) == network.bridge:
        return None
    where = f"in {plugged[link]}" if plugged[link] else "in no bridge"
    return f"its NIC {link} is {where}, and not in {network.bridge} of {network.name}"


def guest_ends(name, facts):
    """Return the ends of the guests of one host, one for each NIC in a network, and notes on what is left out."""
    networks = {one.name: one for one in networks_of(name, facts.get("networks") or [])}
    found, notes = [], []
    for item in guests_of(name, facts.get("guests") or []):
        guest = item["name"]
        known = facts["endpoints"].get(guest) or {"error": "it was not asked"}
        nics = item.get("nics") or []
        for number, nic in enumerate(nics):
            network = networks.get(nic.get("network"))
            if network is None:
                notes.append(f"{guest}@{name}: its network {nic.get('network')} is not among the networks; left out.")
                continue
            if (nic.get("link") or "up") == "down":
                continue
            label = f"{guest}@{name}" if len(nics) == 1 else f"{guest}[{network.name}]@{name}"
            if known.get("error"):
                wanted = nic_addresses(guest, nic, network) or {4: None}
                problems = dict.fromkeys(wanted, f"{label}: {known['error']}")
                found.append(End(label, "guest", name, guest, network=network, problems=problems))
                continue
            links = known.get("links") or []
            link, addresses, problems = nic_state(guest, number, nic, network, name, links)
            for version in VERSIONS:
                if addresses.get(version) and family(version) not in known.get("families", []):
                    problems[version] = f"its probe has no {family(version)}"
            adrift = _adrift(guest, number, nic, network, (facts["endpoints"].get(HOST) or {}).get("plugged") or {})
            if adrift:
                problems = dict.fromkeys({*problems, *(version for version in VERSIONS if addresses.get(version))}, adrift)
            problems = {version: f"{label}: {text}" for version, text in problems.items()}
            for version in sorted(lan_versions(nic, network, (facts["endpoints"].get(HOST) or {}).get("links") or [])):
                if not addresses.get(version) and version not in problems:
                    notes.append(f"{label} has no {family(version)} address, its host has one on that LAN; left out.")
            dev, mac = (link["name"], link["mac"]) if link else (None, None)
            found.append(End(label, "guest", name, guest, known.get("port"), network, dev, mac, addresses, problems))
    return found, notes
