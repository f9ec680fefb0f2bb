# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that say what of the host's own links the networks need."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.links import host_links as links
from ansible_collections.virtnet.kvm.plugins.plugin_utils import declared


def host_links(networks):
    """Return the taps and bridges of network items, as tap_iface and host_bridge take them."""
    try:
        return links.host_links(declared.networks(networks, "host_links"))
    except VirtnetError as error:
        raise AnsibleFilterError(f"virtnet.kvm.host_links: {error}") from error


class FilterModule:
    """The collection's filters about the host's links."""

    def filters(self):
        return {"host_links": host_links}
