# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules over a reboot and over others who flush them: readable files, and a unit that loads them before libvirtd and
before the network, and again when somebody else's program has taken them away.
"""

from __future__ import annotations

import os
import shutil

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import iptables, iptables_text, nft
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.ruleset import NAME
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.spoofing import LINK_LOCALS
from ansible_collections.virtnet.kvm.plugins.module_utils.host import ETC, RUN

HEADER = "# Made by virtnet.kvm; changes are lost. See /etc/virtnet/README."
RULES = os.path.join(ETC, "virtnet.nft")
IPTABLES = {version: os.path.join(ETC, f"virtnet.{program}") for version, program in iptables.PROGRAMS.items()}
WATCH = os.path.join(ETC, "watch-firewall")
UNIT_NAME = "virtnet-firewall.service"
UNIT = os.path.join("/etc/systemd/system", UNIT_NAME)
LINK = os.path.join("/etc/systemd/system/sysinit.target.wants", UNIT_NAME)
_SYSTEMD = "/run/systemd/system"

# nftables.service flushes everything when it starts, stops or reloads, netfilter-persistent.service replaces all rules of
# iptables at boot: we start after them, and what they do later the watch sees. ExecStartPre, because units that wait for this
# one wait for those only.
_UNIT_TEXT = """\
{header}
[Unit]
Description=Packet filter and address translation of virtnet.kvm
Documentation=file:/etc/virtnet/README
DefaultDependencies=no
After=local-fs.target nftables.service netfilter-persistent.service
Before=network-pre.target libvirtd.service virtnetworkd.service virtqemud.service libvirt-guests.service shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
StartLimitIntervalSec=0
ConditionPathExists=|{rules}
{conditions}
[Service]
Type=simple
StandardInput=null
{commands}
ExecStart=/bin/sh {watch}
Restart=always
RestartSec=1

[Install]
WantedBy=sysinit.target
"""

# What nft.Nft.load() begins the set with, where the rules come from the file. $$ is systemd's for $, and - says that it may fail.
_LEARN = (
    "-/bin/sh -c 'while read -r number index length scope flags link; do "
    '[ $$scope = 20 ] && [ -d {links}/$$link/bridge ] && known="$${{known}}0x$$number, "; '
    f'done < {{addresses}}; [ -z "$$known" ] || {{program}} add element bridge {NAME} {LINK_LOCALS} "{{{{ $$known }}}}"\''
)

_WATCH_TEXT = """\
{header}
# Run by {unit}: has the rules loaded again when somebody else's program takes them away, as 'nft flush ruleset' does.
PATH=/usr/sbin:/usr/bin:/sbin:/bin

# What shall be there stands in the files, whoever wrote them last.
lost() {{
    if [ -e {rules} ]; then
        tables=$(nft list tables) || return 1
        sed -n 's/^table \\(.*\\) {{$/table \\1/p' {rules} | while read -r table; do
            echo "$tables" | grep -qx "$table" || echo lost
        done | grep -q lost && return 0
    fi
{checks}
    return 1
}}

# A line for each thing that comes or goes (nft 1.1 takes no 'destroy' here), and one for what went before anybody listened.
# A table goes as a whole; of iptables it is a rule.
what=tables
if [ -e {iptables} ] || [ -e {ip6tables} ]; then what=rules; fi
{{ (sleep 1; echo delete) & exec nft monitor $what; }} | while read -r line; do
    case $line in add*) continue ;; esac
    lost || continue
    # While a run of ours holds the lock they may be gone for good.
    (flock -w 60 9 && lost && exec systemctl reload {unit}) 9>> {lock}
done
"""


def has_systemd():
    """Return whether systemd is the running init."""
    return os.path.isdir(_SYSTEMD)


def paths():
    """Return the paths of all files that a boot may need."""
    return [RULES, *IPTABLES.values(), WATCH, UNIT]


def rules_text(transaction):
    """Return the file's text for a transaction of nft. Pure."""
    return f"#!/usr/sbin/nft -f\n{HEADER}\n\n{transaction}"


def iptables_file(text):
    """Return the file's text for rules of iptables, without the jumps: iptables-restore cannot add what is missing. Pure."""
    return f"{HEADER}\n{text}"


def _commands(version):
    """Return the command lines that load the file of an IP version, any number of times. Pure."""
    table = " ".join([iptables.command(version), *iptables.WAIT, "-t nat"])
    yield " ".join([iptables.command(version, "-restore"), *iptables.WAIT, "--noflush", IPTABLES[version]])
    jumps = " ".join(f'"{hook} -j {chain}"' for hook, chain in iptables_text.JUMPS)
    # $$ is systemd's for $.
    yield f"/bin/sh -c 'for jump in {jumps}; do {table} -C $$jump 2>/dev/null || {table} -I $$jump || exit; done'"


