# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest's domain XML and our normal form of it (https://libvirt.org/formatdomain.html). Pure but for lxml."""

from __future__ import annotations

import copy
import json

try:
    from lxml import etree
except ImportError:  # pragma: no cover - deps.require() answers for it
    etree = None

from ansible_collections.virtnet.kvm.plugins.module_utils.guests import tiny
from ansible_collections.virtnet.kvm.plugins.module_utils.names import NAMESPACE

NS = NAMESPACE
MARK = f"{{{NS}}}guest"

#: libvirt's versions that brought what the XML uses only where it can: 8.1 limits the emulator's memory for
#: translated code, 7.1 knows the CPU 'maximum'.
TB_CACHE_SINCE = 8001000
MAXIMUM_SINCE = 7001000
#: MiB of translated code: 32 cost no time that could be measured, and save 60 MiB a built-in guest, and 530 MiB a Debian.
TB_CACHE_MB = 32

TYPES = {"kvm": "kvm", "tcg": "qemu"}
#: Parts of a normal form that the guest's own boot data hold, not libvirt's elements.
FACTS = ("image", "hostname", "authorized_keys", "seed")


def load(xml):
    # It comes from the daemon, yet nothing in it may reach for files or the net.
    return etree.fromstring(xml, etree.XMLParser(remove_blank_text=False, resolve_entities=False, no_network=True))


def desired(guest, accelerator):
    """Return the normal form that a declared guest must come to, without its run state."""
    return {
        "image": guest.image,
        "accelerator": accelerator,
        "memory_mb": guest.memory_mb,
        "vcpus": guest.vcpus,
        "hostname": guest.hostname,
        "authorized_keys": list(guest.authorized_keys),
        "seed": "" if guest.builtin else guest.seed,
        "nics": [
            {**nic.declared, "addresses": list(nic.addresses), "gateway": list(nic.gateway)} for nic in guest.nics
        ],
    }  # fmt: skip


# -- writing ------------------------------------------------------------------------------------------------------


def _child(parent, tag, text=None, **attributes):
    node = etree.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})
    if text is not None:
        node.text = str(text)
    return node


def render(guest, accelerator, files, version, uuid=None):
    """Return the domain's XML.

    :param files: paths: C(kernel) and C(initrd), or C(disk) and C(seed); and C(console), the console's log. C(template),
        if libvirt shall leave the template's owner alone.
    :param version: libvirt's version as it counts it, 9000000 for 9.0.0.
    :param uuid: the existing domain's.
    """
    form = desired(guest, accelerator)
    root = etree.Element("domain", type=TYPES[accelerator])
    _child(root, "name", guest.name)
    if uuid:
        _child(root, "uuid", uuid)
    mark = etree.SubElement(_child(root, "metadata"), MARK, nsmap={"virtnet": NS})
    mark.text = json.dumps(
        {**{key: form[key] for key in FACTS}, "nics": guest.nic_facts}, sort_keys=True
    )
    _child(root, "memory", guest.memory_mb, unit="MiB")
    _child(root, "vcpu", guest.vcpus)
    system = _child(root, "os")
    _child(system, "type", "hvm", arch="x86_64")
    if guest.builtin:
        _child(system, "kernel", files["kernel"])
        _child(system, "initrd", files["initrd"])
        _child(system, "cmdline", tiny.CMDLINE + (tiny.CMDLINE_TCG if accelerator == "tcg" else ""))
        data = _child(root, "sysinfo", type="fwcfg")
        _child(data, "entry", tiny.boot_data(guest.hostname, guest.authorized_keys, guest.nic_facts), name=tiny.FW_CFG)
    else:
        _child(system, "boot", dev="hd")
    features = _child(root, "features")
    _child(features, "acpi")
    _child(features, "apic")
    if accelerator == "tcg" and version >= TB_CACHE_SINCE:
        _child(_child(features, "tcg"), "tb-cache", TB_CACHE_MB, unit="MiB")
    if accelerator == "kvm":
        _child(root, "cpu", mode="host-passthrough")
    elif not guest.builtin and version >= MAXIMUM_SINCE:
        # Distributions of today do not run on QEMU's plain default processor; the built-in guest is faster on it.
        _child(root, "cpu", mode="maximum")
    _child(root, "clock", offset="utc")
    _child(root, "on_poweroff", "destroy")
    # A built-in guest that panics (too little memory) would start again and again, and eat a processor.
    _child(root, "on_reboot", "destroy" if guest.builtin else "restart")
    _child(root, "on_crash", "destroy")
    _devices(_child(root, "devices"), guest, files)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def _devices(devices, guest, files):
    _child(devices, "controller", type="usb", model="none")
    if not guest.builtin:
        _disk(devices, "qcow2", files["disk"], "vda", template=files.get("template"))
        # cloud-init looks for the label on every disk; a plain one works on every board.
        _disk(devices, "raw", files["seed"], "vdb", readonly=True)
    for nic in guest.nics:
        devices.append(interface(nic))
    serial = _child(devices, "serial", type="pty")
    _child(serial, "log", file=files["console"], append="off")
    _child(serial, "target", port=0)
    _child(_child(devices, "console", type="pty"), "target", type="serial", port=0)
    _child(_child(devices, "channel", type="unix"), "target", type="virtio", name=tiny.AGENT_PORT)
    rng = _child(devices, "rng", model="virtio")
    _child(rng, "backend", "/dev/urandom", model="random")
    _child(devices, "memballoon", model="none")


