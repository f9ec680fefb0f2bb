# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""net_policy: entries of networks in the store, and what of them may cut the controller off."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import model_checks, models
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import entries, way
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.room import SHARED, FirewallRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard


class PolicyRoom(FirewallRoom):
    """net_policy: entries of networks."""

    key = "networks"
    kind = "policy"

    def __init__(self, host, items, window_s=0, look=None):
        """The declared networks.

        :param window_s: seconds that the controller has to come in anew after a change of its way to this host; 0 for no such
            switch.
        :param look: returns that way, as management.look() does.
        """
        super().__init__(host)
        self._items = items
        self._window_s = window_s
        self._look = look
        self._guarded = []

    def plan(self, before):
        plan = super().plan(before)
        if self._window_s and plan.changed:
            kernel = before[SHARED]["kernel"]
            # What is in force: all of it, nothing, or what somebody made of it by hand.
            in_force = {"in force": self._before.parsed(), "absent": [], "not loaded": []}.get(kernel)
            self._guarded = way.filtered(in_force, self._after.parsed(), *self._look())
        return plan

    def extra(self, after):
        found = super().extra(after)
        return {**found, "guard": guard.planned(self._guarded, self._window_s)} if self._guarded else found

    def arm(self, plan):
        return guard.armed(self._host, self._undo(self._guarded), self._window_s) if self._guarded else None

    def objects(self, state):
        return {item["name"]: state.networks[item["name"]] for item in self._items if item["name"] in state.networks}

    def desired(self, state):
        declared = models.parse_networks(
            [entries.with_kept(item, state.networks.get(item["name"])) for item in self._items]
        )
        after = state.copy()
        for network in declared:
            if network.wanted:
                after.networks[network.name] = entries.network_entry(network)
            else:
                after.networks.pop(network.name, None)
        wanted = [one for one in declared if one.wanted]
        names = {one.name for one in declared}
        others = [one for one in state.parsed() if one.name not in names]
        for network in wanted:
            model_checks.require_underlay(network)
        model_checks.refuse_conflicts(others + wanted)
        self._check_allow_to(wanted, others)
        return after

    def _check_allow_to(self, wanted, others):
        known = {one.name: one for one in others + wanted}
        for network in wanted:
            for number, access in enumerate(network.policy.allow_to):
                path = f"{network.option}.policy.allow_to[{number}].network"
                target = known.get(access.network)
                if target is None:
                    raise InvalidInput(
                        f"the network {access.network} is not known on this host", network.name, path,
                        "Declare it too: in the same call, or before.",
                    )
                if target.name == network.name:
                    raise InvalidInput("a network is open to itself", network.name, path, "Leave it out.")
                if "bridged" in (target.model, network.model):
                    raise InvalidInput(
                        f"allow_to from {network.model} to {target.model}: bridged guests are outside, with all of their LAN",
                        network.name, path, "Use port_forwards, or a routed network.",
                    )
                _check_passage(network, target, path)
        for network in others:
            for access in network.policy.allow_to:
                if access.network not in known:
                    self._warnings.append(
                        f"The network {network.name} has allow_to {access.network}, which is no longer known on this host."
                    )
                elif known[access.network].firewall == "libvirt":
                    self._warnings.append(
                        f"The network {network.name} has allow_to {access.network}: libvirt's own rules refuse it there now."
                    )


def _check_passage(network, target, path):
    """Refuse what libvirt's own rules drop behind ours: into its nat networks, and into and out of its isolated ones."""
    for one in (network, target):
        if one.model == "isolated" and one.bridge_owner == "libvirt":
            raise InvalidInput(
                f"allow_to from {network.name} to {target.name}: libvirt's own rules close {one.name}, an isolated network",
                network.name, path, f"Give {one.name} bridge_owner: host.",
            )
    if target.firewall == "libvirt":
        raise InvalidInput(
            f"allow_to into {target.name}, which has firewall: libvirt", network.name, path,
            f"libvirt's rules refuse it; give {target.name} firewall: nftables.",
        )
