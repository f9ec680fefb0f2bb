# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""iptables on the host: our chains replaced in one transaction a family, read back, compared. Others' rules stay.

What the kernel should hold is what iptables itself makes of our text in an empty network namespace, as in nft.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import drift
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.iptables_text import CHAINS, JUMPS, MARKS
from ansible_collections.virtnet.kvm.plugins.module_utils.host import RUN

PROGRAMS = {4: "iptables", 6: "ip6tables"}
EXPECTED = os.path.join(RUN, "iptables-expected.json")
#: Where the programs are for a unit and for a module, whose PATH may lack the sbin folders.
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
#: Others hold the lock of iptables (legacy) for an instant only.
WAIT = ("-w", "60")
_FAR_LINES = 8
_OURS = "|".join(CHAINS)
_RULE = re.compile(rf"-A ({_OURS}) ")
_DECLARED = re.compile(rf":({_OURS}) ")
_JUMP = re.compile(rf"-A (\S+) (?:.* )?-[jg] (?:{_OURS})$")


def command(version, word=""):
    """Return the path of iptables, or of one of its companions (C(word): C(-save), C(-restore))."""
    name = PROGRAMS[version] + word
    return shutil.which(name, path=PATH) or name


def canonical(saved):
    """Return {chain: its rules} of our chains in an iptables-save, and under C(jumps) what leads there. Pure."""
    found = {}
    for line in saved.splitlines():
        declared, rule = _DECLARED.match(line), _RULE.match(line)
        if declared:
            found.setdefault(declared[1], [])
        elif rule:
            found.setdefault(rule[1], []).append(line)
        elif _JUMP.match(line):
            found.setdefault("jumps", []).append(line)
    if "jumps" in found:
        found["jumps"].sort()
    return found


def differences(expected, found):
    """Return what was changed by hand, as sentences. Pure."""
    lines = []
    for name in sorted(set(expected) | set(found)):
        before, after = expected.get(name, []), found.get(name, [])
        where = "the jumps to our chains" if name == "jumps" else f"chain {name}"
        if name not in found:
            lines.append(f"{where}: gone")
        elif before != after:
            lines += drift.of_rules(where, before, after)
        elif name not in expected:
            lines.append(f"{where}: there unasked")
    return lines


def transaction(text, found):
    """Return what iptables-restore --noflush must read to get from C(found), as canonical() has it, to C(text). Pure.

    A jump that is there once stays where it is; a new one goes to the head, for an earlier translation is final.
    """
    wanted = {f"-A {hook} -j {chain}" for hook, chain in JUMPS} if text else set()
    kept, lines = set(), []
    for line in found.get("jumps", ()):
        if line in wanted and line not in kept:
            kept.add(line)
        else:
            lines.append(line.replace("-A ", "-D ", 1))
    lines += [f"-I {hook} 1 -j {chain}" for hook, chain in JUMPS if f"-A {hook} -j {chain}" in wanted - kept]
    if text:
        body = text[: text.rindex("COMMIT")]
        return body + "".join(f"{line}\n" for line in lines) + "COMMIT\n"
    chains = [name for name in CHAINS if name in found]
    if not chains:
        return ""
    # Flushed first: one of ours leads to another.
    lines += [f"-F {name}" for name in chains] + [f"-X {name}" for name in chains]
    return "\n".join(["*nat", *lines, "COMMIT", ""])


def text_of(found):
    """Return the text of C(found), as canonical() has it, for transaction(). Pure."""
    chains = [name for name in CHAINS if name in found]
    if not chains:
        return ""
    rules = [rule for name in chains for rule in found[name]]
    return "\n".join(["*nat", *(f":{name} - [0:0]" for name in chains), *rules, "COMMIT", ""])


