# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The <ip> elements of a definition: addresses, DHCP, TFTP and BOOTP. Pure but for lxml."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import xml
from ansible_collections.virtnet.kvm.plugins.module_utils.model_services import lease_to_seconds
from ansible_collections.virtnet.kvm.plugins.module_utils.values import ip_address, ip_interface, plain_duid

#: The lease time of a network whose ranges and reservations have several; no declaration comes to it.
MIXED = "mixed"
#: The normal form of a network that serves nothing of it, where one is needed; else it is None.
NO_DHCP = {"ranges": [], "reservations": [], "lease_time": None, "tftp_root": None, "boot": None}


def interface(node):
    """Return the address of an <ip> element with its prefix length."""
    prefix = node.get("prefix") or node.get("netmask")
    if prefix is None:
        # libvirt's virSocketAddrGetIPPrefix(): the old classes for IPv4, 64 for IPv6.
        address = ip_address(node.get("address"))
        if address.version == 6:
            prefix = "64"
        else:
            first = int(address) >> 24
            prefix = "8" if first < 128 else "16" if first < 192 else "24"
    return ip_interface(f"{node.get('address')}/{prefix}")


def parse_addresses(tree):
    return [interface(node).with_prefixlen for node in tree.findall("ip")]


def edit_addresses(tree, network):
    if network.addresses is None:
        return
    known = {interface(node).with_prefixlen: node for node in tree.findall("ip")}
    if list(known) == [one.with_prefixlen for one in network.addresses]:
        return
    nodes = []
    for one in network.addresses:
        node = known.get(one.with_prefixlen)
        if node is None:
            node = xml.element("ip", address=one.ip, prefix=one.network.prefixlen)
            if one.version == 6:
                node.set("family", "ipv6")
        nodes.append(node)
    xml.replace(tree, "ip", nodes)


# -- lease times -------------------------------------------------------------------------------------------------


def seconds_to_lease(seconds):
    """Return a lease time in its one spelling: infinite, or the largest of h, m, s that divides it."""
    if seconds == 0:
        return "infinite"
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _lease(node):
    lease = node.find("lease")
    if lease is None:
        return None
    size = {"seconds": 1, "minutes": 60, "hours": 3600}[lease.get("unit", "minutes")]
    return seconds_to_lease(int(lease.get("expiry", "0")) * size)


