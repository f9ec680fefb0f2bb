# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the inventory believes of a KVM host's reply, and of what the guests in it say about themselves."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.plugin_utils import guest_reply
from ansible_collections.virtnet.kvm.plugins.plugin_utils.guest_lister import MARK

MAC0, MAC1, MAC2 = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"


def said(*links):
    """Return what the agent of a guest answers, for (MAC, addresses)."""
    return json.dumps(
        {
            "return": [
                {
                    "name": "eth0",
                    "hardware-address": mac,
                    "ip-addresses": [{"ip-address": one, "prefix": 24} for one in addresses],
                }
                for mac, addresses in links
            ]
        }
    )


REPLY = {
    "addresses": {"lo": ["127.0.0.1/8"], "eth0": ["192.0.2.11/24"], "natbr0": ["10.64.100.1/24", "fe80::1/64"]},
    "networks": {
        "natnet": {
            "model": "nat", "mode": "open", "bridge": "natbr0",
            "subnets": [["10.64.100.1", "255.255.255.0"], ["fd00:64::1", "64"]],
            "reservations": [[MAC0, "10.64.100.2"]], "leases": [[MAC0, "10.64.100.2"], [MAC1, "10.64.100.150"]],
        },
        "lan": {"model": None, "mode": "bridge", "bridge": "br0", "subnets": [], "reservations": [], "leases": []},
        "vtap": {"model": "bridged", "mode": "bridge", "bridge": None, "subnets": [], "reservations": [], "leases": []},
        "closed": {"model": None, "mode": None, "bridge": "virbr7", "subnets": [], "reservations": [], "leases": []},
    },
    "guests": [
        {
            "name": "vm1", "uuid": "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f", "active": True, "owned": False,
            "nics": [{"mac": MAC1, "network": "natnet", "bridge": None, "dev": "vg1"}], "agent": None, "neighbours": [],
        },
        {
            "name": "vm0", "uuid": None, "active": True, "owned": True,
            "nics": [{"mac": MAC0.upper(), "network": "natnet", "bridge": None, "dev": "vg0"}],
            "agent": said((MAC0, ["10.64.100.2", "fd00:64::2", "fe80::2"])), "neighbours": [],
        },
    ],
}  # fmt: skip


def text_of(reply):
    return f"Welcome to kvm1\n{MARK}{json.dumps(reply)}\n"


def guests_of(reply, **options):
    return {one["name"]: one for one in guest_reply.parse(text_of(reply), **options)[0]}


def with_agent(*links, network="natnet"):
    """Return what is believed of vm1's agent, vm1 being in C(network) without a lease."""
    reply = copy.deepcopy(REPLY)
    reply["networks"]["natnet"]["leases"] = []
    reply["guests"][0]["nics"][0]["network"] = network
    reply["guests"][0]["agent"] = said(*links)
    return guests_of(reply)["vm1"]["nics"][0]["addresses"]


def test_guests_with_their_addresses():
    found = guests_of(REPLY)
    assert list(found) == ["vm0", "vm1"]
    assert found["vm0"]["nics"] == [
        {
            "mac": MAC0, "network": "natnet", "model": "nat", "macvtap": False, "dev": "vg0",
            "addresses": ["10.64.100.2", "fd00:64::2"],
        }
    ]  # fmt: skip
    assert found["vm1"]["nics"][0]["addresses"] == ["10.64.100.150"]
    assert found["vm0"]["owned"]
    assert found["vm0"]["active"]


