# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's eth0 in the words of its manager, as a server has it.

The router is found by RA. The LAN's prefix on offer there is taken by DHCP hosts only: a static host has one global address, and
what arrives from it elsewhere can carry no other. (NetworkManager takes it all the same: it has no such option.)
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from virtnet_lab.config import Config, Host

#: path below the host's root -> (text, mode)
Texts = dict[str, tuple[str, int]]
NETWORKD_UNITS = ("systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service")
#: Units that are disabled in the image: manager -> those it needs.
UNITS = {
    "networkd": (),
    "NetworkManager": ("NetworkManager.service",),
    "ifupdown": ("networking.service",),
    "netplan-networkd": (),
    "netplan-NetworkManager": ("NetworkManager.service",),
}


def texts(config: Config, host: Host) -> Texts:
    """Return the files that the host's manager reads."""
    return _WRITERS[host.manager](config, host)


def runs_networkd(host: Host) -> bool:
    return host.manager.endswith("networkd")


def _token(host: Host) -> str:
    """The interface identifier by which a DHCP host has the same IPv6 address every time."""
    return f"::{int(host.address6.ip) & 0xFFFF:x}"


def _networkd(config: Config, host: Host) -> Texts:
    head = "[Match]\nName=eth0\n\n[Network]\n"
    if host.addressing == "dhcp":
        text = (
            f"{head}DHCP=ipv4\nIPv6AcceptRA=yes\n\n"
            f"[IPv6AcceptRA]\nToken=static:{_token(host)}\nDHCPv6Client=no\n"
        )
    else:
        text = f"{head}Address={host.address}\nAddress={host.address6}\n"
        if host.kind == "gateway":
            text += "IPv6AcceptRA=no\n"
        else:
            text += (
                f"Gateway={config.gateway.address.ip}\nIPv6AcceptRA=yes\n\n"
                "[IPv6AcceptRA]\nUseAutonomousPrefix=no\nUseOnLinkPrefix=no\nDHCPv6Client=no\n"
            )
    return {"etc/systemd/network/50-lab-eth0.network": (text, 0o644)}


def _network_manager(config: Config, host: Host) -> Texts:
    gateway = config.gateway
    own = uuid.uuid5(uuid.NAMESPACE_DNS, f"eth0.{host.name}.{config.lab}")
    lines = ["[connection]", "id=lab-eth0", f"uuid={own}", "type=ethernet", "interface-name=eth0", "", "[ipv4]"]
    if host.addressing == "dhcp":
        lines += ["method=auto", "", "[ipv6]", "method=auto", "addr-gen-mode=eui64", f"token={_token(host)}"]
    else:
        lines += [f"address1={host.address},{gateway.address.ip}", f"dns={gateway.address.ip};", "method=manual"]
        lines += ["", "[ipv6]", f"address1={host.address6}", f"dns={gateway.address6.ip};", "method=auto"]
    return {"etc/NetworkManager/system-connections/lab-eth0.nmconnection": ("\n".join(lines) + "\n", 0o600)}


def _ifupdown(config: Config, host: Host) -> Texts:
    lines = ["auto lo", "iface lo inet loopback", "", "auto eth0"]
    if host.addressing == "dhcp":
        lines += ["iface eth0 inet dhcp"]
    else:
        lines += ["iface eth0 inet static", f"    address {host.address}", f"    gateway {config.gateway.address.ip}"]
    lines += ["", "iface eth0 inet6 static", f"    address {host.address6}"]
    if not (host.addressing == "dhcp" and host.release == "trixie"):
        # There dhcpcd listens to the router; whether the kernel heard it too would be a matter of chance.
        lines += ["    accept_ra 2", "    autoconf 0"]
    return {"etc/network/interfaces": ("\n".join([*lines, "", "source /etc/network/interfaces.d/*"]) + "\n", 0o644)}


def _netplan(renderer: str) -> Callable[[Config, Host], Texts]:
    def write(config: Config, host: Host) -> Texts:
        gateway = config.gateway
        lines = ["network:", "  version: 2", f"  renderer: {renderer}", "  ethernets:", "    eth0:"]
        if host.addressing == "dhcp":
            lines += ["      dhcp4: true", f'      ipv6-address-token: "{_token(host)}"']
        else:
            lines += [f"      addresses: [{host.address}, '{host.address6}']"]
            lines += [f"      routes: [{{to: default, via: {gateway.address.ip}}}]"]
            lines += [f"      nameservers: {{addresses: [{gateway.address.ip}, '{gateway.address6.ip}']}}"]
        lines += ["      accept-ra: true"]
        return {"etc/netplan/50-lab.yaml": ("\n".join(lines) + "\n", 0o600)}

    return write


_WRITERS: dict[str, Callable[[Config, Host], Texts]] = {
    "networkd": _networkd,
    "NetworkManager": _network_manager,
    "ifupdown": _ifupdown,
    "netplan-networkd": _netplan("networkd"),
    "netplan-NetworkManager": _netplan("NetworkManager"),
}
