# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DHCP and DNS of a network as typed values, and what can be wrong with them by themselves. Pure.

None is not declared, left alone; an empty tuple, text or dictionary is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput


@dataclass(frozen=True)
class Range:
    start: Any
    end: Any


@dataclass(frozen=True)
class Reservation:
    name: Optional[str]
    mac: Optional[str]
    address: Any
    duid: Optional[str] = None


@dataclass(frozen=True)
class Dhcp:
    ranges: Optional[tuple] = None
    reservations: Optional[tuple] = None
    lease_time: Optional[str] = None
    tftp_root: Optional[str] = None
    boot: Optional[dict] = None  # file, server


@dataclass(frozen=True)
class Dns:
    enabled: bool = True
    domain: Optional[str] = None
    local_only: bool = False
    forwarders: Optional[tuple] = None  # of text, address or address#port
    hosts: Optional[tuple] = None  # of (address, (name, ...))
    forward_zones: Optional[tuple] = None  # of {domain, address, port}
    forward_plain_names: Optional[bool] = None
    register: Optional[bool] = None
    txt: Optional[tuple] = None  # of {name, value}
    srv: Optional[tuple] = None  # of {service, protocol, domain, target, port, priority, weight}

    @property
    def has_rows(self):
        """Whether it declares anything that libvirt refuses where DNS is off."""
        return any((self.forwarders, self.hosts, self.forward_zones, self.txt, self.srv))


def _rows(items, option, parse, name):
    """Return the tuple of parse(item, its option's path, name); None stays None."""
    if items is None:
        return None
    return tuple(parse(one, f"{option}[{number}]", name) for number, one in enumerate(items))


# -- DHCP --------------------------------------------------------------------------------------------------------


def _range(one, option, name):
    start = values.address(one["start"], f"{option}.start", name)
    end = values.address(one["end"], f"{option}.end", name)
    if start.version != end.version:
        raise InvalidInput("start and end are of two IP versions", name, option, "Give both in one version.")
    if start > end:
        raise InvalidInput(f"the range runs backwards, {start} to {end}", name, option, "Swap start and end.")
    return Range(start, end)


def _reservation(one, option, name):
    label, mac, duid = one.get("name"), one.get("mac"), one.get("duid")
    if label is not None:
        values.domain(label, f"{option}.name", name)
        if not label[0].isalpha():
            raise InvalidInput(
                f"the reserved name {label!r} does not begin with a letter",
                name,
                f"{option}.name",
                "libvirt wants a letter there.",
            )
    if mac is not None:
        mac = values.mac(mac, f"{option}.mac", name)
    if duid is not None:
        duid = values.duid(duid, f"{option}.duid", name)
    address = values.address(one["address"], f"{option}.address", name)
    if address.version == 4 and duid is not None:
        raise InvalidInput(f"the reservation of {address} has a DUID", name, f"{option}.duid", "DUIDs are for IPv6; give mac.")
    if address.version == 4 and mac is None and label is None:
        raise InvalidInput(f"the reservation of {address} says not for whom", name, f"{option}.mac", "Give mac or name.")
    if address.version == 6 and duid is None and label is None:
        raise InvalidInput(
            f"the reservation of {address} says not for whom", name, f"{option}.duid", "Give duid or name; DHCPv6 knows no MAC."
        )
    return Reservation(label, mac, address, duid)


def _boot(item, option, name):
    if item is None:
        return None
    if item.get("file") is None:
        if item.get("server") is not None:
            raise InvalidInput("a boot server without a file", name, f"{option}.file", "Name the file.")
        return {}
    server = item.get("server")
    if server is not None:
        server = values.address(server, f"{option}.server", name)
        if server.version != 4:
            raise InvalidInput(f"the boot server {server} is not an IPv4 one", name, f"{option}.server", "BOOTP is IPv4.")
    return {
        "file": values.dnsmasq_text(item["file"], f"{option}.file", name, comma=False),
        "server": None if server is None else str(server),
    }


def lease_to_seconds(text):
    """Return the seconds of 3600, 3600s, 90m, 12h, 7d; infinite is 0, as in libvirt."""
    if text == "infinite":
        return 0
    size = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1])
    return int(text) if size is None else int(text[:-1]) * size


def parse_dhcp(item, option, name):
    """Return the Dhcp of a declaration."""
    if item is None:
        return None
    lease = item.get("lease_time")
    if lease is not None and lease != "infinite" and not re.fullmatch(r"[1-9][0-9]{0,8}[smhd]?", lease, re.ASCII):
        raise InvalidInput(
            f"{lease!r} is not a lease time", name, f"{option}.lease_time", "Write 3600, 90m, 12h, 7d or infinite."
        )
    if lease is not None and 0 < lease_to_seconds(lease) < 120:
        raise InvalidInput(f"the lease time {lease} is too short", name, f"{option}.lease_time", "libvirt wants 2m or more.")
    root = item.get("tftp_root")
    return Dhcp(
        _rows(item.get("ranges"), f"{option}.ranges", _range, name),
        _rows(item.get("reservations"), f"{option}.reservations", _reservation, name),
        lease,
        values.path(root, f"{option}.tftp_root", name) if root else root,
        _boot(item.get("boot"), f"{option}.boot", name),
    )


