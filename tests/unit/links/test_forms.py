# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms


def route(to, via, metric=None):
    return {"to": to, "via": via, "metric": metric}


@pytest.mark.parametrize(
    ("form", "more", "lost"),
    [
        ({"addresses": ["10.1.0.1/24"], "gateway": ["10.1.0.254"]}, (), []),
        ({"addresses": ["10.2.0.1/24"], "gateway": ["10.1.0.254"]}, (), ["0.0.0.0/0"]),
        ({"addresses": [], "gateway": ["10.1.0.254"]}, (), ["0.0.0.0/0"]),
        # DHCP has given the address, the gateway was declared.
        ({"addresses": [], "gateway": ["10.1.0.254"]}, ("10.1.0.7/24",), []),
        ({"addresses": ["10.1.0.1/24"], "routes": [route("10.9.0.0/16", "10.3.0.9")]}, (), ["10.9.0.0/16"]),
        # A provider's way: one address, and a route to the gateway on the link.
        ({"addresses": ["192.0.2.7/32"], "gateway": ["192.0.2.1"], "routes": [route("192.0.2.1/32", None)]}, (), []),
        ({"addresses": ["10.1.0.1/24"], "gateway": ["fe80::1"]}, (), []),
        ({"addresses": ["10.1.0.1/24"], "gateway": ["10.1.0.254", "fd00::1"]}, (), ["::/0"]),
    ],
)
def test_routes_that_lose_their_gateway(form, more, lost):
    assert [one["to"] for one in forms.lost_routes(form, more)] == lost


@pytest.mark.parametrize(
    ("data", "hidden"),
    [
        ({"topology_change": 1, "forward_delay": 400, "ageing_time": 800}, True),
        ({"topology_change": 0, "forward_delay": 400, "ageing_time": 800}, False),
        ({"topology_change": 1, "forward_delay": 400, "ageing_time": 30000}, False),
        ({}, False),
    ],
)
def test_the_kernel_hides_the_ageing_time_while_the_spanning_tree_changes(data, hidden):
    assert forms.ageing_is_hidden({"linkinfo": {"info_data": data}}) is hidden
