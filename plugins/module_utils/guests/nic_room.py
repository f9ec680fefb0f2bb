# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of NICs of domains that are there: live and persistent wiring, one device at a time, nothing else of a domain."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.virtnet.kvm.plugins.module_utils import outage
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, InvalidInput, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import bound, domain, wiring
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan

#: A NIC that is taken out and put in is a new device to the guest, which has to see it and to set it up.
RECREATE_OUTAGE_S = 10.0
#: Seconds that a guest gets to let go of a NIC.
DETACH_S = 15


@dataclass
class Target:
    """A declared NIC on this host: the guest's elements of it, None where it has none."""

    wish: Any
    mac: str
    stored: Any = None
    live: Any = None

    @property
    def name(self):
        return f"{self.wish.guest} {self.mac}"

    def form(self, node):
        """Return the normal form of an element of this NIC, with all that is declared of it."""
        return wiring.form(node, bandwidth=self.wish.bandwidth is not None)


class NicRoom(Room):
    """Wires NICs.

    :param wishes: list of wiring.Wish.
    :param client: client.Domains.
    :param disruption: C(allow), C(live_only) (refuse what the guest would notice) or C(defer) (store it only).
    :param ports: firewall.ports.Ports, or None where the guests' links are not this host's.
    """

    key = "nics"

    def __init__(self, wishes, client, disruption="allow", ports=None):
        self.wishes = wishes
        self.client = client
        self.disruption = disruption
        self.bound = bound.Bound("nic", ports)
        self.found = {}
        self.targets = []
        self._problems = None

    # -- what is there ------------------------------------------------------------------------------------------------

    def gather(self):
        self.found = self.client.gather()
        self.bound.gather()
        if self._problems is None:
            self._select()
        for target in self.targets:
            found = self.found.get(target.wish.guest)
            target.stored = wiring.nodes(found.stored).get(target.mac) if found else None
            target.live = wiring.nodes(found.live).get(target.mac) if found else None
        return {
            target.name: _form(target, target.stored, target.live, self.bound.of(target.wish.guest, target.mac))
            for target in self.targets
            if _there(target)
        }

    def _select(self):
        """Find out which NICs are meant, once: later on an index or an alias may mean another."""
        self._problems = []
        for wish in self.wishes:
            found = self.found.get(wish.guest)
            if found is None:
                if wish.wanted:
                    problem = "the host has no domain of that name"
                    self._problems.append(InvalidInput(problem, wish.guest, f"{wish.option}.guest", "Define it first."))
                continue
            stored, live = wiring.nodes(found.stored), wiring.nodes(found.live)
            target = Target(wish, wiring.select(wish, stored, live))
            for other in self.targets:
                if other.name == target.name:
                    problem = f"its NIC {target.mac} is declared twice, as {other.wish.option} too"
                    raise InvalidInput(problem, wish.guest, wish.option, "Declare it once.")
            self.targets.append(target)

    # -- what to do ---------------------------------------------------------------------------------------------------

    def plan(self, before):
        plan = Plan({}, unmet=list(self._problems))
        self._check_taken()
        networks = self.client.networks()
        for target in self.targets:
            ops = self._wire(plan, target, networks) if target.wish.wanted else self._remove(target)
            plan.ops += ops
            if ops and domain.mark_of(domain.load(self.found[target.wish.guest].main)) is not None:
                plan.warnings.append(
                    f"{target.wish.guest} is a guest of guest_vm, which will wire it as declared there; declare its NICs there."
                )
        self.bound.plan(plan, self.found)
        return plan

    def _check_taken(self):
        """Raise Conflict if another NIC of this host has a MAC or a link's name that is to be given."""
        taken = {}
        for name, found in self.found.items():
            for xml in (found.stored, found.live):
                for mac, dev in domain.macs_and_links(xml) if xml else ():
                    taken.setdefault(mac, []).append((name, mac))
                    taken.setdefault(dev, []).append((name, mac))
        for target in self.targets:
            if not target.wish.wanted:
                continue
            for key, value in (("mac", target.mac if not _there(target) else ""), ("dev", target.wish.dev)):
                for guest, mac in taken.get(value, ()) if value else ():
                    if (guest, mac) != (target.wish.guest, target.mac):
                        raise Conflict(
                            f"{value} is that of the guest {guest} on this host", target.wish.guest,
                            f"{target.wish.option}.{key}", "Choose another one.",
                        )

    def _remove(self, target):
        ops = []
        self.bound.want(target.name, target.wish.guest, (), target.mac)
        if target.live is not None:
            self._refuse(target, "its removal takes the NIC from")
            args = {"target": target, "node": target.live}
            ops.append(Op("nic", target.name, "detach", "recreate", (target.wish.guest,), note="running", args=args))
        if target.stored is not None:
            ops.append(Op("nic", target.name, "detach", note="stored", args={"target": target, "node": target.stored}))
        return ops

    def _refuse(self, target, what):
        if self.disruption != "allow":
            raise InvalidInput(
                f"{what} the running guest", target.wish.guest, target.wish.option,
                f"disruption: {self.disruption} forbids it; stop the guest first, or say disruption: allow.",
            )

    def _wire(self, plan, target, networks):
        wish, found = target.wish, self.found[target.wish.guest]
        if not _there(target) and wish.network is None:
            problem = f"it has no NIC {target.mac}, and for a new one a network is missing"
            raise InvalidInput(problem, wish.guest, f"{wish.option}.network", "Name it.")
        ops = []
        stored, live = target.stored, target.live
        if found.stored is not None:
            stored = _declared(target, target.stored, target.live)
            ops += _operation(target, target.stored, stored, "stored")
        if found.live is not None:
            live = _declared(target, target.live, target.stored)
            live_ops = self._live(plan, target, live, networks)
            if live_ops is None:
                live = target.live
            else:
                ops += live_ops
        if ops and wish.filter:
            self._check_filter(plan, wish)
        if ops and wish.network is not None:
            self._check_network(plan, wish, networks, running=found.live is not None)
        nics = [{**form, "mac": target.mac} for form in map(_network_form, (live, stored)) if form]
        wanted = self.bound.want(target.name, wish.guest, nics, target.mac)
        plan.after[target.name] = _form(target, stored, live, wanted)
        return ops

    def _check_network(self, plan, wish, networks, running):
        if wish.network not in networks:
            problem = f"the host has no libvirt network {wish.network}"
        elif running and not networks[wish.network].active:
            problem = f"the libvirt network {wish.network} is not active"
        else:
            return
        cure = "Declare it with virtnet.kvm.virt_net_model first."
        plan.unmet.append(InvalidInput(problem, wish.guest, f"{wish.option}.network", cure))

    def _check_filter(self, plan, wish):
        if wish.filter["name"] not in self.client.filters():
            problem = f"the host has no network filter of libvirt's called {wish.filter['name']}"
            plan.unmet.append(
                InvalidInput(problem, wish.guest, f"{wish.option}.filter.name", "Define it first: virsh nwfilter-define.")
            )

    def _live(self, plan, target, live, networks):
        """Return the operations on the running guest; None if they are left for its next start."""
        wish = target.wish
        if target.live is None:
            return _operation(target, None, live, "running", "live")
        now, then = target.form(target.live), target.form(live)
        parts = domain.differences(then, now)
        if not parts:
            return []
        if wiring.LIVE.issuperset(parts):
            return _operation(target, target.live, live, "running", "live")
        network = networks.get(wish.network) if wish.network else None
        movable = not {"dev", "model"} & set(parts) and wiring.on_a_bridge(target.live) and (network is None or network.bridged)
        if self.disruption == "defer":
            changes = ", ".join(parts)
            plan.warnings.append(f"{target.name}: {changes} changed in the stored definition only, for the guest's next start.")
            return None
        self._refuse(target, f"changing {', '.join(parts)} {'re-plugs' if movable else 're-creates'} the NIC of")
        if movable:
            outage_s = outage.replug(network.stp, network.delay) if network is not None else outage.REPLUG_S
            return _operation(target, target.live, live, "running", "replug", outage_s)
        guests = (wish.guest,)
        out, back = ({"target": target, "node": node} for node in (target.live, wiring.detached(live)))
        return [
            Op("nic", target.name, "detach", "recreate", guests, RECREATE_OUTAGE_S, "running", out),
            Op("nic", target.name, "attach", "recreate", guests, note="running", args=back),
        ]

    # -- doing it -----------------------------------------------------------------------------------------------------

    def apply(self, op):
        try:
            if op.op in bound.OPS:
                self.bound.apply(op)
            else:
                self._change(op.args["target"], op.op, op.args["node"], op.note == "running")
        except VirtnetError:
            self.bound.failed.add(op.name)
            raise

    def _change(self, target, how, node, live):
        guest = target.wish.guest
        self.client.change_nic(guest, how, wiring.text(node), live)
        if how == "detach" and live:
            self._await_detached(guest, target.mac)

    def _await_detached(self, guest, mac):
        """The guest itself lets go of a device, in its own time."""
        deadline = time.monotonic() + DETACH_S
        while mac in wiring.nodes(self.client.live_xml(guest)):
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"the guest has not let go of its NIC {mac} within {DETACH_S} s", guest,
                    cure="Is it still booting, or without PCI hot-plug? Stop it first, or use disruption: defer.",
                )
            time.sleep(0.1)

    def revert(self, op):
        if op.op in bound.OPS:
            self.bound.revert(op)
            return
        target, live = op.args["target"], op.note == "running"
        if op.op == "attach":
            self._change(target, "detach", op.args["node"], live)
        elif op.op == "detach":
            self._change(target, "attach", wiring.detached(op.args["node"]), live)
        else:
            self._change(target, "update", op.args["old"], live)


