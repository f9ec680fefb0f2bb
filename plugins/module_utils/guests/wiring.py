# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NICs of domains that others made: which one is meant, and its element wired anew. Pure but for lxml.

https://libvirt.org/formatdomain.html#network-interfaces
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any, Optional

try:
    from lxml import etree
except ImportError:  # pragma: no cover - deps.require() answers for it
    etree = None

from ansible_collections.virtnet.kvm.plugins.module_utils import bandwidth_xml, model_ports, names, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import domain

#: Kinds of NICs that are no link of the host; to wire one to a network is to have another device.
NOT_WIRED = ("hostdev", "vdpa")
#: Parts of an element that belong to the old kind of its source.
OF_SOURCE = ("virtualport", "backend", "portForward")
#: Fields of the normal form that a running NIC takes without being plugged anew.
LIVE = {"link", "filter", "bandwidth"}
# Names that QEMU and libvirt know are of these letters (virtio, e1000e, pcnet, virtio-transitional).
_MODEL = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")
# What a variable of a filter may be called (https://libvirt.org/formatnwfilter.html#usage-of-variables-in-filters).
_VARIABLE = re.compile(r"[A-Za-z0-9_]{1,50}")


@dataclass(frozen=True)
class Wish:
    """One declared NIC. C(mac), C(index) and C(alias) select it; without them it is the guest's only one."""

    option: str
    guest: str
    state: str
    network: Optional[str]
    mac: Optional[str]
    index: Optional[int]
    alias: Optional[str]
    dev: Optional[str]
    link: Optional[str]
    model: Optional[str] = None
    #: {inbound, outbound}, empty for no limits; None is not declared.
    bandwidth: Optional[dict] = None
    #: {name, parameters}, empty for no filter; None is not declared.
    filter: Optional[dict] = None

    @property
    def wanted(self):
        return self.state != "absent"


def parse_wishes(items):
    """Return the Wishes of C(nics); raise InvalidInput with the option's path."""
    wishes = []
    for number, item in enumerate(items):
        option = f"nics[{number}]"
        # The name is libvirt's, and others chose it: it only has to be found.
        guest = item["guest"]
        selectors = [key for key in ("mac", "index", "alias") if item.get(key) is not None]
        if len(selectors) > 1:
            raise InvalidInput(f"{' and '.join(selectors)} both select a NIC", guest, option, "Give one of them.")
        if item.get("index") is not None and item["index"] < 0:
            raise InvalidInput("NICs are counted from 0", guest, f"{option}.index", "Use 0 for the first.")
        if item.get("dev") is not None:
            values.link_name(item["dev"], f"{option}.dev", guest)
            if names.AUTOMATIC.fullmatch(item["dev"]):
                raise InvalidInput(
                    f"libvirt gives names like {item['dev']} itself, anew at every start", guest, f"{option}.dev",
                    "Choose a name that does not begin with vnet, macvtap or macvlan.",
                )
        wishes.append(
            Wish(
                option, guest, item.get("state") or "present", item.get("network"),
                None if item.get("mac") is None else values.mac(item["mac"], f"{option}.mac", guest),
                item.get("index"), item.get("alias"), item.get("dev"), item.get("link"),
                _model(item.get("model"), f"{option}.model", guest),
                model_ports.parse_bandwidth(item.get("bandwidth"), f"{option}.bandwidth", guest),
                _filter(item.get("filter"), f"{option}.filter", guest),
            )
        )
    devs = {}
    for wish in wishes:
        if wish.dev is not None and wish.wanted and devs.setdefault(wish.dev, wish) is not wish:
            raise InvalidInput(
                f"the link {wish.dev} is declared twice, for {devs[wish.dev].option} too", wish.guest, f"{wish.option}.dev",
                "Give each NIC its own.",
            )
    return wishes


def _model(text, option, guest):
    if text is not None and not _MODEL.fullmatch(text):
        raise InvalidInput(f"{text!r} cannot be a model of a NIC", guest, option, "Use one such as virtio or e1000e.")
    return text


def _filter(item, option, guest):
    """Return {name, parameters: {variable: [values]}} of a declared filter."""
    if item is None:
        return None
    given: Any = {key: value for key, value in item.items() if value}
    if not given:
        return {}
    if "name" not in given:
        raise InvalidInput("parameters of no filter", guest, f"{option}.name", "Name it; without parameters, V({}) removes it.")
    parameters = {}
    for key, value in sorted(given.get("parameters", {}).items()):
        rows = value if isinstance(value, list) else [value]
        if not _VARIABLE.fullmatch(key) or not rows or not all(isinstance(one, (str, int)) for one in rows):
            raise InvalidInput(
                f"{key} is no variable with a text or a list of them", guest, f"{option}.parameters",
                "Write it as IP: 10.64.100.2.",
            )
        parameters[key] = [values.text(str(one), f"{option}.parameters.{key}", guest) for one in rows]
    return {"name": values.text(given["name"], f"{option}.name", guest), "parameters": parameters}


def nodes(xml):
    """Return {MAC: element} of a domain's NICs, in their order; an empty one of no definition."""
    if xml is None:
        return {}
    found = {}
    for node in domain.load(xml).iterfind("devices/interface"):
        mac = node.find("mac")
        if mac is not None:
            source = node.find("source")
            if source is not None and source.get("network") is not None:
                # A running one on a network that is a bridge of the host's is told as a bridge, or as direct.
                node.set("type", "network")
            found[mac.get("address").lower()] = node
    return found


