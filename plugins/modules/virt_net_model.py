#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_net_model
short_description: Converge libvirt networks of the four classic models
version_added: 1.0.0
description:
  - Defines, changes, starts, stops and removes libvirt networks, any number of them in one call over one connection.
  - The running and the stored definition of a network are two things; each is compared and each is converged.
  - What an item does not declare is left alone. An empty list means none.
  - A network that is changed while guests run is changed with the least disturbance. Reservations, DHCP ranges, lease
    times, DNS hosts, TXT and SRV records, port groups, title and description are changed at run time; for all else the
    network is restarted and every guest NIC is put back, with what it is as a port of its bridge (isolated, say).
    RV(actions) says beforehand which guests notice, by which NICs, and for how long. On a bridge of the host's nobody does.
  - A network that is stored nowhere (O(networks[].persistent=false)) is restarted in the same way.
  - Guests whose NICs are in no bridge, since somebody has stopped their network under them, are put back.
  - What the host's libvirt is too old for is refused by name and version, before anything is changed.
  - A network is ours if its libvirt metadata carries our mark. One of the same name that is not ours is refused,
    unless O(adopt=true).
  - Translation and the filter that holds the contract are made by M(virtnet.kvm.nat_rule) and
    M(virtnet.kvm.net_policy). The role P(virtnet.kvm.net_nat#role) calls them all in the right order.
extends_documentation_fragment:
  - virtnet.kvm.network
  - virtnet.kvm.libvirt_network
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
attributes:
  check_mode:
    description: Can run in check_mode and predicts the result without modifying the host.
    support: full
  diff_mode:
    description: Returns details on what has changed, in the normal form of RV(networks).
    support: full
requirements:
  - python3-libvirt
  - python3-lxml
  - iproute2
seealso:
  - module: virtnet.kvm.net_policy
  - module: virtnet.kvm.nat_rule
  - module: virtnet.kvm.ip_forward
author:
  - The virtnet.kvm authors (@virtnet)
"""

EXAMPLES = r"""
- name: A NAT network with DHCP and two reserved guests
  virtnet.kvm.virt_net_model:
    networks:
      - name: natnet
        model: nat
        bridge: natbr0
        addresses: [10.64.100.1/24, "fd00:64::1/64"]
        dhcp:
          ranges:
            - start: 10.64.100.100
              end: 10.64.100.200
          reservations:
            - name: vm0
              mac: "52:54:00:00:00:01"
              address: 10.64.100.2
            - name: vm1
              mac: "52:54:00:00:00:02"
              address: 10.64.100.3

- name: Change it only if no running guest notices
  virtnet.kvm.virt_net_model:
    disruption: live_only
    networks:
      - name: natnet
        model: nat
        bridge: natbr0
        addresses: [10.64.100.1/24, "fd00:64::1/64"]
        dhcp:
          reservations: []

- name: One more reservation, those that others made stay
  virtnet.kvm.virt_net_model:
    purge: false
    networks:
      - name: natnet
        model: nat
        bridge: natbr0
        dhcp:
          reservations:
            - name: vm2
              mac: "52:54:00:00:00:03"
              address: 10.64.100.4

- name: A network that guests boot from, with an NTP server and records of its own
  virtnet.kvm.virt_net_model:
    networks:
      - name: bootnet
        model: nat
        addresses: [10.64.101.1/24]
        dhcp:
          ranges:
            - start: 10.64.101.100
              end: 10.64.101.200
          tftp_root: /srv/tftp
          boot:
            file: pxelinux.0
        dns:
          domain: boot.example
          local_only: true
          srv:
            - service: ldap
              domain: boot.example
              target: dc.boot.example
              port: 389
          forward_zones:
            - domain: corp.example
              address: 10.0.0.53
        dnsmasq_options:
          - dhcp-option=option:ntp-server,10.64.101.1

- name: An Open vSwitch that is there, with a port group for a VLAN
  virtnet.kvm.virt_net_model:
    networks:
      - name: ovsnet
        model: bridged
        bridge: ovsbr0
        virtualport:
          type: openvswitch
        portgroups:
          - name: office
            default: true
            vlan:
              tags:
                - id: 42

- name: Two networks are not to be there
  virtnet.kvm.virt_net_model:
    networks:
      - name: natnet
        state: absent
      - name: oldnet
        state: absent
"""

RETURN = r"""
networks:
  description: The declared networks that are there afterwards, in their normal form.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the network.
      type: str
      returned: always
    title:
      description: Its title, or null.
      type: str
      returned: always
    description:
      description: Its description, or null.
      type: str
      returned: always
    model:
      description: Its model; of a network that is not ours, what its forward mode amounts to.
      type: str
      returned: always
    firewall:
      description: Who translates, nftables or libvirt.
      type: str
      returned: always
    forward:
      description: Libvirt's forward mode; none where there is no forward element.
      type: str
      returned: always
    nat_ipv6:
      description: Whether libvirt translates IPv6; null where libvirt translates nothing.
      type: bool
      returned: always
    uplink:
      description: The link that libvirt's forward element names.
      type: str
      returned: always
    bridge:
      description: Name of its bridge.
      type: str
      returned: always
    mac:
      description: MAC of the bridge where one is declared, else null.
      type: str
      returned: always
    stp:
      description: Whether the bridge runs the spanning tree protocol.
      type: bool
      returned: always
    delay:
      description: Forward delay in seconds; null on a bridge of the host's.
      type: int
      returned: always
    zone:
      description: The firewalld zone, or null.
      type: str
      returned: always
    mtu:
      description: MTU in bytes, null if not set.
      type: int
      returned: always
    port_isolation:
      description: Whether guests are kept from each other.
      type: bool
      returned: always
    addresses:
      description: The host's own addresses in it, with prefix length.
      type: list
      elements: str
      returned: always
    dhcp:
      description:
        - Keys ranges, reservations, lease_time, tftp_root and boot, or null.
        - The lease time is C(mixed) where ranges and reservations have several.
      type: dict
      returned: always
    dns:
      description:
        - Keys enabled, domain, local_only, register, forwarders, forward_plain_names, forward_zones, hosts, txt and srv.
      type: dict
      returned: always
    dnsmasq_options:
      description: Lines for dnsmasq's configuration.
      type: list
      elements: str
      returned: always
    routes:
      description: Static routes, each with to and via.
      type: list
      elements: dict
      returned: always
    virtualport:
      description: The virtual port, or null.
      type: dict
      returned: always
    vlan:
      description: Keys trunk and tags, or null.
      type: dict
      returned: always
    bandwidth:
      description: Keys inbound and outbound, or null.
      type: dict
      returned: always
    portgroups:
      description: The port groups, sorted by name.
      type: list
      elements: dict
      returned: always
    state:
      description: Whether it is active or inactive.
      type: str
      returned: always
    autostart:
      description: Whether libvirt starts it at boot.
      type: bool
      returned: always
    persistent:
      description: Whether it outlives its stop.
      type: bool
      returned: always
    owned:
      description: Whether it carries our mark.
      type: bool
      returned: always
    pending:
      description: Fields in which the running network still differs from the stored one.
      type: list
      elements: str
      returned: always
actions:
  description: The plan, one element for each operation, in order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of object, here always network.
      type: str
      returned: always
    name:
      description: Name of the object.
      type: str
      returned: always
    op:
      description:
        - One of define, adopt, create, start, stop, update, restart, autostart, undefine; plug, which puts back the NICs of
          guests that somebody's C(virsh net-destroy) left in no bridge; serve, which has libvirt start the network's dnsmasq
          that had ended; and clear, which removes the bridge that libvirt left when it was killed while it started the network.
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
    nics:
      description: By which of their NICs.
      type: list
      elements: dict
      returned: when running guests notice
      contains:
        guest:
          description: Name of the guest.
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
    outage_s:
      description: For how long at most, in seconds.
      type: float
      returned: always
    note:
      description: The fields that differ.
      type: str
      returned: when there is something to add
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import deps, engine, models
from ansible_collections.virtnet.kvm.plugins.module_utils.argspec import convergence_options, network_options
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.client import Networks
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.networks import NetworkRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def main():
    module = Module(
        argument_spec={
            "networks": {"type": "list", "elements": "dict", "required": True, "options": network_options()},
            **convergence_options(),
        },
        supports_check_mode=True,
    )
    deps.require(module, "libvirt", "lxml")

    def build(host):
        # The declaration is checked before a daemon is asked for anything.
        networks = models.parse_networks(module.params["networks"])
        client = Networks(module.params["uri"])
        return NetworkRoom(
            networks, client, host, module.params["adopt"], module.params["disruption"], module.params["purge"]
        )

    engine.run_module(module, build)


if __name__ == "__main__":
    main()
