# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that say what of the host's own links the networks need."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.links import host_links as links
from ansible_collections.virtnet.kvm.plugins.plugin_utils import declared
from ansible_collections.virtnet.kvm.plugins.plugin_utils.telling import telling


def _of_checked(function, networks):
    with telling(function.__name__):
        return function(declared.networks(networks, function.__name__))


def host_links(networks):
    """Return the taps and bridges of network items, as tap_iface and host_bridge take them."""
    return _of_checked(links.host_links, networks)


def needed_links(networks):
    """Return the names of the links that network items need and that nobody makes for them."""
    return _of_checked(links.needed_links, networks)


class FilterModule:
    """The collection's filters about the host's links."""

    def filters(self):
        return {"host_links": host_links, "needed_links": needed_links}
