#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: frr_bgp
short_description: A host's part in exchanging routes to guests by BGP, with FRR
version_added: 1.0.0
description:
  - Announces subnets of guests to neighbours, by IPv4 and IPv6 sessions of their own, and accepts theirs. FRR puts what it
    learns into the kernel.
  - What the collection configures has names that begin with C(VIRTNET-). It is merged into FRR's running configuration, which
    C(vtysh -C) checks as a whole beforehand, and loaded with C(frr-reload.py), which leaves alone what does not differ, sessions
    included. C(/etc/frr/frr.conf) gets the same lines, and keeps all others, comments too.
  - A subnet that is not in the host's routing table is not announced (C(bgp network import-check)), so that of a network that is
    down is not. That of a bridge without carrier, on which no guest runs, may be or not, as the release of FRR has it.
  - Each call changes the neighbours, announcements and acceptances that it names, and leaves those of other calls.
options:
  asn:
    description:
      - The host's AS number. Needed with I(state=present).
      - If somebody else has configured BGP with another one, that is a conflict.
    type: int
  router_id:
    description:
      - The host's router ID, an IPv4 address that no other speaker has. Without it FRR takes the host's highest address, which
        may be that of a bridge, and the same on every host.
      - Set only where the BGP instance is the collection's own; somebody else's keeps what it has.
    type: str
  keepalive:
    description: Seconds between two keepalives; V(3) if none was ever given.
    type: int
  hold_time:
    description: After so many seconds of silence a neighbour is gone, and so are its routes; V(9) if none was ever given.
    type: int
  neighbors:
    description: Other speakers.
    type: list
    elements: dict
    suboptions:
      name:
        description: What the neighbour is called; the description that FRR shows.
        type: str
        required: true
      asn:
        description: The neighbour's AS number; the host's own for an internal neighbour. Needed with O(neighbors[].addresses).
        type: int
      addresses:
        description: The neighbour's addresses, one of each IP version. Without any, the neighbour is taken back.
        type: list
        elements: str
      evpn:
        description:
          - Exchange with it, over IPv4, what O(vnis) names of EVPN (RFC 8365). Another value makes a new session.
          - What is not given stays as it is; a new neighbour has it not.
        type: bool
      sources:
        description:
          - The host's own addresses that the neighbour knows it by, one of each IP version. Of several addresses on a link the
            kernel might take another.
        type: list
        elements: str
  announce:
    description: What this host announces.
    type: list
    elements: dict
    suboptions:
      name:
        description: A name for these prefixes, such as that of the host and the network.
        type: str
        required: true
      prefixes:
        description: Subnets. Without any, those of before are taken back.
        type: list
        elements: str
  accept:
    description: What is accepted from neighbours, and nothing else. Never a default route, never a subnet that a neighbour is in.
    type: list
    elements: dict
    suboptions:
      name:
        description: A name for these prefixes.
        type: str
        required: true
      prefixes:
        description:
          - Subnets, each exactly as it is announced; V(10.10.0.0/16 le 24) for the parts of one.
          - Without any, those of before are taken back.
        type: list
        elements: str
  vnis:
    description:
      - VXLAN segments of this host that are told to neighbours with O(neighbors[].evpn), and heard of from them. FRR then gives
        the VXLAN devices of these segments their peers, and says which guest is behind whom; M(virtnet.kvm.vxlan_iface) makes
        them, with I(learning=false).
      - FRR knows C(advertise-all-vni) for the host as a whole. What is in no set here is not told.
    type: list
    elements: dict
    suboptions:
      name:
        description: A name for these segments, such as that of the host and the network.
        type: str
        required: true
      vnis:
        description: VXLAN network identifiers, 1 to 16777215. Without any, those of before are taken back.
        type: list
        elements: int
  wait:
    description: Wait for so many seconds until there is a session with each of O(neighbors), and fail if there is not.
    type: int
    default: 0
  state:
    description:
      - V(present), as the other options say.
      - V(absent), what O(announce) and O(vnis) name is taken back, and with the last of these all that is the collection's; all
        of it where they name nothing.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Can run in check mode and return what a real run would.
    support: full
  diff_mode:
    description: Returns the host's part before and after, without anything of others.
    support: full
notes:
  - FRR must be installed, with its package frr-pythontools, and must keep one file for all its daemons, as it does by default.
  - Where bgpd is not started yet, it is switched on in C(/etc/frr/daemons) and FRR's unit is reloaded; its other daemons go on.
    Where FRR does not run at all, it is enabled and started. I(state=absent) brings back what was there.
  - In somebody else's BGP instance, his neighbours get the announcements as far as his own filters let them through.
seealso:
  - module: virtnet.kvm.host_iface
  - module: virtnet.kvm.vxlan_iface
author:
  - The virtnet.kvm authors (@virtnet)
