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
        description:
          - Routed and NAT networks leave only through this link; a bridged one takes it as its port.
          - Left alone in libvirt's definition if not given; an empty one removes it there.
        type: str
      carrier_tap:
        description: With I(bridge_owner=host), a tap that is a port of the bridge from its first moment on, the gateway's port.
        type: str
      title:
        description: A short text, one line. Left alone if not given, an empty one removes it. Needs libvirt 9.7.
        type: str
      description:
        description: A longer text. Left alone if not given, an empty one removes it. Needs libvirt 9.7.
        type: str
      mac:
        description:
          - MAC of libvirt's bridge, and so of the gateway. Left alone if not given; libvirt chooses one for a new network.
        type: str
      zone:
        description:
          - The firewalld zone of libvirt's bridge, an empty one removes it. Routed networks, and NAT networks with our own
            table, need libvirt 10.8 for it, others 5.1.
        type: str
      mtu:
        description: MTU in bytes, left alone if not given; V(0) removes it.
        type: int
      stp:
        description: Spanning tree on the bridge. With it, a port that joins is deaf for 4 seconds.
        type: bool
        default: false
      delay:
        description:
          - Forward delay of the spanning tree in seconds, 0 to 30; a port that joins is deaf for twice that time.
            The kernel takes 2 for 0, libvirt's default.
        type: int
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
                description: MAC of the guest's NIC. IPv4 needs it, or the name that the guest gives when it asks.
                type: str
              duid:
                description: The guest's DHCPv6 identifier. IPv6 needs it, or the name.
                type: str
              address:
                description: Its address.
                type: str
                required: true
          lease_time:
            description: Lease time as C(3600) seconds, C(90m), C(12h), C(7d) or C(infinite); at least 2 minutes.
            type: str
          tftp_root:
            description: Folder of the host that is served by TFTP; an empty one removes it.
            type: str
          boot:
            description: What BOOTP tells a guest that boots from the network. Declared whole, V({}) removes it.
            type: dict
            suboptions:
              file:
                description: Name of the file.
                type: str
              server:
                description: IPv4 address of its server; the host itself if not given.
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
            description: Domain of the network, an empty one removes it.
            type: str
          local_only:
            description: Never forward queries for I(domain).
            type: bool
            default: false
          register:
            description:
              - Make I(domain) known to the host's own resolver, systemd-resolved. Needs I(local_only) and libvirt 10.1.
            type: bool
          forwarders:
            description:
              - Addresses of DNS servers to ask; default is the host's own. With a port as C(10.0.0.1#5353), which needs
                libvirt 12.0.
            type: list
            elements: str
          forward_plain_names:
            description: Whether names without a dot are forwarded, too; libvirt does unless told otherwise.
            type: bool
          forward_zones:
            description: DNS servers of single domains.
            type: list
            elements: dict
            suboptions:
              domain:
                description: The domain.
                type: str
                required: true
              address:
                description: Address of its server; that of all other names if not given.
                type: str
              port:
                description: The server's port, if not 53. Needs libvirt 12.0.
                type: int
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
          txt:
            description: TXT records.
            type: list
            elements: dict
            suboptions:
              name:
                description: Name of the record.
                type: str
                required: true
              value:
                description: Its text, as dnsmasq reads it; commas part it into several.
                type: str
                required: true
          srv:
            description: SRV records.
            type: list
            elements: dict
            suboptions:
              service:
                description: The service without its underscore, as C(ldap).
                type: str
                required: true
              protocol:
                description: The protocol.
                type: str
                choices: [tcp, udp]
                default: tcp
              domain:
                description: Domain of the record, default is that of the network.
                type: str
              target:
                description: Name of the machine that serves it; none serves it if not given.
                type: str
              port:
                description: Its port.
                type: int
              priority:
                description: The lowest is asked first.
                type: int
              weight:
                description: Share among those of one priority.
                type: int
      dnsmasq_options:
        description:
          - Lines for the configuration of libvirt's dnsmasq, through libvirt's own XML namespace. DHCP options are such,
            C(dhcp-option=option:ntp-server,10.64.100.1).
          - libvirt does not look at them. One that dnsmasq refuses keeps the network from starting.
        type: list
        elements: str
      virtualport:
        description:
          - The virtual port of its NICs, of bridged networks. Declared whole, V({}) removes it.
        type: dict
        suboptions: &virtualport
          type:
            description: Its type; V(openvswitch) makes I(bridge) an Open vSwitch.
            type: str
            choices: [openvswitch, midonet, 802.1Qbg, 802.1Qbh]
          profile_id:
            description: Port profile, of Open vSwitch and 802.1Qbh.
            type: str
          interface_id:
            description: UUID of the interface, of Open vSwitch and midonet.
            type: str
          instance_id:
            description: UUID of the VSI instance, of 802.1Qbg.
            type: str
          manager_id:
            description: VSI manager, of 802.1Qbg.
            type: int
          type_id:
            description: VSI type, of 802.1Qbg.
            type: int
          type_id_version:
            description: Version of the VSI type, of 802.1Qbg.
            type: int
      vlan:
        description:
          - The VLANs of its NICs, of bridged networks. Declared whole, V({}) removes them. On a standard Linux bridge it needs
            libvirt 11.0.
        type: dict
        suboptions: &vlan
          trunk:
            description: Whether frames keep their tags. Default is V(true) with several I(tags).
            type: bool
          tags:
            description: The VLANs.
            type: list
            elements: dict
            suboptions:
              id:
                description: Number of the VLAN, 1 to 4094.
                type: int
                required: true
              native_mode:
                description: Makes it the native VLAN of the trunk.
                type: str
                choices: [tagged, untagged]
      bandwidth:
        description:
          - Limits of the network as a whole. Declared whole, V({}) removes them.
          - libvirt needs the kernel's HTB, SFQ and police for it; a network does not start without.
        type: dict
        suboptions: &bandwidth
          inbound:
            description: Towards the guests.
            type: dict
            suboptions: &rates
              average:
                description: KiB a second.
                type: int
              peak:
                description: KiB a second at most.
                type: int
              burst:
                description: KiB that may go at I(peak).
                type: int
          outbound:
            description: From the guests.
            type: dict
            suboptions: *rates
      portgroups:
        description: Groups that a guest's NIC may name, each with properties of its own.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the group.
            type: str
            required: true
          default:
            description: Whether it is that of NICs that name none.
            type: bool
            default: false
          trust_guest_rx_filters:
            description: Whether the host follows the guest's own MAC filters (macvtap).
            type: bool
          virtualport:
            description:
              - The virtual port of the group's NICs. Declared whole, V({}) removes it.
            type: dict
            suboptions: *virtualport
          vlan:
            description:
              - The VLANs of the group's NICs. Declared whole, V({}) removes them. On a standard Linux bridge it needs
                libvirt 11.0.
            type: dict
            suboptions: *vlan
          bandwidth:
            description:
              - Limits of each NIC of the group. Declared whole, V({}) removes them.
              - libvirt needs the kernel's HTB, SFQ and police for it; a network does not start without.
            type: dict
            suboptions: *bandwidth
      masquerade:
        description: Translate to the host's address. Default is V(true) with I(model=nat), V(false) otherwise.
        type: bool
      nat_ipv6:
        description:
          - Whether libvirt translates IPv6, too; with I(firewall=libvirt) only. Default is V(true) for a network that
            gets its first IPv6 address; one that has IPv6 already is left alone.
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
            description:
              - V(static) routes on the peers, or V(bgp), by FRR between the peers and all KVM hosts of the play that have such
                networks.
            type: str
            choices: [none, static, bgp]
            default: none
          peers:
            description: Inventory names of the peers.
            type: list
            elements: str
      stretch:
        description:
          - One segment over several hosts, of the models C(isolated) and C(routed). The hosts are those in I(hosts), else all of
            the play; the roles net_isolated and net_routed find their addresses, and make the VXLAN device (module vxlan_iface).
          - A routed network's gateway has the same addresses and the same MAC address on all of its hosts.
          - DHCP is served by one of the hosts. The MTU is the underlay's without VXLAN's own 50 bytes (70 with IPv6), or less.
        type: dict
        suboptions:
          mode:
            description: The encapsulation.
            type: str
            choices: [none, vxlan]
            default: none
          vni:
            description: VXLAN network identifier, 1 to 16777215, of this network on all of its hosts and of no other.
            type: int
          control:
            description:
              - How the device gets its peers. V(static), from the list; with V(evpn) the hosts tell each other by FRR (RFC 8365),
                over IPv4, and which guest is where, so that what is for one guest goes to its host alone. The role
                route_exchange sees to FRR.
            type: str
            choices: [static, evpn]
            default: static
          local:
            description: This host's address on the underlay. The roles find it.
            type: str
          peers:
            description: Addresses of the other hosts on the underlay. The roles find them. Nobody else sends into the network.
            type: list
            elements: str
          serves:
            description: Whether this host is the one that serves DHCP. The roles say so.
            type: bool
          dhcp_host:
            description: Inventory name of the host that serves DHCP; read by the roles, which else take the first host.
            type: str
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
            description:
              - Drop frames of guests under foreign MACs and addresses, and what only a router or a DHCP server says.
              - MACs are held to the links of NICs that M(virtnet.kvm.guest_vm) or M(virtnet.kvm.guest_nic) wired.
            type: bool
            default: true
          port_isolation:
            description: Guests of this network do not reach each other.
            type: bool
            default: false
          log_drops:
            description:
              - Log what is dropped with the network's name, to the netlink group 64, at most 20 a second.
              - Read it with C(tcpdump -i nflog:64) or ulogd.
              - Of frames inside the network only those of NICs that M(virtnet.kvm.guest_vm) or M(virtnet.kvm.guest_nic) wired.
            type: bool
            default: false
          rate:
            description:
              - What a guest may send beyond its own segment in a second, its host included; more is dropped.
              - A guest is told by its MAC address. After a pause it may send as much at once.
              - For bytes in a second see I(bandwidth) of the network.
            type: dict
            suboptions:
              packets:
                description: Packets in a second, 1 to 10000000.
                type: int
              connections:
                description: New conversations in a second, 1 to 10000000; those that it is asked for from outside do not count.
                type: int
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
