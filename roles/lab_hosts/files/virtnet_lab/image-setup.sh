#!/bin/sh
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# image-setup.sh ROOT KERNEL_PACKAGE: the last step of building a base image, on the machine, with the package lists still
# there. Makes of a Debian root a lab host that boots in a second and whose systemd ends up 'running'.

set -eu
root=$1
kernel_package=$2

# The kernel for tiny guests is data here: unpacked, not installed, so no initramfs is generated and no boot loader asked for.
kernel=$(chroot "$root" apt-cache depends --important "$kernel_package" | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2 }')
mkdir "$root/tmp/kernel"
(cd "$root/tmp/kernel" && chroot "$root" sh -c "cd /tmp/kernel && apt-get -qq download '$kernel'")
dpkg-deb --fsys-tarfile "$root"/tmp/kernel/*.deb |
    tar -x -C "$root" --keep-directory-symlink --exclude='./usr/share' --exclude='./boot/System.map-*'
rm -r "$root/tmp/kernel"
chroot "$root" depmod -a "${kernel#linux-image-}"

# Units without sense in a container, or which would reach for the machine itself (its binfmt_misc, debugfs, hugepages).
for unit in \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer logrotate.timer \
    systemd-tmpfiles-clean.timer \
    console-getty.service container-getty@.service getty@.service getty-static.service \
    dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount systemd-binfmt.service \
    e2scrub_reap.service ldconfig.service systemd-firstboot.service systemd-journal-catalog-update.service \
    systemd-hwdb-update.service systemd-machine-id-commit.service systemd-pstore.service systemd-random-seed.service \
    systemd-repart.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"

# nspawn leaves /proc/sys writable only below net, which keeps a host from changing the machine, but makes all of /sys
# read-only. libvirt sets up its bridges through /sys/class/net: that part alone is made writable again.
cat >"$root/etc/systemd/system/lab-sysfs.service" <<'UNIT'
[Unit]
Description=Writable network devices in sysfs
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mkdir -p /run/lab-sysfs
ExecStart=/bin/mount -t sysfs sysfs /run/lab-sysfs
ExecStart=/bin/mount --bind /run/lab-sysfs/devices/virtual/net /sys/devices/virtual/net
ExecStart=/bin/umount /run/lab-sysfs

[Install]
WantedBy=sysinit.target
UNIT
chroot "$root" systemctl --quiet enable lab-sysfs.service systemd-networkd.service
# Of the other managers of links a host enables the one it is told to, of firewalls and routing daemons none.
for unit in NetworkManager.service NetworkManager-wait-online.service NetworkManager-dispatcher.service networking.service \
    dhcpcd.service wpa_supplicant.service firewalld.service ufw.service docker.service docker.socket containerd.service \
    fail2ban.service frr.service; do
    # Not every list of packages has all of them.
    if [ -e "$root/lib/systemd/system/$unit" ]; then
        chroot "$root" systemctl --quiet disable "$unit"
    fi
done

# Without these two stamps systemd takes the first boot for one after an upgrade and rebuilds its caches.
touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"

mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system.conf.d" "$root/etc/ssh/sshd_config.d"
cat >"$root/etc/systemd/journald.conf.d/lab.conf" <<'CONF'
[Journal]
Storage=volatile
RateLimitIntervalSec=0
CONF
# A unit that hangs must not hold up the reboot of a disposable host.
cat >"$root/etc/systemd/system.conf.d/lab.conf" <<'CONF'
[Manager]
DefaultTimeoutStopSec=15s
CONF
# Ansible opens many sessions over one connection, and each host has the one key that the lab's known_hosts tells.
cat >"$root/etc/ssh/sshd_config.d/lab.conf" <<'CONF'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
MaxSessions 100
MaxStartups 100
CONF

# A container has no cgroup controllers of its own to hand out and no security module.
cat >>"$root/etc/libvirt/qemu.conf" <<'CONF'

# The lab's: a host is a container.
cgroup_controllers = [ ]
security_driver = "none"
CONF
# Guests that do not listen to a shutdown must not hold up the reboot of a host for the stock five minutes.
cat >>"$root/etc/default/libvirt-guests" <<'CONF'
ON_SHUTDOWN=shutdown
PARALLEL_SHUTDOWN=20
SHUTDOWN_TIMEOUT=10
CONF

# What every host gets of its own.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf" "$root/etc/machine-id" \
    "$root/var/lib/dbus/machine-id"
