# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of host bridges, and of the uplink's way into one and out again."""

from __future__ import annotations

import dataclasses

from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import (
    Conflict,
    InvalidInput,
    MissingDependency,
    Unsupported,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.links import (
    batch,
    forms,
    iproute2,
    sysctl,
    vlans,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.links import route_sets as others
from ansible_collections.virtnet.kvm.plugins.module_utils.links.moves import MovingRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import keepers as persist
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Plan
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import journal

_TAPS = ("tap", "tun")
#: Kinds of links whose lower link cannot be a bridge's port beside (the kernel's rx_handler).
_EXCLUSIVE = ("macvlan", "macvtap")


class BridgeRoom(MovingRoom):
    key = "bridges"
    kind = "bridge"
    fields = (
        "name", "state", "ports", "addresses", "gateway", "dns", "routes", "mtu", "mac", *forms.BRIDGE_OPTIONS,
        "port_options", "vlans", "ipv6",
    )

    #: what a new bridge is set to
    _NEW = {option: default for option, (_key, default) in forms.BRIDGE_OPTIONS.items()}

    def __init__(self, host, items, manager, adopt=False):
        super().__init__(host, items, manager, adopt)
        self._items = {item.name: item for item in items}

    # -- what is there --------------------------------------------------------------------------------------------

    def present(self, item):
        return self.links[item.name].kind == "bridge"

    def form(self, link):
        form = super().form(link)
        if link.kind == "bridge":
            # Taps come and go with guests; only those that are declared are ours to speak of.
            item = self._items.get(link.name)
            declared = item.more.get("ports", ()) if item else ()
            form["ports"] = sorted(one for one in link.ports if not self._comes_by_itself(one) or one in declared)
            form["ipv6"] = self.host.sysctl(sysctl.link_key(link.name, "disable_ipv6")) == "0"
            form["dns"] = self.manager.dns(link.name)
            if forms.ageing_is_hidden(link.row):
                known = self.manager.ageing(link.name)
                form["ageing"] = known if known is not None else (item.values if item else {}).get("ageing", self._NEW["ageing"])
            form["port_options"] = self._options_of_ports(item)
            form["vlans"] = link.vlans
        return form

    def _comes_by_itself(self, name):
        """Whether a port is a tap, or a VXLAN device of ours, which puts itself there (vxlan_iface)."""
        link = self.links[name]
        return link.kind in _TAPS or (link.kind == "vxlan" and link.alias == forms.ALIAS)

    def normal(self, form, texts):
        # What does not filter has VLANs in name only.
        return super().normal({**form, "vlans": form["vlans"] if form["vlan_filtering"] else None}, texts)

    def read_links(self):
        options = {"vlan_filtering", "vlan_default_pvid", "vlans"}
        declared = any(
            options & set(item.values) or any("vlans" in one for one in item.more.get("port_options", {}).values())
            for item in self.items
        )
        return iproute2.read(self.host, unused_vlans=declared)

    def _options_of_ports(self, item):
        """Return what is declared of ports as it is now: the kernel sets the rest as it likes."""
        found = []
        for name, declared in (item.more.get("port_options", {}) if item else {}).items():
            port = self.links.get(name)
            if port is not None and port.form["bridge"] == item.name:
                now = self._port(port)
                found.append({"name": name, **{option: now.get(option) for option in declared}})
        return found

    @staticmethod
    def _port(port):
        """Return all that a port is set to."""
        options = forms.port_options(port.row)
        return options if not options or port.vlans is None else {**options, "vlans": port.vlans}

    def gather(self):
        before = super().gather()
        for item in self.items:
            if item.name in before:
                before[item.name]["files"] = self._own(item, self.links[item.name].ports)
        return before

    def _own(self, item, ports):
        """Return our files of a bridge and of its ports; of taps of ours only if they are declared as ports."""
        found = dict(self.manager.own(item.name))
        declared = item.more.get("ports", ())
        for port in sorted({*ports, *declared}):
            link = self.links.get(port)
            if link is not None and (port in declared or not self._made(link)):
                found.update(self.manager.own(port))
        return found

    def _orphaned(self, item):
        """Return our files of ports that somebody else took out of the bridge, or that are gone, and what was there before."""
        own, former = {}, {}
        for key, known in self._journal.items():
            kind, _colon, name = key.partition(":")
            if kind != "port" or known["bridge"] != item.name or name in item.more.get("ports", ()):
                continue
            if name not in self.links or self.links[name].form["bridge"] is None:
                own.update(self.manager.own(name))
                former.update(known["files"])
        return own, former

    def _made(self, link):
        """Whether a port is a tap of ours, whose files stay when it leaves the bridge."""
        return link.kind in _TAPS and self.owned(link)

    # -- what shall be --------------------------------------------------------------------------------------------

    def plan(self, before):
        plan, ops = Plan({}), []
        for item in self.items:
            link = self.links.get(item.name)
            if link is not None and link.kind != "bridge":
                raise Conflict(f"a {link.kind} of that name is there", item.name, f"{item.option}.name", "Choose another name.")
            self.refuse_foreign(item)
            if item.wanted:
                ops.append(self._wanted(plan, item, link))
            elif link is not None:
                ops.append(self._removal(plan, item, link))
            else:
                orphaned, left = self._orphaned(item)
                ops.append(self.op(item, None, None, left, own={**self.manager.own(item.name), **orphaned}))
        adopted = any(op is not None and self.journal_key(op.name) in op.args["baseline"] for op in ops)
        return self.finished(plan, ops, restart=adopted and self.manager.name != "none")

    def _wanted(self, plan, item, link):
        current = None if link is None else self.form(link)
        ports, joining, leaving = self._ports(plan, item, link)
        uplink = next((port for port in joining if self._addressed(port)), None)
        if uplink is not None:
            self._check_take_over(item, uplink, joining)
        target = self._target(item, link, ports, uplink)
        with self.asked_of_manager(item):
            texts = self._texts(item, target, ports, uplink)
        after = forms.down(target)
        options = item.more.get("port_options", {})
        pairs = [
            (port.form, {**self._bare(port), "bridge": item.name, "state": "up", "port": options.get(port.name, {})})
            for port in joining
        ]
        otherwise = self._other_options(item, link, [*joining, *leaving], after)
        pairs += otherwise
        pairs += [(self._inside(port), self._former(port)) for port in leaving]
        touched = [*(port.name for port in (*joining, *leaving)), *(one["name"] for one, _other in otherwise)]
        name = item.name
        if current is None:
            after["made"] = "bridge" in self.manager.makes
        moves = self._moved_by_manager([*joining, *leaving])
        pairs = [(old, new) for old, new in pairs if new["name"] not in moves]
        source = uplink if uplink and uplink.name not in moves else None
        if moves or current is None:
            lines = batch.moved(self.for_ip(current), self.for_ip(after), pairs, source, name)
        else:
            lines = batch.moved(current, after, pairs, source, name)
        undo_pairs = [(new, old) for old, new in pairs]
        back = source.name if source and current is None else None
        if current is None and moves:
            undo = []  # it goes with its profile
        elif moves:
            undo = batch.moved(self.for_ip(after), self.for_ip(current), undo_pairs, later=True)
        else:
            undo = batch.moved(after, current, undo_pairs, source if back else None, back, later=True)
        undo += self._out_of_default(leaving, current)
        if current is not None and not pairs and not batch.between(current, after):
            lines, undo = [], []
        sysctls = {}
        if current is None or current["ipv6"] != after["ipv6"]:
            sysctls[sysctl.link_key(name, "disable_ipv6")] = int(not after["ipv6"])
        if current is None and uplink is None:
            # What guests advertise is nothing for their host.
            sysctls[sysctl.link_key(name, "accept_ra")] = 0
        own = self._own(item, link.ports if link else ())
        former = self._of_former(leaving)
        early = self._changes({path: text for port in leaving for path, text in self.manager.own(port.name).items()}, former)
        own.update({path: text for port in leaving for path, text in self.manager.own(port.name).items()})
        orphaned, left = self._orphaned(item) if "ports" in item.more else ({}, {})
        own.update(orphaned)
        former.update(left)
        op = self.op(
            item, current, after, {**former, **texts}, lines=(lines, undo), own=own, sysctls=sysctls,
            effect=self._effect(current, uplink, joining), always=bool(sysctls), early=early,
            baseline={**self.adopted(item), **{self._port_key(port): self._remember(port, item, uplink) for port in joining}},
            gateways=self._gateways(after, uplink) if uplink else [], names=touched, moves=moves,
            **({"verb": "take_over"} if uplink else {}),
        )
        plan.after[name] = self.normal({**after, "owned": True}, dict(sorted(texts.items())))
        return op

    def _moved_by_manager(self, ports):
        """Return the names of those ports that the manager takes into a bridge or out of it by itself."""
        return [port.name for port in ports if self.manager.moves and port.kind not in _TAPS]

    def _other_options(self, item, link, moving, after):
        """Return (form before, form after) of the ports that stay and are to be set otherwise than they are."""
        pairs = []
        for port in (self.links[name] for name in (link.ports if link else ())):
            if port in moving:
                continue
            now, options = self._port(port), dict(item.more.get("port_options", {}).get(port.name, {}))
            default = link.form["vlan_default_pvid"], after["vlan_default_pvid"]
            if default[0] != default[1] and "vlans" in now:
                # The kernel changes those of ports, too; what it does not change back is put back.
                options.setdefault("vlans", vlans.with_default(now["vlans"], *default))
            was = {option: now.get(option) for option in options}
            if was != options or ("vlans" in options and default[0] != default[1]):
                pairs.append(({**self._inside(port), "port": was}, {**self._inside(port), "port": options}))
        return pairs

    @staticmethod
    def _effect(current, uplink, joining):
        return "live" if current is not None or uplink or joining else "none"

    def _ports(self, plan, item, link):
        """Return (names of all declared ports, Links that join, Links that leave)."""
        present = [] if link is None else self.form(link)["ports"]
        if "ports" not in item.more:
            return present, [], []
        joining = []
        for index, name in enumerate(item.more["ports"]):
            port = self.links.get(name)
            where = f"{item.option}.ports[{index}]"
            if port is None:
                plan.unmet.append(MissingDependency(f"there is no link {name}", item.name, where, "See ip link."))
                continue
            if port.form["bridge"] == item.name:
                continue
            if port.form["bridge"]:
                raise Conflict(f"{name} is a port of {port.form['bridge']}", item.name, where, "Take it out there first.")
            if port.kind in ("bridge", "loopback", "tun"):
                raise InvalidInput(f"{name} is a {port.kind} and cannot be a port", item.name, where)
            upon = sorted(one.name for one in self.links.values() if one.row.get("link") == name and one.kind in _EXCLUSIVE)
            if upon:
                raise Conflict(
                    f"{', '.join(upon)} on {name}: a link carries either macvtaps or a bridge", item.name, where,
                    "Stop the guests of the macvtap network first.",
                )
            keeper = persist.keeper(port)
            if keeper not in (None, self.manager.name) and self.manager.name != "none":
                raise Conflict(
                    f"{keeper} keeps {name}", item.name, where,
                    "Change it there, or say manager: none for a change until the next boot.",
                )
            joining.append(port)
        leaving = [self.links[name] for name in present if name not in item.more["ports"]]
        return sorted(item.more["ports"]), joining, leaving

    @staticmethod
    def _addressed(port):
        return bool(port.form["addresses"] or port.dynamic)

    def _check_take_over(self, item, uplink, joining):
        if not item.more.get("take_over"):
            raise Conflict(
                f"{uplink.name} has addresses, which do not work on a port: "
                + ", ".join(uplink.form["addresses"] or [row["local"] for row in uplink.dynamic]),
                item.name, f"{item.option}.take_over", "Say take_over: true, and they move to the bridge.",
            )
        if sum(map(self._addressed, joining)) > 1:
            raise Conflict("several of its ports have addresses", item.name, f"{item.option}.ports", "Take one of them over.")
        if item.state == "down":
            raise InvalidInput("an uplink cannot be taken over by a bridge that is down", item.name, f"{item.option}.state")
        if self.manager.name != "none" and self.manager.successor(uplink) is None:
            raise Conflict(
                f"{self.manager.name} does not manage {uplink.name}", item.name, f"{item.option}.ports",
                "Say manager: none for a change until the next boot.",
            )

    def _target(self, item, link, ports, uplink):
        if link is None:
            mtus = [self.links[port].form["mtu"] for port in ports if port in self.links]
            target = {
                "name": item.name, "type": "bridge", "state": "up", "mtu": min(mtus, default=1500), "bridge": None,
                "mac": uplink.form["mac"] if uplink else names.link_mac(self.machine(), item.name),
                "addresses": [], "gateway": [], "routes": [], "dns": [], "ipv6": True, "vlans": None, **self._NEW,
            }
        else:
            target = self.full(link)
        if uplink:
            for key in ("addresses", "gateway"):
                target[key] = [*target[key], *(one for one in uplink.form[key] if one not in target[key])]
            target["metrics"] = {**target.get("metrics", {}), **uplink.form["metrics"]}
            target["routes"] = sorted([*target["routes"], *uplink.form["routes"]], key=forms.route_key)
        target.update(item.values, description=forms.ALIAS, owned=True, ports=sorted(ports))
        target["port_options"] = [
            {"name": name, **declared} for name, declared in item.more.get("port_options", {}).items()
        ]
        if "routes" in item.values:
            # What others asked for (host_iface) is not in the bridge's own list.
            target["routes"] = others.merged(target["routes"], others.load(item.name).routes)
        if self.manager.name != "none":
            target["dns"] = item.more.get("dns", target["dns"])
        if item.state in ("up", "down"):
            target["state"] = item.state
        self._check_vlans(item, target)
        self.check_ways(item, uplink or link, target)
        asks = bool(uplink) or (link is not None and bool(link.dynamic))
        if link is None or "addresses" in item.values:
            target["ipv6"] = bool(target["addresses"]) or asks
        return target

    def _check_vlans(self, item, target):
        """Refuse VLANs that would be none; choose those of the bridge itself that nobody declares."""
        wanted = {f"{item.option}.vlans": item.values["vlans"]} if "vlans" in item.values else {}
        for index, one in enumerate(item.more.get("port_options", {}).values()):
            if "vlans" in one:
                wanted[f"{item.option}.port_options[{index}].vlans"] = one["vlans"]
        needed = item.values.get("vlan_filtering") or "vlan_default_pvid" in item.values
        if needed and not iproute2.know_vlans(self.host, self.links):
            raise Unsupported(
                "this kernel's bridges cannot filter VLANs", item.name, f"{item.option}.vlan_filtering",
                "It needs CONFIG_BRIDGE_VLAN_FILTERING, which distributions' own kernels have.",
            )
        filtering, default = target["vlan_filtering"], target["vlan_default_pvid"]
        vlans.check(wanted, filtering, default, item.option, item.name)
        if "vlans" not in item.values:
            now = self.links.get(item.name)
            former = None if now is None or now.vlans is None else (now.vlans, now.form["vlan_default_pvid"])
            target["vlans"] = vlans.kept(former, default) if filtering else None

    def _texts(self, item, target, ports, uplink):
        """Return the files of the bridge and of its ports."""
        base = self.manager.successor(uplink) if uplink else None
        if uplink and self.manager.name != "none":
            file_dns = item.more.get("dns")
            if file_dns is None:
                target["dns"] = self.manager.dns_of(base)
        # Its files say of VLANs only what was declared.
        texts = self.manager.link_files({**target, "vlans": item.values.get("vlans")}, base=base, dns=item.more.get("dns"))
        for name in ports:
            port = self.links.get(name)
            options = item.more.get("port_options", {}).get(name, {})
            if port is not None and self._made(port):
                texts.update(self.manager.link_files({**self.form(port), "bridge": item.name, "port": options}))
                continue
            known = self._journal.get(self._port_key(port)) if port else None
            taken = port is uplink if uplink else bool(known and known.get("taken"))
            texts.update(self.manager.port_files(name, item.name, uplink=taken, options=options))
        return texts

    @staticmethod
    def _gateways(after, uplink):
        found = forms.default_gateways(after)
        found += [row["gateway"] for row in uplink.dynamic_routes if row.get("dst") == "default" and row.get("gateway")]
        four = [one for one in found if ":" not in one]
        return (four or found)[:1]

    # -- back -----------------------------------------------------------------------------------------------------

    def _inside(self, port):
        """Return the form of a port, and what it takes to make it one again."""
        return {**port.form, "link_local": port.link_local, "port": self._port(port)}

    @staticmethod
    def _out_of_default(ports, bridge):
        """Return the lines that take ports which were not in the bridge's default VLAN out of it, once they are back."""
        default = bridge["vlan_default_pvid"] if bridge else 0
        lost = [port for port in ports if default and port.vlans is not None and default not in vlans.table(port.vlans)]
        return [f"vlan del dev {port.name} vid {default}" for port in lost]

    def _bare(self, port):
        return {**self._inside(port), "addresses": [], "gateway": [], "routes": [], "port": {}}

    @staticmethod
    def _port_key(port):
        return f"port:{port.name}"

    def _remember(self, port, item, uplink):
        return {"form": port.form, "files": self.manager.own(port.name), "taken": port is uplink, "bridge": item.name}

    def _former(self, port):
        known = self._journal.get(self._port_key(port))
        return known["form"] if known else {**port.form, "bridge": None}

    def _of_former(self, ports):
        found = {}
        for port in ports:
            if self._made(port):
                found.update(self.manager.link_files({**self.form(port), "bridge": self._former(port)["bridge"]}))
            else:
                found.update((self._journal.get(self._port_key(port)) or {}).get("files", {}))
        return found

    def _removal(self, plan, item, link):
        current = self.form(link)
        known = self._journal.get(self.journal_key(item.name))
        if known:
            # An older version of ours did not remember all of it.
            known = {**self._NEW, "vlans": None, **known, "port_options": []}
        ports = [self.links[name] for name in link.ports if self._port_key(self.links[name]) in self._journal]
        pairs = [(self._inside(port), self._former(port)) for port in ports]
        taken = next((port for port in ports if self._journal[self._port_key(port)].get("taken")), None)
        onto = taken.name if taken else None
        source = link if taken else None
        after = forms.down(known) if known else None
        guests = [name for name in link.ports if self.links[name].guest_tap]
        if guests:
            plan.warnings.append(f"{item.name}: guests are cut off, their taps were in it: {', '.join(sorted(guests))}.")
        if known and after:
            plan.after[item.name] = self.normal({**after, "owned": False, "ports": sorted(known["ports"])}, {})
        own = self._own(item, link.ports)
        for port in ports:
            own.update(self.manager.own(port.name))
        # What came by DHCP goes back with it, should the removal fail.
        dynamic = dataclasses.replace(taken, dynamic=link.dynamic, dynamic_routes=link.dynamic_routes) if taken else None
        # It is the manager who makes it again, if it ever comes to that.
        back = {**current, "made": bool(self.manager.seeds(item.name, own))}
        texts = self._of_former(ports)
        orphaned, left = self._orphaned(item)
        own.update(orphaned)
        texts.update(left)
        early = {path: text for path, text in self._changes(own, texts).items() if ports and path.endswith(".network")}
        if early:
            # networkd asks for addresses itself again; and it would put a port that leaves back in (257 dies of a bridge that
            # goes then).
            source = onto = dynamic = None
        moves = self._moved_by_manager(ports)
        pairs = [(old, new) for old, new in pairs if new["name"] not in moves]
        if moves:
            early, source, onto, dynamic = self._changes(own, texts), None, None, None
        undo = batch.moved(after, back, [(b, a) for a, b in pairs], dynamic, item.name, later=True)
        undo += self._out_of_default(ports, current)
        return self.op(
            item, current, after, texts, lines=(batch.moved(current, after, pairs, source, onto), undo),
            own=own, early=early, moves=moves, effect="recreate" if guests else ("live" if taken else "none"),
            names=[port.name for port in ports], gateways=self._gateways(self._former(taken), link) if taken else [],
            verb="give_back" if taken else ("restore" if known else "delete"),
        )

    def baseline(self, before, plan):
        found = super().baseline(before, plan)
        # A port that joins is in none of our bridges: what is remembered of it is of one that somebody removed by hand.
        journal.forget([key for key in found if key.startswith("port:")])
        return found

    # -- doing it -------------------------------------------------------------------------------------------------

    def finish(self, plan):
        super().finish(plan)
        gone = {item.name for item in self.items if not item.wanted}
        touched = {op.name for op in plan.ops if op.kind == self.kind}
        forget = []
        for key, known in self._journal.items():
            if key.startswith("port:") and known["bridge"] in touched | gone:
                port = self.links.get(key[len("port:") :])
                if port is None or port.form["bridge"] != known["bridge"]:
                    forget.append(key)
        journal.forget(forget)
