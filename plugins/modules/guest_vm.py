#!/usr/bin/python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_vm
short_description: Converge the guests of a KVM host
version_added: 1.0.0
description:
  - Defines, changes, starts, stops and removes guests, any number of them in one call. They start side by side, and
    are waited for side by side.
  - A guest is made from a qcow2 template of the host (an overlay and cloud-init), or it is the tiny built-in one,
    which is made on the host from the kernel, busybox, QEMU guest agent, dropbear and Python of its own packages.
  - The NICs of a guest name libvirt networks and nothing else.
  - The built-in guest has no disk and starts in about 4 seconds without KVM. It has an SSH server that takes
    O(authorized_keys) only, a root shell on its serial console (C(virsh console)), and a small Python for probes.
    It sets static addresses and those of DHCP, and takes IPv6 addresses from router advertisements.
  - A guest uses KVM only where a guest truly starts with it, which is tried once each time the host has started.
  - A guest is ours if its libvirt metadata carries our mark. A domain of the same name that is not ours is refused.
  - A guest that shall run starts with its host (libvirt's autostart), one that shall not does not.
options:
  guests:
    description: The guests, in the collection's data model.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the guest, in libvirt and, as far as a host name can hold it, in the guest.
        type: str
        required: true
      host:
        description: The host that it is for. An item for another host than O(inventory_host) is passed over.
        type: str
      image:
        description:
          - V(builtin), or the path of a qcow2 file on the host.
          - The file is the backing file of the guest's own disk, so it must stay as it is.
          - If all users may read it, its owner stays as it is, and no guest's QEMU can write it. Else libvirt gives it to
            QEMU's user, for good.
          - A template needs cloud-init; and the QEMU guest agent, unless O(wait=none).
        type: str
        default: builtin
      memory_mb:
        description:
          - Memory in MiB, at least 96 for the built-in guest.
          - 96 do for Linux 6.1. With Linux 6.12 they leave too little to run probes. A template wants more, a Debian
            with cloud-init 512.
        type: int
        default: 128
      vcpus:
        description: Number of processors.
        type: int
        default: 1
      state:
        description:
          - V(running), defined, running, and started with the host. V(stopped), defined only.
          - V(absent), nothing of it is left, its disk neither.
        type: str
        choices: [running, stopped, absent]
        default: running
      user_data:
        description:
          - What cloud-init is to do, as its text or as a dictionary (then it is C(#cloud-config)). Templates only.
          - It is kept in a file that only root and QEMU can read, and is neither logged nor returned.
          - Another text is another instance to cloud-init, which then does it all anew at the guest's next start.
        type: raw
      nics:
        description: The NICs, in their order.
        type: list
        elements: dict
        default: []
        suboptions:
          network:
            description: Name of the libvirt network.
            type: str
            required: true
          mac:
            description: MAC address. By default a stable one, made from O(inventory_host), the guest and the NIC's number.
            type: str
          dev:
            description: Name of the NIC's link on the host. By default a stable one, made from the guest and the NIC's number.
            type: str
          addresses:
            description:
              - V(dhcp), addresses with their prefix length, or both. By default V(dhcp).
              - An empty list means none, but for what router advertisements bring.
            type: list
            elements: str
          gateway:
            description:
              - Default gateway, one of each family at most, of static addresses.
              - It is the resolver too.
              - With an IPv6 gateway and without V(dhcp), a template's guest takes nothing from router advertisements.
            type: list
            elements: str
          link:
            description: Whether the cable is in.
            type: str
            choices: [up, down]
            default: up
  inventory_host:
    description: Name of the host, from which MAC addresses are made. By default what C(uname -n) says.
    type: str
  authorized_keys:
    description:
      - Lines of an C(authorized_keys) file, for root in the built-in guest and for the default user of a template.
      - By default a guest keeps the keys that it has, a new one has none.
    type: list
    elements: str
  accelerator:
    description:
      - V(auto), KVM if a guest starts with it, else V(tcg), which is QEMU's own translation.
      - V(kvm) and V(tcg) are taken as they are.
    type: str
    choices: [auto, kvm, tcg]
    default: auto
  restart:
    description:
      - Whether a running guest may be restarted for a change that needs it. Without it the change is stored, told of
        by a warning and in RV(guests[].pending), and comes with the guest's next start.
      - Another network or cable of a NIC needs no restart.
    type: bool
    default: false
  wait:
    description:
      - What each running guest must have before the module returns. V(address), every address that was declared, and
        with C(dhcp) one more than a link-local one. V(agent), an answering guest agent.
      - A guest from a template has its addresses before cloud-init is through with O(guests[].user_data). In the guest,
        C(cloud-init status --wait) waits for that.
    type: str
    choices: [address, agent, none]
    default: address
  wait_timeout:
    description:
      - For how many seconds at most, for all guests together.
      - A Debian with cloud-init and without KVM needs about 40 seconds of a processor of its own to its addresses, and
        several on few processors share them. Give templates V(600) where there is no KVM.
      - A dozen built-in guests that boot without KVM on two processors, beside other work, took more than V(120).
    type: int
    default: 300
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
attributes:
  check_mode:
    description: Can run in check_mode and predicts the result without modifying the host.
    support: full
    details:
      - Where KVM was not tried since the host has started, it is tried, which takes up to 5 seconds and leaves nothing.
      - A missing network, template or package is warned of, since a task before this one may bring it.
  diff_mode:
    description: Returns details on what has changed, in the normal form of RV(guests).
    support: full
requirements:
  - python3-libvirt
  - python3-lxml
  - QEMU for x86_64
  - "built-in guest: a kernel in /boot, busybox, qemu-guest-agent, dropbear"
  - "templates: qemu-img; genisoimage, xorriso or mkisofs"
seealso:
  - module: virtnet.kvm.virt_net_model
  - module: virtnet.kvm.guest_probe
author:
  - The virtnet.kvm authors (@virtnet)
extends_documentation_fragment:
  - virtnet.kvm.attributes.actiongroup_libvirt
  - virtnet.kvm.attributes.actiongroup_kvm
"""

EXAMPLES = r"""
- name: Two tiny guests on a NAT network
  virtnet.kvm.guest_vm:
    inventory_host: "{{ inventory_hostname }}"
    guests:
      - name: vm0
        nics:
          - network: natnet
            mac: "52:54:00:00:00:01"
      - name: vm1
        nics:
          - network: natnet
            addresses: [10.64.100.3/24, "fd00:64::3/64"]
            gateway: [10.64.100.1]

- name: A guest from a template, with a package and a key
  virtnet.kvm.guest_vm:
    guests:
      - name: web
        image: /var/lib/libvirt/images/debian-13.qcow2
        memory_mb: 1024
        vcpus: 2
        user_data:
          packages: [nginx]
        nics:
          - network: dmz
    authorized_keys:
      - "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
    wait_timeout: 600

- name: Pull the cable of one guest while it runs
  virtnet.kvm.guest_vm:
    guests:
      - name: vm0
        nics:
          - network: natnet
            mac: "52:54:00:00:00:01"
            link: down

- name: Remove them, with their disks
  virtnet.kvm.guest_vm:
    guests:
      - name: vm0
        state: absent
      - name: web
        state: absent
"""

RETURN = r"""
guests:
  description: The guests that are there, in normal form; in check mode those that would be there.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Name of the guest.
      type: str
      returned: always
    state:
      description: Whether it is running or stopped.
      type: str
      returned: always
    autostart:
      description: Whether it starts with the host.
      type: bool
      returned: always
    image:
      description: V(builtin) or the template's path; V(builtin, gone) if its image is no longer there.
      type: str
      returned: always
    accelerator:
      description: V(kvm) or V(tcg).
      type: str
      returned: always
    memory_mb:
      description: Memory in MiB.
      type: int
      returned: always
    vcpus:
      description: Number of processors.
      type: int
      returned: always
    hostname:
      description: The guest's own name.
      type: str
      returned: always
    authorized_keys:
      description: The keys that may log in.
      type: list
      elements: str
      returned: always
    seed:
      description: Digest of what cloud-init is told; empty for the built-in guest.
      type: str
      returned: always
    nics:
      description: The NICs as declared, with the MAC addresses and link names they were given.
      type: list
      elements: dict
      returned: always
      contains:
        network:
          description: Name of the libvirt network.
          type: str
          returned: always
        mac:
          description: MAC address.
          type: str
          returned: always
        dev:
          description: Name of the link on the host.
          type: str
          returned: always
        link:
          description: V(up) or V(down).
          type: str
          returned: always
        addresses:
          description: Static addresses, and V(dhcp).
          type: list
          elements: str
          returned: always
        gateway:
          description: Static gateways.
          type: list
          elements: str
          returned: always
    pending:
      description: What will be as declared only after the guest's next start.
      type: list
      elements: str
      returned: always
    bound:
      description:
        - The links that are held to the MAC address of the guest's NIC, where the network has I(policy.anti_spoofing).
        - A guest that runs and waits for a restart has those of both its old and its new NICs.
      type: list
      elements: dict
      returned: always
      contains:
        dev:
          description: Name of the link on the host.
          type: str
          returned: always
        mac:
          description: MAC address of the NIC.
          type: str
          returned: always
        network:
          description: Name of the libvirt network.
          type: str
          returned: always
    interfaces:
      description: The links that the guest itself reports, with O(wait) other than V(none), not in check mode.
      type: list
      elements: dict
      returned: always
      contains:
        name:
          description: Name of the link in the guest.
          type: str
          returned: always
        mac:
          description: MAC address.
          type: str
          returned: always
        addresses:
          description: Its addresses with their prefix length.
          type: list
          elements: str
          returned: always
accelerator:
  description: How guests run on this host, V(kvm) or V(tcg).
  type: str
  returned: unless all guests are absent
accelerator_reason:
  description: Why.
  type: str
  returned: unless all guests are absent
  sample: a guest with KVM did not come up within 4 s
unmet:
  description: In check mode, what must be there first and may come from a task before. A real run ends with the first of them.
  returned: in check mode, when there is any
  type: list
  elements: str
  sample:
    - "guests[0].nics[0].network: vm0: the host has no libvirt network lan. Declare it with virtnet.kvm.virt_net_model first."
actions:
  description: The plan, in its order.
  type: list
  elements: dict
  returned: always
  contains:
    kind:
      description: Kind of object, guest or image.
      type: str
      returned: always
    name:
      description: Name of the object.
      type: str
      returned: always
    op:
      description: One of build, bind, disk, seed, define, update_nic, stop, start, autostart, destroy, undefine, remove, unbind.
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
      description: What is changed, where there is something to add.
      type: str
      returned: when there is something to add
"""

import os

from ansible_collections.virtnet.kvm.plugins.module_utils import argspec, deps, engine
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import ports
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import spec
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.client import Domains
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.room import GuestRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.module import Module

#: What Ansible itself puts there.
HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class GuestModule(Module):
    """A module, which keeps the guests out of the host's log: no_log does not hide a text of several lines there,
    nor one in which another hidden value occurs.
    """

    def log(self, msg, log_args=None):
        if log_args and "guests" in log_args:  # it tells of its parameters
            log_args = {**log_args, "guests": HIDDEN}
            msg = "Invoked with " + " ".join(f"{name}={value}" for name, value in log_args.items())
        super().log(msg, log_args)


def take_user_data(module):
    """Return the guests as they were declared, and leave nothing of their user data in the parameters.

    With no_log, Ansible blots out each of its strings and numbers wherever they occur in a result, and in user data these
    are words like C(1), C(eth0) or C(debian): nothing legible would be left. No result of this module holds user data, but
    for the parameters that Ansible adds to it.
    """
    items = [dict(item) for item in module.params["guests"]]
    for item in module.params["guests"]:
        if item["user_data"] is not None:
            item["user_data"] = HIDDEN
    module.no_log_values.clear()
    return items


def main():
    module = GuestModule(
        argument_spec={
            "guests": {"type": "list", "elements": "dict", "required": True, "options": argspec.guest_options()},
            "inventory_host": {"type": "str"},
            # Public keys are no secret.
            "authorized_keys": {"type": "list", "elements": "str", "no_log": False},
            "accelerator": {"type": "str", "choices": ["auto", "kvm", "tcg"], "default": "auto"},
            "restart": {"type": "bool", "default": False},
            "wait": {"type": "str", "choices": ["address", "agent", "none"], "default": "address"},
            "wait_timeout": {"type": "int", "default": 300},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    deps.require(module, "libvirt", "libvirt_qemu", "lxml")
    params = module.params
    declared = take_user_data(module)
    # QEMU runs as another user and must get at what is made here; what it must not get at has its own mode.
    os.umask(0o022)

    def build(host):
        # The declaration is checked before a daemon is asked for anything.
        name = params["inventory_host"] or os.uname().nodename
        items = [item for item in declared if item["host"] in (None, name)]
        guests = spec.parse_guests(items, name, params["authorized_keys"])
        return GuestRoom(
            guests,
            Domains(params["uri"]),
            host,
            params["accelerator"],
            params["restart"],
            params["wait"],
            params["wait_timeout"],
            ports.of_daemon(host, params["uri"]),
        )

    engine.run_module(module, build)


if __name__ == "__main__":
    main()
