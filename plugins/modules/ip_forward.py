#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ip_forward
short_description: Forward IPv4 and IPv6 packets, now and after a boot
version_added: 1.0.0
description:
  - Sets C(net.ipv4.ip_forward) and C(net.ipv6.conf.all.forwarding) in the running kernel and in
    C(/etc/sysctl.d/60-virtnet.conf).
  - A host that has IPv6 routes or addresses from router advertisements handled by the kernel would lose them as a router, and
    libvirt would refuse to start IPv6 networks. Such links get C(accept_ra=2). Where systemd-networkd or NetworkManager handle
    advertisements (C(accept_ra=0)), nothing is needed and nothing is touched.
  - What was there before is remembered on the host; I(state=absent) brings it back, unless another network of the collection,
    an active network of libvirt's, or Docker needs forwarding. A warning then says who.
options:
  ipv4:
    description: Whether IPv4 is forwarded. Left alone if not given.
    type: bool
  ipv6:
    description: Whether IPv6 is forwarded. Left alone if not given.
    type: bool
  interfaces:
    description:
      - Forward only what comes in on these links; a way there and back needs both of its links. Nothing is said then of all
        others. Without it, all links.
      - For IPv6 the kernel must be Linux 6.17 or newer (C(force_forwarding)). The host stays no router then for those who
        send it advertisements.
    type: list
    elements: str
  state:
    description:
      - V(present), as I(ipv4) and I(ipv6) say.
      - V(absent), as it was before the collection touched it; of those that are V(true), of both if none is.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Can run in check mode and return what a real run would.
    support: full
  diff_mode:
    description: Returns forwarding before and after.
    support: full
notes:
  - Run it before the networks. libvirt switches forwarding on by itself when it starts a network, and never off.
  - Writing the sysctl of all links sets it on every link, also on those named in O(interfaces) before; C(force_forwarding) goes
    when C(net.ipv6.conf.all.forwarding) is set to 0. The next run with O(interfaces) sets them again.
  - A file of C(/etc/sysctl.d) that is read later and says otherwise is reported as a warning.
seealso:
  - module: virtnet.kvm.nat_rule
author:
  - The virtnet.kvm authors (@virtnet)
extends_documentation_fragment:
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: Forward both IP versions
  virtnet.kvm.ip_forward:
    ipv4: true
    ipv6: true

- name: Forward between two links only
  virtnet.kvm.ip_forward:
    ipv4: true
    interfaces: [eth1, eth2]

- name: Back to what it was
  virtnet.kvm.ip_forward:
    state: absent
"""

RETURN = r"""
forwarding:
  description: Forwarding of the IP versions that were asked for.
  returned: success
  type: list
  elements: dict
  contains:
    family:
      description: V(ipv4) or V(ipv6).
      type: str
    interface:
      description: The link, null for all of them.
      type: str
    running:
      description: Whether the kernel forwards now.
      type: bool
    persistent:
      description: What C(/etc/sysctl.d/60-virtnet.conf) says; null if nothing.
      type: bool
    accept_ra:
      description: With V(ipv6), the links whose advertised routes are kept, C(accept_ra) now, and whether it is so after a boot.
      type: dict
  sample:
    - {family: ipv4, interface: null, running: true, persistent: true}
    - {family: ipv6, interface: null, running: true, persistent: true, accept_ra: {eth0: {running: 2, persistent: true}}}
unmet:
  description: In check mode, what must be there first and may come from a task before. A real run ends with the first of them.
  returned: in check mode, when there is any
  type: list
  elements: str
  sample:
    - "interfaces[0]: eth1: there is no link of that name. See ip link."
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Always V(forwarding).
      type: str
    name:
      description: V(ipv4) or V(ipv6), with I(interfaces) the link after it.
      type: str
    op:
      description: V(enable), V(disable) or V(restore).
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
  sample:
    - {kind: forwarding, name: ipv4, op: enable, effect: live, guests: [], outage_s: 0}
"""

from ansible_collections.virtnet.kvm.plugins.module_utils import values
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import run_module
from ansible_collections.virtnet.kvm.plugins.module_utils.links.forwarding import ForwardingRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module


def main():
    module = Module(
        argument_spec={
            "ipv4": {"type": "bool"},
            "ipv6": {"type": "bool"},
            "interfaces": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    given = module.params
    if given["state"] == "present" and given["ipv4"] is None and given["ipv6"] is None:
        module.fail_json(msg="Neither ipv4 nor ipv6 is given. Say which of them is to be forwarded.")
    absent, links = given["state"] == "absent", given["interfaces"]

    def build(host):
        for index, link in enumerate(links or ()):
            values.link_name(link, f"interfaces[{index}]", link)
        return ForwardingRoom(host, given["ipv4"], given["ipv6"], absent, links)

    run_module(module, build)


if __name__ == "__main__":
    main()
