# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell by which ifupdown adopts links that are set up already, their DHCP clients with them. Pure.

ifup(8) would fail of addresses that are there already, and ifdown(8) takes them away. So ifup is asked for the commands that it
would run, and those that say what shall be are carried out, in a wording that changes nothing which is so already. The module
and the dead man's switch run the same text.
"""

from __future__ import annotations

import shlex

from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_files as texts
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_stanzas as read

_FUNCTIONS = r"""
PATH=/usr/sbin:/usr/bin:/sbin:/bin
# The processes that are DHCP clients of a link.
virtnet_pids() {
    for file in /run/dhclient.$1.pid /run/dhclient6.$1.pid /run/dhcpcd/$1.pid /run/dhcpcd/$1-4.pid /run/dhcpcd/$1-6.pid; do
        [ -e $file ] || continue
        pid=$(cat $file)
        case $(cat /proc/$pid/comm 2> /dev/null) in dhclient | dhcpcd) echo $pid ;; esac
    done
}
# Neither client ends without giving its lease or its addresses back, but for a kill.
virtnet_let_go() {
    pids=$(virtnet_pids $1)
    [ -n "$pids" ] || return 0
    kill -KILL $pids
    rm -f /run/dhclient.$1.pid /run/dhclient6.$1.pid /run/dhcpcd/$1.pid /run/dhcpcd/$1-[46].pid
    rm -f /run/dhcpcd/$1.*sock /run/dhcpcd/$1-[46].*sock /run/dhcpcd/hook-state/*/$1.*
}
# What resolvconf(8) knows of a link; each link tells it anew.
virtnet_forget_names() {
    command -v resolvconf > /dev/null || return 0
    for record in inet inet6 dhclient dhcp ra; do resolvconf -d $1.$record; done
}
# A client begins with the lease of the link whose place it takes, so it asks for the same address.
virtnet_lease() {
    for other in $names; do
        [ $other != $1 ] || continue
        for kind in dhclient dhclient6; do
            old=@LEASES@/$kind.$other.leases new=@LEASES@/$kind.$1.leases
            if [ -s $old ] && { [ ! -s $new ] || [ $old -nt $new ]; }; then
                sed "s/interface \"$other\";/interface \"$1\";/" $old > $new
            fi
        done
        old=/var/lib/dhcpcd/$other.lease new=/var/lib/dhcpcd/$1.lease
        if [ -s $old ] && { [ ! -s $new ] || [ $old -nt $new ]; }; then cp -p $old $new; fi
    done
}
virtnet_client() {
    case "$2" in
    *"dhclient -6 "*) pid=/run/dhclient6.$1.pid ;;
    *dhclient*) pid=/run/dhclient.$1.pid ;;
    *) pid=/run/dhcpcd/$1.pid ;;
    esac
    # What dhclient sets it does not mark, and ifup's own routes are as unmarked.
    ip -4 route show dev $1 proto static > /run/virtnet/routes
    while read -r route; do ip -4 route replace $route dev $1; done < /run/virtnet/routes
    rm /run/virtnet/routes
    [ ! -e $pid ] || ! kill -0 $(cat $pid) 2> /dev/null || return 0
    virtnet_lease $1
    # dhcpcd takes no route for its own that expires; the default route tells when it has heard the router.
    ip -6 route show dev $1 proto ra | grep expires | grep -v -e '^default' -e 'metric 1024 ' |
        sed -n 's/^\([^ ]*\) .*metric \([0-9]*\) .*/\1 \2/p' > /run/virtnet/routes
    while read -r to metric; do ip -6 route del $to dev $1 proto ra metric $metric; done < /run/virtnet/routes
    rm /run/virtnet/routes
    # In a service, the timer's say, it would be killed together with that.
    scope="systemd-run --quiet --scope --collect"
    $scope true 2> /dev/null || scope=
    IFACE=$1 $scope /bin/sh -c "$2" < /dev/null > /dev/null 2>&1 9>&- &
    client=$! waited=0
    while kill -0 $client 2> /dev/null && [ $waited -lt 150 ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    while ip -6 route show default dev $1 proto ra | grep -v 'metric 1024 ' | grep -q expires && [ $waited -lt 150 ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
}
# Note a link as set up by a logical name, or as not set up.
virtnet_state() {
    grep -v "^$1=" @STATE@ > @STATE@.virtnet
    [ -z "$2" ] || echo "$1=$2" >> @STATE@.virtnet
    # ifup locks another file, and keeps this one open.
    cat @STATE@.virtnet > @STATE@
    rm @STATE@.virtnet
    if [ -n "$2" ]; then echo "$2" > @STATE@.$1; else rm -f @STATE@.$1; fi
}
# Tell who answers for names which DNS servers the stanzas have.
virtnet_names() {
    servers=$(ifquery $1 2> /dev/null | sed -n 's/^dns-nameservers\{0,1\}: //p' | tr '\n' ' ')
    [ -n "$servers" ] || return 0
    search=$(ifquery $1 2> /dev/null | sed -n 's/^dns-\(search\|domain\): //p' | tr '\n' ' ')
    for hook in 000resolvconf resolved; do
        [ -x /etc/network/if-up.d/$hook ] || continue
        IFACE=$1 LOGICAL=$2 ADDRFAM=inet METHOD=static MODE=start PHASE=post-up \
            IF_DNS_NAMESERVERS=$servers IF_DNS_SEARCH=$search /etc/network/if-up.d/$hook
    done
}
# The kernel's own route of a router advertisement was moved by hand, and the kernel takes no advertisement in beside it. A
# copy of it keeps the way until the router has answered: it is asked when a link-local address is new.
virtnet_router() {
    conf=/proc/sys/net/ipv6/conf/$1
    [ -e $conf ] || return 0
    mode=$(cat $conf/addr_gen_mode)
    if [ $mode = 1 ] && [ ! -e /run/dhcpcd/$1.pid ]; then mode=$(cat /proc/sys/net/ipv6/conf/default/addr_gen_mode); fi
    via=$(ip -6 route show default dev $1 proto ra metric 1024 | sed -n '1s/.*via \([^ ]*\).*/\1/p')
    if [ -z "$via" ]; then
        [ $mode = $(cat $conf/addr_gen_mode) ] || echo $mode > $conf/addr_gen_mode
        return
    fi
    ip -6 route replace default via $via dev $1 proto ra metric 1025 expires 60
    ip -6 route del default via $via dev $1 proto ra metric 1024
    if [ $mode = 1 ]; then
        for one in $(ip -o -6 address show dev $1 scope link | sed 's/.* inet6 \([^ ]*\).*/\1/'); do
            ip -6 address del $one dev $1
            ip -6 address add $one dev $1 scope link
        done
    else
        ip -6 address flush dev $1 scope link
        echo 1 > $conf/addr_gen_mode
        echo $mode > $conf/addr_gen_mode
    fi
    for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        sleep 0.2
        [ -z "$(ip -6 route show default dev $1 proto ra metric 1024)" ] || break
    done
    ip -6 route del default via $via dev $1 proto ra metric 1025
}
# One of ifup's commands, if it says what shall be.
virtnet_replay() {
    case "$2" in
    *dhclient*" $1"* | dhcpcd*" $1"*) virtnet_client $1 "$2" ;;
    "ip route add "* | "ip -6 route add "*) IFACE=$1 /bin/sh -c "$(echo "$2" | sed 's/ add / replace /')" ;;
    "ip route replace "*" proto static"*) IFACE=$1 /bin/sh -c "${2%% ||*}" ;;
    "ip -6 route replace "* | "ip addr add "* | "sysctl -q "*) IFACE=$1 /bin/sh -c "$2" ;;
    "ip link set dev "*" addrgenmode none" | "ip -6 address flush dev "*) IFACE=$1 /bin/sh -c "$2" ;;
    "ip -6 addr add "*)
        IFACE=$1 /bin/sh -c "$2"
        # The way to its subnet: dhcpcd has removed it, and a change of the address would remove dhcpcd's.
        [ ! -e /run/dhcpcd/$1.pid ] || ip -6 route add $(echo "$2" | cut -d ' ' -f 5) dev $1 proto kernel metric 256 ;;
    esac
}
# Before any client starts, those go that have no link, or a bridge above it.
virtnet_part() {
    [ -e /sys/class/net/$1 ] && [ ! -e /sys/class/net/$1/brport ] || virtnet_let_go $1
}
virtnet_adopt() {
    before=$(sed -n "s/^$1=//p" @STATE@)
    words=$(ifup --no-act --verbose --force $1 2>&1 | sed -n "s/^ifup: configuring interface $1=//p" | sed -n 1p)
    logical=${words%% *}
    [ -e /sys/class/net/$1 ] || logical=
    case "$before/$logical" in
    @NEW@*/@LOGICAL@*) ;;
    @NEW@*) logical= ;;
    /@LOGICAL@*) ;;
    /?*) [ -e @FOLDER@/@PREFIX@$1 ] || logical= ;;
    esac
    if [ -z "$logical" ]; then
        [ -z "$before" ] || { virtnet_let_go $1; virtnet_forget_names $1; virtnet_state $1 ""; }
        return
    fi
    # Not through a pipe: what the commands start would hold it open.
    commands=/run/virtnet/ifup.$1
    ifup --no-act --force $1 > $commands 2>&1
    grep -q -e "dhclient.* $1" -e "^dhcpcd.* $1" $commands || virtnet_let_go $1
    [ "$before" = "$logical" ] || virtnet_forget_names $1
    virtnet_state $1 $logical
    while read -r line; do virtnet_replay $1 "$line"; done < $commands
    rm $commands
    virtnet_names $1 $logical
    if [ -e /sys/class/net/$1/brport ]; then
        # Of a client that asked once more before it was stopped.
        ip address flush dev $1 scope global
    elif [ "$before" != "$logical" ] || [ -n "$afresh" ]; then
        virtnet_router $1
    fi
}
# The leases of a link that is gone, once they were looked at.
virtnet_sweep() {
    [ -e /sys/class/net/$1 ] || rm -f @LEASES@/dhclient.$1.leases @LEASES@/dhclient6.$1.leases /var/lib/dhcpcd/$1.lease
}
"""


def functions():
    """Return the shell's functions; C(virtnet_adopt) wants all links of a change in $names."""
    text = _FUNCTIONS
    for word, value in (
        ("LEASES", read.LEASES), ("STATE", read.STATE), ("NEW", texts.NEW), ("LOGICAL", texts.LOGICAL),
        ("FOLDER", texts.FOLDER), ("PREFIX", texts.PREFIX),
    ):  # fmt: skip
        text = text.replace(f"@{word}@", value)
    return text.strip("\n")


def making(name):
    """Return the shell's command that makes a link as our file says, without its ports, if there is the file and not the link."""
    return (
        f"[ -e /sys/class/net/{name} ] || [ ! -e {texts.path(name)} ] ||"
        f" sed -n 's/^ *pre-up //p' {texts.path(name)} | IFACE={name} /bin/sh -e > /dev/null 2>&1"
    )


def letting_go(names):
    """Return the shell's commands that stop the DHCP clients of links and leave all that they have set."""
    return [f"virtnet_let_go {name}" for name in names]


def adoption(names, afresh=False):
    """Return the shell's commands that have ifupdown take links for its own as they are, its DHCP clients with them.

    :param afresh: ask routers again also for links whose stanzas are the same as before.
    """
    head = f"names={shlex.quote(' '.join(names))} afresh={'yes' if afresh else ''}"
    steps = [f"virtnet_{step} {name} > /dev/null 2>&1" for step in ("part", "adopt", "sweep") for name in names]
    return [head, *steps]