extends_documentation_fragment:
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: Two KVM hosts tell each other of their guests, this one's half
  virtnet.kvm.frr_bgp:
    asn: 64512
    router_id: 10.77.0.11
    neighbors:
      - name: kvm2
        asn: 64512
        addresses: [10.77.0.12, "fd77::12"]
        sources: [10.77.0.11, "fd77::11"]
    announce:
      - name: kvm1/routenet
        prefixes: [10.10.110.0/24, "fd00:10:110::/64"]
    accept:
      - name: kvm2/routenet
        prefixes: [10.10.111.0/24, "fd00:10:111::/64"]

- name: A router of the site, of another AS
  virtnet.kvm.frr_bgp:
    asn: 64512
    neighbors:
      - name: core1
        asn: 65001
        addresses: [10.77.0.1]

- name: A VXLAN segment that two hosts share, this one's half
  virtnet.kvm.frr_bgp:
    asn: 64512
    neighbors:
      - name: kvm2
        asn: 64512
        addresses: [10.77.0.12]
        evpn: true
    vnis:
      - name: kvm1/lab
        vnis: [4711]

- name: One network is announced no more
  virtnet.kvm.frr_bgp:
    asn: 64512
    announce:
      - name: kvm1/routenet
        prefixes: []

- name: No BGP of ours any more
  virtnet.kvm.frr_bgp:
    state: absent
"""

RETURN = r"""
bgp:
  description: The host's part; empty if it has none.
  returned: success
  type: list
  elements: dict
  contains:
    asn:
      description: The host's AS number.
      type: int
    router_id:
      description: The router ID that was asked for, null for FRR's own choice.
      type: str
    keepalive:
      description: Seconds between two keepalives.
      type: int
    hold_time:
      description: Seconds of silence after which a neighbour is gone.
      type: int
    neighbors:
      description: The neighbours by name, each with C(asn), C(addresses), C(sources) and C(evpn).
      type: list
      elements: dict
    announce:
      description: What is announced, by C(name), as C(prefixes).
      type: list
      elements: dict
    accept:
      description: What is accepted, by C(name), as C(prefixes).
      type: list
      elements: dict
    vnis:
      description: VXLAN segments that neighbours are told of, by C(name), as C(vnis).
      type: list
      elements: dict
    running:
      description: Whether FRR runs with exactly this.
      type: bool
    persistent:
      description: Whether it does so after a boot.
      type: bool
  sample:
    - asn: 64512
      router_id: 10.77.0.11
      keepalive: 3
      hold_time: 9
      neighbors: [{name: kvm2, asn: 64512, addresses: [10.77.0.12], sources: [10.77.0.11], evpn: false}]
      announce: [{name: kvm1/routenet, prefixes: [10.10.110.0/24]}]
      accept: [{name: kvm2/routenet, prefixes: [10.10.111.0/24]}]
      vnis: []
      running: true
      persistent: true
unmet:
  description: In check mode, what must be there first and may come from a task before. A real run ends with the first of them.
  returned: in check mode, when there is any
  type: list
  elements: str
  sample:
    - "FRR: not installed: frr, frr-pythontools. Install it, or run the role virtnet.kvm.route_exchange."
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Always V(bgp).
      type: str
    name:
      description: Always V(bgp).
      type: str
    op:
      description: V(write) of files, V(start) of FRR, V(enable) of bgpd, V(reload) of the running configuration, V(remove).
      type: str
    effect:
      description: What running guests notice of it.
      type: str
    guests:
      description: The guests that notice.
      type: list
      elements: str
    outage_s:
      description: For how long at most sessions are away, in seconds.
      type: float
    note:
      description: What others who use FRR notice.
      type: str
  sample:
    - {kind: bgp, name: bgp, op: write, effect: none, guests: [], outage_s: 0}
    - {kind: bgp, name: bgp, op: reload, effect: live, guests: [], outage_s: 0, note: sessions go on}
"""

from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import speaker
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp.room import BgpRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import run_module
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def _set(inner, elements):
    options = {"name": {"type": "str", "required": True}, inner: {"type": "list", "elements": elements}}
    return {"type": "list", "elements": "dict", "options": options}


def main():
    module = Module(
        argument_spec={
            "asn": {"type": "int"},
            "router_id": {"type": "str"},
            "keepalive": {"type": "int"},
            "hold_time": {"type": "int"},
            "neighbors": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "asn": {"type": "int"},
                    "addresses": {"type": "list", "elements": "str"},
                    "sources": {"type": "list", "elements": "str"},
                    "evpn": {"type": "bool"},
                },
            },
            "announce": _set("prefixes", "str"),
            "accept": _set("prefixes", "str"),
            "vnis": _set("vnis", "int"),
            "wait": {"type": "int", "default": 0},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda host: BgpRoom(host, speaker.parse(module.params), module.params["wait"]))


if __name__ == "__main__":
    main()
