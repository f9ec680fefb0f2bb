# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every property is changed under guests that ping: nothing is lost of a live change, and a replug keeps what it foretold."""

from __future__ import annotations

import itertools

import pytest
from live_guests import GUESTS, LANES, network
from network_properties import PROPERTIES

ROUNDS = 11


def rounds(version):
    """Return [{network's number: Property}, ...]: each property once, as many at a time as there are networks of its kind."""
    queues = {
        # With isolated ports guests do not reach each other: test_port_isolation.py.
        base: [
            one
            for one in PROPERTIES
            if one.base == base and one.effect != "stored" and version >= one.since and one.name != "port_isolation"
        ]
        for base in set(LANES)
    }
    while any(queues.values()):
        yield {number: queues[base].pop(0) for number, base in enumerate(LANES, 1) if queues[base]}


def change(bench, properties, key):
    """Bring properties to one of their values while vm0 pings, and hold what happens to what was foretold."""
    networks = [network(number, **getattr(one, key)) for number, one in properties.items()]
    links, ports = bench.plugged()
    predicted = bench.modules.run("virt_net_model", check=True, networks=networks)
    outage = max((action["outage_s"] for action in predicted["actions"]), default=0)
    with bench.pinging(properties, settle_s=outage + 0.5) as pings:
        real = bench.modules.run("virt_net_model", networks=networks)
    again = bench.modules.run("virt_net_model", networks=networks)
    assert predicted["actions"] == real["actions"] and predicted["networks"] == real["networks"] == again["networks"]
    assert again["actions"] == []
    now, ports_now = bench.plugged()
    assert ports_now == ports
    wrong = []
    for (number, one), declared in zip(properties.items(), networks):
        actions = [row for row in real["actions"] if row["name"] == declared["name"] and row["op"] != "define"]
        assert len(actions) <= 1, actions
        action = actions[0] if actions else None
        mine = bench.tell(f"{one.name}, {key}", action, pings, number, declared)
        where = f"{one.name}, {key}: {action}, {mine}"
        mine_links = {row[1] for row in links.values() if row[0] == declared["name"]}
        assert {row[1:] for row in now.values() if row[0] == declared["name"]} == {
            (link, declared["bridge"]) for link in mine_links
        }, where
        before = one.first if key == "second" else one.second
        if key != "first" and getattr(one, key) and getattr(one, key) != before:
            assert action is not None and action["op"] == one.effect, where
        if action is None or action["effect"] == "live":
            # What is only in a NIC's own definition, or in a bridge of the host's, takes no guest off.
            kept = [row.lost for row in mine] == [0] * len(mine)
        else:
            assert action["guests"] == list(GUESTS) and {nic["dev"] for nic in action["nics"]} == mine_links, where
            kept = max(row.longest_s for row in mine) <= action["outage_s"]
        if not kept:
            wrong.append(where)
    assert wrong == []


@pytest.mark.parametrize("number", range(ROUNDS))
def test_every_property(told, number):
    properties = next(itertools.islice(rounds(told.version), number, None), None)
    if properties is None:
        pytest.skip("this host's libvirt has fewer properties")
    try:
        for key in ("first", "second", "none"):
            change(told, properties, key)
    finally:
        told.modules.run("virt_net_model", networks=[network(one) for one in properties])


def test_no_property_is_left_out(bench):
    assert len(list(rounds(bench.version))) <= ROUNDS
