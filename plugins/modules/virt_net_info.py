#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_net_info
short_description: Tell what libvirt networks are there
version_added: 1.0.0
description:
  - Tells of all libvirt networks of a host, or of some, in one call what C(virsh net-list), C(net-info), C(net-uuid),
    C(net-name), C(net-dumpxml), C(net-dhcp-leases) and C(net-port-list) tell one by one.
  - Describes each network in the collection's data model, too. M(virtnet.kvm.virt_net_model) given that description
    changes nothing, so it is the way to take existing networks into a playbook.
options:
  names:
    description:
      - Names or UUIDs of the networks to tell of. Not given means all.
      - One that is not there is no error, and stands in RV(missing).
    type: list
    elements: str
  uri:
    description:
      - URI of the libvirt daemon, U(https://libvirt.org/uri.html).
      - Of another host, and without root of C(qemu:///session), only what libvirt knows is told; not what
        M(virtnet.kvm.net_policy) was given.
    type: str
    default: qemu:///system
requirements:
  - python3-libvirt
  - python3-lxml
seealso:
  - module: virtnet.kvm.virt_net_model
extends_documentation_fragment:
  - virtnet.kvm.info
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: All networks of the host
  virtnet.kvm.virt_net_info:
  register: found

- name: The UUID of one, and who has a lease in it
  virtnet.kvm.virt_net_info:
    names: [natnet]
  register: natnet

- name: Show them
  ansible.builtin.debug:
    msg: "{{ natnet.networks[0].uuid }}: {{ natnet.networks[0].leases | map(attribute='address') | join(', ') }}"

- name: Networks that others made, taken over as they are
  virtnet.kvm.virt_net_model:
    networks: "{{ found.networks | selectattr('model', 'mapping') | map(attribute='model') }}"
    adopt: true
"""

RETURN = r"""
networks:
  description: The networks, sorted by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name, C(virsh net-name).
      type: str
      returned: always
    uuid:
      description: Its UUID, C(virsh net-uuid).
      type: str
      returned: always
    state:
      description: Whether it is active or inactive.
      type: str
      returned: always
    persistent:
      description: Whether it outlives its stop.
      type: bool
      returned: always
    autostart:
      description: Whether libvirt starts it at boot.
      type: bool
      returned: always
    bridge:
      description: Its bridge, null where it has none.
      type: str
      returned: always
    connections:
      description: Number of guest NICs that libvirt counts in it.
      type: int
      returned: always
    owned:
      description: Whether it carries our mark.
      type: bool
      returned: always
    pending:
      description: Fields in which the running network differs from the stored one.
      type: list
      elements: str
      returned: always
    xml:
      description: The running definition, C(virsh net-dumpxml); null where it does not run.
      type: str
      returned: always
    xml_inactive:
      description: The stored definition, C(virsh net-dumpxml --inactive); null where there is none.
      type: str
      returned: always
    leases:
      description: The DHCP leases, C(virsh net-dhcp-leases), sorted by address.
      type: list
      elements: dict
      returned: always
      contains:
        mac:
          description: MAC address of the NIC; null where the client did not tell it.
          type: str
          returned: always
        address:
          description: The address, with prefix length.
          type: str
          returned: always
        hostname:
          description: Name that the client gave, or null.
          type: str
          returned: always
        client_id:
          description: Client identifier or DUID, or null.
          type: str
          returned: always
        expires:
          description: When it ends, in seconds since 1970; 0 is never.
          type: int
          returned: always
    ports:
      description: The guest NICs in it, C(virsh net-port-list) and C(net-port-dumpxml), sorted by guest and MAC.
      type: list
      elements: dict
      returned: always
      contains:
        uuid:
          description: UUID of the port.
          type: str
          returned: always
        guest:
          description: Name of the guest.
          type: str
          returned: always
        guest_uuid:
          description: UUID of the guest.
          type: str
          returned: always
        mac:
          description: MAC address of the NIC.
          type: str
          returned: always
        dev:
          description: The NIC's link on the host.
          type: str
          returned: always
        type:
          description: How it is plugged, C(network), C(bridge) or C(direct).
          type: str
          returned: always
        bridge:
          description: The bridge or link that it is plugged into.
          type: str
          returned: always
    model:
      description:
        - The network as an item of kvm_networks; O(virtnet.kvm.virt_net_model#module:networks) takes it. The stored
          definition is described, or a transient network's only one.
        - Options that libvirt does not hold are those that M(virtnet.kvm.net_policy) was given, if it was.
          Port forwards are not among them.
        - Null where none of the four models is like the network.
      type: dict
      returned: always
    model_differs:
      description:
        - Fields of the network that RV(networks[].model) would change; or why there is none, in words.
        - Empty for networks of ours. C(forward) for a network with libvirt's C(route), which becomes C(open).
      type: list
      elements: str
      returned: always
    model_lacks:
      description:
        - Parts of the stored definition that RV(networks[].model) does not say, as C(ip/@localPtr) or
          C(forward/nat/address). M(virtnet.kvm.virt_net_model) leaves them alone; on another host they would be missing.
      type: list
      elements: str
      returned: always
missing:
  description: Those of O(names) that are not there.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import deps
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import failing
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import store
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import report
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.client import Networks
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def main():
    module = Module(
        argument_spec={
            "names": {"type": "list", "elements": "str"},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    deps.require(module, "libvirt", "lxml")
    with failing(module):
        client = Networks(module.params["uri"])
        # The firewall's store is the host's own, and may be read by root alone.
        entries = {} if client.remote or client.unprivileged else _stored(module)
        networks, missing = report.networks(client, module.params["names"], entries)
    module.exit_json(changed=False, networks=networks, missing=missing)


def _stored(module):
    """Return the firewall's entries of the networks; what libvirt knows can be told without them."""
    try:
        return store.load().networks
    except (OSError, VirtnetError) as error:
        module.warn(f"What the models say beyond libvirt is not told: {error}")
        return {}


if __name__ == "__main__":
    main()
