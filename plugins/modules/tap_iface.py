#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tap_iface
short_description: Persistent tap and tun devices
version_added: 1.0.0
description:
  - Makes, changes and removes persistent tap and tun devices of the host, any number of them in one call.
  - In the routed model a tap such as C(virnet0) is the gateway's port of the bridge. Guests' taps are
    made by libvirt, not here.
  - A tap is ours if its alias is C(virtnet.kvm) or its C(.netdev) file is ours. One of that name that is not ours is
    refused, unless O(adopt=true); I(state=absent) then gives it back as it was.
options:
  taps:
    description: The devices.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the link, at most 15 characters.
        type: str
        required: true
      state:
        description:
          - C(up) and C(down), there and in that state. C(absent), not there.
          - C(present), there, up if it is new, else left as it is.
        type: str
        choices: [present, absent, up, down]
        default: up
      mode:
        description: A C(tap) carries Ethernet frames, a C(tun) IP packets. A new one is a C(tap).
        type: str
        choices: [tap, tun]
      owner:
        description: Name or number of the user who may open it without privileges; empty for none.
        type: str
      group:
        description: Name or number of the group that may open it without privileges; empty for none.
        type: str
      multi_queue:
        description: Whether it can have several queues. A new one has V(false).
        type: bool
      vnet_hdr:
        description: Whether frames carry a virtio-net header. A new one has V(false).
        type: bool
      bridge:
        description: Bridge whose port it is; empty for none.
        type: str
      mtu:
        description: MTU in bytes. A new one has V(1500).
        type: int
      mac:
        description: MAC address, of a tap only. A new one has one made from the host's machine ID and its name.
        type: str
      addresses:
        description: Its addresses with prefix length. A port of a bridge has none.
        type: list
        elements: str
  adopt:
    description: Take over a tap of that name that is not ours. What is not declared of it stays.
    type: bool
    default: false
extends_documentation_fragment:
  - virtnet.kvm.links
  - virtnet.kvm.attributes.actiongroup_kvm
notes:
  - Mode, owner, group and queues are a device's for life. Another value makes another device, which cuts off
    who has opened the old one.
  - A tap has carrier only while somebody has opened it.
seealso:
  - module: virtnet.kvm.host_bridge
  - module: virtnet.kvm.host_iface_info
"""

EXAMPLES = r"""
- name: The gateway's tap of the routed model
  virtnet.kvm.tap_iface:
    taps:
      - name: virnet0
        bridge: br1

- name: A tap that the user libvirt-qemu may open, and a tun with an address
  virtnet.kvm.tap_iface:
    taps:
      - name: vmtap0
        owner: libvirt-qemu
        multi_queue: true
        vnet_hdr: true
        mtu: 9000
      - name: vpn0
        mode: tun
        addresses: [10.99.0.1/30, "fd00:99::1/64"]

- name: Take it down, as ip link set virnet0 down does, and have it down after a boot
  virtnet.kvm.tap_iface:
    taps:
      - name: virnet0
        state: down

- name: Remove them
  virtnet.kvm.tap_iface:
    taps:
      - {name: virnet0, state: absent}
      - {name: vmtap0, state: absent}
      - {name: vpn0, state: absent}
"""

RETURN = r"""
taps:
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
      description: Either tap or tun.
      type: str
      returned: always
    state:
      description: Either up or down.
      type: str
      returned: always
    owner:
      description: The user who may open it, or null.
      type: str
      returned: always
    group:
      description: The group that may open it, or null.
      type: str
      returned: always
    multi_queue:
      description: Whether it can have several queues.
      type: bool
      returned: always
    vnet_hdr:
      description: Whether frames carry a virtio-net header.
      type: bool
      returned: always
    bridge:
      description: The bridge whose port it is, or null.
      type: str
      returned: always
    mtu:
      description: MTU in bytes.
      type: int
      returned: always
    mac:
      description: MAC address, null of a tun.
      type: str
      returned: always
    addresses:
      description: Addresses with prefix length, without link-local ones.
      type: list
      elements: str
      returned: always
    owned:
      description: Whether it is ours.
      type: bool
      returned: always
    files:
      description: The manager's files for it, path and text.
      type: dict
      returned: always
  sample:
    - name: virnet0
      type: tap
      state: up
      owner: null
      group: null
      multi_queue: false
      vnet_hdr: false
      bridge: br1
      mtu: 1500
      mac: "02:1f:0c:88:3e:52"
      addresses: []
      owned: true
      files: {}
manager:
  description: Who brings the links back after a boot, networkd, NetworkManager, ifupdown or none.
  returned: success
  type: str
  sample: networkd
unmet:
  description: In check mode, what must be there first and may come from a task before. A real run ends with the first of them.
  returned: in check mode, when there is any
  type: list
  elements: str
  sample:
    - "taps[0].bridge: tap0: there is no bridge br0. Make it with virtnet.kvm.host_bridge."
actions:
  description: The plan, one element for each operation, in order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of object, here tap, or manager for its reading of the files.
      type: str
      returned: always
    name:
      description: Name of the link, or of the manager.
      type: str
      returned: always
    op:
      description: One of create, change, recreate, store (files only), restore, delete, reload.
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

from ansible_collections.virtnet.kvm.plugins.module_utils.links import room, spec
from ansible_collections.virtnet.kvm.plugins.module_utils.links.taps import TapRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def main():
    module = Module(
        argument_spec={
            **spec.module_options(
                "taps",
                mode={"type": "str", "choices": ["tap", "tun"]},
                owner={"type": "str"},
                group={"type": "str"},
                multi_queue={"type": "bool"},
                vnet_hdr={"type": "bool"},
                bridge={"type": "str"},
            ),
            "adopt": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    room.run(module, TapRoom, "taps")


if __name__ == "__main__":
    main()
