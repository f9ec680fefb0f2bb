# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the modules found on all hosts to what is drawn: machines, their LANs, networks, guests, and what is between. Pure.

All of it is plain values, sorted, with IDs by place, so that the same state gives the same picture to the byte.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.topology import look
from ansible_collections.virtnet.kvm.plugins.module_utils.topology.marks import Marks

#: Links that lead to guests or nowhere, and are no way out of a host.
_INNER = ("tap", "tun", "vxlan", "loopback", "dummy", "ifb")
_DEFAULT = ("0.0.0.0/0", "::/0")


def _usable(texts):
    """Return the addresses that others can use, IPv4 first, each once; what is no address is left out."""
    found = []
    for text in texts or ():
        try:
            one = ipaddress.ip_interface(text)
        except ValueError:
            continue
        if not (one.ip.is_link_local or one.ip.is_loopback or one.ip.is_multicast):
            found.append(str(one))
    return sorted(set(found), key=look.address_key)


def _bare(texts):
    return [text.partition("/")[0] for text in texts]


def _subnets(texts):
    return {str(ipaddress.ip_interface(text).network) for text in texts}


# --- the ways out of a machine ---


def _uplinks(links, networks):
    """Return the links of a machine that face others: [{name, ports, addresses}].

    A bridge with a default route, or of a bridged network, stands with those of its ports that are no guests'.
    """
    by_name = {one["name"]: one for one in links}
    inner = {one["bridge"] for one in networks if one["model"] != "bridged" and one["bridge"]}
    wanted = {one["bridge"] for one in networks if one["model"] == "bridged" and one["bridge"]}
    wanted |= {one["uplink"] for one in networks if one["model"] == "bridged" and one["uplink"]}
    found = []
    for one in links:
        leads_out = any(row["to"] in _DEFAULT for row in one["routes"])
        if one["name"] in inner or one["type"] in _INNER or one["bridge"] in by_name:
            continue
        addressed = bool(_usable(row["address"] for row in one["addresses"])) and one["type"] != "bridge"
        if leads_out or addressed or one["name"] in wanted:
            ports = [name for name in one["ports"] if by_name.get(name, {}).get("type") not in _INNER]
            addresses = _usable(row["address"] for row in one["addresses"])
            found.append({
                "name": one["name"], "type": one["type"], "ports": sorted(ports, key=look.natural), "addresses": addresses,
                "up": one["state"] == "up", "default": leads_out,
            })  # fmt: skip
    return sorted(found, key=lambda one: (not one["default"], look.natural(one["name"])))


def _segments(machines):
    """Give each uplink the segment that it is on, by the subnets that it shares with others; return [{id, subnets, hosts}]."""
    groups: list = []  # (subnets, [(machine, link)])
    for machine in machines:
        for link in machine["uplinks"]:
            subnets, links = _subnets(link["addresses"]), [(machine, link)]
            if subnets:
                same = [one for one in groups if one[0] & subnets]
                groups = [one for one in groups if not one[0] & subnets]
                groups.append((subnets.union(*(one[0] for one in same)), [*(pair for one in same for pair in one[1]), *links]))
    groups.sort(key=lambda one: (-_hosts(one[1]), sorted(one[0])))
    lans = sum(_hosts(links) > 0 for _subnets_of, links in groups)
    found = []
    for number, (subnets, links) in enumerate(groups):
        for _machine, link in links:
            link["segment"] = f"s{number}"
        kvm = _hosts(links) > 0
        name = ("LAN" if lans == 1 else f"LAN {number + 1}") if kvm else "outside"
        found.append({"id": f"s{number}", "name": name, "kvm": kvm, "subnets": sorted(subnets, key=look.address_key)})
    return found


def _hosts(links):
    return len({machine["name"] for machine, _link in links if machine["kind"] == "kvm"})


# --- networks and guests of one host ---