class Iptables:
    """Effects of iptables and ip6tables on one host; C(texts) are always {4: text, 6: text}, each empty for none."""

    def __init__(self, host):
        self._host = host
        self._cache = None

    def found(self):
        """Return {version: canonical form} of our chains in the kernel; raise Conflict if they are not ours."""
        return {version: self._found_of(version) for version in PROGRAMS}

    def _found_of(self, version):
        try:
            _rc, out, _err = self._host.run([command(version, "-save"), "-t", "nat"], what="listing the rules of iptables")
        except MissingDependency as error:
            error.cure = "Install iptables, or use the backend nftables."
            raise
        if "is incompatible, use 'nft' tool" in out:
            raise Conflict(
                "the table nat holds rules that iptables cannot read", PROGRAMS[version], "backend",
                "Use the backend nftables, or move these rules to a table of another name.",
            )
        found = canonical(out)
        filled = [chain for chain in CHAINS if found.get(chain)]
        if filled and not any(mark in found.get(chain, ()) for chain, mark in zip(CHAINS, MARKS)):
            chain = filled[0]
            raise Conflict(
                f"the chain {chain} of {PROGRAMS[version]} is not one of virtnet.kvm's", chain,
                cure="Rename it, or empty it.",
            )
        return found

    def expected(self, text, version):
        """Return the canonical form that iptables gives our text, tried out in an empty network namespace."""
        if not text:
            return {}
        restore, save = command(version, "-restore"), command(version, "-save")
        try:
            _rc, out, _err = self._host.run(
                ["unshare", "--net", "sh", "-c", f"{restore} {' '.join(WAIT)} --noflush && {save} -t nat"],
                data=transaction(text, {}), what=f"trying the rules of {PROGRAMS[version]}",
            )
        except CommandFailed as error:
            error.details["rendered"] = text if len(text) < 20000 else text[:20000] + "…"
            raise
        return canonical(out)

    def expected_digest(self, text, version):
        """Return the digest of expected(), from the cache if this iptables has been asked before."""
        if not text:
            return _digest({})
        key = self._key(text, version)
        if key not in self._kept():
            self._kept()[key] = _digest(self.expected(text, version))
        return self._kept()[key]

    def remember(self, texts):
        """Keep the expectation of what is loaded now, and no other."""
        kept = {self._key(text, version): self.expected_digest(text, version) for version, text in texts.items() if text}
        if not kept:
            files.remove(EXPECTED)
        elif files.read(EXPECTED) != json.dumps(kept):
            files.write(EXPECTED, json.dumps(kept))

    def _kept(self):
        if self._cache is None:
            try:
                self._cache = json.loads(files.read(EXPECTED) or "{}")
            except ValueError:
                self._cache = {}
        return self._cache

    @staticmethod
    def _key(text, version):
        path = command(version)
        stamp = ""
        if os.path.exists(path):
            status = os.stat(path)
            stamp = f"{os.path.realpath(path)} {status.st_mtime_ns} {status.st_size}"
        return hashlib.sha256(f"{os.uname().release} {stamp}\n{text}".encode()).hexdigest()

    def drift(self, texts, found):
        """Return what in the kernel is not as the texts say, as sentences; an empty list if nothing."""
        lines = []
        for version, text in texts.items():
            if _digest(found[version]) != self.expected_digest(text, version):
                program = PROGRAMS[version]
                lines += [f"{program}, {one}" for one in differences(self.expected(text, version), found[version])]
        if len(lines) > _FAR_LINES:
            lines = [*lines[:_FAR_LINES], f"and {len(lines) - _FAR_LINES} more"]
        return lines

    def way_back(self, texts, found):
        """Return {command of the shell: what it reads} that lead from the loaded C(texts) to C(found), where these differ."""
        back = {}
        for version, text in texts.items():
            if _digest(found[version]) != self.expected_digest(text, version):
                words = [command(version, "-restore"), *WAIT, "--noflush"]
                back[" ".join(words)] = transaction(text_of(found[version]), self.expected(text, version))
        return back

    def load(self, texts):
        """Replace our chains by the texts, each family in one transaction."""
        found = self.found()
        for version, text in texts.items():
            data = transaction(text, found[version])
            if data:
                self._host.run(
                    [command(version, "-restore"), *WAIT, "--noflush"], data=data,
                    what=f"loading the rules of {PROGRAMS[version]}",
                )


def _digest(tables):
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()
