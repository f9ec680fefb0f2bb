# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ip_forward converges: forwarding of both IP versions, now and after a boot, without losing the host's own routes."""

from __future__ import annotations

import glob
import json
import os
import re

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import store
from ansible_collections.virtnet.kvm.plugins.module_utils.links import sysctl
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import journal

FILE = "/etc/sysctl.d/60-virtnet.conf"
KEYS = {"ipv4": sysctl.IPV4, "ipv6": sysctl.IPV6}
_FOLDERS = ("/usr/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d")
_LIBVIRT = "/run/libvirt/network"
_JOURNAL = "sysctl:"


class ForwardingRoom(Room):
    """Forwarding of this host; state absent goes back to what the journal remembers."""

    key = "forwarding"

    def __init__(self, host, ipv4, ipv6, absent):
        self._host = host
        self._absent = absent
        self._wanted = {"ipv4": ipv4, "ipv6": ipv6}
        if absent:
            # Neither given: both.
            self._wanted = {version: value or (None if ipv4 or ipv6 else True) for version, value in self._wanted.items()}
        self._settings = {}
        self._links = []

    # --- what is there ---

    def gather(self):
        text = files.read(FILE)
        if text is not None and sysctl.HEADER not in text:
            raise Conflict("the file is not one of virtnet.kvm's", FILE, cure="Move it away.")
        self._settings = sysctl.parse(text or "")
        self._links = self._links_to_keep() if self._has("ipv6") else []
        return {version: self._form(version) for version in KEYS if self._has(version)}

    def _has(self, version):
        return self._wanted[version] is not None and self._host.sysctl(KEYS[version]) is not None

    def _form(self, version):
        form = {
            "family": version,
            "running": self._host.sysctl(KEYS[version]) == "1",
            "persistent": {"0": False, "1": True}.get(self._settings.get(KEYS[version])),
        }
        if version == "ipv6":
            keys = {link: sysctl.link_key(link, "accept_ra") for link in self._links}
            form["accept_ra"] = {
                link: {"running": int(self._host.sysctl(key)), "persistent": self._settings.get(key) == "2"}
                for link, key in keys.items()
            }
        return form

    def _links_to_keep(self):
        _rc, out, _err = self._host.run(["ip", "-j", "-6", "route", "show", "table", "all", "proto", "ra"])
        advertised = {
            hop["dev"] for route in json.loads(out or "[]") for hop in [route, *route.get("nexthops", ())] if "dev" in hop
        }
        _rc, out, _err = self._host.run(["ip", "-j", "-6", "address", "show", "scope", "global", "dynamic"])
        advertised |= {row["ifname"] for row in json.loads(out or "[]") if row.get("ifname") and row.get("addr_info")}
        return sysctl.links_to_keep(self._accept_ra(), advertised, self._settings)

    def _accept_ra(self):
        """Return {link: accept_ra}."""
        links = {path.split("/")[-2]: path for path in glob.glob("/proc/sys/net/ipv6/conf/*/accept_ra")}
        return {link: (files.read(path) or "").strip() for link, path in links.items() if link not in ("all", "default")}

    # --- what shall be ---

    def plan(self, before):
        return self._plan_absent(before) if self._absent else self._plan_present(before)

    def _plan_present(self, before):
        after, ops = {}, []
        for version, form in before.items():
            wanted = self._wanted[version]
            after[version] = {**form, "running": wanted, "persistent": wanted}
            running = {}
            if version == "ipv6" and wanted:
                after[version]["accept_ra"] = {link: {"running": 2, "persistent": True} for link in form["accept_ra"]}
                running = {sysctl.link_key(link, "accept_ra"): "2" for link in form["accept_ra"]}
            if after[version] != form:
                running[KEYS[version]] = str(int(wanted))  # last: by now no route can be lost
                settings = {**_of(self._settings, version), **running}
                verb = "enable" if wanted else "disable"
                ops.append(Op("forwarding", version, verb, "live", args={"running": running, "file": settings}))
        return Plan(after, ops, self._overridden())

    def _overridden(self):
        texts = {}
        for folder in _FOLDERS:
            for path in glob.glob(os.path.join(folder, "*.conf")):
                texts[os.path.basename(path)] = files.read(path) or ""
        return [
            f"At boot {name} is read after {FILE} and sets {KEYS[version]} to {value}."
            for version, wanted in self._wanted.items() if wanted is not None
            for name, value in sysctl.later(texts, os.path.basename(FILE), KEYS[version]) if value != str(int(wanted))
        ]

    def _plan_absent(self, before):
        known = {key[len(_JOURNAL):]: value for key, value in journal.load().items() if key.startswith(_JOURNAL)}
        after, ops, warnings = {}, [], []
        for version, form in before.items():
            after[version] = form
            ours, others = self._needed_by(version)
            if ours:
                warnings.append(f"{version} forwarding stays as it is: {_list(ours)} need it.")
                continue
            running = _of(known, version)
            if others and form["running"] and (running.get(KEYS[version]) == "0" or form["persistent"]):
                warnings.append(f"{version} forwarding stays on, though no longer by virtnet.kvm: {_list(others)} need it.")
                running = {}
            # Forwarding first: with it off, accept_ra may be lowered and no route is lost.
            order = sorted(running, key=lambda key: key != KEYS[version])
            running = {key: running[key] for key in order if self._host.sysctl(key) is not None}
            after[version] = self._restored(form, version, running)
            if after[version] != form or running:
                ops.append(Op("forwarding", version, "restore", "live", args={"running": running, "file": {}}))
        return Plan(after, ops, warnings)

    def _restored(self, form, version, running):
        value = running.get(KEYS[version])
        after = {**form, "running": form["running"] if value is None else value == "1", "persistent": None}
        if version == "ipv6":
            kept = {}
            for link, one in form["accept_ra"].items():
                now = int(running.get(sysctl.link_key(link, "accept_ra"), one["running"]))
                if now == 1:  # only then would forwarding harm it again
                    kept[link] = {"running": 1, "persistent": False}
            after["accept_ra"] = kept
        return after

    def _needed_by(self, version):
        """Return who else needs forwarding: (what is left in our own store, others on this host)."""
        colon = version == "ipv6"
        state = store.load()
        ours = [
            f"the network {one.name}" for one in state.parsed()
            if one.model in ("nat", "routed") and (not one.subnets or any((":" in str(net)) == colon for net in one.subnets))
        ]
        ours += [f"the rules of set {owner}" for owner in state.rules]
        others = []
        for path in sorted(glob.glob(os.path.join(_LIBVIRT, "*.xml"))):
            if libvirt_forwards(files.read(path) or "", colon):
                others.append(f"libvirt's network {os.path.basename(path)[: -len('.xml')]}")
        if not colon and os.path.exists("/run/docker.sock"):
            others.append("Docker")
        return ours, others

    # --- effects ---

    def baseline(self, before, plan):
        if self._absent:
            return {}
        return {f"{_JOURNAL}{key}": self._host.sysctl(key) for op in plan.ops for key in op.args["running"]}

    def apply(self, op):
        for key, value in op.args["running"].items():
            if self._host.sysctl(key) != value:
                self._host.set_sysctl(key, value)
        present = sysctl.parse(files.read(FILE) or "")
        of_others = {key: value for key, value in present.items() if key not in _of(present, op.name)}
        settings = {**of_others, **op.args["file"]}
        if settings:
            files.write(FILE, sysctl.render(dict(sorted(settings.items()))), mode=0o644)
        else:
            files.remove(FILE)

    def finish(self, plan):
        if self._absent:
            journal.forget([f"{_JOURNAL}{key}" for op in plan.ops for key in op.args["running"]])


def _of(settings, version):
    """Return the settings of one IP version."""
    return {key: value for key, value in settings.items() if key.startswith("net.ipv6.") == (version == "ipv6")}


def _list(names):
    shown = names[:3] + ([f"{len(names) - 3} more"] if len(names) > 3 else [])
    return ", ".join(shown)


def libvirt_forwards(status, ipv6):
    """Return whether libvirt's status file of an active network is that of one whose packets the host forwards. Pure."""
    match = re.search(r"<forward\b[^>]*>", status)
    if not match or "<bridge " not in status:
        return False
    mode = re.search(r"\bmode=['\"](\w+)['\"]", match.group())
    if (mode.group(1) if mode else "nat") not in ("nat", "route", "open"):
        return False
    return bool(re.search(r"<ip\b[^>]*\bfamily=['\"]ipv6['\"]", status)) or not ipv6
