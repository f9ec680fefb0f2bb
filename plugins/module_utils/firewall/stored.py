# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the store's files have in common, and the one that modules of guests read at every call; it needs no renderer."""

from __future__ import annotations

import json
import os

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.host import ETC

MARK = "virtnet.kvm"
PORTS = os.path.join(ETC, "ports.json")


def content(text, path):
    """Return the content of a file of ours; raise Conflict if it is not one."""
    try:
        found = json.loads(text)
        if found["made_by"] != MARK:
            raise KeyError("made_by")
    except (ValueError, KeyError, TypeError) as error:
        raise Conflict(
            "the file is not one of virtnet.kvm's, or was cut off", path, cure="Move it away and run the play again."
        ) from error
    return found


def ports():
    """Return {(link, MAC): {C(guest), C(network)}} of guests' NICs."""
    text = files.read(PORTS)
    if text is None:
        return {}
    return {
        (one["link"], one["mac"]): {"guest": one["guest"], "network": one["network"]} for one in content(text, PORTS)["ports"]
    }
