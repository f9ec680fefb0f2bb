# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ruleset over a reboot: a readable file, and a unit that loads it before libvirtd and before the network."""

from __future__ import annotations

import os
import shutil

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.host import ETC

HEADER = "# Made by virtnet.kvm; changes are lost. See /etc/virtnet/README."
RULES = os.path.join(ETC, "virtnet.nft")
UNIT_NAME = "virtnet-firewall.service"
UNIT = os.path.join("/etc/systemd/system", UNIT_NAME)
LINK = os.path.join("/etc/systemd/system/sysinit.target.wants", UNIT_NAME)
_SYSTEMD = "/run/systemd/system"

# nftables.service flushes everything when it starts, stops or reloads: we start after it, and again whenever it does.
_UNIT_TEXT = """\
{header}
[Unit]
Description=Packet filter and address translation of virtnet.kvm
Documentation=file:/etc/virtnet/README
DefaultDependencies=no
After=local-fs.target nftables.service
Before=network-pre.target libvirtd.service virtnetworkd.service virtqemud.service libvirt-guests.service shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
ConditionPathExists={rules}

[Service]
Type=oneshot
RemainAfterExit=yes
StandardInput=null
ExecStart={nft} -f {rules}
ExecReload={nft} -f {rules}

[Install]
WantedBy=sysinit.target
"""


def has_systemd():
    """Return whether systemd is the running init."""
    return os.path.isdir(_SYSTEMD)


def rules_text(transaction):
    """Return the file's text for a transaction of nft. Pure."""
    return f"#!/usr/sbin/nft -f\n{HEADER}\n\n{transaction}"


def unit_text(nft):
    """Return the unit's text. Pure."""
    return _UNIT_TEXT.format(header=HEADER, nft=nft, rules=RULES)


class Boot:
    """The boot file and its unit on one host."""

    def __init__(self, host):
        self._host = host

    def state(self, transaction):
        """Return what is wrong with file and unit for this transaction (None: nothing is to be there), as words."""
        wanted = None if transaction is None else rules_text(transaction)
        state = {"file": self._compare(RULES, wanted)}
        if has_systemd():
            state["unit"] = self._compare(UNIT, None if transaction is None else unit_text(self._nft()))
            enabled = os.path.islink(LINK)
            if transaction is not None and not enabled and state["unit"] == "as declared":
                state["unit"] = "disabled"
        return state

    def _nft(self):
        return shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/usr/sbin/nft"

    def _compare(self, path, wanted):
        text = files.read(path)
        if text is None:
            return "absent" if wanted is None else "missing"
        if HEADER not in text:
            raise Conflict("the file is not one of virtnet.kvm's", path, cure="Move it away.")
        return "as declared" if text == wanted else "different"

    def install(self, transaction):
        """Write the file and see to the unit."""
        files.write(RULES, rules_text(transaction))
        if not has_systemd():
            return
        text = unit_text(self._nft())
        if files.read(UNIT) != text or not os.path.islink(LINK):
            files.write(UNIT, text, mode=0o644)
            self._systemctl("daemon-reload")
            self._systemctl("enable", "--now", UNIT_NAME)

    def remove(self):
        """Take file and unit away; the kernel's rules are not touched by that."""
        if has_systemd() and files.read(UNIT) is not None:
            self._systemctl("disable", "--now", UNIT_NAME)
            files.remove(UNIT)
            self._systemctl("daemon-reload")
        files.remove(RULES)

    def _systemctl(self, *arguments):
        self._host.run(["systemctl", "--quiet", *arguments], what=f"systemctl {arguments[0]}", subject=UNIT_NAME)
