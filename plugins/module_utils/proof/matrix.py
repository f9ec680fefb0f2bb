# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The expected matrix: every cell that a proof looks at, and what each end has to send for it. Pure.

Yes and no come from contract.verdict() alone; this module says between which addresses they are tried, and how:
with the sender's own routes, or, where a no must not be owed to a missing route, by the next hop itself (C(via)).
"""

from __future__ import annotations

import hashlib
import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import contract, values
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import ends as ends_of
from ansible_collections.virtnet.kvm.plugins.module_utils.proof.ends import VERSIONS, family

PROTOCOLS = ("icmp", "tcp", "udp")
DNS_PORT = 53
#: First of the source ports; all are below those that kernels give away, and none is the port of the proof.
SPORT = 12000
PAIRS = ("all", "one")


def token_base(sessions):
    """Return the first token of a proof; tokens of two proofs at one time are apart, and none overflows 32 bits."""
    digest = hashlib.sha256("\0".join(sorted(sessions)).encode()).digest()
    return 0x10000000 + int.from_bytes(digest[:4], "big") % 0xE0000000


class Builder:
    """Collects cells; what it needs to know of the fleet is gathered once."""

    def __init__(self, fleet, dns_names=(), pairs="all"):
        self.machines = {name: ends_of.machine(name, facts) for name, facts in fleet.items()}
        self.hosts = [one for one in self.machines.values() if one.kind == "host"]
        self.outside = [one for one in self.machines.values() if one.kind == "outside"]
        self.guests, self.cells, self.notes = [], [], []
        self.dns_names = dns_names
        self.pairs = pairs
        for one in self.hosts:
            found, notes = ends_of.guest_ends(one.name, fleet[one.name])
            self.guests += found
            self.notes += notes
        self.base = token_base(str(facts["session"]) for facts in fleet.values())

    # -- one cell

    def add(self, src, dst, version, protocol, address, verdict, reply=True, control=False, **how):
        """Add the cell C(src) → C(dst) at C(address).

        :param how: port, via, dev, source, name (of DNS); C(forward), the port forward by which it goes, C(HOST:PORT).
        """
        port = how.pop("port", None) or dst.port
        forward = how.pop("forward", None)
        mark = f" {how['name']}" if how.get("name") else ""
        where = f" ({address})" if src.kind == "guest" and dst.kind == "host" and src.host == dst.host else ""
        where = f" via {forward}" if forward else where
        number = f"/{port}" if protocol in ("tcp", "udp") and port != dst.port and not forward else ""
        cell = {
            "name": f"{src.label} → {dst.label}{where} {family(version)} {protocol}{number}{mark}",
            "from": src.label, "to": dst.label, "family": family(version), "protocol": protocol,
            "expected": "yes" if verdict.allowed else "no", "contract": verdict.why, "address": address, "port": port,
            "source_expected": self.sources(src, version, verdict.source) if verdict.allowed else None,
            "reply": bool(reply), "control": control, "token": None, "via": how.get("via"), "forward": forward,
            "sender": [src.host, src.process], "receiver": [dst.host, dst.process],
        }
        cell["networks"] = list(dict.fromkeys(f"{one.network.name}@{one.host}" for one in (src, dst) if one.kind == "guest"))
        cell["problem"] = src.problems.get(version) or dst.problems.get(version)
        if cell["problem"] is None and address is None:
            cell["problem"] = f"{dst.label} has no {family(version)} address"
        if cell["problem"] is None:
            cell["token"] = self.base + len(self.cells)
            cell["how"] = {key: value for key, value in how.items() if value is not None}
        self.cells.append(cell)
        return cell

    def sources(self, src, version, source):
        """Return the addresses under which a conversation of C(src) may arrive."""
        if source == "host":
            return self.machines[src.host].own(version, but=src.network.bridge)
        return list(src.addresses.get(version, ())) if src.kind == "guest" else self.machines[src.host].own(version)

    def each(self, src, dst, version, address, reply=True, forced=None, **how):
        """Add the cells of all protocols. What is allowed goes by the sender's own routes, what is not by C(forced)."""
        for protocol in PROTOCOLS:
            verdict = contract.verdict(src.party, dst.party, protocol, dst.port)
            extra = {} if verdict.allowed else forced or {}
            self.add(src, dst, version, protocol, address, verdict, reply, **how, **extra)

    # -- how a no is forced

    def forced(self, src, version, host=None):
        """A guest that has no route out puts its packet on the host's bridge itself, for the host to forward.

        :param host: that the packet is for; where an isolated network reaches there, it is that host's bridge.
        """
        if src.network.model == "bridged":
            return self.handed(src, version, src.host)
        there = host is not None and src.network.model == "isolated" and self._reaches(src.network, host)
        mac = self.machines[host if there else src.host].bridge_mac(src.network)
        if mac is None or src.dev is None or src.address(version) is None:
            return {}
        return {"via": mac, "dev": src.dev, "source": src.address(version)}

    def handed(self, src, version, host):
        """A guest on the LAN hands its packet to a host itself, as the outside does: nobody's routing table is touched."""
        mac = self.machines[host].lan_mac(version)
        if mac is None or src.dev is None or src.address(version) is None:
            return {}
        return {"via": mac, "dev": src.dev, "source": src.address(version)}

    # -- the kinds of cells

    def guest_to_guest(self):
        seen = {}
        for src in self.guests:
            for dst in self.guests:
                if (src.host, src.process) == (dst.host, dst.process):
                    continue
                kind = (src.host, src.network.name, dst.host, dst.network.name)
                if self.pairs == "one" and seen.setdefault(kind, (src, dst)) != (src, dst):
                    continue
                if not self._addressable(src, dst):
                    continue
                near = contract.same_network(src.party, dst.party)
                inward = src.network.model == "bridged" and dst.network.model != "bridged"
                for version in VERSIONS:
                    if src.has(version) and dst.has(version):
                        how = self.handed(src, version, dst.host) if inward else {}
                        forced = None if near or inward else self.forced(src, version, dst.host)
                        self.each(src, dst, version, dst.address(version), self._reply(src, dst), forced, **how)

    def _addressable(self, src, dst):
        """Return whether a guest can mean another, of another host too, by an address; else note why not."""
        if src.host == dst.host and src.network.attach == "macvtap" and dst.network.model == "routed":
            self._note(f"{src.network.name}@{src.host}: macvtap, so only another router leads to {dst.network.name}; left out.")
            return False
        if src.host == dst.host or dst.network.model == "bridged" or self._reaches(dst.network, src.host):
            return True
        taken = [one for network in self.machines[src.host].networks for one in network.subnets]
        for one in dst.network.subnets:
            for other in taken:
                if one.version == other.version and one.overlaps(other):
                    both = " and ".join(sorted((src.host, dst.host)))
                    self._note(f"{both} both have {one}: no guest can address the other host's.")
                    return False
        lost = dst.network.model == "routed" and src.network.model != "bridged" and not self._told(dst.network, src.host)
        if lost and contract.verdict(src.party, dst.party).allowed:
            self._note(f"{dst.network.name}@{dst.host} has no return_routes for {src.host}: its guests have no way to it.")
            return False
        return True

    def _reaches(self, network, host):
        """Return whether a stretched network is on a machine, too."""
        there = self.machines[host].networks
        return any(one.name == network.name and contract.stretched_alike(one, network) for one in there)

    def _told(self, network, host, on_lan=False):
        """Return whether a machine knows the way to a routed network; guests on the LAN ask its gateway."""
        if self._reaches(network, host):
            return True
        wish = network.declared.get("return_routes") or {}
        if (wish.get("mode") or "none") == "none":
            return False
        peers = wish.get("peers") or []
        if wish["mode"] == "bgp":
            # KVM hosts that announce something hear each other unasked, and nobody else does.
            if not on_lan and self._announces(host):
                return True
            if not peers:
                return False
        # Groups, and gateways that take no part in the proof: who stands behind them cannot be known here.
        if not peers or any(one not in self.machines for one in peers):
            return True
        return any(self.machines[one].kind == "outside" for one in peers) if on_lan else host in peers

    def _announces(self, host):
        wishes = [one.declared.get("return_routes") or {} for one in self.machines[host].networks]
        return any(one.get("mode") == "bgp" for one in wishes)

    def _note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def _reply(self, src, dst):
        """Return whether a reply is owed: not where nobody told the other side a way back to a routed network."""
        network = src.network
        near = src.host == dst.host and (dst.network is None or dst.network.model != "bridged")
        if src.kind != "guest" or network.model != "routed" or network.masquerade or near:
            return True
        return self._told(network, dst.host, dst.network is not None and dst.network.model == "bridged")

    def _sample(self, host):
        """Return the guests of a host that stand for their networks: all, or the first of each."""
        mine = [one for one in self.guests if one.host == host]
        return mine if self.pairs == "all" else list({one.network.name: one for one in reversed(mine)}.values())[::-1]

    @staticmethod
    def _addresses(guest, one, version):
        """Return the addresses by which a guest asks its host: in its network, declared or not, and on the LAN."""
        link = one.links.get(guest.network.bridge) or {"addresses": ()}
        inside = [
            each.ip for each in ends_of.interfaces(link)
            if each.version == version and any(each.ip in subnet for subnet in guest.network.subnets)
        ]
        lan = [each.ip for each in one.lan[version][:1]]
        known = (guest.network.gateway(version), *(inside if guest.network.model != "bridged" else ()), *lan)
        return list(dict.fromkeys(str(each) for each in known if each is not None))

    def guest_and_host(self):
        for one in self.hosts:
            for guest in self._sample(one.name):
                for version in VERSIONS:
                    if not guest.has(version):
                        continue
                    gateway = guest.network.gateway(version)
                    for address in self._addresses(guest, one, version):
                        near = any(ipaddress.ip_address(address) in each for each in guest.network.subnets)
                        forced = None if near else self.forced(guest, version)
                        self.each(guest, one.end, version, address, forced=forced)
                    # Without a route into the network, the host's kernel takes a link that it is told for the way.
                    link = ends_of.lan_link(guest.network) if guest.network.model == "bridged" else guest.network.bridge
                    forced = {"dev": link} if gateway is None and link in one.links else None
                    if forced and guest.network.attach == "macvtap" and guest.mac and one.lan[version]:
                        forced = {**forced, "via": guest.mac, "source": str(one.lan[version][0].ip)}
                    if one.end.has(version):
                        self.each(one.end, guest, version, guest.address(version), forced=forced)

    def guest_and_outside(self):
        """Other KVM hosts are outside, too."""
        for one in self.hosts:
            for guest in self._sample(one.name):
                for other in [*self.outside, *(each for each in self.hosts if each is not one)]:
                    for version in VERSIONS:
                        if guest.has(version) and other.lan[version] and one.lan[version]:
                            self._guest_and_machine(guest, one, other, version)

    def _guest_and_machine(self, guest, one, other, version):
        pair = one.shared(other, version)
        address = pair[1] if pair else str(other.lan[version][0].ip)
        forced = None if guest.network.model == "bridged" else self.forced(guest, version, other.name)
        self.each(guest, other.end, version, address, self._reply(guest, other.end), forced)
        # The other machine hands its packet to the KVM host, as if it had a route: nobody's routing table is touched.
        how = {}
        if guest.network.model != "bridged" and pair:
            how = {"via": pair[0], "source": pair[1]}
        self.each(other.end, guest, version, guest.address(version), **how)

    def dns(self):
        for guest in self.guests:
            network = guest.network
            if not contract.has_services(network) or (network.dns is not None and not network.dns.enabled):
                continue
            server = self.machines[guest.host].end
            for version in VERSIONS:
                gateway = network.gateway(version)
                verdict = contract.verdict(guest.party, server.party, "udp", DNS_PORT)
                if gateway is None or not verdict.allowed or not guest.has(version):
                    continue
                for name in self.dns_names:
                    found = contract.resolves(network, name)
                    self.add(guest, server, version, "dns", str(gateway), found, port=DNS_PORT, name=name)

    def exceptions(self):
        """What a policy opens by port: the first port of each range."""
        for guest in list(self.guests):
            one = self.machines[guest.host]
            hosts = {version: next(iter(self._addresses(guest, one, version)), None) for version in VERSIONS}
            for access in guest.network.policy.host_access:
                self._opened(guest, one.end, access, hosts)
            for access in guest.network.policy.allow_to:
                for dst in self.guests:
                    if dst.host == guest.host and dst.network.name == access.network and dst.process != guest.process:
                        self._opened(guest, dst, access, {version: dst.address(version) for version in VERSIONS})

    def _opened(self, src, dst, access, addresses):
        for port in sorted({first for first, last in access.ports}):
            for version in VERSIONS:
                if src.has(version) and addresses[version] is not None:
                    verdict = contract.verdict(src.party, dst.party, access.protocol, port)
                    self.add(src, dst, version, access.protocol, str(addresses[version]), verdict, port=port)

    # -- port forwards

    def forwards(self):
        """Ask for each port forward: from outside, from its host, from guests; not from the one that it leads to."""
        for one in self.hosts:
            for network in one.networks:
                for rule in network.port_forwards:
                    for target in contract.forward_targets(network, rule):
                        self._forward(one, network, rule, target)

    def _forward(self, one, network, rule, target):
        version = target.version
        listen = rule.listen_address
        if listen is not None and listen.version != version:
            return
        inside = [each for each in self.guests if (each.host, each.network.name) == (one.name, network.name)]
        holders = [each for each in inside if str(target) in each.addresses.get(version, ())]
        # A guest that lacks its address is not forgotten: its cells are unknown.
        dst = next(iter(holders or [each for each in inside if each.process == rule.to_guest]), None)
        if dst is None:
            self._note(f"{network.name}@{one.name}: no guest takes part to whom the port forward {rule.name} ({target}) leads.")
            return
        if not one.lan[version] or (listen is not None and str(listen) not in one.own(version)):
            self._note(f"{network.name}@{one.name}: the host has no address at which to ask for the port forward {rule.name}.")
            return
        # Other hosts may have the same addresses inside: they ask at those on the LAN only.
        on_lan = listen is None or any(listen == each.ip for each in one.lan[version])
        hosts = self.hosts if on_lan else [one]
        for other in [*self.outside, *(each for each in hosts if each is not one)]:
            pair = one.shared(other, version)
            if pair:
                how = {} if on_lan else {"via": pair[0], "source": pair[1]}
                self._through(one, other.end, dst, rule, listen or pair[0], pair[1], one.link_of(pair[0]), **how)
        address = str(listen or one.lan[version][0].ip)
        if one.end.has(version):
            self._through(one, one.end, dst, rule, address, address, None)
        for host in hosts:
            for src in self._sample(host.name):
                if src.process == dst.process and src.host == dst.host:
                    continue
                if src.has(version) and (host is one or host.shared(one, version)):
                    self._guest_through(one, host, src, dst, rule, address)

    def _guest_through(self, one, host, src, dst, rule, address):
        version = ipaddress.ip_address(address).version
        seen, link = src.address(version), src.network.bridge
        if host is not one:
            mine, its = host.shared(one, version)
            seen, link = (mine if src.network.masquerade else seen), one.link_of(its)
        forced = self.forced(src, version) if src.network.model == "isolated" else {}
        self._through(one, src, dst, rule, address, seen, link, self._reply(src, dst), **forced)

    def _through(self, one, src, dst, rule, address, seen, link, reply=True, **how):
        """Add the cells of one asker: each protocol, the first and the last port.

        :param seen: the asker's address as the host of the forward sees it.
        :param link: by which it is heard there.
        """
        version = ipaddress.ip_address(address).version
        asker = None if seen is None else ipaddress.ip_address(seen)
        for protocol in rule.protocols:
            for port, into in sorted(set(zip(rule.listen_ports, rule.to_ports))):
                verdict = contract.forward(src.party, dst.party, rule, asker, link, protocol, into)
                name = f"{rule.listen_address or one.name}:{port}"
                cell = self.add(src, dst, version, protocol, str(address), verdict, reply, port=port, forward=name, **how)
                if verdict.source == "host" and contract.same_network(src.party, dst.party):
                    cell["source_expected"] = one.on_link(dst.network.bridge, version)

    # -- controls

    def controls(self):
        """Add, for each listener that must stay unheard, somebody whom it must hear; the listener itself if need be."""
        heard, silent = set(), {}
        everybody = {one.label: one for one in [*self.guests, *(each.end for each in self.machines.values())]}
        for cell in self.cells:
            if cell["protocol"] != "dns" and cell["token"] is not None:
                listener = (cell["to"], cell["protocol"], cell["family"])
                if cell["expected"] == "yes":
                    heard.add(listener)
                else:
                    silent[listener] = cell
        for (label, protocol, name), cell in silent.items():
            if (label, protocol, name) in heard:
                continue
            dst, version = everybody[label], int(name[-1])
            src, address = self._control(dst, version, cell["address"], protocol)
            verdict = contract.Verdict(True, "own", "a control: the same listener hears this")
            self.add(src, dst, version, protocol, address, verdict, control=True)

    def _control(self, dst, version, address, protocol):
        if dst.kind == "guest":
            address = dst.address(version)  # and not that of a forward
            own = self.machines[dst.host].end
            for src in [own, *(one for one in self.guests if one.host == dst.host and one.network is dst.network)]:
                able = src.label != dst.label and src.address(version) and not src.problems.get(version)
                if able and contract.verdict(src.party, dst.party, protocol, dst.port).allowed:
                    return src, address
            return dst, address
        for other in self.machines.values():
            pair = self.machines[dst.host].shared(other, version) if other.name != dst.host else None
            if pair and not other.end.problems.get(version):
                return other.end, pair[0]
        return dst, address

    # -- all of it

    def build(self):
        self.guest_to_guest()
        self.guest_and_host()
        self.guest_and_outside()
        self.dns()
        self.exceptions()
        self.forwards()
        self.controls()
        if not self.outside:
            self.notes.append("No outside machine takes part: guest to outside and outside to guest are not proven.")
        if self.guests and not self.dns_names:
            self.notes.append("No DNS names were given: resolving is not proven.")
        return finish(self.base, self.cells, self.notes)


