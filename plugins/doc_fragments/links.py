# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of what the modules of links share; the argument spec is module_utils/links/spec.py."""

    DOCUMENTATION = r"""
options:
  manager:
    description:
      - Who brings the links back after a boot.
      - V(networkd) writes C(/etc/systemd/network/00-virtnet-*) and has systemd-networkd read them; the links are set up
        beforehand, so nothing flaps.
      - V(NetworkManager) writes C(/etc/NetworkManager/system-connections/virtnet-*), which come before all other profiles of
        their links. NetworkManager makes bridges and taps, and moves an uplink, by itself. It cannot keep a link that is down,
        nor a port isolated, nor the spanning tree's times of a bridge without one; these are refused.
      - V(ifupdown) writes C(/etc/network/interfaces.d/virtnet-*), which F(/etc/network/interfaces) must source, and edits no file
        of yours. It needs nothing but ifupdown and iproute2, and a DHCP client where there was one.
      - Hosts of netplan are served through the one that it renders for. V(none) writes nothing, the links last until the next
        boot.
      - V(auto) is the one that keeps the link of the default route, of those that are in use; V(none) if none is.
    type: str
    choices: [auto, networkd, NetworkManager, ifupdown, none]
    default: auto
attributes:
  check_mode:
    description: Can run in check mode and return what a real run would.
    support: full
  diff_mode:
    description: Returns the links before and after, with the manager's files.
    support: full
notes:
  - What an item does not declare is left alone. An empty list means none.
  - Addresses and routes that come by DHCP or router advertisement, and link-local addresses, are not touched and not returned.
  - A link that is down has neither IPv6 addresses nor routes, so none are returned then; they are back when it is up again, from
    the manager's file.
  - All links of a call are changed by one C(ip -batch). One that fails is put back, the others stand, and the error names it.
requirements:
  - iproute2 5 or newer
  - systemd 250 or newer with I(manager=networkd)
  - NetworkManager 1.42 or newer with I(manager=NetworkManager)
author:
  - The virtnet.kvm authors (@virtnet)
"""
