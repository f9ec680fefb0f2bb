# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of ifupdown: interfaces(5), ours written and edited. Pure.

A file of ours has up to three parts, each an C(iface) stanza or more of one name: what makes and sets the link, what its
user's stanzas said, and addresses and routes that those do not have. ifup(8) takes stanzas of one name one after the other.
"""

from __future__ import annotations

import re
import shlex

from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, vlans
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_stanzas as read

FOLDER = "/etc/network/interfaces.d"
PREFIX = "virtnet-"
HEADER = "# Made by virtnet.kvm; changes are lost. See /etc/virtnet/README."

#: Logical names (interfaces(5), MAPPING) of links that are there without us begin so. NEW: nobody had ifup set it up before.
LOGICAL = PREFIX
NEW = PREFIX + "new-"
_PORT = "port-"

_COMMANDS = ("pre-up", "up", "post-up", "pre-down", "down", "post-down")
#: What is said of the link itself, and stays with it when its addresses go to a bridge.
_OF_LINK = ("hwaddress", "mtu", "vlan-", "bond-", "ethtool-", "offload-", "hardware-", "driver-", "link-", "wpa-", "wireless-")
#: What belongs to an address of a static stanza, and goes with it.
_OF_ADDRESS = ("address", "netmask", "broadcast", "gateway", "metric", "pointopoint", "scope", "preferred-lifetime")
_SYSCTL = "/proc/sys/net/ipv6/conf/$IFACE"
#: An option by which a stanza of ours is known from one that was copied; ifup hands it to its scripts and does no more with it.
_MARK = "virtnet"
#: sysctls of an IPv6 stanza (interfaces(5)) that not every method of it has.
_OF_RA = {"accept_ra": "accept_ra", "autoconf": "autoconf", "privext": "use_tempaddr"}
_VLAN = "bridge vlan"
#: Seconds that routes wait for a lease at boot.
_LEASE_S = 20
_NO_LINK_LOCAL = "ip link set dev $IFACE addrgenmode none"
#: What we say of a port, and what its user may have said of it as a port of another bridge.
_OF_PORT = re.compile(
    r"addrgenmode none|\bip link add name\b|\bmaster\b|\bbridge_slave\b|\bbridge vlan\b|^ip link set dev \$IFACE down$"
)


def path(name):
    return f"{FOLDER}/{PREFIX}{name}"


def logical(name, before, is_port=False):
    """Return the logical name of a link whose stanzas stand in a file of ours; C(before) is what ifup knows it as, or nothing."""
    new = not before or before.startswith(NEW)
    return (NEW if new else LOGICAL) + (_PORT if is_port else "") + name


def render(stanzas):
    """Return the text of a file of ours."""
    return "\n".join([HEADER + "\n", *(one.text() for one in stanzas)])


def _address_line(address):
    six = ":" in address
    broadcast = " broadcast +" if not six and int(address.rpartition("/")[2]) < 31 else ""
    # With a port that comes late, duplicate address detection would fail the whole of it.
    return ("up", f"ip address replace {address} dev $IFACE{broadcast}{' nodad' if six else ''}")


def _route_line(one, leased=False):
    """Return the option that sets up a route.

    :param leased: whether a lease brings the link's addresses. dhcpcd lets ifup go on with the first one, of either family; and
        a command that fails would have networking.service end the client, and with it the uplink.
    """
    via = f" via {one['via']}" if one["via"] else ""
    metric = f" metric {one['metric']}" if one["metric"] is not None else ""
    line = f"ip route replace {one['to']}{via} dev $IFACE{metric} proto static"
    if leased and via:
        line += f" || for wait in $(seq {_LEASE_S}); do sleep 1; {line} && break; done || true"
    return ("up", line)


def _ours(name, part, options):
    return read.Stanza(["iface", name, "inet", "manual"], [(_MARK, part), *options])


def _move(stanza, address):
    """Give a static stanza another address, or none."""
    options = [entry for entry in stanza.options if entry[0] not in ("address", "netmask", "broadcast", "pointopoint")]
    if address is not None:
        stanza.options = [("address", address), *options]
        return
    stanza.words[3] = "manual"
    stanza.options = [
        ("pre-up", f"sysctl -q -e -w net.ipv6.conf.$IFACE.{_OF_RA[key]}={value}") if key in _OF_RA else (key, value)
        for key, value in options if key not in _OF_ADDRESS
    ]


class File:
    """The C(iface) stanzas of one name under edit.

    C(lines) are those that make and set the link, C(kept) stanzas that were copied; C(..._beside) come beside theirs.
    """

    def __init__(self, text=""):
        self.kept = []
        self.lines = []
        self.addresses_beside = []
        self.routes_beside = []
        self.down = False
        self._dns_beside = []
        for one in read.parse(text):
            if one.kind != "iface":
                continue
            if one.get(_MARK) is None:
                self.kept.append(one)
                continue
            for key, value in one.options:
                self._read(key, value)

    def _read(self, key, value):
        route = read.route(value)
        if key.startswith("dns-"):
            self._dns_beside += [(key, value)]
        elif value.startswith("ip address replace "):
            self.addresses_beside.append(value.split()[3])
        elif route:
            self.routes_beside.append(route)
        elif value == "ip link set dev $IFACE down":
            self.down = True
        elif key != _MARK and not value.startswith("ip address flush "):
            self.lines.append((key, value))

    @property
    def addresses(self):
        return [*filter(None, map(read.address, self.kept)), *self.addresses_beside]

    @property
    def routes(self):
        found = [*filter(None, map(read.gateway, self.kept))]
        for one in self.kept:
            found += filter(None, (read.route(value) for key, value in one.options if key in ("up", "post-up")))
        return found + [one for one in self.routes_beside if one not in found]

    @property
    def dynamic(self):
        """Whether the link asks for an IPv4 address by itself."""
        return any(one.family == "inet" and one.method == "dhcp" for one in self.kept)

    @property
    def dns(self):
        options = [one for stanza in self.kept for one in stanza.options] + self._dns_beside
        return [server for key, value in options if key in ("dns-nameservers", "dns-nameserver") for server in value.split()]

    def set_addresses(self, wanted):
        if sorted(self.addresses) == sorted(wanted):
            return
        new = [one for one in wanted if one not in self.addresses]
        for one in self.kept:
            known = read.address(one)
            if known and known not in wanted:
                other = next((each for each in new if (":" in each) == (":" in known)), None)
                new = [each for each in new if each != other]
                _move(one, other)
        there = [*filter(None, map(read.address, self.kept))]
        self.addresses_beside = [one for one in wanted if one not in there]

    def set_routes(self, wanted):
        def key(routes):
            return sorted(routes, key=forms.route_key)

        if key(self.routes) == key(wanted):
            return
        for one in self.kept:
            if read.gateway(one) and read.gateway(one) not in wanted:
                one.options = [entry for entry in one.options if entry[0] not in ("gateway", "metric")]
            one.options = [
                entry for entry in one.options
                if entry[0] not in ("up", "post-up") or read.route(entry[1]) is None or read.route(entry[1]) in wanted
            ]
        self.routes_beside = []
        there = self.routes
        self.routes_beside = key(one for one in wanted if one not in there)

    def set_dns(self, servers):
        if servers == self.dns:
            return
        for one in self.kept:
            one.options = [entry for entry in one.options if entry[0] not in ("dns-nameservers", "dns-nameserver")]
        self._dns_beside = [one for one in self._dns_beside if not one[0].startswith("dns-nameserver")]
        if servers:
            self._dns_beside.insert(0, ("dns-nameservers", " ".join(servers)))

    def set_link(self, option, key, value):
        """Set what ip-link(8) calls C(option) and interfaces(5) C(key), which not every method has."""
        start = f"ip link set dev $IFACE {option} "
        for one in self.kept:
            one.options = [entry for entry in one.options if entry[0] != key and not entry[1].startswith(start)]
        self.kept[0].options.append(("pre-up", start + str(value)))

    def stanzas(self, name):
        """Return the stanzas by which ifup sets a link up, under a logical name."""
        found = []
        if self.lines or self._dns_beside or not self.kept:
            found.append(_ours(name, "link", [*self.lines, *self._dns_beside]))
        found += [read.Stanza(["iface", name, *one.words[2:]], one.options) for one in self.kept]
        more = [_address_line(one) for one in self.addresses_beside]
        leased = any(one.method == "dhcp" for one in self.kept)
        # The way to a gateway goes before those through it.
        more += [_route_line(one, leased) for one in sorted(self.routes_beside, key=lambda one: one["via"] is not None)]
        if self.addresses_beside:
            more.append(("down", "ip address flush dev $IFACE scope global"))
        if self.down:
            more.append(("up", "ip link set dev $IFACE down"))
        if more:
            found.append(_ours(name, "beside", more))
        return found


# -- links that we made -----------------------------------------------------------------------------------------------


def _unless_there(command):
    return ("pre-up", f"[ -e /sys/class/net/$IFACE ] || {command}")


def _set(form):
    words = [f"{option} {form[key]}" for key, option in (("mac", "address"), ("mtu", "mtu")) if form[key] is not None]
    return ("pre-up", f"ip link set dev $IFACE {' '.join([*words, 'alias', shlex.quote(form['description'])])}")


def _bridge_lines(form, file):
    words = []
    for option, (key, default) in forms.BRIDGE_OPTIONS.items():
        value = form.get(option, default)
        said = ("stp", "forward_delay", "ageing", *(["vlan_default_pvid"] if form.get("vlan_filtering") else []))
        if value != default or option in said:
            words.append(f"{key} {value * 100 if option in forms.BRIDGE_TIMES else int(value)}")
    lines = [_unless_there("ip link add name $IFACE type bridge")]
    if not form.get("ipv6", True):
        lines.append(("pre-up", f"echo 1 > {_SYSCTL}/disable_ipv6"))
    if not file.kept:
        # What guests advertise is nothing for their host.
        lines.append(("pre-up", f"echo 0 > {_SYSCTL}/accept_ra"))
    if any(_NO_LINK_LOCAL in line for line in file.lines):
        lines.append(("pre-up", _NO_LINK_LOCAL))
    lines += [_set(form), ("pre-up", f"ip link set dev $IFACE type bridge {' '.join(words)}")]
    lines += _vlan_lines(file, form.get("vlans"), "pre-up", "", " self")
    # Whoever comes second, the bridge or its port, puts it in.
    return lines + [
        ("up", f"[ ! -e /sys/class/net/{port} ] || ip link set dev {port} master $IFACE up") for port in form.get("ports", ())
    ]


def _tap_lines(form, file):
    words = [f"ip tuntap add dev $IFACE mode {form['type']}"]
    words += [f"{key} {form[option]}" for key, option in (("user", "owner"), ("group", "group")) if form[option] is not None]
    words += [key for key in ("multi_queue", "vnet_hdr") if form[key]]
    port = _port_lines(form["bridge"], _port_options(file, form.get("port")), _port_vlans(file, form.get("port")))
    return [_unless_there(" ".join(words)), _set(form), *port]


def _port_lines(bridge, options, of_vlans):
    if not bridge:
        return []
    # A bridge of ours may be set up after its port; one of somebody else's is not ours to make.
    here = f"[ -e /sys/class/net/{bridge} ]"
    # Without a default: where one goes, the kernel takes its VLAN from ports that have it as their PVID, declared or not. One
    # that comes leaves a port alone that has its VLAN, and others are not declared (vlans.check).
    plain = " vlan_default_pvid 0" if of_vlans else ""
    lines = [
        ("up", f"{here} || [ ! -e {path(bridge)} ] || ip link add name {bridge} type bridge{plain}"),
        ("up", f"[ ! -e /sys/class/net/{bridge} ] || ip link set dev $IFACE master {bridge}"),
    ]
    if options:
        words = " ".join(f"{key} {value}" for key, value in options.items())
        lines.append(("up", f"[ ! -e /sys/class/net/$IFACE/brport ] || ip link set dev $IFACE type bridge_slave {words}"))
    return lines + of_vlans


def _vlan_lines(file, form, key, check, more):
    """Return the lines of a link's VLANs: those declared, else those that the file had of it."""
    if form is None:
        return [entry for entry in file.lines if f"{_VLAN} " in entry[1]]
    # It may be in another one's, or have joined a bridge that was not set up yet.
    commands = [f"del dev $IFACE vid 1-{vlans.LAST}{more}"]
    commands += [f"add dev $IFACE vid {text} {flags}".rstrip() + more for text, flags in vlans.words(form)]
    return [(key, f"{check}{_VLAN} {one}") for one in commands]