def finish(base, cells, notes):
    """Return {cells, notes, tokens, sends}: sends are {host: {process: [what its probe must send]}}."""
    sends = {}
    for number, cell in enumerate(cells):
        how = cell.pop("how", None)
        if cell["token"] is None:
            continue
        host, process = cell["sender"]
        sends.setdefault(host, {}).setdefault(process, []).append(
            {
                "token": cell["token"], "to": cell["address"], "family": int(cell["family"][-1]),
                "protocol": cell["protocol"], "port": cell["port"] or 0, "sport": SPORT + (base + number) % 20000,
                "wanted": cell["expected"] != "no", **how,
            }
        )
    return {"cells": cells, "notes": notes, "sends": sends, "tokens": [base, base + max(0, len(cells) - 1)]}


def plan(fleet, dns_names=(), pairs="all"):
    """Return the plan of a proof: {cells, notes, tokens, sends}.

    :param fleet: {host: what the step listen of guest_probe returned}.
    :param pairs: C(one): one pair of guests for each pair of networks.
    """
    if pairs not in PAIRS:
        raise ValueError(f"pairs is one of {', '.join(PAIRS)}, not {pairs!r}")
    for number, name in enumerate(dns_names):
        values.domain(name, f"dns_names[{number}]")
    return Builder(fleet, tuple(dns_names), pairs).build()
