# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All links of a host as facts."""

from __future__ import annotations

import glob
import os
import re

from ansible_collections.virtnet.kvm.plugins.module_utils import files, names
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, iproute2
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import keepers as persist

_LIBVIRT = "/run/libvirt/network"


def _bridges_of_libvirt():
    """Return the bridges of libvirt's active networks."""
    found = set()
    for path in glob.glob(f"{_LIBVIRT}/*.xml"):
        text = files.read(path) or ""
        if not re.search(r"<forward\b[^>]*mode=['\"]bridge['\"]", text):
            found |= set(re.findall(r"<bridge\b[^>]*\bname=['\"]([^'\"]+)['\"]", text))
    return found


def _manager(link, networkd, of_libvirt):
    if link.name in of_libvirt or link.guest_tap:
        return "libvirt" if link.name in of_libvirt or link.name.startswith(names.GUEST_TAPS) else None
    return persist.keeper(link) or ("networkd" if link.name in networkd else None)


def _driver(name):
    try:
        return os.path.basename(os.readlink(f"/sys/class/net/{name}/device/driver"))
    except OSError:
        return None


def _address(one):
    return {
        "address": f"{one['local']}/{one['prefixlen']}",
        "scope": one.get("scope"),
        "dynamic": bool(one.get("dynamic")),
    }


def _route(row):
    return {**forms.route(row), "protocol": row.get("protocol")}


def fact(link, manager, all_routes, addresses):
    """Return the facts of one link. Pure but for the driver."""
    return {
        "name": link.name,
        "mac": link.form["mac"],
        "state": link.form["state"],
        "carrier": "LOWER_UP" in link.row.get("flags", ()),
        "type": link.kind,
        "driver": _driver(link.name),
        "index": link.row.get("ifindex"),
        "mtu": link.form["mtu"],
        "bridge": link.form["bridge"],
        "ports": sorted(link.ports),
        "vlans": link.vlans,
        "addresses": [_address(one) for one in addresses],
        "routes": sorted((_route(row) for row in all_routes if forms.route(row)), key=forms.route_key),
        "description": link.form["description"],
        "owned": link.form["description"] == forms.ALIAS,
        "manager": manager,
    }


def gather(host, names=None, macs=None):
    """Return the facts of all links, or of those of these names or MACs, in the order of their index."""
    rows = iproute2.rows(host)
    found = iproute2.with_vlans(host, forms.links(*rows))
    routes, addresses = {}, {}
    for row in rows[2]:
        routes.setdefault(row.get("dev"), []).append(row)
    for row in rows[1]:
        addresses[row.get("ifname")] = [one for one in row.get("addr_info", ()) if "local" in one]
    manager = persist.for_a_look(host)
    manager.gather()
    networkd, of_libvirt = manager.managed(), _bridges_of_libvirt()
    wanted = [
        link for link in found.values()
        if (names is None and macs is None) or link.name in (names or ()) or link.form["mac"] in (macs or ())
    ]
    facts = []
    for link in sorted(wanted, key=lambda one: one.row.get("ifindex", 0)):
        one = fact(link, _manager(link, networkd, of_libvirt), routes.get(link.name, ()), addresses.get(link.name, ()))
        one["owned"] = one["owned"] or manager.made(link.name)
        facts.append(one)
    return facts
