# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Items of the data model as a filter takes them: by the same spec as the modules do."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.module_utils import argspec, options
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain

NETWORKS = {"networks": {"type": "list", "elements": "dict", "required": True, "options": argspec.network_options()}}
GUESTS = {"guests": {"type": "list", "elements": "dict", "required": True, "options": argspec.guest_options()}}


def _checked(spec, key, items, name):
    try:
        return options.checked(spec, {key: plain(items)})[key]
    except InvalidInput as error:
        raise AnsibleFilterError(f"virtnet.kvm.{name}: {error}") from error


def networks(items, name):
    """Return network items with their values converted, a text C(false) from the command line too.

    :param name: of the filter, for the error.
    """
    return _checked(NETWORKS, "networks", items, name)


def guests(items, name):
    """Return guest items with their values converted, without their user data, which no filter needs."""
    return _checked(GUESTS, "guests", [{key: one[key] for key in one if key != "user_data"} for one in items], name)
