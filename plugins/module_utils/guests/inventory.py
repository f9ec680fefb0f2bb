# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guests of a host as facts: whose they are, what they take, which networks they are on."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.guests import domain
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.client import Domains


def gather(uri):
    """Return (facts of all guests of a daemon, names of its networks), both sorted by name."""
    client = Domains(uri)
    return [fact(found) for _name, found in sorted(client.gather().items())], sorted(client.networks())


def fact(found):
    """Return the facts of one domain, whoever made it."""
    tree = domain.load(found.main)
    sources = [node.get("network") for node in tree.iterfind("devices/interface/source")]
    return {
        "name": found.name,
        "uuid": found.uuid,
        "active": found.active,
        "owned": domain.mark_of(tree) is not None,
        "memory_mb": domain.mebibytes(tree.find("memory")),
        "vcpus": int(tree.findtext("vcpu") or 1),
        "networks": sorted({one for one in sources if one}),
    }
