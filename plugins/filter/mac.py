# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that give what guest_vm gives by default, where a play needs it beforehand."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.module_utils import names


def guest_mac(host, guest, index=0):
    """Return the MAC address that guest_vm gives NIC number C(index) of C(guest) on C(host)."""
    try:
        return names.guest_mac(str(host), str(guest), int(index))
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"virtnet.kvm.guest_mac: the NIC's number must be a number, not {index!r}") from error


class FilterModule:
    """The collection's filters about names."""

    def filters(self):
        return {"guest_mac": guest_mac}
