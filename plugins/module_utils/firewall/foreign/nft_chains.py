# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Openings in chains of nft that others have: rules with a comment of ours at their head.

They go when their owner loads his table anew; the next run, or the unit at boot, puts them back.
"""

from __future__ import annotations

import json

from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign import nft_text

NAME = "nftables"


class Chains:
    """Others' base chains on one host."""

    def __init__(self, host):
        self._host = host
        self._drops = {}  # {(family, table, chain): its hook}, of those that drop
        self._found = {}  # {(family, table, chain): [(rule, handle)]}
        self._late = set()
        self.iptables = []

    def look(self):
        """Read what is there; C(iptables) then has the IP versions that have chains of iptables."""
        listing = self._listing("chains")
        self.iptables = nft_text.has_iptables(listing)
        self._drops, self._found, self._late = {}, {}, set()
        tables = {}
        for family, table, chain, hook in nft_text.base_chains(listing):
            if (family, table) not in tables:
                tables[family, table] = self._listing("table", family, table)
            key = (family, table, chain)
            drops, late = nft_text.would_drop(tables[family, table], chain)
            if drops:
                self._drops[key] = hook
            if late:
                self._late.add(key)
            _rc, out, _err = self._host.run(
                ["nft", "-s", "-a", "list", "chain", *key], what="listing a chain", subject=" ".join(key)
            )
            if nft_text.ours(out):
                self._found[key] = nft_text.ours(out)

    def _listing(self, *what):
        _rc, out, _err = self._host.run(["nft", "-j", "-s", "list", *what], what="listing the kernel's rules")
        return json.loads(out)

    @staticmethod
    def _told(chains):
        # In their order, which says whether it is as it was.
        lines = [f"{' '.join(key)}: {rule}" for key, rules in sorted(chains.items()) for rule in rules]
        return {NAME: lines} if lines else {}

    def found(self):
        """Return {name: lines} of all that is ours."""
        return self._told({
            key: [rule for rule, _handle in rules] + ["too late"] * (key in self._late) for key, rules in self._found.items()
        })

    def wanted(self, needs):
        """Return ({name: lines}, what change() takes) for what must pass."""
        plan = {key: nft_text.rules(needs, hook, key[0]) for key, hook in self._drops.items()}
        plan = self._canonical({key: rules for key, rules in plan.items() if rules})
        return self._told(plan), plan

    def _canonical(self, plan):
        """Return the rules as this nft writes them, tried out in an empty network namespace."""
        if not plan:
            return {}
        script = "nft -f - && nft -s -a list ruleset"
        _rc, out, _err = self._host.run(
            ["unshare", "--net", "sh", "-c", script], data=nft_text.skeleton(plan), what="trying the openings in others' chains"
        )
        found, key, table = {}, None, None
        for line in out.splitlines():
            words = line.split()
            if words[:1] == ["table"]:
                table = (words[1], words[2])
            elif words[:1] == ["chain"]:
                key = (*table, words[1])
            elif key is not None:
                found.setdefault(key, []).extend(rule for rule, _handle in nft_text.ours(line))
        return {key: found[key] for key in plan}

    def change(self, plan):
        """Make it so, in one transaction."""
        lines = []
        for key in sorted({*self._found, *plan}):
            found = self._found.get(key, [])
            if [rule for rule, _handle in found] != plan.get(key, []) or key in self._late:
                lines += nft_text.transaction(key, [handle for _rule, handle in found], plan.get(key, []))
        if lines:
            self._host.run(["nft", "-f", "-"], data="\n".join([*lines, ""]), what="opening others' chains")

    def undo(self, plan):
        """Return the lines of the shell that have it as it was found, after change(C(plan))."""
        found = {key: [rule for rule, _handle in rules] for key, rules in self._found.items()}
        keys = [key for key in {*found, *plan} if found.get(key, []) != plan.get(key, []) or key in self._late]
        return self.script({key: found.get(key, []) for key in keys})

    @staticmethod
    def script(plan):
        """Return the lines of the shell that put them back at boot, any number of times."""
        lines = []
        for key, rules in sorted(plan.items()):
            where = " ".join(key)
            gone = f's/.* comment "{nft_text.COMMENT}" # handle \\([0-9]*\\)$/delete rule {where} handle \\1/p'
            lines.append(f"nft list chain {where} > /dev/null 2>&1 && {{")
            lines += [f"nft -a list chain {where} | sed -n '{gone}'", "cat << 'END'"]
            lines += [*nft_text.transaction(key, [], rules), "END", "} | nft -f -"]
        return lines
