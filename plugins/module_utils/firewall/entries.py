# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the firewall's store holds: a network and a rule of translation in one normal form, plain values only. Pure."""

from __future__ import annotations

import dataclasses
import functools
import re

from ansible_collections.virtnet.kvm.plugins.module_utils import models, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.models import plain

#: Options of a network that are left as they are stored when a declaration does not give them.
KEPT = ("addresses", "dhcp", "routes")

#: Sets whose name begins so are derived from a network; no name that a user can give begins so.
OF_NETWORK = "@"


def _accesses(rows, with_network):
    return [
        {
            **({"network": row.network} if with_network else {}),
            "protocol": row.protocol,
            "ports": [port_text(ports) for ports in row.ports],
        }
        for row in rows
    ]


def port_text(ports):
    """Return (first, last) as the data model writes it."""
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def network_entry(network):
    """Return the stored form of a Network: what the filter, and its removal, need of it, in the data model's own names."""
    of_addresses = {one.network for one in network.addresses or ()}
    dhcp = network.dhcp
    policy = network.policy
    return {
        "name": network.name,
        "model": network.model,
        "bridge": network.bridge,
        "bridge_owner": network.bridge_owner,
        "firewall": network.firewall,
        "attach": network.attach,
        "uplink": network.uplink,
        **_for_removal(network),
        "addresses": None if network.addresses is None else [plain(one) for one in network.addresses],
        "subnets": [plain(one) for one in network.subnets if one not in of_addresses],
        "dhcp": None if dhcp is None else {
            "reservations": [
                {
                    "name": one.name, "mac": one.mac, "address": plain(one.address),
                    **({"duid": one.duid} if one.duid else {}),
                }
                for one in dhcp.reservations or ()
            ],
        },
        "masquerade": network.masquerade,
        "routes": None if network.routes is None else [
            {"to": plain(to), "via": plain(via)} for to, via in network.routes
        ],
        "stretch": _stretch(network.stretch),
        **({"mac": network.mac} if network.stretch and network.mac else {}),
        "policy": {
            "allow_to": _accesses(policy.allow_to, True),
            "host_access": _accesses(policy.host_access, False),
            "deny_host": policy.deny_host,
            "anti_spoofing": policy.anti_spoofing,
            "port_isolation": policy.port_isolation,
            "log_drops": policy.log_drops,
            **({"rate": _limits(policy.rate)} if _limits(policy.rate) else {}),
        },
    }


def _for_removal(network):
    """Return what the filter does not need, and whoever takes the network down must know."""
    wish = network.declared.get("return_routes") or {}
    found = {"carrier_tap": network.carrier_tap} if network.carrier_tap else {}
    if (wish.get("mode") or "none") != "none":
        found["return_routes"] = {"mode": wish["mode"], "peers": list(wish.get("peers") or ())}
    return found


def _stretch(stretch):
    if stretch is None:
        return {"mode": "none"}
    peers = None if stretch.peers is None else sorted((plain(one) for one in stretch.peers), key=lambda text: (":" in text, text))
    return {
        "mode": "vxlan", "vni": stretch.vni, "control": stretch.control, "local": plain(stretch.local), "peers": peers,
        "serves": stretch.serves,
    }  # fmt: skip


def _limits(rate):
    return {key: value for key, value in dataclasses.asdict(rate).items() if value is not None}


def with_kept(item, stored):
    """Return a declared item completed by what its stored entry holds of the options it leaves alone."""
    if stored is None or item.get("state") == "absent":
        return item
    return {**item, **{key: stored[key] for key in KEPT if item.get(key) is None and stored.get(key) is not None}}


def stored_network(entry, where):
    """Return the Network of a stored entry."""
    return models.parse_network(entry, where)


# --- translation ---


