# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cannot be meant in one network, or in two side by side. Pure; the model's rules, not the host's."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput


def check(network):
    """Raise InvalidInput if a network contradicts its model, libvirt or itself."""
    _check_model(network)
    _check_bridge(network)
    _check_stretch(network)
    _check_addresses(network)


def refuse(network, key, problem, cure):
    raise conflict(network, key, problem, cure)


def _check_model(network):
    """Refuse combinations that the model's contract or libvirt do not have."""
    model = network.model
    if network.firewall == "libvirt":
        if model != "nat":
            refuse(network, "firewall", f"firewall: libvirt with the model {model}", "Only model nat has it.")
        if network.port_forwards:
            refuse(
                network,
                "port_forwards",
                "port forwards with firewall: libvirt",
                "libvirt's rules refuse them; use firewall: nftables.",
            )
    elif network.nat_ipv6 is not None:
        refuse(network, "nat_ipv6", "nat_ipv6 without firewall: libvirt", "Our own table always translates both.")
    if model == "bridged":
        if network.bridge_owner != "host":
            refuse(network, "bridge_owner", "a bridged network's bridge is the host's", "Leave bridge_owner out.")
        if network.addresses:
            cure = "The host's address is host_bridge's. What a network had before it was bridged goes with addresses: []."
            refuse(network, "addresses", "a bridged network has no address of its own", cure)
        _check_bridged(network)
    elif network.attach == "macvtap":
        refuse(network, "attach", f"attach: macvtap with the model {model}", "Only model bridged has it.")
    if model == "isolated":
        if network.addresses and network.dhcp is None and network.bridge_owner == "libvirt":
            refuse(
                network,
                "addresses",
                "an isolated network with an address but without DHCP",
                "Give dhcp too, or write the guests' subnet under subnets.",
            )
        if network.masquerade:
            refuse(network, "masquerade", "an isolated network has no way out to translate", "Use the model nat.")
    if model in ("nat", "routed") and network.addresses is not None and not network.addresses:
        refuse(network, "addresses", f"a {model} network without an address", "Give the gateway as 10.64.100.1/24.")
    if model != "nat" and network.port_forwards:
        refuse(
            network, "port_forwards", f"port forwards with the model {model}", "Its guests are reached by their own addresses."
        )


def _check_bridged(network):
    """Refuse what a network on the LAN cannot have: the host is no gateway there, and filters nothing."""
    if network.masquerade:
        refuse(network, "masquerade", "a bridged network is on the LAN, there is nothing to translate", "Use the model nat.")
    for key in ("host_access", "deny_host", "log_drops"):
        if getattr(network.policy, key):
            refuse(network, f"policy.{key}", f"{key} with the model bridged", "Its guests are on the LAN; use the model routed.")
    if network.policy.rate.packets or network.policy.rate.connections:
        refuse(network, "policy.rate", "rate with the model bridged", "Use bandwidth, or the model routed.")
    if network.attach == "macvtap":
        for key in ("mtu", "stp", "carrier_tap"):
            if getattr(network, key):
                refuse(network, key, f"{key} with attach: macvtap, which has no bridge", "Leave it out, or use attach: bridge.")
        if network.policy.port_isolation:
            refuse(network, "policy.port_isolation", "port_isolation with attach: macvtap", "Use attach: bridge.")


def _check_bridge(network):
    """Refuse what libvirt does on bridges of its own only, and the other way round."""
    if network.bridge_owner == "host":
        if network.model == "nat":
            refuse(
                network,
                "bridge_owner",
                "bridge_owner: host with the model nat",
                "Use libvirt, or the model routed with masquerade.",
            )
        if network.dhcp:
            refuse(network, "dhcp", "DHCP on a bridge of the host's", "libvirt serves DHCP on its own bridges only.")
        if network.dns and (network.dns.has_rows or network.dns.domain):
            refuse(network, "dns", "DNS on a bridge of the host's", "libvirt serves DNS on its own bridges only.")
        for key in ("mac", "delay", "zone", "bandwidth", "dnsmasq_options"):
            if getattr(network, key):
                refuse(network, key, f"{key} on a bridge of the host's", "libvirt has it for its own bridges only.")
    else:
        if network.carrier_tap:
            refuse(network, "carrier_tap", "carrier_tap without bridge_owner: host", "libvirt's own bridges do not need it.")
        if network.virtualport:
            refuse(network, "virtualport", "a virtual port on a bridge of libvirt's", "Only bridged networks have it.")


