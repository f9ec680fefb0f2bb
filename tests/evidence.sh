#!/usr/bin/env bash
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What a host is like after a failed scenario: links, addresses, routes, rules, libvirt's XML, the store, the journal.
# Runs on a lab host, past its network; nothing in it changes anything.

set -u

# show LINES COMMAND...: a heading, and the first lines of what the command says (a negative number: the last ones).
show() {
    local lines=$1
    shift
    printf '\n--- %s\n' "$*"
    if [ "$lines" -lt 0 ]; then
        timeout 10 "$@" 2>&1 | tail -n "${lines#-}"
    else
        timeout 10 "$@" 2>&1 | head -n "$lines"
    fi
}

show 5 systemctl is-system-running
show 20 systemctl list-units --failed --no-legend
show 60 ip -br link
show 60 ip -br address
show 40 bridge link
show 40 ip -4 route show table main
show 40 ip -6 route show table main
show 20 ip -j neigh
show 20 networkctl --no-legend --no-pager list
show 10 sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.bridge.bridge-nf-call-iptables
show 250 nft -s list ruleset
show 40 ls -lR /etc/virtnet /run/virtnet /var/lib/virtnet
show 30 virsh net-list --all
for net in $(virsh net-list --all --name 2>/dev/null); do
    show 60 virsh net-dumpxml "$net"
    show 20 virsh net-port-list "$net"
    show 20 virsh net-dhcp-leases "$net"
done
show 30 virsh list --all
for guest in $(virsh list --name 2>/dev/null); do
    show 20 virsh domiflist "$guest"
    show -8 cat "/var/log/libvirt/qemu/$guest.log"
done
show -40 journalctl --boot --no-pager --priority warning
show -40 journalctl --boot --no-pager --unit libvirtd --unit virtnet-firewall --unit systemd-networkd
