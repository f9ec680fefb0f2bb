# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a role takes of the networks that it was given."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.filter.models import networks_of


def test_a_network_without_a_model_gets_the_roles():
    assert networks_of([{"name": "a"}, {"name": "b", "model": "nat"}, {"name": "c", "model": None}], "nat") == [
        {"name": "a", "model": "nat"}, {"name": "b", "model": "nat"}, {"name": "c", "model": "nat"},
    ]  # fmt: skip


def test_what_is_declared_absent_is_left_out_whatever_its_model():
    assert networks_of([{"name": "a", "state": "absent", "model": "routed"}, {"name": "b", "state": "inactive"}], "nat") == [
        {"name": "b", "state": "inactive", "model": "nat"}
    ]


@pytest.mark.parametrize(("name", "who"), [({"name": "b"}, "b"), ({}, "a network without a name")])
def test_another_model_is_refused(name, who):
    with pytest.raises(AnsibleFilterError) as caught:
        networks_of([{"name": "a"}, {"model": "routed", **name}], "nat")
    assert str(caught.value) == (
        f"virtnet.kvm.networks_of: networks[1].model: {who}: its model is routed, and this role's networks are nat."
        " Give it to the role net_routed, or leave its model out."
    )


def test_what_is_no_network_is_refused():
    with pytest.raises(AnsibleFilterError, match=r"networks\[0\]: 'natnet' is no network\."):
        networks_of(["natnet"], "nat")


def test_what_was_given_stays_as_it_is():
    given = [{"name": "a"}]
    networks_of(given, "nat")
    assert given == [{"name": "a"}]
