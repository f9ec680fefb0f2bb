# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who A and B are, on which hosts, and what A is to send: from names and from what the hosts have. Pure."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import contract, models
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

VERSIONS = (4, 6)
PROTOCOLS = ("icmp", "tcp", "udp")
FAMILIES = {"ipv4": 4, "ipv6": 6}
HOST, OUTSIDE = "host", "outside"
#: From where the packet comes, a port that nobody is likely to serve.
SPORT = 46465


def _address(text):
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _usable(texts):
    found = [ipaddress.ip_interface(text) for text in texts]
    return [one for one in found if not (one.ip.is_link_local or one.ip.is_loopback or one.ip.is_multicast)]


def _reserved(facts, nic, name):
    """Return the addresses that a guest's NIC has by reservation, with the length of its network."""
    found = []
    for entry in facts["networks"]:
        if entry["name"] != nic["network"]:
            continue
        subnets = [ipaddress.ip_interface(one) for one in entry.get("addresses") or ()]
        for one in (entry.get("dhcp") or {}).get("reservations") or ():
            if (one.get("mac") or "").lower() == nic["mac"] or (not one.get("mac") and one.get("name") == name):
                address = ipaddress.ip_address(one["address"])
                found += [f"{address}/{net.network.prefixlen}" for net in subnets if address in net.network]
    return found


def _nics(facts, name):
    """Return the NICs of a guest, each with its C(addresses), its link's name in the guest and the C(bridge) it belongs into."""
    guest = facts["guests"][name]
    bridges = {one["name"]: one["bridge"] for one in facts["networks"]}
    found = []
    for nic in guest["nics"]:
        inner = next((one for one in guest["links"] if one["mac"] == nic["mac"]), None)
        texts = inner["addresses"] if inner else [] if guest["links"] else [*nic["declared"], *_reserved(facts, nic, name)]
        bridge = bridges.get(nic["network"]) or nic["bridge"]
        found.append({**nic, "bridge": bridge, "addresses": texts, "dev": inner["name"] if inner else None})
    return found


def _of_guest(hosts, name, host):
    nics = _nics(hosts[host], name)
    texts = [(text, number) for number, nic in enumerate(nics) for text in nic["addresses"]]
    return {
        "kind": "guest",
        "label": f"{name}@{host}",
        "host": host,
        "process": name,
        "nics": nics,
        "addresses": [(str(_one), number) for text, number in texts for _one in _usable([text])],
    }


def _of_host(hosts, name):
    facts = hosts[name]
    # That by which others know it first.
    order = sorted(facts["links"], key=lambda link: (link not in facts["uplinks"], facts["links"][link]["kind"] == "bridge"))
    texts = [text for link in order for text in facts["links"][link]["addresses"]]
    kind = OUTSIDE if facts["kind"] == OUTSIDE else HOST
    return {
        "kind": kind,
        "label": name,
        "host": name,
        "process": HOST,
        "nics": [],
        "addresses": [(str(one), None) for one in _usable(texts)],
    }


def _owner(hosts, address):
    """Return the end that has an address, or None."""
    for name, facts in hosts.items():
        for guest in facts["guests"]:
            end = _of_guest(hosts, guest, name)
            if any(ipaddress.ip_interface(text).ip == address for text, _nic in end["addresses"]):
                return end
    for name in hosts:
        end = _of_host(hosts, name)
        if any(ipaddress.ip_interface(text).ip == address for text, _nic in end["addresses"]):
            return end
    return None


def guest_names(texts):
    """Return the names of guests that texts such as C(vm0), C(vm0@kvm1) or C(192.0.2.1) may mean, each once."""
    return list(dict.fromkeys(text.partition("@")[0] for text in texts if not _address(text)))


