# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: The guests of KVM hosts as hosts of the inventory
version_added: 1.0.0
author: The virtnet.kvm authors (@virtnet)
description:
  - Asks KVM hosts which guests they have, and makes them hosts of the inventory, with their addresses and with the way to them
    through their KVM host, so that the next play can configure them.
  - The KVM hosts are those of the inventory that was read before, reached as a play would reach them, by the same variables, or
    those in O(targets).
  - The file's name ends with C(.virtnet.yml) or C(.virtnet.yaml). It has to be read after the inventory that has the KVM hosts.
    Sources are read in the order of the command line, the files of a folder in the order of their names.
notes:
  - Guests are strangers. Of what they say about themselves only addresses are taken, and of these none that is their host's,
    another guest's, or outside of their network's subnets. On a bridged network, whose subnets nobody knows for sure, a guest
    may still name the address of a machine of that LAN. Take V(agent) and V(neighbours) out of O(address_sources) where guests
    are not trusted that far.
  - An isolated network keeps its host out, too. Its guests are listed, and cannot be reached, unless they have another NIC.
  - A password for SSH to a KVM host is of no use for the way through it, and the passwords that Ansible asks for on the command
    line are not known to inventory plugins. Use keys.
requirements:
  - python3-libvirt on the KVM hosts; nothing on the controller.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [virtnet.kvm.guests]
  hosts:
    description:
      - The KVM hosts to ask, as names of hosts or groups of the inventory that was read before. C(*) and C(?) stand for more than
        one.
      - Default is C([kvm_hosts]), or nobody if there are O(targets).
    type: list
    elements: str
  targets:
    description:
      - KVM hosts that no inventory has. Each has a name, and variables with which Ansible reaches it, such as C(ansible_host).
      - They are asked, and do not become hosts of the inventory.
    type: dict
    default: {}
  become:
    description: Whether to become root on the KVM hosts. Default is what C(ansible_become) says of each, or else no.
    type: bool
  python:
    description: The Python of the KVM hosts that has libvirt's bindings, which is the distribution's own.
    type: str
    default: /usr/bin/python3
  uri:
    description: URI of the libvirt daemon on the KVM hosts.
    type: str
    default: qemu:///system
  timeout:
    description: How long a KVM host may take to answer, in seconds.
    type: int
    default: 30
  stopped:
    description: Whether guests that do not run are listed, too.
    type: bool
    default: false
  hostnames:
    description:
      - What guests are called. V(full) is C(guest.host), such as C(vm0.kvm1). V(short) is the guest's name alone, which then must
        be there once.
    type: str
    choices: [full, short]
    default: full
  networks:
    description:
      - Names of networks by which guests are asked, the most wanted first. Others come after them, those whose guests their host
        reaches first.
    type: list
    elements: str
    default: []
  families:
    description: The IP versions by which guests are asked, the most wanted first.
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4, ipv6]
  address_sources:
    description:
      - Whom to believe what addresses a guest has. V(reservation) is its network's DHCP reservation, V(lease) the DHCP server,
        V(agent) the QEMU guest agent in it, V(neighbours) the ARP table of its KVM host. The first that knows one counts, in this
        order.
    type: list
    elements: str
    choices: [reservation, lease, agent, neighbours]
    default: [reservation, lease, agent]
  jump:
    description:
      - Whether SSH goes to guests through their KVM host. Else the controller has to reach their addresses itself.
      - Guests that hang on their LAN by macvtap are not asked through their host, which does not reach them.
    type: bool
    default: true
  direct:
    description: Names of networks whose guests the controller reaches itself, whatever O(jump) says.
    type: list
    elements: str
    default: []
  ssh_args:
    description: More arguments for SSH to the guests, such as C(-o StrictHostKeyChecking=accept-new).
    type: str
    default: ''
  group:
    description:
      - The group of all guests. Beside it there are groups for each network, model and KVM host, such as
        C(virtnet_network_natnet), C(virtnet_model_nat) and C(virtnet_host_kvm1).
    type: str
    default: virtnet_guests
  strict:
    description:
      - Whether it is an error if a KVM host does not answer, or an expression in O(compose), O(groups) or O(keyed_groups) fails.
        Else it is a warning, and the guests of that host are not there.
    type: bool
    default: false
