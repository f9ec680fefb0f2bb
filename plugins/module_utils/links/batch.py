# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lines of ip -batch (ip(8)), and of bridge -batch for VLANs, that lead from one form of a link to another; the way back
is the same, swapped. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, vlans

#: Links that go together: the kernel waits once for the whole group instead of 20 ms for each (ip-link(8), group).
GROUP = 30318

#: Properties that a tap, or a VXLAN device, has for life: another value means another one.
BORN_WITH = ("type", "owner", "group", "multi_queue", "vnet_hdr", "vni", "local", "udp_port")
#: The entry of a VXLAN device's peer to which frames go whose receiver nobody knows yet (bridge(8), fdb).
EVERYBODY = "00:00:00:00:00:00"


def quoted(text):
    """Return a text as one word of ip -batch."""
    return f'"{text}"'


def _add_address(name, address, more=""):
    broadcast = " broadcast +" if ":" not in address and int(address.rpartition("/")[2]) < 31 else ""
    return f"address replace {address} dev {name}{broadcast}{more}"


def route_line(verb, name, route, protocol="static"):
    """Return the line that adds ('replace') or removes ('del') a route on a link."""
    via = f" via {route['via']}" if route["via"] else ""
    metric = f" metric {route['metric']}" if route["metric"] is not None else ""
    proto = f" proto {protocol}" if verb != "del" else ""
    return f"route {verb} {route['to']}{via} dev {name}{metric}{proto}"


def _bridge_options(form, before=None):
    # No forward_delay below 2 s while STP is on (the kernel's BR_MIN_FORWARD_DELAY), so it goes first and last alike.
    words = []
    for option, (key, default) in forms.BRIDGE_OPTIONS.items():
        # A form that an older version of ours remembered has not all of them, and not every kernel has multicast snooping.
        value, former = form.get(option, default), (before or {}).get(option, default)
        if value != former or option in ("stp", "forward_delay"):
            words.append(f"{key} {value * 100 if option in forms.BRIDGE_TIMES else int(value)}")
    return " ".join(words)


def _port_options(before, after):
    """Return the lines that give a port of a bridge what is declared of it, if it has not got that."""
    wanted, has = dict(after.get("port") or {}), dict(before.get("port") or {})
    if not after["bridge"] or all(has.get(option) == value for option, value in wanted.items()):
        return []
    tags = wanted.pop("vlans", None)
    words = [
        f"{forms.PORT_OPTIONS[option]} {('off', 'on')[value] if isinstance(value, bool) else value}"
        for option, value in wanted.items()
    ]
    lines = [f"link set dev {after['name']} type bridge_slave {' '.join(words)}"] if words else []
    # Of a port that joins nothing is known: it is in the default VLAN, which is among those declared.
    return lines + ([] if tags is None else vlans.lines(after["name"], has.get("vlans", vlans.NONE), tags))


def _peers(name, before, after):
    gone = [f"fdb del {EVERYBODY} dev {name} dst {peer}" for peer in before if peer not in after]
    return gone + [f"fdb append {EVERYBODY} dev {name} dst {peer}" for peer in after if peer not in before]


def _learning(before, after):
    """Return the lines that have a VXLAN device learn from frames, or not, and its bridge of it: every new port does."""
    wanted, name = after.get("learning", True), after["name"]
    joins = after["bridge"] and before["bridge"] != after["bridge"]
    lines = []
    if before.get("learning", True) != wanted:
        lines.append(f"link set dev {name} type vxlan {'' if wanted else 'no'}learning")
    if after["bridge"] and (lines or (joins and not wanted)):
        lines.append(f"link set dev {name} type bridge_slave learning {('off', 'on')[wanted]}")
    return lines


def _after_default(known, before, after):
    """Return the VLANs of a bridge or of a port after the bridge's default PVID has become another one."""
    default = forms.BRIDGE_OPTIONS["vlan_default_pvid"][1]
    old, new = (one.get("vlan_default_pvid", default) for one in (before, after))
    return vlans.with_default(vlans.default(old) if known is None else known, old, new)


