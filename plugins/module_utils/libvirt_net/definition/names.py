# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The <dns> and <domain> elements of a definition, and dnsmasq's own options. Pure but for lxml."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import xml

DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"
OPTIONS = f"{{{DNSMASQ}}}options"
OPTION = f"{{{DNSMASQ}}}option"

#: Lists of records: our name, libvirt's element. Only these virNetworkUpdate() changes.
RECORDS = (("hosts", "host"), ("txt", "txt"), ("srv", "srv"))


def sort_hosts(rows):
    return sorted(rows, key=lambda row: xml.address_key(row["address"]))


def _sort(rows):
    return sorted(rows, key=lambda row: [str(value or "") for value in row.values()])


def _number(node, key):
    return int(node.get(key)) if node.get(key) else None


def _host(node):
    return {
        "address": str(ipaddress.ip_address(node.get("ip"))),
        "names": sorted(name.text.strip() for name in node.iterfind("hostname")),
    }


def _txt(node):
    return {"name": node.get("name"), "value": node.get("value")}


def _srv(node):
    row = {key: node.get(key) for key in ("service", "protocol", "domain", "target")}
    row.update({key: _number(node, key) for key in ("port", "priority", "weight")})
    return row


def _forwarder(node):
    """Return a <forwarder> as a row of forward_zones; its domain is None where it is for all queries."""
    address, port = node.get("addr"), _number(node, "port")
    return {
        "domain": node.get("domain"),
        "address": str(ipaddress.ip_address(address)) if address else None,
        "port": None if port == 53 else port,
    }


def _server(row):
    """Return a DNS server as address or address#port, dnsmasq's own notation."""
    return row["address"] if row["port"] is None else f"{row['address']}#{row['port']}"


def parse_dns(tree):
    node, domain = tree.find("dns"), tree.find("domain")
    if node is None:
        node = xml.element("dns")
    if domain is None:
        domain = xml.element("domain")
    forwarders = [_forwarder(one) for one in node.iterfind("forwarder")]
    return {
        "enabled": node.get("enable") != "no",
        "domain": domain.get("name"),
        "local_only": domain.get("localOnly") == "yes",
        "register": domain.get("register") == "yes",
        # In the order that dnsmasq asks them.
        "forwarders": [_server(row) for row in forwarders if not row["domain"] and row["address"]],
        "forward_plain_names": node.get("forwardPlainNames") != "no",
        "forward_zones": [row for row in forwarders if row["domain"]],
        "hosts": sort_hosts([_host(one) for one in node.iterfind("host")]),
        "txt": _sort([_txt(one) for one in node.iterfind("txt")]),
        "srv": _sort([_srv(one) for one in node.iterfind("srv")]),
    }


# -- writing -----------------------------------------------------------------------------------------------------


def host_element(row):
    node = xml.element("host", ip=row["address"])
    for name in row["names"]:
        one = xml.element("hostname")
        one.text = name
        node.append(one)
    return node


def txt_element(row):
    return xml.element("txt", **row)


def srv_element(row):
    return xml.element("srv", **row)


#: Makers of the elements of RECORDS, by our name.
ELEMENTS = {"hosts": host_element, "txt": txt_element, "srv": srv_element}
READERS = {"hosts": _host, "txt": _txt, "srv": _srv}


def _forwarder_element(row):
    return xml.element("forwarder", domain=row["domain"], addr=row["address"], port=row["port"])


def declared_dns(network, current, purge=True):
    """Return the normal form of the DNS that shall be."""
    dns = network.dns
    if dns is None:
        return current
    wanted = dict(current, enabled=dns.enabled)
    if dns.domain is not None:
        wanted.update(domain=dns.domain or None, local_only=dns.local_only)
        if not dns.domain:
            wanted["register"] = False
    for key in ("register", "forward_plain_names"):
        if getattr(dns, key) is not None:
            wanted[key] = getattr(dns, key)
    for key in ("forwarders", "forward_zones"):
        if getattr(dns, key) is not None:
            wanted[key] = list(getattr(dns, key))
    if dns.hosts is not None:
        rows = [{"address": str(ip), "names": sorted(set(names))} for ip, names in dns.hosts]
        wanted["hosts"] = sort_hosts(_with_others(rows, current["hosts"], purge, lambda row: row["address"]))
    for key in ("txt", "srv"):
        if getattr(dns, key) is not None:
            rows = [dict(row) for row in getattr(dns, key)]
            wanted[key] = _sort(_with_others(rows, current[key], purge, lambda row: sorted(map(str, row.items()))))
    if not dns.enabled:
        # libvirt refuses records of a network whose DNS is off.
        wanted.update(forwarders=[], forward_zones=[], hosts=[], txt=[], srv=[])
    return wanted


def _with_others(rows, current, purge, key):
    if purge:
        return rows
    known = [key(row) for row in rows]
    return rows + [row for row in current if key(row) not in known]


def edit_dns(tree, network, purge=True):
    before = parse_dns(tree)
    wanted = declared_dns(network, before, purge)
    if wanted == before:
        return
    if wanted["domain"] is None:
        xml.drop(tree, "domain")
    elif any(wanted[key] != before[key] for key in ("domain", "local_only", "register")):
        xml.child(
            tree,
            "domain",
            name=wanted["domain"],
            localOnly="yes" if wanted["local_only"] else None,
            register="yes" if wanted["register"] else None,
        )
    node = xml.child(
        tree,
        "dns",
        enable=None if wanted["enabled"] else "no",
        forwardPlainNames=None if wanted["forward_plain_names"] else "no",
    )
    if any(wanted[key] != before[key] for key in ("forwarders", "forward_zones")):
        rows = [{"domain": None, **_parts(text)} for text in wanted["forwarders"]] + wanted["forward_zones"]
        xml.replace(node, "forwarder", [_forwarder_element(row) for row in rows])
    for key, tag in RECORDS:
        if wanted[key] != before[key]:
            xml.replace(node, tag, [ELEMENTS[key](row) for row in wanted[key]])
    if len(node) == 0 and not node.attrib:
        tree.remove(node)


def _parts(text):
    address, _dummy, port = text.partition("#")
    return {"address": address, "port": int(port) if port else None}


# -- dnsmasq's own -----------------------------------------------------------------------------------------------


def parse_options(tree):
    return [node.get("value") for node in tree.iterfind(f"{OPTIONS}/{OPTION}")]


def edit_options(tree, network):
    wanted = network.dnsmasq_options
    if wanted is None or wanted == parse_options(tree):
        return
    xml.drop(tree, OPTIONS)
    if wanted:
        node = xml.etree.SubElement(tree, OPTIONS, nsmap={"dnsmasq": DNSMASQ})
        for text in wanted:
            xml.etree.SubElement(node, OPTION, value=text)
