# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restarting a network under its running guests, and putting every NIC of theirs back.

libvirt leaves the taps of running guests without a bridge when a network stops, while C(domiflist) looks healthy.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, ConnectionLost, VerificationFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from ansible_collections.virtnet.kvm.plugins.module_utils.links import iproute2, neighbours

#: What a port of a bridge is when it joins (net/bridge/br_if.c), in the words that ip(8) takes and gives.
PORT_DEFAULTS = {
    "hairpin": False, "guard": False, "root_block": False, "fastleave": False, "learning": True, "flood": True,
    "mcast_flood": True, "bcast_flood": True, "mcast_to_unicast": False, "neigh_suppress": False, "vlan_tunnel": False,
    "isolated": False, "locked": False,
}  # fmt: skip
#: The MTU of a bridge that nobody gave one.
DEFAULT_MTU = 1500
#: Of linux/if_addr.h.
IFA_F_TENTATIVE = 0x40
#: For how long an address is waited for that is not to be looked for elsewhere, in seconds.
DETECTION_S = 0.5
#: Twice the longest forward delay that a network usually has, in seconds.
FORWARDING_WAIT_S = 10
#: libvirt sends the dnsmasq of a network that stops a signal and does not wait; on a busy host the next one finds the addresses
#: taken. So long it is tried again, in seconds, where the error says so.
LETS_GO_S = 5.0
_IN_USE = "address already in use"


@dataclass(frozen=True)
class Side:
    """A network as it runs before a restart, or after it.

    :param normal: its normal form.
    :param xml: the definition to start it from; None is the stored one, whatever that is then.
    """

    normal: Any
    xml: Optional[str] = None

    @property
    def bridge(self):
        return self.normal["bridge"]


@dataclass(frozen=True)
class Restart:
    """All that a restart of a network needs to know.

    :param was: Side that runs.
    :param then: Side that shall run.
    :param persistent: whether the network is stored, or gone when it stops.
    :param nics: client.Nics of it, those on its bridge by the bridge's name included.
    :param links: of guests that are to be put back. None: all that are in the old bridge, which is libvirt's and goes with the
        network; a bridge of the host's stays, and with it whatever else is in it, such as the uplink.
    """

    was: Side
    then: Side
    persistent: bool
    nics: tuple = ()
    links: Optional[tuple] = None

    def back(self):
        """Return the way back."""
        return Restart(self.then, self.was, self.persistent, self.nics, self.links)


def bridge_ports(bridge):
    """Return the names of the links in a bridge."""
    try:
        return sorted(os.listdir(f"/sys/class/net/{bridge}/brif"))
    except (FileNotFoundError, NotADirectoryError):
        return []


def unplugged(nics):
    """Return those Nics whose links are in no bridge at all: somebody has stopped their network under them."""
    return tuple(
        nic for nic in nics
        if os.path.isdir(f"/sys/class/net/{nic.link}") and not os.path.exists(f"/sys/class/net/{nic.link}/master")
    )  # fmt: skip


def _port_of(nic, bridge, isolated):
    """Return the XML of a NIC's port object, as libvirt writes it."""
    tree = definition.load("<networkport><uuid/><owner><name/><uuid/></owner><mac/><plug type='network'/></networkport>")
    tree.find("uuid").text, tree.find("owner/uuid").text, tree.find("owner/name").text = nic.port, nic.owner, nic.guest
    tree.find("mac").set("address", nic.mac)
    tree.find("plug").set("bridge", bridge)
    if nic.portgroup:
        group = definition.load("<group/>")
        group.text = nic.portgroup
        tree.insert(tree.index(tree.find("mac")), group)
    if isolated:
        tree.insert(tree.index(tree.find("mac")) + 1, definition.load("<port isolated='yes'/>"))
    return definition.dump(tree)


def plug(client, host, name, side, nics):
    """Put NICs that are in no bridge into that of their network, which runs, and their port objects back; look at each.

    :param side: Side that runs.
    """
    isolated = {nic.link: side.normal["port_isolation"] or nic.isolated for nic in nics}
    change = Restart(side, side, True, nics)
    settings = {link: {"isolated": True} for link, wanted in isolated.items() if wanted}
    known = {definition.load(xml).findtext("uuid") for xml in client.ports(name)}
    ports = [_port_of(nic, side.bridge, isolated[nic.link]) for nic in nics if nic.port and nic.port not in known]
    _plug(client, host, name, change, side, tuple(nic.link for nic in nics), settings, ports)


