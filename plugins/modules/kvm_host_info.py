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
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
requirements:
  - iproute2 5 or newer
  - python3-libvirt and python3-lxml, for the guests
seealso:
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
  sample:
    - name: vm0
      uuid: 09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f
      active: true
      owned: true
      memory_mb: 128
      vcpus: 1
      networks: [natnet]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virtnet.kvm.plugins.module_utils import deps
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import failing
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import store
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import inventory
from ansible_collections.virtnet.kvm.plugins.module_utils.host import Host
from ansible_collections.virtnet.kvm.plugins.module_utils.links import facts


def of_libvirt(missing, uri):
    """Return (the guests, the names of the networks), None each where there is no libvirt to ask."""
    if missing:
        return None, None
    try:
        return inventory.gather(uri)
    except MissingDependency:
        return None, None


def main():
    module = AnsibleModule(argument_spec={"uri": {"type": "str", "default": "qemu:///system"}}, supports_check_mode=True)
    missing = deps.missing_of(["libvirt", "lxml"])
    with failing(module):
        guests, networks = of_libvirt(missing, module.params["uri"])
        result = {
            "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
            "processors": os.cpu_count() or 1,
            "interfaces": facts.gather(Host(module.run_command)),
            "networks": [entry for _name, entry in sorted(store.load().networks.items())],
            "guests": guests,
            "libvirt_networks": networks,
        }
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
