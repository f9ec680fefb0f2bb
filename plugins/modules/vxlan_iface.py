#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vxlan_iface
short_description: VXLAN devices that carry a network to other hosts
version_added: 1.0.0
description:
  - Makes, changes and removes VXLAN devices (RFC 7348), any number of them in one call. Each is a port of a bridge, and hands
    what is for everybody, or for somebody unknown, to each of its peers; whom a peer has it learns. With I(learning=false)
    somebody else tells it both, such as FRR (M(virtnet.kvm.frr_bgp)).
  - The unit C(virtnet-vxlan.service) makes the devices at boot, before libvirt starts its networks, and puts each into its bridge
    whenever that is made, for a bridge of libvirt's comes and goes with its network. So it is the same beside systemd-networkd,
    NetworkManager and ifupdown, none of which has to know of it. Its files are C(/etc/virtnet/vxlan.d) and
    C(/etc/virtnet/keep-vxlan).
  - A device takes frames from whoever sends them with its identifier. That nobody but its peers does is
    M(virtnet.kvm.net_policy)'s business, whose networks have the same peers in I(stretch).
  - A device is ours if its alias is C(virtnet.kvm) or our file is there. One of that name that is not ours is refused, unless
    O(adopt=true); I(state=absent) then gives it back as it was, and leaves alone what is not ours.
options:
  vxlans:
    description: The devices.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the link, at most 15 characters. A network's is C(vx) and the 8 digits of its bridge's own name.
        type: str
        required: true
      state:
        description: Whether it is there, and up.
        type: str
        choices: [present, absent]
        default: present
      vni:
        description: VXLAN network identifier, 1 to 16777215. A new one needs it.
        type: int
      local:
        description: Address of this host on the underlay, IPv4 or IPv6. A new one needs it.
        type: str
      peers:
        description: Addresses of the other hosts on the underlay. A new one has none.
        type: list
        elements: str
      learning:
        description:
          - Whether device and bridge learn from frames who is behind which peer. A new one does.
          - Where they do not, O(vxlans[].peers) are the business of who tells them, too, and are neither shown nor changed.
        type: bool
      bridge:
        description: Bridge whose port it is, now or as soon as that is there; empty for none.
        type: str
      mtu:
        description:
          - MTU in bytes. A new one has that of the link with the address I(local), without the 50 bytes that VXLAN adds (70 with
            IPv6); more is refused.
        type: int
  adopt:
    description: Take over a VXLAN device of that name that is not ours. What is not declared of it stays, but for its port, 4789.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and return what a real run would.
    support: full
  diff_mode:
    description: Returns the devices before and after, with their files.
    support: full
author: The virtnet.kvm authors (@virtnet)
notes:
  - Identifier and local address are a device's for life. Another value makes another device; frames to other hosts are lost for a
    moment.
  - What is not declared is left alone. An empty list means none.
  - On a host without systemd the devices last until the next boot, and stay out of a bridge that is made anew; it warns.
seealso:
  - module: virtnet.kvm.virt_net_model
  - module: virtnet.kvm.net_policy
  - module: virtnet.kvm.frr_bgp
  - plugin: virtnet.kvm.stretch_links
    plugin_type: filter
requirements:
  - iproute2 on the managed host
extends_documentation_fragment:
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: A network's way to two other hosts
  virtnet.kvm.vxlan_iface:
    vxlans:
      - name: vx-lab
        vni: 4711
        local: 192.0.2.1
        peers: [192.0.2.2, 192.0.2.3]
        bridge: labbr0

- name: Remove it
  virtnet.kvm.vxlan_iface:
    vxlans:
      - {name: vx-lab, state: absent}
"""

RETURN = r"""
vxlans:
  description: The devices that are there after the run, in check mode those that would be.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the link.
      type: str
      returned: always
    type:
      description: Always vxlan.
      type: str
      returned: always
    state:
      description: Either up or down.
      type: str
      returned: always
    vni:
      description: VXLAN network identifier.
      type: int
      returned: always
    local:
      description: Address of this host on the underlay.
      type: str
      returned: always
    port:
      description: UDP port.
      type: int
      returned: always
    peers:
      description: Addresses of the other hosts; none where somebody else tells it.
      type: list
      elements: str
      returned: always
    learning:
      description: Whether it learns from frames who is behind which peer; null if device and bridge differ in that.
      type: bool
      returned: always
    bridge:
      description: The bridge whose port it is meant to be, or null.
      type: str
      returned: always
    attached:
      description: Whether it is that bridge's port now; not if the bridge is not there.
      type: bool
      returned: always
    mtu:
      description: MTU in bytes.
      type: int
      returned: always
    service:
      description: The state of the unit that keeps our devices, such as running, missing, disabled; absent without systemd.
      type: str
      returned: always
    owned:
      description: Whether it is ours.
      type: bool
      returned: always
    files:
      description: The file of the device, path and text.
      type: dict
      returned: always
  sample:
    - name: vx-lab
      type: vxlan
      state: up
      vni: 4711
      local: 192.0.2.1
      port: 4789
      peers: [192.0.2.2, 192.0.2.3]
      learning: true
      bridge: labbr0
      attached: true
      mtu: 1450
      service: running
      owned: true
      files: {}
manager:
  description: Who brings the devices back after a boot, systemd or none.
  returned: success
  type: str
  sample: systemd
actions:
  description: The plan, one element for each operation, in order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of object, here vxlan, or manager for the unit.
      type: str
      returned: always
    name:
      description: Name of the link, or of the manager.
      type: str
      returned: always
    op:
      description: One of create, change, recreate, store (the file only), restore, delete, reload.
      type: str
      returned: always
    effect:
      description: What running guests notice, one of none, live, replug, recreate.
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
      description: The fields or files that differ.
      type: str
      returned: when there is something to add
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import engine
from ansible_collections.virtnet.kvm.plugins.module_utils.links import declared, spec
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist.vxlan_unit import VxlanUnit
from ansible_collections.virtnet.kvm.plugins.module_utils.links.vxlans import VxlanRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def main():
    module = Module(
        argument_spec={
            "vxlans": {"type": "list", "elements": "dict", "required": True, "options": spec.VXLAN},
            "adopt": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def build(host):
        items = declared.parse(module.params["vxlans"], "vxlans")
        return VxlanRoom(host, items, VxlanUnit(host), module.params["adopt"])

    engine.run_module(module, build)


if __name__ == "__main__":
    main()