def rules_of_network(network):
    """Return {name: rule} that a network's C(masquerade) and C(port_forwards) ask for; C(firewall: libvirt) none."""
    if not network.wanted or network.firewall != "nftables" or network.model == "bridged":
        return {}
    rules = {}
    if network.masquerade:
        if not network.subnets:
            raise InvalidInput(
                "a network to translate has no known subnet", network.name, f"{network.option}.addresses",
                "Give the gateway as 10.64.100.1/24, or masquerade: false.",
            )
        rules["masquerade"] = {
            "name": "masquerade", "type": "masquerade", "network": network.name, "bridge": network.bridge,
            "sources": [plain(one) for one in network.subnets], "interface": None,
        }
    for number, forward in enumerate(network.port_forwards):
        path = f"{network.option}.port_forwards[{number}]"
        if forward.name in rules:
            raise InvalidInput(
                f"the name {forward.name} is taken: {_taken_by(network, forward.name, number)}", network.name,
                f"{path}.name", "Give each port forward a name of its own.",
            )
        rules[forward.name] = _dnat(
            forward, _targets(network, forward.to_guest, forward.to_address, path), network.name, f"{path}", network.name
        )
    return rules


def _taken_by(network, name, number):
    for earlier, forward in enumerate(network.port_forwards[:number]):
        if forward.name == name:
            return f"port_forwards[{earlier}]"
    return "the network's own masquerade"


def _targets(network, guest, address, path):
    """Return the addresses of a forward's target: the given one, or those reserved for a guest of that name."""
    if address is not None:
        if not any(address in subnet for subnet in network.subnets if subnet.version == address.version):
            raise InvalidInput(
                f"the target {address} is outside the network's subnets", network.name, f"{path}.to.address",
                f"Use an address of {' or '.join(str(one) for one in network.subnets) or 'the network'}.",
            )
        return (address,)
    found = tuple(
        one.address for one in (network.dhcp.reservations if network.dhcp else None) or () if one.name == guest
    )
    if not found:
        raise InvalidInput(
            f"the guest {guest} has no reservation in this network", network.name, f"{path}.to.guest",
            "Reserve an address for it under dhcp.reservations, or give to.address.",
        )
    return found


def _dnat(forward, targets, network, path, subject):
    listen = forward.listen_address
    if listen is not None:
        targets = tuple(one for one in targets if one.version == listen.version)
        if not targets:
            raise InvalidInput(
                f"no target of the IP version of {listen}", subject, f"{path}.listen.address",
                "Listen on an address of the target's IP version.",
            )
    versions = {one.version for one in targets}
    for number, source in enumerate(forward.sources):
        if source.version not in versions:
            raise InvalidInput(
                f"the source {source} is not of the target's IP version", subject, f"{path}.sources[{number}]",
                "Leave it out.",
            )
    return {
        "name": forward.name, "type": "dnat", "network": network, "protocols": list(forward.protocols),
        "listen": {
            "address": plain(listen), "interface": forward.listen_interface, "ports": port_text(forward.listen_ports),
        },
        "to": {
            "guest": forward.to_guest, "addresses": [plain(one) for one in targets],
            "ports": port_text(forward.to_ports),
        },
        "sources": [plain(one) for one in forward.sources],
        "hairpin": forward.hairpin,
    }


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#: What values.name, values.ports (one port) and values.address take, in one look.
_PLAIN = re.compile(
    rf"{values.NAME} ([1-9][0-9]{{0,4}}) {_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET} ([1-9][0-9]{{0,4}})"
)
_PLAIN_KEYS = {"name", "type", "protocol", "listen", "to"}
_PROTOCOLS = {"tcp": ("tcp",), "udp": ("udp",), "both": ("tcp", "udp")}


