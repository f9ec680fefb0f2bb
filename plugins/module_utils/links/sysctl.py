# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of sysctl.d(5): written and read; and which links router advertisements keep alive. Pure."""

from __future__ import annotations

import re

HEADER = "# Made by virtnet.kvm; changes are lost. See /etc/virtnet/README or the module virtnet.kvm.ip_forward."

IPV4 = "net.ipv4.ip_forward"
IPV6 = "net.ipv6.conf.all.forwarding"

#: Forwarding of what comes in on one link. IPv6 has it from Linux 6.17 on (force_forwarding of ip-sysctl.rst).
_OF_LINK = {"ipv4": "net.ipv4.conf.{}.forwarding", "ipv6": "net.ipv6.conf.{}.force_forwarding"}
_LINE = re.compile(r"\s*(-?)\s*([^\s=#;][^=]*?)\s*=\s*(.*?)\s*")


def link_key(link, name):
    """Return the sysctl of a link; a dot in the link's name is written as a slash (sysctl.d(5))."""
    return f"net.ipv6.conf.{link.replace('.', '/')}.{name}"


def forward_key(version, link=None):
    """Return the sysctl of forwarding of an IP version: of all links, or of what comes in on one."""
    if link is None:
        return {"ipv4": IPV4, "ipv6": IPV6}[version]
    return _OF_LINK[version].format(link.replace(".", "/"))


def is_of_link(key):
    """Return whether a sysctl is the forwarding of one link."""
    return key not in (IPV4, IPV6) and key.rpartition(".")[2] in ("forwarding", "force_forwarding")


def normal_key(key):
    """Return a key with dots between its parts; sysctl.d takes slashes too, if the first separator is one."""
    first = re.search(r"[./]", key)
    return key.translate(str.maketrans("./", "/.")) if first and first.group() == "/" else key


def render(settings):
    """Return the file's text for {key: value}, in the order given."""
    return "\n".join([HEADER, *(f"{key} = {value}" for key, value in settings.items())]) + "\n"


def parse(text):
    """Return {key: value} of a file of sysctl.d; comments and lines without a value are left out."""
    settings = {}
    for line in text.splitlines():
        if line.lstrip()[:1] in ("#", ";"):
            continue
        match = _LINE.fullmatch(line)
        if match:
            settings[normal_key(match.group(2))] = match.group(3)
    return settings


def later(files, ours, key):
    """Return [(name, value)] of the files that set C(key) after ours.

    :param files: {base name: text}, one a name as systemd-sysctl would read it.
    :param ours: base name of our file.
    """
    return [
        (name, parse(text)[key]) for name, text in sorted(files.items()) if name > ours and key in parse(text)
    ]


def links_to_keep(accept_ra, advertised, settings):
    """Return the links whose routes and addresses from router advertisements would be lost by IPv6 forwarding.

    On a router the kernel takes advertisements in only with accept_ra=2, flushes what they brought before unless it is 2,
    and libvirt refuses to start an IPv6 network until it is. All three only where the kernel handles them (accept_ra=1):
    systemd-networkd and NetworkManager do so themselves, under accept_ra=0, and need nothing.
    (libvirt 9.0 and 11.3 were seen to start over networkd's routes with 0, and to refuse over the kernel's with 1.)

    :param accept_ra: {link: value of the sysctl}.
    :param advertised: links that have a route or an address by an advertisement.
    :param settings: {key: value} of our file; a link that stands there is kept as long as it is not a daemon's.
    """
    ours = {link for link in accept_ra if link_key(link, "accept_ra") in settings}
    return sorted(
        {link for link in advertised if accept_ra.get(link) == "1"}
        | {link for link in ours if accept_ra.get(link) in ("1", "2")}
    )
