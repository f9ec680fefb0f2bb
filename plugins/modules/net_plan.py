#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: net_plan
short_description: Tell what networks of the four classic models need on this host
version_added: 1.0.0
description:
  - Plans networks with all that belongs to them, and changes nothing. What M(virtnet.kvm.ip_forward), M(virtnet.kvm.net_policy),
    M(virtnet.kvm.nat_rule) and M(virtnet.kvm.virt_net_model) would do with the same networks, in one call.
  - What they would refuse is refused, in the same words, before any of them has touched anything.
  - The roles of the collection begin with it, and carry out only what it finds to be done. A run that changes nothing is
    one task instead of four.
  - Networks that are declared absent are not looked at.
options:
  backend:
    description: What translates addresses, as in M(virtnet.kvm.nat_rule).
    type: str
    choices: [nftables, iptables]
    default: nftables
extends_documentation_fragment:
  - virtnet.kvm.network
  - virtnet.kvm.libvirt_network
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
attributes:
  check_mode:
    description: Can run in check_mode and predicts the result without modifying the host.
    support: full
    details: It never changes anything.
  diff_mode:
    description: Returns details on what has changed.
    support: none
requirements:
  - python3-libvirt
  - python3-lxml
  - iproute2
  - nftables
seealso:
  - module: virtnet.kvm.ip_forward
  - module: virtnet.kvm.net_policy
  - module: virtnet.kvm.nat_rule
  - module: virtnet.kvm.virt_net_model
author:
  - The virtnet.kvm authors (@virtnet)
"""

EXAMPLES = r"""
- name: What would be done, and which running guests would notice
  virtnet.kvm.net_plan:
    networks:
      - name: natnet
        model: nat
        bridge: natbr0
        addresses: [10.64.100.1/24]
  register: plan

- name: Show it
  ansible.builtin.debug:
    msg: "{{ plan.actions | rejectattr('effect', 'eq', 'none') | list }}"

- name: Change the networks only if anything differs
  virtnet.kvm.virt_net_model:
    networks:
      - name: natnet
        model: nat
        bridge: natbr0
        addresses: [10.64.100.1/24]
  when: plan.pending.networks
"""

RETURN = r"""
pending:
  description: Which parts differ from what is declared.
  returned: success
  type: dict
  contains:
    forwarding:
      description: Whether M(virtnet.kvm.ip_forward) has something to do.
      type: bool
      returned: always
    policy:
      description: Whether M(virtnet.kvm.net_policy) has something to do.
      type: bool
      returned: always
    translation:
      description: Whether M(virtnet.kvm.nat_rule) has something to do.
      type: bool
      returned: always
    networks:
      description: Whether M(virtnet.kvm.virt_net_model) has something to do.
      type: bool
      returned: always
    vxlans:
      description: Whether M(virtnet.kvm.vxlan_iface) has something to do; for the ways to other hosts of stretched networks.
      type: bool
      returned: always
forwarding:
  description: Which IP versions the host has to forward for these networks.
  returned: success
  type: dict
  contains:
    ipv4:
      description: Whether any of them is routed or NAT.
      type: bool
      returned: always
    ipv6:
      description: Whether any of these has an IPv6 address.
      type: bool
      returned: always
actions:
  description: What they would do, in the order in which the roles call them; their own documentation describes each.
  returned: success
  type: list
  elements: dict
  sample:
    - {kind: policy, name: natnet, op: add, effect: none, guests: [], outage_s: 0}
    - {kind: network, name: natnet, op: define, effect: none, guests: [], outage_s: 0}
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import deps, engine, models
from ansible_collections.virtnet.kvm.plugins.module_utils.argspec import convergence_options, network_options
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign.room import PassingPolicyRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.translation_room import TranslationRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.client import Networks
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.networks import NetworkRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.links import declared, host_links, management
from ansible_collections.virtnet.kvm.plugins.module_utils.links.forwarding import ForwardingRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import vxlan_unit
from ansible_collections.virtnet.kvm.plugins.module_utils.links.vxlans import VxlanRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module

PARTS = ("forwarding", "policy", "translation", "networks", "vxlans")


def plan(params, host):
    """Return ([(part, its Room), ...] in the order in which the roles call their modules, more of the result)."""
    wanted = [item for item in params["networks"] if item["state"] != "absent"]
    networks = models.parse_networks(wanted)
    forwarding = models.forwarding(networks)
    rooms = []
    if forwarding["ipv4"]:
        # What they do not need stays as it is, which is None; False would turn it off.
        rooms.append(("forwarding", ForwardingRoom(host, True, forwarding["ipv6"] or None, False)))
    if wanted:
        policy = PassingPolicyRoom(host, wanted)
        rooms.append(("policy", policy))
        translation = TranslationRoom(host, "default", None, wanted, False, params["backend"], policy, management.entrance)
        rooms.append(("translation", translation))
        client = Networks(params["uri"])
        rooms.append(("networks", NetworkRoom(networks, client, host, params["adopt"], params["disruption"], params["purge"])))
        if vxlan_unit.has_devices() or any(one.stretch for one in networks):
            items = declared.parse(host_links.vxlans(wanted), "vxlans")
            rooms.append(("vxlans", VxlanRoom(host, items, vxlan_unit.VxlanUnit(host), params["adopt"])))
    return rooms, {"forwarding": forwarding}


def main():
    module = Module(
        argument_spec={
            "networks": {"type": "list", "elements": "dict", "required": True, "options": network_options()},
            "backend": {"type": "str", "choices": ["nftables", "iptables"], "default": "nftables"},
            **convergence_options(),
        },
        supports_check_mode=True,
    )
    deps.require(module, "libvirt", "lxml")
    engine.plan_module(module, lambda host: plan(module.params, host), PARTS)


if __name__ == "__main__":
    main()