def select(wish, stored, live):
    """Return the MAC of the NIC that is meant; raise InvalidInput if none is.

    :param stored: nodes() of the stored definition, C(live) of the running one.
    """
    if wish.mac is not None:
        return wish.mac
    known = list(stored) or list(live)
    there = f"It has {', '.join(f'{number}: {mac}' for number, mac in enumerate(known)) or 'none'}."
    if wish.alias is not None:
        for mac, node in [*live.items(), *stored.items()]:
            alias = node.find("alias")
            if alias is not None and alias.get("name") == wish.alias:
                return mac
        cure = there if live else f"{there} Aliases that libvirt gives itself exist while the guest runs only."
        raise InvalidInput(f"it has no NIC with the alias {wish.alias}", wish.guest, f"{wish.option}.alias", cure)
    if wish.index is not None:
        if wish.index >= len(known):
            cure = f"{there} To add one, give its mac."
            raise InvalidInput(f"it has no NIC number {wish.index}", wish.guest, f"{wish.option}.index", cure)
        return known[wish.index]
    if len(known) != 1:
        raise InvalidInput(f"it has {len(known)} NICs", wish.guest, wish.option, f"Say which by mac, index or alias. {there}")
    return known[0]


# -- elements -----------------------------------------------------------------------------------------------------


def form(node, bandwidth=False):
    """Return the normal form of an element.

    :param bandwidth: whether limits are asked for: a running NIC tells those of its network's port group as its own.
    """
    kind = node.get("type")
    source, target, link = node.find("source"), node.find("target"), node.find("link")
    key = {"network": "network", "bridge": "bridge"}.get(kind, "dev")
    dev = target.get("dev") if target is not None else None
    return {
        "type": kind,
        "source": source.get(key) if source is not None else None,
        "dev": None if dev is None or names.AUTOMATIC.fullmatch(dev) else dev,
        "link": link.get("state", "up") if link is not None else "up",
        "model": node.find("model").get("type") if node.find("model") is not None else None,
        "filter": _filter_of(node.find("filterref")),
        **({"bandwidth": bandwidth_xml.parse(node)} if bandwidth else {}),
    }


def _filter_of(node):
    if node is None:
        return None
    parameters: Any = {}
    for one in sorted(node.iterfind("parameter"), key=lambda one: one.get("name")):
        parameters.setdefault(one.get("name"), []).append(one.get("value"))
    return {"name": node.get("filter"), "parameters": parameters}


def _replaced(node, tag, new):
    """Put C(new) in the place of a child, or take that away if it is None."""
    for old in node.findall(tag):
        node.remove(old)
    if new is not None:
        node.append(new)


def _filterref(declared):
    node = etree.Element("filterref", filter=declared["name"])
    for key, rows in declared["parameters"].items():
        for value in rows:
            etree.SubElement(node, "parameter", name=key, value=value)
    return node


def _child(node, tag):
    child = node.find(tag)
    return etree.SubElement(node, tag) if child is None else child


def wired(node, wish):
    """Return a copy of the element as it was declared; what is not declared of it stays."""
    node = copy.deepcopy(node)
    now = form(node, bandwidth=True)
    if wish.network is not None and (now["type"], now["source"]) != ("network", wish.network):
        if now["type"] in NOT_WIRED:
            raise InvalidInput(
                f"its NIC is a device of the kind {now['type']}, which no network carries", wish.guest, f"{wish.option}.network",
                "Remove it (state: absent), and add one with another mac.",
            )
        node.set("type", "network")
        for tag in OF_SOURCE:
            for child in node.findall(tag):
                node.remove(child)
        source = _child(node, "source")
        for child in list(source):
            source.remove(child)
        source.attrib.clear()
        source.set("network", wish.network)
    if wish.dev is not None and now["dev"] != wish.dev:
        _child(node, "target").set("dev", wish.dev)
    if wish.link is not None and now["link"] != wish.link:
        _child(node, "link").set("state", wish.link)
    if wish.model is not None and now["model"] != wish.model:
        _child(node, "model").set("type", wish.model)
        # It is of the old model's kind: queues, offloads, vhost.
        _replaced(node, "driver", None)
    if wish.bandwidth is not None and (now["bandwidth"] or {}) != wish.bandwidth:
        _replaced(node, "bandwidth", bandwidth_xml.element(wish.bandwidth) if wish.bandwidth else None)
    if wish.filter is not None and (now["filter"] or {}) != wish.filter:
        _replaced(node, "filterref", _filterref(wish.filter) if wish.filter else None)
    return node


def fresh(wish, mac):
    """Return the element of a NIC that is added."""
    node = etree.Element("interface", type="network")
    etree.SubElement(node, "mac", address=mac)
    etree.SubElement(node, "source", network=wish.network)
    etree.SubElement(node, "target", dev=wish.dev or names.port_name(mac))
    etree.SubElement(node, "model", type="virtio")
    return wired(node, wish)


def detached(node):
    """Return a running NIC's element for plugging it in again: without what libvirt gave it for this one time."""
    node = copy.deepcopy(node)
    target, alias, source = node.find("target"), node.find("alias"), node.find("source")
    if target is not None and names.AUTOMATIC.fullmatch(target.get("dev", "")):
        node.remove(target)
    if alias is not None and not alias.get("name", "").startswith("ua-"):
        node.remove(alias)
    if source is not None and node.get("type") == "network":
        for key in ("portid", "bridge", "dev", "mode"):
            source.attrib.pop(key, None)
    return node


def twin(node):
    """Return an element for the other definition of the guest; its place on the board may be taken there."""
    node = detached(node)
    for child in node.findall("address"):
        node.remove(child)
    return node


def on_a_bridge(node):
    """Return whether a running NIC's link is in a bridge, so that libvirt can move it to another one."""
    source = node.find("source")
    return node.get("type") in ("network", "bridge") and source is not None and source.get("bridge") is not None


def text(node):
    return etree.tostring(node, encoding="unicode")
