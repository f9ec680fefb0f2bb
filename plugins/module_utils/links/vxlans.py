# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of VXLAN devices: a network's way to its other hosts."""

from __future__ import annotations

import ipaddress
import json

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict, InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.links import batch, forms
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import vxlan_files
from ansible_collections.virtnet.kvm.plugins.module_utils.links.room import LinkRoom
from ansible_collections.virtnet.kvm.plugins.module_utils.model_stretch import OVERHEAD, PORT
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan


def peer_key(text):
    return int(ipaddress.ip_address(text))


class VxlanRoom(LinkRoom):
    """Converges VXLAN devices; their keeper is a unit of ours (persist/vxlan_unit.py)."""

    key = "vxlans"
    kind = "vxlan"
    fields = ("name", "type", "state", "vni", "local", "udp_port", "peers", "learning", "home", "attached", "mtu", "service")

    def normal(self, form, texts):
        shown = super().normal(form, texts)
        # To others its bridge is the one whose port it is meant to be.
        return {{"home": "bridge", "udp_port": "port"}.get(key, key): value for key, value in shown.items()}

    def gather(self):
        self._forwarding = None
        found = super().gather()
        self._state = self.manager.state() if found or any(item.wanted for item in self.items) else None
        return {name: {**one, "service": self._state if one["owned"] else None} for name, one in found.items()}

    def form(self, link):
        form = super().form(link)
        # Whose port it is to be stands in its file: the bridge may be gone for a while, with its network.
        home = vxlan_files.home("".join(self.manager.own(link.name).values())) or form["bridge"]
        form.update(home=home, attached=home is not None and form["bridge"] == home, service=None)
        if form["type"] == "vxlan":
            # Of one that does not learn they are somebody else's, who looks after them.
            form["peers"] = [] if form["learning"] is False else self._peers(link.name)
        else:
            form.update(dict.fromkeys(("vni", "local", "udp_port", "learning"), None), peers=[])
        return form

    def _peers(self, name):
        """Return a device's peers; the host's table is read once for all of them."""
        if self._forwarding is None:
            self._forwarding = {}
            _rc, out, _err = self.host.run(["bridge", "-j", "fdb", "show"], what="reading the peers")
            for row in json.loads(out or "[]"):
                if row.get("mac") == batch.EVERYBODY and row.get("dst"):
                    self._forwarding.setdefault(row.get("ifname"), set()).add(row["dst"])
        return sorted(self._forwarding.get(name, ()), key=peer_key)

    def plan(self, before):
        plan, ops = Plan({}), []
        for item in self.items:
            link = self.links.get(item.name)
            if not item.wanted and link is None:
                ops.append(self.op(item, None, None, {}))
                continue
            if not item.wanted and not self.owned(link):
                # Of ours there is none, of others it is nobody's business here.
                plan.after[item.name] = before[item.name]
                continue
            self.refuse_foreign(item)
            if link is not None and link.kind != "vxlan":
                raise InvalidInput(
                    f"it is a {link.kind}, not a VXLAN device", item.name, f"{item.option}.name", "Choose another name."
                )
            current = None if link is None else self.form(link)
            if not item.wanted:
                ops.append(self._removal(plan, item, current))
                continue
            target = self._target(item, current)
            self._check(item, target)
            effect = "none" if current is None else "live"
            texts = self.manager.link_files(target)
            ops.append(self.op(item, current, target, texts, effect=effect, baseline=self.adopted(item)))
            plan.after[item.name] = {
                **self.normal({**target, "owned": True}, texts), "service": self.manager.wanted_state,
            }  # fmt: skip
        self.finished(plan, ops)
        wanted = any(item.wanted for item in self.items)
        note = f"the unit is {self._state}" if wanted and self._state != self.manager.wanted_state else ""
        if not wanted and self.manager.left():
            note = "the unit has no device left"  # of a run that was cut off
        if note and not any(op.kind == "manager" for op in plan.ops):
            args = {"names": [], "baseline": {}, "files": {}, "old_files": {}, "restart": False}
            plan.ops.append(Op("manager", self.manager.name, "reload", note=note, args=args))
        if wanted and self.manager.name == "none":
            plan.warnings.append(
                "This host does not run systemd: nothing makes the VXLAN devices at boot, or puts them back into a bridge that "
                f"is made anew. Let its init run: sh {vxlan_files.SCRIPT} make, and watch beside it."
            )
        return plan

    def _removal(self, plan, item, current):
        known = self._journal.get(self.journal_key(item.name))
        if known:
            plan.after[item.name] = self.normal({**known, "owned": False, "service": None}, {})
            return self.op(item, current, known, {}, verb="restore", effect="live")
        return self.op(item, current, None, {}, effect="live" if current["attached"] else "none")

    def _target(self, item, current):
        values = {key: value for key, value in item.values.items() if key != "bridge"}
        start = current or {
            "name": item.name, "state": "up", "mac": None, "description": None, "addresses": [], "gateway": [], "routes": [],
            "vni": None, "local": None, "udp_port": None, "peers": [], "learning": True, "mtu": None, "home": None,
            "bridge": None,
        }  # fmt: skip
        target = {**start, **values, "type": "vxlan", "state": "up", "description": forms.ALIAS, "owned": True, "service": None}
        target["udp_port"] = PORT
        if not target["learning"]:
            target["peers"] = []
        target["peers"] = sorted(target["peers"], key=peer_key)
        target["home"] = item.values.get("bridge", start["home"])
        there = getattr(self.links.get(target["home"]), "kind", None) == "bridge"
        # Without its bridge it waits; the unit puts it there.
        target.update(bridge=target["home"] if there else None, attached=there)
        return target

    def _check(self, item, target):
        for key, what in (("vni", "network identifier"), ("local", "address of this host")):
            if target[key] is None:
                raise InvalidInput(f"a new VXLAN device without {what}", item.name, f"{item.option}.{key}", "Give it.")
        for link in self.links.values():
            other = link.form
            same = link.name != item.name and link.kind == "vxlan" and other["vni"] == target["vni"]
            if same and other["udp_port"] == target["udp_port"] and (":" in (other["local"] or "")) == (":" in target["local"]):
                raise Conflict(
                    f"the VXLAN device {link.name} has the network identifier {target['vni']} already", item.name,
                    f"{item.option}.vni", "Choose another one, on all hosts of the network.",
                )
        self._check_mtu(item, target)

    def _check_mtu(self, item, target):
        carrier = next((link for link in self.links.values() if _has(link, target["local"])), None)
        if carrier is None:
            raise InvalidInput(
                f"no link of this host has the address {target['local']}", item.name, f"{item.option}.local",
                "Give the address by which the other hosts reach this one.",
            )
        most = carrier.form["mtu"] - OVERHEAD[6 if ":" in target["local"] else 4]
        if "mtu" in item.values and target["mtu"] > most:
            raise InvalidInput(
                f"the MTU {target['mtu']} is too large for {carrier.name}, which has {carrier.form['mtu']}", item.name,
                f"{item.option}.mtu", f"Use at most {most}, or leave it out.",
            )
        if "mtu" not in item.values and (target["mtu"] is None or target["mtu"] > most):
            target["mtu"] = most


def _has(link, address):
    texts = [*(one.partition("/")[0] for one in link.form["addresses"]), *(row["local"] for row in link.dynamic)]
    return any(ipaddress.ip_address(text) == ipaddress.ip_address(address) for text in texts)
