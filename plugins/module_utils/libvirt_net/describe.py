# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A network that is there, told in the collection's own data model. Pure but for lxml.

What is told is meant to be applied: describe() looks at what virt_net_model would make of it, and says in which fields
that would still be another network.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import models
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import definition

#: Forward modes that none of the four models is.
FOREIGN_MODES = ("private", "vepa", "passthrough", "hostdev")
#: Options of an item that only the firewall's store knows.
STORED = ("uplink", "subnets", "masquerade", "policy")
POLICY = ("allow_to", "host_access", "deny_host", "anti_spoofing", "port_isolation", "log_drops")


def describe(tree, state, autostart, persistent, entry=None):
    """Return (item of kvm_networks, why not): an item that changes nothing when virt_net_model is given it.

    :param tree: the definition that lasts.
    :param entry: what the firewall's store holds of the network, if it is ours.
    The item is None where no model is like the network; else C(why not) lists the fields that would change.
    """
    normal = definition.parse(tree)
    if normal["forward"] in FOREIGN_MODES:
        return None, [f"no model has libvirt's forward mode {normal['forward']}"]
    item = _item(normal, tree)
    item.update(state=state, autostart=autostart, persistent=persistent)
    if definition.parse_mark(tree) is not None and entry:
        item.update(_of_store(entry, item))
    item = {key: value for key, value in item.items() if value is not None}
    try:
        network = models.parse_network(item, normal["name"])
    except InvalidInput as error:
        return None, [str(error)]
    planned = definition.parse(definition.edit(network, tree))
    differing = [key for key in normal if normal[key] != planned[key]]
    return item, differing


def _item(normal, tree):
    model = normal["model"]
    host_owned = normal["forward"] == "bridge"
    item = {"name": normal["name"], "model": model}
    if host_owned and normal["bridge"] is None:
        return {**item, "attach": "macvtap", "uplink": normal["uplink"], "mtu": normal["mtu"]}
    item.update(bridge=normal["bridge"], mtu=normal["mtu"])
    if model == "nat":
        item["firewall"] = normal["firewall"]
        if normal["firewall"] == "libvirt":
            item["uplink"] = normal["uplink"]
    if normal["port_isolation"]:
        item["policy"] = {"port_isolation": True}
    if host_owned:
        if model != "bridged":
            item["bridge_owner"] = "host"
        return item
    item.update(stp=normal["stp"], dns=normal["dns"], routes=normal["routes"])
    if model == "isolated" and normal["dhcp"] is None:
        # Its address is left alone: an isolated network of ours has none, and the subnet is named by itself.
        item["subnets"] = sorted({str(one) for one in _subnets(normal["addresses"])})
    else:
        item.update(addresses=normal["addresses"], dhcp=_dhcp(normal["dhcp"]))
    if tree.find("domain") is None:
        item["dns"] = {key: value for key, value in normal["dns"].items() if key not in ("domain", "local_only")}
    return item


def _subnets(addresses):
    return [ipaddress.ip_interface(text).network for text in addresses]


def _dhcp(dhcp):
    """Return the declaration of a network's DHCP. Reservations that the model has no words for are all left alone."""
    if dhcp is None:
        return None
    declared = {"ranges": dhcp["ranges"]}
    if dhcp["lease_time"] is not None:
        declared["lease_time"] = dhcp["lease_time"]
    if all(_expressible(row) for row in dhcp["reservations"]):
        declared["reservations"] = dhcp["reservations"]
    return declared


def _expressible(row):
    if row["address"] is None:
        return False
    return row["mac"] is not None or (row["name"] is not None and ":" in row["address"])


def _of_store(entry, item):
    """Return what libvirt does not hold: who may speak to whom, and where it leaves."""
    known = {key: entry[key] for key in STORED if entry.get(key) not in (None, [])}
    if "policy" in known:
        policy = {**known["policy"], **item.get("policy", {})}
        known["policy"] = {
            key: policy[key] for key in POLICY if key == "anti_spoofing" or policy.get(key) not in (None, [], False)
        }
    if item["model"] == "nat" and item.get("firewall") == "libvirt":
        known.pop("uplink", None)
    return known


def port(xml, nics):
    """Return a network's port (virsh net-port-dumpxml) as plain values.

    :param nics: {(guest, MAC): link} of the running guests.
    """
    tree = definition.load(xml)
    owner, mac, plug = tree.find("owner"), tree.find("mac"), tree.find("plug")
    guest = owner.findtext("name") if owner is not None else None
    address = mac.get("address").lower() if mac is not None else None
    return {
        "uuid": tree.findtext("uuid"),
        "guest": guest,
        "guest_uuid": owner.findtext("uuid") if owner is not None else None,
        "mac": address,
        "dev": nics.get((guest, address)),
        "type": plug.get("type") if plug is not None else None,
        "bridge": (plug.get("bridge") or plug.get("dev")) if plug is not None else None,
    }


def lease(row):
    """Return one of libvirt's DHCP leases (virsh net-dhcp-leases) as plain values."""
    return {
        "mac": (row.get("mac") or "").lower() or None,
        "address": f"{row['ipaddr']}/{row['prefix']}",
        "hostname": row.get("hostname"),
        "client_id": row.get("clientid"),
        "expires": int(row["expirytime"]),
    }
