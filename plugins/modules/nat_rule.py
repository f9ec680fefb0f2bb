#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nat_rule
short_description: Translate addresses of virtual networks, outwards and by port forwards
version_added: 1.0.0
description:
  - Masquerading, source translation, port forwards with hairpin, addresses and prefixes that stand for guests in both
    directions, and exemptions, in IPv4 and IPv6, for whole sets of rules in one transaction.
  - Rules come from I(rules), which belong to the set I(set), and from I(networks), whose C(masquerade) and C(port_forwards)
    become rules of a set of their own for each network. A run changes only the sets it is given.
  - What stays in its subnet, multicast, broadcast, and what does not leave its bridge is never translated, but for rules with
    I(literal).
  - With nftables the rules are maps and sets, so ten thousand port forwards cost a packet no more than one. With iptables they
    are lines in chains of their own (C(VIRTNET_PRE), C(VIRTNET_OUT), C(VIRTNET_POST), C(VIRTNET_SHUT) of the table C(nat)),
    to which three jumps lead; nobody else's rules are touched.
  - A rule that would lead the controller's own next connection to a guest, such as a forward of port 22 on any address, is
    refused.
  - The host keeps what it was told in C(/etc/virtnet/rules.d); rules are loaded at boot before libvirtd. Rules that were
    changed by hand are seen, in check mode too, and mended.
options:
  rules:
    description: The rules of I(set).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the rule in its set.
        type: str
        required: true
      state:
        description: Whether the rule shall be there.
        type: str
        choices: [present, absent]
        default: present
      type:
        description:
          - C(masquerade), packets leave as the host, under the address of the link they leave by.
          - C(snat), packets leave under the address I(to.address), or one of that range.
          - C(dnat), a port forward.
          - C(one_to_one), the outside address I(listen.address) stands for the guest I(to) in both directions, with all
            protocols. The guest leaves under it, and what comes to it goes to the guest, who sees the caller's address.
          - C(npt), the outside subnet I(to.subnet) stands for I(source), or for the subnet of I(network), in both directions,
            each address for the one of the same place. IPv6 as RFC 6296 has it, but with connection tracking and without
            adjusting the addresses for checksums; in IPv4 it is what iptables calls NETMAP.
          - C(exempt), packets from I(source) or I(network) to I(destination) keep their source.
          - Needed unless I(state=absent).
        type: str
        choices: [masquerade, snat, dnat, one_to_one, npt, exempt]
      network:
        description:
          - A network, known by M(virtnet.kvm.net_policy) or given in I(networks). Its subnets are the source; with I(type=dnat)
            and I(type=one_to_one), its reservations say which address the guest I(to.guest) has.
        type: str
      source:
        description:
          - Subnet whose packets are translated, instead of I(network). With I(type=one_to_one), the subnet that the guest is in.
        type: str
      destination:
        description: With I(type=exempt), the subnet towards which nothing is translated.
        type: str
      interface:
        description: With I(type=masquerade) and I(type=snat), only what leaves by this link.
        type: str
      literal:
        description:
          - With I(type=masquerade), translate whatever comes from the source, as the bare C(iptables -t nat -A POSTROUTING
            -s 10.10.101.0/24 -j MASQUERADE) does. Multicast and broadcast are translated too, and where C(br_netfilter) is
            loaded also what guests of one bridge say to each other, who then see their gateway's address. The run warns.
        type: bool
        default: false
      protocol:
        description: With I(type=dnat), the protocol.
        type: str
        choices: [tcp, udp, both]
      listen:
        description: With I(type=dnat), where the host listens. With I(type=one_to_one), I(listen.address) alone.
        type: dict
        suboptions:
          address:
            description:
              - One of the host's addresses; if not given all but those inside virtual networks and those that stand for a guest.
              - With I(type=one_to_one), the outside address, of the host's or one that is routed to it.
            type: str
          interface:
            description: One of the host's links; all if not given. The host and its guests then do not reach the forward.
            type: str
          ports:
            description: A port, or a range as C(8000-8099).
            type: str
      to:
        description: With I(type=dnat) and I(type=one_to_one) the guest, with I(type=snat) and I(type=npt) the new source.
        type: dict
        suboptions:
          guest:
            description:
              - Name of the guest; its addresses are those reserved in I(network).
              - A lease will not do. It ends, and its address goes to another guest, to whom the outside would then be led.
                What the host keeps must stay true until the next run, and after a boot.
            type: str
          address:
            description:
              - The address. With I(type=snat) also a range as C(192.0.2.10-192.0.2.20), of which a guest keeps one.
            type: str
          subnet:
            description: With I(type=npt), the subnet that stands outside, of the same length as that inside.
            type: str
          ports:
            description: The guest's port or range; default is that of I(listen).
            type: str
      sources:
        description: With I(type=dnat), subnets that may use it; all if empty.
        type: list
        elements: str
      hairpin:
        description: With I(type=dnat), I(type=one_to_one) and I(type=npt), whether the host and its guests reach it too.
        type: bool
        default: true
  src:
    description:
      - A file on the controller with a list of rules, JSON or YAML, instead of I(rules). It is looked for as files of a role
        or play are, first in C(files), and may be encrypted with ansible-vault.
      - For thousands of rules, which take Ansible seconds as I(rules). It is read in check mode too. Templates in it are not
        evaluated.
      - The result speaks of sets then, not of each rule; with the option C(--diff) of ansible-playbook it still shows what
        differs.
    type: path
  set:
    description: The owner of I(rules); I(purge) reaches no further.
    type: str
    default: default
  purge:
    description: Remove the rules of I(set) that are not in I(rules), or in I(src).
    type: bool
    default: false
  networks:
    description:
      - Networks whose C(masquerade) and C(port_forwards) become rules, in the collection's data model. With C(state=absent) the
        rules of the network go. Those with C(firewall=libvirt) get none.
    required: false
  backend:
    description:
      - What the rules of the declared sets are made for. Each set keeps its own; a run with another moves the whole set, never
        without translation in between.
      - The filter of M(virtnet.kvm.net_policy) is nftables' in any case, and lets the forwards of both through.
    type: str
    choices: [nftables, iptables]
    default: nftables
