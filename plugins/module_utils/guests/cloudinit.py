# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cloud-init is told, as the three files of its NoCloud data source. Pure.

Format: https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html, network-config version 2. JSON is YAML.
"""

from __future__ import annotations

import ipaddress
import json


def files(guest):
    """Return {file's name: text} for a declared guest."""
    meta = {
        # Another content is another instance to cloud-init: it then applies what changed at the next start.
        "instance-id": f"{guest.name}-{guest.seed}",
        "local-hostname": guest.hostname,
    }
    if guest.authorized_keys:
        meta["public-keys"] = list(guest.authorized_keys)
    return {
        "meta-data": _text(meta),
        "user-data": guest.user_data or "#cloud-config\n{}\n",
        "network-config": _text(network(guest)),
    }


def _text(value):
    return json.dumps(value, indent=1) + "\n"


def network(guest):
    """Return the network-config: each NIC found by its MAC, named eth0, eth1, … in their order."""
    return {
        "version": 2,
        "ethernets": {f"nic{index}": _ethernet(index, nic) for index, nic in enumerate(guest.nics)},
    }


def _ethernet(index, nic):
    dhcp = "dhcp" in nic.addresses
    static = [address for address in nic.addresses if address != "dhcp"]
    entry = {"match": {"macaddress": nic.mac}, "set-name": f"eth{index}", "dhcp4": dhcp, "dhcp6": dhcp}
    if static:
        entry["addresses"] = static
    routes = []
    for gateway in nic.gateway:
        everything = "0.0.0.0/0" if ipaddress.ip_address(gateway).version == 4 else "::/0"
        routes.append({"to": everything, "via": gateway})
    if routes:
        entry["routes"] = routes
        if not dhcp and any(":" in gateway for gateway in nic.gateway):
            # An advertised router would be a second default route beside the one that was declared, and take half of all
            # connections; and the guest would speak from the advertised subnet's address, not from its own.
            entry["accept-ra"] = False
        entry["nameservers"] = {"addresses": list(nic.gateway)}
    return entry
