# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the rooms of guests and NICs that tells the firewall which MAC address is behind which link.

Ports are bound before any NIC is plugged in, and freed when all else is done. Links that libvirt names anew at every start
cannot be bound.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op

OPS = ("bind", "unbind")


class Bound:
    """The ports of a room's objects, {(link, MAC): {C(guest), C(network)}} each.

    :param kind: the room's kind of object.
    :param ports: firewall.ports.Ports, or None: nothing is bound then.
    """

    def __init__(self, kind, ports):
        self._kind = kind
        self._ports = ports
        self._stored = {}
        self._wanted = {}
        self._owners = {}
        self._ops = []
        self._applied = set()
        #: Names of objects of which an operation failed.
        self.failed = set()

    def gather(self):
        """Read which are bound."""
        if self._ports is not None:
            self._stored = self._ports.load()

    def of(self, guest, mac=None):
        """Return the ports of a guest, or of its one NIC, that are bound."""
        return {key: port for key, port in self._stored.items() if port["guest"] == guest and mac in (None, key[1])}

    def want(self, name, guest, nics, mac=None):
        """Say what the object C(name) shall have bound: the ports of C(nics), dictionaries with dev, mac, network.

        Of two for one port the first counts. What is bound of the guest, or of its NIC C(mac), and not among them goes.
        """
        wanted = {}
        for nic in nics if self._ports is not None else ():
            if nic["dev"] and nic["network"] and not names.AUTOMATIC.fullmatch(nic["dev"]):
                wanted.setdefault((nic["dev"], nic["mac"]), {"guest": guest, "network": nic["network"]})
        self._wanted[name] = wanted
        self._owners[name] = (guest, mac)
        return wanted

    def plan(self, plan, domains):
        """Put the operations into the plan; ports of guests that are not among C(domains) go too."""
        binds, unbinds = [], []
        for name, wanted in self._wanted.items():
            stored = self.of(*self._owners[name])
            new = {key: port for key, port in wanted.items() if stored.get(key) != port}
            gone = {key: port for key, port in stored.items() if key not in wanted}
            if new:
                old = {key: self._stored[key] for key in new if key in self._stored}
                binds.append(Op(self._kind, name, "bind", note=_links(new), args={"new": new, "old": old}))
            if gone:
                unbinds.append(Op(self._kind, name, "unbind", note=_links(gone), args={"gone": gone}))
        known = {guest for guest, _mac in self._owners.values()} | set(domains)
        for guest in sorted({port["guest"] for port in self._stored.values()} - known):
            note = f"{_links(self.of(guest))}: its domain is gone"
            unbinds.append(Op(self._kind, guest, "unbind", note=note, args={"gone": self.of(guest)}))
        self._ops = binds + unbinds
        plan.ops = binds + plan.ops + unbinds

    def apply(self, op):
        """Carry out an operation, and with the first of its sort all of them: the rules are loaded once."""
        if op.op in self._applied:
            return
        ops = [one for one in self._ops if one.op == op.op and one.name not in self.failed]
        gone, new = {}, {}
        for one in ops:
            gone.update(one.args.get("gone", {}))
            new.update(one.args.get("new", {}))
        self._ports.change(gone, new)
        self._applied.add(op.op)

    def revert(self, op):
        """Take an operation back."""
        if op.op == "bind":
            self._ports.change(op.args["new"], op.args["old"])
        else:
            self._ports.change((), op.args["gone"])


def told(ports):
    """Return ports for a result, as a list."""
    return [{"dev": link, "mac": mac, "network": port["network"]} for (link, mac), port in sorted(ports.items())]


def _links(ports):
    return ", ".join(sorted({link for link, _mac in ports}))