def _disk(devices, kind, path, name, readonly=False, template=None):
    disk = _child(devices, "disk", type="file", device="disk")
    _child(disk, "driver", name="qemu", type=kind)
    _child(disk, "source", file=path)
    if template:
        # Else libvirt gives it to QEMU's user for good, and every QEMU could write what all guests of the template read.
        # What the template itself stands on, libvirt finds out.
        backing = _child(disk, "backingStore", type="file")
        _child(backing, "format", type="qcow2")
        _child(_child(backing, "source", file=template), "seclabel", model="dac", relabel="no")
    _child(disk, "target", dev=name, bus="virtio")
    if readonly:
        _child(disk, "readonly")


def interface(nic):
    """Return the element of a NIC."""
    node = etree.Element("interface", type="network")
    _child(node, "mac", address=nic.mac)
    _child(node, "source", network=nic.network)
    _child(node, "target", dev=nic.dev)
    _child(node, "model", type="virtio")
    _child(node, "link", state=nic.link)
    # Its boot ROM would cost half a second, and no guest of ours boots from the network.
    _child(node, "rom", enabled="no")
    return node


def changed_interface(xml, nic):
    """Return the XML of the running guest's NIC of that MAC with C(nic)'s network and link, else as it is; or None."""
    for node in load(xml).iterfind("devices/interface"):
        if node.find("mac").get("address") == nic.mac:
            node = copy.deepcopy(node)
            source = node.find("source")
            # A running one on a network that is a bridge of the host's is told as a bridge.
            node.set("type", "network")
            source.attrib.clear()
            source.set("network", nic.network)
            link = node.find("link")
            (link if link is not None else _child(node, "link")).set("state", nic.link)
            return etree.tostring(node, encoding="unicode")
    return None


# -- reading ------------------------------------------------------------------------------------------------------


def mark_of(tree):
    """Return the facts that we wrote into a domain, or None if it is not ours."""
    node = tree.find(f"metadata/{MARK}")
    if node is None:
        return None
    try:
        facts = json.loads(node.text or "")
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def mebibytes(node):
    units = {"b": 1, "KB": 10**3, "KiB": 1 << 10, "k": 1 << 10, "MiB": 1 << 20, "M": 1 << 20, "GiB": 1 << 30, "G": 1 << 30}
    return int(node.text) * units[node.get("unit", "KiB")] // (1 << 20)


def parse(xml):
    """Return the normal form of a domain's XML, without its run state; parts that are not as we make them show."""
    tree = load(xml)
    facts = mark_of(tree) or {}
    known = {nic.get("mac"): nic for nic in facts.get("nics") or () if isinstance(nic, dict)}
    nics = []
    for node in tree.iterfind("devices/interface"):
        mac = node.find("mac").get("address").lower()
        source, target, link, model = (node.find(name) for name in ("source", "target", "link", "model"))
        own = known.get(mac, {})
        nic = {
            "network": source.get("network") if source is not None else None,
            "mac": mac,
            "dev": target.get("dev") if target is not None else None,
            "link": link.get("state") if link is not None else "up",
            "addresses": own.get("addresses", []),
            "gateway": own.get("gateway", []),
        }
        if model is None or model.get("type") != "virtio":
            nic["model"] = None if model is None else model.get("type")
        nics.append(nic)
    form = {
        "image": facts.get("image"),
        "accelerator": {"kvm": "kvm", "qemu": "tcg"}.get(tree.get("type"), tree.get("type")),
        "memory_mb": mebibytes(tree.find("memory")),
        "vcpus": int(tree.findtext("vcpu")),
        "hostname": facts.get("hostname"),
        "authorized_keys": facts.get("authorized_keys", []),
        "seed": facts.get("seed"),
        "nics": nics,
    }
    if facts.get("image") == "builtin" and not _same_boot_data(tree, facts, form):
        form["image"] = "builtin, altered"
    return form


def _same_boot_data(tree, facts, form):
    """Return whether the built-in guest is told what our mark says it is told."""
    entry = tree.find(f"sysinfo/entry[@name='{tiny.FW_CFG}']")
    try:
        text = tiny.boot_data(form["hostname"], form["authorized_keys"], facts["nics"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return entry is not None and (entry.text or "").split() == text.split()


def kernel_of(tree):
    """Return the (kernel, initrd) that a domain starts from, '' where it has none."""
    return tree.findtext("os/kernel") or "", tree.findtext("os/initrd") or ""


def macs_and_links(xml):
    """Return the (MAC, link name) of each NIC of any domain."""
    found = []
    for node in load(xml).iterfind("devices/interface"):
        mac, target = node.find("mac"), node.find("target")
        found.append((mac.get("address").lower() if mac is not None else "", target.get("dev", "") if target is not None else ""))
    return found


def differences(wanted, found):
    """Return the names of the parts in which two normal forms differ, for the plan's notes."""
    parts = []
    for key in sorted(set(wanted) | set(found)):
        if wanted.get(key) != found.get(key):
            parts.append(key)
    return parts
