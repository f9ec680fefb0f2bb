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
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import known
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition.addresses import MIXED

#: Forward modes that none of the four models is.
FOREIGN_MODES = ("private", "vepa", "passthrough", "hostdev")
#: What the paths of an item's options begin with here.
ROOT = "network"
#: Options of an item that only the firewall's store knows.
STORED = ("uplink", "subnets", "masquerade", "policy")
POLICY = ("allow_to", "host_access", "deny_host", "anti_spoofing", "port_isolation", "log_drops", "rate")


#: What libvirt puts before a MAC that it chose itself; one of another kind was chosen by somebody.
CHOSEN_BY_LIBVIRT = "52:54:00:"


def describe(tree, state, autostart, persistent, entry=None):
    """Return (item of kvm_networks, why not, what is left over).

    The item changes nothing when virt_net_model is given it; None where no model is like the network. C(why not) says
    why, or lists the fields that would change all the same. What is left over are parts of the definition that the item
    does not say; virt_net_model leaves them alone.

    :param tree: the definition that lasts.
    :param entry: what the firewall's store holds of the network, if it is ours.
    """
    normal = definition.parse(tree)
    if normal["forward"] in FOREIGN_MODES:
        return None, [f"no model has libvirt's forward mode {normal['forward']}"], []
    lacks = set(known.leftover(tree))
    item = _item(normal, lacks)
    item.update(state=state, autostart=autostart, persistent=persistent)
    if definition.parse_mark(tree) is not None and entry:
        item.update(_of_store(entry, item))
    item = _without_nulls(item)
    try:
        network = _parsed(item, lacks)
    except InvalidInput as error:
        return None, [str(error)], []
    planned = definition.parse(definition.edit(network, tree))
    differing = [key for key in normal if normal[key] != planned[key]]
    return item, differing, sorted(lacks)


def _without_nulls(value):
    """Return a value without what is not declared in it: Ansible takes no null where an option has choices."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    return value


def _parsed(item, lacks):
    """Return the Network of an item, without what others wrote and the model refuses; that goes to C(lacks)."""
    while True:
        try:
            return models.parse_network(item, ROOT)
        except InvalidInput as error:
            path = [part.partition("[")[0] for part in (error.option or "").split(".")[1:]]
            if not path or path[0] in ("name", "model", "bridge") or path[0] not in item:
                raise
            lacks.add(".".join(path[:2]))
            home = item
            if len(path) > 1 and isinstance(item[path[0]], dict) and path[1] in item[path[0]]:
                home = item[path[0]] = dict(item[path[0]])
            del home[path[0] if home is item else path[1]]


def _item(normal, lacks):
    model = normal["model"]
    host_owned = normal["forward"] == "bridge"
    item = {"name": normal["name"], "model": model}
    item.update({key: normal[key] for key in ("title", "description", "virtualport", "vlan")})
    item["portgroups"] = normal["portgroups"] or None
    if host_owned and normal["bridge"] is None:
        return {**item, "attach": "macvtap", "uplink": normal["uplink"]}
    item["bridge"] = normal["bridge"]
    if normal["port_isolation"]:
        item["policy"] = {"port_isolation": True}
    if host_owned:
        if model != "bridged":
            item["bridge_owner"] = "host"
        return item
    if model == "nat":
        item["firewall"] = normal["firewall"]
        if normal["firewall"] == "libvirt":
            item["uplink"] = normal["uplink"]
            if any(":" in one for one in normal["addresses"]):
                item["nat_ipv6"] = normal["nat_ipv6"]
    if normal["mac"] and not normal["mac"].startswith(CHOSEN_BY_LIBVIRT):
        item["mac"] = normal["mac"]
    item.update({key: normal[key] for key in ("mtu", "zone", "bandwidth", "stp", "routes")})
    item.update(delay=normal["delay"] or None, dnsmasq_options=normal["dnsmasq_options"] or None, dns=_dns(normal["dns"]))
    if model == "isolated" and normal["dhcp"] is None:
        # Its address is left alone: an isolated network of ours has none, and the subnet is named by itself.
        item["subnets"] = sorted({str(one) for one in _subnets(normal["addresses"])})
        if normal["addresses"]:
            lacks.add("ip")
    else:
        item.update(addresses=normal["addresses"], dhcp=_dhcp(normal["dhcp"], lacks))
    return item


def _subnets(addresses):
    return [ipaddress.ip_interface(text).network for text in addresses]


def _dns(dns):
    """Return the declaration of a network's DNS; of what is seldom only what is there."""
    declared = {key: dns[key] for key in ("enabled", "forwarders", "hosts")}
    if dns["domain"] is not None:
        declared.update(domain=dns["domain"], local_only=dns["local_only"])
        if dns["register"]:
            declared["register"] = True
    if not dns["forward_plain_names"]:
        declared["forward_plain_names"] = False
    declared.update({key: dns[key] for key in ("forward_zones", "txt", "srv") if dns[key]})
    return declared


def _dhcp(dhcp, lacks):
    """Return the declaration of a network's DHCP. Reservations that the model has no words for are all left alone."""
    if dhcp is None:
        return None
    declared = {"ranges": dhcp["ranges"]}
    if dhcp["lease_time"] == MIXED:
        lacks.add("ip/dhcp/*/lease")
    elif dhcp["lease_time"] is not None:
        declared["lease_time"] = dhcp["lease_time"]
    if all(_expressible(row) for row in dhcp["reservations"]):
        declared["reservations"] = dhcp["reservations"]
    else:
        lacks.add("ip/dhcp/host")
    declared.update({key: dhcp[key] for key in ("tftp_root", "boot") if dhcp[key] is not None})
    return declared


def _expressible(row):
    if row["address"] is None:
        return False
    return row["name"] is not None or row["duid" if ":" in row["address"] else "mac"] is not None


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
