# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Effects on libvirt's domains."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

try:
    import libvirt
except ImportError:  # pragma: no cover - deps.require() answers for it
    libvirt = None

from ansible_collections.virtnet.kvm.plugins.module_utils import libvirt_files
from ansible_collections.virtnet.kvm.plugins.module_utils.daemon import Daemon
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import domain

#: Seconds that a guest with a disk gets to shut down before its power is cut.
SHUTDOWN_S = 30


@dataclass
class Found:
    """A domain as libvirt has it. C(live) and C(stored) are its XML, None where there is none."""

    handle: Any
    name: str
    uuid: str
    active: bool
    autostart: bool
    live: Any
    stored: Any

    @property
    def main(self):
        """The definition that lasts: the stored one, or a transient domain's only one."""
        return self.live if self.stored is None else self.stored


@dataclass(frozen=True)
class Network:
    """A network as a guest needs to know it.

    C(ipv4) is False only where libvirt serves IPv6 alone; C(bridged) says that its NICs are in a bridge, C(stp) that
    the bridge keeps a NIC that joins waiting, for twice C(delay) seconds.
    """

    active: bool
    ipv4: bool
    bridged: bool = True
    stp: bool = False
    delay: int = 0


class Domains(Daemon):
    """The domains of one libvirt daemon."""

    folder = libvirt_files.GUESTS

    @property
    def version(self):
        """libvirt's version, 9000000 for 9.0.0."""
        with self.doing("asking for its version", "libvirt"):
            return self.connection.getLibVersion()

    def types(self):
        """Return the domain types that the daemon offers, such as {'kvm', 'qemu'}."""
        with self.doing("asking for its capabilities", "libvirt"):
            tree = domain.load(self.connection.getCapabilities())
        return {node.get("type") for node in tree.iterfind("guest/arch[@name='x86_64']/domain")}

    def networks(self):
        """Return {name: Network}."""
        found = {}
        with self.doing("listing the networks", "libvirt"):
            for handle in self.connection.listAllNetworks():
                tree = domain.load(handle.XMLDesc(0))
                families = [node.get("family", "ipv4") for node in tree.iterfind("ip")]
                bridge = tree.find("bridge")
                found[handle.name()] = Network(
                    bool(handle.isActive()), not families or "ipv4" in families,
                    bridge is not None, bridge is not None and bridge.get("stp") == "on",
                    int(bridge.get("delay", "0")) if bridge is not None else 0,
                )  # fmt: skip
        return found

    def filters(self):
        """Return the names of libvirt's network filters."""
        with self.doing("listing the network filters", "libvirt"):
            return {handle.name() for handle in self.connection.listAllNWFilters()}

    def gather(self):
        """Return {name: Found} of all domains."""
        found = {}
        with self.doing("listing the domains", "libvirt"):
            handles = self.connection.listAllDomains()
        for handle in handles:
            try:
                active, persistent = bool(handle.isActive()), bool(handle.isPersistent())
                found[handle.name()] = Found(
                    handle, handle.name(), handle.UUIDString(), active, bool(handle.autostart()) if persistent else False,
                    handle.XMLDesc(0) if active else None,
                    handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if persistent else None,
                )  # fmt: skip
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    continue  # it went away between the list and the look
                raise self.failure("reading a domain", "libvirt", error) from error
        return found

    def _handle(self, name):
        with self.doing("looking it up", name):
            return self.connection.lookupByName(name)

    def define(self, name, xml):
        with self.doing("defining the guest", name):
            # Without VALIDATE libvirt drops unknown elements without a word.
            self.connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)

    def start(self, name):
        with self.doing("starting the guest", name):
            self._handle(name).create()

    def update_nic(self, name, xml):
        with self.doing("changing its NIC", name):
            self._handle(name).updateDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def change_nic(self, name, how, xml, live):
        """Carry out C(how) (update, attach, detach) on one NIC, of the running guest or else of its stored definition."""
        flag = libvirt.VIR_DOMAIN_AFFECT_LIVE if live else libvirt.VIR_DOMAIN_AFFECT_CONFIG
        with self.doing(f"{how} of its {'running' if live else 'stored'} NIC", name):
            handle = self._handle(name)
            calls = {"update": handle.updateDeviceFlags, "attach": handle.attachDeviceFlags, "detach": handle.detachDeviceFlags}
            calls[how](xml, flag)

    def live_xml(self, name):
        with self.doing("reading it", name):
            return self._handle(name).XMLDesc(0)

    def shutdown(self, name, timeout_s=SHUTDOWN_S):
        """Ask the guest to shut down, and cut its power when it has not within C(timeout_s) seconds."""
        handle = self._handle(name)
        deadline = time.monotonic() + timeout_s
        # A guest without agent or ACPI refuses; then the power is all there is.
        with contextlib.suppress(libvirt.libvirtError):
            handle.shutdown()
            while handle.isActive() and time.monotonic() < deadline:
                time.sleep(0.1)
        self.destroy(name)

    def destroy(self, name):
        """Cut the guest's power; it may be off already."""
        try:
            self._handle(name).destroy()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
                raise self.failure("stopping the guest", name, error) from error

    def undefine(self, name):
        """Remove the definition, with what libvirt keeps of the guest besides (saved state, snapshots' metadata)."""
        flags = (
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )
        with self.doing("undefining the guest", name):
            self._handle(name).undefineFlags(flags)