extends_documentation_fragment:
  - virtnet.kvm.network
  - virtnet.kvm.attributes.actiongroup_kvm
attributes:
  check_mode:
    description: Can run in check mode and return what a real run would.
    support: full
  diff_mode:
    description: Returns the rules and the state of the ruleset before and after.
    support: full
notes:
  - Packets to a port forward's target are let through the filter of M(virtnet.kvm.net_policy) without further ado.
  - What comes in under I(type=one_to_one) and I(type=npt) is let through as well, all of it.
  - I(type=one_to_one) and I(type=npt) add no address to the host. The outside address or prefix must be the host's, be routed to
    it, or be answered for by it (proxy ARP, proxy NDP). An address of the host's that stands for a guest is the guest's from then
    on, SSH included. Do not take the one that the controller comes in by.
  - What would stand for the host's own address inside a network is left out with I(type=npt).
  - Who says more of a packet wins. Inwards these are a forward on an address, C(one_to_one), C(npt), a forward on no address, in
    this order; outwards C(exempt), C(one_to_one), C(npt), and last C(snat) and C(masquerade). Two rules that say the same are
    refused with both names, and so is an exception in a set of iptables from a rule in a set of nftables, which comes first.
  - A link or guest need not exist when its rule is made.
  - A forward on no address in particular leaves out those that the host has inside its virtual networks; guests ask for DNS
    there.
  - A guest that asks for a port forward which leads to itself gets no answer where C(br_netfilter) is on, as it is beside Docker.
    The bridge would have to send the frame back through the port it came from, and does not.
  - With I(backend=iptables), what one set exempts from translation is exempt in all sets, as with nftables.
requirements:
  - nft (nftables 1.0 or newer), unshare (util-linux)
  - iptables and ip6tables with I(backend=iptables), those of nftables or the legacy ones
  - conntrack, to cut conversations
seealso:
  - module: virtnet.kvm.net_policy
  - module: virtnet.kvm.ip_forward
author:
  - The virtnet.kvm authors (@virtnet)
"""

EXAMPLES = r"""
- name: Translate a network, and forward a port of the host to one of its guests
  virtnet.kvm.nat_rule:
    networks:
      - name: natnet
        model: nat
        addresses: [10.64.100.1/24]
        dhcp:
          reservations:
            - {name: vm0, mac: "52:54:00:00:00:01", address: 10.64.100.2}
        port_forwards:
          - name: web
            listen: {ports: "8080"}
            to: {guest: vm0, ports: "80"}

