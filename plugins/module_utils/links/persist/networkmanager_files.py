# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Profiles of NetworkManager: nm-settings-keyfile(5), nm-settings(5), written and read. Pure."""

from __future__ import annotations

import configparser
import io
import ipaddress
import re
import uuid

from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, vlans

FOLDER = "/etc/NetworkManager/system-connections"
HEADER = "# Made by virtnet.kvm; changes are lost. See /etc/virtnet/README."
PREFIX = "virtnet-"
#: Of several profiles for a link NetworkManager takes the one with the highest, at boot and when one is gone.
PRIORITY = 999
_BEFORE = "# Comes before the profile "
#: Our own of all UUIDs (RFC 9562, version 5).
_UUIDS = uuid.UUID("5ab3a1a4-41f1-5d5c-9c3b-0c9f5f1c1d52")
_FAMILIES = ("ipv4", "ipv6")
#: What a bridge has of the profile of its uplink; the rest of it is about the link itself.
_OF_THE_HOST = ("connection", *_FAMILIES, "proxy")
#: Words of a [connection] that are about one profile's life.
_OF_ONE_LIFE = ("autoconnect", "timestamp", "read-only")
_MEMBERSHIP = ("master", "slave-type", "controller", "port-type")
#: Methods of a family that nobody gives an address
_SILENT = ("disabled", "link-local")
_ADDRESS = re.compile(r"address(es)?\d*")
_ROUTE = re.compile(r"routes?\d*")


def path(name):
    return f"{FOLDER}/{PREFIX}{name}.nmconnection"


def name_of(path):
    """Return the link that a profile of ours is of."""
    return path.rpartition("/")[2][len(PREFIX) : -len(".nmconnection")]


def own_uuid(machine, name):
    """Return the UUID of our profile of a link; on another machine it is another one."""
    return str(uuid.uuid5(_UUIDS, f"{machine}/{name}"))


class _Parser(configparser.ConfigParser):
    """An ini file of GLib's: keys as they are written."""

    def optionxform(self, optionstr):
        return optionstr


