# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The openings of a host as one thing: all kinds of firewalls that others have, and what a boot needs to put them back."""

from __future__ import annotations

import os

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import boot
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign import firewalld, needs, nft_chains, xtables
from ansible_collections.virtnet.kvm.plugins.module_utils.host import ETC

SCRIPT = os.path.join(ETC, "openings.sh")
#: Beside the unit that loads our own rules, so that these are there first.
DROP_IN = os.path.join(f"{boot.UNIT}.d", "openings.conf")
_DROP_IN_TEXT = f"""\
{boot.HEADER}
[Service]
ExecStartPre=-/bin/sh {SCRIPT}
ExecReload=-/bin/sh {SCRIPT}
"""
#: A firewall of the host's that has no files of its own which could hold an opening.
BOOT = "boot"


class Openings:
    """Effects on one host. A state is {name of a firewall: lines}, what is open in it for us, in its own words."""

    def __init__(self, host):
        self._host = host
        self._chains = nft_chains.Chains(host)
        self._xtables = xtables.Xtables(host)
        self._firewalld = firewalld.Firewalld(host)
        self._plans = {}
        self._text = None

    def found(self):
        """Look at the host; return its state."""
        self._chains.look()
        self._xtables.look(self._chains.iptables)
        self._firewalld.look()
        state = {**self._chains.found(), **self._xtables.found(), **self._firewalld.found()}
        here = [path for path in (SCRIPT, DROP_IN) if files.read(path) is not None]
        if here:
            state[BOOT] = [f"{path}: {files.read(path)}" for path in here]
        return state

    def wanted(self, networks):
        """Return the state that the networks need on the host as it was found."""
        must_pass = needs.needs(networks)
        state = {}
        for kind, what in ((self._chains, must_pass), (self._xtables, must_pass), (self._firewalld, networks)):
            told, self._plans[kind] = kind.wanted(what)
            state.update(told)
        lines = [line for kind in (self._chains, self._xtables) for line in kind.script(self._plans[kind])]
        self._text = "\n".join(["#!/bin/sh", boot.HEADER, *lines, ""]) if lines else None
        if lines:
            state[BOOT] = [f"{SCRIPT}: {self._text}"]
            state[BOOT] += [f"{DROP_IN}: {_DROP_IN_TEXT}"] if boot.has_systemd() else []
        return state

    def lost(self):
        """Return the zones of firewalld that lose what is not permanent of them."""
        return self._firewalld.lost(self._plans[self._firewalld])

    def change(self, name):
        """Carry out what wanted() has planned for the firewall C(name); those of one program go together."""
        if name == BOOT:
            self._persist()
        elif name == firewalld.NAME:
            self._firewalld.change(self._plans[self._firewalld])
        elif name == nft_chains.NAME:
            self._chains.change(self._plans[self._chains])
        else:
            self._xtables.change(self._plans[self._xtables])
            # What is left to do for a second name of these is nothing.
            self._xtables.look(self._chains.iptables)

    def undo(self):
        """Return what takes back all that change() does: (lines of the shell, paths of files, commands after those)."""
        of_ufw, lines = self._xtables.undo(self._plans[self._xtables])
        lines = [*self._chains.undo(self._plans[self._chains]), *lines]
        paths, commands = self._firewalld.undo(self._plans[self._firewalld])
        return lines, [*of_ufw, *paths, SCRIPT, DROP_IN], commands

    def _persist(self):
        wanted = {SCRIPT: self._text, DROP_IN: _DROP_IN_TEXT if self._text and boot.has_systemd() else None}
        reload = files.read(DROP_IN) != wanted[DROP_IN]
        for path, text in wanted.items():
            if text is None:
                files.remove(path)
            elif files.read(path) != text:
                files.write(path, text, mode=0o644)
        files.remove_empty_folders(os.path.dirname(DROP_IN), os.path.dirname(DROP_IN))
        files.remove_empty_folders(ETC, ETC)
        if reload and boot.has_systemd():
            self._host.run(["systemctl", "--quiet", "daemon-reload"], what="systemctl daemon-reload")
