# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter by which a role takes what it was given for networks of its own model."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleFilterError


def networks_of(networks, model):
    """Return the network items that are not declared absent, each with its model; refuse one that says another."""
    wanted = []
    for place, item in enumerate(networks):
        if not isinstance(item, Mapping):
            what = f"networks[{place}]: {item!r} is no network"
            raise AnsibleFilterError(f"virtnet.kvm.networks_of: {what}. Give a name, and what it has.")
        if item.get("state") == "absent":
            continue
        said = item.get("model") or model
        if said != model:
            what = f"[{place}].model: {item.get('name', 'a network without a name')}"
            raise AnsibleFilterError(
                f"virtnet.kvm.networks_of: networks{what}: its model is {said}, and this role's networks are {model}."
                f" Give it to the role net_{said}, or leave its model out."
            )
        wanted.append({**item, "model": model})
    return wanted


class FilterModule:
    """The collection's filters about the models of networks."""

    def filters(self):
        return {"networks_of": networks_of}
