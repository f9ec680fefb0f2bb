# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contract of all networks of a host as one transaction of nft. Pure.

Who may talk to whom is asked of contract.py, per pair of models; bridges then are elements of sets, so a packet meets the
same few lookups however many networks there are. Bridges are named by strings: they need not exist yet, and one that
is made anew is met again.

Priorities: a step before C(filter), C(dstnat) and C(srcnat). A drop of ours is final, an accept of ours is not: libvirt,
firewalld or Docker still see the packet. Of two translations the earlier chain's wins, for packets that ours names.
"""

from __future__ import annotations

import dataclasses

from ansible_collections.virtnet.kvm.plugins.module_utils import contract, models
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import drops, rates, spoofing, stretch, translation
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import Table, concat, port_range, quoted

NAME = "virtnet"
FAMILIES = ("inet", "bridge", "arp")
#: Models whose guests are behind the host; bridged ones are on its LAN, which is outside.
INNER = ("isolated", "routed", "nat")

_SAMPLES = {
    model: tuple(models.parse_network({"name": f"{model}-{end}", "model": model}, "") for end in "ab")
    for model in models.MODELS
}
# Both directions of neighbour discovery, and the multicast listener reports without which it fails on snooping bridges.
_ND_TO_HOST = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report"
_ND_TO_GUEST = (
    "nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, "
    "mld-listener-query, mld-listener-report, mld2-listener-report"
)
_SERVICE_ANSWERS = "udp . 67 . 68, udp . 547 . 546"  # a DHCP answer is no reply to conntrack: the query was a broadcast


def transaction(networks, rules, elsewhere=(), ports=None):
    """Return the text that replaces our tables in one step; they end absent if nothing needs them.

    :param networks: Networks of the store, sorted by name.
    :param rules: {(set, name): rule} of the store, sorted.
    :param elsewhere: names of the sets that iptables translates; the filter lets their forwards through all the same.
    :param ports: {(link, MAC): {C(network), …}} of guests' NICs, as spoofing.add_segment_guard() takes them.
    """
    return replacement(tables(networks, rules, elsewhere, ports))


def replacement(texts):
    """Return the text that replaces our tables by those of C(texts), which may be empty."""
    lines = []
    for family in FAMILIES:
        # Adding first makes deleting safe; nft before 1.0.7 has no 'destroy'.
        lines += [f"add table {family} {NAME}", f"delete table {family} {NAME}"]
    return "\n".join(lines) + "\n\n" + "\n".join(text for text in texts if text)


def tables(networks, rules, elsewhere=(), ports=None):
    """Return the texts of the tables, each empty if it would hold nothing."""
    inet = Table("inet", NAME)
    inner = [one for one in networks if one.model in INNER]
    mine = {key: rule for key, rule in rules.items() if key[0] not in elsewhere}
    if inner or mine:
        _contract(inet, inner, networks, rules)
        if translation.has_forwards(mine):
            translation.add_own(inet, inner, rules)
        translation.add(inet, networks, rules, mine)
    bridge = Table("bridge", NAME)
    spoofing.add_segment_guard(bridge, inner, ports or {})
    arp = Table("arp", NAME)
    _arp_side(arp, inner)
    return inet.text(), bridge.text(), arp.text()


def _guest(network):
    return contract.Endpoint("guest", "host", network)


_HOST = contract.Endpoint("host", "host")
_OUTSIDE = contract.Endpoint("outside")


def _stripped(network):
    """Return the network without exceptions, to ask for the rule itself."""
    return dataclasses.replace(network, policy=dataclasses.replace(network.policy, allow_to=(), host_access=()))


def _bridges(networks):
    return {quoted(one.bridge): one.name for one in networks}


def _contract(table, inner, networks, rules):
    by_name = {one.name: one for one in networks}
    for model in INNER:
        of_model = [one for one in inner if one.model == model]
        table.add_set(f"{model}_bridges", "ifname", _bridges(of_model), about=f"Bridges of {model} networks")
    refuse = drops.add(table, {one.bridge: one for one in inner}, leaving=True)
    spoofing.add_source_guard(table, inner, refuse)
    rates.add(table, inner, refuse)
    _own_bridge(table, inner, refuse)
    _exceptions(table, inner, by_name)
    targets = translation.add_targets(table, rules)
    _about_own(table, inner)
    pinned = [one for one in inner if one.uplink]
    table.add_set("pinned_bridges", "ifname", _bridges(pinned), about="Networks that leave through one uplink only")
    table.add_set(
        "uplinks", "ifname . ifname",
        {concat(quoted(one.bridge), quoted(one.uplink)): one.name for one in pinned}, about="and which that is",
    )
    table.add_set(
        "translated_bridges", "ifname", _bridges([one for one in inner if one.masquerade]),
        about="What conntrack cannot place would leave them untranslated",
    )
    for model in INNER:
        if f"{model}_bridges" in table:
            table.add_chain(
                f"from_{model}", [*stretch.encapsulated(inner, refuse), *_from_guests(table, model, targets, refuse)],
                about=f"New conversations of {model} guests with anybody but the host",
            )
    if inner:
        table.add_chain("from_outside", _from_outside(table, targets, refuse), about="New conversations with guests")
        table.add_map(
            "by_source", "ifname : verdict",
            {f"{quoted(one.bridge)} : goto from_{one.model}": one.name for one in inner},
        )
        table.add_map(
            "by_destination", "ifname : verdict", {f"{quoted(one.bridge)} : goto from_outside": one.name for one in inner}
        )
        table.add_chain(
            "forward", ["iifname . oifname vmap @own_bridge", "iifname vmap @by_source", "oifname vmap @by_destination"],
            hook="filter hook forward priority -5",
        )
    _host_side(table, inner, refuse)


def _own_bridge(table, inner, refuse):
    """Frames inside one bridge come by where br_netfilter is loaded; guests may also send to each other by the gateway."""
    elements = {}
    for one in inner:
        # The segment itself is the bridge's business; what the contract says of it is said here too.
        allowed = contract.verdict(_guest(one), _guest(one)).allowed
        key = concat(quoted(one.bridge), quoted(one.bridge))
        elements[f"{key} : {'accept' if allowed else refuse}"] = one.name
    table.add_map("own_bridge", "ifname . ifname : verdict", elements, about="Inside one network")


def _exceptions(table, inner, by_name):
    """Add the sets of allow_to."""
    everything, some = {}, {}
    for source in inner:
        for access in source.policy.allow_to:
            target = by_name.get(access.network)
            # A target that was taken away since has no bridge to open; net_policy refuses to declare one that is not there.
            if target is None or target.model not in INNER or target is source:
                continue
            pair = (quoted(source.bridge), quoted(target.bridge))
            why = f"{source.name} to {target.name}"
            if access.protocol == "any":
                everything[concat(*pair)] = why
            else:
                for protocol, ports in protocol_ports(access):
                    some.setdefault((*pair, protocol), (why, []))[1].append(ports)
    table.add_set("allowed", "ifname . ifname", everything, about="allow_to")
    table.add_set(
        "allowed_ports", "ifname . ifname . inet_proto . inet_service",
        {
            concat(*key, port_range(ports)): why
            for key, (why, rows) in some.items() for ports in translation.merged(rows)
        },
        interval=True, about="allow_to, protocol and port",
    )


def protocol_ports(access):
    """Yield (nft's protocol, (first, last)); a protocol without ports is all that the field can hold."""
    numbers = {"tcp": ("tcp",), "udp": ("udp",), "icmp": ("icmp", "ipv6-icmp"), "any": ("tcp", "udp", "icmp", "ipv6-icmp")}
    for protocol in numbers[access.protocol]:
        for ports in access.ports or ((0, 65535),):
            yield protocol, ports


def _about_own(table, inner):
    """Add what an ICMP error from a closed network may be about: a conversation of its own guests.

    Conntrack knows an error by the packet that it quotes, whoever sends it. Who may speak to nobody could else reach the ends
    of every conversation of others whose ports he knows.
    """
    closed = [one for one in inner if not contract.verdict(_guest(_stripped(one)), _OUTSIDE).allowed or _closed_to_host(one)]
    rules = []
    for version, family in ((4, "ip"), (6, "ip6")):
        elements = {
            concat(quoted(one.bridge), subnet): one.name
            for one in closed for subnet in (*one.subnets, *(to for to, via in one.routes or ())) if subnet.version == version
        }
        about = "An end of the conversation that an error from a closed network is about"
        if table.add_set(f"ends{version}", f"ifname . ipv{version}_addr", elements, interval=True, about=about):
            rules += [f"iifname . ct {way} {family} saddr @ends{version} accept" for way in ("original", "reply")]
    if rules:
        table.add_chain("about_own", rules)


def _known(table):
    """Return the rules that let pass what belongs to a conversation, for networks that are closed."""
    return ["ct state established accept", *(["ct state related jump about_own"] if "about_own" in table else [])]


def _closed_to_host(network):
    return not contract.verdict(_guest(_stripped(network)), _HOST).allowed


def _allow_rules(table):
    rules = []
    if "allowed" in table:
        rules.append("iifname . oifname @allowed accept")
    if "allowed_ports" in table:
        rules.append("iifname . oifname . meta l4proto . th dport @allowed_ports accept")
    return rules


def _by_destination(table, source, refuse):
    """Return one rule a model for the destination's bridge, as the contract says of the two models."""
    rules = []
    for model in INNER:
        if f"{model}_bridges" not in table:
            continue
        target = _guest(_SAMPLES[model][1])
        allowed = contract.verdict(source, target).allowed
        rules.append(f"oifname @{model}_bridges {'accept' if allowed else refuse}")
    return rules


def _from_guests(table, model, targets, refuse):
    source = _guest(_SAMPLES[model][0])
    outside = contract.verdict(source, _OUTSIDE).allowed
    rules = ["ct state established,related accept"] if outside else _known(table)
    if outside and "translated_bridges" in table:
        rules.append(f"ct state invalid,untracked iifname @translated_bridges {refuse}")
    rules += _allow_rules(table)
    if not outside:
        return [*rules, refuse]
    # A forward is open to whoever may speak to the outside.
    rules += [*targets, *_by_destination(table, source, refuse)]
    if "pinned_bridges" in table:
        rules.append(f"iifname @pinned_bridges iifname . oifname != @uplinks {refuse}")
    return [*rules, "accept"]


def _from_outside(table, targets, refuse):
    return ["ct state established,related accept", *targets, *_by_destination(table, _OUTSIDE, refuse)]


def _arp_side(table, inner):
    """Where the host is closed to guests, they learn of no address of it but those that the network itself has.

    The kernel answers on every link for all of the host's IPv4 addresses (arp_ignore 0); IPv6's only for the link's own.
    """
    closed = [one for one in inner if _closed_to_host(one)]
    if not table.add_set("host_closed", "ifname", _bridges(closed), about="Their guests may not speak to the host"):
        return
    near = {}
    for one in closed:
        known = one.subnets if one.addresses is None else [address.ip for address in one.addresses]
        near.update({concat(quoted(one.bridge), address): one.name for address in known if address.version == 4})
    table.add_set("near", "ifname . ipv4_addr", near, interval=True, about="and need to find no more of it than this")
    beyond = " iifname . arp daddr ip != @near" if near else ""
    refuse = drops.add(table, {one.bridge: one for one in closed})
    rule = f"iifname @host_closed arp operation request{beyond} {refuse}"
    table.add_chain("input", [rule], hook="filter hook input priority -5")


def _host_side(table, inner, refuse):
    arriving = stretch.add_underlay(table, inner, INNER, refuse)
    closed = [one for one in inner if _closed_to_host(one)]
    if table.add_set("host_closed", "ifname", _bridges(closed), about="Their guests may not speak to the host"):
        rules = _known(table)
        served = [one for one in closed if contract.has_services(one)]
        if table.add_set("host_serves", "ifname", _bridges(served), about="but for its DHCP and DNS"):
            services = ", ".join(f"{protocol} . {port}" for protocol, port in contract.SERVICES)
            rules.append(
                f"iifname @host_serves meta l4proto . th dport {{ {services} }} "
                "fib daddr . iif type { local, broadcast, multicast } accept"
            )
        openings = {}
        for one in closed:
            for access in one.policy.host_access:
                for protocol, ports in protocol_ports(access):
                    openings.setdefault((one.name, quoted(one.bridge), protocol), []).append(ports)
        if table.add_set(
            "host_access", "ifname . inet_proto . inet_service",
            {
                concat(*key[1:], port_range(ports)): key[0]
                for key, rows in openings.items() for ports in translation.merged(rows)
            },
            interval=True, about="host_access",
        ):
            rules.append("iifname . meta l4proto . th dport @host_access accept")
        rules += [f"icmpv6 type {{ {_ND_TO_HOST} }} accept", refuse]
        table.add_chain("to_host", rules)
        arriving.append("iifname @host_closed goto to_host")
    if arriving:
        table.add_chain("input", arriving, hook="filter hook input priority -5")
    shut = [one for one in inner if not contract.verdict(_HOST, _guest(_stripped(one))).allowed]
    if table.add_set("host_shut", "ifname", _bridges(shut), about="The host may not speak to their guests"):
        rules = ["ct state established,related accept"]
        if "host_serves" in table:
            rules.append(f"oifname @host_serves meta l4proto . th sport . th dport {{ {_SERVICE_ANSWERS} }} accept")
        rules += [f"icmpv6 type {{ {_ND_TO_GUEST} }} accept", refuse]
        table.add_chain("from_host", rules)
        table.add_chain("output", ["oifname @host_shut goto from_host"], hook="filter hook output priority -5")
