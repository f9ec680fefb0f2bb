# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's configuration: defaults/main.yml of the role, overridden by a file, checked, as typed values."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtnet_lab.proc import LabError

DEFAULTS = Path(__file__).resolve().parents[2] / "defaults" / "main.yml"
PREFIX = "lab_hosts_"
# Oldest first. A release's keys are found in the keyring package of the releases before it.
RELEASES = ("bookworm", "trixie")
KINDS = ("kvm", "outside", "gateway")
ADDRESSINGS = ("static", "dhcp")
#: Who configures a host's eth0; netplan's two renderers are the first two.
MANAGERS = ("networkd", "NetworkManager", "ifupdown", "netplan-networkd", "netplan-NetworkManager")
FIRST_KVM_NUMBER = 11
# Names end up in namespaces, machine names, DNS and (a host's) in the LAN's port, which takes 15 characters.
LAB_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
HOST_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,13}[a-z0-9])?")
RESERVED_NAMES = ("ctl", "lan", "br-lan", "lo")


@dataclass(frozen=True)
class Host:
    name: str
    kind: str
    release: str
    mac: str
    address: ipaddress.IPv4Interface
    address6: ipaddress.IPv6Interface
    addressing: str
    manager: str


@dataclass(frozen=True)
class DnsRecord:
    name: str
    addresses: tuple[str, ...]
    txt: str | None


@dataclass(frozen=True)
class Config:
    lab: str
    hosts: tuple[Host, ...]
    controller: ipaddress.IPv4Interface
    controller6: ipaddress.IPv6Interface
    dhcp_first: ipaddress.IPv4Address
    dhcp_last: ipaddress.IPv4Address
    domain: str
    dns_records: tuple[DnsRecord, ...]
    groups: Mapping[str, str]
    inventory_vars: Mapping[str, Any]
    packages: Mapping[str, tuple[str, ...]]
    guest_kernel: str
    mirror: str
    boot_timeout: int
    machine_sysctls: Mapping[str, int]
    disk_mib: int

    @property
    def gateway(self) -> Host:
        return next(host for host in self.hosts if host.kind == "gateway")

    @property
    def releases(self) -> tuple[str, ...]:
        return tuple(release for release in RELEASES if any(host.release == release for host in self.hosts))

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"lab '{self.lab}' has no host '{name}'; it has {', '.join(host.name for host in self.hosts)}.")


def read_raw(override: Path | None, lab: str | None) -> dict[str, Any]:
    """The variables as they are given: the defaults, what the file says, the lab's name from the command line."""
    try:
        import yaml
    except ImportError:
        raise LabError("PyYAML is missing: run this with the Python of an environment that has ansible-core.") from None
    raw = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    if override is not None:
        try:
            text = sys.stdin.read() if str(override) == "-" else override.read_text(encoding="utf-8")
            given = yaml.safe_load(text) or {}
        except (OSError, yaml.YAMLError) as error:
            raise LabError(f"the configuration {override} cannot be read: {error}") from error
        unknown = sorted(set(given) - set(raw)) if isinstance(given, dict) else ["(not a mapping)"]
        if unknown:
            raise LabError(f"the configuration {override} has what is no variable of lab_hosts: {', '.join(unknown)}.")
        raw.update(given)
    if lab is not None:
        raw[f"{PREFIX}lab"] = lab
    return raw


