#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_bridge
short_description: Linux bridges of the host, and the uplink's way into one
version_added: 1.0.0
description:
  - Makes, changes and removes Linux bridges with their ports, addresses and routes, any number of them in one call.
  - A port that has addresses is refused, unless O(bridges[].take_over=true). Then its addresses, routes, DNS servers and DHCP
    client move to the bridge, which gets its MAC address; this works over the very connection that runs through it.
  - The move is one C(ip -batch). If the gateway does not answer through the bridge within 5 seconds, at once or after the manager
    has adopted the bridge, everything is put back and the task fails.
  - A bridge is ours if its alias is C(virtnet.kvm) or its C(.netdev) file is ours. One of that name that is not ours is refused,
    unless O(adopt=true); I(state=absent) then gives it back as it was.
options:
  bridges:
    description: The bridges.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the bridge, at most 15 characters.
        type: str
        required: true
      state:
        description:
          - C(up) and C(down), there and in that state. C(present), there, up if it is new, else left as it is.
          - C(absent), not there; its ports, their addresses, routes and files are as before.
        type: str
        choices: [present, absent, up, down]
        default: up
      ports:
        description:
          - Links that are its ports. Others leave it, but for taps, which belong to guests or to M(virtnet.kvm.tap_iface).
        type: list
        elements: str
      take_over:
        description: Move addresses, routes and DHCP client of a port to the bridge.
        type: bool
        default: false
      addresses:
        description: Its addresses with prefix length. A new bridge without any has IPv6 switched off.
        type: list
        elements: str
      gateway:
        description: Default gateways through it, one for each IP version.
        type: list
        elements: str
      dns:
        description: DNS servers that are asked through it, by systemd-resolved.
        type: list
        elements: str
      routes:
        description: Further routes through it.
        type: list
        elements: dict
        suboptions:
          to:
            description: Destination subnet.
            type: str
            required: true
          via:
            description: Gateway; without one the destination is on the link.
            type: str
          metric:
            description: Metric; the kernel's default without one.
            type: int
      mtu:
        description: MTU in bytes. A new one has that of its ports, or V(1500).
        type: int
      mac:
        description: MAC address. A new one has that of the port it takes over, else one that follows from host and name.
        type: str
      stp:
        description: Spanning tree. A new one has V(false). With it, a port that joins is deaf for twice the forward delay.
        type: bool
      forward_delay:
        description: Forward delay of the spanning tree in seconds.
        type: int
      hello_time:
        description: Every how many seconds the spanning tree's root speaks, 1 to 10. A new one has V(2).
        type: int
      max_age:
        description: After how many seconds of silence the spanning tree looks for another root, 6 to 40. A new one has V(20).
        type: int
      priority:
        description: The bridge with the lowest is the spanning tree's root, 0 to 65535. A new one has V(32768).
        type: int
      ageing:
        description: For how many seconds the bridge remembers where a MAC address is.
        type: int
      multicast_snooping:
        description: Whether multicast goes only to the ports that asked for it. A new one has V(true).
        type: bool
      vlan_filtering:
        description:
          - Whether frames go only to the ports of their VLAN. A new one has V(false). Refused by a kernel without
            C(CONFIG_BRIDGE_VLAN_FILTERING).
        type: bool
      vlan_default_pvid:
        description:
          - The VLAN into which every port that joins, and the bridge itself, is put without a tag; V(0) is none. A new one has
            V(1). Ports that are in the old one leave it for the new one.
        type: int
      vlans:
        description:
          - The VLANs in which the host takes part through the bridge, exactly these. Its addresses are in that of
            O(bridges[].vlans.pvid); for others make a C(vlan) link on the bridge.
          - Needs O(bridges[].vlan_filtering=true). The VLAN of O(bridges[].vlan_default_pvid) must be among them, unless that is
            V(0).
        type: dict
        suboptions: &vlans
          pvid:
            description: VLAN of frames that come in without a tag. Without one such frames are dropped.
            type: int
          untagged:
            description:
              - VLANs whose frames leave without their tag, as numbers and ranges such as V(10-19). That of I(pvid) is one of
                them, unless it is in I(tagged).
            type: list
            elements: str
          tagged:
            description: VLANs whose frames leave with their tag.
            type: list
            elements: str
      port_options:
        description: What ports are set to. Other ports, and what is not said of one, stay as they are.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the port, one of O(bridges[].ports).
            type: str
            required: true
          isolated:
            description: Whether it reaches only ports that are not isolated.
            type: bool
          cost:
            description: The spanning tree's cost of the way through it, 1 to 65535. The kernel takes it from the link's speed.
            type: int
          priority:
            description: Among ports of the same cost the one with the lowest is taken, 0 to 63.
            type: int
          vlans:
            description: The VLANs of the port, exactly these; as O(bridges[].vlans).
            type: dict
            suboptions: *vlans
  adopt:
    description: Take over a bridge of that name that is not ours. What is not declared of it stays.
    type: bool
    default: false
