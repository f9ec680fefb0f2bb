#!/bin/sh
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# All that role kvm_host wants to know of a host, at the price of one task, as YAML. It changes nothing.
# probe.sh DEBIAN-PACKAGES REDHAT-PACKAGES auto|monolithic|split URI
# In the lists, @emulator stands for the architecture's emulator, @kernel for a kernel where there is none.
#
# shellcheck disable=SC2086  # lists are strings of words here, and meant to be split

export LC_ALL=C PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
debian=$1 redhat=$2 daemons=$3 uri=$4

have() { command -v "$1" >/dev/null 2>&1; }
# A YAML list of words.
list() { printf '%s: [' "$1"; shift; sep=; for word; do printf '%s"%s"' "$sep" "$word"; sep=', '; done; echo ']'; }

ID=unknown ID_LIKE='' PRETTY_NAME=unknown
[ -r /etc/os-release ] && . /etc/os-release
family=
for word in $ID $ID_LIKE; do
    case $word in
        debian | ubuntu) family=Debian; break ;;
        fedora | rhel | centos) family=RedHat; break ;;
    esac
done
machine=$(uname -m)
case $machine in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; esac
case $family:$machine in
    Debian:x86_64) emulator=qemu-system-x86 kernel=linux-image-cloud-amd64 ;;
    Debian:aarch64) emulator=qemu-system-arm kernel=linux-image-cloud-arm64 ;;
    RedHat:*) emulator=qemu-kvm kernel=kernel-core ;;
esac
[ "$ID" = ubuntu ] && kernel=linux-image-virtual

# A kernel whose modules are there, too, is all that the built-in guest needs: whose package it came in does not matter.
for image in /boot/vmlinuz-*; do
    [ -e "$image" ] && [ -d "/lib/modules/${image#/boot/vmlinuz-}/kernel" ] && kernel=
done

wanted=
case $family in Debian) words=$debian ;; *) words=$redhat ;; esac
for word in $words; do
    case $word in @emulator) word=$emulator ;; @kernel) word=$kernel ;; esac
    wanted="$wanted $word"
done
missing=
if [ "$family" = Debian ]; then
    # One name may be there for several architectures; 'installed' for one of them is enough.
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p' | tr '\n' ' ')
    for word in $wanted; do
        case " $installed" in *" $word "*) ;; *) missing="$missing $word" ;; esac
    done
elif [ "$family" = RedHat ]; then
    for word in $wanted; do
        rpm -q --quiet --whatprovides "$word" 2>/dev/null || missing="$missing $word"
    done
fi

# The Python that the modules will go on in, if Ansible's own lacks the libraries. Finding them is three times as quick as
# importing them.
python=
for candidate in /usr/bin/python3 /usr/libexec/platform-python; do
    if [ -x "$candidate" ] && "$candidate" -I -c 'import sys
from importlib.util import find_spec
sys.exit(not all(map(find_spec, ("libvirt", "libvirt_qemu", "lxml"))))' 2>/dev/null; then
        python=$candidate
        break
    fi
done

init=none enable='' start=''
if [ -d /run/systemd/system ]; then
    init=systemd
    files=$(systemctl list-unit-files --no-legend --no-pager 'libvirtd.*' 'libvirtd-*.socket' 'virt*d.service' 'virt*d.socket' 'virt*d-*.socket' 2>/dev/null | awk '{ print $1 "=" $2 }')
    active=$(systemctl list-units --no-legend --no-pager --plain --state=active 'libvirtd.*' 'virt*d.*' 2>/dev/null | awk '{ printf "%s ", $1 }')
    state() { for line in $files; do [ "${line%%=*}" = "$1" ] && echo "${line#*=}" && return; done; }
    if [ "$daemons" = auto ]; then
        daemons=monolithic
        if [ -n "$(state virtqemud.service)" ]; then
            case "$(state libvirtd.service) $(state libvirtd.socket)" in *enabled*) ;; *) daemons='split' ;; esac
        fi
    fi
    case $daemons in
        monolithic) names='libvirtd' ;;
        split) names='virtqemud virtnetworkd virtnodedevd virtnwfilterd virtsecretd virtstoraged virtinterfaced' ;;
    esac
    for name in $names; do
        case $(state "$name.service") in
            '' | enabled*) ;;
            *)
                enable="$enable $name.service"
                # The service of libvirt 9.0 does not name the admin socket in Also=; that of 11.3 does.
                for socket in "$name-ro.socket" "$name-admin.socket"; do
                    if [ "$(state "$socket")" = disabled ]; then enable="$enable $socket"; fi
                done
                ;;
        esac
        # With a socket the daemon may end when it is idle: listening is enough.
        unit=$name.service
        [ -n "$(state "$name.socket")" ] && unit=$name.socket
        [ -n "$(state "$unit")" ] || continue
        case " $active" in *" $unit "*) ;; *) start="$start $unit" ;; esac
    done
else
    [ -x /etc/init.d/libvirtd ] && init=script
    if [ "$daemons" = auto ]; then
        daemons=monolithic
        have libvirtd || ! have virtqemud || daemons='split'
    fi
fi

answers=false said=''
if have virsh; then
    if said=$(timeout 20 virsh -q -c "$uri" hostname 2>&1 </dev/null); then answers=true said=''; fi
else
    said='virsh is not installed'
fi

echo "uid: $(id -u)"
echo "system: '$(printf %s "$PRETTY_NAME" | tr -d "'")'"
echo "family: '$family'"
echo "machine: '$machine'"
list missing $missing
echo "python: '$python'"
echo "init: $init"
echo "daemons: $daemons"
list enable $enable
list start $start
echo "answers: $answers"
echo "said: '$(printf %s "$said" | tr "'\n\t" '"  ')'"
