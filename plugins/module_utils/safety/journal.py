# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was there before us: written before the first effect, read by C(absent)."""

from __future__ import annotations

import json
import os

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.host import STATE

PATH = os.path.join(STATE, "baseline.json")


def load():
    """Return {key: value} of all that was journaled on this host."""
    return json.loads(files.read(PATH) or "{}")


def _save(entries):
    if entries:
        files.write(PATH, json.dumps(entries, indent=2, sort_keys=True) + "\n")
    else:
        files.remove(PATH)
        files.remove_empty_folders(STATE, STATE)


def record(entries):
    """Remember entries whose key is not there yet: the first value is the one from before us.

    :raises CommandFailed: they cannot be written, or could not be forgotten; once all is done it is too late to find that out.
    """
    if entries:  # without root there is nothing to remember, and no way to
        known = load()
        new = {key: value for key, value in entries.items() if key not in known}
        if new:
            _save({**known, **new})
    if os.path.exists(PATH):
        files.claim_room(STATE, [os.path.getsize(PATH)], f"{PATH} could not be replaced")


def forget(keys):
    """Drop what has been brought back."""
    known, gone = load(), set(keys)
    kept = {key: value for key, value in known.items() if key not in gone}
    if kept != known:
        _save(kept)
