# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declared guests as typed values, every one checked before anything is touched. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from ansible_collections.virtnet.kvm.plugins.module_utils import names, values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

BUILTIN = "builtin"
#: MiB below which hardly any guest starts, and the built-in one does not; and what is right for it: with Linux 6.12 and
#: QEMU 10 (whose serial device takes 8 MiB of the guest's memory) 96 start, but leave too little for a probe's Python.
MEMORY_MIN_MB = 64
BUILTIN_MEMORY_MIN_MB = 96
MEMORY_MB = 128
NICS_MAX = 24  # PCI slots that are left on the standard board

#: RFC 1123; the guest's own name, made from libvirt's, which may hold more.
_HOSTNAME_UNFIT = re.compile(r"[^A-Za-z0-9-]+")
_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\r\n]*)?")


@dataclass(frozen=True)
class Nic:
    """One NIC of a guest; C(option) is where it was declared."""

    network: str
    mac: str
    dev: str
    addresses: tuple
    gateway: tuple
    link: str
    option: str

    @property
    def declared(self):
        """What libvirt holds of it."""
        return {"network": self.network, "mac": self.mac, "dev": self.dev, "link": self.link}


@dataclass(frozen=True)
class Guest:
    """One declared guest; C(authorized_keys) of None are those that it has."""

    name: str
    image: str
    memory_mb: int
    vcpus: int
    state: str
    user_data: str
    nics: tuple
    authorized_keys: tuple
    option: str

    @property
    def builtin(self):
        return self.image == BUILTIN

    @property
    def hostname(self):
        return _HOSTNAME_UNFIT.sub("-", self.name).strip("-")[:63]

    @property
    def nic_facts(self):
        """What the guest itself must know of its NICs."""
        return [
            {"mac": nic.mac, "addresses": list(nic.addresses), "gateway": list(nic.gateway)} for nic in self.nics
        ]  # fmt: skip

    @property
    def seed(self):
        """A digest of all that cloud-init is told; its text may hold secrets, and is kept nowhere else."""
        facts = [self.hostname, self.user_data, self.nic_facts, self.authorized_keys]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def parse_guests(items, host, authorized_keys=None):
    """Return the Guests of C(items), as kvm_guests of the data model.

    :param host: the inventory's name of the host, from which MACs are made.
    :param authorized_keys: None leaves those alone that a guest has.
    :raises InvalidInput: the first thing that cannot be meant, with its path.
    """
    keys = None
    if authorized_keys is not None:
        keys = tuple(_key(key, f"authorized_keys[{number}]") for number, key in enumerate(authorized_keys))
    guests = [parse_guest(item, host, f"guests[{number}]", keys) for number, item in enumerate(items)]
    _unique(((guest.name, f"{guest.option}.name") for guest in guests), "guest")
    present = [guest for guest in guests if guest.state != "absent"]
    _unique(((nic.mac, f"{nic.option}.mac") for guest in present for nic in guest.nics), "MAC address")
    _unique(((nic.dev, f"{nic.option}.dev") for guest in present for nic in guest.nics), "link name")
    _unique(
        (
            (f"{address.partition('/')[0]} on {nic.network}", f"{nic.option}.addresses")
            for guest in present
            for nic in guest.nics
            for address in nic.addresses
            if address != "dhcp"
        ),
        "address",
    )
    return guests


def _unique(pairs, what):
    seen = {}
    for value, option in pairs:
        if value in seen:
            raise InvalidInput(f"the {what} {value} is also that of {seen[value]}", None, option, "Choose another one.")
        seen[value] = option


def _key(text, option):
    if not _KEY.fullmatch(text.strip()):
        raise InvalidInput(
            "this is not a line of an authorized_keys file", None, option, "Write it as ssh-ed25519 AAAA… comment."
        )
    return text.strip()


