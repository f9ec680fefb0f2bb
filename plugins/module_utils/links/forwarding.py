# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ip_forward converges: forwarding of both IP versions, of all links or of single ones, now and after a boot, without losing
the host's own routes.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from dataclasses import dataclass
from typing import Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict, MissingDependency, Unsupported, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import store
from ansible_collections.virtnet.kvm.plugins.module_utils.links import sysctl
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import journal

FILE = "/etc/sysctl.d/60-virtnet.conf"
VERSIONS = ("ipv4", "ipv6")
_FOLDERS = ("/usr/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d")
_LIBVIRT = "/run/libvirt/network"
_JOURNAL = "sysctl:"


@dataclass(frozen=True)
class Target:
    """What is forwarded: packets of an IP version, all or those that come in on one link."""

    version: str
    link: Optional[str] = None

    @property
    def name(self):
        return self.version if self.link is None else f"{self.version} {self.link}"

    @property
    def key(self):
        return sysctl.forward_key(self.version, self.link)

    @property
    def keeps_routes(self):
        """Whether it makes a router of the host, which takes no advertisements in by itself."""
        return self.version == "ipv6" and self.link is None

    def of(self, settings):
        """Return the settings that belong to it."""
        if self.link is not None:
            return {key: value for key, value in settings.items() if key == self.key}
        return {
            key: value for key, value in settings.items()
            if key.startswith("net.ipv6.") == (self.version == "ipv6") and not sysctl.is_of_link(key)
        }


