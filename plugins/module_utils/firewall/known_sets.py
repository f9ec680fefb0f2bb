# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A set of rules that was asked for before, on a host where nothing has changed since: it need not be read, checked and rendered
again, which takes a second for ten thousand rules.

What was asked for is a digest of the file and of all that says how to read it, our own code included. What the host has is a
digest of the store's files and of those for the boot; that the kernel has it too, its generation says (nft.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import boot, store
from ansible_collections.virtnet.kvm.plugins.module_utils.host import RUN

PATH = os.path.join(RUN, "known-sets.json")
_OURS = "ansible_collections.virtnet.kvm.plugins.module_utils."


def _code():
    """Return a digest of our code in this process; None where nobody can say what it is made of."""
    found = hashlib.sha256()
    for name in sorted(one for one in sys.modules if one.startswith(_OURS)):
        spec: Any = sys.modules[name].__spec__
        try:
            found.update(spec.loader.get_data(spec.origin))  # of a zip file, as a rule
        except (AttributeError, OSError, TypeError):
            return None
    return found.hexdigest()


def asked(text, *how):
    """Return a digest of what is asked for, or None if that cannot be said.

    :param text: that of the file with the rules.
    :param how: plain values, all that the rules are made of beside it.
    """
    code = _code()
    if code is None:
        return None
    return hashlib.sha256("\n".join([code, json.dumps(how, sort_keys=True), text]).encode()).hexdigest()


def there():
    """Return a digest of what this host keeps: the store, and what a boot loads."""
    found = hashlib.sha256()
    for path in [*store.paths(), *boot.paths()]:
        text = files.read(path)
        found.update(f"{path} {'-' if text is None else len(text)}\n{text or ''}".encode())
    found.update(f"{boot.has_systemd()} {os.path.islink(boot.LINK)}".encode())
    return found.hexdigest()


def load():
    """Return {set: record}."""
    try:
        found = json.loads(files.read(PATH) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def remember(owner, record):
    """Keep the record of a set, a plain value; None forgets it."""
    found = load()
    if found.get(owner) == record:
        return
    found.pop(owner, None)
    if record is not None:
        found[owner] = record
    if found:
        files.write(PATH, json.dumps(found))
    else:
        files.remove(PATH)
