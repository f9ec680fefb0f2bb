# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script by which a host takes an unconfirmed change back, and the unit that runs it at boot. Pure.

It is a script, not a module: it must work when no controller can come in, and be read by whoever stands at the console.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

STATE = "/var/lib/virtnet"
FOLDER = f"{STATE}/guard"
SCRIPT = f"{FOLDER}/guard"
RECORD = f"{FOLDER}/record.json"
RUN = "/run/virtnet"
#: One line, C(TOKEN what became of it); it does not outlive a boot.
OUTCOME = f"{RUN}/guard.outcome"
#: systemd-run(1) makes TIMER.timer and TIMER.service of it.
TIMER = "virtnet-guard"
BOOT_UNIT = "/etc/systemd/system/virtnet-guard-boot.service"
BOOT_LINK = "/etc/systemd/system/sysinit.target.wants/virtnet-guard-boot.service"

#: For how long the script waits for a run of ours that holds the host's lock; then it ends the one that makes the change and
#: goes ahead, or does not confirm.
LOCK_WAIT_S = 20
#: The process that makes the change.
MAKER = f"{FOLDER}/pid"
#: The script's return code then.
LOCKED = 4
#: Why a change was taken back whose own run had failed.
FAILED = "failed"


@dataclass
class Change:
    """A change that can be taken back.

    C(links) it is about, C(kernel) {command of the shell: what it reads}, C(files) {path: whether it is there now}, C(folders)
    that go if they are empty then, C(sysctls) {path of the file below /proc/sys: value now}, C(seeds) {link: paths} of what a
    manager makes a link of that the change removes, C(reload) commands of the shell that have others read the files, C(ports)
    {link: bridge} of those that are in one now, C(made) links that are not there now.
    """

    links: list
    kernel: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)
    folders: list = field(default_factory=list)
    sysctls: dict = field(default_factory=dict)
    seeds: dict = field(default_factory=dict)
    reload: list = field(default_factory=list)
    ports: dict = field(default_factory=dict)
    made: list = field(default_factory=list)


def copy_of(path, change):
    """Return where the copy of a file is kept."""
    return f"{FOLDER}/files/{sorted(change.files).index(path)}"


def inputs(change):
    """Return {path: text} of what the commands for the kernel read."""
    return {f"{FOLDER}/kernel{number}": text for number, text in enumerate(change.kernel.values())}


def _put(path, change):
    """Return the command that has a file as it was before."""
    quoted = shlex.quote(path)
    if not change.files[path]:
        return f"rm -f {quoted}"
    folder = shlex.quote(path.rpartition("/")[0])
    return f"mkdir -p {folder} && cp -p {copy_of(path, change)} {quoted}.virtnet && mv {quoted}.virtnet {quoted}"


def _seed_lines(change):
    if not any(change.seeds.values()):
        return []
    lines = [_put(path, change) for paths in change.seeds.values() for path in paths]
    lines += change.reload[:1]
    for link in change.seeds:
        lines.append(
            f"for again in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do"
            f" [ -e /sys/class/net/{shlex.quote(link)} ] && break; sleep 0.25; done"
        )
    return lines


def _port_lines(change):
    """Return the lines that put ports back of which a manager has let go while it read the files, at its leisure."""
    if not change.ports:
        return []
    pairs = " ".join(shlex.quote(f"{port} {bridge}") for port, bridge in sorted(change.ports.items()))
    return [
        "for again in 1 2 3 4 5; do",
        f"    for pair in {pairs}; do",
        "        port=/sys/class/net/${pair% *}",
        '        [ -e "$port" ] && [ ! -e "$port/master" ] && ip link set dev "${pair% *}" master "${pair#* }"',
        "    done",
        "    sleep 0.2",
        "done 2> /dev/null",
    ]


def _made_lines(change):
    """Return the lines that remove links of which a manager that was restarted meanwhile does not know that they were its own."""
    lines = []
    for link in sorted(change.made):
        there = f"[ -e /sys/class/net/{shlex.quote(link)} ]"
        lines += [
            f"for again in 1 2 3 4 5 6 7 8 9 10; do {there} || break; sleep 0.2; done",
            f"if {there}; then ip link delete dev {shlex.quote(link)}; fi 2> /dev/null",
        ]
    return lines


