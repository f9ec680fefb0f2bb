# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about single values: names, addresses, MACs, ports. Every rule of that kind stands here, once.

Each function takes the text, the path of its option and the object's name, and returns the typed value
or raises InvalidInput. Pure.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

# libvirt makes file names of them (dnsmasq/NAME.conf), nft and the shell see them in comments: no metacharacters.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,49}"
_NAME = re.compile(NAME)
# IFNAMSIZ is 16 with its NUL; dev_valid_name() in the kernel's net/core/dev.c refuses '/', ':' and white space.
_LINK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")


# One text comes by a dozen times a run: as it is declared, stored, read back and written. The objects cannot be changed.
ip_address = functools.cache(ipaddress.ip_address)
ip_interface = functools.cache(ipaddress.ip_interface)
ip_network = functools.cache(ipaddress.ip_network)


def name(text, option, subject=None):
    """Return C(text) if it can name a network or a guest: letters, digits, '_', '.', '+', '-', at most 50."""
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"{text!r} cannot be a name",
            subject,
            option,
            "Use at most 50 letters, digits, '_', '.', '+' or '-', beginning with a letter or digit.",
        )
    return text


def link_name(text, option, subject=None):
    """Return C(text) if the kernel takes it as a link's name."""
    if len(text) > 15:
        raise InvalidInput(f"the link name {text!r} has {len(text)} characters", subject, option, "The kernel takes at most 15.")
    if not _LINK.fullmatch(text):
        raise InvalidInput(f"{text!r} cannot be a link's name", subject, option, "Use letters, digits, '_', '.' or '-'.")
    return text


def mac(text, option, subject=None):
    """Return the MAC in lower case with colons; it must be a unicast one."""
    value = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(value):
        raise InvalidInput(f"{text!r} is not a MAC address", subject, option, "Write it as 52:54:00:12:34:56.")
    if int(value[:2], 16) & 1:
        raise InvalidInput(
            f"{text!r} is a group address", subject, option, "Make its first byte even, such as 52:54:00:12:34:56."
        )
    return value


def address(text, option, subject=None):
    """Return an IPv4Address or IPv6Address."""
    try:
        return ip_address(text.strip())
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not an IP address", subject, option, "Write it as 10.64.100.2.") from error


def reachable(text, option, subject=None):
    """Return an address by which other machines can reach one."""
    found = address(text, option, subject)
    if found.is_multicast or found.is_unspecified or found.is_loopback or found.is_link_local:
        raise InvalidInput(
            f"{found} is no address by which other machines reach one", subject, option,
            "Give one of a subnet that they share; no link-local one.",
        )  # fmt: skip
    return found


def interface(text, option, subject=None):
    """Return an IPv4Interface or IPv6Interface from address/prefix; the address must be one a host can have."""
    cure = "Write address and prefix length as 10.64.100.1/24."
    address_text, slash, prefix = text.strip().partition("/")
    if not slash or not prefix.isascii() or not prefix.isdigit():
        raise InvalidInput(f"{text!r} has no prefix length", subject, option, cure)
    try:
        value = ip_interface(f"{address_text}/{prefix}")
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not an address with its prefix length", subject, option, cure) from error
    if value.ip.is_multicast or value.ip.is_unspecified or value.ip.is_loopback:
        raise InvalidInput(f"{text!r} cannot be an address of a host", subject, option, cure)
    net = value.network
    if net.num_addresses > 2 and (value.ip == net.network_address or (value.version == 4 and value.ip == net.broadcast_address)):
        raise InvalidInput(
            f"{value.ip} is the {'network' if value.ip == net.network_address else 'broadcast'} address of {net}",
            subject,
            option,
            f"Use another address of {net}, such as {net.network_address + 1}.",
        )
    return value


def subnet(text, option, subject=None):
    """Return an IPv4Network or IPv6Network; host bits must be zero."""
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not a subnet: {error}", subject, option, "Write it as 10.64.100.0/24.") from error


@functools.cache
def _port_range(text):
    """Return (first, last), None if it is no such text; ten thousand port forwards ask several times for each."""
    match = _PORTS.fullmatch(text)
    return (int(match[1]), int(match[2] or match[1])) if match else None


