# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names that follow from other names, the same on every run and every machine."""

from __future__ import annotations

import hashlib
import re

#: Longest name of a link: IFNAMSIZ of linux/if.h is 16 with the final NUL.
LINK_NAME_MAX = 15

#: How libvirt calls the links of guests' NICs that nobody gave a name; it does so anew at every start, and leaves such a name
#: out of the stored definition.
AUTOMATIC = re.compile(r"(vnet|macvtap|macvlan)[0-9]+")
#: What the taps among them begin with.
LIBVIRT_TAP = "vnet"
#: And what all taps of guests do: those too, and tap_name() and port_name().
GUEST_TAPS = (LIBVIRT_TAP, "vg", "vp")

#: XML namespace of our marks in libvirt's metadata; a name, not a page.
NAMESPACE = "urn:virtnet:kvm:1"


def _digest(*parts):
    # The separator cannot be part of a name, so ('a', 'bc') and ('ab', 'c') differ.
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


#: What begins a MAC address that nobody has given out (IEEE 802: locally administered, unicast).
LOCAL = "02"


def _mac(beginning, *parts):
    """Return a MAC address that begins so and goes on as C(parts) have it."""
    digest = _digest(*parts)
    octets = [*beginning.split(":"), *(digest[start : start + 2] for start in range(0, 12, 2))]
    return ":".join(octets[:6])


def bridge_name(network):
    """Return the name of a network's bridge: C(vn) and 8 hexadecimal digits; always known beforehand."""
    return "vn" + _digest(network)[:8]


def tap_name(guest, index):
    """Return the name of the tap of a guest's NIC number C(index): C(vg), 8 hexadecimal digits, C(n), the number.

    libvirt renumbers names that begin with C(vnet) at every start, and ours never looks like a bridge of ours.
    Raise ValueError from the thousandth NIC on, where the name would be too long.
    """
    name = f"vg{_digest(guest)[:8]}n{int(index)}"
    if len(name) > LINK_NAME_MAX or int(index) < 0:
        raise ValueError(f"a guest cannot have a NIC number {index}")
    return name


def port_name(mac):
    """Return the name of the tap of a NIC that has none yet: C(vp) and the 12 hexadecimal digits of its MAC address."""
    return "vp" + mac.replace(":", "")


def guest_mac(host, guest, index):
    """Return the MAC address of NIC number C(index) of C(guest) on C(host): QEMU's prefix and 3 octets that stay."""
    return _mac("52:54:00", host, guest, int(index))


def link_mac(machine, link):
    """Return the MAC address of a bridge or tap of ours: locally administered, the same after every boot of C(machine)."""
    return _mac(LOCAL, machine, link)


def vxlan_name(network):
    """Return the name of a stretched network's VXLAN device: C(vx) and the 8 hexadecimal digits of its bridge."""
    return "vx" + _digest(network)[:8]


def gateway_mac(network):
    """Return the MAC address of a stretched network's gateway: locally administered, the same on all hosts."""
    return _mac(LOCAL, "gateway", network)


def underlay_mac(network, local):
    """Return the MAC address under which a host sends from a stretched network's gateway to the other hosts."""
    return _mac(LOCAL, "underlay", network, local)
