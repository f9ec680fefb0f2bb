# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values as ansible-core 2.19 and newer give them to filters: of classes of its own.

pyproject.toml has this folder in pytest's path: `from ansible_tags import tagged`.
"""

from __future__ import annotations


class Tagged(str):
    """A text of Ansible's: not of the type str."""


class Lazy(dict):
    """A container of Ansible's."""


def tagged(value):
    if isinstance(value, dict):
        return Lazy({Tagged(key): tagged(one) for key, one in value.items()})
    if isinstance(value, list):
        return [tagged(one) for one in value]
    return Tagged(value) if isinstance(value, str) else value
