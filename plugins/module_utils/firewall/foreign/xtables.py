# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Openings in rules of iptables that others have, Docker's and ufw's among them.

All are described in the words of iptables-save, each with its program's name before it.
"""

from __future__ import annotations

import os
import re
import stat

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign import xtables_text
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.iptables import PROGRAMS, WAIT, command

LEGACY = "/proc/net/ip_tables_names"
UFW_PROGRAM = "/usr/sbin/ufw"
UFW_CONF = "/etc/ufw/ufw.conf"
UFW_DEFAULTS = "/etc/default/ufw"
UFW_RULES = {4: "/etc/ufw/before.rules", 6: "/etc/ufw/before6.rules"}
NAMES = ("docker", "iptables", "ufw")


def _says(path, key):
    return re.search(rf"^{key}=\"?yes\"?\s*$", files.read(path) or "", re.MULTILINE | re.IGNORECASE) is not None


class Xtables:
    """The table filter of iptables and ip6tables on one host."""

    def __init__(self, host):
        self._host = host
        self._saved = {}

    def look(self, versions):
        """Read what is there; C(versions) of IP are those of which nft knows chains of iptables."""
        if "filter" in (files.read(LEGACY) or "").split():
            versions = sorted({4, *versions})
        self._saved = {version: self._read(version) for version in versions}

    def _read(self, version):
        # Without PATH's word on it: a host whose iptables cannot read its own table has nothing that we could open there.
        _rc, out, _err = self._host.run([command(version, "-save"), "-t", "filter"], check=False)
        return xtables_text.parse(out)

    def found(self):
        """Return {name: lines} of all that is ours."""
        told = {}
        for version, saved in self._saved.items():
            for chain in xtables_text.CHAINS.values():
                if chain not in saved.rules:
                    continue
                jumps = xtables_text.jumps(saved, chain)
                name = xtables_text.name_of(jumps[0][0]) if jumps else "iptables"
                for origin, place in jumps:
                    late = ", too late" if xtables_text.too_late(saved, origin, place) else ""
                    line = f"{PROGRAMS[version]} -A {origin} -j {chain}{late}"
                    told.setdefault(xtables_text.name_of(origin), []).append(line)
                told.setdefault(name, []).extend(f"{PROGRAMS[version]} -A {chain} {rule}" for rule in saved.rules[chain])
        for path in UFW_RULES.values():
            lines = xtables_text.block(files.read(path) or "")
            if lines:
                told.setdefault("ufw", []).extend(f"{path} {line}" for line in lines)
        return {name: sorted(lines) for name, lines in told.items()}

    def wanted(self, needs):
        """Return ({name: lines}, what change() takes) for what must pass."""
        told, plan = {}, {}
        ufw = os.path.exists(UFW_PROGRAM) and _says(UFW_CONF, "ENABLED")
        for version, saved in self._saved.items():
            plan[version] = {}
            for hook in xtables_text.CHAINS:
                rules = xtables_text.rules(needs, hook, version)
                has_ufw = ufw and (version == 4 or _says(UFW_DEFAULTS, "IPV6"))
                name, origin = xtables_text.holder(saved, hook, version, has_ufw) or (None, None)
                if name is None or not rules:
                    continue
                chain, rules = xtables_text.CHAINS[hook], self._canonical(rules, version)
                plan[version][hook] = (origin, rules)
                told.setdefault(name, []).append(f"{PROGRAMS[version]} -A {origin} -j {chain}")
                told[name] += [f"{PROGRAMS[version]} -A {chain} {rule}" for rule in rules]
        for version, path in UFW_RULES.items():
            lines = self._block(plan, version)
            if lines:
                told["ufw"] += [f"{path} {line}" for line in lines]
        return {name: sorted(lines) for name, lines in told.items()}, plan

    @staticmethod
    def _block(plan, version):
        return xtables_text.block_lines({
            hook: one for hook, one in plan.get(version, {}).items() if xtables_text.name_of(one[0]) == "ufw"
        })

    def _canonical(self, rules, version):
        """Return rules as this iptables writes them, tried out in an empty network namespace."""
        if not rules:
            return []
        restore, save = command(version, "-restore"), command(version, "-save")
        data = "\n".join(["*filter", ":OURS - [0:0]", *(f"-A OURS {rule}" for rule in rules), "COMMIT", ""])
        _rc, out, _err = self._host.run(
            ["unshare", "--net", "sh", "-c", f"{restore} {' '.join(WAIT)} --noflush && {save} -t filter"], data=data,
            what=f"trying the openings in {PROGRAMS[version]}",
        )
        return xtables_text.parse(out).rules.get("OURS", [])

    def change(self, plan):
        """Make it so: each IP version in one transaction, then ufw's files."""
        for version, saved in self._saved.items():
            data = xtables_text.transaction(saved, plan.get(version, {}))
            if data:
                self._host.run(
                    [command(version, "-restore"), *WAIT, "--noflush"], data=data, what=f"opening {PROGRAMS[version]}"
                )
        for version, path in UFW_RULES.items():
            text = files.read(path)
            if text is not None:
                after = xtables_text.with_block(text, self._block(plan, version))
                if after != text:
                    files.write(path, after, mode=stat.S_IMODE(os.stat(path).st_mode))

    def undo(self, plan):
        """Return what has it as it was found, after change(C(plan)): ({path: text} of ufw's files, lines of the shell)."""
        texts = {path: files.read(path) for path in UFW_RULES.values()}
        changed = {
            path: texts[path] for version, path in UFW_RULES.items()
            if texts[path] is not None and xtables_text.block(texts[path]) != self._block(plan, version)
        }
        lines, was = [], {}
        for version, saved in self._saved.items():
            program = f"{command(version)} {' '.join(WAIT)}"
            for hook, chain in xtables_text.CHAINS.items():
                jumps, shall = xtables_text.jumps(saved, chain), plan.get(version, {}).get(hook)
                found = (jumps[0][0], saved.rules[chain]) if jumps else None
                if found == shall:
                    continue
                if shall is not None and (found is None or found[0] != shall[0]):
                    lines.append(f"{program} -D {shall[0]} -j {chain} 2> /dev/null")
                if found is None:
                    lines.append(f"{program} -F {chain} && {program} -X {chain}")
                else:
                    was.setdefault(version, {})[hook] = found
        return changed, lines + self._script(was)

    def script(self, plan):
        """Return the lines of the shell that put at boot what no file of others holds; any number of times."""
        return self._script({
            version: {hook: one for hook, one in hooks.items() if xtables_text.name_of(one[0]) != "ufw"}
            for version, hooks in plan.items()
        })

    @staticmethod
    def _script(plan):
        lines = []
        for version, mine in plan.items():
            if not mine:
                continue
            program, wait = command(version), " ".join(WAIT)
            # Docker takes its chain as it finds it.
            lines += [
                f"{program} {wait} -N {origin} 2> /dev/null" for origin, _rules in mine.values() if origin == xtables_text.DOCKER
            ]
            lines.append(f"{command(version, '-restore')} {wait} --noflush << 'END'")
            lines.append("*filter")
            for hook, (_origin, rules) in mine.items():
                chain = xtables_text.CHAINS[hook]
                lines += [f":{chain} - [0:0]", *(f"-A {chain} {rule}" for rule in rules)]
            lines += ["COMMIT", "END"]
            for hook, (origin, _rules) in mine.items():
                jump = f"{origin} -j {xtables_text.CHAINS[hook]}"
                lines.append(f"{program} {wait} -C {jump} 2> /dev/null || {program} {wait} -I {jump}")
        return lines
