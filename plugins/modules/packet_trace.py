#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packet_trace
short_description: Follows one packet, and its reply, through a host
version_added: 1.0.0
description:
  - Lets the kernel itself tell what becomes of one packet between two guests, or a guest and another machine. The packet is
    really sent, by the guest that asks; nftables names each table, chain and rule that it meets, in their order.
  - It is one host's part of the playbook C(virtnet.kvm.explain), which asks V(look), V(listen), V(send) and V(collect) of all
    hosts on the packet's way, one after the other, with the filters P(virtnet.kvm.explain_plan#filter) before and
    P(virtnet.kvm.explain_judge#filter) behind.
  - From V(listen) to V(collect) there is a table C(virtnet_trace) of the families bridge and inet, which marks that one packet
    and lets everything pass. It goes with V(collect), and by itself after a minute. Nothing else is changed.
options:
  step:
    description:
      - V(look) returns what the host has of the named guests, its links and what it forwards.
      - V(listen) begins to trace and starts the probes. V(send) has the packet sent. V(collect) returns what was seen, and
        ends all of it.
    type: str
    choices: [look, listen, send, collect]
    default: look
  kind:
    description: What this host is, V(kvm) with guests, or V(outside) of all networks, which is not traced.
    type: str
    choices: [kvm, outside]
    default: kvm
  guests:
    description: Names of guests that may be on this host; with I(step=look).
    type: list
    elements: str
    default: []
  plan:
    description: What P(virtnet.kvm.explain_plan#filter) made; all steps but V(look) need it.
    type: dict
  inventory_host:
    description: Name of this host in I(plan).
    type: str
    default: host
  listening:
    description: Ends whose probes listen, of the result of V(listen); with V(send) and V(collect).
    type: list
    elements: str
    default: []
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
requirements:
  - iproute2 5 or newer
  - nftables 0.9.8 or newer, on KVM hosts
  - python3-libvirt and python3-lxml, on KVM hosts
  - QEMU guest agent and Python 3.7 or newer in the guests
attributes:
  check_mode:
    description: In check mode nothing is traced and no packet is sent; V(look) only reads, and is no different.
    support: full
  diff_mode:
    description: There is nothing to differ.
    support: none
author:
  - The virtnet.kvm authors (@virtnet)
seealso:
  - module: virtnet.kvm.guest_probe
  - module: virtnet.kvm.net_policy
extends_documentation_fragment:
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: What the host has of two guests, and what it forwards
  virtnet.kvm.packet_trace:
    guests: [vm0, vm1]
  register: here

- name: Plan a question from one to the other
  ansible.builtin.set_fact:
    plan: "{{ {inventory_hostname: here} | virtnet.kvm.explain_plan('vm0', 'vm1', 'tcp', 22) }}"

- name: Begin to trace
  virtnet.kvm.packet_trace:
    step: listen
    plan: "{{ plan }}"
    inventory_host: "{{ inventory_hostname }}"
  register: begun

- name: Send
  virtnet.kvm.packet_trace:
    step: send
    plan: "{{ plan }}"
    inventory_host: "{{ inventory_hostname }}"
    listening: "{{ begun.listening }}"
  register: sent

- name: See what the kernel told
  virtnet.kvm.packet_trace:
    step: collect
    plan: "{{ plan }}"
    inventory_host: "{{ inventory_hostname }}"
    listening: "{{ begun.listening }}"
  register: seen
"""

RETURN = r"""
kind:
  description: As given.
  returned: step look
  type: str
links:
  description: The host's links by name, each with its state, its bridge, and what it is as a port of that.
  returned: step look
  type: dict
uplinks:
  description: Links of the default routes.
  returned: step look
  type: list
  elements: str
sysctls:
  description: What decides whether the host forwards, and what it takes in.
  returned: step look
  type: dict
guests:
  description: Those of the named guests that are here, with their state, NICs, and the links that their agents tell.
  returned: step look
  type: dict
guest_names:
  description: Names of all guests of the host.
  returned: step look
  type: list
  elements: str
networks:
  description: The networks that the collection was told of on this host.
  returned: step look
  type: list
  elements: dict
probes:
  description: For each end on this host, whether its probe listens, or why not.
  returned: step listen
  type: dict
listening:
  description: Names of the ends that do.
  returned: step listen
  type: list
  elements: str
counters:
  description: The kernel's counters of what it drops without a rule, before and after.
  returned: steps listen and collect
  type: dict
errors:
  description: Ends that could not send, and why.
  returned: step send
  type: dict
trace:
  description: The hooks that the packet, its reply, an error about it, and the questions for neighbours met, in their order.
  returned: step collect
  type: dict
evidence:
  description: What each end sent, and what arrived there.
  returned: step collect
  type: dict
routes:
  description: How the host would route the packet and its reply.
  returned: step collect
  type: dict
guest_route:
  description: The guest's own way back, where its agent tells.
  returned: step collect
  type: dict
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import deps
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import failing
from ansible_collections.virtnet.kvm.plugins.module_utils.explain import facts, part
from ansible_collections.virtnet.kvm.plugins.module_utils.explain.steps import Steps
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.client import Domains
from ansible_collections.virtnet.kvm.plugins.module_utils.host import Host
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def carry_out(params, mine, host, connection):
    if params["step"] == "look":
        return facts.look(host, params["kind"], params["guests"], connection)
    steps = Steps(host, params["kind"], connection, params["plan"])
    if params["step"] == "listen":
        found = steps.listen(mine["listen"])
        return {**found, "listening": [end for end, one in found["probes"].items() if not one["error"]]}
    if params["step"] == "send":
        send = mine["send"] or {"end": None, "item": None}
        return {"errors": steps.send(send["end"], send["item"], params["listening"])}
    return steps.collect(params["listening"], mine["lookups"])


def main():
    module = Module(
        argument_spec={
            "step": {"type": "str", "choices": ["look", "listen", "send", "collect"], "default": "look"},
            "kind": {"type": "str", "choices": ["kvm", "outside"], "default": "kvm"},
            "guests": {"type": "list", "elements": "str", "default": []},
            "plan": {"type": "dict"},
            "inventory_host": {"type": "str", "default": "host"},
            "listening": {"type": "list", "elements": "str", "default": []},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        required_if=[("step", one, ("plan",)) for one in ("listen", "send", "collect")],
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode and params["step"] != "look":
        module.exit_json(changed=False, skipped=True, msg="Nothing is traced in check mode.")
    if params["kind"] == "kvm":
        deps.require(module, "libvirt", "libvirt_qemu", "lxml")
    with failing(module):
        mine = part.of(params["plan"], params["inventory_host"]) if params["step"] != "look" else None
        connection = Domains(params["uri"]).connection if params["kind"] == "kvm" else None
        result = carry_out(params, mine, Host(module.run_command), connection)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
