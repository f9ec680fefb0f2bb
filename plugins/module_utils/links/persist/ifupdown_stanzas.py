# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stanzas of interfaces(5) as ifupdown reads them, and what its state and dhclient's leases tell. Pure."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from dataclasses import dataclass, field

MAIN = "/etc/network/interfaces"
STATE = "/run/network/ifstate"
LEASES = "/var/lib/dhcp"


@dataclass
class Stanza:
    """A stanza: C(words) of its first line, C(options) [(key, value), ...] of the lines below it."""

    words: list
    options: list = field(default_factory=list)

    @property
    def kind(self):
        return self.words[0]

    @property
    def name(self):
        return self.words[1] if len(self.words) > 1 else ""

    @property
    def family(self):
        return self.words[2] if len(self.words) > 2 else ""

    @property
    def method(self):
        return self.words[3] if len(self.words) > 3 else ""

    def get(self, *keys):
        return next((value for key, value in self.options if key in keys), None)

    def text(self):
        return " ".join(self.words) + "\n" + "".join(f"    {key} {value}".rstrip() + "\n" for key, value in self.options)


_BEGINS = re.compile(r"(iface|mapping|auto|allow-\S+|no-auto-down|no-scripts|source|source-directory|template|rename)\s")


def parse(text):
    """Return the stanzas of a file, in order."""
    found = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if _BEGINS.match(line):
            found.append(Stanza(line.split()))
        elif found:
            key, _space, value = line.partition(" ") if "\t" not in line.split(" ")[0] else line.partition("\t")
            found[-1].options.append((key, value.strip()))
    return found


def sources(stanzas):
    """Return the patterns of glob(7) of all files that these name, those of C(source-directory) marked by a slash at the end."""
    found = []
    for one in stanzas:
        if one.kind in ("source", "source-directory"):
            for word in one.words[1:]:
                whole = word if word.startswith("/") else f"/etc/network/{word}"
                found.append(whole.rstrip("/") + "/" if one.kind == "source-directory" else whole)
    return found


def is_sourced(place, patterns):
    """Return whether a file is among those that C(sources()) names."""
    folder, _slash, base = place.rpartition("/")
    for pattern in patterns:
        if pattern.endswith("/"):
            if pattern[:-1] == folder and re.fullmatch(r"[A-Za-z0-9_-]+", base):
                return True
        elif fnmatch.fnmatch(place, pattern) and pattern.count("/") == place.count("/"):
            return True
    return False


def brought_up(stanzas, name):
    """Return whether ifup sets a link up by itself, at boot or when it appears."""
    return any(
        (one.kind == "auto" or one.kind.startswith("allow-")) and any(fnmatch.fnmatch(name, word) for word in one.words[1:])
        for one in stanzas
    )


def is_mapped(stanzas, name):
    return any(one.kind == "mapping" and any(fnmatch.fnmatch(name, word) for word in one.words[1:]) for one in stanzas)


def states(text):
    """Return {link: logical name} of C(/run/network/ifstate)."""
    return {line.partition("=")[0]: line.partition("=")[2] for line in text.split() if "=" in line}


def leased(text):
    """Return the IPv4 routes that a lease file of dhclient's tells of, as forms have them: they look like declared ones."""
    found = []
    for option, value in re.findall(r"^\s*option (routers|rfc3442-classless-static-routes) ([^;]+);", text, re.MULTILINE):
        if option == "routers":
            found += [{"to": "0.0.0.0/0", "via": one.strip(), "metric": None} for one in value.split(",")]
            continue
        numbers = [int(one) for one in re.findall(r"\d+", value)]
        while numbers:
            length = numbers.pop(0)
            octets = (length + 7) // 8
            if length > 32 or len(numbers) < octets + 4:
                break
            to = ".".join(map(str, [*numbers[:octets], *[0] * (4 - octets)]))
            via = ".".join(map(str, numbers[octets : octets + 4]))
            numbers = numbers[octets + 4 :]
            network = str(ipaddress.ip_network(f"{to}/{length}", strict=False))
            found.append({"to": network, "via": None if ipaddress.ip_address(via).is_unspecified else via, "metric": None})
    return found


# -- addresses and routes of stanzas ----------------------------------------------------------------------------------


def address(stanza):
    """Return the address of a static stanza with its prefix length; None without one."""
    text = stanza.get("address") if stanza.method == "static" else None
    if not text:
        return None
    if "/" not in text:
        netmask = stanza.get("netmask")
        text += f"/{netmask}" if netmask else ("/64" if stanza.family == "inet6" else "/32")
    try:
        return str(ipaddress.ip_interface(text))
    except ValueError:
        return None


def gateway(stanza):
    """Return the route of a stanza's gateway, None without one."""
    via = stanza.get("gateway") if stanza.method == "static" else None
    if not via or via == "none":
        return None
    metric = stanza.get("metric")
    return {"to": _default(via), "via": via, "metric": int(metric) if metric and metric != "0" else None}


def _default(via):
    return "::/0" if ":" in via else "0.0.0.0/0"


def route(command):
    """Return the route that a command C(ip route add) makes, as forms have it; None if it is none, or not one of theirs."""
    words = command.split()
    if words[:1] != ["ip"]:
        return None
    six = words[1:2] == ["-6"]
    words = words[2:] if words[1:2] in (["-6"], ["-4"]) else words[1:]
    if len(words) < 3 or words[0] not in ("route", "ro", "r") or words[1] not in ("add", "replace", "append"):
        return None
    to, rest = words[2], words[3:]
    found = {"to": to, "via": None, "metric": None}
    while rest:
        key, value, rest = rest[0], (rest[1:2] or [""])[0], rest[2:]
        if key == "onlink":
            rest = [value, *rest] if value else rest
        elif key == "via":
            found["via"] = value
        elif key == "metric" and value.isdecimal():
            found["metric"] = int(value)
        elif key in ("table", "type"):
            return None
    try:
        if to == "default":
            found["to"] = "::/0" if six or ":" in (found["via"] or "") else "0.0.0.0/0"
        else:
            found["to"] = str(ipaddress.ip_network(to, strict=False))
    except ValueError:
        return None
    return found
