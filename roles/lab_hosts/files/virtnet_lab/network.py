# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's cables: namespaces, the LAN's switch, the ports in it. Nothing here touches the machine's own namespace."""

from __future__ import annotations

from virtnet_lab.config import Config
from virtnet_lab.paths import NETNS, HostPaths, LabPaths
from virtnet_lab.proc import run, succeeds

SWITCH = "br-lan"
# A host's own end of its cable, and the controller's.
UPLINK = "eth0"


def netns_exists(name: str) -> bool:
    return (NETNS / name).exists()


def delete_netns(name: str) -> None:
    # A name whose mount is gone (all of it killed half-way) is no namespace to ip, which then says so; its file goes too.
    if netns_exists(name) and not succeeds("ip", "netns", "delete", name):
        (NETNS / name).unlink(missing_ok=True)


def _new_netns(name: str) -> None:
    """A namespace as a machine just switched on has it. Linux lets new ones inherit IPv4 settings of the machine itself,
    where Docker or libvirt may have turned forwarding on."""
    delete_netns(name)
    run("ip", "netns", "add", name)
    settings = "echo 0 >ip_forward; for kind in all default lo; do echo 0 >conf/$kind/rp_filter; done"
    run("nsenter", f"--net={NETNS / name}", "sh", "-ec", f"cd /proc/sys/net/ipv4; {settings}")
    run("ip", "-n", name, "link", "set", "lo", "up")


def ensure_lan(config: Config, paths: LabPaths) -> bool:
    """The switch and the controller's port on it; True if they had to be made."""
    if _lan_works(config, paths):
        return False
    lan, controller = paths.lan_netns, paths.controller_netns
    _new_netns(lan)
    # A switch has no address of its own and says nothing by itself.
    run("nsenter", f"--net={NETNS / lan}", "sh", "-ec", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    run("ip", "-n", lan, "link", "add", SWITCH, "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    run("ip", "-n", lan, "link", "set", SWITCH, "up")
    _new_netns(controller)
    _plug(lan, "ctl", controller)
    run("ip", "-n", controller, "link", "set", UPLINK, "up")
    for address, options in ((config.controller, ()), (config.controller6, ("nodad",))):
        run("ip", "-n", controller, "address", "add", str(address), "dev", UPLINK, *options)
    return True


def _lan_works(config: Config, paths: LabPaths) -> bool:
    return (
        netns_exists(paths.lan_netns)
        and netns_exists(paths.controller_netns)
        and succeeds("ip", "-n", paths.lan_netns, "link", "show", "ctl")
        and str(config.controller) in _output("ip", "-n", paths.controller_netns, "-o", "address", "show", "dev", UPLINK, "up")
    )


def _output(*argv: str) -> str:
    return run(*argv) if succeeds(*argv) else ""


def _plug(lan: str, port: str, netns: str, mac: str | None = None) -> None:
    """A cable from a port of the switch to the namespace's uplink."""
    end = ["name", UPLINK, *(["address", mac] if mac else []), "netns", netns]
    run("ip", "-n", lan, "link", "add", port, "type", "veth", "peer", *end)
    run("ip", "-n", lan, "link", "set", port, "master", SWITCH, "up")


def power_on(paths: HostPaths, mac: str) -> None:
    """A fresh namespace, plugged in: whatever the host had configured is lost, as a real reboot loses it. The cable's
    other end may still be there, held by a namespace that somebody is looking into; it goes first."""
    power_off(paths)
    _new_netns(paths.netns)
    _plug(paths.lan_netns, paths.name, paths.netns, mac)


def power_off(paths: HostPaths) -> None:
    if netns_exists(paths.lan_netns):
        succeeds("ip", "-n", paths.lan_netns, "link", "delete", paths.name)
    delete_netns(paths.netns)