def _port_vlans(file, options):
    return _vlan_lines(file, (options or {}).get("vlans"), "up", "[ ! -e /sys/class/net/$IFACE/brport ] || ", "")


def _port_options(file, options):
    """Return what a port is set to, in iproute2's words: what the file had of it, and what is declared."""
    found = {}
    for _key, value in file.lines:
        _before, sign, words = value.partition(" type bridge_slave ")
        if sign:
            each = words.split()
            found.update(zip(each[::2], each[1::2]))
    for option, value in (options or {}).items():
        if option in forms.PORT_OPTIONS:
            found[forms.PORT_OPTIONS[option]] = ("off", "on")[value] if isinstance(value, bool) else str(value)
    return found


def link(form, base="", dns=None):
    """Return the file of a link that we made.

    :param base: text to start from: our own file of before, or that of the link it takes the place of.
    """
    name, file = form["name"], File(base)
    if form["type"] == "bridge":
        file.lines = _bridge_lines(form, file)
    else:
        file.lines = _tap_lines(form, file)
    file.set_addresses(form["addresses"])
    file.set_routes(forms.all_routes(form))
    file.down = form["state"] == "down"
    if dns is not None:
        file.set_dns(dns)
    return render([read.Stanza(["auto", name]), *file.stanzas(name)])


