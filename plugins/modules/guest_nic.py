#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_nic
short_description: Wire the NICs of guests that are there
version_added: 1.0.0
description:
  - Wires, adds and removes NICs of domains that others made, any number of them in one call, in the running guest and in
    its stored definition alike.
  - It is the edit of C(virsh edit) that turns an interface of any kind into one of the type C(network), but for one
    device at a time. Nothing else of a domain is written anew, and what is not declared of a NIC stays.
  - A running guest's NIC moves from one bridge to another without the guest seeing more than a short pause. Where that
    cannot be (another kind of link, another name of it), the NIC is taken out and put in again with the same MAC.
  - NICs of guests of M(virtnet.kvm.guest_vm) are declared there.
options:
  nics:
    description:
      - The NICs. One of O(nics[].mac), O(nics[].index) and O(nics[].alias) says which is meant; none of them, the guest's
        only one.
    type: list
    elements: dict
    required: true
    suboptions:
      guest:
        description: Name of the domain.
        type: str
        required: true
      state:
        description:
          - V(present), there and wired as declared. A NIC of O(nics[].mac) that the guest does not have is added.
          - V(absent), not there.
        type: str
        choices: [present, absent]
        default: present
      network:
        description: Name of the libvirt network. Left alone if not given; needed for a new NIC.
        type: str
      mac:
        description: MAC address that the NIC has, or shall have if it is new.
        type: str
      index:
        description: Number of the NIC in the stored definition, from 0.
        type: int
      alias:
        description: Name of the device, such as C(net0), which a running guest's has, or C(ua-uplink).
        type: str
      dev:
        description:
          - Name of the NIC's link on the host. Left alone if not given; a NIC that is added gets one that is made of its MAC
            address.
          - The rules of M(virtnet.kvm.net_policy) hold a link that has a name of its own to the NIC's MAC address. One that
            libvirt names anew at every start (C(vnet0)) cannot be held to it.
        type: str
      link:
        description: Whether the cable is in. Left alone if not given.
        type: str
        choices: [up, down]
      model:
        description:
          - Model of the device, such as V(virtio) or V(e1000e). Left alone if not given; V(virtio) of one that is added.
          - A running guest gets another device with the same MAC.
        type: str
      bandwidth:
        description:
          - Limits of this NIC. Declared whole, V({}) removes them, left alone if not given.
          - A running guest has them at once. libvirt needs the kernel's HTB, SFQ and police for it.
        type: dict
        suboptions:
          inbound:
            description: Towards the guest.
            type: dict
            suboptions: &rates
              average:
                description: KiB a second.
                type: int
              peak:
                description: KiB a second at most.
                type: int
              burst:
                description: KiB that may go at I(peak).
                type: int
          outbound:
            description: From the guest.
            type: dict
            suboptions: *rates
      filter:
        description:
          - A network filter of libvirt's that the NIC's frames pass. Declared whole, V({}) removes it, left alone if not given.
          - A running guest has it at once. M(virtnet.kvm.net_policy) keeps guests to their addresses without.
        type: dict
        suboptions:
          name:
            description: Name of the filter, such as C(clean-traffic), as C(virsh nwfilter-list) has it.
            type: str
          parameters:
            description: Variables of the filter, each a text or a list of texts, such as C(IP).
            type: dict
  disruption:
    description:
      - What to do with a change that a running guest would notice.
      - V(allow) carries it out, V(live_only) refuses it before anything is changed, V(defer) stores it for the
        guest's next start.
    type: str
    choices: [allow, live_only, defer]
    default: allow
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
attributes:
  check_mode:
    description: Can run in check_mode and predicts the result without modifying the host.
    support: full
  diff_mode:
    description: Returns details on what has changed, in the normal form of RV(nics).
    support: full
requirements:
  - python3-libvirt
  - python3-lxml
seealso:
  - module: virtnet.kvm.guest_vm
  - module: virtnet.kvm.virt_net_model
author:
  - The virtnet.kvm authors (@virtnet)
extends_documentation_fragment:
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: The only NIC of each of two guests on the network natnet, whatever it was on before
  virtnet.kvm.guest_nic:
    nics:
      - guest: VM0
        network: natnet
      - guest: VM1
        network: natnet

- name: A second NIC, pulled out for now, and a third that is to go
  virtnet.kvm.guest_nic:
    nics:
      - guest: VM0
        mac: "52:54:00:00:00:10"
        network: isonet
        link: down
      - guest: VM0
        mac: "52:54:00:00:00:11"
        state: absent

