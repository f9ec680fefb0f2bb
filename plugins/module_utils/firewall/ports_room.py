# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The change of guests' ports, with the rules that are made of them."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import engine
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import store
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.room import FirewallRoom


class _PortsRoom(FirewallRoom):
    """A change of the ports alone."""

    key = "ports"
    kind = "port"

    def __init__(self, host, ports):
        super().__init__(host)
        self._ports = ports

    def objects(self, state):
        return {}

    def desired(self, state):
        after = state.copy()
        after.ports = self._ports
        return after


def change(host, gone, new):
    """Change the ports as Ports.change() says."""
    before = store.load()
    after = before.copy()
    after.ports = {**{key: port for key, port in before.ports.items() if key not in gone}, **new}
    if after == before:
        return
    if before.transaction() == after.transaction():
        # Nobody asked for their protection yet: a host without nft is no matter then.
        store.save(before, after)
        return
    room = _PortsRoom(host, after.ports)
    plan = room.plan(room.gather())
    engine.realise(room, plan)
    room.finish(plan)