def ports(text, option, subject=None):
    """Return (first, last) of a port ('8080') or a range ('8000-8099')."""
    found = _port_range(str(text).strip())
    if found is None:
        raise InvalidInput(f"{text!r} is not a port or a range", subject, option, "Write 8080 or 8000-8099.")
    first, last = found
    if not 1 <= first <= last <= 65535:
        raise InvalidInput(
            f"{text!r} is not a range of ports", subject, option, "Ports run from 1 to 65535, a range from its lower end."
        )
    return first, last


def domain(text, option, subject=None):
    """Return a DNS name (RFC 1035, underscores allowed as dnsmasq does)."""
    if len(text) > 253 or not _DOMAIN.fullmatch(text):
        raise InvalidInput(f"{text!r} is not a domain name", subject, option, "Write it as lab.example.")
    return text


def mtu(number, option, subject=None):
    """Return an MTU in bytes: 68 (RFC 791) to 65535; IPv6 needs 1280, which the caller checks."""
    if not 68 <= number <= 65535:
        raise InvalidInput(f"the MTU {number} is out of range", subject, option, "Use 68 to 65535, usually 1500 or 9000.")
    return number


def text(value, option, subject=None, lines=False):
    """Return free text that XML can hold, without white space around it; one line unless C(lines)."""
    value = value.replace("\r\n", "\n").strip()
    for place, one in enumerate(value):
        # Control characters, lone surrogates, what Unicode has not given out; and the separators of lines.
        if (one not in "\n\t" and unicodedata.category(one) in ("Cc", "Cs", "Cn", "Zl", "Zp")) or (one == "\n" and not lines):
            raise InvalidInput(
                f"the text holds {one!r} at place {place}",
                subject,
                option,
                "Use printable characters." if lines else "Use one line of printable characters.",
            )
    return value


def dnsmasq_text(value, option, subject=None, comma=True):
    """Return text that dnsmasq reads as it is written: libvirt puts it into a line of dnsmasq's configuration file.

    There a quote needs its fellow, and '#' after white space begins a comment.
    """
    value = text(value, option, subject)
    bare = re.sub(r'"[^"\\]*"', "", value)
    if not value or '"' in bare or "\\" in bare or re.search(r"(^|\s)#", bare) or ("," in value and not comma):
        raise InvalidInput(
            f"dnsmasq would not read {value!r} as it is written",
            subject,
            option,
            f"Leave out {'' if comma else 'commas, '}backslashes, a lone quotation mark, and ' #'.",
        )
    return value


def path(value, option, subject=None):
    """Return an absolute path that may stand in dnsmasq's configuration."""
    if not value.startswith("/"):
        raise InvalidInput(f"{value!r} is not an absolute path", subject, option, "Begin it with '/'.")
    return dnsmasq_text(value, option, subject, comma=False)


def zone(value, option, subject=None):
    """Return the name of a firewalld zone."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,17}", value):
        raise InvalidInput(
            f"{value!r} cannot be a firewalld zone", subject, option, "Use at most 17 letters, digits, '_' or '-'."
        )
    return value


def duid(value, option, subject=None):
    """Return a DHCPv6 client's DUID in lower case, two digits to a byte (RFC 8415: 3 to 130 bytes)."""
    if not re.fullmatch(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){2,129}", value.strip()):
        raise InvalidInput(f"{value!r} is not a DUID", subject, option, "Write it as 00:03:00:01:52:54:00:12:34:56.")
    return plain_duid(value)


def plain_duid(value):
    return ":".join(one.zfill(2) for one in value.strip().lower().split(":"))


def uuid(value, option, subject=None):
    """Return a UUID in its one spelling."""
    digits = value.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        raise InvalidInput(
            f"{value!r} is not a UUID", subject, option, "Write it as 09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f."
        )
    return plain_uuid(digits)


def plain_uuid(value):
    digits = value.strip().lower().replace("-", "")
    return "-".join(digits[start:end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))


def number(value, low, high, what, option, subject=None):
    """Return a number from C(low) to C(high)."""
    if not low <= value <= high:
        raise InvalidInput(f"{what} {value} is out of range", subject, option, f"Use {low} to {high}.")
    return value
