# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings VXLAN devices back: a file for each, a script that makes them, and its unit. Pure."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.links import batch, forms

HEADER = "# Made by virtnet.kvm; changes are lost. See /etc/virtnet/README."
FOLDER = "/etc/virtnet/vxlan.d"
#: Of module_utils/host.py, where the lock is that every run of ours holds.
RUN = "/run/virtnet"
SCRIPT = "/etc/virtnet/keep-vxlan"
UNIT_NAME = "virtnet-vxlan.service"
UNIT = f"/etc/systemd/system/{UNIT_NAME}"
LINK = f"/etc/systemd/system/sysinit.target.wants/{UNIT_NAME}"

SCRIPT_TEXT = f"""\
{HEADER}
# Run by {UNIT_NAME}. 'make' makes the VXLAN devices of {FOLDER}; 'watch' puts each into its bridge whenever that
# is made: a bridge of libvirt's goes and comes with its network.
PATH=/usr/sbin:/usr/bin:/sbin:/bin

each() {{
    for file in {FOLDER}/*; do
        [ -e "$file" ] || continue
        name=${{file##*/}}
        learning=learning
        . "$file"
        "$1"
    done
}}

make() {{
    [ ! -e "/sys/class/net/$name" ] || return 0
    ip link add name "$name" type vxlan id "$vni" local "$local" dstport "$port" "$learning" || return
    ip link set dev "$name" alias {forms.ALIAS}
    ip link set dev "$name" mtu "$mtu" addrgenmode none
    for peer in $peers; do
        bridge fdb append {batch.EVERYBODY} dev "$name" dst "$peer"
    done
    ip link set dev "$name" up
}}

apart() {{
    [ -n "$bridge" ] && [ -d "/sys/class/net/$bridge/bridge" ] && [ -e "/sys/class/net/$name" ] || return 1
    [ ! -e "/sys/class/net/$bridge/brif/$name" ]
}}

look() {{
    if apart; then found=yes; fi
}}

join() {{
    apart || return 0
    ip link set dev "$name" master "$bridge" || return 0
    [ "$learning" = learning ] || ip link set dev "$name" type bridge_slave learning off
}}

case $1 in
    make) each make ;;
    watch)
        mkdir -p {RUN}
        # A line for each change of a link, and one for what came before anybody listened.
        {{ (sleep 1; echo) & exec ip -o monitor link; }} | while read -r line; do
            found=
            each look
            # A run of ours that holds the lock may be about to say otherwise.
            [ -z "$found" ] || (flock 9 && each join) 9>> {RUN}/lock
        done
        ;;
esac
"""

# Before libvirt starts its networks, and after the rules that say who may send into them.
UNIT_TEXT = f"""\
{HEADER}
[Unit]
Description=VXLAN devices of virtnet.kvm
Documentation=file:/etc/virtnet/README
DefaultDependencies=no
After=local-fs.target virtnet-firewall.service
Before=libvirtd.service virtnetworkd.service virtqemud.service libvirt-guests.service shutdown.target
Conflicts=shutdown.target
StartLimitIntervalSec=0
ConditionDirectoryNotEmpty={FOLDER}

[Service]
Type=simple
StandardInput=null
ExecStartPre=/bin/sh {SCRIPT} make
ExecStart=/bin/sh {SCRIPT} watch
Restart=always
RestartSec=1

[Install]
WantedBy=sysinit.target
"""


def path(name):
    return f"{FOLDER}/{name}"


def entry(form):
    """Return the file of a device: assignments of the shell; none of the values has a blank but the list of peers."""
    values = {
        "vni": form["vni"], "local": form["local"], "port": form["udp_port"], "mtu": form["mtu"], "bridge": form["home"] or "",
        "peers": f"'{' '.join(form['peers'])}'", "learning": "learning" if form.get("learning", True) else "nolearning",
    }  # fmt: skip
    return f"{HEADER}\n" + "".join(f"{key}={value}\n" for key, value in values.items())


def home(text):
    """Return the bridge that a device's file names, None without one."""
    found = [line.partition("=")[2] for line in text.splitlines() if line.startswith("bridge=")]
    return found[0] or None if found else None
