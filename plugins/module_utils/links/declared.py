# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is declared of links: the modules' items as typed values. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ansible_collections.virtnet.kvm.plugins.module_utils import model_stretch, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, vlans

#: What ip -batch can take as one word and a file of systemd's as one value.
_DESCRIPTION = re.compile(r"[^\"\\\x00-\x1f\x7f%#]{0,250}")
#: Whose routes they are: a host and a network, say.
_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


@dataclass(frozen=True)
class Item:
    """A declared link. C(values) has the declared fields in the spelling of forms, C(more) what no form has."""

    name: str
    option: str
    state: str
    values: dict = field(default_factory=dict)
    more: dict = field(default_factory=dict)

    @property
    def wanted(self):
        return self.state != "absent"


def _address(text, option, subject):
    value = values.interface(text, option, subject)
    if value.version == 6 and value.ip.is_link_local:
        raise InvalidInput(
            f"{text!r} is a link-local address, which the kernel gives", subject, option, "Leave it out."
        )
    return str(value)


def _addresses(texts, option, subject):
    return list(dict.fromkeys(_address(text, f"{option}[{index}]", subject) for index, text in enumerate(texts)))


def _gateways(texts, option, subject):
    found = {}
    for index, text in enumerate(texts):
        value = values.address(text, f"{option}[{index}]", subject)
        if value.version in found:
            raise InvalidInput(
                "there are two gateways of one IP version", subject, f"{option}[{index}]",
                "Declare the second one in routes, with a metric.",
            )
        found[value.version] = str(value)
    return [found[version] for version in sorted(found)]


def _routes(items, option, subject):
    found = []
    for index, item in enumerate(items):
        where = f"{option}[{index}]"
        to = values.subnet(item["to"], f"{where}.to", subject)
        via = None if item.get("via") is None else values.address(item["via"], f"{where}.via", subject)
        if via is not None and via.version != to.version:
            raise InvalidInput(f"{via} is no gateway to {to}: two IP versions", subject, f"{where}.via")
        metric = item.get("metric")
        if metric is not None and not 0 < metric < 2**32:
            raise InvalidInput(f"the metric {metric} is out of range", subject, f"{where}.metric", "Use 1 to 4294967295.")
        if metric == 1024 and to.version == 6:
            metric = None  # what the kernel gives a route without one
        found.append({"to": str(to), "via": None if via is None else str(via), "metric": metric})
    return sorted(found, key=forms.route_key)


def _route_sets(items, option, subject):
    """Return {name: routes} of sets of routes; none of them is the default route, of which a link has one."""
    found = {}
    for index, item in enumerate(items):
        where = f"{option}[{index}]"
        if not _SET.fullmatch(item["name"]):
            raise InvalidInput(
                f"{item['name']!r} cannot name a set", subject, f"{where}.name", "Use letters, digits, '.', '_', '-' and '/'."
            )
        if item["name"] in found:
            raise InvalidInput(f"the set {item['name']} is declared twice", subject, f"{where}.name", "Declare it once.")
        routes = _routes(item["routes"], f"{where}.routes", subject)
        if any(forms.is_default(one["to"]) for one in routes):
            raise InvalidInput("a set has no default route", subject, f"{where}.routes", "Declare it as gateway.")
        found[item["name"]] = routes
    return found


def _link(text, option, subject):
    return values.link_name(text, option, subject) if text else None


def _description(text, option, subject):
    if not _DESCRIPTION.fullmatch(text):
        raise InvalidInput(
            "it cannot be a description", subject, option, "Use at most 250 characters, no quotes, backslashes, '%' or '#'."
        )
    return text or None


def _between(low, high, unit=""):
    """Return a check of a number, both ends included; the ends are the kernel's (linux/if_bridge.h, net/bridge/br_stp.c)."""
    unit = f" {unit}" if unit else ""

    def check(number, option, subject):
        if not low <= number <= high:
            raise InvalidInput(f"{number}{unit} is out of range", subject, option, f"Use {low} to {high}.")
        return number

    return check


_PORT = {"cost": _between(1, 65535), "priority": _between(0, 63)}


def _port_options(items, option, subject, ports):
    """Return {port: what is declared of it}."""
    found = {}
    for index, item in enumerate(items):
        where, name = f"{option}[{index}]", item["name"]
        if name in found:
            raise InvalidInput(f"{name} is declared twice", subject, f"{where}.name", "Declare it once.")
        if name not in ports:
            raise InvalidInput(f"{name} is not among its ports", subject, f"{where}.name", "Declare it in ports, too.")
        found[name] = {key: item[key] for key in ("isolated", *_PORT) if item.get(key) is not None}
        for key, check in _PORT.items():
            if key in found[name]:
                check(found[name][key], f"{where}.{key}", subject)
        if item.get("vlans") is not None:
            found[name]["vlans"] = vlans.parse(item["vlans"], f"{where}.vlans", subject)
    return found


