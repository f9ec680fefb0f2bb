#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_probe
version_added: 1.0.0
author: The virtnet.kvm authors (@virtnet)
short_description: Asks guests, with packets, whom they reach
description:
  - Starts one small probe in each guest, through the QEMU guest agent, and one on the host itself; lets them send to
    each other over ICMP, TCP and UDP, IPv4 and IPv6, all at once; and tells what arrived, from which address, and
    whether a reply came back.
  - What arrives is looked for at the receiver, so that C(no) means that nothing arrived, not that a reply was lost.
    A C(no) counts only if the same receiver heard something else in the same call; else the answer is C(unknown).
  - With I(networks), the cells that their models promise are tried and compared with what was seen.
  - The steps V(listen), V(send) and V(collect) are for packets between hosts; the role P(virtnet.kvm.reachability#role)
    does one after the other on all hosts.
requirements:
  - python3-libvirt on the host
  - QEMU guest agent and Python 3.7 or newer in the guests
attributes:
  check_mode:
    description: Nothing is ever changed. In check mode no packet is sent either, and nothing is judged.
    support: full
  diff_mode:
    description: There is nothing that could differ.
    support: none
  platform:
    description: Linux, with iproute2.
    platforms: linux
    support: full
options:
  step:
    description:
      - V(all), the three others one after the other, for packets within this host.
      - V(listen) starts the probes. V(send) lets them send what a plan says, and waits for the replies.
        V(collect) returns what they saw, and ends them. A probe that is not asked ends by itself after two minutes.
    type: str
    choices: [all, listen, send, collect]
    default: all
  probes:
    description:
      - What to try; with I(step=all) only. Default is what I(networks) promise, or else everybody in I(guests), and the
        host, to everybody.
    type: list
    elements: dict
    suboptions:
      from:
        description: Who sends, a guest's name or C(host).
        type: str
        required: true
      to:
        description:
          - To whom, a guest's name, C(host), or an address. Behind an address nobody listens, so only a reply counts.
        type: str
        required: true
      protocol:
        description: Default is C(icmp), C(tcp) and C(udp).
        type: str
        choices: [icmp, tcp, udp, dns]
      family:
        description: Default is those that both ends have.
        type: str
        choices: [ipv4, ipv6]
      port:
        description: Port of TCP or UDP. Default is one at which the other end's probe listens, and 53 for DNS.
        type: int
      name:
        description: The name to resolve, with I(protocol=dns).
        type: str
      expected:
        description: Whether it shall arrive. What is not as expected is told in RV(differences), and RV(ok) is false.
        type: str
        choices: ['yes', 'no']
  guests:
    description:
      - The guests that take part, as names or as items of the data model (C(kvm_guests)).
      - Default is those that I(probes) name.
    type: list
    elements: raw
    default: []
  networks:
    description: The guests' networks, as items of the data model (C(kvm_networks)).
    type: list
    elements: dict
    default: []
  kind:
    description: What this host is, V(kvm) with guests, or V(outside) of all networks; with I(step=listen).
    type: str
    choices: [kvm, outside]
    default: kvm
  inventory_host:
    description: Name of this host in the inventory, by which the data model speaks of it.
    type: str
    default: host
  dns_names:
    description: Names with an IPv4 address that each guest asks the DNS server of its network for.
    type: list
    elements: str
    default: []
  pairs:
    description: V(one) pair of guests for each pair of networks, instead of V(all).
    type: str
    choices: [all, one]
    default: all
  session:
    description: RV(session) of the step V(listen); needed by V(send) and V(collect).
    type: str
  tokens:
    description: First and last token of the plan; needed by V(send) and V(collect).
    type: list
    elements: int
  sends:
    description: What each end is to send, from the plan; with I(step=send).
    type: dict
    default: {}
  endpoints:
    description: Names of the ends that listen; with V(send) and V(collect).
    type: list
    elements: str
  port:
    description: Port at which probes listen, TCP and UDP. Another is taken where it is in use.
    type: int
    default: 46464
  address_wait:
    description: Seconds to wait for a guest that does not have its addresses in I(networks) yet.
    type: int
    default: 15
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
seealso:
  - module: virtnet.kvm.guest_vm
  - module: virtnet.kvm.net_policy
extends_documentation_fragment:
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: Whom do my guests reach, and does the host reach them?
  virtnet.kvm.guest_probe:
    guests: [vm0, vm1]
  register: reached

- name: Show it
  ansible.builtin.debug:
    var: reached.table

- name: Ask single questions
  virtnet.kvm.guest_probe:
    probes:
      - from: vm0
        to: vm1
        protocol: icmp
      - from: vm0
        to: 192.0.2.1
        protocol: tcp
        port: 443
      - from: vm0
        to: 10.64.100.1
        protocol: dns
        name: www.example.org
      - from: host
        to: vm0
        protocol: udp
        family: ipv6
        expected: 'yes'

- name: Prove the contract of the networks of this host
  virtnet.kvm.guest_probe:
    networks: "{{ kvm_networks }}"
    guests: "{{ kvm_guests }}"
  register: proof
  failed_when: not proof.ok
"""

RETURN = r"""
ok:
  description: Whether all that was expected was seen; with I(step=all).
  type: bool
  returned: step all
probes:
  description: What was tried and seen, a cell for each pair, family and protocol.
  type: list
  elements: dict
  returned: step all
  contains:
    name:
      description: The cell in words.
      type: str
      sample: vm0@kvm1 → vm1@kvm1 ipv4 tcp
    from:
      description: Who sent.
      type: str
    to:
      description: To whom.
      type: str
    address:
      description: To which address of it.
      type: str
    family:
      description: C(ipv4) or C(ipv6).
      type: str
    protocol:
      description: C(icmp), C(tcp), C(udp) or C(dns).
      type: str
    port:
      description: Port of TCP or UDP.
      type: int
    expected:
      description: C(yes), C(no), or nothing if nothing was expected.
      type: str
    contract:
      description: Why that is expected.
      type: str
    seen:
      description: C(yes), C(no) or C(unknown).
      type: str
    ok:
      description: Whether what was seen is what was expected.
      type: bool
    why:
      description: How that was judged.
      type: str
    forward:
      description: The port forward by which it goes, as C(HOST:PORT); nothing if it goes straight.
      type: str
    path:
      description: How the packet went, by the sender's routes, by a next hop, or not at all.
      type: str
    source_seen:
      description: From which address it arrived; for DNS, the answer.
      type: str
    source_expected:
      description: From which addresses it should.
      type: list
      elements: str
    replied:
      description: Whether a reply came back.
      type: bool
    replied_ms:
      description: After how many milliseconds.
      type: float
    control:
      description: Whether it was sent only to show that the receiver hears.
      type: bool
controls:
  description: Cells that were sent only to show that a receiver hears, as RV(probes).
  type: list
  elements: dict
  returned: step all
differences:
  description: A sentence for each cell that is not as expected.
  type: list
  elements: str
  returned: step all
notes:
  description: What could not be tried, and why.
  type: list
  elements: str
  returned: step all
table:
  description: The cells as lines for people.
  type: list
  elements: str
  returned: step all
session:
  description: Name of this proof, for the other steps.
  type: str
  returned: step listen
kind:
  description: As given.
  type: str
  returned: step listen
endpoints:
  description: The ends that listen, by name; C(host) is the host. C(error) says why one does not.
  type: dict
  returned: step listen
listening:
  description: Names of those that do.
  type: list
  elements: str
  returned: step listen
networks:
  description: As given.
  type: list
  elements: dict
  returned: step listen
guests:
  description: As given, as items.
  type: list
  elements: dict
  returned: step listen
evidence:
  description: What each end sent, and what arrived there.
  type: dict
  returned: step collect
errors:
  description: Ends that could not send, and why.
  type: dict
  returned: step send
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import deps, options
from ansible_collections.virtnet.kvm.plugins.module_utils.argspec import network_options
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import failing
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.client import Domains
from ansible_collections.virtnet.kvm.plugins.module_utils.host import Host
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import ask, ends, judge, matrix, table
from ansible_collections.virtnet.kvm.plugins.module_utils.proof.steps import Steps, new_session

PROBES = {
    "type": "list",
    "elements": "dict",
    "options": {
        "from": {"type": "str", "required": True},
        "to": {"type": "str", "required": True},
        "protocol": {"type": "str", "choices": ["icmp", "tcp", "udp", "dns"]},
        "family": {"type": "str", "choices": ["ipv4", "ipv6"]},
        "port": {"type": "int"},
        "name": {"type": "str"},
        "expected": {"type": "str", "choices": ["yes", "no"]},
    },
}


def checked_networks(items):
    """Return the items with the types and defaults of the data model."""
    spec = {"networks": {"type": "list", "elements": "dict", "options": network_options()}}
    return options.checked(spec, {"networks": items})["networks"]


def listen(steps, params, session):
    networks = checked_networks(params["networks"])
    # A guest is given by name, or as an item of kvm_guests.
    guests = [one if isinstance(one, dict) else {"name": str(one)} for one in params["guests"]]
    if any(one.get("name") in (None, ends.HOST) for one in guests):
        raise InvalidInput("a guest without a name, or called host", option="guests", cure="Give it another name.")
    mine = ends.guests_of(params["inventory_host"], guests)
    endpoints = steps.listen(
        session, params["kind"] == "outside", mine, ends.networks_of(params["inventory_host"], networks),
        params["port"], params["address_wait"],
    )
    return {
        "session": session, "kind": params["kind"], "endpoints": endpoints,
        "listening": [end for end, one in endpoints.items() if not one.get("error")],
        "networks": [{key: value for key, value in one.items() if value is not None} for one in networks],
        "guests": mine,
    }


def everything(steps, params):
    """Do all steps on this host, and judge."""
    name, session = params["inventory_host"], new_session()
    found = listen(steps, params, session)
    up = found["listening"]
    probes = params["probes"]
    if probes is None and found["networks"]:
        plan = matrix.plan({name: found}, params["dns_names"], params["pairs"])
    else:
        plan = ask.plan(session, name, found["endpoints"], probes or ask.everything(list(found["endpoints"])))
    errors = steps.send(session, plan["tokens"], plan["sends"].get(name) or {}, up)
    results = steps.collect(session, plan["tokens"], [end for end in up if end not in errors])
    results.update({end: {"error": text} for end, text in errors.items()})
    proof = judge.judge(plan, {name: results})
    proof["table"] = table.table(proof)
    proof["probes"] = proof.pop("cells")
    return proof


def main():
    module = Module(
        argument_spec={
            "step": {"type": "str", "choices": ["all", "listen", "send", "collect"], "default": "all"},
            "probes": PROBES,
            "guests": {"type": "list", "elements": "raw", "default": []},
            "networks": {"type": "list", "elements": "dict", "default": []},
            "kind": {"type": "str", "choices": ["kvm", "outside"], "default": "kvm"},
            "inventory_host": {"type": "str", "default": "host"},
            "dns_names": {"type": "list", "elements": "str", "default": []},
            "pairs": {"type": "str", "choices": ["all", "one"], "default": "all"},
            "session": {"type": "str"},
            "tokens": {"type": "list", "elements": "int", "no_log": False},
            "sends": {"type": "dict", "default": {}},
            "endpoints": {"type": "list", "elements": "str"},
            "port": {"type": "int", "default": 46464},
            "address_wait": {"type": "int", "default": 15},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        required_if=[
            ("step", "send", ("session", "tokens", "endpoints")),
            ("step", "collect", ("session", "tokens", "endpoints")),
        ],
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg="Nothing is probed in check mode.")
    if params["step"] == "all" and params["probes"] and not params["guests"]:
        params["guests"] = [one for one in ask.names_of(params["probes"]) if one != ends.HOST]
    ours = params["endpoints"] if params["endpoints"] is not None else params["guests"]
    connection = None
    with failing(module):
        if any(one != ends.HOST for one in ours):
            deps.require(module, "libvirt", "libvirt_qemu", "lxml")
            connection = Domains(params["uri"]).connection
        steps = Steps(Host(module.run_command), connection, params["inventory_host"])
        if params["step"] == "listen":
            result = listen(steps, params, new_session())
        elif params["step"] == "send":
            result = {"errors": steps.send(params["session"], params["tokens"], params["sends"], params["endpoints"])}
        elif params["step"] == "collect":
            result = {"evidence": steps.collect(params["session"], params["tokens"], params["endpoints"])}
        else:
            result = everything(steps, params)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