def _check_stretch(network):
    """Refuse what a segment over several hosts cannot have."""
    if network.stretch is None:
        return
    if network.model not in ("isolated", "routed"):
        cure = "A bridged one is on the hosts' LAN already." if network.model == "bridged" else "Use the model routed."
        refuse(network, "stretch.mode", f"stretch with the model {network.model}", cure)
    if network.masquerade:
        refuse(
            network, "masquerade", "masquerade with stretch: answers may leave by another host than the questions came in by",
            "Give the outside a route (return_routes), or use the model nat without stretch.",
        )  # fmt: skip
    if network.policy.port_isolation:
        refuse(
            network, "policy.port_isolation", "port_isolation with stretch: it would part guests of one host only",
            "Give the guests networks of their own.",
        )  # fmt: skip
    if network.model == "isolated" and network.addresses and network.dhcp is None:
        refuse(
            network, "addresses", "an isolated network over several hosts, each of which would have the same address",
            "Write the guests' subnet under subnets.",
        )  # fmt: skip
    for number, peer in enumerate(network.stretch.peers or ()):
        if any(peer in one for one in network.subnets if one.version == peer.version):
            where, problem = f"stretch.peers[{number}]", f"the peer {peer} is inside the network itself"
            refuse(network, where, problem, "Name the hosts' own addresses.")


def _check_addresses(network):
    """Check DHCP against the subnets, and the subnets against one another."""
    seen = []
    for one in network.subnets:
        for other in seen:
            if one.version == other.version and one.overlaps(other):
                refuse(network, "addresses", f"the subnets {other} and {one} overlap", "Give each subnet once.")
        seen.append(one)
        if one.version == 6 and network.mtu and network.mtu < 1280:
            refuse(network, "mtu", f"the MTU {network.mtu} is too small for IPv6", "IPv6 needs 1280 (RFC 8200).")
    if network.dhcp is None:
        return
    if not network.addresses:
        if network.addresses is not None:
            refuse(network, "dhcp", "DHCP without an address of the host's", "Give addresses, such as 10.64.100.1/24.")
        return
    own = {one.ip for one in network.addresses}
    _check_ranges(network, own)
    _check_reservations(network, own)
    _check_one_dhcp(network)
    for key in ("tftp_root", "boot"):
        if getattr(network.dhcp, key) and not any(one.version == 4 for one in network.addresses):
            refuse(network, f"dhcp.{key}", f"{key} without an IPv4 address", "TFTP and BOOTP are served on IPv4.")


def _check_one_dhcp(network):
    """libvirt serves DHCP on one address of each IP version."""
    rows = [(one.start, f"dhcp.ranges[{number}]") for number, one in enumerate(network.dhcp.ranges or ())]
    rows += [(one.address, f"dhcp.reservations[{number}]") for number, one in enumerate(network.dhcp.reservations or ())]
    homes = {}
    for ip, key in rows:
        home = _home(network, ip)
        other = homes.setdefault(ip.version, home)
        if home != other:
            refuse(
                network,
                key,
                f"DHCP in two IPv{ip.version} subnets, {other} and {home}",
                "libvirt serves it in one of each IP version; make the other one a network of its own.",
            )


def _check_ranges(network, own):
    for number, one in enumerate(network.dhcp.ranges or ()):
        key = f"dhcp.ranges[{number}]"
        home = _home(network, one.start)
        if home is None or one.end not in home:
            outside = one.start if home is None else one.end
            inside = [str(each.network) for each in network.addresses if each.version == one.start.version]
            refuse(
                network,
                key,
                f"the DHCP range {one.start} to {one.end} is outside the subnet: {outside}",
                f"Keep it inside {' or '.join(inside) or 'a subnet of its IP version'}.",
            )
        for ip in own:
            if ip.version == one.start.version and one.start <= ip <= one.end:
                refuse(
                    network,
                    key,
                    f"the DHCP range {one.start} to {one.end} contains the gateway {ip}",
                    "Begin or end it elsewhere.",
                )
        if home.version == 4 and home.num_addresses > 2:
            for ip in (home.network_address, home.broadcast_address):
                if one.start <= ip <= one.end:
                    refuse(
                        network,
                        key,
                        f"the DHCP range {one.start} to {one.end} contains {ip}, which no guest can have",
                        "Begin or end it elsewhere.",
                    )
        if home.version == 6 and home.prefixlen < 64:
            refuse(network, key, f"DHCPv6 in {home}", "dnsmasq serves it in subnets of /64 or smaller.")
        for other in network.dhcp.ranges[:number]:
            if other.start.version == one.start.version and one.start <= other.end and other.start <= one.end:
                refuse(
                    network,
                    key,
                    f"the DHCP ranges {other.start} to {other.end} and {one.start} to {one.end} overlap",
                    "Join them.",
                )