def test_networks_without_our_mark_have_libvirts_word():
    reply = copy.deepcopy(REPLY)
    reply["guests"][0]["nics"] = [{"mac": MAC1, "network": name} for name in ("lan", "vtap", "closed")]
    assert [(one["model"], one["macvtap"]) for one in guests_of(reply)["vm1"]["nics"]] == [
        ("bridged", False), ("bridged", True), ("isolated", False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("claimed", "why"),
    [
        ("127.0.0.1", "loopback: SSH would lead into the KVM host itself"),
        ("10.64.100.1", "the host's own address"),
        ("192.0.2.11", "the host's own address on another link"),
        ("192.0.2.99", "not in the network's subnet"),
        ("10.64.100.2", "vm0's reservation"),
        ("fe80::5", "nobody can be asked by it without a link"),
        ("::ffff:10.64.100.9", "IPv4 in disguise"),
        ("fd00:64::5%;reboot", "a zone is free text"),
        ("ff02::1", "everybody"),
        ("0.0.0.0", "nobody"),
        ("{{ lookup('pipe', 'reboot') }}", "no address"),
    ],
)
def test_what_a_guest_may_not_claim(claimed, why):
    assert with_agent((MAC1, [claimed])) == [], why


def test_a_guest_speaks_for_its_own_nics_only():
    assert with_agent((MAC2, ["10.64.100.77"])) == []
    assert with_agent((MAC1, ["10.64.100.77"])) == ["10.64.100.77"]


def test_on_a_lan_a_guest_may_have_any_address_that_is_nobody_elses():
    assert with_agent((MAC1, ["198.51.100.7", "10.64.100.7", "192.0.2.11"]), network="lan") == ["198.51.100.7"]


def test_a_nic_in_no_network_of_libvirts():
    reply = copy.deepcopy(REPLY)
    reply["guests"][0]["nics"] = [{"mac": MAC1, "network": None, "bridge": "br9", "dev": "vnet3"}]
    reply["guests"][0]["agent"] = said((MAC1, ["198.51.100.7"]))
    nic = guests_of(reply)["vm1"]["nics"][0]
    assert (nic["network"], nic["model"], nic["addresses"]) == (None, "bridged", ["198.51.100.7"])


@pytest.mark.parametrize(
    "agent", ["", "[]", "{}", '{"return": 7}', '{"return": [{"ip-addresses": 5}]}', "[" * 5000, '{"return": [7]}', 7, None]
)
def test_nonsense_of_an_agent_is_nothing(agent):
    reply = copy.deepcopy(REPLY)
    reply["guests"][1]["agent"] = agent
    assert guests_of(reply)["vm0"]["nics"][0]["addresses"] == ["10.64.100.2"]


def test_sources_that_are_not_believed():
    assert guests_of(REPLY, sources=["agent"])["vm0"]["nics"][0]["addresses"] == ["10.64.100.2", "fd00:64::2"]
    assert guests_of(REPLY, sources=["reservation"])["vm0"]["nics"][0]["addresses"] == ["10.64.100.2"]
    assert guests_of(REPLY, sources=["reservation"])["vm1"]["nics"][0]["addresses"] == []
    reply = copy.deepcopy(REPLY)
    reply["guests"][0]["neighbours"] = [[MAC1, "10.64.100.151"], [MAC1, "10.64.100.2"], "nonsense", [7, 8]]
    assert guests_of(reply, sources=["neighbours"])["vm1"]["nics"][0]["addresses"] == ["10.64.100.151"]


def test_names_that_an_inventory_cannot_have():
    reply = copy.deepcopy(REPLY)
    reply["guests"] += [{"name": name, "nics": []} for name in ("a guest", "-oProxyCommand=x", "{{ x }}", "v\x1b[31m", None, "")]
    guests, warnings = guest_reply.parse(text_of(reply))
    assert [one["name"] for one in guests] == ["vm0", "vm1"]
    assert len(warnings) == 6
    assert all(one.isprintable() for one in warnings)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "did not answer"),
        ("Permission denied", "did not answer"),
        (f"{MARK}{{", "no JSON"),
        (f"{MARK}[]", "is none"),
        (f'{MARK}{{"error": "cannot import libvirt\\u001b[2J"}}', "cannot import libvirt"),
    ],
)
def test_a_host_that_has_no_list(text, says):
    with pytest.raises(InvalidInput, match=says) as error:
        guest_reply.parse(text)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("part", ["addresses", "networks", "guests"])
@pytest.mark.parametrize(
    "value", [None, 7, "x", [], {}, [7], {"natnet": 7}, {"natnet": {"subnets": [["x", "y"], 7], "leases": 7}}]
)
def test_a_reply_of_another_shape_raises_nothing_else(part, value):
    guest_reply.parse(text_of({**REPLY, part: value}))


def nic(network, model, *addresses, macvtap=False):
    return {"network": network, "model": model, "addresses": list(addresses), "macvtap": macvtap}


def test_by_which_address_a_guest_is_asked():
    nics = [
        nic("closed", "isolated", "10.1.0.2"),
        nic("vtap", "bridged", "198.51.100.8", macvtap=True),
        nic("natnet", "nat", "fd00:64::2", "10.64.100.2"),
        nic("management", "bridged", "198.51.100.7"),
    ]
    guest = {"nics": nics}
    assert guest_reply.best(guest) == (nics[2], "10.64.100.2")
    assert guest_reply.best(guest, families=["ipv6", "ipv4"]) == (nics[2], "fd00:64::2")
    assert guest_reply.best(guest, ["management"]) == (nics[3], "198.51.100.7")
    assert guest_reply.best(guest, ["management"], ["ipv6"]) == (nics[2], "fd00:64::2")
    assert guest_reply.best({"nics": nics[:2]}) == (nics[1], "198.51.100.8")
    assert guest_reply.best({"nics": [nic("natnet", "nat")]}) == (None, None)