class ForwardingRoom(Room):
    """Forwarding of this host; state absent goes back to what the journal remembers.

    :param interfaces: names of links: forward what comes in on these; None for all links.
    """

    key = "forwarding"

    def __init__(self, host, ipv4, ipv6, absent, interfaces=None):
        self._host = host
        self._absent = absent
        self._interfaces = interfaces
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
        self._links = self._links_to_keep() if self._has("ipv6") and self._interfaces is None else []
        return {target.name: self._form(target) for target in self._targets()}

    def _targets(self):
        """Return the Targets that this kernel has."""
        versions = [version for version in VERSIONS if self._has(version)]
        if self._interfaces is None:
            return [Target(version) for version in versions]
        found = [Target(version, link) for version in versions for link in dict.fromkeys(self._interfaces)]
        # A link that is gone is still in our file.
        return [
            target for target in found
            if self._host.sysctl(target.key) is not None or (self._absent and target.key in self._settings)
        ]

    def _has(self, version):
        return self._wanted[version] is not None and self._host.sysctl(sysctl.forward_key(version)) is not None

    def _missing(self):
        """Refuse what the kernel cannot do on one link; return the errors about links that are not there (yet)."""
        for version in VERSIONS:
            key = sysctl.forward_key(version, "all")
            if self._interfaces and self._has(version) and self._host.sysctl(key) is None:
                raise Unsupported(
                    f"this kernel ({os.uname().release}) forwards {version} on all links or on none", option="interfaces",
                    cure="Linux 6.17 or newer is needed, or leave interfaces out.",
                )
        return [
            MissingDependency("there is no link of that name", link, f"interfaces[{index}]", "See ip link.")
            for index, link in enumerate(self._interfaces or ())
            if not os.path.exists(f"/sys/class/net/{link}") and not self._absent
        ]

    def _form(self, target):
        form = {
            "family": target.version,
            "interface": target.link,
            "running": self._host.sysctl(target.key) == "1",
            "persistent": {"0": False, "1": True}.get(self._settings.get(target.key)),
        }
        if target.keeps_routes:
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
        unmet = self._missing()
        for target in self._targets():
            form, wanted = before[target.name], self._wanted[target.version]
            new = after[target.name] = {**form, "running": wanted, "persistent": wanted}
            running = {}
            if target.keeps_routes and wanted:
                new["accept_ra"] = {link: {"running": 2, "persistent": True} for link in form["accept_ra"]}
                running = {sysctl.link_key(link, "accept_ra"): "2" for link in form["accept_ra"]}
            if new != form:
                running[target.key] = str(int(wanted))  # last: by now no route can be lost
                settings = {**target.of(self._settings), **running}
                verb = "enable" if wanted else "disable"
                args = {"running": running, "file": settings, "target": target}
                ops.append(Op("forwarding", target.name, verb, "live", args=args))
        return Plan(after, ops, self._overridden(), unmet)

    def _overridden(self):
        texts = {}
        for folder in _FOLDERS:
            for path in glob.glob(os.path.join(folder, "*.conf")):
                texts[os.path.basename(path)] = files.read(path) or ""
        return [
            f"At boot {name} is read after {FILE} and sets {target.key} to {value}."
            for target in self._targets()
            for name, value in sysctl.later(texts, os.path.basename(FILE), target.key)
            if value != str(int(self._wanted[target.version]))
        ]

    def _plan_absent(self, before):
        known = {key[len(_JOURNAL):]: value for key, value in journal.load().items() if key.startswith(_JOURNAL)}
        after, ops, warnings = {}, [], []
        for target in self._targets():
            form = after[target.name] = before[target.name]
            ours, others = self._needed_by(target.version)
            if ours:
                warnings.append(f"{target.name} forwarding stays as it is: {_list(ours)} need it.")
                continue
            running = target.of(known)
            if others and form["running"] and (running.get(target.key) == "0" or form["persistent"]):
                warnings.append(f"{target.name} forwarding stays on, though no longer by virtnet.kvm: {_list(others)} need it.")
                running = {}
            # Forwarding first: with it off, accept_ra may be lowered and no route is lost.
            order = sorted(running, key=lambda key: key != target.key)
            running = {key: running[key] for key in order if self._host.sysctl(key) is not None}
            after[target.name] = self._restored(form, target, running)
            if after[target.name] != form or running:
                args = {"running": running, "file": {}, "target": target}
                ops.append(Op("forwarding", target.name, "restore", "live", args=args))
            if self._host.sysctl(target.key) is None:
                del after[target.name]
        return Plan(after, ops, warnings)

    def _restored(self, form, target, running):
        value = running.get(target.key)
        after = {**form, "running": form["running"] if value is None else value == "1", "persistent": None}
        if target.keeps_routes:
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
        text = files.read(FILE)
        before = {key: self._host.sysctl(key) for key in reversed(op.args["running"])}
        try:
            self._say(op, text)
            self._run(op.args["running"])
        except (OSError, VirtnetError):
            # Half of it is neither what was nor what shall be; the first error is the one to tell.
            with contextlib.suppress(OSError, VirtnetError):
                self._run(before)
            with contextlib.suppress(OSError, VirtnetError):
                files.remove(FILE) if text is None else files.write(FILE, text, mode=0o644)
            raise

    def _say(self, op, text):
        """Write what the next boot is to do; C(text) is what the file says now."""
        present = sysctl.parse(text or "")
        of_others = {key: value for key, value in present.items() if key not in op.args["target"].of(present)}
        settings = {**of_others, **op.args["file"]}
        if settings:
            # What is said of single links comes last: that of all links sets it too.
            order = sorted(settings, key=lambda key: (sysctl.is_of_link(key), key))
            files.write(FILE, sysctl.render({key: settings[key] for key in order}), mode=0o644)
        else:
            files.remove(FILE)

    def _run(self, settings):
        for key, value in settings.items():
            if self._host.sysctl(key) != value:
                self._host.set_sysctl(key, value)

    def finish(self, plan):
        if self._absent:
            keys = [key for op in plan.ops for key in op.args["running"]]
            keys += [op.args["target"].key for op in plan.ops if self._host.sysctl(op.args["target"].key) is None]
            journal.forget([f"{_JOURNAL}{key}" for key in keys])


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