def _end(hosts, text, option, near=None):
    """Return the end that a user means.

    :param near: the host of the other end; where several have a guest of that name, this one's is meant.
    """
    address = _address(text)
    if address is not None:
        found = _owner(hosts, address)
        if found is not None:
            return {**found, "asked": str(address)}
        if option == "from":
            raise InvalidInput(
                f"no guest and no host of the play has the address {text}",
                option=option,
                cure="Name a guest or a host of the inventory.",
            )
        return {
            "kind": "address",
            "label": text,
            "host": None,
            "process": None,
            "nics": [],
            "asked": str(address),
            "addresses": [(f"{address}/{address.max_prefixlen}", None)],
        }
    name, _sign, at = text.partition("@")
    if at and at not in hosts:
        raise InvalidInput(f"there is no host {at!r} in the play", option=option, cure=f"There are {', '.join(hosts)}.")
    places = [host for host, facts in hosts.items() if name in facts["guests"] and at in ("", host)]
    if len(places) > 1 and near in places:
        places = [near]
    if len(places) > 1:
        raise InvalidInput(f"{' and '.join(places)} each have a guest {name!r}", option=option, cure=f"Say {name}@{places[0]}.")
    if places:
        return _of_guest(hosts, name, places[0])
    if text in hosts:
        return _of_host(hosts, text)
    if text == OUTSIDE:
        machines = [host for host, facts in hosts.items() if facts["kind"] == OUTSIDE]
        if machines:
            return _of_host(hosts, machines[0])
        raise InvalidInput("the play has no machine outside", option=option, cure="Put one into the inventory's group outside.")
    guests = [f"{guest}@{host}" for host, facts in hosts.items() for guest in facts["guest_names"]]
    raise InvalidInput(
        f"{text!r} is no guest, no host of the play and no address",
        option=option,
        cure=f"Hosts: {', '.join(hosts)}. Guests: {', '.join(guests[:20]) or 'none'}.",
    )


def _pair(src, dst, version):
    """Return (A's (address, NIC), B's) of an IP version, of one subnet if they have one; None for what is not known."""
    mine = [(ipaddress.ip_interface(text), nic) for text, nic in src["addresses"]]
    its = [(ipaddress.ip_interface(text), nic) for text, nic in dst["addresses"]]
    mine, its = ([one for one in group if one[0].version == version] for group in (mine, its))
    if dst.get("asked"):
        its = [one for one in its if str(one[0].ip) == dst["asked"]]
    if src.get("asked"):
        mine = [one for one in mine if str(one[0].ip) == src["asked"]]
    for one in mine:
        for other in its:
            if other[0].ip in one[0].network:
                return one, other
    return (mine or [None])[0], (its or [None])[0]


def _version(src, dst, family):
    if family is not None:
        return FAMILIES[family]
    known = [{ipaddress.ip_interface(text).version for text, _nic in end["addresses"]} for end in (src, dst)]
    if dst.get("asked"):
        return ipaddress.ip_address(dst["asked"]).version
    both = [one for one in VERSIONS if all(one in versions for versions in known)]
    either = [one for one in VERSIONS if any(one in versions for versions in known)]
    return (both or either or VERSIONS)[0]


def _inner(facts):
    """Return the networks of a host's own, {bridge: their subnets}: those that others may have, too."""
    found = {}
    for entry in facts["networks"]:
        if entry["model"] != "bridged" and (entry.get("stretch") or {}).get("mode", "none") == "none":
            texts = entry.get("addresses") or ()
            found[entry["bridge"]] = [ipaddress.ip_interface(text).network for text in texts]
    return found


def _far(hosts, end, other):
    """A host is known to others by the addresses that are not its own guests'."""
    if end["kind"] != HOST or end["host"] == other["host"] or end.get("asked"):
        return
    facts = hosts[end["host"]]
    own = {text.partition("/")[0] for bridge in _inner(facts) for text in (facts["links"].get(bridge) or {}).get("addresses", ())}
    end["addresses"] = [one for one in end["addresses"] if one[0].partition("/")[0] not in own] or end["addresses"]


def _meant(hosts, src, dst):
    """Refuse an address of another host's guest that means a guest of one's own where the packet comes from."""
    if dst["kind"] != "guest" or src["host"] == dst["host"] or dst["address"] is None:
        return
    facts, address = hosts[dst["host"]], ipaddress.ip_address(dst["address"])
    taken = [one for subnets in _inner(hosts[src["host"]]).values() for one in subnets] if src["host"] in hosts else []
    if dst["nic"]["bridge"] in _inner(facts) and any(address in one for one in taken):
        raise InvalidInput(
            f"{dst['label']} has {address}, of a subnet that {src['host']} has, too: nobody there can mean it by that address",
            option="to",
            cure="Give the hosts' networks subnets of their own, or ask for the guest of the same host.",
        )


def _settled(end, chosen, other):
    """Return an end with its C(address) and C(nic), the NIC that the packet goes by as far as one can know."""
    nic = None
    if chosen is not None and chosen[1] is not None:
        nic = end["nics"][chosen[1]]
    elif end["nics"]:
        wanted = {one["network"] for one in other["nics"]}
        nic = next((one for one in end["nics"] if one["network"] in wanted), end["nics"][0])
    address = str(chosen[0].ip) if chosen is not None else None
    return {key: end[key] for key in ("kind", "label", "host", "process")} | {"address": address, "nic": nic}