def plain_forward(item):
    """Return what parse_rule() makes of a forward of one port to an IPv4 address, the kind that comes in thousands; else None.

    It takes a tenth of the time, and refuses nothing.
    """
    try:
        name, listen, to = item["name"], item["listen"], item["to"]
        if item["type"] != "dnat" or len(listen) != 1 or len(to) != 2 or not item.keys() <= _PLAIN_KEYS:
            return None
        parts = (name, listen["ports"], to["address"], to["ports"])
        found = _PLAIN.fullmatch(" ".join(parts))  # a number among them is a TypeError
        protocols = _PROTOCOLS[item.get("protocol", "tcp")]
    except (AttributeError, KeyError, TypeError):
        return None
    if found is None or int(found[1]) > 65535 or int(found[2]) > 65535:
        return None
    return {
        "name": name, "type": "dnat", "network": None, "protocols": list(protocols),
        "listen": {"address": None, "interface": None, "ports": parts[1]},
        "to": {"guest": None, "addresses": [parts[2]], "ports": parts[3]}, "sources": [], "hairpin": True,
    }  # fmt: skip


def parse_rule(item, path, networks):
    """Return the stored form of one item of nat_rule's C(rules).

    :param networks: {name: Network}, those the host knows and those declared beside.
    """
    plain_one = plain_forward(item)
    if plain_one is not None:
        return plain_one
    name = values.name(item["name"], f"{path}.name", item["name"])
    network = None
    if item.get("network") is not None:
        network = networks.get(item["network"])
        if network is None:
            raise InvalidInput(
                f"the network {item['network']} is not known on this host", name, f"{path}.network",
                "Declare it with virtnet.kvm.net_policy first, or give it under networks.",
            )
    kind = item.get("type")
    if kind == "dnat":
        return _parse_dnat(item, path, network)
    if kind in ("masquerade", "snat"):
        return _parse_source(item, path, network, kind)
    if kind == "exempt":
        return _parse_exempt(item, path, network)
    if kind == "one_to_one":
        return _parse_one_to_one(item, path, network, networks)
    if kind == "npt":
        return _parse_npt(item, path, network, networks)
    raise InvalidInput(
        "no type is given", name, f"{path}.type", "Give masquerade, snat, dnat, one_to_one, npt or exempt."
    )


@functools.cache
def _others(allowed):
    """Return the options that a rule does not have, in the order of the documentation."""
    whole = {one.partition(".")[0] for one in allowed}
    options = ("network", "source", "destination", "interface", "to", "listen", "sources", "protocol", "literal")
    return [key for key in options if key not in whole]


def _refuse_others(item, path, allowed):
    """Refuse what a rule of this type does not have; C(to.address) in C(allowed) allows that part of C(to)."""
    for key in _others(allowed):
        if item.get(key):
            raise InvalidInput(
                f"a rule of type {item['type']} has no {key}", item["name"], f"{path}.{key}", "Leave it out.",
            )
    for key in ("listen", "to"):
        for part, value in (item.get(key) or {}).items():
            if value is not None and f"{key}.{part}" not in allowed:
                raise InvalidInput(
                    f"a rule of type {item['type']} has no {key}.{part}", item["name"], f"{path}.{key}.{part}", "Leave it out.",
                )


def _sources(item, path, network):
    if (item.get("source") is None) == (network is None):
        raise InvalidInput(
            "it is not clear whose packets are meant", item["name"], f"{path}.source", "Give either network or source."
        )
    if network is None:
        return [plain(values.subnet(item["source"], f"{path}.source", item["name"]))]
    if not network.subnets:
        raise InvalidInput(
            f"the network {network.name} has no known subnet", item["name"], f"{path}.network", "Give source instead."
        )
    return [plain(one) for one in network.subnets]


