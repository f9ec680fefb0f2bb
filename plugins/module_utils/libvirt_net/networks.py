# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of libvirt networks: any number of them converged over one connection."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import definition, features, live, replug, surroundings
from ansible_collections.virtnet.kvm.plugins.module_utils.links import iproute2, sysctl
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan

#: A port that joins a bridge with STP is deaf for twice the forward delay, which is 2 s with libvirt's delay='0'.
STP_OUTAGE_S = 4
REPLUG_OUTAGE_S = 1


class NetworkRoom(Room):
    """Converges libvirt networks.

    :param networks: list of models.Network.
    :param client: libvirt_net.client.Networks.
    :param host: host.Host.
    :param adopt: take over a network of that name that is not ours, keeping all of it that is not declared.
    :param disruption: C(allow), C(live_only) (refuse what running guests would notice) or C(defer) (store it only).
    :param purge: a declared list of reservations, DNS records or port groups is the whole of it.
    """

    key = "networks"

    def __init__(self, networks, client, host, adopt=False, disruption="allow", purge=True):
        self.networks = networks
        self.client = client
        self.host = host
        self.adopt = adopt
        self.disruption = disruption
        self.purge = purge
        self.found = {}

    # -- what is there --------------------------------------------------------------------------------------------

    def gather(self):
        self.found = self.client.gather()
        return {
            network.name: self._told(network, self.normal(self.found[network.name]))
            for network in self.networks
            if network.name in self.found
        }

    @staticmethod
    def _told(network, normal):
        """Leave the MAC out that libvirt chose: nobody can know it beforehand, and nobody asked."""
        return normal if network.mac else dict(normal, mac=None)

    @staticmethod
    def normal(found):
        """Return the normal form of a client.Found."""
        mark = definition.parse_mark(found.main)
        normal = definition.parse(found.main)
        pending = []
        if found.live is not None and found.stored is not None:
            running = definition.parse(found.live, mark)
            pending = sorted(key for key in normal if normal[key] != running[key])
        normal.update(
            state="active" if found.active else "inactive",
            autostart=found.autostart,
            persistent=found.persistent,
            owned=mark is not None,
            pending=pending,
        )
        return normal

    # -- what shall be --------------------------------------------------------------------------------------------

    def plan(self, before):
        plan = Plan({})
        self._nics = None
        self._check_surroundings(plan)
        version = self.client.version()
        for network in self.networks:
            if network.wanted:
                features.check(network, version)
        for network in self.networks:
            found = self.found.get(network.name)
            if found is not None and not self.adopt and definition.parse_mark(found.main) is None:
                raise Conflict(
                    "a libvirt network of that name is there and is not ours",
                    network.name,
                    f"{network.option}.name",
                    "Choose another name, or take it over with adopt: true.",
                )
            if not network.wanted:
                if found is not None:
                    self._plan_removal(plan, network, found)
                continue
            if found is None:
                self._plan_creation(plan, network)
            else:
                self._plan_change(plan, network, found, before[network.name])
        return plan

    def _check_surroundings(self, plan):
        wanted = [network for network in self.networks if network.wanted]
        if not wanted:
            return
        declared = {network.name for network in self.networks}
        others = {name: definition.parse(found.main) for name, found in self.found.items() if name not in declared}
        links = iproute2.addresses(self.host)
        routes = iproute2.routes(self.host)
        own = set()
        for name in declared & set(self.found):
            for tree in (self.found[name].live, self.found[name].stored if self.found[name].active else None):
                bridge = None if tree is None else tree.find("bridge")
                if bridge is not None:
                    own.add(bridge.get("name"))
        for network in wanted:
            plan.warnings += surroundings.check(network, others, links, routes, own)

    def _guests(self, network):
        """Return the names of running guests that are plugged into a network, by its name or its bridge."""
        if self._nics is None:
            self._nics = self.client.nics()
        return tuple(
            sorted(
                {nic.guest for nic in self._nics if nic.network == network.name or (nic.bridge and nic.bridge == network.bridge)}
            )
        )

    def _links(self, network, running):
        """Return the links of a network's guests on a bridge of the host's; None on one of libvirt's, where all are meant."""
        if running["forward"] != "bridge":
            return None
        return sorted(nic.link for nic in self._nics if nic.network == network.name and running["bridge"])

    def _plan_removal(self, plan, network, found):
        xml = definition.dump(found.main)
        if found.active:
            guests = self._guests(network)
            self._refuse_disruption(network, guests, "its removal cuts off")
            plan.ops.append(
                Op(
                    "network",
                    network.name,
                    "stop",
                    "recreate" if guests else "none",
                    guests,
                    args={"xml": xml, "persistent": found.persistent},
                )
            )
        if found.persistent:
            plan.ops.append(Op("network", network.name, "undefine", args={"xml": xml, "autostart": found.autostart}))

    def _refuse_disruption(self, network, guests, what):
        if guests and self.disruption != "allow":
            raise InvalidInput(
                f"{what} the running guests {', '.join(guests)}",
                network.name,
                f"{network.option}",
                f"disruption: {self.disruption} forbids it; stop or re-wire them first, or say disruption: allow.",
            )

    def _after(self, network, tree, state, autostart, pending=()):
        normal = self._told(network, definition.parse(tree))
        normal.update(state=state, autostart=autostart, persistent=network.persistent, owned=True, pending=list(pending))
        return normal

    def _plan_creation(self, plan, network):
        if network.model in ("nat", "routed") and network.bridge_owner == "libvirt" and not network.addresses:
            raise InvalidInput(
                f"a new {network.model} network needs an address",
                network.name,
                f"{network.option}.addresses",
                "Give the gateway as 10.64.100.1/24.",
            )
        if network.model == "bridged" and network.attach == "macvtap" and network.uplink is None:
            raise InvalidInput("macvtap needs an uplink", network.name, f"{network.option}.uplink", "Name the host's link.")
        tree = definition.edit(network, purge=self.purge)
        xml = definition.dump(tree)
        active = network.state == "active" or not network.persistent
        autostart = network.autostart and network.persistent
        if network.persistent:
            plan.ops.append(Op("network", network.name, "define", args={"xml": xml, "old": None}))
            if active:
                plan.ops.append(Op("network", network.name, "start", args={"bridge": network.bridge}))
            if autostart:
                plan.ops.append(Op("network", network.name, "autostart", args={"value": True}))
        elif network.state == "inactive":
            return  # a transient network that does not run does not exist
        else:
            plan.ops.append(Op("network", network.name, "create", args={"xml": xml}))
        plan.after[network.name] = self._after(network, tree, "active" if active else "inactive", autostart)

    def _plan_change(self, plan, network, found, before):
        tree = definition.edit(network, found.main, self.purge)
        xml, old = definition.dump(tree), definition.dump(found.main)
        after, was = definition.parse(tree), definition.parse(found.main)
        changed = [key for key in after if after[key] != was[key]]
        state = before["state"] if network.state == "present" else network.state
        ops, pending = [], []
        define = bool(changed) or not before["owned"]
        if found.active and state == "inactive":
            guests = self._guests(network)
            self._refuse_disruption(network, guests, "stopping it cuts off")
            ops.append(
                Op(
                    "network",
                    network.name,
                    "stop",
                    "recreate" if guests else "none",
                    guests,
                    args={"xml": old, "persistent": True},
                )
            )
        elif found.active:
            running = definition.parse(found.live, definition.parse_mark(tree))
            updates, restart = live.live_updates(running, after)
            if restart:
                pending = self._plan_restart(plan, ops, network, restart, after, running)
            elif updates:
                ops.append(Op("network", network.name, "update", "live", args={"updates": updates}))
        if define and network.persistent and found.persistent:
            # First the stored definition: a restart reads it.
            ops.insert(
                0,
                Op(
                    "network",
                    network.name,
                    "define" if before["owned"] else "adopt",
                    note=", ".join(changed),
                    args={"xml": xml, "old": old},
                ),
            )
        elif found.persistent != network.persistent:
            if network.persistent:
                ops.insert(0, Op("network", network.name, "define", note="persistent", args={"xml": xml, "old": None}))
            elif found.autostart or found.persistent:
                ops.append(
                    Op("network", network.name, "undefine", note="transient", args={"xml": old, "autostart": found.autostart})
                )
        if not found.active and state == "active":
            ops.append(Op("network", network.name, "start", args={"bridge": network.bridge}))
        autostart = network.autostart and network.persistent
        if autostart != before["autostart"] and network.persistent:
            ops.append(Op("network", network.name, "autostart", args={"value": autostart}))
        plan.ops += ops
        if not network.persistent and state == "inactive":
            return
        plan.after[network.name] = self._after(network, tree, state, autostart, pending)

    def _plan_restart(self, plan, ops, network, fields, after, running):
        guests = self._guests(network)
        reasons = ", ".join(sorted(fields))
        if guests and self.disruption == "live_only":
            self._refuse_disruption(network, guests, f"changing {reasons} restarts the network under")
        if guests and self.disruption == "defer":
            plan.warnings.append(
                f"{network.name}: {reasons} changed in the stored definition only; the running network follows at its next start."
            )
            return sorted(key for key in after if after[key] != running[key])
        if guests and None in (running["bridge"], after["bridge"]) and {"bridge", "uplink"} & set(fields):
            raise InvalidInput(
                f"{reasons} change under the running guests {', '.join(guests)}, whose NICs are bound to a macvtap or a bridge",
                network.name,
                f"{network.option}.attach",
                "Stop them first, or declare a second network and wire them to it.",
            )
        ops.append(
            Op(
                "network",
                network.name,
                "restart",
                "replug" if guests else "none",
                guests,
                (STP_OUTAGE_S if network.stp else REPLUG_OUTAGE_S) if guests else 0,
                note=reasons,
                args={"bridge": network.bridge, "old_bridge": running["bridge"], "links": self._links(network, running)},
            )
        )
        return []

    def baseline(self, before, plan):
        # libvirt turns forwarding on with the first network that needs it, and never off: ip_forward takes it back.
        starts = {op.name for op in plan.ops if op.op in ("start", "create")}
        if not any(plan.after[name]["forward"] in ("open", "nat") for name in starts):
            return {}
        values = {key: self.host.sysctl(key) for key in (sysctl.IPV4, sysctl.IPV6)}
        return {f"sysctl:{key}": value for key, value in values.items() if value is not None}

    # -- doing it -------------------------------------------------------------------------------------------------

    def apply(self, op):
        name, args = op.name, op.args
        if op.op in ("define", "adopt"):
            self.client.define(name, self._with_identity(name, args["xml"]))
        elif op.op == "create":
            self.client.create_transient(name, args["xml"])
        elif op.op == "start":
            self.client.start(name)
        elif op.op == "stop":
            self.client.stop(name)
        elif op.op == "undefine":
            self.client.undefine(name)
        elif op.op == "autostart":
            self.client.set_autostart(name, args["value"])
        elif op.op == "update":
            self.client.update_live(name, args["updates"])
        elif op.op == "restart":
            replug.restart(self.client, self.host, name, args["old_bridge"], args["bridge"], args["links"])
        else:
            raise CommandFailed(f"unknown operation {op.op}", name)

    def revert(self, op):
        name, args = op.name, op.args
        if op.op in ("define", "adopt"):
            if args["old"] is None:
                self.client.undefine(name)
            else:
                self.client.define(name, args["old"])
        elif op.op in ("start", "create"):
            self.client.stop(name)
        elif op.op == "stop":
            if args["persistent"]:
                self.client.start(name)
            else:
                self.client.create_transient(name, args["xml"])
        elif op.op == "undefine":
            self.client.define(name, args["xml"])
            if args["autostart"]:
                self.client.set_autostart(name, True)
        elif op.op == "autostart":
            self.client.set_autostart(name, not args["value"])

    def _with_identity(self, name, xml):
        """Return the definition with the UUID of the network that is there: libvirt refuses to redefine without."""
        found = self.found.get(name)
        if found is None:
            return xml
        return definition.with_uuid(xml, found.uuid)
