#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_iface
short_description: Physical and other existing links of the host
version_added: 1.0.0
description:
  - Changes links that are there already, physical ones, veths, bridges of others, any number of them in one call. State, MTU,
    MAC, addresses, routes and description.
  - What a link was before the first change is remembered on the host; I(state=absent) brings it back.
  - The manager's own file of the link stays as it is. Ours comes before it, made from it, with what is declared. Later changes of
    the link's own file count again after I(state=absent).
options:
  interfaces:
    description: The links.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the link.
        type: str
        required: true
      state:
        description:
          - C(up) and C(down), in that state now and after a boot. C(present), left in the state it has.
          - C(absent), as it was before the first run. The link itself stays.
        type: str
        choices: [present, absent, up, down]
        default: up
      mtu:
        description: MTU in bytes.
        type: int
      mac:
        description: MAC address.
        type: str
      addresses:
        description: Its addresses with prefix length. A port of a bridge has none.
        type: list
        elements: str
      gateway:
        description: Default gateways through it, one for each IP version.
        type: list
        elements: str
      routes:
        description:
          - All further routes through it. Others that are there go, but for those of O(interfaces[].route_sets).
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
      route_sets:
        description:
          - Routes beside all others of the link, in sets by the name of who asks for them. Other sets, and routes of none,
            stay as they are.
          - With the last set, and if nothing else was declared of it, the link's own file counts again.
          - Also of bridges and taps that the collection made, with I(state=present) and no other option.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the set, such as C(kvm1/routenet).
            type: str
            required: true
          routes:
            description:
              - Its routes. An empty list takes the set back; a route that was there before the set stays.
              - One that would take the place of a route that is there already is refused.
            type: list
            elements: dict
            required: true
            suboptions:
              to:
                description: Destination subnet, not the default route.
                type: str
                required: true
              via:
                description: Gateway; without one the destination is on the link.
                type: str
              metric:
                description: Metric; the kernel's default without one.
                type: int
      description:
        description:
          - The link's alias, as C(ip link) shows it. It lasts until the next boot, no manager has a setting for it.
        type: str
extends_documentation_fragment:
  - virtnet.kvm.links
  - virtnet.kvm.guard
  - virtnet.kvm.attributes.actiongroup_guarded
  - virtnet.kvm.attributes.actiongroup_kvm
notes:
  - Taking down the link of one's own connection, or giving it another address, is taken back after O(confirm_timeout).
  - Bridges and taps that the collection made are changed by M(virtnet.kvm.host_bridge) and M(virtnet.kvm.tap_iface).
  - With ifupdown the link's stanzas stay as they are. A C(mapping) has ifup take ours for the link, made from them.
  - A link that another manager than I(manager) keeps is refused, unless I(manager=none).
seealso:
  - module: virtnet.kvm.host_iface_info
"""

EXAMPLES = r"""
- name: Jumbo frames and a second address on eth1
  virtnet.kvm.host_iface:
    interfaces:
      - name: eth1
        mtu: 9000
        addresses: [192.0.2.10/24, "2001:db8::10/64"]
        routes:
          - {to: 198.51.100.0/24, via: 192.0.2.1}

- name: Take eth2 down, as virsh iface-destroy does
  virtnet.kvm.host_iface:
    interfaces:
      - {name: eth2, state: down}

- name: The way to the guests of kvm1, beside all other routes
  virtnet.kvm.host_iface:
    interfaces:
      - name: eth1
        state: present
        route_sets:
          - name: kvm1/routenet
            routes:
              - {to: 10.10.110.0/24, via: 192.0.2.11}

- name: And back
  virtnet.kvm.host_iface:
    interfaces:
      - name: eth1
        state: present
        route_sets:
          - {name: kvm1/routenet, routes: []}

- name: Everything as it was before
  virtnet.kvm.host_iface:
    interfaces:
      - {name: eth1, state: absent}
      - {name: eth2, state: absent}
"""

RETURN = r"""
interfaces:
  description: The links after the run, in check mode as they would be.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the link.
      type: str
      returned: always
    type:
      description: Its kind, such as physical, veth, bridge.
      type: str
      returned: always
    state:
      description: Either up or down.
      type: str
      returned: always
    mac:
      description: MAC address, or null.
      type: str
      returned: always
    mtu:
      description: MTU in bytes.
      type: int
      returned: always
    description:
      description: Its alias, or null.
      type: str
      returned: always
    bridge:
      description: The bridge whose port it is, or null.
      type: str
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
    routes:
      description: Other static routes through it, each with to, via and metric.
      type: list
      elements: dict
      returned: always
    route_sets:
      description: The sets that some of the routes belong to, each with name and routes.
      type: list
      elements: dict
      returned: always
    owned:
      description: Whether it has been changed and I(state=absent) brings something back.
      type: bool
      returned: always
    files:
      description: Our files of the manager for it, path and text.
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
    - "interfaces[0].name: eth1: there is no link of that name. See ip link."
actions:
  description: The plan, one element for each operation, in order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of object, here interface, or manager for its reading of the files.
      type: str
      returned: always
    name:
      description: Name of the link, or of the manager.
      type: str
      returned: always
    op:
      description: One of change, store (files only), restore, reload.
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
from ansible_collections.virtnet.kvm.plugins.module_utils.links.interfaces import InterfaceRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def main():
    module = Module(
        argument_spec={
            **spec.module_options(
                "interfaces",
                gateway={"type": "list", "elements": "str"},
                routes=spec.ROUTES,
                route_sets=spec.ROUTE_SETS,
                description={"type": "str"},
            ),
            **spec.GUARD,
        },
        supports_check_mode=True,
    )
    room.run(module, InterfaceRoom, "interfaces")


if __name__ == "__main__":
    main()
