# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts and guests as packet_trace looks at them."""

from __future__ import annotations

import pytest

NETWORKS = [
    {"name": "nat", "model": "nat", "bridge": "natbr", "addresses": ["10.1.0.1/24", "fd01::1/64"]},
    {"name": "rou", "model": "routed", "bridge": "roubr", "addresses": ["10.2.0.1/24"]},
    {"name": "iso", "model": "isolated", "bridge": "isobr", "addresses": ["10.3.0.1/24"], "dhcp": {"reservations": []}},
]


def link(*addresses, **more):
    known = {"up": True, "carrier": True, "mac": None, "mtu": 1500, "kind": None, "master": None, "isolated": False, "stp": None,
             "vlans": False, "addresses": list(addresses)}  # fmt: skip
    return {**known, **more}


def guest(number, network, *addresses, **more):
    mac, tap = f"52:54:00:00:00:{number:02x}", f"tap{number}"
    nic = {"mac": mac, "kind": "network", "network": network, "bridge": None, "tap": tap, "link": "up", "declared": []}
    links = [{"name": "eth0", "mac": mac, "addresses": list(addresses)}] if addresses else []
    return {"state": "runs", "runs": True, "nics": [nic], "links": links, "agent": None, **more}


def kvm(guests, address="192.0.2.11/24"):
    links = {"eth0": link(address), **{f"{one['bridge']}": link(*one["addresses"], kind="bridge") for one in NETWORKS}}
    for one in guests.values():
        bridge = next(net["bridge"] for net in NETWORKS if net["name"] == one["nics"][0]["network"])
        links[one["nics"][0]["tap"]] = link(master=bridge, stp="forwarding")
    values = {"net.ipv4.conf.all.forwarding": "1", "net.ipv6.conf.all.forwarding": "1", "net.ipv4.conf.all.rp_filter": "0"}
    return {"kind": "kvm", "links": links, "uplinks": ["eth0"], "sysctls": values, "guests": guests,
            "guest_names": sorted(guests),
            "networks": NETWORKS}  # fmt: skip


OUTSIDE = {"kind": "outside", "links": {"eth0": link("192.0.2.1/24")}, "uplinks": [], "sysctls": {}, "guests": {},
           "guest_names": [], "networks": []}  # fmt: skip


@pytest.fixture
def hosts():
    first = {
        "vm0": guest(0, "nat", "10.1.0.10/24", "fd01::10/64", "fe80::1/64"), "vm1": guest(1, "nat", "10.1.0.11/24"),
        "vm2": guest(2, "rou", "10.2.0.12/24"), "vm3": guest(3, "iso", "10.3.0.13/24"),
    }  # fmt: skip
    return {"kvm1": kvm(first), "kvm2": kvm({"vm0": guest(9, "nat", "10.1.0.10/24")}, "192.0.2.12/24"), "out": OUTSIDE}