def create(form):
    """Return the lines that make a link; one that the manager has made (C(made)) is only given its properties."""
    name = form["name"]
    if form["type"] == "bridge":
        verb = "set dev" if form.get("made") else "add name"
        lines = [f"link {verb} {name} type bridge {_bridge_options(form)}"]
        if not form["ipv6"]:
            lines.append(f"link set dev {name} addrgenmode none")
    elif form["type"] == "vxlan":
        lines = [
            f"link add name {name} type vxlan id {form['vni']} local {form['local']} dstport {form['udp_port']}"
            + ("" if form.get("learning", True) else " nolearning"),
            f"link set dev {name} addrgenmode none",
        ]
    elif form.get("made"):
        lines = []
    else:
        words = [f"tuntap add dev {name} mode {form['type']}"]
        words += [f"{key} {form[option]}" for key, option in (("user", "owner"), ("group", "group")) if form[option] is not None]
        words += [key for key in ("multi_queue", "vnet_hdr") if form[key]]
        lines = [" ".join(words)]
    bare = {
        **form, "state": "down", "mac": None, "mtu": None, "bridge": None, "description": None, "addresses": [],
        "gateway": [], "routes": [], **({"vlans": None} if form["type"] == "bridge" else {}),
        **({"peers": []} if form["type"] == "vxlan" else {}),
    }
    return lines + change(bare, form)


def is_another(before, after):
    """Return whether a link cannot become what it shall be, but must be made anew; forms have what their kind has."""
    return any(key in after and before.get(key) != after[key] for key in BORN_WITH)


def change(before, after, nodad=False, later=False):
    """Return the lines that lead from one form of a link to another one.

    :param nodad: new IPv6 addresses are usable at once: they were this host's a moment ago, on another link.
    :param later: they are for later (a way back), when a router or a DHCP server may have given the link addresses that nobody
        knows of yet; what loses all of its addresses loses these too.
    """
    name = after["name"]
    if is_another(before, after):
        return [f"link delete dev {name}", *create(after)]
    lines = []
    if before["state"] == "up" and after["state"] == "down":
        lines.append(f"link set dev {name} down")
        before = forms.down({**before, "state": "down"})
    if after["type"] == "bridge" and any(before.get(key) != after.get(key, before.get(key)) for key in forms.BRIDGE_OPTIONS):
        lines.append(f"link set dev {name} type bridge {_bridge_options(after, before)}")
    if after["type"] == "bridge" and after.get("vlans") is not None:
        lines += vlans.lines(name, _after_default(before.get("vlans"), before, after), after["vlans"], of_the_bridge=True)
    for key, option in (("mac", "address"), ("mtu", "mtu")):
        if before[key] != after[key] and after[key] is not None:
            lines.append(f"link set dev {name} {option} {after[key]}")
    if before["description"] != after["description"]:
        lines.append(f"link set dev {name} alias {quoted(after['description'] or '')}")
    if before["bridge"] != after["bridge"]:
        lines.append(f"link set dev {name} master {after['bridge']}" if after["bridge"] else f"link set dev {name} nomaster")
        lines += [] if after["bridge"] else _link_local_again(before, after)
        before = {**before, "port": {}}
    lines += _port_options(before, after)
    if after["type"] == "vxlan":
        lines += _learning(before, after)
        # What others put into its table is their business; what was there before them they find.
        lines += _peers(name, before.get("peers", []), after.get("peers", [])) if after.get("learning", True) else []
    gone = [one for one in before["addresses"] if one not in after["addresses"]]
    old, new = forms.all_routes(before), forms.all_routes(after)
    lines += [route_line("del", name, one) for one in old if one not in new]
    if later and gone and not after["addresses"]:
        # First: while one without a route of its own is there, the kernel leaves the route that another one of its subnet had
        # (check_cleanup_prefix_route() in net/ipv6/addrconf.c).
        lines.append(f"address flush dev {name} dynamic")
    # The kernel drops the secondaries of an IPv4 address with it: last first, and what stays is said again.
    lines += [f"address del {one} dev {name}" for one in reversed(gone)]
    more = " nodad" if nodad else ""
    added = [one for one in after["addresses"] if gone or one not in before["addresses"]]
    lines += [_add_address(name, one, more if ":" in one else "") for one in added]
    if before["state"] == "down" and after["state"] == "up":
        lines.append(f"link set dev {name} up")
        # IPv6 addresses do not stay on a link that is down.
        lines += [_add_address(name, one) for one in after["addresses"] if ":" in one and one in before["addresses"]]
    if after["state"] == "up":
        again = bool(gone) or before["state"] == "down"
        lines += [route_line("replace", name, one) for one in new if again or one not in old]
    return lines


def _link_local_again(before, after):
    """Return the lines that have the kernel tell of the link-local addresses of a link that has left a bridge.

    To systemd 252 it is a new link then. It never hears of the link-local address that is there already, asks no router
    without one, and the default route that was advertised runs out.
    """
    if before["state"] != "up" or after["state"] != "up":
        return []
    return [f"address replace {one} dev {after['name']} scope link" for one in before.get("link_local", ())]


