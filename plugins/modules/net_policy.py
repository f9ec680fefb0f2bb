#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: net_policy
short_description: Hold virtual networks to the contract of their model
version_added: 1.0.0
description:
  - Filters the packets of virtual networks so that each keeps the contract of its model, who may open a conversation with
    whom, in IPv4 and IPv6 alike. Isolated guests reach nobody but each other (and the host's DHCP and DNS, where it serves
    them), NAT guests are closed to the outside but for their port forwards, and no guest speaks under an address that is
    not of its network, reserved for another guest, or the gateway's.
  - The host keeps what it was told in C(/etc/virtnet/networks.d). A run changes only the networks it is given; the rules are
    rendered from all of them, and replaced in one transaction, into three nftables tables of the collection's own,
    C(inet virtnet), C(bridge virtnet) and C(arp virtnet). Nobody else's rules are touched.
  - The rules name bridges by string and so may be there before the networks are. A unit loads them at boot, before libvirtd.
  - Rules that were changed by hand are seen, in check mode too, and mended.
  - Conversations that a change forbids are cut, where the command C(conntrack) is on the host; no others.
options:
  backend:
    description: What the rules are made for.
    type: str
    choices: [nftables]
    default: nftables
extends_documentation_fragment:
  - virtnet.kvm.network
  - virtnet.kvm.guard
  - virtnet.kvm.attributes.actiongroup_guarded
  - virtnet.kvm.attributes.actiongroup_kvm
attributes:
  check_mode:
    description: Can run in check mode and return what a real run would.
    support: full
  diff_mode:
    description: Returns the policy of the networks and the state of the rules before and after.
    support: full
notes:
  - A change is guarded by O(confirm) if it changes the rules for packets of the controller's way, that is, if this leads through
    a network's bridge, as it does to a controller that is a guest, or behind one; or through any bridge, if an address at its
    other end is one that a network has as its gateway or has reserved. Rules that are only taken away are not guarded.
    Conversations that such a change has cut do not come back with the rules.
  - With C(connection=local) nobody comes in anew, nor does a gateway's answer say anything of a filter. Then O(confirm) has no
    meaning here.
  - Run it before M(virtnet.kvm.virt_net_model), and with I(state=absent) after it; there is then no moment with a network up
    and its filter not there.
  - A drop of these rules is final. A packet that they let pass is still seen by the rules of others. Where firewalld, ufw,
    Docker, or a DROP policy or closing rule of iptables or nftables drops what the contract allows, exactly that is opened
    there, told in RV(foreign), and closed when no network needs it any more. Rules that name links or addresses are somebody's
    will and are left to have their effect.
  - Towards the host it opens DHCP, DNS and ICMP only; who else may reach the host, its own firewall goes on deciding.
  - Openings in tables of nftables and in iptables go when their owner loads these anew; the next run puts them back, and the unit
    does at boot. A firewall that came after the networks, was removed or reloaded is seen by the next run, in check mode too.
  - A zone of firewalld can only be made by a reload of firewalld, which loses what was not made permanent of other zones; a
    warning names these.
  - Options of a network that are not given (V(addresses), V(dhcp), V(routes)) stay as they were at the last run.
  - With I(policy.log_drops), drops go to netlink group 64; read them with C(tcpdump -ni nflog:64).
  - With I(policy.rate), each guest has as much as the others; what the kernel counts is kept in the rules' own sets, for at most
    65535 guests of a network.
  - With I(policy.anti_spoofing), NICs that M(virtnet.kvm.guest_vm) and M(virtnet.kvm.guest_nic) have wired are held to their
    own MAC address, bring no router advertisement or redirect unless I(routes) name the guest, and no DHCP answer where the
    host serves DHCP.
  - NICs that others wired, with links that libvirt calls C(vnet0), are held to two things, that they do not bear a MAC address
    of the former, and do not speak as the host by its link-local IPv6 addresses.
  - A guest that bears other MAC addresses (a bond, a bridge or virtual machines inside it, VRRP) needs a network without
    I(policy.anti_spoofing).
  - Guests of bridged networks are on the LAN, which is outside; nothing of theirs is filtered.
  - I(policy.allow_to) is refused where libvirt's own rules would drop the packets behind these, into a network with
    I(firewall=libvirt), and from or to an isolated network whose bridge is libvirt's.
  - Within one network, what one guest may do to another is limited to the gateway's and reserved addresses being kept.
requirements:
  - nft (nftables 1.0 or newer), unshare (util-linux)
  - ip (iproute2), to find the controller's way
  - conntrack, to cut conversations
