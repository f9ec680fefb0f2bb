# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For how long a guest is off when its NIC is taken out of a bridge and put back: what plans foretell, in seconds. Pure."""

from __future__ import annotations

#: Measured 0.1 to 0.3 s where nothing else is in the way.
REPLUG_S = 1
#: Where libvirt translates: measured on two processors 0.9 s (libvirt 11.3) to 1.2 s (9.0), 1.7 s with both of them busy.
#: It takes its own rules away, one by one, while the bridge is down, and puts them in before it is up again.
OWN_RULES_S = 2
#: The kernel's least forward delay with STP (BR_MIN_FORWARD_DELAY of net/bridge/br_private_stp.h); libvirt's delay='0' is it.
LEAST_DELAY_S = 2
#: A guest that hears nothing for longer forgets where its gateway is, and asks for it once a second: measured up to 0.9 s on top
#: (delay_first_probe_time and retrans_time_ms of the kernel's Documentation/networking/ip-sysctl, arp(7)).
NEIGHBOUR_S = 5
ASKS_EVERY_S = 1


def replug(stp, delay, own_rules=False):
    """Return for how many seconds at most.

    :param stp: whether the bridge has STP, with which a port that joins is deaf for twice the forward delay.
    :param delay: that delay in seconds, None or 0 for the kernel's least.
    :param own_rules: whether the network restarts with rules of libvirt's.
    """
    deaf = 2 * max(delay or 0, LEAST_DELAY_S) if stp else 0
    return (OWN_RULES_S if own_rules else REPLUG_S) + deaf + (ASKS_EVERY_S if deaf > NEIGHBOUR_S else 0)