def between(before, after):
    """Return the lines from one form to another; None stands for a link that is not there."""
    if after is None:
        return [] if before is None else [f"link delete dev {before['name']}"]
    return create(after) if before is None else change(before, after)


def dynamic_away(port):
    """Return the lines that take from a link what came by DHCP or router advertisement."""
    return _dynamic_routes_away(port) + _dynamic_addresses_away(port, "inet6") + _dynamic_addresses_away(port, "inet")


def _dynamic_routes_away(port):
    return [route_line("del", port.name, forms.route(row)) for row in port.dynamic_routes]


def _dynamic_addresses_away(port, family):
    return [
        f"address del {row['local']}/{row['prefixlen']} dev {port.name}"
        for row in reversed(port.dynamic) if row["family"] == family
    ]


def dynamic_onto(name, source):
    """Return the lines that give a link what came to another one by DHCP or router advertisement."""
    return _dynamic_addresses_onto(name, source) + _dynamic_routes_onto(name, source)


def _dynamic_addresses_onto(name, source):
    lines = []
    for row in source.dynamic:
        # Without a lifetime of its own it would stay if nobody renewed it.
        times = f" valid_lft {row.get('valid_life_time', 60)} preferred_lft {row.get('preferred_life_time', 60)}"
        nodad = " nodad" if row["family"] == "inet6" else " broadcast +"
        # The way to its subnet is a route of its manager's then, and moves with the others.
        bare = " noprefixroute" if row.get("noprefixroute") else ""
        lines.append(f"address replace {row['local']}/{row['prefixlen']} dev {name}{nodad}{bare}{times}")
    return lines


def _dynamic_routes_onto(name, source):
    lines = []
    # A gateway is taken only once the way to its subnet is there.
    for row in sorted(source.dynamic_routes, key=lambda row: bool(row.get("gateway"))):
        expires = " expires 60" if row.get("protocol") == "ra" else ""
        src = f" src {row['prefsrc']}" if row.get("prefsrc") else ""
        lines.append(route_line("replace", name, forms.route(row), row["protocol"]) + src + expires)
    return lines


def moved(before, after, ports, source=None, onto=None, later=False):
    """Return the lines that lead from one form of a bridge to another together with its ports.

    :param ports: [(form before, form after), ...] of the links that join or leave it.
    :param source: forms.Link whose dynamic addresses and routes go to the link C(onto).
    :param later: as in change().
    """
    # A gateway may be static, or look so (dhclient's), and its subnet an address's that came by DHCP: such routes go before
    # these addresses and come after them.
    arriving = _dynamic_addresses_onto(onto, source) if source else []
    if after is None:
        lines = [f"link delete dev {before['name']}", *arriving]
        before_ports = [{**one, "bridge": None} for one, _other in ports]
        for one, (_old, other) in zip(before_ports, ports):
            lines += _link_local_again(one, other) + change(one, other, nodad=True, later=later)
    else:
        empty = {"addresses": [], "gateway": [], "routes": []}
        first = forms.down({**after, **({key: before[key] for key in empty} if before else empty)})
        lines = between(before, first)
        if source:
            lines += _dynamic_routes_away(source)
            lines += arriving if onto != after["name"] else []
            # Before the others, as in change().
            lines += _dynamic_addresses_away(source, "inet6")
        for one, other in ports:
            port = one.get("port") or {}
            if before and port.get("vlans") is not None:
                one = {**one, "port": {**port, "vlans": _after_default(port["vlans"], before, after)}}
            lines += change(one, other, nodad=True, later=later)
        if ports:
            # A bridge takes over the MTU and the MAC of its ports until somebody has set them.
            lines += [f"link set dev {after['name']} address {after['mac']}", f"link set dev {after['name']} mtu {after['mtu']}"]
        if source and onto == after["name"]:
            lines += _dynamic_addresses_away(source, "inet") + arriving
        lines += change(first, after, nodad=True, later=later)
        if source and onto != after["name"]:
            lines += _dynamic_addresses_away(source, "inet")
    return lines + (_dynamic_routes_onto(onto, source) if source else [])


def grouped(lines):
    """Return the lines with all deletions of links made one, if there are several of them and nothing else."""
    words = [line.split() for line in lines]
    if len(lines) < 2 or any(line[:3] != ["link", "delete", "dev"] for line in words):
        return lines
    return [f"link set dev {line[3]} group {GROUP}" for line in words] + [f"link delete group {GROUP}"]