def _network(hosts, end):
    """Return the Network of a guest's NIC, or None if it is nobody's that the host was told of."""
    if end["kind"] != "guest" or end["nic"] is None:
        return None
    entries = [one for one in hosts[end["host"]]["networks"] if one["name"] == end["nic"]["network"]]
    return models.parse_network(entries[0], "networks") if entries else None


def party(hosts, end):
    """Return an end as the contract knows it, or None if no model speaks of it."""
    network = _network(hosts, end)
    if end["kind"] == "guest":
        return contract.Endpoint("guest", end["host"], network) if network else None
    return contract.Endpoint("host" if end["kind"] == HOST else "outside", end["host"])


def promise(hosts, src, dst, protocol, port):
    """Return {allowed, why, source, models} of what the models say of this conversation; None where they say nothing."""
    ends = party(hosts, src), party(hosts, dst)
    if None in ends or not any(one.network for one in ends):
        return None
    verdict = contract.verdict(*ends, protocol, port)
    networks = [one.network for one in ends if one.network]
    return {
        "allowed": verdict.allowed,
        "why": verdict.why,
        "source": verdict.source,
        "networks": [{"name": one.name, "model": one.model} for one in networks],
        "one_host": ends[0].host == ends[1].host,
    }


def plan(hosts, src, dst, protocol="icmp", port=None, family=None, session="", token=0):
    """Return who asks whom, and what each host is to do.

    :param hosts: {name: result of facts.look()}.
    :param src: A, as the user calls it, and C(dst), B.
    """
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"{protocol!r} is no protocol", option="protocol", cure=f"One of {', '.join(PROTOCOLS)}.")
    if family not in (None, *FAMILIES):
        raise InvalidInput(f"{family!r} is no family", option="family", cure=f"One of {', '.join(FAMILIES)}.")
    if protocol != "icmp" and port is None:
        raise InvalidInput(f"{protocol} without a port", option="port", cure="Give the port that shall be reached, -e port=22.")
    if port is not None and not 1 <= port <= 65535:
        raise InvalidInput(f"{port} is no port", option="port", cure="1 to 65535.")
    if not hosts:
        raise InvalidInput("no host of the play answers", cure="See above why.")
    one = _end(hosts, src, "from")
    other = _end(hosts, dst, "to", one["host"])
    if (one["host"], one["process"]) == (other["host"], other["process"]):
        raise InvalidInput(f"{src} and {dst} are one and the same", option="to", cure="Name two ends.")
    version = _version(one, other, family)
    if other.get("asked") and ipaddress.ip_address(other["asked"]).version != version:
        raise InvalidInput(f"{dst} is no {family} address", option="to", cure="Leave family away.")
    for end, its in ((one, other), (other, one)):
        _far(hosts, end, its)
    chosen = _pair(one, other, version)
    first, last = _settled(one, chosen[0], other), _settled(other, chosen[1], one)
    _meant(hosts, first, last)
    sends = first["address"] is not None and last["address"] is not None
    todo = {}
    for end in (first, last):
        if end["host"] is not None:
            mine = todo.setdefault(end["host"], {"listen": [], "send": None, "lookups": {}})
            mine["listen"].append(end["process"])
    if sends:
        item = {"token": token, "to": last["address"], "family": version, "protocol": protocol, "port": port or 0}
        item.update(sport=SPORT, wanted=True)
        todo[first["host"]]["send"] = {"end": first["process"], "item": item}
        todo[first["host"]]["lookups"]["ask"] = _lookup(first, last)
        if last["kind"] == "guest":
            todo[last["host"]]["lookups"]["reply"] = _lookup(last, first)
    macs = sorted({nic["mac"] for end in (one, other) for nic in end["nics"] if nic["mac"]})
    return {
        "session": session,
        "token": token,
        "version": version,
        "protocol": protocol,
        "port": port,
        "macs": macs,
        "src": first,
        "dst": last,
        "hosts": todo,
        "promise": promise(hosts, first, last, protocol, port),
        "guest_route": {"guest": last["process"], "target": first["address"]} if last["kind"] == "guest" else None,
    }


def _lookup(src, dst):
    found = {"target": dst["address"], "source": src["address"]}
    return (
        {**found, "iif": src["nic"]["bridge"]} if src["kind"] == "guest" and src["nic"]["bridge"] else {**found, "source": None}
    )
