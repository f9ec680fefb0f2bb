# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a unit runs, without asking systemd: its own mark, a link that it makes when the unit is started (systemd.exec(5),
INVOCATION_ID) and takes away when it stops.
"""

from __future__ import annotations

import os

_FOLDER = "/run/systemd/units"


def since(unit):
    """Return when a unit that runs was started, in seconds since the epoch; None if it does not run."""
    try:
        return os.lstat(f"{_FOLDER}/invocation:{unit}").st_mtime
    except OSError:
        return None


def may_run(unit):
    """Return whether a unit runs; where there is no systemd, something of that kind may."""
    return not os.path.isdir(_FOLDER) or since(unit) is not None