extends_documentation_fragment:
  - virtnet.kvm.links
  - virtnet.kvm.guard
  - virtnet.kvm.attributes.actiongroup_guarded
  - virtnet.kvm.attributes.actiongroup_kvm
notes:
  - With systemd-networkd the bridge's file is made from that of the port it takes over, with all of its settings, and the IAID
    of its DHCP lease. The port's own file stays as it is; ours comes before it.
  - With NetworkManager its profile is made from that of the port in the same way, with the metric of its routes and the
    identifier of its DHCP lease. NetworkManager itself moves the port then, and whatever has to do with it.
  - With ifupdown the bridge's file is made from the stanzas of the port it takes over, and F(/etc/network/interfaces) stays as it
    is; a C(mapping) has ifup take our stanzas for the port. A DHCP client moves with its lease. I(dns) is told to resolvconf or
    systemd-resolved, where there is one; nobody else of ifupdown's writes F(/etc/resolv.conf).
  - Ports that another manager than I(manager) keeps are refused, unless I(manager=none).
seealso:
  - module: virtnet.kvm.tap_iface
  - module: virtnet.kvm.host_iface_info
"""

EXAMPLES = r"""
- name: The uplink goes into br0, over the connection that uses it
  virtnet.kvm.host_bridge:
    bridges:
      - name: br0
        ports: [eth0]
        take_over: true

- name: A bridge without NIC and address for an isolated network, and one with the gateway address of a routed network
  virtnet.kvm.host_bridge:
    bridges:
      - name: br1
        ports: []
      - name: br2
        addresses: [10.64.2.1/24, "fd00:64:2::1/64"]

- name: A spanning tree of which this bridge is the root, and a port that reaches only the others
  virtnet.kvm.host_bridge:
    bridges:
      - name: br3
        ports: [eth1, eth2]
        stp: true
        priority: 4096
        forward_delay: 4
        port_options:
          - {name: eth2, isolated: true, cost: 100}

- name: A switch with VLANs, eth1 a trunk, eth2 in VLAN 10; the host itself is in VLAN 10
  virtnet.kvm.host_bridge:
    bridges:
      - name: br4
        ports: [eth1, eth2]
        addresses: [10.64.10.1/24]
        vlan_filtering: true
        vlan_default_pvid: 0
        vlans: {pvid: 10}
        port_options:
          - {name: eth1, vlans: {tagged: [10, 20-29]}}
          - {name: eth2, vlans: {pvid: 10}}

- name: The uplink comes out of br0 again, with its addresses
  virtnet.kvm.host_bridge:
    bridges:
      - {name: br0, state: absent}
