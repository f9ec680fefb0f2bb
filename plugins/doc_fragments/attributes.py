# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of attributes; each is a fragment of its own, attributes.NAME."""

    DOCUMENTATION = r"""
options: {}
attributes: {}
"""

    ACTIONGROUP_KVM = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/virtnet.kvm.kvm) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - virtnet.kvm.kvm
"""

    ACTIONGROUP_LIBVIRT = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/virtnet.kvm.libvirt) or C(group/virtnet.kvm.kvm) in C(module_defaults) to set its defaults.
    support: full
    membership:
      - virtnet.kvm.libvirt
      - virtnet.kvm.kvm
"""

    ACTIONGROUP_GUARDED = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/virtnet.kvm.guarded) or C(group/virtnet.kvm.kvm) in C(module_defaults) to set its defaults.
    support: full
    membership:
      - virtnet.kvm.guarded
      - virtnet.kvm.kvm
"""
