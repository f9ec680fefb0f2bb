# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the scenarios' tests ask the guests, through virsh and the guest agent: no module of the collection is between.

pyproject.toml has this folder in pytest's path: `from guest_agent import agent, in_guest`.
"""

from __future__ import annotations

import base64
import json
import time

BUSYBOX = "/bin/busybox"


def agent(host, guest, execute, **arguments):
    """Return what a guest's agent answers to a command (QEMU Guest Agent Protocol Reference)."""
    request = json.dumps({"execute": execute, "arguments": arguments})
    return json.loads(host.check_output("virsh qemu-agent-command --timeout 30 %s %s", guest, request))["return"]


def in_guest(host, guest, *command, seconds=30):
    """Run a command in a guest; return (rc, output)."""
    request = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
    pid = agent(host, guest, "guest-exec", **request)["pid"]
    end = time.monotonic() + seconds
    while True:
        status = agent(host, guest, "guest-exec-status", pid=pid)
        if status["exited"]:
            return status["exitcode"], base64.b64decode(status.get("out-data", "")).decode()
        assert time.monotonic() < end, f"{command} did not end in {guest}"
        time.sleep(0.2)


def ping(host, guest, address):
    """Say whether a guest gets answers from an address."""
    return in_guest(host, guest, BUSYBOX, "ping", "-c", "2", "-W", "2", address)[0] == 0