- name: Rules of one's own, and no others in this set
  virtnet.kvm.nat_rule:
    set: lab
    purge: true
    rules:
      - name: out
        type: masquerade
        source: 10.80.0.0/24
        interface: eth0
      - name: not to the office
        type: exempt
        source: 10.80.0.0/24
        destination: 10.1.0.0/16

- name: A public address for a guest alone, and a public prefix for all of its network's IPv6
  virtnet.kvm.nat_rule:
    set: public
    rules:
      - name: vm0
        type: one_to_one
        network: natnet
        listen: {address: 192.0.2.7}
        to: {guest: vm0}
      - name: prefix
        type: npt
        source: fd00:64::/64
        to: {subnet: "2001:db8:1::/64"}

- name: Thousands of port forwards, from files/forwards.json of the role or play
  virtnet.kvm.nat_rule:
    set: forwards
    src: forwards.json
    purge: true

- name: Many guests under a few addresses
  virtnet.kvm.nat_rule:
    set: pool
    rules:
      - name: out
        type: snat
        source: 10.80.0.0/16
        to: {address: 192.0.2.10-192.0.2.20}

- name: The article's rule for a routed network, to the letter, by iptables
  virtnet.kvm.nat_rule:
    set: article
    backend: iptables
    rules:
      - name: vms
        type: masquerade
        source: 10.10.101.0/24
        literal: true

- name: No translation for a network any longer
  virtnet.kvm.nat_rule:
    networks:
      - name: natnet
        state: absent
"""

RETURN = r"""
rules:
  description: The rules of the declared sets, in normal form. Set C(@NAME) is that of the network NAME.
  returned: without I(src)
  type: list
  elements: dict
  sample:
    - set: "@natnet"
      backend: nftables
      name: masquerade
      type: masquerade
      network: natnet
      bridge: natbr0
      sources: [10.64.100.0/24]
      interface:
sets:
  description: The declared sets. Set C(@NAME) is that of the network NAME.
  returned: with I(src)
  type: list
  elements: dict
  contains:
    set:
      description: Name of the set.
      type: str
    backend:
      description: What its rules are made for.
      type: str
    rules:
      description: How many rules it has.
      type: int
  sample:
    - {set: forwards, backend: nftables, rules: 10000}
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(rule) or V(ruleset); V(rules) is all of a set to which the same is done, with I(src), and if they are more than 50.
      type: str
    name:
      description: Set and name of the rule, of V(rules) that of the set.
      type: str
    op:
      description: V(add), V(update), V(remove) or V(load); with I(src) also V(move), of a set to another backend.
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
      description: What had been changed by hand, if anything. Of V(rules) how many are meant, and the first of them.
      type: str
  sample:
    - {kind: rule, name: "@natnet/masquerade", op: add, effect: none, guests: [], outage_s: 0}
backend:
  description: What the rules of the declared sets are made for.
  returned: success
  type: str
  sample: nftables
rendered:
  description: The whole ruleset of the collection on this host, as nft reads it; C(/etc/virtnet/virtnet.nft) has it too.
  returned: without I(src)
  type: str
rendered_iptables:
  description: All rules of translation of the collection that iptables has on this host, as iptables-restore reads them.
  returned: when any set has the backend iptables, without I(src)
  type: dict
  contains:
    ipv4:
      description: The rules of iptables.
      type: str
    ipv6:
      description: The rules of ip6tables.
      type: str
"""

from ansible_collections.virtnet.kvm.plugins.module_utils.argspec import network_options, rule_options
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import run_module
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.file_room import FileRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.translation_room import TranslationRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.links import management
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def main():
    module = Module(
        argument_spec={
            "rules": {"type": "list", "elements": "dict", "options": rule_options()},
            "src": {"type": "path"},
            "set": {"type": "str", "default": "default"},
            "purge": {"type": "bool", "default": False},
            "networks": {"type": "list", "elements": "dict", "options": network_options()},
            "backend": {"type": "str", "choices": ["nftables", "iptables"], "default": "nftables"},
        },
        required_one_of=[("rules", "src", "networks")],
        required_if=[("purge", True, ("rules", "src"), True)],
        mutually_exclusive=[("rules", "src")],
        supports_check_mode=True,
    )
    given = module.params
    of_networks = (given["networks"], given["purge"], given["backend"])
    kind, rules = (TranslationRoom, given["rules"]) if given["src"] is None else (FileRoom, given["src"])
    run_module(module, lambda host: kind(host, given["set"], rules, *of_networks, entrance=management.entrance))


if __name__ == "__main__":
    main()