class Keyfile:
    """A profile under edit; what is not named here stays as it was."""

    def __init__(self, text="", metric=None):
        #: what NetworkManager chooses for routes that name no metric
        self._chosen = -1 if metric is None else metric
        self._parser = _Parser(
            delimiters=("=",), comment_prefixes=("#", ";"), strict=False, interpolation=None, default_section="",
            empty_lines_in_values=False,
        )
        self._parser.read_string(text)
        found = re.search(f"^{_BEFORE}(.*)$", text, re.MULTILINE)
        #: UUID of the profile that the link had before ours
        self.former = found[1] if found else None

    def get(self, section, key):
        return self._parser.get(section, key, fallback=None)

    def set(self, section, key, value):
        """Give a key a value; None removes it."""
        if value is None:
            if self._parser.has_section(section):
                self._parser.remove_option(section, key)
            return
        if not self._parser.has_section(section):
            self._parser.add_section(section)
        self._parser.set(section, key, ("false", "true")[value] if isinstance(value, bool) else str(value))

    def keys(self, section):
        return list(self._parser[section]) if self._parser.has_section(section) else []

    def drop(self, *sections):
        for one in sections:
            self._parser.remove_section(one)

    def keep(self, *sections):
        self.drop(*(one for one in self._parser.sections() if one not in sections))

    @property
    def type(self):
        return self.get("connection", "type")

    @property
    def sections(self):
        """Return {section: {key: value}} without the empty ones."""
        return {one: dict(self._parser[one]) for one in self._parser.sections() if self.keys(one)}

    def text(self):
        handle = io.StringIO()
        handle.write(HEADER + "\n")
        if self.former:
            handle.write(f"{_BEFORE}{self.former}\n")
        for section in [one for one in self._parser.sections() if not self.keys(one)]:
            self.drop(section)
        self._parser.write(handle, space_around_delimiters=False)
        return handle.getvalue().rstrip("\n") + "\n"

    # -- addresses and routes ---------------------------------------------------------------------------------------------

    def _listed(self, family, pattern):
        """Return {key: value} of those keys of a family that a pattern matches whole, in the order of their numbers."""
        found = [one for one in self.keys(family) if pattern.fullmatch(one)]
        return {one: self.get(family, one) for one in sorted(found, key=lambda key: int(re.sub(r"\D", "", key) or 0))}

    def _addresses(self, family):
        """Return [(address, gateway or None)]."""
        found = []
        for value in self._listed(family, _ADDRESS).values():
            words = [one.strip() for one in re.split(r"[,;]", value)]
            found.append((str(ipaddress.ip_interface(words[0])), words[1] if words[1:] and words[1] else None))
        return found

    def _metric(self, family):
        """Return the metric of routes that name none of their own: None is the kernel's, -1 what NetworkManager chooses."""
        value = int(self.get(family, "route-metric") or -1)
        value = self._chosen if value == -1 else value
        return None if value in (0, 1024 if family == "ipv6" else 0) else value

    @property
    def addresses(self):
        return [address for family in _FAMILIES for address, _gateway in self._addresses(family)]

    @property
    def routes(self):
        """Return the routes as forms have them, gateways included; a metric that NetworkManager chooses is -1."""
        return [route for family in _FAMILIES for route in (*self._gateways(family), *self._routes(family).values()) if route]

    def _gateways(self, family):
        found = [self.get(family, "gateway"), *(gateway for _address, gateway in self._addresses(family))]
        to = ("0.0.0.0/0", "::/0")[family == "ipv6"]
        return [{"to": to, "via": str(ipaddress.ip_address(one)), "metric": self._metric(family)} for one in found if one][:1]

    def _routes(self, family):
        """Return {key: route, or None of one that no form can express}."""
        found = {}
        for key, value in self._listed(family, _ROUTE).items():
            words = [one.strip() for one in value.split(",")] + ["", ""]
            metric = int(words[2]) if words[2] else self._metric(family)
            via = str(ipaddress.ip_address(words[1])) if words[1] else None
            if via and ipaddress.ip_address(via).is_unspecified:
                via = None
            to = str(ipaddress.ip_network(words[0], strict=False))
            special = f"{key}_options" in self.keys(family)
            found[key] = None if special else {"to": to, "via": via, "metric": None if metric == 0 else metric}
        return found

    def set_addresses(self, addresses):
        for family in _FAMILIES:
            wanted = [one for one in addresses if (":" in one) == (family == "ipv6")]
            has = self._addresses(family)
            if sorted(wanted) == sorted(address for address, _gateway in has):
                continue
            gateway = self.get(family, "gateway") or next((one for _address, one in has if one), None)
            for key in self._listed(family, _ADDRESS):
                self.set(family, key, None)
            for number, one in enumerate(wanted, 1):
                self.set(family, f"address{number}", one)
            self.set(family, "gateway", gateway)

    def set_routes(self, routes):
        """Have these routes, gateways included; those that no form can express stay, and so does what differs in nothing."""
        for family in _FAMILIES:
            wanted = sorted((one for one in routes if (":" in one["to"]) == (family == "ipv6")), key=forms.route_key)
            has = [*self._gateways(family), *(one for one in self._routes(family).values() if one)]
            if sorted(has, key=forms.route_key) == wanted:
                continue
            gateway = next((one for one in wanted if forms.is_default(one["to"]) and one["metric"] == self._metric(family)), None)
            for key, value in self._listed(family, _ADDRESS).items():
                self.set(family, key, re.split(r"[,;]", value)[0])
            self.set(family, "gateway", gateway["via"] if gateway else None)
            for key, one in self._routes(family).items():
                if one is not None:
                    self.set(family, key, None)
            numbers = iter(range(1, 10000))
            taken = self._listed(family, _ROUTE)
            for one in wanted:
                if one is not gateway:
                    key = next(f"route{number}" for number in numbers if f"route{number}" not in taken)
                    metric = "" if one["metric"] == self._chosen else f",{one['metric'] or 0}"
                    self.set(family, key, f"{one['to']},{one['via'] or ''}{metric}")

    def set_methods(self, link_local):
        """Choose what there is besides the addresses; what asks for some by itself goes on asking.

        :param link_local: whether the kernel speaks IPv6 on a link that has no address of its own.
        """
        for family, without in (("ipv4", "disabled"), ("ipv6", "link-local" if link_local else "disabled")):
            method = self.get(family, "method")
            if method in ("auto", "dhcp", "shared"):
                continue
            if self._addresses(family):
                self.set(family, "method", "manual")
            elif method in (None, "manual", *_SILENT):
                self.set(family, "method", without)

    # -- names ------------------------------------------------------------------------------------------------------------

    @property
    def dns(self):
        return [one for family in _FAMILIES for one in re.split(r"[;,]\s*", self.get(family, "dns") or "") if one]

    def set_dns(self, servers):
        for family in _FAMILIES:
            mine = [one for one in servers if (":" in one) == (family == "ipv6")]
            self.set(family, "dns", "".join(f"{one};" for one in mine) or None)

    @property
    def dynamic(self):
        return any(self.get(family, "method") in ("auto", "dhcp") for family in _FAMILIES)


