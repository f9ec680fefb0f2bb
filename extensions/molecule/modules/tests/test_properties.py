# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each property of a network on a real daemon: created with it, changed, removed, running and stored; check = real.

All properties go through each step in one call, a running and a stopped network for each. What is found is looked for in
libvirt's own XML as well, in words that do not come from the module.
"""

from __future__ import annotations

import re

import pytest
from network_properties import BASES, PROPERTIES, dhcp, filled

STATES = ("active", "inactive")


def name(number, state):
    return f"prop{number}{state[0]}"


def item(number, one, values, state):
    """Return the network of a property: a stopped one's subnets are others."""
    own = name(number, state)
    number = number if state == "active" else number + 100
    network = {"name": own, "bridge": f"prop{number}", "state": state, "autostart": False, **BASES[one.base]}
    return filled({**network, **values}, number)


def needle(text, number, state):
    return text.format(n=number if state == "active" else number + 100)


@pytest.fixture(scope="module")
def version(host):
    found = re.search(r"Running against daemon: ([0-9]+)\.([0-9]+)", host.check_output("virsh version --daemon"))
    return int(found.group(1)), int(found.group(2))


@pytest.fixture
def chosen(host, modules, version):
    rows = [
        (number, one, state)
        for number, one in enumerate(PROPERTIES, 1)
        for state in STATES
        if version >= one.since and (one.effect != "stored" or state == "inactive")
    ]
    yield rows
    modules.run("virt_net_model", networks=[{"name": name(row[0], row[2]), "state": "absent"} for row in rows])


def test_every_property(host, modules, chosen):
    for step, key in enumerate(("first", "second", "none")):
        networks = [item(number, one, getattr(one, key), state) for number, one, state in chosen]
        predicted = modules.run("virt_net_model", check=True, networks=networks)
        real = modules.run("virt_net_model", networks=networks)
        again = modules.run("virt_net_model", networks=networks)
        assert predicted["actions"] == real["actions"] and predicted["networks"] == real["networks"] == again["networks"]
        assert again["actions"] == []
        found = {one["name"]: one for one in modules("virt_net_info", names=[one["name"] for one in networks])["networks"]}
        for number, one, state in chosen:
            told = found[name(number, state)]
            value, before = getattr(one, key), None if step == 0 else getattr(one, ("first", "second")[step - 1])
            where = f"{one.name}, {state}, {key}"
            assert told["pending"] == [] and told["model_differs"] == [] and told["model_lacks"] == [], where
            ops = [action["op"] for action in real["actions"] if action["name"] == told["name"]]
            if step == 0:
                assert ops == (["define", "start"] if state == "active" else ["define"]), where
            elif value and value != before:
                assert ops == (["define", one.effect] if state == "active" else ["define"]), where
            else:
                assert ops == [], where  # not declared any more, so left alone
            for text in filter(None, (told["xml"], told["xml_inactive"])):
                words = [needle(one_of, number, state) for one_of in one.xml]
                if step < 2:
                    assert words[step] in text, where
                elif value and value != before:
                    assert not any(one_of and one_of in text for one_of in words), where
        # What is told of it is declared, and changes nothing.
        assert modules.run("virt_net_model", networks=[told["model"] for told in found.values()], check=True)["actions"] == []


def test_what_libvirt_is_too_old_for(host, modules, version):
    old = [(number, one) for number, one in enumerate(PROPERTIES, 1) if version < one.since]
    for number, one in old:
        message = modules.refused("virt_net_model", networks=[item(number, one, one.second, "active")])
        first = ".".join(str(part) for part in one.since)
        assert f"needs libvirt {first}; this host has {version[0]}.{version[1]}" in message, one.name
    assert "prop" not in host.check_output("virsh -q net-list --all --name")


def test_purge_false_leaves_what_others_made(host, modules):
    base = {"name": "proppur", "model": "routed", "bridge": "proppur0", "addresses": ["10.65.250.1/24"], "autostart": False}
    rows = [{"name": f"vm{n}", "mac": f"52:54:00:00:fa:0{n}", "address": f"10.65.250.{n}"} for n in (2, 3)]
    modules.run("virt_net_model", networks=[{**base, **dhcp(reservations=rows[:1])}])
    try:
        wanted = [{**base, **dhcp(reservations=rows[1:])}]
        result = modules.run("virt_net_model", networks=wanted, purge=False)
        assert [row["address"] for row in result["networks"][0]["dhcp"]["reservations"]] == ["10.65.250.2", "10.65.250.3"]
        assert modules.run("virt_net_model", networks=wanted, purge=False)["actions"] == []
        # The same guest elsewhere replaces its row.
        moved = [{**base, **dhcp(reservations=[dict(rows[0], address="10.65.250.9")])}]
        result = modules.run("virt_net_model", networks=moved, purge=False)
        assert [row["address"] for row in result["networks"][0]["dhcp"]["reservations"]] == ["10.65.250.3", "10.65.250.9"]
        result = modules.run("virt_net_model", networks=wanted)
        assert [row["address"] for row in result["networks"][0]["dhcp"]["reservations"]] == ["10.65.250.3"]
    finally:
        modules.run("virt_net_model", networks=[{"name": "proppur", "state": "absent"}])
