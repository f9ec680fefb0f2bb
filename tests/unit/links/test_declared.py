# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.links import declared


def parse(*items):
    return declared.parse([{"state": "up", **item} for item in items], "links")


def test_values_are_spelt_as_the_kernel_does():
    (item,) = parse(
        {"name": "l0", "mac": "02-00-00-00-00-AA", "addresses": ["FD00:0::1/64", "10.0.0.1/24", "10.0.0.1/24"], "bridge": "",
         "gateway": ["fd00::9", "10.0.0.9"], "routes": [{"to": "fd00:1::/64", "via": None, "metric": 1024}], "mtu": None}
    )
    assert item.values == {
        "mac": "02:00:00:00:00:aa", "addresses": ["fd00::1/64", "10.0.0.1/24"], "bridge": None,
        "gateway": ["10.0.0.9", "fd00::9"],
        "routes": [{"to": "fd00:1::/64", "via": None, "metric": None}],
    }


@pytest.mark.parametrize(
    ("item", "option", "words"),
    [
        ({"name": "a" * 16}, "links[0].name", "16 characters"),
        ({"name": "l0", "addresses": ["10.0.0.1/24", "10.0.0.1"]}, "links[0].addresses[1]", "no prefix length"),
        ({"name": "l0", "addresses": ["fe80::1/64"]}, "links[0].addresses[0]", "link-local"),
        ({"name": "l0", "gateway": ["10.0.0.1", "10.0.0.2"]}, "links[0].gateway[1]", "two gateways"),
        ({"name": "l0", "routes": [{"to": "10.0.0.0/8", "via": "fd00::1"}]}, "links[0].routes[0].via", "two IP versions"),
        ({"name": "l0", "routes": [{"to": "10.0.0.0/8", "metric": 0}]}, "links[0].routes[0].metric", "out of range"),
        ({"name": "l0", "mtu": 1000, "addresses": ["fd00::1/64"]}, "links[0].mtu", "1280"),
        ({"name": "l0", "bridge": "b0", "addresses": ["10.0.0.1/24"]}, "links[0].addresses", "port of a bridge"),
        ({"name": "l0", "description": 'a "b"'}, "links[0].description", "cannot be a description"),
        ({"name": "l0", "stp": True, "forward_delay": 0}, "links[0].forward_delay", "no less than 2 s"),
        ({"name": "l0", "ports": ["e0", "e0"]}, "links[0].ports[1]", "cannot be its port"),
        ({"name": "l0", "hello_time": 0}, "links[0].hello_time", "0 s is out of range"),
        ({"name": "l0", "max_age": 41}, "links[0].max_age", "Use 6 to 40"),
        ({"name": "l0", "priority": 65536}, "links[0].priority", "Use 0 to 65535"),
        ({"name": "l0", "port_options": [{"name": "e0"}]}, "links[0].port_options[0].name", "not among its ports"),
        ({"name": "l0", "ports": ["e0"], "port_options": [{"name": "e0"}, {"name": "e0"}]}, "links[0].port_options[1].name",
         "declared twice"),
        ({"name": "l0", "ports": ["e0"], "port_options": [{"name": "e0", "cost": 0}]}, "links[0].port_options[0].cost",
         "Use 1 to 65535"),
        ({"name": "l0", "dns": ["x"]}, "links[0].dns[0]", "not an IP address"),
        ({"name": "l0", "mode": "tun", "bridge": "b0"}, "links[0].bridge", "a tun has no bridge"),
    ],
)
def test_refusals(item, option, words):
    with pytest.raises(InvalidInput) as caught:
        parse(item)
    assert caught.value.option == option and words in str(caught.value)


def test_twice():
    with pytest.raises(InvalidInput, match=r"declared by links\[0\]"):
        parse({"name": "l0"}, {"name": "l0"})
