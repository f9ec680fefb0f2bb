# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes that others asked for: sets by name, beside all other routes of a link, and taken back one by one.

One file a link, /etc/virtnet/routes.d/<link>.json: neither the kernel nor systemd-networkd can say whose a route is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.host import ETC
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms

FOLDER = os.path.join(ETC, "routes.d")
MARK = "virtnet.kvm"


@dataclass(frozen=True)
class Sets:
    """The sets of one link.

    C(sets) is {name: [route]}; C(there) those of these routes that were there before us; C(alone) whether the link is ours
    for nothing but the sets, so that it is given back with the last of them.
    """

    sets: dict = field(default_factory=dict)
    there: list = field(default_factory=list)
    alone: bool = False

    @property
    def routes(self):
        """Return the routes of all sets, each once."""
        return merged([], *self.sets.values())

    @property
    def ours(self):
        """Return the routes that are there because of the sets."""
        return [one for one in self.routes if one not in self.there]

    def listed(self):
        return [{"name": name, "routes": self.sets[name]} for name in sorted(self.sets)]

    def changed(self, wanted, present, alone):
        """Return the Sets with those of C(wanted) in place of what they were; an empty one goes.

        :param present: the routes that the link has now.
        :param alone: whether nothing else of the link is ours.
        """
        sets = {name: routes for name, routes in {**self.sets, **wanted}.items() if routes}
        after = Sets(sets).routes
        there = [one for one in after if one in self.there or (one in present and one not in self.routes)]
        return Sets(sets, there, bool(sets) and alone)


def merged(routes, *others):
    """Return the routes of all lists, each once, in their order."""
    found = list(routes)
    for other in others:
        found += [one for one in other if one not in found]
    return sorted(found, key=forms.route_key)


def check_free(name, item, before, after, rows):
    """Raise Conflict if a new route of a set would take the place of one that is not of the sets.

    :param rows: [(link, route)] of the whole host, of iproute2.main_routes().
    """
    for one in after.routes:
        if one in before.routes or (name, one) in rows:
            continue
        for link, other in rows:
            ours = link == name and other in before.ours
            if other["to"] == one["to"] and (one["metric"] is None or other["metric"] == one["metric"]) and not ours:
                via = f"via {other['via']} " if other["via"] else ""
                raise Conflict(
                    f"there is a route to {one['to']} already, {via}on {link}", name, f"{item.option}.route_sets",
                    "Remove it, or give the new one a metric.",
                )


def path(link):
    return os.path.join(FOLDER, f"{link}.json")


def load(link):
    """Return the Sets of a link."""
    text = files.read(path(link))
    if text is None:
        return Sets()
    try:
        content = json.loads(text)
        if content["made_by"] != MARK:
            raise KeyError("made_by")
        return Sets(content["sets"], content["there"], content["alone"])
    except (ValueError, KeyError, TypeError) as error:
        raise Conflict(
            "the file is not one of virtnet.kvm's, or was cut off", path(link), cure="Move it away and run the play again."
        ) from error


def save(link, sets):
    """Write the Sets of a link; the file goes with the last of them."""
    if sets.sets:
        content = {"made_by": MARK, "version": 1, "sets": sets.sets, "there": sets.there, "alone": sets.alone}
        files.write(path(link), json.dumps(content, indent=2, sort_keys=True) + "\n")
    else:
        files.remove(path(link))
        files.remove_empty_folders(FOLDER, ETC)