def _there(target):
    return target.stored is not None or target.live is not None


def _declared(target, node, other):
    """Return the element that a definition shall have: its own, else as the other definition has it, else a new one."""
    if node is None:
        if other is None:
            return wiring.fresh(target.wish, target.mac)
        node = wiring.twin(other)
    return wiring.wired(node, target.wish)


def _operation(target, old, new, where, effect="none", outage_s=0.0):
    """Return the one operation that makes an element of another, or none if both are the same to us."""
    guests = (target.wish.guest,) if effect != "none" else ()
    if old is None:
        return [Op("nic", target.name, "attach", effect, guests, 0.0, where, {"target": target, "node": new})]
    if target.form(old) == target.form(new):
        return []
    return [Op("nic", target.name, "update", effect, guests, outage_s, where, {"target": target, "node": new, "old": old})]


def _network_form(node):
    """Return C(dev) and C(network) of an element, or None if it is on no network."""
    form = None if node is None else wiring.form(node)
    return {"dev": form["dev"], "network": form["source"]} if form and form["type"] == "network" else None


def _form(target, stored, live, ports):
    forms = [None if node is None else target.form(node) for node in (stored, live)]
    return {
        "guest": target.wish.guest,
        "mac": target.mac,
        "stored": forms[0],
        "live": forms[1],
        "pending": domain.differences(*forms) if None not in forms else [],
        "bound": bound.told(ports),
    }