def with_kvm_hosts(raw: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The variables with so many KVM hosts: those that are configured first, then others of the releases in turn."""
    if count < 1:
        raise LabError(f"a lab has one KVM host at least, not {count}.")
    hosts = list(raw[f"{PREFIX}hosts"])
    kvm = [item for item in hosts if item.get("kind") == "kvm"]
    names = {item.get("name") for item in hosts}
    for number in range(1, count + 1):
        if len(kvm) < count and f"kvm{number}" not in names:
            kvm.append({"name": f"kvm{number}", "kind": "kvm", "release": RELEASES[(number - 1) % len(RELEASES)]})
    return {**raw, f"{PREFIX}hosts": [item for item in hosts if item.get("kind") != "kvm"] + kvm[:count]}


def parse(raw: Mapping[str, Any]) -> Config:
    """Check the variables and turn them into values; the first thing that is wrong is named by its variable."""
    try:
        return _parse(raw)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # The shape itself is wrong, a word where a list belongs: argument_specs says that better, but only in a play.
        raise LabError(f"the variables of lab_hosts are malformed: {type(error).__name__}: {error}.") from error


def _parse(raw: Mapping[str, Any]) -> Config:
    value = {name.removeprefix(PREFIX): item for name, item in raw.items()}
    lab = check_lab_name(value["lab"])
    lan4 = _network(value["lan4"], "lan4", ipaddress.IPv4Network)
    lan6 = _network(value["lan6"], "lan6", ipaddress.IPv6Network)
    first, last = int(value["dhcp_range"]["first"]), int(value["dhcp_range"]["last"])
    hosts = _hosts(value, lab, lan4, lan6, range(first, last + 1))
    if first > last:
        raise LabError(f"{PREFIX}dhcp_range runs backwards: {first} to {last}.")
    controller, controller6 = _addresses(int(value["controller_number"]), lan4, lan6, f"{PREFIX}controller_number")
    common = [*value["packages"], *value["extra_packages"]]
    return Config(
        lab=lab,
        hosts=hosts,
        controller=controller,
        controller6=controller6,
        dhcp_first=_addresses(first, lan4, lan6, f"{PREFIX}dhcp_range")[0].ip,
        dhcp_last=_addresses(last, lan4, lan6, f"{PREFIX}dhcp_range")[0].ip,
        domain=value["domain"],
        dns_records=tuple(_records(value["dns_records"], hosts)),
        groups=_groups(value["groups"], hosts),
        inventory_vars=dict(value["inventory_vars"]),
        packages={release: tuple(sorted({*common, *value["release_packages"].get(release, [])})) for release in RELEASES},
        guest_kernel=value["guest_kernel"],
        mirror=value["mirror"],
        boot_timeout=int(value["boot_timeout"]),
        machine_sysctls={name: int(least) for name, least in value["machine_sysctls"].items()},
        disk_mib=int(value["disk_mib"]),
    )


def check_lab_name(name: object) -> str:
    if not isinstance(name, str) or not LAB_NAME.fullmatch(name):
        raise LabError(f"the lab's name must be 1 to 12 letters and digits, a letter first, all lower case; not {name!r}.")
    return name


def load(override: Path | None, lab: str | None) -> Config:
    return parse(read_raw(override, lab))


def load_saved(path: Path) -> Config:
    """The configuration with which a lab was brought up: what every later command works with."""
    return parse(json.loads(path.read_text(encoding="utf-8")))


def mac_of(lab: str, host: str) -> str:
    """Stable, and from the range that is free for local use."""
    digest = hashlib.sha256(f"{lab}/{host}".encode()).hexdigest()
    return ":".join(["02", *(digest[index : index + 2] for index in range(0, 10, 2))])


def _network(text: object, name: str, kind: Any) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise LabError(f"{PREFIX}{name} is not a network: {error}.") from error


def _addresses(
    number: int, lan4: ipaddress.IPv4Network, lan6: ipaddress.IPv6Network, what: str
) -> tuple[ipaddress.IPv4Interface, ipaddress.IPv6Interface]:
    """Number 11 is .11 and ::11: the same digits, so that a person sees at once whose address it is."""
    if not 0 < number < lan4.num_addresses - 1:
        raise LabError(f"{what}: number {number} is outside of {lan4}.")
    host6 = int(str(number), 16)
    return (
        ipaddress.IPv4Interface(f"{lan4[number]}/{lan4.prefixlen}"),
        ipaddress.IPv6Interface(f"{lan6[host6]}/{lan6.prefixlen}"),
    )


def _hosts(
    value: Mapping[str, Any], lab: str, lan4: ipaddress.IPv4Network, lan6: ipaddress.IPv6Network, pool: range
) -> tuple[Host, ...]:
    taken: dict[int, str] = {int(value["controller_number"]): "the controller"}
    free_kvm = iter(range(FIRST_KVM_NUMBER, lan4.num_addresses))
    free_other = iter(range(1, FIRST_KVM_NUMBER))
    hosts: list[Host] = []
    for item in value["hosts"]:
        name = item.get("name")
        what = f"{PREFIX}hosts, host {name!r}"
        if not isinstance(name, str) or not HOST_NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise LabError(f"{what}: a name has 1 to 15 lower-case letters, digits and dashes, and is not reserved.")
        if any(host.name == name for host in hosts):
            raise LabError(f"{what}: the name is there twice.")
        kind = _choice(item.get("kind", "kvm"), KINDS, f"{what}, kind")
        number = item.get("number")
        number = next(free_kvm if kind == "kvm" else free_other) if number is None else int(number)
        if number in taken or number in pool:
            raise LabError(f"{what}: number {number} belongs to {taken.get(number, 'the DHCP range')}.")
        taken[number] = name
        address, address6 = _addresses(number, lan4, lan6, what)
        host = Host(
            name=name,
            kind=kind,
            release=_choice(item.get("release", RELEASES[0]), RELEASES, f"{what}, release"),
            mac=mac_of(lab, name),
            address=address,
            address6=address6,
            addressing=_choice(item.get("addressing", "static"), ADDRESSINGS, f"{what}, addressing"),
            manager=_choice(item.get("manager", "networkd"), MANAGERS, f"{what}, manager"),
        )
        unknown = sorted(set(item) - {"name", "kind", "release", "number", "addressing", "manager"})
        if unknown:
            raise LabError(f"{what}: unknown: {', '.join(unknown)}.")
        if host.kind == "gateway" and host.addressing != "static":
            raise LabError(f"{what}: the gateway serves DHCP, so its own address is static.")
        if host.kind == "gateway" and host.manager != "networkd":
            raise LabError(f"{what}: the gateway is the router itself, its eth0 is kept by networkd and not by {host.manager}.")
        hosts.append(host)
    if sum(host.kind == "gateway" for host in hosts) != 1:
        raise LabError(f"{PREFIX}hosts: a lab has exactly one host of kind gateway.")
    return tuple(hosts)


def _choice(given: object, allowed: tuple[str, ...], what: str) -> str:
    if given not in allowed:
        raise LabError(f"{what}: {given!r} is not one of {', '.join(allowed)}.")
    return str(given)


def _groups(groups: Mapping[str, str], hosts: tuple[Host, ...]) -> Mapping[str, str]:
    for kind in KINDS:
        group = groups.get(kind)
        if not group:
            raise LabError(f"{PREFIX}groups: no group for kind {kind}.")
        if any(host.name == group for host in hosts):
            raise LabError(f"{PREFIX}groups: '{group}' is the name of a host too.")
    return groups


def _records(records: Iterable[Mapping[str, Any]], hosts: tuple[Host, ...]) -> Iterator[DnsRecord]:
    """DNS records with plain addresses: a reference to a kind of host is resolved here."""
    for record in records:
        addresses = [ipaddress.ip_address(address) for address in record.get("addresses", [])]
        if "kind" in record:
            target = next((host for host in hosts if host.kind == record["kind"]), None)
            if target is None:
                continue
            addresses += [target.address.ip, target.address6.ip]
        family = record.get("family")
        yield DnsRecord(
            name=record["name"],
            addresses=tuple(str(address) for address in addresses if family in (None, address.version)),
            txt=record.get("txt"),
        )