# -- DNS ---------------------------------------------------------------------------------------------------------


def _port(number, option, name):
    return None if number is None else values.number(number, 1, 65535, "the port", option, name)


def _forwarder(text, option, name):
    """Return address or address#port, dnsmasq's own notation."""
    address, mark, port = text.partition("#")
    address = values.address(address, option, name)
    if not mark:
        return str(address)
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII):
        raise InvalidInput(f"{text!r} is not a DNS server", name, option, "Write 10.0.0.1 or 10.0.0.1#5353.")
    port = _port(int(port), option, name)
    return str(address) if port == 53 else f"{address}#{port}"


def _forward_zone(one, option, name):
    address = one.get("address")
    port = _port(one.get("port"), f"{option}.port", name)
    if port is not None and address is None:
        raise InvalidInput("a port without an address", name, f"{option}.port", "Give address too.")
    return {
        "domain": values.domain(one["domain"], f"{option}.domain", name),
        "address": None if address is None else str(values.address(address, f"{option}.address", name)),
        "port": None if port == 53 else port,
    }


def _host(one, option, name):
    address = values.address(one["address"], f"{option}.address", name)
    if not one["names"]:
        raise InvalidInput("a DNS host without a name", name, f"{option}.names", "Give at least one name.")
    return (address, tuple(values.domain(text, f"{option}.names", name) for text in one["names"]))


def _txt(one, option, name):
    return {
        "name": values.domain(one["name"], f"{option}.name", name),
        "value": values.dnsmasq_text(one["value"], f"{option}.value", name),
    }


def _srv(one, option, name):
    if not re.fullmatch(r"[A-Za-z0-9-]{1,63}", one["service"]):
        raise InvalidInput(
            f"{one['service']!r} is not a service", name, f"{option}.service", "Write it without its underscore, as ldap."
        )
    row = {"service": one["service"], "protocol": one.get("protocol") or "tcp"}
    for key in ("domain", "target"):
        # A target '.' says that the service is not to be had there (RFC 2782).
        root = key == "target" and one.get(key) == "."
        row[key] = one.get(key) if root or one.get(key) is None else values.domain(one[key], f"{option}.{key}", name)
    row["port"] = _port(one.get("port"), f"{option}.port", name)
    # dnsmasq knows them by their places: target, port, priority, weight.
    before = "target" if row["target"] is None else None if row["port"] is not None else "port"
    if row["target"] is not None and row["port"] is None:
        raise InvalidInput("a target without a port", name, f"{option}.port", "Give port.")
    if row["target"] is None and row["port"] is not None:
        raise InvalidInput("a port without a target", name, f"{option}.target", "Give target.")
    for key in ("priority", "weight"):
        number = one.get(key)
        if number is not None and before:
            raise InvalidInput(f"a {key} without a {before}", name, f"{option}.{before}", f"Give {before}.")
        row[key] = None if number is None else values.number(number, 0, 65535, f"the {key}", f"{option}.{key}", name)
    return row


def parse_dns(item, option, name):
    """Return the Dns of a declaration."""
    if item is None:
        return None
    if item.get("domain"):
        values.domain(item["domain"], f"{option}.domain", name)
    rows = {
        key: _rows(item.get(key), f"{option}.{key}", parse, name)
        for key, parse in (
            ("forwarders", _forwarder), ("hosts", _host), ("forward_zones", _forward_zone), ("txt", _txt), ("srv", _srv),
        )
    }
    dns = Dns(
        enabled=item.get("enabled") is not False,
        domain=item.get("domain"),
        local_only=bool(item.get("local_only")),
        forward_plain_names=item.get("forward_plain_names"),
        register=item.get("register"),
        **rows,
    )
    if not dns.enabled and dns.has_rows:
        raise InvalidInput(
            "records or forwarders of a network whose DNS is off",
            name,
            f"{option}.enabled",
            "Say enabled: true, or leave them out.",
        )
    for key in ("local_only", "register"):
        if item.get(key) and not item.get("domain"):
            raise InvalidInput(f"{key} without a domain", name, f"{option}.{key}", "Give domain too.")
    if dns.register and not dns.local_only:
        raise InvalidInput(
            "register without local_only", name, f"{option}.local_only", "Say local_only: true; the two would ask each other."
        )
    return dns
