# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Effects on libvirt's networks."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Optional

try:
    import libvirt
except ImportError:  # pragma: no cover - deps.require() answers for it
    libvirt = None

from ansible_collections.virtnet.kvm.plugins.module_utils import libvirt_files
from ansible_collections.virtnet.kvm.plugins.module_utils.daemon import Daemon
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net import live
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from ansible_collections.virtnet.kvm.plugins.module_utils.names import NAMESPACE


@dataclass
class Found:
    """A network as libvirt has it. C(live) and C(stored) are its parsed definitions, None where there is none."""

    handle: Any
    name: str
    uuid: str
    active: bool
    persistent: bool
    autostart: bool
    live: Any
    stored: Any

    @property
    def main(self):
        """The definition that lasts: the stored one, or a transient network's only one."""
        return self.live if self.stored is None else self.stored

    @functools.cached_property
    def mark(self):
        """Our mark of it; libvirt 9.0's running definition does not carry it."""
        return definition.parse_mark(self.main)

    @functools.cached_property
    def normal(self):
        """The normal form of the definition that lasts."""
        return definition.parse(self.main)

    @functools.cached_property
    def running(self):
        """The normal form of the running definition; a mark that was changed since it started does not count."""
        return {**definition.parse(self.live), **{key: self.normal[key] for key in live.MARK_FIELDS}}


@dataclass(frozen=True)
class Nic:
    """A running guest's NIC: its guest, MAC, link on the host, and what it is plugged into.

    C(isolated) and C(mtu) are what its guest's definition asks for by itself, whatever its network says; False and None
    where it asks for nothing. C(owner) is its guest's UUID, C(port) that of its port object in the network.
    """

    guest: str
    mac: str
    link: str
    network: str
    bridge: str
    portgroup: str = ""
    isolated: bool = False
    mtu: Optional[int] = None
    owner: str = ""
    port: str = ""

    @property
    def named(self):
        """The NIC as plan.Op has it."""
        return self.guest, self.mac, self.link


def _mac(node):
    mac = node.find("mac")
    return mac.get("address") if mac is not None else ""


class Networks(Daemon):
    """The networks of one libvirt daemon."""

    folder = libvirt_files.NETWORKS

    def version(self):
        """Return libvirt's version as (major, minor, release)."""
        with self.doing("asking for its version", "libvirt"):
            number = self.connection.getLibVersion()
        return number // 1000000, number // 1000 % 1000, number % 1000

    def gather(self):
        """Return {name: Found} of all networks."""
        found = {}
        with self.doing("listing the networks", "libvirt"):
            handles = self.connection.listAllNetworks()
        for handle in handles:
            try:
                active, persistent = bool(handle.isActive()), bool(handle.isPersistent())
                one = Found(
                    handle,
                    handle.name(),
                    handle.UUIDString(),
                    active,
                    persistent,
                    bool(handle.autostart()) if persistent else False,
                    definition.load(handle.XMLDesc(0)) if active else None,
                    definition.load(handle.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)) if persistent else None,
                )
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
                    continue  # it went away between the list and the look
                raise self.failure("reading a network", "libvirt", error) from error
            if one.main is not None:
                found[one.name] = one
        return found

    def nics(self):
        """Return the Nics of all running guests."""
        rows = []
        with self.doing("reading the running guests", "libvirt"):
            for domain in self.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                try:
                    guest, tree = domain.name(), definition.load(domain.XMLDesc(0))
                    # What a NIC asks for by itself is in the stored definition: the running one has its network's share in it.
                    stored = definition.load(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
                except libvirt.libvirtError as error:
                    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                        continue  # it ended between the list and the look
                    raise
                own = {_mac(node): node for node in stored.iterfind("devices/interface")}
                for node in tree.iterfind("devices/interface"):
                    source, target = node.find("source"), node.find("target")
                    if source is None or target is None or not target.get("dev"):
                        continue
                    mine = own.get(_mac(node))
                    port, mtu = (None, None) if mine is None else (mine.find("port"), mine.find("mtu"))
                    rows.append(
                        Nic(
                            guest,
                            _mac(node),
                            target.get("dev"),
                            source.get("network") or "",
                            source.get("bridge") or "",
                            source.get("portgroup") or "",
                            port is not None and port.get("isolated") == "yes",
                            int(mtu.get("size")) if mtu is not None and mtu.get("size") else None,
                            domain.UUIDString(),
                            source.get("portid") or "",
                        )
                    )
        return rows

    def _handle(self, name):
        with self.doing("looking it up", name):
            return self.connection.networkLookupByName(name)

    def define(self, name, xml):
        with self.doing("defining the network", name):
            # Not VALIDATE: libvirt's schema refuses what libvirt takes, '_dmarc' in a TXT record and networks made before
            # us among it. What libvirt would drop without a word, features.py and the read-back find.
            self.connection.networkDefineXML(xml)

    def mark_live(self, name, xml):
        """Put our mark on a running network that is stored nowhere; networks have such calls since libvirt 9.7."""
        with self.doing("marking the network", name):
            self._handle(name).setMetadata(
                libvirt.VIR_NETWORK_METADATA_ELEMENT, xml, "virtnet", NAMESPACE, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
            )

    def create_transient(self, name, xml):
        with self.doing("creating the network", name):
            self.connection.networkCreateXML(xml)

    def start(self, name):
        with self.doing("starting the network", name):
            self._handle(name).create()

    def stop(self, name):
        with self.doing("stopping the network", name):
            self._handle(name).destroy()

    def undefine(self, name):
        with self.doing("undefining the network", name):
            self._handle(name).undefine()

    def update_live(self, name, updates):
        """Carry live_updates() out on the running network only."""
        sections = {
            "ip-dhcp-host": libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
            "ip-dhcp-range": libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE,
            "dns-host": libvirt.VIR_NETWORK_SECTION_DNS_HOST,
            "dns-txt": libvirt.VIR_NETWORK_SECTION_DNS_TXT,
            "dns-srv": libvirt.VIR_NETWORK_SECTION_DNS_SRV,
            "portgroup": libvirt.VIR_NETWORK_SECTION_PORTGROUP,
        }
        commands = {
            "add": libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
            "delete": libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
        }
        handle = self._handle(name)
        for section, command, index, xml in updates:
            with self.doing(f"updating {section} of the running network", name):
                if command == "set":
                    # Both came with libvirt 9.7, which features.py asks for.
                    kind = getattr(libvirt, f"VIR_NETWORK_METADATA_{section.upper()}")
                    handle.setMetadata(kind, xml or None, None, None, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE)
                    continue
                # libvirt-python passes (command, section) on in the order that the C function takes them.
                handle.update(commands[command], sections[section], index, xml, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE)

    def live_xml(self, name):
        with self.doing("reading it", name):
            return self._handle(name).XMLDesc(0)

    def stored_xml(self, name):
        with self.doing("reading it", name):
            return self._handle(name).XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)

    def ports(self, name):
        """Return the XML of each port of a running network; an empty list where the driver has no ports."""
        with self.doing("listing its ports", name):
            return [port.XMLDesc(0) for port in self._handle(name).listAllPorts()]

    def leases(self, name):
        """Return the DHCP leases of a running network, as libvirt's dictionaries."""
        with self.doing("reading its DHCP leases", name):
            return self._handle(name).DHCPLeases()

    def reclaim_port(self, name, xml):
        """Put a port object back after a restart, under its own UUID."""
        with self.doing("putting a port back", name):
            self._handle(name).portCreateXML(xml, libvirt.VIR_NETWORK_PORT_CREATE_RECLAIM)
