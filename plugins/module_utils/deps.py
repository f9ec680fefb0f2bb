# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Libraries that the distribution's own Python has: go on in that Python when ours lacks them."""

from __future__ import annotations

import importlib.util

from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module

PACKAGES = {
    "libvirt": "python3-libvirt",
    "libvirt_qemu": "python3-libvirt",
    "lxml": "python3-lxml",
}
INTERPRETERS = ("/usr/bin/python3", "/usr/libexec/platform-python")


def missing_of(names):
    """Return those of C(names) that cannot be imported; respawn under the system's Python first, where that has them."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing and not has_respawned():
        interpreter = probe_interpreters_for_module(INTERPRETERS, missing[0])
        if interpreter:
            respawn_module(interpreter)
    return missing


def require(module, *names):
    """Make sure that C(names) can be imported; else respawn under the system's Python, else fail_json."""
    missing = missing_of(names)
    if not missing:
        return
    packages = sorted({PACKAGES[name] for name in missing})
    module.fail_json(
        msg=f"The Python libraries {', '.join(missing)} are missing on this host. "
        f"Install the packages {', '.join(packages)}, or run the role virtnet.kvm.kvm_host.",
        missing_packages=packages,
    )
