# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets a plain `pytest` import the collection by its full name, wherever the checkout lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _collections_folder() -> Path:
    """Return a folder that holds ansible_collections/virtnet/kvm; make one in .build if the checkout is in none."""
    if ROOT.parts[-3:] == ("ansible_collections", "virtnet", "kvm"):
        return ROOT.parents[2]
    link = ROOT / ".build" / "ansible_collections" / "virtnet" / "kvm"
    if not link.exists() or link.resolve() != ROOT:
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = link.with_name(f".kvm.{os.getpid()}")
        temporary.symlink_to(ROOT)
        temporary.replace(link)
    return ROOT / ".build"


for folder in (_collections_folder(), ROOT / "roles" / "lab_hosts" / "files"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