seealso:
  - module: virtnet.kvm.nat_rule
  - module: virtnet.kvm.virt_net_model
author:
  - The virtnet.kvm authors (@virtnet)
"""

EXAMPLES = r"""
- name: Hold two networks to their contracts
  virtnet.kvm.net_policy:
    networks:
      - name: natnet
        model: nat
        bridge: natbr0
        addresses: [10.64.100.1/24, "fd00:64::1/64"]
        dhcp:
          reservations:
            - {name: vm0, mac: "52:54:00:00:00:01", address: 10.64.100.2}
        policy:
          allow_to:
            - {network: db, protocol: tcp, ports: ["5432"]}
      - name: db
        model: routed
        addresses: [10.64.102.1/24]
        policy:
          deny_host: true

- name: Close a network that the controller itself is a guest of, but for its own way in
  virtnet.kvm.net_policy:
    networks:
      - name: db
        model: routed
        addresses: [10.64.102.1/24]
        policy:
          deny_host: true
          host_access:
            - {protocol: tcp, ports: ["22"]}
    confirm_timeout: 30

- name: Take the policy of a network away, after the network itself
  virtnet.kvm.net_policy:
    networks:
      - name: natnet
        state: absent
"""

RETURN = r"""
networks:
  description: The policy of each declared network that has one, in normal form; the options that the filter uses.
  returned: success
  type: list
  elements: dict
  sample:
    - name: natnet
      model: nat
      bridge: natbr0
      addresses: [10.64.100.1/24]
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(policy), V(ruleset), or V(opening) in somebody else's firewall.
      type: str
    name:
      description: Name of the network, or of the firewall as in RV(foreign).
      type: str
    op:
      description: V(add), V(update), V(remove) or V(load).
      type: str
    effect:
      description: What running guests notice of it.
      type: str
    guests:
      description: The guests that notice.
      type: list
      elements: str
    outage_s:
      description: For how long at most, in seconds.
      type: float
    note:
      description: What had been changed by hand, if anything.
      type: str
  sample:
    - {kind: policy, name: natnet, op: add, effect: none, guests: [], outage_s: 0}
guard:
  description: The change of rules on the controller's own way to this host, which the host would have taken back without a word
    from it.
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
      description: The links of the controller's way that these rules are for.
      type: list
      elements: str
      returned: always
      sample: [natbr0]
    timeout_s:
      description: How many seconds there were.
      type: int
      returned: always
    why:
      description:
        - Why it was taken back. C(deadline), nobody came in in time; C(boot), the host was restarted; C(asked), by hand or by the
          controller, which had lost the connection; C(late), the timer was lost.
      type: str
      returned: when it was
backend:
  description: What the rules are made for.
  returned: success
  type: str
  sample: nftables
foreign:
  description: The firewalls of others on this host that would drop packets of its networks, and what is open in them for these.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: V(docker), V(firewalld), V(iptables), V(nftables) or V(ufw).
      type: str
    openings:
      description: What is there of ours, in the words of that firewall.
      type: list
      elements: str
  sample:
    - name: docker
      openings:
        - iptables -A DOCKER-USER -j VIRTNET_FORWARD
        - iptables -A VIRTNET_FORWARD -i natbr0 -j ACCEPT
rendered:
  description: The whole ruleset of the collection on this host, as nft reads it.
  returned: success
  type: str
rendered_iptables:
  description: Rules of translation that M(virtnet.kvm.nat_rule) gave iptables on this host, which follow the networks too.
  returned: when any set of rules has the backend iptables
  type: dict
  contains:
    ipv4:
      description: The rules of iptables.
      type: str
    ipv6:
      description: The rules of ip6tables.
      type: str
"""

from ansible_collections.virtnet.kvm.plugins.module_utils.argspec import network_options
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import run_module
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign.room import PassingPolicyRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.links import management
from ansible_collections.virtnet.kvm.plugins.module_utils.links.spec import GUARD
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard


def main():
    module = Module(
        argument_spec={
            "networks": {"type": "list", "elements": "dict", "required": True, "options": network_options()},
            "backend": {"type": "str", "choices": ["nftables"], "default": "nftables"},
            **GUARD,
        },
        supports_check_mode=True,
    )
    items, window_s = module.params["networks"], guard.window(module.params)
    run_module(module, lambda host: PassingPolicyRoom(host, items, window_s, lambda: management.look(host)))


if __name__ == "__main__":
    main()
