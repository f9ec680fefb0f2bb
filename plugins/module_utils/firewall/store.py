# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's own truth about policy and translation: one file a network, one file a set of rules.

A run changes only the entries it was given, and the ruleset is rendered from all of them, so no play erases another's.
"""

from __future__ import annotations

import json
import os

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries, iptables_text, ruleset, stored
from ansible_collections.virtnet.kvm.plugins.module_utils.host import ETC

NETWORKS = os.path.join(ETC, "networks.d")
RULES = os.path.join(ETC, "rules.d")
README = os.path.join(ETC, "README")
BACKENDS = ("nftables", "iptables")

README_TEXT = """\
This folder is written by the Ansible collection virtnet.kvm. It holds what this host was told about its virtual networks.

networks.d/NAME.json     policy of a network (module net_policy)
rules.d/SET.json         address translation (module nat_rule); @NAME.json belongs to the network NAME
openings.sh              what lets packets through tables of others that have no file for it, if there are any
ports.json               which MAC address is behind which link of a guest (modules guest_vm, guest_nic)
routes.d/LINK.json       routes on a link that others asked for (module host_iface)
vxlan.d/LINK, keep-vxlan a network's way to its other hosts (module vxlan_iface), kept by virtnet-vxlan.service
bgp.json                 this host's part in BGP (module frr_bgp)
virtnet.nft              the packet filter made of these, loaded at boot by virtnet-firewall.service
watch-firewall           run by that service: has it loaded again when somebody else's program flushes it
virtnet.iptables         translation of the sets that have the backend iptables, if any; virtnet.ip6tables for IPv6

In the kernel it is three tables, and nothing outside of them:
    nft list table inet virtnet
    nft list table bridge virtnet
    nft list table arp virtnet
With the backend iptables four chains of the table nat too, VIRTNET_*, and a jump to three of them:
    iptables-save -t nat; ip6tables-save -t nat

Which network, which guest, which rule: the comments in virtnet.nft name them. Dropped packets of networks with log_drops:
    tcpdump -ni nflog:64

To load it again:
    systemctl restart virtnet-firewall.service        (or: nft -f /etc/virtnet/virtnet.nft)

To switch it off until the next boot or run:
    systemctl stop virtnet-firewall.service
    nft delete table inet virtnet; nft delete table bridge virtnet; nft delete table arp virtnet
and if there are files of iptables, for iptables and ip6tables each:
    iptables -t nat -D PREROUTING -j VIRTNET_PRE; iptables -t nat -D OUTPUT -j VIRTNET_OUT
    iptables -t nat -D POSTROUTING -j VIRTNET_POST
    for chain in PRE OUT POST SHUT; do iptables -t nat -F VIRTNET_$chain; done
    for chain in PRE OUT POST SHUT; do iptables -t nat -X VIRTNET_$chain; done

Ways to other hosts, if there are any, by hand:
    systemctl disable --now virtnet-vxlan.service; rm /etc/systemd/system/virtnet-vxlan.service
    for file in /etc/virtnet/vxlan.d/*; do ip link delete "${file##*/}"; done
BGP: what is ours in FRR is called VIRTNET-..., and stands in /etc/frr/frr.conf between two lines with virtnet.kvm. Remove these
and all that is between them, and
    systemctl reload frr

To take all of it back by hand: switch it off, and
    systemctl disable --now virtnet-firewall.service
    rm -rf /etc/systemd/system/virtnet-firewall.service* /etc/virtnet; systemctl daemon-reload
Openings in other firewalls have our name: in rules of nft a comment, in iptables the chains VIRTNET_FORWARD and VIRTNET_INPUT,
in firewalld zones and policies virtnet-*, in ufw a block of before.rules and before6.rules. state: absent of module net_policy
takes all of that back.