def _moved(xml, bridge, isolation):
    """Return a port's XML plugged into C(bridge). C(isolation) is {MAC: whether it is isolated}, if that changes."""
    tree = definition.load(xml)
    plug, mac = tree.find("plug"), tree.find("mac")
    if plug is not None and plug.get("bridge") and bridge:
        plug.set("bridge", bridge)
    if mac is not None and mac.get("address").lower() in isolation:
        port = tree.find("port")
        if port is not None:
            tree.remove(port)
        if isolation[mac.get("address").lower()]:
            tree.insert(tree.index(mac) + 1, definition.load("<port isolated='yes'/>"))
    return definition.dump(tree)


def _port_settings(host, links):
    """Return {link: {word: on or off}} of what each link is as a port of its bridge, beside what every port is."""
    if not links:
        return {}
    _rc, out, _err = host.run(["ip", "-j", "-d", "link", "show"], what="reading the guests' NICs")
    found = {}
    for row in json.loads(out or "[]"):
        if row.get("ifname") in links:
            data = row.get("linkinfo", {}).get("info_slave_data", {})
            found[row["ifname"]] = {
                word: data[word] for word, usual in PORT_DEFAULTS.items() if word in data and data[word] != usual
            }
    return found


def _isolation(change, side):
    """Return {Nic: bool} of the network's own NICs, where the restart changes whether its ports are isolated."""
    if change.was.normal["port_isolation"] == change.then.normal["port_isolation"]:
        return {}
    return {nic: side.normal["port_isolation"] or nic.isolated for nic in change.nics if nic.network}


def restart(client, host, name, change):
    """Stop and start a network, then put the links and port objects of its guests back and look at each.

    If it does not start, it is started again as it was, its guests put back, and the error raised.

    :param change: Restart.
    """
    ports = client.ports(name)
    links = change.links
    if links is None:
        # libvirt's own dummy port BRIDGE-nic, of old versions, comes and goes with the bridge.
        old = change.was.bridge
        links = tuple(link for link in bridge_ports(old) if link != f"{old}-nic") if old else ()
    settings = _port_settings(host, links)
    running = client.live_xml(name)
    client.stop(name)
    try:
        _start(client, name, change.then.xml, change.persistent)
    except CommandFailed:
        _start(client, name, running, change.persistent)
        _plug(client, host, name, change, change.was, links, settings, ports)
        raise
    _plug(client, host, name, change, change.then, links, settings, ports)


def _start(client, name, xml, persistent):
    """Start the network again, as soon as the dnsmasq of before has let go of its addresses."""
    deadline = time.monotonic() + LETS_GO_S
    while True:
        try:
            _start_once(client, name, xml, persistent)
            return
        except CommandFailed as error:
            if _IN_USE not in str(error).lower() or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _start_once(client, name, xml, persistent):
    if not persistent:
        client.create_transient(name, xml)
    elif xml is None:
        client.start(name)
    else:
        stored = client.stored_xml(name)
        client.define(name, xml)
        try:
            client.start(name)
        finally:
            client.define(name, stored)


def _wanted_settings(change, side, links, settings):
    """Return {link: {word: value}} of what each link shall be as a port: as it was, and isolated as its network says now."""
    isolation = {nic.link: isolated for nic, isolated in _isolation(change, side).items()}
    wanted = {}
    for link in links:
        words = dict(settings.get(link, {}))
        if link in isolation:
            words.pop("isolated", None)
            if isolation[link]:
                words["isolated"] = True
        wanted[link] = words
    return wanted


def _plug_lines(change, side, links, wanted):
    """Return the lines of ip -batch that put links back, as a plugging of libvirt's would, and with their settings."""
    own_mtu = {nic.link: nic.mtu for nic in change.nics}
    resized = change.was.normal["mtu"] != change.then.normal["mtu"]
    lines = []
    for link in links:
        mtu = f" mtu {own_mtu[link] or side.normal['mtu'] or DEFAULT_MTU}" if resized and link in own_mtu else ""
        lines.append(f"link set dev {link}{mtu} master {side.bridge}")
        if wanted.get(link):
            said = " ".join(f"{word} {'on' if value else 'off'}" for word, value in sorted(wanted[link].items()))
            lines.append(f"link set dev {link} type bridge_slave {said}")
    return lines


