# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of systemd-networkd: systemd.network(5), systemd.netdev(5), systemd.link(5), written and read. Pure."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, vlans

FOLDER = "/etc/systemd/network"
HEADER = "# Made by virtnet.kvm; changes are lost. See /etc/virtnet/README."
#: The first .network file that matches a link counts, in the order of their names.
PREFIX = "00-virtnet-"


def path(name, suffix):
    return f"{FOLDER}/{PREFIX}{name}.{suffix}"


def sysctl_path(name):
    """Return our file of sysctl.d(5) for a link; udev applies it when the link appears (99-systemd.rules)."""
    return f"/etc/sysctl.d/61-virtnet-{name}.conf"


def sysctls(settings):
    return HEADER + "\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


def parse(text):
    """Return [(section, [(key, value), ...]), ...] in order; sections may repeat, comments are left out."""
    sections, entries = [], []
    continued = ""
    for line in text.splitlines():
        line = continued + line.strip()
        continued = ""
        if not line or line[0] in "#;":
            continue
        if line.endswith("\\"):
            continued = line[:-1] + " "
        elif line.startswith("[") and line.endswith("]"):
            entries = []
            sections.append((line[1:-1], entries))
        elif "=" in line and sections:
            key, _sign, value = line.partition("=")
            entries.append((key.strip(), value.strip()))
    return sections


def render(sections):
    """Return the text of a file of ours; empty sections are left out."""
    blocks = [HEADER + "\n"]
    for section, entries in sections:
        if entries:
            blocks.append(f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in entries))
    return "\n".join(blocks)


def merged(sections):
    """Return the sections with those of one name made one; [Address], [Route] and their like stay apart."""
    result = []
    for section, entries in sections:
        known = next((old for name, old in result if name == section), None)
        if known is None or section not in ("Match", "Link", "Network", "DHCPv4", "DHCPv6", "DHCP", "IPv6AcceptRA"):
            result.append((section, list(entries)))
        else:
            known.extend(entries)
    return result


class Network:
    """A .network file under edit; what is not named here stays as it was."""

    def __init__(self, text=""):
        self.sections = merged(parse(text))

    def section(self, name):
        for known, entries in self.sections:
            if known == name:
                return entries
        entries = []
        self.sections.append((name, entries))
        return entries

    def get(self, section, key):
        """Return the last value, as systemd does; None if there is none."""
        values = self.values(section, key)
        return values[-1] if values else None

    def values(self, section, key):
        """Return all values; an empty one drops those before it."""
        found = []
        for name, entries in self.sections:
            for one, value in entries if name == section else ():
                if one == key:
                    found = [*found, value] if value else []
        return found

    def set(self, section, key, *values):
        """Give a key these values, or none; it stays where it is among the others."""
        entries = self.section(section)
        place = next((index for index, entry in enumerate(entries) if entry[0] == key), len(entries))
        rest = [entry for entry in entries if entry[0] != key]
        entries[:] = [*rest[:place], *((key, str(value)) for value in values), *rest[place:]]

    def drop(self, *names):
        self.sections = [one for one in self.sections if one[0] not in names]

    def match(self, name):
        self.drop("Match")
        self.sections.insert(0, ("Match", [("Name", name)]))

    @property
    def addresses(self):
        return [one for section in ("Network", "Address") for one in self.values(section, "Address")]

    @property
    def routes(self):
        """Return the routes as forms have them; those that no form can express (tables, types) are left out."""
        found = [{"to": _default(via), "via": via, "metric": None} for via in self._gateways()]
        return found + [one for one in map(_route, self.sections) if one]

    def _gateways(self):
        return [one for one in self.values("Network", "Gateway") if not one.startswith("_")]

    def set_addresses(self, addresses):
        if sorted(self.addresses) == sorted(addresses):
            return
        self.drop("Address")
        self.set("Network", "Address", *addresses)

    def set_routes(self, routes):
        wanted = sorted(routes, key=forms.route_key)
        if sorted(self.routes, key=forms.route_key) == wanted:
            return
        # Those that no form can express stay.
        self.sections = [one for one in self.sections if _route(one) is None]
        plain = [one for one in wanted if one["via"] and one["metric"] is None and one["to"] in ("0.0.0.0/0", "::/0")]
        special = [one for one in self.values("Network", "Gateway") if one.startswith("_")]
        self.set("Network", "Gateway", *special, *(one["via"] for one in plain))
        for one in wanted:
            if one not in plain:
                keys = (("Destination", "to"), ("Gateway", "via"), ("Metric", "metric"))
                self.sections.append(("Route", [(key, str(one[field])) for key, field in keys if one[field] is not None]))

    @property
    def dynamic(self):
        """Whether the link asks for an address by itself."""
        return (self.get("Network", "DHCP") or "no").lower() not in ("no", "none", "false", "0", "off")

    def text(self):
        return render(self.sections)