Forwarding is in /etc/sysctl.d/60-virtnet.conf (module ip_forward). What it was before is in /var/lib/virtnet/baseline.json.
"""


class State:
    """What the store holds: C(networks) {name: entry}, C(rules) {set: {name: rule}}, plain values.

    C(backends) has the backend of each set of rules. C(ports) {(link, MAC): {C(guest), C(network)}} are guests' NICs.
    """

    def __init__(self, networks, rules, backends=None, ports=None):
        self.networks = networks
        self.rules = rules
        self.backends = {owner: (backends or {}).get(owner, BACKENDS[0]) for owner in rules}
        self.ports = ports or {}
        self._parsed = None

    def __eq__(self, other):
        return isinstance(other, State) and (self.networks, self.rules, self.backends, self.ports) == (
            other.networks, other.rules, other.backends, other.ports,
        )

    __hash__ = None  # entries are exchanged while a new state is made

    def copy(self):
        return State(dict(self.networks), {owner: dict(rules) for owner, rules in self.rules.items()}, self.backends, self.ports)

    def put_rules(self, owner, rules, backend):
        """Make C(rules) those of a set; none is no set."""
        if rules:
            self.rules[owner], self.backends[owner] = rules, backend
        else:
            self.rules.pop(owner, None)
            self.backends.pop(owner, None)

    @property
    def empty(self):
        return not self.networks and not self.rules and not self.ports

    def parsed(self):
        """Return the Networks, sorted by name; to be asked for when the entries are complete."""
        if self._parsed is None:
            self._parsed = [
                entries.stored_network(entry, os.path.join(NETWORKS, f"{name}.json"))
                for name, entry in sorted(self.networks.items())
            ]
        return self._parsed

    def flat_rules(self):
        """Return {(set, name): rule}, sorted."""
        return {(owner, name): rule for owner in sorted(self.rules) for name, rule in sorted(self.rules[owner].items())}

    def sets_of_iptables(self):
        """Return the names of the sets that iptables translates."""
        return {owner for owner, backend in self.backends.items() if backend == "iptables"}

    def transaction(self):
        """Return the ruleset of nft as text."""
        return ruleset.transaction(self.parsed(), self.flat_rules(), self.sets_of_iptables(), self.ports)

    def iptables(self):
        """Return {4: text, 6: text} of what iptables translates."""
        rules, owners = self.flat_rules(), self.sets_of_iptables()
        mine = {key: rule for key, rule in rules.items() if key[0] in owners}
        return {version: iptables_text.text(self.parsed(), rules, mine, version) if mine else "" for version in (4, 6)}


def _load_folder(folder):
    found = {}
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return found
    for file_name in names:
        if file_name.startswith(".") or not file_name.endswith(".json"):
            continue
        path = os.path.join(folder, file_name)
        found[file_name[: -len(".json")]] = stored.content(files.read(path) or "", path)
    return found


def paths():
    """Return the paths of all files of the store, those that are there and those that may be."""
    found = [README, stored.PORTS]
    for folder in (NETWORKS, RULES):
        if os.path.isdir(folder):
            found += [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    return found


def load():
    """Return the State on this host."""
    sets = _load_folder(RULES)
    return State(
        {name: content["network"] for name, content in _load_folder(NETWORKS).items()},
        {owner: {rule["name"]: rule for rule in content["rules"]} for owner, content in sets.items()},
        {owner: content["backend"] for owner, content in sets.items() if content.get("backend") in BACKENDS},
        stored.ports(),
    )


#: Made once, and without indent: that is the encoder written in C, which is five times as fast.
_encode = json.JSONEncoder(sort_keys=True).encode


def _dump(content):
    """Return a file's text; of rules, of which there may be thousands, each has one line."""
    lines = []
    for key, value in sorted({"made_by": stored.MARK, "version": 1, **content}.items()):
        if isinstance(value, list):
            text = "[\n    " + ",\n    ".join(map(_encode, value)) + "\n  ]"
        else:
            text = json.dumps(value, indent=2, sort_keys=True).replace("\n", "\n  ")
        lines.append(f'  "{key}": {text}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def save(before, after):
    """Write the entries that differ, each file whole or not at all."""
    if after.empty:
        _save_folder(NETWORKS, before.networks, {})
        _save_folder(RULES, before.rules, {})
        files.remove(stored.PORTS)
    else:
        if files.read(README) != README_TEXT:
            files.write(README, README_TEXT, mode=0o644)
        _save_folder(NETWORKS, *({name: {"network": entry} for name, entry in one.networks.items()} for one in (before, after)))
        _save_folder(RULES, _sets(before), _sets(after))
        if not after.ports:
            files.remove(stored.PORTS)
        elif before.ports != after.ports:
            rows = [{"link": link, "mac": mac, **port} for (link, mac), port in sorted(after.ports.items())]
            files.write(stored.PORTS, _dump({"ports": rows}))
    tidy(after)


#: They go when they are empty; those in others first.
FOLDERS = (NETWORKS, RULES, ETC)


def left():
    """Return whether there is anything that an empty store has no use for."""
    return any(os.path.exists(path) for path in (README, NETWORKS, RULES))


def tidy(state):
    """Remove the folders that are empty, and what nobody needs where C(state) is: a run may have been killed before that."""
    if state.empty:
        files.remove(README)
    for folder in (NETWORKS, RULES, ETC):
        files.remove_empty_folders(folder, ETC)


def written(before, after):
    """Return the paths of what save() may write or remove."""
    paths = [README, *([stored.PORTS] if before.ports != after.ports else [])]
    for folder, old, new in ((NETWORKS, before.networks, after.networks), (RULES, _sets(before), _sets(after))):
        paths += [os.path.join(folder, f"{name}.json") for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return paths


def _sets(state):
    return {
        owner: {"backend": state.backends[owner], "rules": [named[name] for name in sorted(named)]}
        for owner, named in state.rules.items()
    }


def _save_folder(folder, before, after):
    files.remove_all(os.path.join(folder, f"{name}.json") for name in before if name not in after)
    files.write_all(
        {os.path.join(folder, f"{name}.json"): _dump(content) for name, content in after.items() if before.get(name) != content}
    )
