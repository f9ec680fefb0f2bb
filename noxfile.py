# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The checks that collections of the Ansible community share (antsibull-nox); what they are is in antsibull-nox.toml.
# tests/run --only nox runs those that need no containers.
# /// script
# dependencies = ["nox>=2025.2.9", "antsibull-nox"]
# ///

"""The sessions of antsibull-nox.toml, for nox."""

from __future__ import annotations

import antsibull_nox
import nox

antsibull_nox.load_antsibull_nox_toml()

if __name__ == "__main__":
    nox.main()
