# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How every filter of the collection tells what is wrong: as Ansible's own error, with the filter's name."""

from __future__ import annotations

import contextlib

from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError


@contextlib.contextmanager
def telling(name, spoilt=None):
    """Turn errors of ours into the filter's.

    :param spoilt: what must have been given wrongly if something in it is missing or of another type; None is nothing.
    """
    try:
        yield
    except VirtnetError as error:
        raise AnsibleFilterError(f"virtnet.kvm.{name}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        if spoilt is None:
            raise
        raise AnsibleFilterError(f"virtnet.kvm.{name}: {spoilt} lacks or spoils {error}") from error