def _named(file, name, own, kind):
    """Make it our profile of a link."""
    for key in _OF_ONE_LIFE:
        file.set("connection", key, None)
    file.set("connection", "id", f"{PREFIX}{name}")
    file.set("connection", "uuid", own)
    file.set("connection", "type", kind)
    file.set("connection", "interface-name", name)
    file.set("connection", "autoconnect-priority", PRIORITY)


def _in_bridge(file, bridge, options=None):
    for key in _MEMBERSHIP:
        file.set("connection", key, None)
    if bridge is None:
        file.drop("bridge-port")
        return
    # The words that NetworkManager 1.42 has; newer ones take them, too.
    file.set("connection", "master", bridge)
    file.set("connection", "slave-type", "bridge")
    file.drop(*_FAMILIES, "proxy")
    for option, key in (("cost", "path-cost"), ("priority", "priority")):
        if option in (options or {}):
            file.set("bridge-port", key, options[option])
    if "vlans" in (options or {}):
        file.set("bridge-port", "vlans", _vlans(options["vlans"]))


def _vlans(form):
    return ", ".join(f"{text} {flags}".strip() for text, flags in vlans.words(form)) or None


#: nm-settings(5), bridge: our name -> (NetworkManager's, its default)
_BRIDGE_KEYS = {
    "stp": ("stp", None), "forward_delay": ("forward-delay", 15), "hello_time": ("hello-time", 2), "max_age": ("max-age", 20),
    "priority": ("priority", 32768), "ageing": ("ageing-time", 300), "multicast_snooping": ("multicast-snooping", True),
    "vlan_default_pvid": ("vlan-default-pvid", 1), "vlan_filtering": ("vlan-filtering", False),
}
#: What it sets only where the spanning tree is on (nm-device-bridge.c, only_with_stp).
WITH_STP = ("forward_delay", "hello_time", "max_age", "priority")


def made(form, own, base="", dns=None):
    """Return the profile of a link that we made.

    :param form: what the link shall be; owner and group as numbers.
    :param own: its UUID.
    :param base: text to start from: our own of before, or what successor() says.
    """
    file = Keyfile(base)
    file.former = None
    fresh = not file.keys("connection")
    name = form["name"]
    if form["type"] == "bridge":
        _named(file, name, own, "bridge")
        file.set("connection", "autoconnect-slaves", 1)
        for option, (key, default) in _BRIDGE_KEYS.items():
            value = form.get(option, forms.BRIDGE_OPTIONS[option][1])
            file.set("bridge", key, None if value == default else value)
        if form.get("vlans") is not None:
            file.set("bridge", "vlans", _vlans(form["vlans"]))
    else:
        _named(file, name, own, "tun")
        file.set("tun", "mode", {"tun": 1, "tap": 2}[form["type"]])
        for key, value in (("owner", form["owner"]), ("group", form["group"])):
            file.set("tun", key, value)
        file.set("tun", "vnet-hdr", True if form["vnet_hdr"] else None)
        file.set("tun", "multi-queue", True if form["multi_queue"] else None)
    file.set("ethernet", "cloned-mac-address", form["mac"].upper() if form["mac"] else None)
    file.set("ethernet", "mtu", form["mtu"])
    _in_bridge(file, form["bridge"], form.get("port"))
    if form["bridge"] is None:
        _set_ip(file, form, ("addresses", "gateway", "routes"), fresh)
        if dns is not None:
            file.set_dns(dns)
        file.set_methods(form.get("ipv6", True))
    return file.text()


def _set_ip(file, form, declared, fresh=False):
    if fresh or not file.keys("ipv4"):
        # The kernel's own metric, as everybody else sets it up; NetworkManager has one for each type of link.
        for family in _FAMILIES:
            file.set(family, "route-metric", 0)
    if "addresses" in declared:
        file.set_addresses(form["addresses"])
    if {"gateway", "routes"} & set(declared):
        file.set_routes(forms.all_routes(form))


