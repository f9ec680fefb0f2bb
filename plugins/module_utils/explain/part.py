# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host's part in a plan that came to it as an option: what resolve.plan() made, and nothing else. Pure.

Of the plan come the name of a folder, rules of nft, and what guests are told to send.
"""

from __future__ import annotations

import ipaddress
import re

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.explain.resolve import PROTOCOLS, VERSIONS

_SESSION = re.compile(r"[0-9a-f]{16}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LINK = re.compile(r"[^\s/]{1,15}")


def _text(pattern):
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _number(most):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _address(value):
    try:
        return isinstance(value, str) and ipaddress.ip_address(value) is not None
    except ValueError:
        return False


def _name(value):
    return isinstance(value, str) and value != ""


def _or_none(check):
    return lambda value: value is None or check(value)


def _list(check):
    return lambda value: isinstance(value, list) and all(map(check, value))


def _has(**checks):
    """Return a check for a dictionary that has all of these keys; what else it has nobody reads."""
    return lambda value: isinstance(value, dict) and all(key in value and check(value[key]) for key, check in checks.items())


_ITEM = _has(
    token=_number(2**32 - 1), to=_address, family=lambda value: value in VERSIONS, protocol=lambda value: value in PROTOCOLS,
    port=_number(65535), sport=_number(65535),
)  # fmt: skip
_LOOKUP = _has(target=_address, source=_or_none(_address))
#: What the steps read of a plan, and how it looks.
_PLAN = {
    "session": _text(_SESSION), "token": _number(2**32 - 1), "version": lambda value: value in VERSIONS,
    "protocol": lambda value: value in PROTOCOLS, "macs": _list(_text(_MAC)),
    "guest_route": _or_none(_has(guest=_name, target=_or_none(_address))), "hosts": lambda value: isinstance(value, dict),
}  # fmt: skip
_PART = {
    "listen": _list(_name), "send": _or_none(_has(end=_name, item=_ITEM)),
    "lookups": lambda value: isinstance(value, dict) and all(
        _LOOKUP(one) and _or_none(_text(_LINK))(one.get("iif")) for one in value.values()
    ),
}  # fmt: skip


def of(plan, name):
    """Return the part of the host C(name) in a plan; raise InvalidInput for what is no plan, or has no such host."""
    _check(plan, _PLAN, "plan")
    if name not in plan["hosts"]:
        raise InvalidInput(f"the plan has no host {name}", option="inventory_host", cure="Give the host's name in the inventory.")
    part = plan["hosts"][name]
    if not isinstance(part, dict):
        part = {}
    _check(part, _PART, f"plan.hosts.{name}")
    return part


def _check(value, checks, option):
    for key, check in checks.items():
        if key not in value or not check(value[key]):
            raise InvalidInput(
                "this is not as the filter virtnet.kvm.explain_plan makes it", option=f"{option}.{key}",
                cure="Give what that filter returned.",
            )
