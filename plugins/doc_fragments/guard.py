# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the dead man's switch; the argument spec is GUARD in module_utils/links/spec.py."""

    DOCUMENTATION = r"""
options:
  confirm:
    description:
      - Whether a change that could cut the controller's way to the host must be confirmed. That way are the links towards the
        SSH client and towards the default gateways, with their bridges and ports.
      - Before such a change the host gets all that takes it back, and a timer. After it, the gateways on links that were changed
        must answer, and the controller closes its connection and comes in anew. If it cannot, the host is as it was after
        O(confirm_timeout), with all files, and the task fails. So it is if the controller dies meanwhile, or the host is
        restarted. If nobody can say in the end whether the change was kept or taken back, the task fails with
        RV(guard.state=unknown).
      - With C(connection=local) there is no connection to close. The links towards the default gateways are the way then, with
        those towards the SSH client whose session Ansible was started in, if any, and the gateways' answer decides.
    type: bool
    default: true
  confirm_timeout:
    description: For how many seconds the host waits for that, from the beginning of the change.
    type: int
    default: 60
attributes:
  action:
    description: Has an action plugin on the controller, which confirms the change.
    support: full
  async:
    description: Cannot be run with C(async), there is nobody then who confirms.
    support: none
notes:
  - While a change waits for its confirmation, other modules of the collection refuse to change that host.
  - On the host C(sh /var/lib/virtnet/guard/guard) shows, keeps or takes back what waits; without a controller, too.
"""
