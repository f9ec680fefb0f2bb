# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of libvirt networks: any number of them converged over one connection."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import libvirt_files, outage
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, InvalidInput, Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import (
    dnsmasq,
    features,
    leftovers,
    live,
    replug,
    surroundings,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from ansible_collections.virtnet.kvm.plugins.module_utils.links import iproute2, sysctl
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan

#: Since when a running network can be marked without a restart (virNetworkSetMetadata).
MARK_LIVE = (9, 7)
#: What a NIC got from its network when it was plugged in, and keeps until it is plugged in anew.
KEPT_BY_NICS = ("virtualport", "vlan", "bandwidth", "portgroups")


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
        normal, pending = dict(found.normal), []
        if found.live is not None and found.stored is not None:
            pending = sorted(key for key in normal if normal[key] != found.running[key])
        normal.update(
            state="active" if found.active else "inactive",
            autostart=found.autostart,
            persistent=found.persistent,
            owned=found.mark is not None,
            pending=pending,
        )
        return normal

    # -- what shall be --------------------------------------------------------------------------------------------

    def plan(self, before):
        plan = Plan({})
        self._nics = None
        self._left = {}
        # What serves a network elsewhere cannot be seen from here, and a user's own daemon serves nothing.
        self._served = None if self.client.remote or self.client.unprivileged else dnsmasq.running()
        if not self.client.remote:
            for network in self.networks:
                found = self.found.get(network.name)
                bridge = None if found is None else leftovers.bridge(self.host, found)
                if bridge:
                    self._left[network.name] = bridge
        self._check_surroundings(plan)
        version = self.client.version()
        for network in self.networks:
            if network.wanted:
                features.check(network, version)
        for network in self.networks:
            found = self.found.get(network.name)
            if found is not None and not self.adopt and found.mark is None:
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
        if self.client.unprivileged:
            self._refuse_links(plan)
        if self.client.system:
            texts = [op.args.get("xml", "") for op in plan.ops if op.op in ("define", "adopt", "update")]
            libvirt_files.claim_room(libvirt_files.NETWORKS, texts)
            libvirt_files.claim_removal(libvirt_files.NETWORKS, [op.name for op in plan.ops if op.op == "undefine"])
        return plan

    def _refuse_links(self, plan):
        """A user's own daemon may make no bridge: say so before anything is changed, and not by a start that fails."""
        options = {network.name: network.option for network in self.networks}
        for op in plan.ops:
            if op.op in ("start", "create", "restart") and plan.after[op.name]["forward"] != "bridge":
                raise Unsupported(
                    f"{self.client.uri} runs without root and cannot make its bridge {plan.after[op.name]['bridge']}",
                    op.name,
                    f"{options[op.name]}.state",
                    "Use uri: qemu:///system, or state: inactive, or a network on a bridge of the host's.",
                )

    def _check_surroundings(self, plan):
        wanted = [network for network in self.networks if network.wanted]
        if not wanted:
            return
        declared = {network.name for network in self.networks}
        others = {name: found.normal for name, found in self.found.items() if name not in declared}
        # Another host's links are not to be seen from here; its libvirt looks for some collisions by itself.
        links = {} if self.client.remote else iproute2.addresses(self.host)
        routes = [] if self.client.remote else iproute2.routes(self.host)
        own = set(self._left.values())
        for name in declared & set(self.found):
            for tree in (self.found[name].live, self.found[name].stored if self.found[name].active else None):
                bridge = None if tree is None else tree.find("bridge")
                if bridge is not None:
                    own.add(bridge.get("name"))
        # What is their own is no obstacle to any of them; with hundreds of networks that is nearly all there is.
        links = {name: interfaces for name, interfaces in links.items() if name not in own}
        routes = [route for route in routes if route.link not in own]
        for network in wanted:
            plan.warnings += surroundings.check(network, others, links, routes)

    def _nics_of(self, network, running):
        """Return the Nics of running guests in a network: by its name, or by its bridge where that is libvirt's.

        :param running: normal form of the definition that runs.
        """
        if self._nics is None:
            self._nics = self.client.nics()
        # A bridge of the host's stays when the network on it goes.
        bridge = running["bridge"] if running["forward"] != "bridge" else None
        found = [nic for nic in self._nics if nic.network == network.name]
        found += [nic for nic in self._nics if bridge and nic.bridge == bridge and not nic.network]
        return tuple(sorted(found, key=lambda nic: nic.named))

    def _plan_removal(self, plan, network, found):
        xml = definition.dump(found.main)
        if found.active:
            plan.ops.append(self._stop(network, found, xml, "its removal cuts off"))
        plan.ops += self._clearing(network)
        if found.persistent:
            plan.ops.append(Op("network", network.name, "undefine", args={"xml": xml, "autostart": found.autostart}))

    def _clearing(self, network):
        """Return the operation, if need be, that removes what a start left which was cut off."""
        bridge = self._left.get(network.name)
        note = f"{bridge}, left over of a start that was cut off"
        return [Op("network", network.name, "clear", note=note, args={"bridge": bridge})] if bridge else []

    def _stop(self, network, found, xml, what):
        """Return the operation that stops a running network; C(what) is what that does to its guests, in words."""
        nics = self._nics_of(network, found.running)
        self._refuse_disruption(network, nics, what)
        return Op(
            "network",
            network.name,
            "stop",
            "recreate" if nics else "none",
            _guests(nics),
            args={"xml": xml, "persistent": found.persistent},
            nics=_named(nics),
        )

    def _refuse_disruption(self, network, nics, what):
        if nics and self.disruption != "allow":
            raise InvalidInput(
                f"{what} the running guests {', '.join(_guests(nics))}",
                network.name,
                f"{network.option}",
                f"disruption: {self.disruption} forbids it; stop or re-wire them first, or say disruption: allow.",
            )

    def _after(self, network, normal, state, autostart, pending=()):
        normal = dict(self._told(network, normal))
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
        xml, after = definition.dump(tree), definition.parse(tree)
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
        if active:
            plan.ops += self._plugging(network, after)
        plan.after[network.name] = self._after(network, after, "active" if active else "inactive", autostart)

    def _plan_change(self, plan, network, found, before):
        tree = definition.edit(network, found.main, self.purge)
        xml, old = definition.dump(tree), definition.dump(found.main)
        was = found.normal
        after = was if xml == old else definition.parse(tree)
        changed = [key for key in after if after[key] != was[key]]
        state = before["state"] if network.state == "present" else network.state
        stays_transient = not (found.persistent or network.persistent)
        ops, pending = [], []
        if found.persistent and (changed or not before["owned"]):
            # First the stored definition: a restart reads it.
            verb = "define" if before["owned"] else "adopt"
            ops.append(Op("network", network.name, verb, note=", ".join(changed), args={"xml": xml, "old": old}))
        elif network.persistent and not found.persistent:
            ops.append(Op("network", network.name, "define", note="persistent", args={"xml": xml, "old": None}))
        if found.active and state == "inactive":
            ops.append(self._stop(network, found, old, "stopping it cuts off"))
        elif found.active:
            if stays_transient and not before["owned"]:
                ops.append(self._mark_running(network))
            pending = self._plan_running(plan, ops, network, found, xml, after)
        if found.persistent and not network.persistent:
            args = {"xml": old, "autostart": found.autostart}
            ops.append(Op("network", network.name, "undefine", note="transient", args=args))
        if not found.active and state == "active":
            ops += self._clearing(network)
            ops.append(Op("network", network.name, "start", args={"bridge": network.bridge}))
        if state == "active":
            if found.active and self._served is not None and dnsmasq.lost(network.name, found.running, ops, self._served):
                ops.append(Op("network", network.name, "serve", "live", note="its dnsmasq had ended"))
            ops += self._plugging(network, after)
        autostart = network.autostart and network.persistent
        if autostart != before["autostart"] and network.persistent:
            ops.append(Op("network", network.name, "autostart", args={"value": autostart}))
        plan.ops += ops
        if not network.persistent and state == "inactive":
            return
        plan.after[network.name] = self._after(network, after, state, autostart, pending)

    def _plugging(self, network, after):
        """Return the operation, if need be, that puts back guests which somebody cut off: C(virsh net-destroy) leaves their NICs
        in no bridge, and no start of the network puts them back.
        """
        elsewhere = self.client.remote or self.client.unprivileged
        if elsewhere or after["bridge"] is None or (after["virtualport"] or {}).get("type") == "openvswitch":
            return []
        nics = replug.unplugged([nic for nic in self._nics_of(network, after) if nic.network])
        if not nics:
            return []
        note = "NICs that are in no bridge"
        args = {"side": replug.Side(after), "nics": nics}
        return [Op("network", network.name, "plug", "live", _guests(nics), note=note, args=args, nics=_named(nics))]

    def _mark_running(self, network):
        """Return the operation that marks a running network which is stored nowhere as ours."""
        version = self.client.version()
        if version[:2] < MARK_LIVE:
            raise Unsupported(
                f"taking over a transient network needs libvirt {'.'.join(map(str, MARK_LIVE))}; "
                f"this host has {'.'.join(map(str, version))}",
                network.name,
                f"{network.option}.persistent",
                "Store it with persistent: true, or update libvirt.",
            )
        return Op("network", network.name, "adopt", args={"mark": definition.mark(network)})

    def _plan_running(self, plan, ops, network, found, xml, after):
        """Plan what brings the running definition to C(xml); return the fields in which it stays behind."""
        # A mark that changes is in the stored definition only.
        running = {**found.running, **{key: after[key] for key in live.MARK_FIELDS}}
        updates, restart = live.live_updates(running, after)
        if not restart:
            if updates:
                ops.append(Op("network", network.name, "update", "live", args={"updates": updates}))
                self._warn_of_what_nics_keep(plan, network, running, after)
            return []
        nics = self._nics_of(network, running)
        reasons = ", ".join(sorted(restart))
        # In a bridge of the host's, and on a macvtap, guests do not notice that libvirt's network was gone.
        unnoticed = running["forward"] == after["forward"] == "bridge" and running["bridge"] == after["bridge"]
        if nics and not unnoticed:
            if self.disruption == "live_only":
                self._refuse_disruption(network, nics, f"changing {reasons} restarts the network under")
            if self.disruption == "defer":
                return self._defer(plan, network, found, running, after, reasons)
        if nics and None in (running["bridge"], after["bridge"]) and {"bridge", "uplink"} & set(restart):
            raise InvalidInput(
                f"{reasons} change under the running guests {', '.join(_guests(nics))}, "
                "whose NICs are bound to a macvtap or a bridge",
                network.name,
                f"{network.option}.attach",
                "Stop them first, or declare a second network and wire them to it.",
            )
        if nics and self.client.remote:
            raise InvalidInput(
                f"changing {reasons} restarts the network under the running guests {', '.join(_guests(nics))}, "
                "whose NICs can only be put back on their own host",
                network.name,
                f"{network.option}",
                "Run the task on that host, with a local uri, or say disruption: defer.",
            )
        if not nics:
            effect, outage_s = "none", 0
        elif unnoticed:
            effect, outage_s = "live", 0
        else:
            own_rules = "nat" in (running["forward"], after["forward"])
            effect, outage_s = "replug", outage.replug(after["stp"], after["delay"], own_rules)
        noticing = nics if effect == "replug" else ()
        persistent = found.persistent or network.persistent
        # On a bridge of the host's only the guests' links move; on one of libvirt's, all that are in it. Another host's bridge
        # may have a namesake here.
        links = () if self.client.remote else None
        if running["forward"] == "bridge":
            links = tuple(sorted(nic.link for nic in nics if nic.network and running["bridge"]))
        change = replug.Restart(
            replug.Side(running, definition.dump(found.live)),
            replug.Side(after, None if persistent else xml),
            persistent,
            nics,
            links,
        )
        ops.append(
            Op(
                "network",
                network.name,
                "restart",
                effect,
                _guests(noticing),
                outage_s,
                note=reasons,
                args={"change": change},
                nics=_named(noticing),
            )
        )
        self._warn_of_what_nics_keep(plan, network, running, after)
        return []

    def _defer(self, plan, network, found, running, after, reasons):
        if not (found.persistent or network.persistent):
            raise InvalidInput(
                f"{reasons} cannot be left for its next start: it is stored nowhere",
                network.name,
                f"{network.option}.persistent",
                "Say disruption: allow, or store the network with persistent: true.",
            )
        plan.warnings.append(
            f"{network.name}: {reasons} changed in the stored definition only; the running network follows at its next start."
        )
        return sorted(key for key in after if after[key] != running[key])

    def _warn_of_what_nics_keep(self, plan, network, running, after):
        kept = [key for key in KEPT_BY_NICS if running[key] != after[key]]
        if not kept:
            return
        # A NIC without a port group has that of the default one.
        groups = {row["name"] for row in running["portgroups"] if row not in after["portgroups"]}
        defaults = [[row for row in side["portgroups"] if row["default"]] for side in (running, after)]
        default = defaults[0] != defaults[1]
        nics = [
            nic
            for nic in self._nics_of(network, running)
            if nic.network and (kept != ["portgroups"] or (nic.portgroup in groups if nic.portgroup else default))
        ]
        if nics:
            names = ", ".join(f"{nic.guest} {nic.mac}" for nic in nics)
            plan.warnings.append(
                f"{network.name}: a NIC has its {' and '.join(kept)} from when it was plugged in; what changed of it reaches "
                f"{names} when they are plugged in anew, at their guest's next start say."
            )

    def baseline(self, before, plan):
        # libvirt turns forwarding on with the first network that needs it, and never off: ip_forward takes it back.
        starts = {op.name for op in plan.ops if op.op in ("start", "create")}
        if self.client.remote or not any(plan.after[name]["forward"] in ("open", "nat") for name in starts):
            return {}
        values = {key: self.host.sysctl(key) for key in (sysctl.IPV4, sysctl.IPV6)}
        return {f"sysctl:{key}": value for key, value in values.items() if value is not None}

    # -- doing it -------------------------------------------------------------------------------------------------

    def beside(self, op):
        # libvirt takes most of the time, and starts several networks at once as gladly as one. Those that were there before
        # may stand in each other's way, and in that of the new ones: theirs go one after another.
        return op.name not in self.found and op.op in ("define", "create", "start", "autostart")

    def apply(self, op):
        name, args = op.name, op.args
        if "mark" in args:
            self.client.mark_live(name, args["mark"])
        elif op.op in ("define", "adopt"):
            self.client.define(name, self._with_identity(name, args["xml"]))
        elif op.op == "create":
            self.client.create_transient(name, args["xml"])
        elif op.op == "start":
            self.client.start(name)
        elif op.op == "stop":
            self.client.stop(name)
        elif op.op == "clear":
            leftovers.clear(self.host, name, args["bridge"], self.found[name])
        elif op.op == "undefine":
            self.client.undefine(name)
        elif op.op == "autostart":
            self.client.set_autostart(name, args["value"])
        elif op.op == "update":
            self.client.update_live(name, args["updates"])
        elif op.op == "restart":
            replug.restart(self.client, self.host, name, args["change"])
        elif op.op == "serve":
            dnsmasq.start(self.client, name)
        elif op.op == "plug":
            replug.plug(self.client, self.host, name, args["side"], args["nics"])
        else:
            raise CommandFailed(f"unknown operation {op.op}", name)

    def revert(self, op):
        name, args = op.name, op.args
        if "mark" in args:
            self.client.mark_live(name, None)
        elif op.op in ("define", "adopt"):
            if args["old"] is None:
                self.client.undefine(name)
            else:
                self.client.define(name, args["old"])
        elif op.op in ("start", "create"):
            self.client.stop(name)
        elif op.op == "restart":
            replug.restart(self.client, self.host, name, args["change"].back())
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


def _guests(nics):
    """Return the names of the guests that NICs belong to."""
    return tuple(sorted({nic.guest for nic in nics}))


def _named(nics):
    """Return NICs as plan.Op has them."""
    return tuple(nic.named for nic in nics)
