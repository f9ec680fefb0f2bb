#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_host_info
short_description: What a KVM host has, for whoever plans what it gets
version_added: 1.0.0
description:
  - Returns in one call what a plan for several hosts needs to know of each. Its memory and processors, its links with their
    addresses and routes, the networks that the collection was told of there, and the guests.
  - It works on a host on which nothing is installed yet; what needs libvirt is null then.
options:
  details:
    description:
      - Return what a picture of the host shows, too. RV(forwards), RV(bgp), and RV(guests[].nics) with the addresses that the
        guests' agents tell.
      - A guest whose agent is there and does not answer costs three seconds; guests are asked side by side.
    type: bool
    default: false
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
requirements:
  - iproute2 5 or newer
  - python3-libvirt and python3-lxml, for the guests
seealso:
  - plugin: virtnet.kvm.topology
    plugin_type: filter
  - module: virtnet.kvm.host_iface_info
  - module: virtnet.kvm.virt_net_info
  - plugin: virtnet.kvm.fleet_plan
    plugin_type: filter
extends_documentation_fragment:
  - virtnet.kvm.info
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: Look at the host
  virtnet.kvm.kvm_host_info:
  register: host

- name: The networks that it was told of, and the subnets that they have
  ansible.builtin.debug:
    msg: "{{ host.networks | items2dict(key_name='name', value_name='addresses') }}"

- name: Which addresses the guests have
  virtnet.kvm.kvm_host_info:
    details: true
  register: host

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.nics | map(attribute='addresses') | select | flatten | join(', ') }}"
  loop: "{{ host.guests }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
memory_mb:
  description: Memory of the host in MiB.
  returned: success
  type: int
  sample: 64298
processors:
  description: How many processors it has.
  returned: success
  type: int
  sample: 16
interfaces:
  description: Its links, as M(virtnet.kvm.host_iface_info) returns them.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: eth0, mac: "02:da:49:bc:aa:66", state: up, type: physical, bridge: null, owned: false, manager: networkd}
networks:
  description:
    - The networks that the collection was told of on this host, as they were declared, those of the store C(/etc/virtnet).
      What was not declared is not there.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: natnet, model: nat, bridge: natbr0, addresses: [10.64.100.1/24]}
libvirt_networks:
  description: Names of all of libvirt's networks, whoever made them; null where libvirt or its Python bindings are missing.
  returned: success
  type: list
  elements: str
  sample: [default, natnet]
guests:
  description: The guests, whoever made them; null where libvirt or its Python bindings are missing.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the guest.
      type: str
      returned: always
    uuid:
      description: Its UUID.
      type: str
      returned: always
    active:
      description: Whether it runs.
      type: bool
      returned: always
    owned:
      description: Whether the collection made it.
      type: bool
      returned: always
    memory_mb:
      description: Its memory in MiB.
      type: int
      returned: always
    vcpus:
      description: Its virtual processors.
      type: int
      returned: always
    networks:
      description: The networks that its NICs name.
      type: list
      elements: str
      returned: always
    nics:
      description: Its NICs, of the running guest if it runs, in the order of its definition.
      type: list
      elements: dict
      returned: with O(details)
      contains:
        mac:
          description: MAC address.
          type: str
        type:
          description: How it is plugged in, C(network), C(bridge), C(direct) or another of libvirt's words.
          type: str
        network:
          description: The network that it names, or null.
          type: str
        link:
          description: The host's bridge, or of macvtap the link, where it names one; else null.
          type: str
        dev:
          description: The NIC's link on the host, or null.
          type: str
        up:
          description: Whether libvirt has its link up.
          type: bool
        addresses:
          description: Addresses with prefix length, as the guest's agent tells them; null where none does.
          type: list
          elements: str
  sample:
    - name: vm0
      uuid: 09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f
      active: true
      owned: true
      memory_mb: 128
      vcpus: 1
      networks: [natnet]
forwards:
  description: Port forwards of this host that the collection made.
  returned: with O(details)
  type: list
  elements: dict
  sample:
    - set: "@natnet"
      name: web
      network: natnet
      protocols: [tcp]
      address: null
      ports: "8080"
      to: [10.64.100.2]
      to_ports: "80"
forwards_total:
  description: How many there are. Of more than a thousand the first thousand are told, those of networks first.
  returned: with O(details)
  type: int
  sample: 1
bgp:
  description: The host's AS number as C(asn), and its C(sessions) with the state of each, as FRR has them; null without any.
  returned: with O(details)
  type: dict
  sample:
    asn: 64512
    sessions: [{address: 10.77.0.12, name: kvm2, asn: 64512, state: Established}]
"""

import os

from ansible_collections.virtnet.kvm.plugins.module_utils import deps
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp.frr import Frr
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import failing
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import forwards, store
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import inventory, nics
from ansible_collections.virtnet.kvm.plugins.module_utils.host import Host
from ansible_collections.virtnet.kvm.plugins.module_utils.links import facts
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module

#: Nobody reads more of them in a picture.
FORWARDS_MAX = 1000


def of_libvirt(missing, uri):
    """Return (the guests, the names of the networks), None each where there is no libvirt to ask."""
    if missing:
        return None, None
    try:
        return inventory.gather(uri)
    except MissingDependency:
        return None, None


def details(host, guests, rules, uri):
    """Return what only a picture shows, and give the guests their NICs."""
    found = nics.gather(uri) if guests else {}
    for one in guests or ():
        one["nics"] = found.get(one["name"], [])
    rows, total = forwards.of_rules(rules, FORWARDS_MAX)
    return {"forwards": rows, "forwards_total": total, "bgp": Frr(host).sessions()}


def main():
    module = Module(
        argument_spec={
            "details": {"type": "bool", "default": False},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    missing = deps.missing_of(["libvirt", "lxml"])
    with failing(module):
        host, state = Host(module.run_command), store.load()
        guests, networks = of_libvirt(missing, module.params["uri"])
        result = {
            "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
            "processors": os.cpu_count() or 1,
            "interfaces": facts.gather(host),
            "networks": [entry for _name, entry in sorted(state.networks.items())],
            "guests": guests,
            "libvirt_networks": networks,
        }
        if module.params["details"]:
            result.update(details(host, guests, state.flat_rules(), module.params["uri"]))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