def _set_lease(parent, text):
    if text == MIXED:
        return  # a row that is there keeps its own, a new one gets dnsmasq's
    xml.drop(parent, "lease")
    if text is None:
        return
    seconds = lease_to_seconds(text)
    unit, size = ("minutes", 60) if seconds % 60 == 0 else ("seconds", 1)
    parent.append(xml.element("lease", expiry=seconds // size, unit=unit))


# -- reading -----------------------------------------------------------------------------------------------------


def sort_ranges(rows):
    return sorted(rows, key=lambda row: xml.address_key(row["start"]))


def sort_reservations(rows):
    return sorted(rows, key=lambda row: (xml.address_key(row["address"]), *((row[key] or "") for key in ("mac", "duid", "name"))))


def parse_dhcp(tree):
    """Return {ranges, reservations, lease_time, tftp_root, boot}, or None where a network serves nothing of it."""
    ranges, reservations, leases, root, boot = [], [], set(), None, None
    for node in tree.findall("ip"):
        tftp = node.find("tftp")
        root = root or (tftp.get("root") if tftp is not None else None)
        for one in node.iterfind("dhcp/range"):
            ranges.append({key: str(ip_address(one.get(key))) for key in ("start", "end")})
            leases.add(_lease(one))
        for one in node.iterfind("dhcp/host"):
            mac, duid, ip = one.get("mac"), one.get("id"), one.get("ip")
            reservations.append(
                {
                    "name": one.get("name"),
                    "mac": mac.lower() if mac else None,
                    "duid": plain_duid(duid) if duid else None,
                    "address": str(ip_address(ip)) if ip else None,
                }
            )
            leases.add(_lease(one))
        for one in node.iterfind("dhcp/bootp"):
            boot = boot or {"file": one.get("file"), "server": one.get("server")}
    if not (ranges or reservations or root or boot):
        return None
    return {
        "ranges": sort_ranges(ranges),
        "reservations": sort_reservations(reservations),
        "lease_time": (leases.pop() if len(leases) == 1 else MIXED) if leases else None,
        "tftp_root": root,
        "boot": boot,
    }


# -- writing -----------------------------------------------------------------------------------------------------


def range_element(row, lease=None):
    node = xml.element("range", start=row["start"], end=row["end"])
    _set_lease(node, lease)
    return node


def reservation_element(row, lease=None):
    # DHCPv6 knows no MAC; libvirt refuses mac= inside an IPv6 element, DUID or name stand for it there.
    node = xml.element("host", mac=row["mac"], id=row["duid"], name=row["name"], ip=row["address"])
    _set_lease(node, lease)
    return node


def reserved_row(one):
    """Return the normal form of a models' Reservation."""
    return {
        "name": one.name,
        "mac": one.mac if one.address.version == 4 else None,
        "duid": one.duid,
        "address": str(one.address),
    }


def _same_guest(row, other):
    """Whether two reservations are of one guest in one IP version, or of one address."""
    if row["address"] == other["address"]:
        return True
    if (":" in (row["address"] or "")) != (":" in (other["address"] or "")):
        return False
    return any(row[key] is not None and row[key] == other[key] for key in ("mac", "duid", "name"))


def declared_dhcp(network, current, purge=True):
    """Return the normal form of the DHCP that shall be: what is declared, else what C(current) has."""
    dhcp = network.dhcp
    if dhcp is None:
        return current
    wanted = dict(current or NO_DHCP)
    if dhcp.ranges is not None:
        wanted["ranges"] = sort_ranges([{"start": str(one.start), "end": str(one.end)} for one in dhcp.ranges])
    if dhcp.reservations is not None:
        rows = [reserved_row(one) for one in dhcp.reservations]
        if not purge:
            rows += [row for row in wanted["reservations"] if not any(_same_guest(row, other) for other in rows)]
        wanted["reservations"] = sort_reservations(rows)
    if dhcp.lease_time is not None:
        wanted["lease_time"] = seconds_to_lease(lease_to_seconds(dhcp.lease_time))
    if not (wanted["ranges"] or wanted["reservations"]):
        wanted["lease_time"] = None  # there is nothing that could hold it
    if dhcp.tftp_root is not None:
        wanted["tftp_root"] = dhcp.tftp_root or None
    if dhcp.boot is not None:
        wanted["boot"] = dhcp.boot or None
    return wanted if any(wanted.values()) else None


def _row_key(node):
    key = [(node.get(key) or "").lower() for key in ("start", "end", "mac", "name", "ip")]
    return (*key, plain_duid(node.get("id") or ""))


def edit_dhcp(tree, network, purge=True):
    before = parse_dhcp(tree)
    wanted = declared_dhcp(network, before, purge)
    if wanted == before:
        return
    wanted = wanted or NO_DHCP
    nodes = tree.findall("ip")
    for node in nodes:
        _edit_rows(node, wanted)
    if wanted["tftp_root"] != (before or {}).get("tftp_root"):
        _edit_first(nodes, wanted["tftp_root"], "tftp", lambda root: xml.element("tftp", root=root))
    if wanted["boot"] != (before or {}).get("boot"):
        homes = [
            xml.child(node, "dhcp") if wanted["boot"] and _serves_boot(node, nodes) else node.find("dhcp") for node in nodes
        ]
        _edit_first(
            [one for one in homes if one is not None],
            wanted["boot"],
            "bootp",
            lambda boot: xml.element("bootp", file=boot["file"], server=boot["server"]),
        )
    for node in nodes:
        dhcp = node.find("dhcp")
        if dhcp is not None and len(dhcp) == 0:
            node.remove(dhcp)


def _serves_boot(node, nodes):
    """BOOTP goes to the IPv4 address that serves DHCP, else to the first."""
    ipv4 = [one for one in nodes if interface(one).version == 4]
    return node is next((one for one in ipv4 if one.find("dhcp") is not None), ipv4[0] if ipv4 else None)


def _edit_first(homes, value, tag, make):
    """Let the first IPv4 home have the element of C(value), and the others none; None: nobody."""
    for one in homes:
        xml.drop(one, tag)
    if value is None:
        return
    for one in homes:
        node = one if one.tag == "ip" else one.getparent()
        if interface(node).version == 4:
            if one.tag == "ip":
                one.insert(0, make(value))  # libvirt's schema wants tftp before dhcp
            else:
                one.append(make(value))
            return


def _edit_rows(node, wanted):
    """Write the ranges and reservations of one address' subnet."""
    home = interface(node).network
    dhcp = node.find("dhcp")
    made = []
    for tag, rows, field, make in (
        ("range", wanted["ranges"], "start", range_element),
        ("host", wanted["reservations"], "address", reservation_element),
    ):
        # An element that stays keeps what we do not model.
        kept = {_row_key(one): one for one in ([] if dhcp is None else dhcp.findall(tag))}
        for row in rows:
            old = kept.get(_row_key(make(row)))
            if old is None and (row[field] is None or ip_address(row[field]) not in home):
                continue
            one = make(row) if old is None else old
            _set_lease(one, wanted["lease_time"])
            made.append(one)
    if dhcp is not None:
        xml.drop(dhcp, "range", "host")
    if made:
        # libvirt's schema wants ranges, then hosts, then bootp.
        dhcp = xml.child(node, "dhcp")
        for place, one in enumerate(made):
            dhcp.insert(place, one)
