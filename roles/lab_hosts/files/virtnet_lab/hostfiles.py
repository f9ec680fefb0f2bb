# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has over its base image: the files of its overlay. Configuration in, contents out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from virtnet_lab import uplinks
from virtnet_lab.config import Config, Host

# Units of the image that only a KVM host runs.
KVM_UNITS = (
    "libvirt-guests.service",
    "libvirtd.service",
    "libvirtd.socket",
    "libvirtd-admin.socket",
    "libvirtd-ro.socket",
    "virtlockd.service",
    "virtlockd.socket",
    "virtlockd-admin.socket",
    "virtlogd.service",
    "virtlogd.socket",
    "virtlogd-admin.socket",
)
UNITS = "etc/systemd/system"
DHCP_HOSTS = "etc/lab/dhcp-hosts"
#: The gateway's dnsmasq.
GATEWAY_SERVICE = "lab-gateway.service"
#: The program that stands in for udev in a KVM host; it runs there as it is here.
TAPNODES = Path(__file__).with_name("tapnodes.py")


@dataclass(frozen=True)
class Entry:
    """A file with its text, or a symbolic link."""

    text: str = ""
    mode: int = 0o644
    link: str | None = None


@dataclass(frozen=True)
class HostKeys:
    """What SSH needs on a host: whom to let in, and the host's own identity."""

    authorized: str
    private: str
    public: str


def host_files(config: Config, host: Host, keys: HostKeys, devices: Mapping[str, str]) -> dict[str, Entry]:
    """Path below the host's root -> what is there. devices: name below /dev -> 'mode group major:minor'."""
    files = {
        "etc/hostname": Entry(f"{host.name}\n"),
        "etc/hosts": Entry(_hosts(config, host)),
        "etc/machine-id": Entry(machine_id(config, host) + "\n"),
        "etc/resolv.conf": Entry(
            f"search {config.domain}\nnameserver {config.gateway.address.ip}\nnameserver {config.gateway.address6.ip}\n"
        ),
        "etc/ssh/ssh_host_ed25519_key": Entry(keys.private, mode=0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": Entry(keys.public),
        "etc/tmpfiles.d/lab-devices.conf": Entry(_devices(devices)),
        "root/.ssh/authorized_keys": Entry(keys.authorized, mode=0o600),
        **uplink_files(config, host),
    }
    if host.kind == "kvm":
        files.update(
            {
                "etc/lab/tapnodes.py": Entry(TAPNODES.read_text(encoding="utf-8")),
                f"{UNITS}/lab-tapnodes.service": Entry(TAPNODES_UNIT),
                f"{UNITS}/multi-user.target.wants/lab-tapnodes.service": Entry(link="../lab-tapnodes.service"),
            }
        )
    else:
        files.update({f"{UNITS}/{unit}": Entry(link="/dev/null") for unit in KVM_UNITS})
    if host.kind == "gateway":
        files.update(
            {
                "etc/lab/dnsmasq.conf": Entry(_dnsmasq(config)),
                DHCP_HOSTS: Entry(dhcp_hosts(config)),
                "etc/sysctl.d/lab.conf": Entry("net.ipv4.ip_forward = 1\nnet.ipv6.conf.all.forwarding = 1\n"),
                f"{UNITS}/{GATEWAY_SERVICE}": Entry(GATEWAY_UNIT),
                f"{UNITS}/multi-user.target.wants/{GATEWAY_SERVICE}": Entry(link=f"../{GATEWAY_SERVICE}"),
            }
        )
    return files


def machine_id(config: Config, host: Host) -> str:
    """Unique per host and the same after the host was made anew, as are the DHCP identities derived from it."""
    return hashlib.sha256(f"virtnet-lab/{config.lab}/{host.name}".encode()).hexdigest()[:32]


def _hosts(config: Config, host: Host) -> str:
    names = f"{host.name}.{config.domain} {host.name}"
    return f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{host.address.ip} {names}\n{host.address6.ip} {names}\n"


def uplink_files(config: Config, host: Host) -> dict[str, Entry]:
    """What eth0's manager reads, and that it runs; the image has all of them, and only networkd enabled."""
    files = {path: Entry(text, mode) for path, (text, mode) in uplinks.texts(config, host).items()}
    for unit in uplinks.UNITS[host.manager]:
        files[f"{UNITS}/multi-user.target.wants/{unit}"] = Entry(link=f"/lib/systemd/system/{unit}")
    if not uplinks.runs_networkd(host):
        files.update({f"{UNITS}/{unit}": Entry(link="/dev/null") for unit in uplinks.NETWORKD_UNITS})
    return files


def _devices(devices: Mapping[str, str]) -> str:
    """Made by the host itself instead of bound from the machine: a bound node would bring the machine's owner and mode
    with it, and libvirt's chown would change the machine's own."""
    lines = []
    for name, node in sorted(devices.items()):
        mode, group, number = node.split()
        lines.append(f"c /dev/{name} {mode} root {group} - {number}\n")
    return "".join(lines)


TAPNODES_UNIT = """\
[Unit]
Description=Device nodes of macvtap links
Before=libvirtd.service

[Service]
Type=notify
ExecStart=/usr/bin/python3 -I /etc/lab/tapnodes.py
Restart=on-failure
RestartSec=200ms

[Install]
WantedBy=multi-user.target
"""

GATEWAY_UNIT = """\
[Unit]
Description=DHCP, router advertisements and DNS of the lab's LAN
After=network.target
Wants=network.target

[Service]
ExecStart=/usr/sbin/dnsmasq --keep-in-foreground --conf-file=/etc/lab/dnsmasq.conf
Restart=on-failure
RestartSec=200ms

[Install]
WantedBy=multi-user.target
"""


def dhcp_hosts(config: Config) -> str:
    """The hosts that get their own addresses by DHCP."""
    hosts = [host for host in config.hosts if host.addressing == "dhcp"]
    return "".join(f"{host.mac},{host.address.ip},{host.name}\n" for host in hosts)


def _dnsmasq(config: Config) -> str:
    """Nothing is forwarded: the lab's DNS knows its own names, and that no others exist."""
    gateway = config.gateway
    lines = [
        "interface=eth0",
        "bind-dynamic",
        "user=root",
        "no-resolv",
        "no-hosts",
        "log-queries",
        f"domain={config.domain}",
        "local=/#/",
        "dhcp-authoritative",
        # The pool is the lab's alone: no need to look for somebody who uses an address already, which takes seconds.
        "no-ping",
        "dhcp-leasefile=/var/lib/misc/lab.leases",
        # Read again at SIGHUP.
        f"dhcp-hostsfile=/{DHCP_HOSTS}",
        f"dhcp-range={config.dhcp_first},{config.dhcp_last},{gateway.address.netmask},1h",
        f"dhcp-option=option:router,{gateway.address.ip}",
        f"dhcp-option=option:dns-server,{gateway.address.ip}",
        "enable-ra",
        f"dhcp-range={gateway.address6.network.network_address},ra-only,{gateway.address6.network.prefixlen},1h",
        f"dhcp-option=option6:dns-server,[{gateway.address6.ip}]",
    ]
    for host in config.hosts:
        lines.append(f"host-record={host.name}.{config.domain},{host.address.ip},{host.address6.ip}")
    for record in config.dns_records:
        if record.addresses:
            lines.append(f"host-record={record.name},{','.join(record.addresses)}")
        if record.txt is not None:
            lines.append(f'txt-record={record.name},"{record.txt}"')
    return "\n".join(lines) + "\n"