def _route(section):
    """Return a [Route] section as forms have it; None if it is another section, or one that no form can express."""
    name, entries = section
    one = dict(entries)
    if name != "Route" or not set(one) <= {"Destination", "Gateway", "Metric"} or one.get("Gateway", "").startswith("_"):
        return None
    to = one.get("Destination") or _default(one.get("Gateway", ""))
    try:
        metric = int(one["Metric"]) if one.get("Metric") else None
        return {"to": str(ipaddress.ip_network(to, strict=False)), "via": one.get("Gateway"), "metric": metric}
    except ValueError:
        # What networkd passes over, with a word in the journal, stays in the file.
        return None


def _default(via):
    return "::/0" if ":" in via else "0.0.0.0/0"


ALL = frozenset(("mtu", "mac", "state", "addresses", "gateway", "routes"))


def network(form, base="", declared=ALL, dns=None, carrier_needed=True):
    """Return the .network file of a link.

    :param form: what the link shall be.
    :param base: file to start from: our own of before, or that of the link it takes the place of.
    :param declared: the fields of C(form) to write; of the others the file stays as it is.
    :param carrier_needed: false for links whose addresses must be there before anybody plugs in.
    """
    file = Network(base)
    file.match(form["name"])
    if "mtu" in declared:
        file.set("Link", "MTUBytes", form["mtu"])
    if "mac" in declared and form["type"] != "bridge" and form["mac"]:
        # A bridge has it from its .netdev file, from its birth on; networkd ignores it there for a tap.
        file.set("Link", "MACAddress", form["mac"])
    if "state" in declared:
        _activation(file, form["state"])
    file.set("Network", "Bridge", *([form["bridge"]] if form["bridge"] else []))
    if "addresses" in declared:
        file.set_addresses(form["addresses"])
    if {"gateway", "routes"} & set(declared):
        file.set_routes(forms.all_routes(form))
    _set_port(file, form.get("port"))
    if form.get("vlans") is not None:
        _set_vlans(file, form["vlans"])
    if not carrier_needed:
        file.set("Network", "ConfigureWithoutCarrier", "yes")
    if dns is not None:
        file.set("Network", "DNS", *dns)
    if not base:
        # The boot must not wait for it, and what guests advertise is nothing for their host.
        file.set("Link", "RequiredForOnline", "no")
        file.set("Network", "IPv6AcceptRA", "no")
    if "ipv6" in form and not file.dynamic:
        file.set("Network", "LinkLocalAddressing", *([] if form["ipv6"] else ["no"]))
    return file.text()


def with_routes(text, added, removed):
    """Return a .network file with and without certain routes; all others stay, also those that no form can express."""
    file = Network(text)
    before = file.routes
    wanted = [one for one in before if one not in removed]
    wanted += [one for one in added if one not in wanted]
    if sorted(wanted, key=forms.route_key) != sorted(before, key=forms.route_key):
        file.set_routes(wanted)
    return file.text()


def _activation(file, state):
    policy = file.get("Link", "ActivationPolicy")
    if state == "down":
        file.set("Link", "ActivationPolicy", "down")
    elif policy in ("down", "always-down", "manual"):
        file.set("Link", "ActivationPolicy")


def same(text, base):
    """Return whether two files say the same, whatever link they match."""
    one, other = Network(text), Network(base)
    for file in (one, other):
        file.match("")
    return [section for section in one.sections if section[1]] == [section for section in other.sections if section[1]]


#: systemd.network(5), [Bridge]
_PORT_KEYS = {"isolated": "Isolated", "cost": "Cost", "priority": "Priority"}


