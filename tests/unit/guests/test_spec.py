# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import names
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import spec

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDhPyNldL9wSd me@here"


def parse(*items, **arguments):
    return spec.parse_guests(list(items), "kvm1", **arguments)


def nic(**more):
    return {"network": "natnet", **more}


def test_defaults():
    (guest,) = parse({"name": "vm0", "nics": [nic(), nic()]})
    assert (guest.image, guest.memory_mb, guest.vcpus, guest.state) == ("builtin", spec.MEMORY_MB, 1, "running")
    assert [one.mac for one in guest.nics] == [names.guest_mac("kvm1", "vm0", number) for number in (0, 1)]
    assert [one.dev for one in guest.nics] == [names.tap_name("vm0", number) for number in (0, 1)]
    assert guest.nics[0].addresses == ("dhcp",)
    assert guest.authorized_keys is None


def test_values_have_one_spelling():
    (guest,) = parse(
        {"name": "vm0", "nics": [nic(mac="52-54-00-AB-CD-EF", addresses=["FD00::0:5/64", "10.1.0.2/24"], gateway=["10.1.0.1"])]},
        authorized_keys=[f" {KEY} "],
    )
    assert guest.nics[0].mac == "52:54:00:ab:cd:ef"
    assert guest.nics[0].addresses == ("fd00::5/64", "10.1.0.2/24")
    assert guest.nics[0].gateway == ("10.1.0.1",)
    assert guest.authorized_keys == (KEY,)


@pytest.mark.parametrize(
    ("name", "hostname"), [("vm0", "vm0"), ("web_1.lab", "web-1-lab"), ("a+", "a"), ("x" * 50, "x" * 50)]
)
def test_hostname(name, hostname):
    assert parse({"name": name})[0].hostname == hostname


def test_an_absent_guest_may_hold_anything_but_its_name():
    (guest,) = parse({"name": "vm0", "state": "absent", "memory_mb": 1, "nics": [{"network": "<>", "mac": "no"}]})
    assert guest.state == "absent"
    with pytest.raises(InvalidInput):
        parse({"name": "vm0'", "state": "absent"})


def test_user_data_may_be_a_dictionary_and_changes_the_seed():
    one, other = (
        parse({"name": "vm0", "image": "/t.qcow2", "user_data": data})[0] for data in ({"packages": ["a"]}, {"packages": []})
    )
    assert one.user_data.startswith("#cloud-config\n{")
    assert one.seed != other.seed


@pytest.mark.parametrize(
    ("items", "option"),
    [
        ([{"name": "vm 0"}], "guests[0].name"),
        ([{"name": "vm<0>"}], "guests[0].name"),
        ([{"name": "vm0\n"}], "guests[0].name"),
        ([{"name": "../vm0"}], "guests[0].name"),
        ([{"name": "vm0"}, {"name": "vm0"}], "guests[1].name"),
        ([{"name": "vm0", "image": "tmpl.qcow2"}], "guests[0].image"),
        ([{"name": "vm0", "image": "/tmpl,x.qcow2"}], "guests[0].image"),
        ([{"name": "vm0", "user_data": "#cloud-config"}], "guests[0].user_data"),
        ([{"name": "vm0", "memory_mb": 64}], "guests[0].memory_mb"),
        ([{"name": "vm0", "memory_mb": -1}], "guests[0].memory_mb"),
        ([{"name": "vm0", "vcpus": 300}], "guests[0].vcpus"),
        ([{"name": "vm0", "nics": [nic()] * 25}], "guests[0].nics"),
        ([{"name": "vm0", "nics": [{"network": "a'b"}]}], "guests[0].nics[0].network"),
        ([{"name": "vm0", "nics": [nic(mac="52:54:00:12:34")]}], "guests[0].nics[0].mac"),
        ([{"name": "vm0", "nics": [nic(mac="01:54:00:12:34:56")]}], "guests[0].nics[0].mac"),
        ([{"name": "vm0", "nics": [nic(dev="vnet7")]}], "guests[0].nics[0].dev"),
        ([{"name": "vm0", "nics": [nic(dev="x" * 16)]}], "guests[0].nics[0].dev"),
        ([{"name": "vm0", "nics": [nic(), nic(addresses=["10.0.0.1"])]}], "guests[0].nics[1].addresses[0]"),
        ([{"name": "vm0", "nics": [nic(addresses=["dhcp", "10.0.0.0/24"])]}], "guests[0].nics[0].addresses[1]"),
        ([{"name": "vm0", "nics": [nic(addresses=["dhcp", "dhcp"])]}], "guests[0].nics[0].addresses"),
        ([{"name": "vm0", "nics": [nic(gateway=["10.0.0.1"])]}], "guests[0].nics[0].gateway"),
        ([{"name": "vm0", "nics": [nic(addresses=["10.0.0.2/24"], gateway=["10.0.1.1"])]}], "guests[0].nics[0].gateway"),
        ([{"name": "vm0", "nics": [nic(addresses=["10.0.0.2/24"], gateway=["10.0.0.2"])]}], "guests[0].nics[0].gateway"),
        (
            [{"name": "vm0", "nics": [nic(addresses=["10.0.0.2/24"], gateway=["10.0.0.1", "10.0.0.3"])]}],
            "guests[0].nics[0].gateway",
        ),
        (
            [{"name": "a", "nics": [nic(mac="52:54:00:00:00:01")]}, {"name": "b", "nics": [nic(mac="52-54-00-00-00-01")]}],
            "guests[1].nics[0].mac",
        ),
        ([{"name": "a", "nics": [nic(dev="t0")]}, {"name": "b", "nics": [nic(dev="t0")]}], "guests[1].nics[0].dev"),
        (
            [{"name": "a", "nics": [nic(addresses=["10.0.0.2/24"])]}, {"name": "b", "nics": [nic(addresses=["10.0.0.2/24"])]}],
            "guests[1].nics[0].addresses",
        ),
    ],
)
def test_bad_input_names_its_option(items, option):
    with pytest.raises(InvalidInput) as error:
        parse(*items)
    assert error.value.option == option
    assert error.value.cure


@pytest.mark.parametrize("key", ["", "hello", "ssh-ed25519 AAAA\nssh-rsa BBBB", "ssh-ed25519 <x>"])
def test_bad_keys(key):
    with pytest.raises(InvalidInput) as error:
        parse(authorized_keys=[KEY, key])
    assert error.value.option == "authorized_keys[1]"