"""

EXAMPLES = r"""
# lab.virtnet.yml, in the folder of the inventory that has the group kvm_hosts. By hand:
#   ansible-inventory -i hosts.yml -i lab.virtnet.yml --graph
# The first line is all that it takes.
plugin: virtnet.kvm.guests
hosts: [room_a]
networks: [management]
ssh_args: -o StrictHostKeyChecking=accept-new
compose:
  ansible_user: "'root'"
keyed_groups:
  - key: virtnet_state
    prefix: state
groups:
  web: virtnet_guest is match('web')

# Without another inventory, and with a cache of ten minutes:
#   plugin: virtnet.kvm.guests
#   targets:
#     kvm1: {ansible_host: 192.0.2.11, ansible_user: admin, ansible_become: true}
#   cache: true
#   cache_plugin: ansible.builtin.jsonfile
#   cache_connection: /var/tmp/virtnet-guests
#   cache_timeout: 600
"""

import fnmatch
import hashlib
import inspect
import shlex

from ansible import constants
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.helpers import get_group_vars
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.plugin_utils import guest_lister, guest_reply
from ansible_collections.virtnet.kvm.plugins.plugin_utils.host_shell import HostShell, in_parallel, through
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain

#: What an SSH login may take beyond what the host is given for its answer, in seconds.
LOGIN_S = 30


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Guests as hosts."""

    NAME = "virtnet.kvm.guests"

    def __init__(self):
        super().__init__()
        #: Names of the KVM hosts, which no guest may have.
        self.asked = frozenset()

    def verify_file(self, path):
        return super().verify_file(path) and path.endswith((".virtnet.yml", ".virtnet.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        hosts = self._kvm_hosts()
        self.asked = frozenset(hosts)
        shells = self._shells(hosts)
        answers = self._answers(shells, self.get_cache_key(path), cache)
        self.inventory.add_group(self.get_option("group"))
        seen = {}
        for host, answer in sorted(answers.items()):
            try:
                guests, warnings = guest_reply.parse(answer, self.get_option("address_sources"))
            except VirtnetError as error:
                self._lacks(host, error)
                continue
            for text in warnings:
                self.display.warning(f"virtnet.kvm.guests: {host}: {text}")
            for guest in guests:
                if guest["active"] or self.get_option("stopped"):
                    self._add(guest, host, shells[host], seen)

    # -- the KVM hosts ----------------------------------------------------------------------------------------------

    def _kvm_hosts(self):
        """Return {name: variables} of the KVM hosts to ask."""
        targets = plain(self.get_option("targets"))
        wrong = [name for name, variables in targets.items() if not isinstance(variables or {}, dict)]
        if wrong:
            raise AnsibleParserError(
                f"virtnet.kvm.guests: targets: {wrong[0]} is no set of variables. Write {wrong[0]}: {{ansible_host: 192.0.2.11}}"
            )
        found = {name: combine_vars(variables or {}, self._vars) for name, variables in targets.items()}
        patterns = self.get_option("hosts")
        for pattern in ([] if targets else ["kvm_hosts"]) if patterns is None else patterns:
            groups = fnmatch.filter(self.inventory.groups, pattern)
            names = [host.name for group in groups for host in self.inventory.groups[group].get_hosts()]
            names += fnmatch.filter(self.inventory.hosts, pattern)
            if not groups and not names:
                raise AnsibleParserError(
                    f"virtnet.kvm.guests: hosts: the inventory has no host or group {pattern}. This file is to be read after the "
                    "one that has the KVM hosts: name that one first, ansible-inventory -i hosts.yml -i lab.virtnet.yml, or in a "
                    "folder give this one a name that comes later."
                )
            found.update({name: self._variables(self.inventory.hosts[name]) for name in names})
        return found

    def _variables(self, host):
        """Return the variables of a host of the inventory, those in host_vars and group_vars as well."""
        sources = getattr(self.inventory, "processed_sources", [])
        groups = host.get_groups()
        found = get_group_vars(groups)
        for entities, more in ((groups, {}), ([host], host.get_vars())):
            found = combine_vars(found, more)
            found = combine_vars(found, get_vars_from_inventory_sources(self.loader, sources, entities, "all"))
        return combine_vars(found, self._vars)

    def _shells(self, hosts):
        shells = {}
        for name, variables in hosts.items():
            try:
                shells[name] = HostShell(name, variables, self.templar, self.get_option("become"))
            except AnsibleError as error:
                self._lacks(name, error)
        return shells

    def _answers(self, shells, key, cache):
        """Return {host: its answer}, from the cache as far as that has them."""
        kept = {}
        if self.get_option("cache") and cache:
            try:
                kept = {name: text for name, text in self._cache[key].items() if name in shells}
            except KeyError:
                kept = {}
        script = inspect.getsource(guest_lister).encode()
        sources, seconds = self.get_option("address_sources"), self.get_option("timeout")
        command = [self.get_option("python"), "-", self.get_option("uri"), str(seconds), ",".join(sources)]

        def ask(shell):
            return lambda: shell.run(command, script)

        calls = {name: ask(shell) for name, shell in shells.items() if name not in kept}
        for name, result in in_parallel(calls, constants.DEFAULT_FORKS, seconds + LOGIN_S).items():
            if isinstance(result, Exception):
                self._lacks(name, result)
                continue
            rc, out, err = result
            if rc != 0 and guest_lister.MARK not in out:
                last = (err.strip() or out.strip() or f"{command[0]} ended with {rc}").splitlines()[-1]
                self._lacks(name, last if rc >= 0 else f"it did not answer within {seconds} s")
                continue
            kept[name] = out
        if self.get_option("cache"):
            self._cache[key] = kept
        return kept

    def _lacks(self, host, error):
        """Tell that the guests of a host are not there."""
        text = f"virtnet.kvm.guests: the guests of {host} are not in the inventory: {error}"
        if self.get_option("strict"):
            raise AnsibleParserError(text)
        self.display.warning(text)

    # -- the guests -------------------------------------------------------------------------------------------------

    def _add(self, guest, host, shell, seen):
        name = guest["name"] if self.get_option("hostnames") == "short" else f"{guest['name']}.{host}"
        if name in seen:
            raise AnsibleParserError(
                f"virtnet.kvm.guests: {host} and {seen[name]} both have a guest {name}. Use hostnames: full, or ask fewer hosts."
            )
        if name in self.inventory.groups or name in self.asked:
            self.display.warning(f"virtnet.kvm.guests: {host}: the guest {name} has the name of a group or a KVM host; left out")
            return
        seen[name] = host
        self.inventory.add_host(name, group=self.get_option("group"))
        for key, value in self._facts(guest, host, name, shell).items():
            self.inventory.set_variable(name, key, value)
        groups = [f"virtnet_host_{host}", *(f"virtnet_network_{nic['network']}" for nic in guest["nics"] if nic["network"])]
        groups += [f"virtnet_model_{nic['model']}" for nic in guest["nics"] if nic["model"]]
        for group in dict.fromkeys(groups):
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), self._known(name), name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), self._known(name), name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), self._known(name), name, strict=strict)

    def _known(self, name):
        return combine_vars(get_group_vars(self.inventory.hosts[name].get_groups()), self.inventory.hosts[name].get_vars())

    def _facts(self, guest, host, name, shell):
        """Return the variables of a guest."""
        nic, address = guest_reply.best(guest, self.get_option("networks"), self.get_option("families"))
        arguments = []
        if nic and self.get_option("jump") and not nic["macvtap"] and nic["network"] not in self.get_option("direct"):
            jump = shell.jump()
            arguments += through(jump) if jump else []
        # Guests of two hosts may have the same address: neither the host key nor the connection of one is the other's.
        arguments += ["-o", f"HostKeyAlias={name}"]
        identity = hashlib.sha256(f"{host}\0{name}\0{address}".encode()).hexdigest()[:10]
        return {
            # What has no address is nobody; else SSH would ask the DNS for a machine of that name.
            "ansible_host": address or f"{name}.invalid",
            # What all hosts have in common may be said of KVM hosts alone.
            "ansible_connection": "ssh",
            "ansible_ssh_common_args": f"{shlex.join(arguments)} {self.get_option('ssh_args')}".strip(),
            "ansible_control_path": f"%(directory)s/virtnet-{identity}",
            "virtnet_guest": wrap_var(guest["name"]),
            "virtnet_uuid": wrap_var(guest["uuid"]),
            "virtnet_host": host,
            "virtnet_state": "running" if guest["active"] else "stopped",
            "virtnet_owned": guest["owned"],
            "virtnet_nics": wrap_var(guest["nics"]),
            "virtnet_addresses": wrap_var([one for each in guest["nics"] for one in each["addresses"]]),
        }