def _check_reservations(network, own):
    taken = {}
    for number, one in enumerate(network.dhcp.reservations or ()):
        key = f"dhcp.reservations[{number}]"
        home = _home(network, one.address)
        if home is None:
            refuse(
                network,
                f"{key}.address",
                f"the reserved address {one.address} is outside the subnet",
                "Keep it inside a subnet of addresses.",
            )
        if one.address in own:
            refuse(network, f"{key}.address", f"the reserved address {one.address} is the gateway's", "Reserve another.")
        version = one.address.version
        for field, value in (("mac", one.mac), ("duid", one.duid), ("name", one.name), ("address", one.address)):
            if value is None:
                continue
            # One guest may have one reservation per IP version under the same MAC and name.
            mark = (field, str(value).lower(), None if field == "address" else version)
            if mark in taken:
                refuse(
                    network,
                    f"{key}.{field}",
                    f"the {field} {value} is reserved twice, by reservations[{taken[mark]}] and reservations[{number}]",
                    f"Give each reservation its own {field}.",
                )
            taken[mark] = number


def _home(network, ip):
    for one in network.addresses or ():
        if ip.version == one.version and ip in one.network:
            return one.network
    return None


def require_underlay(network):
    """Refuse a stretched network whose hosts' addresses nobody has named: it is them that may send into it."""
    if network.stretch is None:
        return
    for key, what in (("local", "this host's address"), ("peers", "the addresses of the other hosts")):
        if getattr(network.stretch, key) is None:
            refuse(
                network, f"stretch.{key}", f"{what} on the underlay is not given",
                "The roles net_isolated and net_routed find it, by the filter virtnet.kvm.stretched_networks; else write it.",
            )  # fmt: skip


def conflicts(networks):
    """Yield an InvalidInput for whatever two networks of one host cannot both have; it is about the later one of the two."""
    by_name, by_bridge, by_vni = {}, {}, {}
    for network in networks:
        other = by_name.get(network.name)
        if other is not None:
            yield conflict(network, "name", f"the network is declared twice, as {other.option} too", "Declare it once.")
        by_name[network.name] = network
        if not network.wanted:
            continue
        if network.attach == "bridge":
            other = by_bridge.setdefault(network.bridge, network)
            if other is not network:
                what = f"the bridge {network.bridge} is also that of {other.name} ({other.option})"
                yield conflict(network, "bridge", what, "Give each network its own.")
        if network.stretch is not None:
            other = by_vni.setdefault(network.stretch.vni, network)
            if other is not network:
                what = f"the VNI {network.stretch.vni} is also that of {other.name} ({other.option})"
                yield conflict(network, "stretch.vni", what, "Give each network its own.")
    for later, mine, earlier, theirs in overlaps([one for one in networks if one.wanted]):
        what = f"its subnet {mine} overlaps {theirs} of {earlier.name} ({earlier.option})"
        yield conflict(later, "addresses", what, "Give each network its own subnet.")


def refuse_conflicts(networks):
    """Raise the first of conflicts()."""
    for error in conflicts(networks):
        raise error


def conflict(network, key, problem, cure):
    return InvalidInput(problem, network.name, f"{network.option}.{key}", cure)


def overlaps(networks, party=id):
    """Yield (later network, its subnet, earlier one, its subnet) of subnets that overlap, as the list has them later and earlier.

    One pass in the order of addresses, so that thousands cost little.

    :param party: what of networks with one and the same subnet need not be compared each: one stands for all of its party.
    """
    rows = sorted(
        (
            (subnet.version, int(subnet.network_address), int(subnet.broadcast_address), number, subnet, network)
            for number, network in enumerate(networks)
            for subnet in network.subnets
        ),
        key=lambda row: row[:4],
    )
    near = {}
    for row in rows:
        near = {key: other for key, other in near.items() if other[0] == row[0] and other[2] >= row[1]}
        for other in near.values():
            if other[5] is not row[5]:
                earlier, later = sorted((other, row), key=lambda one: one[3])
                yield later[5], later[4], earlier[5], earlier[4]
        near.setdefault((party(row[5]), row[4]), row)


def in_the_way(subnet, to, via):
    """Return whether a route of a host keeps a network from having a subnet.

    A wider route through a gateway still works for all else: a site's 10.0.0.0/8 is the usual case.
    """
    return to.version == subnet.version and to.overlaps(subnet) and not (via and to.prefixlen < subnet.prefixlen)