def _network(found, stored):
    """Return a network as it is drawn; C(stored) is what the collection was told of it, or None."""
    model = found["model"] or {}
    kept = stored or {}
    word = model.get("model") or kept.get("model")
    stretch = kept.get("stretch") or model.get("stretch") or {}
    addresses = model.get("addresses") or kept.get("addresses") or []
    back = (kept.get("return_routes") or {}).get("mode")
    return {
        "name": found["name"], "model": word if word in look.MODELS else "other", "active": found["state"] == "active",
        "owned": found["owned"], "bridge": found["bridge"] or kept.get("bridge") or model.get("bridge"),
        "attach": kept.get("attach") or model.get("attach"), "uplink": kept.get("uplink") or model.get("uplink"),
        "addresses": _usable(addresses), "subnets": sorted({*(kept.get("subnets") or ())}, key=look.address_key),
        "dhcp": bool(model.get("dhcp")), "translated_by": "libvirt" if model.get("firewall") == "libvirt" else None,
        "masquerade": bool(kept.get("masquerade")), "vni": stretch.get("vni") if stretch.get("mode") == "vxlan" else None,
        "control": stretch.get("control"), "return_routes": back if back not in (None, "none") else None, "forwards": [],
        "forwards_more": 0,
    }  # fmt: skip


def _nic(row, networks, leases):
    """Return a NIC as it is drawn; where no agent told its addresses, DHCP knows what it gave."""
    by_bridge = {one["bridge"]: one["name"] for one in networks if one["bridge"]}
    network = row["network"] or by_bridge.get(row["link"])
    addresses = _usable(row["addresses"])
    told = "guest" if addresses else None
    if not addresses:
        addresses = _usable(leases.get((network, row["mac"]), ()))
        told = "lease" if addresses else None
    return {
        "mac": row["mac"], "network": network, "link": row["link"], "dev": row["dev"], "addresses": addresses, "told_by": told,
    }  # fmt: skip


def _guests(facts, networks, leases):
    found = []
    for one in facts["guests"] or ():
        nics = [_nic(row, networks, leases) for row in one.get("nics") or ()]
        found.append({
            "name": one["name"], "active": one["active"], "owned": one["owned"], "memory_mb": one["memory_mb"],
            "vcpus": one["vcpus"], "nics": nics,
        })  # fmt: skip
    return sorted(found, key=lambda one: look.natural(one["name"]))


def _within(address, subnet):
    return address.version == subnet.version and address in subnet


def _forwards(machine, facts):
    """Give the networks their port forwards; return those that belong to none."""
    by_name = {one["name"]: one for one in machine["networks"]}
    by_subnet = [
        (ipaddress.ip_network(subnet), one) for one in machine["networks"]
        for subnet in (*_subnets(one["addresses"]), *one["subnets"])
    ]
    loose = []
    for row in facts.get("forwards") or ():
        network = by_name.get(row["network"])
        if network is None:
            to = [ipaddress.ip_address(text) for text in row["to"][:1]]
            network = next((one for subnet, one in by_subnet if any(_within(each, subnet) for each in to)), None)
        (loose if network is None else network["forwards"]).append(
            {key: row[key] for key in ("name", "protocols", "address", "ports", "to", "to_ports")}
        )
    return loose


# --- one machine ---


def _reached(name, facts):
    networks = sorted(facts["networks"] or (), key=lambda one: look.natural(one["name"]))
    stored = {one["name"]: one for one in facts["host"].get("networks") or ()}
    machine = {
        "name": name, "state": "reached", "why": None, "memory_mb": facts["host"]["memory_mb"],
        "processors": facts["host"]["processors"], "bgp": facts["host"].get("bgp"),
        "networks": [_network(one, stored.get(one["name"])) for one in networks],
    }  # fmt: skip
    leases: dict = {}
    for one in networks:
        for lease in one["leases"]:
            leases.setdefault((one["name"], (lease["mac"] or "").lower()), []).append(lease["address"])
    machine["guests"] = _guests(facts["host"], machine["networks"], leases)
    used = {nic["network"] for guest in machine["guests"] for nic in guest["nics"]}
    # libvirt brings one along that is off, and nobody has ever used.
    machine["networks"] = [one for one in machine["networks"] if one["active"] or one["owned"] or one["name"] in used]
    machine["kind"] = "kvm" if facts["host"]["guests"] is not None or facts["kvm"] else "machine"
    machine["uplinks"] = _uplinks(facts["host"]["interfaces"], machine["networks"])
    machine["forwards"] = _forwards(machine, facts["host"])
    machine["forwards_more"] = max(0, (facts["host"].get("forwards_total") or 0) - len(facts["host"].get("forwards") or ()))
    return machine


