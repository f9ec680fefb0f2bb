# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of the proof: what is to be seen between all hosts, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import judge, matrix, table


def plain(value):
    """Return C(value) as Python's own types: since ansible-core 2.19 filters get tagged strings and lazy containers."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, str):
        return "".join(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise AnsibleFilterError(f"a value of type {type(value).__name__} has no place in a proof")


def proof_plan(fleet, dns_names=(), pairs="all"):
    """Return the cells of a proof between the hosts of C(fleet), and what each end is to send."""
    try:
        return matrix.plan(plain(fleet), plain(list(dns_names)), str(pairs))
    except VirtnetError as error:
        raise AnsibleFilterError(f"virtnet.kvm.proof_plan: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"virtnet.kvm.proof_plan: what was found lacks or spoils {error}") from error


def proof_judge(plan, seen, sent=None):
    """Return the proof: the cells of C(plan) as they were seen."""
    results = {}
    for host, found in plain(seen).items():
        results[host] = dict(found.get("evidence") or {})
    for host, found in plain(sent or {}).items():
        for end, text in (found.get("errors") or {}).items():
            results.setdefault(host, {})[end] = {"error": text}
    try:
        return judge.judge(plain(plan), results)
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"virtnet.kvm.proof_judge: this is no plan, it lacks {error}") from error


def proof_table(proof):
    """Return a proof as lines for people."""
    try:
        return table.table(plain(proof))
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"virtnet.kvm.proof_table: this is no proof, it lacks {error}") from error


class FilterModule:
    """The collection's filters about the proof."""

    def filters(self):
        return {"proof_plan": proof_plan, "proof_judge": proof_judge, "proof_table": proof_table}
