# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One segment over several hosts: a network's C(stretch) as typed values, and what can be wrong with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

#: UDP port of VXLAN (RFC 7348, IANA).
PORT = 4789
VNI_MAX = 2**24 - 1
#: What VXLAN adds to a frame's payload, by the underlay's IP version: the inner Ethernet header, VXLAN, UDP and IP.
OVERHEAD = {4: 14 + 8 + 8 + 20, 6: 14 + 8 + 8 + 40}


@dataclass(frozen=True)
class Stretch:
    """How a network reaches over hosts. None is not known yet: the roles add C(local), C(peers) and C(serves).

    C(local) is this host's address on the underlay, C(peers) those of the others; C(serves) says whether this host is the one
    that serves DHCP.
    """

    vni: int
    control: str
    local: Any
    peers: Optional[tuple]
    serves: bool


def is_wanted(item):
    """Return whether an item of the data model, as it was given, asks for it."""
    return ((item.get("stretch") or {}).get("mode") or "none") != "none" and item.get("state") != "absent"


def parse(item, option, name):
    """Return the Stretch of an item, None if it has none."""
    item = item or {}
    if (item.get("mode") or "none") == "none":
        return None
    if item.get("vni") is None:
        raise InvalidInput("VXLAN without a network identifier", name, f"{option}.vni", "Give one that no other network has.")
    values.number(item["vni"], 1, VNI_MAX, "the VNI", f"{option}.vni", name)
    control = item.get("control") or "static"
    local = None if item.get("local") is None else values.reachable(item["local"], f"{option}.local", name)
    peers = item.get("peers")
    if peers is not None:
        peers = tuple(values.reachable(text, f"{option}.peers[{number}]", name) for number, text in enumerate(peers))
        check_peers(local, peers, option, name)
    if control == "evpn" and any(one.version == 6 for one in (local, *(peers or ())) if one is not None):
        raise InvalidInput(
            "EVPN over IPv6", name, f"{option}.control",
            "FRR has it over IPv4 only: use static, or give each host an IPv4 address as kvm_underlay_address.",
        )  # fmt: skip
    return Stretch(item["vni"], control, local, peers, item.get("serves") is not False)


def check_peers(local, peers, option, name):
    """Refuse peers that are the host itself, are there twice, or speak another version of IP."""
    for number, peer in enumerate(peers):
        where = f"{option}.peers[{number}]"
        if peer == local:
            raise InvalidInput(f"the peer {peer} is this host itself", name, where, "Name the other hosts only.")
        if peer in peers[:number]:
            raise InvalidInput(f"the peer {peer} is named twice", name, where, "Name each host once.")
        if peer.version != (local or peers[0]).version:
            raise InvalidInput(
                f"{peer} and {local or peers[0]} are of two IP versions", name, where, "A VXLAN has one version on its underlay."
            )
