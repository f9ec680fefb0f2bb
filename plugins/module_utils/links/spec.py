# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that the modules of links share; their documentation is plugins/doc_fragments/links.py."""

from __future__ import annotations

ROUTES = {
    "type": "list",
    "elements": "dict",
    "options": {
        "to": {"type": "str", "required": True},
        "via": {"type": "str"},
        "metric": {"type": "int"},
    },
}
ROUTE_SETS = {
    "type": "list",
    "elements": "dict",
    "options": {"name": {"type": "str", "required": True}, "routes": {**ROUTES, "required": True}},
}
VLANS = {
    "type": "dict",
    "options": {
        "pvid": {"type": "int"},
        "untagged": {"type": "list", "elements": "str"},
        "tagged": {"type": "list", "elements": "str"},
    },
}
PORT_OPTIONS = {
    "type": "list",
    "elements": "dict",
    "options": {
        "name": {"type": "str", "required": True},
        "isolated": {"type": "bool"},
        "cost": {"type": "int"},
        "priority": {"type": "int"},
        "vlans": VLANS,
    },
}
#: what every declared link can have
LINK = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "up", "down"], "default": "up"},
    "mtu": {"type": "int"},
    "mac": {"type": "str"},
    "addresses": {"type": "list", "elements": "str"},
}
VXLAN = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "vni": {"type": "int"},
    "local": {"type": "str"},
    "peers": {"type": "list", "elements": "str"},
    "learning": {"type": "bool"},
    "bridge": {"type": "str"},
    "mtu": {"type": "int"},
}
MANAGER = {"type": "str", "choices": ["auto", "networkd", "NetworkManager", "ifupdown", "none"], "default": "auto"}
#: documented in plugins/doc_fragments/guard.py
GUARD = {
    "confirm": {"type": "bool", "default": True},
    "confirm_timeout": {"type": "int", "default": 60},
}


def module_options(kind, **options):
    """Return the argument spec of a module whose items are the option C(kind)."""
    return {
        kind: {"type": "list", "elements": "dict", "required": True, "options": {**LINK, **options}},
        "manager": MANAGER,
    }