def existing(form, own, base="", former=None, kind="ethernet", metric=None, declared=(), added=(), removed=()):
    """Return our profile of a link that is there without us.

    :param base: what is there of it: our own profile of before, or the link's own, C(former) its UUID.
    :param metric: what NetworkManager gives the link's routes.
    :param declared: the fields of C(form) to write; of the others it stays as it is.
    :param added: routes that it has beside its others, unless C(declared) has the routes; C(removed), the contrary.
    """
    file = Keyfile(base, metric)
    file.former = former or file.former
    _named(file, form["name"], own, file.type or kind)
    if "mtu" in declared:
        file.set("ethernet", "mtu", form["mtu"])
    if "mac" in declared and form["mac"]:
        file.set("ethernet", "cloned-mac-address", form["mac"].upper())
    _set_ip(file, form, declared, fresh=not base)
    if "routes" not in declared:
        before = file.routes
        wanted = [one for one in before if one not in removed]
        file.set_routes([*wanted, *(one for one in added if one not in wanted)])
    if "addresses" in declared or not base:
        file.set_methods(True)
    return file.text()


def says_the_same(text, base):
    """Return whether two profiles differ in nothing but whose they are."""
    found = []
    for one in (text, base):
        file = Keyfile(one)
        for key in ("id", "uuid", "interface-name", "autoconnect-priority", *_OF_ONE_LIFE):
            file.set("connection", key, None)
        found.append(file.sections)
    return found[0] == found[1]


def port(name, own, bridge, base="", former=None, kind="ethernet", options=None):
    """Return our profile of a bridge's port: all of its former one but addresses and routes.

    :param options: what is declared of the port; the rest of it stays.
    """
    file = Keyfile(base)
    file.former = former or file.former
    _named(file, name, own, file.type or kind)
    _in_bridge(file, bridge, options)
    return file.text()


def successor(base, metric, client_id=None, addresses=()):
    """Return the profile a bridge starts from that takes the place of its uplink.

    :param metric: what NetworkManager gives the uplink's routes; a bridge's would get another one.
    :param client_id: by which the DHCP server knows the uplink (RFC 2132, option 61), None without a lease.
    :param addresses: the uplink's own from router advertisements.
    """
    file = Keyfile(base)
    file.former = None
    file.keep(*_OF_THE_HOST)
    for key in (*_MEMBERSHIP, *_OF_ONE_LIFE):
        file.set("connection", key, None)
    for family in _FAMILIES:
        if file.get(family, "route-metric") in (None, "-1") and metric is not None:
            file.set(family, "route-metric", metric)
    if client_id and file.get("ipv4", "method") == "auto":
        # It may be made of the link's name.
        file.set("ipv4", "dhcp-client-id", client_id)
    if file.get("ipv6", "addr-gen-mode") not in (None, "0", "eui64") and addresses:
        # So is the rest of an address with stable privacy (RFC 7217); a token says it (RFC 7721).
        host = int(ipaddress.ip_address(addresses[0])) & (1 << 64) - 1
        file.set("ipv6", "addr-gen-mode", "eui64")
        file.set("ipv6", "token", str(ipaddress.IPv6Address(host)))
    return file.text()


def is_reapplied(text):
    """Return whether NetworkManager can be told of changes while the link is up: of a family that it is to ignore it would
    take what the kernel has got from a router (1.42, 1.52; netplan makes such profiles).
    """
    file = Keyfile(text)
    return not any(file.get(family, "method") == "ignore" for family in _FAMILIES)


def modification(text):
    """Return the words by which nmcli(1) gives a running link the addresses, routes and names of a profile."""
    file, words = Keyfile(text), []
    for family in _FAMILIES:
        routes = [file.get(family, key).replace(",", " ") for key in file._listed(family, _ROUTE)]
        gateway = next((one["via"] for one in file._gateways(family)), "")
        values = {
            "method": file.get(family, "method") or "disabled",
            "addresses": ",".join(address for address, _gateway in file._addresses(family)),
            "gateway": gateway,
            "routes": ",".join(" ".join(one.split()) for one in routes),
        }
        # Addresses first: a gateway without one is refused.
        # Each word is checked at once: no gateway without an address, no method that needs one.
        order = ("addresses", "gateway", "routes", "method")
        for key in order if values["addresses"] else ("method", *order[:3]):
            words += [f"{family}.{key}", values[key]]
    return words