def _parse_source(item, path, network, kind):
    _refuse_others(item, path, ("network", "source", "interface", "to.address" if kind == "snat" else "literal"))
    rule = {
        "name": item["name"], "type": kind, "network": network.name if network else None,
        "bridge": network.bridge if network else None, "sources": _sources(item, path, network), "interface": None,
    }
    if item.get("literal"):
        rule["literal"] = True
    if item.get("interface") is not None:
        rule["interface"] = values.link_name(item["interface"], f"{path}.interface", item["name"])
    if kind == "masquerade":
        return rule
    text = (item.get("to") or {}).get("address")
    if text is None:
        raise InvalidInput("snat needs the address to translate to", item["name"], f"{path}.to.address", "Give it.")
    first, last = _address_range(text, f"{path}.to.address", item["name"])
    rule["sources"] = [
        one for one in rule["sources"] if values.subnet(one, f"{path}.source", item["name"]).version == first.version
    ]
    if not rule["sources"]:
        raise InvalidInput(
            f"{first} is not of the sources' IP version", item["name"], f"{path}.to.address", "Use one version."
        )
    rule["to"] = {"address": plain(first) if first == last else f"{first}-{last}"}
    return rule


def _address_range(text, option, subject):
    """Return (first, last) of an address, or of a range as C(192.0.2.10-192.0.2.20)."""
    begin, dash, end = text.partition("-")
    first = values.address(begin, option, subject)
    last = values.address(end, option, subject) if dash else first
    if first.version != last.version or last < first:
        raise InvalidInput(f"{text!r} is not a range of addresses", subject, option, "Write it as 192.0.2.10-192.0.2.20.")
    return first, last


# --- both directions ---


def _outside(subnet, option, subject, networks):
    """Refuse an outside address or prefix that cannot be one."""
    if subnet.is_multicast or subnet.is_loopback or subnet.is_link_local or subnet.is_unspecified:
        raise InvalidInput(f"{_bare(subnet)} cannot stand for guests", subject, option, "Use addresses of the outside.")
    for network in networks.values():
        # Bridged guests are outside, with all of their LAN.
        if network.model != "bridged" and any(one.version == subnet.version and one.overlaps(subnet) for one in network.subnets):
            raise InvalidInput(
                f"{_bare(subnet)} is inside the network {network.name}", subject, option, "Use addresses of the outside."
            )


def _bare(subnet):
    """Return a subnet as text, one of a single address as that."""
    return str(subnet.network_address) if subnet.num_addresses == 1 else str(subnet)


def _refuse_libvirt(network, item, path):
    if network is not None and network.firewall == "libvirt":
        raise InvalidInput(
            f"{item['type']} into {network.name}, which has firewall: libvirt", item["name"], f"{path}.network",
            "libvirt's rules refuse it; use firewall: nftables.",
        )


def _parse_one_to_one(item, path, network, networks):
    _refuse_others(item, path, ("network", "source", "listen.address", "to.guest", "to.address"))
    _refuse_libvirt(network, item, path)
    name, listen, to = item["name"], item.get("listen") or {}, item.get("to") or {}
    if listen.get("address") is None:
        raise InvalidInput("one_to_one needs the outside address", name, f"{path}.listen.address", "Give it.")
    outside = values.address(listen["address"], f"{path}.listen.address", name)
    _outside(values.subnet(str(outside), f"{path}.listen.address", name), f"{path}.listen.address", name, networks)
    if (to.get("guest") is None) == (to.get("address") is None):
        raise InvalidInput("one_to_one needs one guest", name, f"{path}.to", "Give either guest or address.")
    sources = [
        one for one in map(values.ip_network, _sources(item, path, network)) if one.version == outside.version
    ]
    if to.get("guest") is None:
        found = [values.address(to["address"], f"{path}.to.address", name)]
    elif network is None:
        raise InvalidInput("a guest's name without its network", name, f"{path}.to.guest", "Give network, or to.address.")
    else:
        found = [one for one in _targets(network, to["guest"], None, path) if one.version == outside.version]
    if not found or found[0].version != outside.version:
        raise InvalidInput(
            f"the guest has no address of the IP version of {outside}", name, f"{path}.to", "Use one version."
        )
    if not any(found[0] in one for one in sources):
        raise InvalidInput(
            f"{found[0]} is not inside {' or '.join(map(str, sources)) or 'the network'}", name, f"{path}.to",
            "Give the guest's own network or subnet.",
        )
    return {
        "name": name, "type": "one_to_one", "network": network.name if network else None,
        "bridge": network.bridge if network else None, "sources": [plain(one) for one in sources],
        "listen": {"address": plain(outside)}, "to": {"guest": to.get("guest"), "addresses": [plain(found[0])]},
        "hairpin": item.get("hairpin") is not False,
    }


