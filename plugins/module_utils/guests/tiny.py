# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The built-in guest, as text: what its init does, and how one guest's own facts reach it. Pure.

A guest's facts (its name, keys, addresses) are a text of lines in QEMU's fw_cfg, so all guests share one image:

    hostname vm0
    key ssh-ed25519 AAAA… somebody
    nic 52:54:00:12:34:56
    dhcp
    address 10.64.100.2/24
    gateway 10.64.100.1

C(dhcp), C(address) and C(gateway) belong to the C(nic) above them.
"""

from __future__ import annotations

import ipaddress

#: Raised when the text below changes what older images do; part of the image's name in the cache.
RECIPE = "1"

#: Name of the fw_cfg entry; QEMU keeps opt/ for users, and asks for a domain name after it.
FW_CFG = "opt/io.github.virtnet/guest"

AGENT_PORT = "org.qemu.guest_agent.0"

#: Modules of the kernel that a guest cannot do without; what they depend on is found in their own .modinfo.
MODULES = ("virtio_pci", "virtio_console", "qemu_fw_cfg", "virtio_net", "af_packet", "ipv6")
#: Those it can: entropy for the SSH server.
OPTIONAL_MODULES = ("virtio_rng",)

#: What a probe script may import in a guest, with all that these import; tests compare it with the probe's own text.
PYTHON_MODULES = (
    "__future__", "base64", "binascii", "collections", "encodings.ascii", "encodings.idna",
    "encodings.latin_1", "encodings.utf_8", "errno", "fcntl", "ipaddress", "json", "os", "random", "re",
    "select", "selectors", "signal", "socket", "struct", "sys", "threading", "time",
)  # fmt: skip

#: The kernel's command line. Mitigations, KASLR and cryptographic self-tests (which also want memory that a small
#: guest has not) are of no use here, and cost much of the start under TCG.
CMDLINE = (
    "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on cryptomgr.notests audit=0"
)
#: Under TCG on a busy host the kernel measures its time stamp counter wrong, and its seconds are short: take the timer.
CMDLINE_TCG = " no_timer_check clocksource=acpi_pm"

INIT = r"""#!/bin/sh
# The built-in guest's first process (virtnet.kvm). Nothing here sleeps: what has to wait runs in the background.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=vt100
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
# The root is in memory and may hold half of what was free when the kernel made it: too little for all of the image.
mount -o remount,size=90% /
mkdir -p /dev/pts /run /tmp
mount -t devpts devpts /dev/pts
read -r list < /lib/virtnet-modules
for module in $list; do insmod "/lib/virtnet/$module.ko"; done

# The agent first: whoever waits for this guest waits for it.
mkdir -p /dev/virtio-ports /var/run
for port in /sys/class/virtio-ports/*; do
    [ -e "$port/name" ] || continue
    read -r name < "$port/name" && ln -sf "/dev/${port##*/}" "/dev/virtio-ports/$name"
done
(while :; do
    qemu-ga --method=virtio-serial --path=/dev/virtio-ports/org.qemu.guest_agent.0 --statedir=/run -f /run/qga.pid
    sleep 1
done) > /dev/null 2>&1 < /dev/null &

link_of() {
    for address in /sys/class/net/*/address; do
        read -r found < "$address"
        if [ "$found" = "$1" ]; then device=${address%/address}; device=${device##*/}; return; fi
    done
    device=
}

ip link set lo up
device=
while read -r word value || [ -n "$word" ]; do
    case $word in
    hostname) echo "$value" > /proc/sys/kernel/hostname; name=$value; echo "127.0.0.1 localhost $value" > /etc/hosts ;;
    key) echo "$value" >> /root/.ssh/authorized_keys ;;
    nic) link_of "$value"; [ -n "$device" ] && ip link set "$device" up ;;
    dhcp) [ -n "$device" ] && udhcpc -f -S -t 8 -T 1 -A 1 -s /usr/bin/virtnet-dhcp -x "hostname:$name" \
        -O staticroutes -O mtu -i "$device" > /dev/null 2>&1 < /dev/null & ;;
    address) [ -n "$device" ] && ip address add "$value" dev "$device" ;;
    gateway)
        [ -n "$device" ] && ip route add default via "$value" dev "$device"
        case $value in *:*) ;; *) echo "nameserver $value" >> /etc/resolv.conf ;; esac ;;
    esac