def _block(lines, indent):
    return "\n".join(" " * indent + line for line in (lines or [":"]))


def script(change, token, until):
    """Return the script's text for a Change.

    :param token: what a confirmation must name.
    :param until: the deadline, for the reader.
    """
    kernel = _seed_lines(change)
    kernel += [f"{command} < {path} > /dev/null 2>&1" for command, path in zip(change.kernel, inputs(change))]
    files = [_put(path, change) for path in sorted(change.files)]
    files += [f"rmdir {shlex.quote(path)} 2> /dev/null" for path in change.folders]
    after = [f"echo {shlex.quote(str(value))} > {shlex.quote(path)} 2> /dev/null" for path, value in change.sysctls.items()]
    after += [*change.reload, *_made_lines(change), *_port_lines(change)]
    return f"""\
#!/bin/sh
# Made by virtnet.kvm. What has to do with the links {', '.join(change.links)} was changed, and the controller has not said yet
# that it still reaches this host. Without a word until {until} the host takes the change back; so it does at its next boot.
#   sh {SCRIPT} state            what there is to confirm
#   sh {SCRIPT} confirm {token}  keep the change
#   sh {SCRIPT} restore          take it back now
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
cd /
mkdir -p {RUN}

lock() {{
    [ -n "$VIRTNET_LOCKED" ] && return
    exec 9>> {RUN}/lock
    flock -w {LOCK_WAIT_S} 9
}}

# The run that makes the change hangs, or is slow: what it did after this would be half of a change, which nobody took back.
end_run() {{
    run=$(cat {MAKER} 2> /dev/null)
    ls -l "/proc/${{run:-none}}/fd" 2> /dev/null | grep -q ' {RUN}/lock$' || return
    kill -KILL "$run" $(cat "/proc/$run/task/"*/children 2> /dev/null) 2> /dev/null
    flock -w 5 9
}}

is_open() {{
    [ "$(cat {FOLDER}/token 2> /dev/null)" = {token} ]
}}

end() {{
    echo "{token} $1" > {OUTCOME}.new && mv {OUTCOME}.new {OUTCOME}
    rm -f {FOLDER}/token {BOOT_LINK} {BOOT_UNIT}
    sync {FOLDER} 2> /dev/null
    rm -rf {FOLDER}
    rmdir {STATE} 2> /dev/null
    # Last: at the deadline this runs as the timer's own service.
    [ -d /run/systemd/system ] && systemctl --no-block stop {TIMER}.timer 2> /dev/null
}}

case "$1" in
state)
    if is_open; then echo "{token} open until {until}"; else cat {OUTCOME}; fi
    ;;
confirm | drop)
    lock || exit {LOCKED}
    is_open && [ "$2" = {token} ] || {{ cat {OUTCOME}; exit 3; }}
    # drop: a run that failed has put everything back by itself.
    if [ "$1" = drop ]; then end "reverted {FAILED}"; else end confirmed; fi
    ;;
restore)
    # In the order in which the links come back: what makes them, the kernel, the files, those who read the files.
    lock || end_run
    is_open || exit 0
    if [ "$2" != boot ]; then
{_block(kernel, 8)}
    fi
{_block(files, 4)}
    if [ "$2" != boot ]; then
{_block(after, 8)}
    fi
    end "reverted ${{2:-asked}}"
    ;;
*)
    sed -n '/^#/!d; s/^# *//p' "$0" >&2
    exit 2
    ;;
esac
exit 0
"""


def boot_unit():
    """Return the text of the unit that takes an unconfirmed change back before any manager of links, or our filter, starts."""
    return f"""\
# Made by virtnet.kvm; it goes with the confirmation of the change.
[Unit]
Description=Take back a change that nobody confirmed (virtnet.kvm)
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target systemd-networkd.service NetworkManager.service networking.service shutdown.target
Before=virtnet-firewall.service
Wants=network-pre.target
Conflicts=shutdown.target
ConditionPathExists={SCRIPT}

[Service]
Type=oneshot
ExecStart=/bin/sh {SCRIPT} restore boot

[Install]
WantedBy=sysinit.target
"""
