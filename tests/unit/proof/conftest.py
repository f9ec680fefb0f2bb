# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

NAT = {"name": "natnet", "model": "nat", "bridge": "natbr0", "addresses": ["10.64.100.1/24", "fd00:64::1/64"]}
ROUTED = {"name": "rtnet", "model": "routed", "bridge": "rtbr0", "addresses": ["10.64.120.1/24"]}
LAN = {"name": "lannet", "model": "bridged", "bridge": "br0", "uplink": "eth0"}
ISOLATED = {"name": "isonet", "model": "isolated", "bridge": "isobr0", "subnets": ["10.64.130.0/24"]}


def link(name, *addresses, mac="02:00:00:00:00:01"):
    return {"name": name, "mac": mac, "addresses": list(addresses)}


def end(kind, *links, uplinks=("eth0",), **more):
    known = {"kind": kind, "port": 46464, "families": ["ipv4", "ipv6"], "problems": [], **more}
    return {**known, "links": list(links), "uplinks": list(uplinks)}


def guest(name, network, *addresses, **nic):
    """A guest as it was declared, and the end that was found."""
    item = {"name": name, "nics": [{"network": network, "addresses": list(addresses), **nic}]}
    return item, end("guest", link("eth0", *addresses, "fe80::1/64"))


def kvm(networks, guests, *links, session="a"):
    bridges = [link(one["bridge"], *one.get("addresses", []), mac="02:aa:00:00:00:0a") for one in networks]
    endpoints = {"host": end("host", *links, *bridges)}
    endpoints.update({item["name"]: found for item, found in guests})
    items = [item for item, found in guests]
    return {"kind": "kvm", "session": session, "networks": networks, "guests": items, "endpoints": endpoints}


def outside(*links):
    return {"kind": "outside", "session": "o", "networks": [], "guests": [], "endpoints": {"host": end("outside", *links)}}


def lab(networks=(NAT,), guests=None):
    if guests is None:
        guests = [
            guest("vm0", "natnet", "10.64.100.2/24", "fd00:64::2/64"),
            guest("vm1", "natnet", "10.64.100.3/24", "fd00:64::3/64"),
        ]
    return {
        "kvm1": kvm(list(networks), guests, link("eth0", "10.77.0.11/24", "fd00:77::11/64", "fe80::11/64")),
        "outside": outside(link("eth0", "10.77.0.50/24", "fd00:77::50/64")),
    }


class Lab:
    """What the tests build fleets of."""

    NAT, ROUTED, ISOLATED, LAN = NAT, ROUTED, ISOLATED, LAN
    link, end, guest, kvm, outside, lab = map(staticmethod, (link, end, guest, kvm, outside, lab))

    @staticmethod
    def results(plan, allowed=lambda cell: cell["expected"] == "yes", source=None, replied=5.0):
        """What probes would answer if exactly the allowed packets arrived, and from the right address."""
        found = {}
        for cell in plan["cells"]:
            if cell["token"] is None:
                continue
            for host, process in (cell["sender"], cell["receiver"]):
                found.setdefault(host, {}).setdefault(process, {"arrivals": [], "sends": []})
            yes = allowed(cell)
            host, process = cell["sender"]
            found[host][process]["sends"].append({
                "token": cell["token"], "sent": 1, "error": None, "replied_ms": replied if yes else None,
                "reply_from": None, "refused": None, "rcode": 0 if yes else None,
                "answers": ["192.0.2.1"] if yes else None,
            })  # fmt: skip
            if yes and cell["protocol"] != "dns":
                host, process = cell["receiver"]
                came_from = source or (cell["source_expected"] or ["192.0.2.66"])[0]
                found[host][process]["arrivals"].append(
                    {"protocol": cell["protocol"], "token": cell["token"], "source": came_from, "dev": None, "count": 1}
                )
        return found


@pytest.fixture
def fleet():
    return Lab