def with_routes(text, name, routes):
    """Return the file of a link that we made, with other routes."""
    file = File(text)
    file.set_routes(routes)
    return render([read.Stanza(["auto", name]), *file.stanzas(name)])


def is_made(text):
    """Return whether a file of ours makes its link."""
    return any(sign in text for sign in ("|| ip link add name $IFACE ", "|| ip tuntap add dev $IFACE "))


def ageing(text):
    """Return the ageing time of a bridge in seconds; None without one."""
    found = re.search(r"type bridge .*ageing_time (\d+)", text)
    return int(found.group(1)) // 100 if found else None


# -- links that are there without us ----------------------------------------------------------------------------------


def _mapped(name, logical, by_itself, stanzas):
    """Return the text of a file that has ifup take other stanzas for a link than those of its own name.

    grep(1) is the mapping's script (interfaces(5)): it gets the link's name as its argument and the C(map) lines to choose from.
    """
    head = [] if by_itself else [read.Stanza(["auto", name])]
    mapping = read.Stanza(["mapping", name], [("script", "/bin/grep"), ("map", logical)])
    return render([*head, mapping, *stanzas])


def is_port(text):
    """Return whether a file of ours is that of a bridge's port."""
    return f"map {LOGICAL}{_PORT}" in text or f"map {NEW}{_PORT}" in text


