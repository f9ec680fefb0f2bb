# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
import yaml
from virtnet_lab.config import DEFAULTS, mac_of, parse, read_raw, with_kvm_hosts
from virtnet_lab.proc import LabError


def raw(**changes):
    """The role's own defaults, with some variables changed."""
    return {**read_raw(None, None), **{f"lab_hosts_{name}": value for name, value in changes.items()}}


GATEWAY = {"name": "gw", "kind": "gateway"}


def test_the_defaults_are_two_kvm_hosts_an_outside_machine_and_a_gateway():
    config = parse(raw())
    assert [(host.name, host.kind, host.release, str(host.address), str(host.address6)) for host in config.hosts] == [
        ("gateway1", "gateway", "bookworm", "10.77.0.1/24", "fd77::1/64"),
        ("outside1", "outside", "bookworm", "10.77.0.2/24", "fd77::2/64"),
        ("kvm1", "kvm", "bookworm", "10.77.0.11/24", "fd77::11/64"),
        ("kvm2", "kvm", "trixie", "10.77.0.12/24", "fd77::12/64"),
    ]
    assert config.releases == ("bookworm", "trixie")
    assert (str(config.controller), str(config.controller6)) == ("10.77.0.254/24", "fd77::254/64")


def test_a_number_of_kvm_hosts_keeps_the_configured_ones_and_adds_of_the_releases_in_turn():
    config = parse(with_kvm_hosts(raw(), 4))
    assert [(host.name, host.release) for host in config.hosts if host.kind == "kvm"] == [
        ("kvm1", "bookworm"), ("kvm2", "trixie"), ("kvm3", "bookworm"), ("kvm4", "trixie"),
    ]  # fmt: skip
    assert [host.name for host in parse(with_kvm_hosts(raw(), 1)).hosts] == ["gateway1", "outside1", "kvm1"]
    named = [GATEWAY, {"name": "kvm2", "kind": "outside"}, {"name": "a", "kind": "kvm"}]
    assert [host.name for host in parse(with_kvm_hosts(raw(hosts=named), 2)).hosts] == ["gw", "kvm2", "a", "kvm1"]
    with pytest.raises(LabError, match="one KVM host at least, not 0"):
        with_kvm_hosts(raw(), 0)


def test_only_releases_in_use_need_an_image():
    assert parse(raw(hosts=[GATEWAY, {"name": "a", "release": "bookworm"}])).releases == ("bookworm",)


def test_a_number_is_the_host_part_of_both_addresses():
    host = parse(raw(hosts=[GATEWAY, {"name": "a", "number": 42}], lan4="10.9.0.0/16")).host("a")
    assert (str(host.address), str(host.address6)) == ("10.9.0.42/16", "fd77::42/64")


def test_macs_are_stable_local_unicast_and_differ_between_labs():
    assert mac_of("lab", "kvm1") == mac_of("lab", "kvm1")
    assert len({mac_of(lab, host) for lab in ("lab", "other") for host in ("kvm1", "kvm2")}) == 4
    assert int(mac_of("lab", "kvm1")[:2], 16) & 0b11 == 0b10


def test_packages_of_a_release_are_the_common_the_extra_and_its_own():
    config = parse(raw(packages=["b", "a"], extra_packages=["c", "a"], release_packages={"trixie": ["d"]}))
    assert config.packages == {"bookworm": ("a", "b", "c"), "trixie": ("a", "b", "c", "d")}


def test_dns_records_resolve_kinds_and_leave_out_those_without_such_a_host():
    records = [
        {"name": "both.test", "kind": "outside", "txt": "t"},
        {"name": "six.test", "kind": "outside", "family": 6},
        {"name": "given.test", "addresses": ["192.0.2.1", "2001:db8::1"], "family": 4},
    ]
    assert [(record.name, record.addresses, record.txt) for record in parse(raw(dns_records=records)).dns_records] == [
        ("both.test", ("10.77.0.2", "fd77::2"), "t"),
        ("six.test", ("fd77::2",), None),
        ("given.test", ("192.0.2.1",), None),
    ]
    assert [r.name for r in parse(raw(hosts=[GATEWAY], dns_records=records)).dns_records] == ["given.test"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lab": "my-lab"}, "lower case"),
        ({"lab": "a123456789012"}, "1 to 12"),
        ({"lan4": "10.77.0.1/24"}, "lab_hosts_lan4 is not a network"),
        ({"lan6": "10.77.0.0/24"}, "lab_hosts_lan6 is not a network"),
        ({"hosts": [{"name": "a"}]}, "exactly one host of kind gateway"),
        ({"hosts": [GATEWAY, {"name": "gw2", "kind": "gateway"}]}, "exactly one host of kind gateway"),
        ({"hosts": [GATEWAY, {"name": "a"}, {"name": "a"}]}, "there twice"),
        ({"hosts": [GATEWAY, {"name": "a" * 16}]}, "1 to 15"),
        ({"hosts": [GATEWAY, {"name": "lan"}]}, "reserved"),
        ({"hosts": [GATEWAY, {"name": "a", "release": "warty"}]}, "'warty' is not one of bookworm, trixie"),
        ({"hosts": [GATEWAY, {"name": "a", "manager": "wicked"}]}, "'wicked' is not one of networkd, NetworkManager"),
        ({"hosts": [{**GATEWAY, "addressing": "dhcp"}]}, "its own address is static"),
        ({"hosts": [{**GATEWAY, "manager": "NetworkManager"}]}, "'gw': the gateway .* by networkd and not by NetworkManager"),
        ({"hosts": [{**GATEWAY, "manager": "netplan-networkd"}]}, "'gw': the gateway .* by networkd and not by netplan-networkd"),
        ({"hosts": [GATEWAY, {"name": "a", "number": 1}]}, "number 1 belongs to gw"),
        ({"hosts": [GATEWAY, {"name": "a", "number": 150}]}, "number 150 belongs to the DHCP range"),
        ({"hosts": [GATEWAY, {"name": "a", "number": 254}]}, "number 254 belongs to the controller"),
        ({"hosts": [GATEWAY, {"name": "a", "number": 255}]}, "outside of 10.77.0.0/24"),
        ({"hosts": [GATEWAY, {"name": "a", "memory": 1}]}, "unknown: memory"),
        ({"hosts": {"a": {}}}, "malformed"),
        ({"dhcp_range": {"first": 20, "last": 10}}, "runs backwards"),
        ({"groups": {"kvm": "kvm_hosts", "outside": "outside1", "gateway": "gateway"}}, "name of a host too"),
    ],
)
def test_what_is_wrong_is_said(changes, message):
    with pytest.raises(LabError, match=message):
        parse(raw(**changes))


def test_a_configuration_file_may_not_have_unknown_variables(tmp_path):
    file = tmp_path / "lab.yml"
    file.write_text("lab_hosts_realeases: []\n")
    with pytest.raises(LabError, match="no variable of lab_hosts: lab_hosts_realeases"):
        read_raw(file, None)


def test_the_command_line_names_the_lab(tmp_path):
    file = tmp_path / "lab.json"
    file.write_text('{"lab_hosts_lab": "one", "lab_hosts_boot_timeout": 7}')
    config = parse(read_raw(file, "two"))
    assert (config.lab, config.boot_timeout) == ("two", 7)


def test_the_argument_specs_have_the_defaults_of_the_role():
    specs = yaml.safe_load((DEFAULTS.parents[1] / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    defaults = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    options = [item for point in specs.values() for item in point["options"].items()]
    said = {name: option["default"] for name, option in options if "default" in option}
    assert said == {name: value for name, value in defaults.items() if name != "lab_hosts_packages"}