def parse_guest(item, host, option, keys=None):
    """Return the Guest of one item of kvm_guests; raise InvalidInput with the path of the option."""
    name = values.name(item["name"], f"{option}.name")
    if not _HOSTNAME_UNFIT.sub("-", name).strip("-"):
        raise InvalidInput(f"{name!r} leaves nothing for a host name", name, f"{option}.name", "Use a letter or a digit.")
    if item.get("state") == "absent":
        # Whatever else stands there, it is to go.
        return Guest(name, BUILTIN, MEMORY_MB, 1, "absent", "", (), keys, option)
    image = item.get("image") or BUILTIN
    if image != BUILTIN and not re.fullmatch(r"/[^\0-\x1f,]+", image):
        raise InvalidInput(
            f"the image {image!r} is neither 'builtin' nor a path on the host", name, f"{option}.image",
            "Give the absolute path of a qcow2 file, without commas.",
        )
    user_data = item.get("user_data")
    if isinstance(user_data, dict):
        user_data = "#cloud-config\n" + json.dumps(user_data, indent=1) + "\n"  # JSON is YAML
    if user_data and image == BUILTIN:
        raise InvalidInput(
            "the built-in guest has no cloud-init, so it cannot use user_data", name, f"{option}.user_data",
            "Leave it out, or name a template image.",
        )
    least = BUILTIN_MEMORY_MIN_MB if image == BUILTIN else MEMORY_MIN_MB
    memory = item.get("memory_mb") or MEMORY_MB
    if not least <= memory <= 1 << 24:
        raise InvalidInput(
            f"{memory} MiB is too little or too much", name, f"{option}.memory_mb", f"Use {least} or more."
        )
    vcpus = item.get("vcpus") or 1
    if not 1 <= vcpus <= 255:
        raise InvalidInput(f"{vcpus} processors cannot be had", name, f"{option}.vcpus", "Use 1 to 255.")
    nics = item.get("nics") or []
    if len(nics) > NICS_MAX:
        raise InvalidInput(f"{len(nics)} NICs are too many", name, f"{option}.nics", f"Use {NICS_MAX} at most.")
    return Guest(
        name=name,
        image=image,
        memory_mb=int(memory),
        vcpus=int(vcpus),
        state=item.get("state") or "running",
        user_data=str(user_data) if user_data else "",
        nics=tuple(_nic(nic, host, name, index, f"{option}.nics[{index}]") for index, nic in enumerate(nics)),
        authorized_keys=keys,
        option=option,
    )


def _nic(item, host, guest, index, option):
    network = values.name(item["network"], f"{option}.network", guest)
    mac = item.get("mac")
    mac = names.guest_mac(host, guest, index) if mac is None else values.mac(mac, f"{option}.mac", guest)
    dev = item.get("dev")
    if dev is None:
        dev = names.tap_name(guest, index)
    elif re.match(r"vnet|vif|macvtap|macvlan", values.link_name(dev, f"{option}.dev", guest)):
        raise InvalidInput(
            f"libvirt renames links such as {dev} at every start", guest, f"{option}.dev", "Choose another beginning."
        )
    addresses = item.get("addresses")
    addresses = ["dhcp"] if addresses is None else addresses
    texts = tuple(
        text if text == "dhcp" else values.interface(text, f"{option}.addresses[{number}]", guest).with_prefixlen
        for number, text in enumerate(addresses)
    )
    if len(set(texts)) != len(texts):
        raise InvalidInput("an address stands there twice", guest, f"{option}.addresses", "Name it once.")
    return Nic(
        network=network, mac=mac, dev=dev, addresses=texts,
        gateway=_gateways(item.get("gateway"), texts, f"{option}.gateway", guest),
        link=item.get("link") or "up", option=option,
    )  # fmt: skip


def _gateways(items, addresses, option, guest):
    """Return the gateways, one a family at most, each on the link (or link-local)."""
    found = {}
    own = [values.interface(text, option, guest) for text in addresses if text != "dhcp"]
    for text in items or ():
        gateway = values.address(text, option, guest)
        if gateway.version in found:
            raise InvalidInput(f"there are two gateways of IPv{gateway.version}", guest, option, "Name one of each family.")
        near = [one for one in own if one.version == gateway.version]
        if not gateway.is_link_local and not any(gateway in one.network and gateway != one.ip for one in near):
            raise InvalidInput(
                f"the gateway {gateway} is in none of the NIC's subnets", guest, option,
                "Name an address in the subnet of one of addresses; dhcp brings its own gateway.",
            )
        found[gateway.version] = str(gateway)
    return tuple(found[version] for version in sorted(found))