"""

RETURN = r"""
bridges:
  description: The bridges that are there after the run, in check mode those that would be.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the bridge.
      type: str
      returned: always
    state:
      description: Either up or down.
      type: str
      returned: always
    ports:
      description: Its ports, without taps that are not declared.
      type: list
      elements: str
      returned: always
    addresses:
      description: Addresses with prefix length, without dynamic and link-local ones.
      type: list
      elements: str
      returned: always
    gateway:
      description: Default gateways through it.
      type: list
      elements: str
      returned: always
    dns:
      description: DNS servers in the manager's file.
      type: list
      elements: str
      returned: always
    routes:
      description: Other static routes through it, each with to, via and metric.
      type: list
      elements: dict
      returned: always
    mtu:
      description: MTU in bytes.
      type: int
      returned: always
    mac:
      description: MAC address.
      type: str
      returned: always
    stp:
      description: Whether spanning tree is on.
      type: bool
      returned: always
    forward_delay:
      description: Forward delay in seconds.
      type: int
      returned: always
    hello_time:
      description: Every how many seconds the spanning tree's root speaks.
      type: int
      returned: always
    max_age:
      description: After how many seconds of silence the spanning tree looks for another root.
      type: int
      returned: always
    priority:
      description: Its priority in the spanning tree.
      type: int
      returned: always
    ageing:
      description: For how many seconds a MAC address is remembered.
      type: int
      returned: always
    multicast_snooping:
      description: Whether multicast goes only to the ports that asked for it.
      type: bool
      returned: always
    vlan_filtering:
      description: Whether frames go only to the ports of their VLAN.
      type: bool
      returned: always
    vlan_default_pvid:
      description: The VLAN into which every port that joins is put; 0 is none.
      type: int
      returned: always
    vlans:
      description: The VLANs of the bridge itself, pvid, untagged and tagged, the latter as text; null if it filters none.
      type: dict
      returned: always
      sample: {pvid: 10, untagged: ["10"], tagged: ["20-29"]}
    port_options:
      description: What is declared of ports, as it is, each with name and isolated, cost, priority or vlans.
      type: list
      elements: dict
      returned: always
    ipv6:
      description: Whether the host speaks IPv6 on it.
      type: bool
      returned: always
    owned:
      description: Whether it is ours.
      type: bool
      returned: always
    files:
      description: Our files of the manager for it and its ports, path and text.
      type: dict
      returned: always
manager:
  description: Who brings the links back after a boot, networkd, NetworkManager, ifupdown or none.
  returned: success
  type: str
  sample: networkd
guard:
  description: The change of the controller's own way to this host, which the host would have taken back without a word from it.
  returned: when the change could cut the controller off, and I(confirm=true)
  type: dict
  contains:
    state:
      description:
        - Either C(confirmed), the controller came in anew; or C(reverted), it did not, or something failed, and everything is as
          it was; or C(unknown), the host was changed and either not reached since or has no outcome of this change, and the
          message says how to look at it. In check mode C(planned).
      type: str
      returned: always
      sample: confirmed
    links:
      description: The links that were changed.
      type: list
      elements: str
      returned: always
    timeout_s:
      description: How many seconds there were.
      type: int
      returned: always
    away_s:
      description: For how long the way was away at most, until the gateway answered again, in seconds.
      type: float
      returned: when an uplink went into a bridge or came out of one
    why:
      description:
        - Why it was taken back. C(deadline), nobody came in in time; C(boot), the host was restarted; C(asked), by hand or by the
          controller, which had lost the connection; C(late), the timer was lost.
      type: str
      returned: when it was
unmet:
  description: In check mode, what must be there first and may come from a task before. A real run ends with the first of them.
  returned: in check mode, when there is any
  type: list
  elements: str
  sample:
    - "bridges[0].ports[0]: br0: there is no link eth1. See ip link."
actions:
  description: The plan, one element for each operation, in order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of object, here bridge, or manager for its reading of the files.
      type: str
      returned: always
    name:
      description: Name of the link, or of the manager.
      type: str
      returned: always
    op:
      description: One of create, take_over, change, store (files only), give_back, restore, delete, reload, restart.
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
from ansible_collections.virtnet.kvm.plugins.module_utils.links.bridges import BridgeRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def main():
    module = Module(
        argument_spec={
            **spec.module_options(
                "bridges",
                ports={"type": "list", "elements": "str"},
                take_over={"type": "bool", "default": False},
                gateway={"type": "list", "elements": "str"},
                dns={"type": "list", "elements": "str"},
                routes=spec.ROUTES,
                stp={"type": "bool"},
                forward_delay={"type": "int"},
                hello_time={"type": "int"},
                max_age={"type": "int"},
                priority={"type": "int"},
                ageing={"type": "int"},
                multicast_snooping={"type": "bool"},
                vlan_filtering={"type": "bool"},
                vlan_default_pvid={"type": "int"},
                vlans=spec.VLANS,
                port_options=spec.PORT_OPTIONS,
            ),
            "adopt": {"type": "bool", "default": False},
            **spec.GUARD,
        },
        supports_check_mode=True,
    )
    room.run(module, BridgeRoom, "bridges")


if __name__ == "__main__":
    main()