def unit_text(rendered):
    """Return the unit's text for what is Rendered."""
    program = shutil.which("nft", path=iptables.PATH) or "/usr/sbin/nft"
    lines = [f"{program} -f {RULES}"] if nft.text_has_tables(rendered.nft) else []
    if lines and f"set {LINK_LOCALS} {{" in rendered.nft:
        lines.append(_LEARN.format(program=program, links=nft.LINKS, addresses=nft.ADDRESSES))
    versions = [version for version, text in rendered.iptables.items() if text]
    for version in versions:
        lines += _commands(version)
    return _UNIT_TEXT.format(
        header=HEADER, rules=RULES, watch=WATCH,
        conditions="".join(f"ConditionPathExists=|{IPTABLES[version]}\n" for version in versions),
        commands="\n".join(f"{word}={line}" for word in ("ExecStartPre", "ExecReload") for line in lines),
    )


def watch_text():
    """Return the script that looks after what the files say. Pure."""
    jumps = " ".join(f'"{hook} -j {chain}"' for hook, chain in iptables_text.JUMPS)
    checks = []
    for version, path in IPTABLES.items():
        table = " ".join([iptables.command(version), *iptables.WAIT, "-t nat"])
        checks.append(f"[ ! -e {path} ] || for jump in {jumps}; do {table} -C $jump 2> /dev/null || return 0; done")
    return _WATCH_TEXT.format(
        header=HEADER, unit=UNIT_NAME, lock=os.path.join(RUN, "lock"), rules=RULES, iptables=IPTABLES[4], ip6tables=IPTABLES[6],
        checks="\n".join(f"    {one}" for one in checks),
    )


class Boot:
    """The boot files and their unit on one host."""

    def __init__(self, host):
        self._host = host

    @staticmethod
    def wanted(rendered):
        """Return {what: (path, text)} of all files; text None: it is not to be there."""
        found = {"file": (RULES, rules_text(rendered.nft) if nft.text_has_tables(rendered.nft) else None)}
        for version, path in IPTABLES.items():
            text = rendered.iptables[version]
            found[iptables.PROGRAMS[version]] = (path, iptables_file(text) if text else None)
        if has_systemd():
            found["watch"] = (WATCH, None if rendered.empty else watch_text())
            found["unit"] = (UNIT, None if rendered.empty else unit_text(rendered))
        return found

    def state(self, rendered):
        """Return what is wrong with files and unit for what is Rendered, as words."""
        state = {what: self._compare(path, text) for what, (path, text) in self.wanted(rendered).items()}
        if state.get("unit") == "as declared":
            if not os.path.islink(LINK):
                state["unit"] = "disabled"
            elif not self.runs():
                state["unit"] = "not running"
        return state

    def runs(self):
        """Return whether the unit runs; without systemd there is none to run."""
        return not has_systemd() or self._host.run(["systemctl", "is-active", "--quiet", UNIT_NAME], check=False)[0] == 0

    @staticmethod
    def has_iptables():
        """Return whether there are files for iptables: it then has rules of ours, whatever the store says."""
        return any(os.path.exists(path) for path in IPTABLES.values())

    def _compare(self, path, wanted):
        text = files.read(path)
        if text is None:
            return "absent" if wanted is None else "missing"
        if HEADER not in text:
            raise Conflict("the file is not one of virtnet.kvm's", path, cure="Move it away.")
        return "as declared" if text == wanted else "different"

    def undo(self, rendered):
        """Return (paths of what install() may write or remove, commands of the shell after they are as before).

        :param rendered: what is to be installed; it is not empty, so the unit is not disabled by that.
        """
        paths, commands = [path for path, _text in self.wanted(rendered).values()], []
        if has_systemd():
            if not os.path.islink(LINK):
                paths.append(LINK)
                commands.append(f"systemctl --quiet stop {UNIT_NAME}")
            commands.append("systemctl daemon-reload")
        return paths, commands

    def install(self, rendered):
        """Write the files and see to the unit; take away what is not wanted. The kernel's rules are not touched by that."""
        wanted = self.wanted(rendered)
        watched = files.read(WATCH)
        unit, text = wanted.pop("unit", (None, None))
        if unit is not None and text is None and files.read(unit) is not None:
            self._systemctl("disable", "--now", UNIT_NAME)
            files.remove(unit)
            self._systemctl("daemon-reload")
        for path, content in wanted.values():
            if content is None:
                files.remove(path)
            elif files.read(path) != content:
                files.write(path, content)
        if text is None:
            return
        if files.read(unit) != text or not os.path.islink(LINK):
            files.write(unit, text, mode=0o644)
            self._systemctl("daemon-reload")
            self._systemctl("enable", UNIT_NAME)
            self._systemctl("restart", UNIT_NAME)
        elif watched != files.read(WATCH):
            self._systemctl("restart", UNIT_NAME)
        else:
            self._systemctl("start", UNIT_NAME)

    def _systemctl(self, *arguments):
        self._host.run(["systemctl", "--quiet", *arguments], what=f"systemctl {arguments[0]}", subject=UNIT_NAME)
