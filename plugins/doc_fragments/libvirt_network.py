# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What converging or planning networks takes besides the networks; the argument spec is argspec.convergence_options()."""

    DOCUMENTATION = r"""
options:
  adopt:
    description: Take over a network of that name that is not ours. What is not declared of it stays.
    type: bool
    default: false
  disruption:
    description:
      - What to do with a change that running guests would notice.
      - V(allow) carries it out, V(live_only) refuses it before anything is changed, V(defer) stores it for the
        network's next start (and is refused for a network that is stored nowhere).
    type: str
    choices: [allow, live_only, defer]
    default: allow
  purge:
    description:
      - Whether a declared list is all of it. With V(false), reservations, DNS hosts, TXT and SRV records and port groups
        that are there and are not declared stay; a declared one replaces what has its MAC, DUID, name or address.
    type: bool
    default: true
  uri:
    description:
      - URI of the libvirt daemon, U(https://libvirt.org/uri.html).
      - With that of another host (C(qemu+ssh://host/system)) that host's links, routes and forwarding are not looked at, and a
        change that has to put guests' NICs back is refused. Run the task on that host for these.
      - The calling user's own daemon (C(qemu:///session)) can make no bridge. Without root its networks can be stored, and run on
        a bridge of the host's or as macvtap.
    type: str
    default: qemu:///system
"""