def _parse_npt(item, path, network, networks):
    _refuse_others(item, path, ("network", "source", "to.subnet"))
    _refuse_libvirt(network, item, path)
    name, option = item["name"], f"{path}.to.subnet"
    text = (item.get("to") or {}).get("subnet")
    if text is None:
        raise InvalidInput("npt needs the subnet that stands outside", name, option, "Give it.")
    outside = values.subnet(text, option, name)
    _outside(outside, option, name, networks)
    sources = [one for one in map(values.ip_network, _sources(item, path, network)) if one.version == outside.version]
    if len(sources) != 1:
        raise InvalidInput(
            f"there is not one subnet for {outside} to stand for, but {len(sources)}", name, f"{path}.source",
            "Give source, a subnet of the same IP version.",
        )
    [inside] = sources
    if inside.prefixlen != outside.prefixlen:
        raise InvalidInput(f"{outside} and {inside} differ in length", name, option, f"Give a /{inside.prefixlen}.")
    if inside.num_addresses == 1:
        raise InvalidInput(f"{inside} is one address", name, option, "Use type: one_to_one.")
    if inside.overlaps(outside):
        raise InvalidInput(f"{outside} and {inside} overlap", name, option, "Use a prefix of the outside.")
    return {
        "name": name, "type": "npt", "network": network.name if network else None,
        "bridge": network.bridge if network else None, "sources": [plain(inside)], "to": {"subnet": plain(outside)},
        "hairpin": item.get("hairpin") is not False,
    }


def _parse_exempt(item, path, network):
    _refuse_others(item, path, ("network", "source", "destination"))
    if item.get("destination") is None:
        raise InvalidInput("an exemption needs its destination", item["name"], f"{path}.destination", "Give a subnet.")
    destination = values.subnet(item["destination"], f"{path}.destination", item["name"])
    sources = [
        one for one in _sources(item, path, network)
        if values.subnet(one, f"{path}.source", item["name"]).version == destination.version
    ]
    if not sources:
        raise InvalidInput(
            f"{destination} is not of the source's IP version", item["name"], f"{path}.destination", "Use one version."
        )
    return {
        "name": item["name"], "type": "exempt", "network": network.name if network else None, "sources": sources,
        "destination": plain(destination),
    }


_OF_FORWARDS = (
    "network", "sources", "protocol", "listen.address", "listen.interface", "listen.ports", "to.guest", "to.address", "to.ports",
)


def _parse_dnat(item, path, network):
    _refuse_others(item, path, _OF_FORWARDS)
    for key in ("listen", "to"):
        if item.get(key) is None:
            raise InvalidInput(f"a rule of type dnat needs {key}", item["name"], f"{path}.{key}", "Give it.")
    if item["listen"].get("ports") is None:
        raise InvalidInput("no port to listen on", item["name"], f"{path}.listen.ports", "Write 8080 or 8000-8099.")
    forward = models.parse_port_forward(item, path, item["name"])
    if network is not None and network.firewall == "libvirt":
        raise InvalidInput(
            f"a port forward into {network.name}, which has firewall: libvirt", item["name"], f"{path}.network",
            "libvirt's rules refuse them; use firewall: nftables.",
        )
    if network is not None:
        targets = _targets(network, forward.to_guest, forward.to_address, path)
    elif forward.to_guest is not None:
        raise InvalidInput(
            "a guest's name without its network", item["name"], f"{path}.to.guest", "Give network too, or to.address."
        )
    else:
        targets = (forward.to_address,)
    return _dnat(forward, targets, network.name if network else None, path, item["name"])