@contextlib.contextmanager
def _no_detection(host, change, bridge):
    """Let a bridge of libvirt's take IPv6 addresses without duplicate address detection, where they were its own just now.

    Detection begins with the first link that forwards, and for a second or two the gateway would be deaf (RFC 4862, 5.4).
    With STP that is seconds from now: nobody waits for it, and the bridge stays so as long as it is there.
    """
    kept = set(change.was.normal["addresses"]) & set(change.then.normal["addresses"])
    if not any(":" in one for one in kept):
        yield
        return
    # The first is how often to ask before an address is used, the second how long to wait at random before that.
    # A slash stands for a dot in a link's name (sysctl.d(5)).
    link = bridge.replace(".", "/")
    keys = [f"net.ipv6.conf.{link}.{key}" for key in ("dad_transmits", "router_solicitation_delay")]
    before = {key: host.sysctl(key) for key in keys}
    # Where it cannot be set the gateway is deaf for a while; that is no reason to leave the guests where they are.
    with contextlib.suppress(CommandFailed):
        for key in keys:
            host.set_sysctl(key, 0)
    if change.then.normal["stp"]:
        yield
        return
    try:
        yield
        deadline = time.monotonic() + DETECTION_S
        while time.monotonic() < deadline and _tentative(bridge):
            time.sleep(0.01)
    finally:
        with contextlib.suppress(CommandFailed):
            for key, value in before.items():
                if value is not None:
                    host.set_sysctl(key, value)


def _tentative(link):
    """Return whether the kernel still looks whether somebody else has an IPv6 address of a link."""
    rows = [line.split() for line in (files.read("/proc/net/if_inet6") or "").splitlines()]
    return any(row[5] == link and int(row[4], 16) & IFA_F_TENTATIVE for row in rows)


def _plug(client, host, name, change, side, links, settings, ports):
    bridge = side.bridge
    # A guest that has ended meanwhile has taken its link along.
    links = tuple(link for link in links if os.path.exists(f"/sys/class/net/{link}"))
    wanted = _wanted_settings(change, side, links, settings)
    if links and bridge:
        with _no_detection(host, change, bridge):
            # All that can be put back is, and what could not is found below.
            iproute2.batch(host, _plug_lines(change, side, links, wanted), "putting the guests' NICs back", name, force=True)
    isolation = {nic.mac.lower(): isolated for nic, isolated in _isolation(change, side).items()}
    failures = []
    for xml in ports:
        try:
            client.reclaim_port(name, _moved(xml, bridge, isolation))
        except ConnectionLost:
            raise
        except CommandFailed as error:
            failures.append(error)
    missing = sorted(set(links) - set(bridge_ports(bridge))) if bridge else []
    if missing:
        raise VerificationFailed(
            f"after its restart the NICs {', '.join(missing)} are not in {bridge}",
            name,
            None,
            f"Put them back with: ip link set dev NIC master {bridge}",
        )
    if bridge and any(wanted.values()):
        found = _port_settings(host, links)
        other = sorted(link for link in links if found.get(link) != wanted[link])
        if other:
            problem = f"after its restart the NICs {', '.join(other)} are not what they shall be as ports of {bridge}"
            raise VerificationFailed(problem, name, None, f"Look at them with: bridge -d link show master {bridge}")
    if failures:
        raise failures[0]
    another = any(change.was.normal[key] != change.then.normal[key] for key in ("mac", "forward"))
    if links and another and side.normal["addresses"]:
        _tell_the_guests(bridge, links, side.normal["addresses"])


def _tell_the_guests(bridge, links, addresses):
    """The gateway has another MAC address: guests would go on to send to the old one until they ask again."""
    deadline = time.monotonic() + FORWARDING_WAIT_S
    # A port that listens or learns, because of STP, lets nothing through.
    while time.monotonic() < deadline and not all(_forwards(link) for link in links):
        time.sleep(0.05)
    # They would find out by themselves, in half a minute.
    with contextlib.suppress(OSError):
        neighbours.announce(bridge, addresses)


def _forwards(link):
    state = files.read(f"/sys/class/net/{link}/brport/state")
    return state is None or state.strip() == "3"  # BR_STATE_FORWARDING of linux/if_bridge.h
