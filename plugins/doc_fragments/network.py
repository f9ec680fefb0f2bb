# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the option networks, whose argument spec is module_utils/argspec.py."""

    DOCUMENTATION = r"""
options:
  networks:
    description:
      - The networks, in the collection's data model. Modules and roles of the collection take the same items,
        each uses of an item what is its own.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the libvirt network, the only thing a guest refers to.
        type: str
        required: true
      model:
        description:
          - The contract of the network. Needed unless I(state=absent).
          - C(isolated), guests reach each other and nothing else.
          - C(routed), guests reach the outside with their own source address.
          - C(nat), guests reach the outside as the host, and are reached through port forwards only.
          - C(bridged), guests are on the LAN of the host.
        type: str
        choices: [isolated, routed, nat, bridged]
      state:
        description:
          - C(active), defined and running. C(inactive), defined and stopped.
          - C(present), defined, its run state left alone. C(absent), neither running nor defined.
        type: str
        choices: [present, absent, active, inactive]
        default: active
      autostart:
        description: Whether libvirt starts it at boot. A network that is not persistent has no autostart.
        type: bool
        default: true
      persistent:
        description: Whether it outlives its own stop; V(false) is C(virsh net-create).
        type: bool
        default: true
      hosts:
        description: Names of the hosts that carry it; read by playbooks only.
        type: list
        elements: str
      bridge:
        description: Name of its bridge, at most 15 characters. Default is C(vn) and 8 hex digits of the name's SHA-256.
        type: str
      bridge_owner:
        description: Who makes the bridge. Default is V(libvirt), and V(host) with I(model=bridged).
        type: str
        choices: [libvirt, host]
      firewall:
        description: Who translates addresses with I(model=nat), our own table or libvirt's rules.
        type: str
        choices: [nftables, libvirt]
        default: nftables
      attach:
        description: How guests join a bridged network. With V(macvtap) a guest and its host cannot talk.
        type: str
        choices: [bridge, macvtap]
        default: bridge
      uplink:
        description: Routed and NAT networks leave only through this link; a bridged one takes it as its port.
        type: str
      carrier_tap:
        description: With I(bridge_owner=host), a tap that is a port of the bridge from its first moment on, the gateway's port.
        type: str
      mtu:
        description: MTU in bytes, left alone if not given.
        type: int
      stp:
        description: Spanning tree on the bridge. With it, a port that joins is deaf for 4 seconds.
        type: bool
        default: false
      addresses:
        description: The host's own addresses in the network, as gateway/prefix length.
        type: list
        elements: str
      subnets:
        description: Subnets of the guests that are not one of those of I(addresses).
        type: list
        elements: str
      dhcp:
        description: DHCP by the host; needs I(addresses).
        type: dict
        suboptions:
          ranges:
            description: Ranges of addresses for guests without a reservation.
            type: list
            elements: dict
            suboptions:
              start:
                description: First address.
                type: str
                required: true
              end:
                description: Last address.
                type: str
                required: true
          reservations:
            description: Fixed addresses of guests.
            type: list
            elements: dict
            suboptions:
              name:
                description: Name of the guest, also in DNS.
                type: str
              mac:
                description: MAC of the guest's NIC. IPv4 needs it.
                type: str
              address:
                description: Its address.
                type: str
                required: true
          lease_time:
            description: Lease time as C(3600) seconds, C(90m), C(12h), C(7d) or C(infinite).
            type: str
      dns:
        description: DNS by the host.
        type: dict
        suboptions:
          enabled:
            description: Whether the host answers DNS queries of guests.
            type: bool
            default: true
          domain:
            description: Domain of the network.
            type: str
          local_only:
            description: Never forward queries for I(domain).
            type: bool
            default: false
          forwarders:
            description: Addresses of DNS servers to ask; default is the host's own.
            type: list
            elements: str
          hosts:
            description: Further names.
            type: list
            elements: dict
            suboptions:
              address:
                description: The address.
                type: str
                required: true
              names:
                description: Its names.
                type: list
                elements: str
                required: true
      masquerade:
        description: Translate to the host's address. Default is V(true) with I(model=nat), V(false) otherwise.
        type: bool
      routes:
        description: Static routes of the host through guests of the network.
        type: list
        elements: dict
        suboptions:
          to:
            description: Destination subnet.
            type: str
            required: true
          via:
            description: Gateway, an address inside the network.
            type: str
            required: true
      return_routes:
        description: How the outside learns the way back to a routed network; read by the role route_exchange.
        type: dict
        suboptions:
          mode:
            description: C(static) routes on the peers, or C(bgp).
            type: str
            choices: [none, static, bgp]
            default: none
          peers:
            description: Inventory names of the peers.
            type: list
            elements: str
      stretch:
        description: One segment over several hosts.
        type: dict
        suboptions:
          mode:
            description: The encapsulation.
            type: str
            choices: [none, vxlan]
            default: none
          vni:
            description: VXLAN network identifier.
            type: int
          control:
            description: How peers are found.
            type: str
            choices: [static, evpn]
            default: static
      policy:
        description: Exceptions from the contract; read by M(virtnet.kvm.net_policy).
        type: dict
        suboptions:
          allow_to:
            description: Networks whose guests may be reached, one way.
            type: list
            elements: dict
            suboptions:
              network:
                description: Name of the other network.
                type: str
                required: true
              protocol:
                description: Protocol.
                type: str
                choices: [tcp, udp, icmp, any]
                default: any
              ports:
                description: Ports or ranges; all if not given.
                type: list
                elements: str
          host_access:
            description: What guests may reach on the host in spite of isolation or I(deny_host).
            type: list
            elements: dict
            suboptions:
              protocol:
                description: Protocol.
                type: str
                choices: [tcp, udp, icmp, any]
                default: any
              ports:
                description: Ports or ranges; all if not given.
                type: list
                elements: str
          deny_host:
            description: Close the host to its guests; DHCP and DNS stay.
            type: bool
            default: false
          anti_spoofing:
            description: Drop frames of guests under foreign MACs and addresses.
            type: bool
            default: true
          port_isolation:
            description: Guests of this network do not reach each other.
            type: bool
            default: false
          log_drops:
            description: Log what is dropped.
            type: bool
            default: false
      port_forwards:
        description: Ports of the host that lead to guests; with I(model=nat) only.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the forward.
            type: str
            required: true
          protocol:
            description: Protocol.
            type: str
            choices: [tcp, udp, both]
            default: tcp
          listen:
            description: Where the host listens.
            type: dict
            required: true
            suboptions:
              address:
                description: One of the host's addresses; all if not given.
                type: str
              interface:
                description: One of the host's links; all if not given.
                type: str
              ports:
                description: A port, or a range as C(8000-8099).
                type: str
                required: true
          to:
            description: The guest.
            type: dict
            required: true
            suboptions:
              guest:
                description: Name of the guest; its address is that of its reservation.
                type: str
              address:
                description: Address of the guest.
                type: str
              ports:
                description: Its port or range; default is that of I(listen).
                type: str
          sources:
            description: Subnets that may use it; all if empty.
            type: list
            elements: str
          hairpin:
            description: Whether the host and its guests reach it too.
            type: bool
            default: true
"""
