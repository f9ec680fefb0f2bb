# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specs of modules, as their main() gives them to Ansible.

pyproject.toml has this folder in pytest's path: `from module_specs import spec_of`.
"""

from __future__ import annotations

import functools
import importlib


class Asked(Exception):
    """A module has given its argument spec."""


@functools.cache
def spec_of(name):
    """Return a module's argument spec and its rules between options."""
    code = importlib.import_module(f"ansible_collections.virtnet.kvm.plugins.modules.{name}")
    found = []

    def asked(argument_spec, supports_check_mode=False, **rules):
        found.extend([argument_spec, rules])
        raise Asked

    attribute = "GuestModule" if hasattr(code, "GuestModule") else "Module"
    real = getattr(code, attribute)
    setattr(code, attribute, asked)
    try:
        code.main()
    except Asked:
        pass
    finally:
        setattr(code, attribute, real)
    return found
