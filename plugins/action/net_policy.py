# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virtnet.kvm.net_policy: the module, and the confirmation that the controller still comes in."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.plugin_utils.guard import GuardedAction


class ActionModule(GuardedAction):
    """Runs the module of the same name."""

    what = "the rules for {links}"
    look = "the policy of that network lets the controller in (model, deny_host, host_access)"
    asks = False
