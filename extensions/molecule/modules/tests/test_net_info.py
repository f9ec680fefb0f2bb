# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virt_net_info: what it tells is what is there, and what it calls a model changes nothing."""

from __future__ import annotations

import pytest

NETWORKS = [
    {"name": "infonat", "model": "nat", "addresses": ["10.64.140.1/24", "fd00:64:140::1/64"], "mtu": 1400,
     "dhcp": {"ranges": [{"start": "10.64.140.100", "end": "10.64.140.200"}],
              "reservations": [{"name": "vm0", "mac": "52:54:00:00:01:40", "address": "10.64.140.2"}]}},
    {"name": "infoart", "model": "nat", "firewall": "libvirt", "addresses": ["10.64.141.1/24"], "stp": True},
    {"name": "inforou", "model": "routed", "addresses": ["10.64.142.1/24"], "autostart": False,
     "dns": {"domain": "info.test", "local_only": True, "hosts": [{"address": "10.64.142.9", "names": ["a"]}]}},
    {"name": "infoiso", "model": "isolated", "bridge": "infobr0", "subnets": ["10.64.143.0/24"], "state": "inactive"},
    {"name": "infotra", "model": "isolated", "persistent": False, "subnets": ["10.64.144.0/24"]},
]


@pytest.fixture
def ours(modules):
    modules.run("virt_net_model", networks=NETWORKS)
    yield NETWORKS
    modules.run("virt_net_model", networks=[{"name": one["name"], "state": "absent"} for one in NETWORKS])


def test_the_models_change_nothing(host, modules, ours):
    found = modules("virt_net_info", names=[one["name"] for one in ours])
    assert not found["changed"] and found["missing"] == []
    assert [one["name"] for one in found["networks"]] == sorted(one["name"] for one in ours)
    assert [one["model_differs"] for one in found["networks"]] == [[]] * len(ours)
    told = [one["model"] for one in found["networks"]]
    assert modules.run("virt_net_model", networks=told)["actions"] == []
    # And they are whole: removed and declared again, the networks are what they were.
    modules.run("virt_net_model", networks=[{"name": one["name"], "state": "absent"} for one in ours])
    modules.run("virt_net_model", networks=told)
    again = modules("virt_net_info", names=[one["name"] for one in ours])
    assert [one["model"] for one in again["networks"]] == told


def test_by_uuid_and_what_is_not_there(host, modules, ours):
    uuid = host.check_output("virsh net-uuid infonat")
    found = modules("virt_net_info", names=[uuid, "nosuchnet"])
    assert [one["name"] for one in found["networks"]] == ["infonat"] and found["missing"] == ["nosuchnet"]


def test_drift_is_told(host, modules, ours):
    host.run_test("virsh net-update infonat delete ip-dhcp-host \"<host ip='10.64.140.2'/>\" --live")
    (found,) = modules("virt_net_info", names=["infonat"])["networks"]
    assert found["pending"] == ["dhcp"]


def test_a_network_of_others_is_taken_over_as_it_is(host, modules):
    xml = "<network><name>infofor</name><bridge name='infofor0'/><ip address='10.64.145.1' netmask='255.255.255.0'/></network>"
    host.run_test("printf %s > /tmp/infofor.xml && virsh net-define /tmp/infofor.xml && rm /tmp/infofor.xml", xml)
    try:
        (found,) = modules("virt_net_info", names=["infofor"])["networks"]
        assert not found["owned"] and found["model_differs"] == []
        result = modules.run("virt_net_model", networks=[found["model"]], adopt=True)
        assert [(one["op"], one.get("note")) for one in result["actions"]] == [("adopt", None)]
        (after,) = modules("virt_net_info", names=["infofor"])["networks"]
        assert after["owned"] and "10.64.145.1" in after["xml_inactive"]
    finally:
        host.run("virsh net-undefine infofor")


def test_a_network_that_is_stored_nowhere_is_taken_over(host, modules):
    """Its mark is set while it runs, which libvirt can since 9.7; or it is stored."""
    xml = "<network><name>infotra2</name><bridge name='infotra2'/></network>"
    host.run_test("printf %s > /tmp/infotra.xml && virsh net-create /tmp/infotra.xml && rm /tmp/infotra.xml", xml)
    try:
        (found,) = modules("virt_net_info", names=["infotra2"])["networks"]
        assert not found["owned"] and not found["persistent"]
        version = host.check_output("virsh version --daemon | sed -n 's/.*daemon: //p'").split(".")
        if (int(version[0]), int(version[1])) >= (9, 7):
            result = modules.step("virt_net_model", "networks", networks=[found["model"]], adopt=True)
            assert [one["op"] for one in result["actions"]] == ["adopt"]
        else:
            message = modules.refused("virt_net_model", networks=[found["model"]], adopt=True)
            assert "taking over a transient network needs libvirt 9.7; this host has 9.0.0" in message
        result = modules.step("virt_net_model", "networks", networks=[dict(found["model"], persistent=True)], adopt=True)
        assert [one["op"] for one in result["actions"]] == ["define"]
        assert host.check_output("virsh net-info infotra2 | grep ^Pers").endswith("yes")
    finally:
        host.run("virsh net-destroy infotra2; virsh net-undefine infotra2")


def test_another_model_that_libvirt_does_not_see(host, modules):
    """NAT and routed are both open to libvirt: the network runs on, only its mark is another."""
    network = {"name": "infomod", "model": "nat", "addresses": ["10.64.146.1/24"], "autostart": False}
    modules.run("virt_net_model", networks=[network])
    try:
        result = modules.step("virt_net_model", "networks", networks=[dict(network, model="routed")])
        assert [(one["op"], one["note"]) for one in result["actions"]] == [("define", "model")]
        assert result["networks"][0]["pending"] == []
    finally:
        modules.run("virt_net_model", networks=[{"name": "infomod", "state": "absent"}])