def _seconds(number, option, subject):
    if not 0 <= number <= 1000000:
        raise InvalidInput(f"{number} s is out of range", subject, option, "Use 0 to 1000000.")
    return number


_FIELDS = {
    "mtu": values.mtu,
    "mac": values.mac,
    "bridge": _link,
    "addresses": _addresses,
    "gateway": _gateways,
    "routes": _routes,
    "description": _description,
    "forward_delay": _seconds,
    "hello_time": _between(1, 10, "s"),
    "max_age": _between(6, 40, "s"),
    "priority": _between(0, 65535),
    "ageing": _seconds,
    "vlans": vlans.parse,
    "vni": _between(1, model_stretch.VNI_MAX),
    "local": lambda text, option, subject: str(values.reachable(text, option, subject)),
    "peers": lambda texts, option, subject: [
        str(values.reachable(text, f"{option}[{index}]", subject)) for index, text in enumerate(texts)
    ],
    "vlan_default_pvid": lambda number, option, subject: vlans.number(number, option, subject, least=0),
}
_PLAIN = ("owner", "group", "multi_queue", "vnet_hdr", "stp", "multicast_snooping", "vlan_filtering", "learning")
_MORE = ("take_over", "dns", "ports", "mode")


def parse(items, kind):
    """Return the Items of an option C(kind) such as C(taps); raise InvalidInput at the first that cannot be meant."""
    found, names = [], {}
    for index, item in enumerate(items):
        option = f"{kind}[{index}]"
        name = values.link_name(item["name"], f"{option}.name", item["name"])
        if name in names:
            raise InvalidInput(f"it is declared by {names[name]} too", name, f"{option}.name", "Declare it once.")
        names[name] = option
        declared = {
            key: check(item[key], f"{option}.{key}", name) for key, check in _FIELDS.items() if item.get(key) is not None
        }
        declared.update({key: item[key] for key in _PLAIN if item.get(key) is not None})
        more = {key: item[key] for key in _MORE if item.get(key) is not None}
        if item.get("route_sets") is not None:
            more["route_sets"] = _route_sets(item["route_sets"], f"{option}.route_sets", name)
        if item.get("port_options") is not None:
            more["port_options"] = _port_options(item["port_options"], f"{option}.port_options", name, more.get("ports", ()))
        _check_together(name, option, declared, more)
        found.append(Item(name, option, item["state"], declared, more))
    return found


def _check_together(name, option, declared, more):
    six = [one for one in declared.get("addresses", ()) if ":" in one]
    if six and declared.get("mtu", 1280) < 1280:
        raise InvalidInput(f"IPv6 ({six[0]}) needs an MTU of 1280", name, f"{option}.mtu")
    if declared.get("bridge") and declared.get("addresses"):
        raise InvalidInput(
            "a port of a bridge has no addresses of its own", name, f"{option}.addresses", "Give them to the bridge."
        )
    if declared.get("peers") and declared.get("learning") is False:
        raise InvalidInput(
            "peers of a device that does not learn", name, f"{option}.peers",
            "Leave them to those who tell it of them, or give learning: true.",
        )  # fmt: skip
    if "peers" in declared:
        local = declared.get("local")
        peers = [values.address(text, option, name) for text in declared["peers"]]
        model_stretch.check_peers(local and values.address(local, option, name), peers, option, name)
    if more.get("mode") == "tun":
        for key in ("bridge", "mac"):
            if declared.get(key):
                raise InvalidInput(f"a tun has no {key}: it carries packets only", name, f"{option}.{key}", "Use mode: tap.")
    if declared.get("stp") and declared.get("forward_delay", 2) < 2:
        raise InvalidInput("with STP the kernel takes no less than 2 s", name, f"{option}.forward_delay")
    for index, port in enumerate(more.get("ports", ())):
        values.link_name(port, f"{option}.ports[{index}]", name)
        if port == name or port in more["ports"][:index]:
            raise InvalidInput(f"{port} cannot be its port", name, f"{option}.ports[{index}]", "Name each other link once.")
    for index, server in enumerate(more.get("dns", ())):
        values.address(server, f"{option}.dns[{index}]", name)