def _set_port(file, options):
    for option, value in (options or {}).items():
        if option == "vlans":
            _set_vlans(file, value)
        else:
            file.set("Bridge", _PORT_KEYS[option], ("no", "yes")[value] if isinstance(value, bool) else value)


def _set_vlans(file, form):
    file.drop("BridgeVLAN")
    for text, flags in vlans.words(form):
        entries = [("PVID", text)] if "pvid" in flags else []
        entries.append(("EgressUntagged" if "untagged" in flags else "VLAN", text))
        file.sections.append(("BridgeVLAN", entries))


_ORDER = ("Match", "Bridge", "BridgeVLAN", "Link", "Network")


def port(name, bridge, base="", uplink=False, options=None):
    """Return the .network file of a port: of what its own file said, the [Link] section stays, and what the port is set to.

    :param options: what is declared of the port; the rest of it stays.
    """
    file = Network(base)
    file.sections = [one for one in file.sections if one[0] == "Link" or (one[0] in ("Bridge", "BridgeVLAN") and HEADER in base)]
    file.match(name)
    if uplink:
        file.set("Link", "RequiredForOnline", "enslaved")
    else:
        file.set("Link", "RequiredForOnline", "no")
    file.set("Network", "Bridge", bridge)
    file.set("Network", "LinkLocalAddressing", "no")
    file.set("Network", "IPv6AcceptRA", "no")
    _set_port(file, options)
    # One order, whatever was there first.
    file.sections.sort(key=lambda one: _ORDER.index(one[0]))
    return file.text()


def successor(base, iaid=None):
    """Return the file of a bridge that takes the place of its uplink: all but what belongs to the link itself."""
    file = Network(base)
    for key in ("MACAddress", "ActivationPolicy"):
        file.set("Link", key)
    if iaid is not None and file.dynamic and (file.get("DHCPv4", "ClientIdentifier") or "duid") != "mac":
        # networkd makes it of the link's name: another one, and the server has another address for us.
        file.set("DHCPv4", "IAID", iaid)
    return file.text()


#: systemd.netdev(5), [Bridge]: what is written only where it is not what every bridge has
_BRIDGE_KEYS = {
    "hello_time": "HelloTimeSec", "max_age": "MaxAgeSec", "priority": "Priority", "multicast_snooping": "MulticastSnooping",
    "vlan_default_pvid": "DefaultPVID", "vlan_filtering": "VLANFiltering",
}


def netdev(form):
    """Return the .netdev file of a bridge, a tap or a tun."""
    yes = ("no", "yes")
    head = [("Name", form["name"]), ("Kind", form["type"])]
    if form["type"] == "bridge":
        head.append(("MACAddress", form["mac"]))
        body = [("STP", yes[form["stp"]]), ("ForwardDelaySec", form["forward_delay"]), ("AgeingTimeSec", form["ageing"])]
        for option, key in _BRIDGE_KEYS.items():
            value = form.get(option, forms.BRIDGE_OPTIONS[option][1])
            if value != forms.BRIDGE_OPTIONS[option][1]:
                none = option == "vlan_default_pvid" and not value
                body.append((key, "none" if none else (yes[value] if isinstance(value, bool) else value)))
        return render([("NetDev", head), ("Bridge", body)])
    body = [("MultiQueue", yes[form["multi_queue"]]), ("VNetHeader", yes[form["vnet_hdr"]])]
    body += [(key, form[option]) for key, option in (("User", "owner"), ("Group", "group")) if form[option] is not None]
    return render([("NetDev", head), (form["type"].capitalize(), body)])


def link(form):
    """Return the .link file of a link that we made: its mark, and that udev leaves its MAC alone."""
    return render(
        [("Match", [("OriginalName", form["name"])]), ("Link", [("MACAddressPolicy", "none"), ("Alias", form["description"])])]
    )


def iaid(lease):
    """Return the IAID of the client identifier in a lease file of networkd's, None if there is none (RFC 4361)."""
    for line in lease.splitlines():
        key, _sign, value = line.partition("=")
        if key == "CLIENTID" and value.lower().startswith("ff") and len(value) >= 10:
            return int(value[2:10], 16)
    return None
