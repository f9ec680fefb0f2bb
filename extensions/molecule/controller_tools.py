# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests need on the controller, beside what the lab itself does: installed where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess


def install_graphviz():
    if shutil.which("dot") is None:
        apt = ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300"]
        subprocess.run([*apt, "update"], check=False, capture_output=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt, "install", "--no-install-recommends", "graphviz"], check=True, capture_output=True, env=environment)