- name: A NIC held to its address by a filter of libvirt's, and to 10 MiB a second
  virtnet.kvm.guest_nic:
    nics:
      - guest: VM0
        alias: net0
        filter:
          name: clean-traffic
          parameters: {IP: 10.64.100.2}
        bandwidth:
          inbound: {average: 10240}
          outbound: {average: 10240}

- name: Another network for the first NIC from the guest's next start on
  virtnet.kvm.guest_nic:
    disruption: defer
    nics:
      - guest: VM0
        index: 0
        network: routenet
"""

RETURN = r"""
nics:
  description: The declared NICs that are there afterwards, in their normal form.
  returned: success
  type: list
  elements: dict
  contains:
    guest:
      description: Name of the domain.
      type: str
      returned: always
    mac:
      description: MAC address of the NIC.
      type: str
      returned: always
    stored:
      description: What the stored definition says; null where there is none.
      type: dict
      returned: always
      contains: &form
        type:
          description: Libvirt's type of the interface, such as C(network) or C(bridge).
          type: str
          returned: always
        source:
          description: Name of the network, bridge or link that it is on.
          type: str
          returned: always
        dev:
          description: Name of its link on the host; null where libvirt names it anew at every start.
          type: str
          returned: always
        link:
          description: Whether the cable is in, V(up) or V(down).
          type: str
          returned: always
        model:
          description: Model of the device; null where the definition names none.
          type: str
          returned: always
        bandwidth:
          description: Limits; null where there are none.
          type: dict
          returned: where they are declared
        filter:
          description: Network filter of libvirt's with C(name) and C(parameters), of which each has a list; null without.
          type: dict
          returned: always
    live:
      description: What the running guest has; null where it does not run.
      type: dict
      returned: always
      contains: *form
    pending:
      description: Fields that the running guest gets at its next start.
      type: list
      elements: str
      returned: always
    bound:
      description:
        - The links that are held to the NIC's MAC address, where the network has I(policy.anti_spoofing).
      type: list
      elements: dict
      returned: always
      contains:
        dev:
          description: Name of the link on the host.
          type: str
          returned: always
        mac:
          description: MAC address of the NIC.
          type: str
          returned: always
        network:
          description: Name of the libvirt network.
          type: str
          returned: always
unmet:
  description: In check mode, what must be there first and may come from a task before. A real run ends with the first of them.
  returned: in check mode, when there is any
  type: list
  elements: str
  sample:
    - "nics[0].network: web: the host has no libvirt network lan. Declare it with virtnet.kvm.virt_net_model first."
actions:
  description: The plan, one element for each operation, in order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of object, here always nic.
      type: str
      returned: always
    name:
      description: Name of the guest and MAC of the NIC.
      type: str
      returned: always
    op:
      description: One of bind, update, attach, detach, unbind.
      type: str
      returned: always
    effect:
      description: What the running guest notices, one of none, live, replug, recreate.
      type: str
      returned: always
    guests:
      description: Which running guests.
      type: list
      elements: str
      returned: always
    outage_s:
      description: For how long at most, in seconds.
      type: float
      returned: always
    note:
      description: Which definition is meant, V(stored) or V(running).
      type: str
      returned: always
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import argspec, deps, engine
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import ports
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import wiring
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.client import Domains
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.nic_room import NicRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module

NIC = {
    "guest": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "network": {"type": "str"},
    "mac": {"type": "str"},
    "index": {"type": "int"},
    "alias": {"type": "str"},
    "dev": {"type": "str"},
    "link": {"type": "str", "choices": ["up", "down"]},
    "model": {"type": "str"},
    "bandwidth": argspec.bandwidth(),
    "filter": {"type": "dict", "options": {"name": {"type": "str"}, "parameters": {"type": "dict"}}},
}


def main():
    module = Module(
        argument_spec={
            "nics": {"type": "list", "elements": "dict", "required": True, "options": NIC},
            "disruption": {"type": "str", "choices": ["allow", "live_only", "defer"], "default": "allow"},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    deps.require(module, "libvirt", "lxml")

    def build(host):
        # The declaration is checked before a daemon is asked for anything.
        wishes = wiring.parse_wishes(module.params["nics"])
        return NicRoom(
            wishes, Domains(module.params["uri"]), module.params["disruption"], ports.of_daemon(host, module.params["uri"])
        )

    engine.run_module(module, build)


if __name__ == "__main__":
    main()
