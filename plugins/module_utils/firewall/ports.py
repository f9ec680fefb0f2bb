# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which MAC address is behind which link of a guest: told by those who wire guests, kept and rendered with all else."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.daemon import is_remote, is_session
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VerificationFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import store
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.rooms import FirewallRoom


def of_daemon(host, uri):
    """Return the Ports of the guests of a libvirt daemon; None if their links are not this host's, or make no bridge ports."""
    return None if is_remote(uri) or is_session(uri) else Ports(host)


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


class Ports:
    """The ports of this host's guests; to be changed under the host's lock.

    Everywhere they are {(link, MAC): {C(guest), C(network)}}.
    """

    def __init__(self, host):
        self._host = host

    @staticmethod
    def load():
        """Return the ports."""
        return store.load_ports()

    def change(self, gone, new):
        """Take the keys C(gone) out and put C(new) in; in the kernel too, where a network of theirs wants it.

        Either all of it happens, or an error is raised and nothing has changed.
        """
        before = store.load()
        after = before.copy()
        after.ports = {**{key: port for key, port in before.ports.items() if key not in gone}, **new}
        if after == before:
            return
        if before.transaction() == after.transaction():
            # Nobody asked for their protection yet: a host without nft is no matter then.
            store.save(before, after)
            return
        room = _PortsRoom(self._host, after.ports)
        plan = room.plan(room.gather())
        for op in plan.ops:
            room.apply(op)
        found = room.gather()
        if found != plan.after:
            raise VerificationFailed(
                "the rules for the guests' ports are not what was loaded",
                "ports",
                cure="Run it again.",
                planned=plan.after,
                found=found,
            )
        room.finish(plan)