def port(name, bridge, logical, base="", by_itself=True, options=None):
    """Return the file of a bridge's port: of what its stanzas said, what is about the link itself stays.

    :param base: text to start from: our file of before, or its user's stanzas.
    :param by_itself: whether ifup sets it up without us saying so.
    :param options: what is declared of the port; the rest of it stays.
    """
    file = File(base)
    known = [entry for one in read.parse(base) if one.kind == "iface" for entry in one.options if _is_of_link(*entry)]
    lines = [entry for entry in dict.fromkeys(known) if not _OF_PORT.search(entry[1])]
    lines += [("up", _NO_LINK_LOCAL), ("up", "ip -6 address flush dev $IFACE scope link")]
    lines += _port_lines(bridge, _port_options(file, options), _port_vlans(file, options))
    return _mapped(name, logical, by_itself, [_ours(logical, "port", lines)])


def _is_of_link(key, value):
    if key in _COMMANDS:
        return bool(re.search(r"\b(ethtool|iw|iwconfig|ip link)\b", value))
    return key.startswith(_OF_LINK)


def successor(base, port_name, metric=None, link_local=True):
    """Return the stanzas of a bridge that takes the place of its uplink: all but what belongs to the link itself.

    :param metric: of the routes by DHCP; dhcpcd(8) makes it of the link's number, and a bridge has another one.
    :param link_local: false where the DHCP client gives the link-local address, not the kernel.
    """
    file = File(base)
    for one in file.kept:
        one.options = [
            (key, re.sub(rf"\bdev {re.escape(port_name)}(?=\s|$)", "dev $IFACE", value) if key in _COMMANDS else value)
            for key, value in one.options
            if not _is_of_link(key, value) or (key == "mtu" and one.family == "inet6")
        ]
        if one.family == "inet" and one.method == "dhcp" and metric is not None and one.get("metric") is None:
            one.options.append(("metric", str(metric)))
    if not link_local:
        file.lines = [("pre-up", _NO_LINK_LOCAL)]
    return render(file.stanzas("uplink"))


ALL = frozenset(("mtu", "mac", "state", "addresses", "gateway", "routes"))


def existing(form, logical, base="", declared=ALL, by_itself=True, added=(), removed=()):
    """Return the file of a link that is there without us: its own stanzas, with what is declared.

    :param declared: the fields of C(form) to write; of the others it stays as it was.
    :param added: routes that it has beside its others, unless C(declared) has the routes; C(removed), the contrary.
    """
    file = File(base)
    if not file.kept:
        file.kept = [read.Stanza(["iface", logical, "inet", "manual"])]
    if "mtu" in declared:
        file.set_link("mtu", "mtu", form["mtu"])
    if "mac" in declared and form["mac"]:
        file.set_link("address", "hwaddress", form["mac"])
    if "state" in declared:
        file.down = form["state"] == "down"
    if "addresses" in declared:
        file.set_addresses(form["addresses"])
    if {"gateway", "routes"} & set(declared):
        file.set_routes(forms.all_routes(form))
    if "routes" not in declared:
        before = file.routes
        wanted = [one for one in before if one not in removed]
        file.set_routes([*wanted, *(one for one in added if one not in wanted)])
    return _mapped(form["name"], logical, by_itself, file.stanzas(logical))


def same(text, base):
    """Return whether two files say the same of a link, under whatever logical names."""
    one, other = File(text), File(base)
    return [each.text() for each in one.stanzas("x")] == [each.text() for each in other.stanzas("x")]