done < /sys/firmware/qemu_fw_cfg/by_name/opt/io.github.virtnet/guest/raw

# What is not needed to start is unpacked when there is room for it: Python and the SSH server.
# Keys only: -s refuses passwords, and root has none. The host key is made when somebody first asks for it (-R).
(
    cd /
    gunzip -c usr/lib/virtnet-extras | cpio -id
    rm usr/lib/virtnet-extras
    : > run/virtnet-extras
    dropbear -R -s -j -k
) > /dev/null 2>&1 < /dev/null &

echo "$name is up"
while :; do setsid sh -c 'exec sh -l < /dev/ttyS0 > /dev/ttyS0 2>&1'; sleep 1; done
"""

#: udhcpc(8) calls it with what the server said in the environment.
DHCP = r"""#!/bin/sh
case $1 in
deconfig)
    ip -4 address flush dev "$interface" ;;
bound|renew)
    ip address replace "$ip/$mask" ${broadcast:+broadcast "$broadcast"} dev "$interface"
    [ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
    # RFC 3442: with classless static routes the router option does not count.
    if [ -n "$staticroutes" ]; then
        set -- $staticroutes
        while [ $# -ge 2 ]; do
            via="via $2"
            [ "$2" = 0.0.0.0 ] && via=
            ip route replace "$1" $via dev "$interface"
            shift 2
        done
    else
        for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; break; done
    fi
    if [ -n "$dns" ]; then
        { [ -n "$domain" ] && echo "search $domain"
          for server in $dns; do echo "nameserver $server"; done; } > "/etc/resolv.conf.$interface"
        mv "/etc/resolv.conf.$interface" /etc/resolv.conf
    fi ;;
esac
"""

#: Whoever asks for Python in a guest that has just started waits here until it is unpacked.
PYTHON = r"""#!/bin/sh
while [ ! -e /run/virtnet-extras ]; do sleep 0.05; done
exec %s "$@"
"""

#: What INIT and DHCP use of busybox; distributions leave out what they like.
APPLETS = (
    "sh", "mount", "mkdir", "insmod", "ln", "sleep", "ip", "udhcpc", "gunzip", "cpio", "rm", "mv", "setsid", "kill"
)  # fmt: skip

#: Files of the image that are text: {path: (text, mode)}.
TEXTS = {
    "init": (INIT, 0o755),
    "usr/bin/virtnet-dhcp": (DHCP, 0o755),
    "etc/passwd": ("root:x:0:0:root:/root:/bin/sh\n", 0o644),
    "etc/group": ("root:x:0:\n", 0o644),
    "etc/shadow": ("root:*:19000:0:99999:7:::\n", 0o600),
    "etc/shells": ("/bin/sh\n", 0o644),
    "etc/nsswitch.conf": ("passwd: files\ngroup: files\nhosts: files dns\n", 0o644),
    "etc/hosts": ("127.0.0.1 localhost\n", 0o644),
    "etc/resolv.conf": ("", 0o644),
}
FOLDERS = {
    "root/.ssh": 0o700, "etc/dropbear": 0o700, "proc": 0o555, "sys": 0o555, "dev": 0o755, "tmp": 0o1777, "run": 0o755,
    "var/run": 0o755, "var/log": 0o755,
}  # fmt: skip


def boot_data(hostname, authorized_keys, nics):
    """Return one guest's facts as the text that its init reads.

    :param nics: list of dictionaries with C(mac), C(addresses) (C(dhcp) or C(address/prefix)) and C(gateway), a list.
    """
    lines = [f"hostname {hostname}"]
    lines += [f"key {key}" for key in authorized_keys]
    for nic in nics:
        lines.append(f"nic {nic['mac']}")
        for address in nic["addresses"]:
            lines.append("dhcp" if address == "dhcp" else f"address {ipaddress.ip_interface(address)}")
        lines += [f"gateway {gateway}" for gateway in nic["gateway"]]
    return "\n".join(lines) + "\n"
