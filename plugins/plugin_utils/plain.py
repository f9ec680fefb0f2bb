# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every filter of the collection does with the values that a play hands it."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleFilterError


def plain(value):
    """Return C(value) as Python's own types: since ansible-core 2.19 filters get tagged strings and lazy containers."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, str):
        return "".join(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise AnsibleFilterError(f"a value of type {type(value).__name__} has no place in networks, guests or a proof")
