# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Openings in firewalld: zones and policies of ours, permanent and at run time."""

from __future__ import annotations

import json
import os

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign import firewalld_text

NAME = "firewalld"
PROGRAM = "/usr/sbin/firewalld"
ETC = "/etc/firewalld"
_BUS = "org.fedoraproject.FirewallD1"


def _path(name):
    return os.path.join(ETC, "zones" if name in firewalld_text.ZONES else "policies", f"{name}.xml")


class Firewalld:
    """firewalld on one host."""

    def __init__(self, host):
        self._host = host
        self._running = False
        self._files = {}
        self._said = {}

    def look(self):
        """Read what is there."""
        self._running = os.path.exists(PROGRAM) and self._is_active()
        self._files, self._said = {}, {}
        for name in (*firewalld_text.ZONES, *firewalld_text.POLICIES):
            text = files.read(_path(name))
            if text is not None:
                if firewalld_text.MARK not in text:
                    raise Conflict("firewalld has a zone or policy of that name which is not ours", name, cure="Rename it.")
                self._files[name] = text
            said = self._ask(name) if self._running else None
            if said is not None:
                self._said[name] = said

    def _is_active(self):
        return self._host.run(["systemctl", "--quiet", "is-active", "firewalld.service"], check=False)[0] == 0

    def _ask(self, name):
        """Return the line that the daemon has for a zone or policy, None if it knows none of that name."""
        zone = name in firewalld_text.ZONES
        where, method = ("zone", "getZoneSettings2") if zone else ("policy", "getPolicySettings")
        words = ["busctl", "--auto-start=no", "--json=short", "call", _BUS, f"/{_BUS.replace('.', '/')}"]
        words += [f"{_BUS}.{where}", method, "s", name]
        rc, out, err = self._host.run(words, check=False)
        if rc != 0:
            if "INVALID_ZONE" not in err and "INVALID_POLICY" not in err:
                self._running = False  # it is on its way, or gone meanwhile
            return None
        answer = json.loads(out)
        return firewalld_text.said_zone(name, answer) if zone else firewalld_text.said_policy(name, answer)

    def found(self):
        """Return {name: lines} of all that is ours."""
        lines = [f"permanent: {name}: {text}" for name, text in self._files.items()]
        lines += [f"running: {line}" for line in self._said.values()]
        return {NAME: self._in_words(lines)} if lines else {}

    @staticmethod
    def _in_words(lines):
        """A file's text is compared whole, but told in one line."""
        return sorted(line.replace("\n", " ") for line in lines)

    def wanted(self, networks):
        """Return ({name: lines}, what change() takes) for the networks."""
        if not (self._running or (self._files and os.path.exists(PROGRAM))):
            return {}, {}
        zones, policies = firewalld_text.zones(networks), firewalld_text.policies(networks)
        plan = {name: (firewalld_text.zone_xml(name, one), firewalld_text.zone_line(name, one)) for name, one in zones.items()}
        plan.update({
            name: (firewalld_text.policy_xml(name, one), firewalld_text.policy_line(name, one)) for name, one in policies.items()
        })
        lines = [f"permanent: {name}: {text}" for name, (text, _line) in plan.items()]
        lines += [f"running: {line}" for _text, line in plan.values()] if self._running else []
        return ({NAME: self._in_words(lines)} if lines else {}), plan

    def change(self, plan):
        """Make it so. A zone or policy can only be made or removed by a reload; conversations go on meanwhile."""
        files.remove_all(_path(name) for name in self._files if name not in plan)
        texts = {_path(name): text for name, (text, _line) in plan.items() if self._files.get(name) != text}
        if texts:
            files.write_all(texts, mode=0o644)
        if self._running and self._said != {name: line for name, (_text, line) in plan.items()}:
            self._host.run(["firewall-cmd", "--reload"], what="making firewalld read its zones and policies")

    def undo(self, plan):
        """Return what has it as it was found, after change(C(plan)): (paths of files, commands of the shell)."""
        names = {*self._files, *plan}
        changed = [name for name in sorted(names) if self._files.get(name) != plan.get(name, (None, None))[0]]
        return [_path(name) for name in changed], ["firewall-cmd --reload"] if changed and self._running else []

    def lost(self, plan):
        """Return the zones with settings that are not permanent, which the reload of a change loses; links aside."""
        if not self._running or self._said == {name: line for name, (_text, line) in plan.items()}:
            return []
        blocks = []
        for words in ([], ["--permanent"]):
            _rc, out, _err = self._host.run(["firewall-cmd", *words, "--list-all-zones"], what="listing firewalld's zones")
            blocks.append(self._settings(out))
        running, permanent = blocks
        return sorted(name for name in permanent if name in running and running[name] != permanent[name])

    @staticmethod
    def _settings(text):
        """Return {zone: its lines} of a list of all zones, without their links, which firewalld keeps."""
        found, name = {}, None
        for line in text.splitlines():
            if line[:1].strip():
                name = line.split()[0]
                found[name] = []
            elif line.strip() and not line.strip().startswith("interfaces:"):
                found[name].append(line)
        return found