def _missed(name, facts):
    return {
        "name": name, "state": facts["state"], "why": facts.get("why"), "kind": "kvm" if facts["kvm"] else "machine",
        "memory_mb": None, "processors": None, "bgp": None, "networks": [], "guests": [], "uplinks": [], "forwards": [],
        "forwards_more": 0,
    }  # fmt: skip


# --- between machines ---


def _bgp(machines):
    """Give each session the machine at its other end; return [{id, asn, speakers, sessions, up}], one for each AS.

    Two machines tell of a session between them, which is one.
    """
    holder = {text: one["name"] for one in machines for link in one["uplinks"] for text in _bare(link["addresses"])}
    systems: dict = {}
    for one in machines:
        if not one["bgp"]:
            continue
        speakers, sessions = systems.setdefault(one["bgp"]["asn"], ([], {}))
        speakers.append(one["name"])
        for row in one["bgp"]["sessions"]:
            row["peer"] = str(holder.get(row["address"]) or row["name"] or row["address"])
            row["up"] = row["state"] == "Established"
            key = (frozenset((one["name"], row["peer"])), ":" in row["address"])
            sessions[key] = sessions.get(key, True) and row["up"]
        one["bgp"]["up"] = sum(row["up"] for row in one["bgp"]["sessions"])
    order = sorted(systems, key=lambda asn: asn or 0)
    return [
        {
            "id": f"b{number}", "asn": asn, "speakers": systems[asn][0], "sessions": len(systems[asn][1]),
            "up": sum(systems[asn][1].values()),
        }
        for number, asn in enumerate(order)
    ]  # fmt: skip


def _tunnels(machines):
    """Return [{id, vni, control, ends: [(machine, network)]}], a segment of VXLAN each."""
    found: dict = {}
    for one in machines:
        for network in one["networks"]:
            if network["vni"] is not None and network["active"]:
                found.setdefault(network["vni"], []).append((one["name"], network))
    return [
        {
            "id": f"v{number}", "vni": vni, "control": found[vni][0][1]["control"],
            "ends": [[name, network["name"]] for name, network in found[vni]],
        }
        for number, vni in enumerate(sorted(found))
    ]  # fmt: skip


def picture(found, proof=None, title="", told=""):
    """Return all that is drawn.

    :param found: {host: {state, why, kvm, host, networks}}, in the inventory's order: what kvm_host_info (with its details) and
        virt_net_info told of each; C(state) is reached, unreachable, failed or left_out.
    :param proof: of proof_judge, or None.
    :param told: a line on the proof, its age say.
    """
    machines = [_reached(name, one) if one["state"] == "reached" else _missed(name, one) for name, one in found.items()]
    marks = Marks(proof)
    for number, one in enumerate(machines):
        one["id"] = f"h{number}"
        one["marks"] = {kind: marks.of((kind, one["name"])) for kind in ("machine", "uplink")}
        for place, network in enumerate(one["networks"]):
            network["id"] = f"h{number}n{place}"
            of = {kind: (kind, one["name"], network["name"]) for kind in ("network", "inner", "outer", "between")}
            network["marks"] = {kind: marks.of(key) for kind, key in of.items()}
            if network["vni"] is None:
                network["marks"]["outer"] = marks.of(of["outer"], of["between"])
            for row in network["forwards"]:
                ports = row["ports"].replace("-", " ").split()
                keys = [("forward", one["name"], network["name"], port, kind) for port in ports for kind in row["protocols"]]
                row["mark"] = marks.of(*dict.fromkeys(keys))["mark"]
        for place, guest in enumerate(one["guests"]):
            guest["id"] = f"h{number}g{place}"
            guest["mark"] = marks.of(("guest", one["name"], guest["name"]))
        for place, link in enumerate(one["uplinks"]):
            link.update(id=f"h{number}u{place}", segment=None)
    return {
        "title": title, "told": told, "machines": machines, "segments": _segments(machines), "bgp": _bgp(machines),
        "tunnels": _tunnels(machines), "proof": None if proof is None else marks.of(("all",)), "differences": marks.differences(),
        "notes": marks.notes,
    }  # fmt: skip
