# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of an explanation: who is asked what, and what came of it."""

from __future__ import annotations

import os

from ansible_collections.virtnet.kvm.plugins.module_utils.explain import report, resolve
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain
from ansible_collections.virtnet.kvm.plugins.plugin_utils.telling import telling


def _answered(hosts):
    """Return what those hosts have that did answer."""
    return {name: one for name, one in plain(hosts).items() if "links" in one}


def explain_guests(ends):
    """Return the names of guests that ends may mean."""
    return resolve.guest_names([str(one) for one in ends])


def explain_plan(hosts, src, dst, protocol="icmp", port=None, family=None):
    """Return who asks whom, and what each host is to do."""
    with telling("explain_plan"):
        try:
            number = int(port) if port not in (None, "") else None
        except ValueError:
            number = 0
        session, token = os.urandom(8).hex(), int.from_bytes(os.urandom(4), "big") | 1
        words = [str(one) for one in (src, dst, protocol)]
        return resolve.plan(_answered(hosts), *words, number, str(family) if family else None, session, token)


def explain_judge(plan, hosts, listen=None, send=None, collect=None):
    """Return the explanation of a plan that was carried out."""
    steps = {"listen": plain(listen or {}), "send": plain(send or {}), "collect": plain(collect or {})}
    names = {name for one in steps.values() for name in one}
    found = {name: {step: one.get(name) or {} for step, one in steps.items()} for name in names}
    with telling("explain_judge", "what was seen"):
        return report.explain(plain(plan), _answered(hosts), found)


class FilterModule:
    """The collection's filters about explanations."""

    def filters(self):
        return {"explain_guests": explain_guests, "explain_plan": explain_plan, "explain_judge": explain_judge}
