# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of the proof: what is to be seen between all hosts, and whether it was."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.proof import judge, matrix, table
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain
from ansible_collections.virtnet.kvm.plugins.plugin_utils.telling import telling


def proof_plan(fleet, dns_names=(), pairs="all"):
    """Return the cells of a proof between the hosts of C(fleet), and what each end is to send."""
    with telling("proof_plan", "what was found"):
        return matrix.plan(plain(fleet), plain(list(dns_names)), str(pairs))


def proof_judge(plan, seen, sent=None):
    """Return the proof: the cells of C(plan) as they were seen."""
    results = {}
    for host, found in plain(seen).items():
        results[host] = dict(found.get("evidence") or {})
    for host, found in plain(sent or {}).items():
        for end, text in (found.get("errors") or {}).items():
            results.setdefault(host, {})[end] = {"error": text}
    with telling("proof_judge", "this is no plan, it"):
        return judge.judge(plain(plan), results)


def proof_table(proof):
    """Return a proof as lines for people."""
    with telling("proof_table", "this is no proof, it"):
        return table.table(plain(proof))


class FilterModule:
    """The collection's filters about the proof."""

    def filters(self):
        return {"proof_plan": proof_plan, "proof_judge": proof_judge, "proof_table": proof_table}
