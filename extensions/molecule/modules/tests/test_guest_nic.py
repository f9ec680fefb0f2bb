# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""guest_nic on a domain that others made: the article's edit, live and stored, and what it must not touch."""

from __future__ import annotations

import json
import re
import time
from xml.etree import ElementTree

import pytest

NETWORKS = [
    {"name": "natnet", "model": "nat", "bridge": "natbr0", "addresses": ["10.64.100.1/24"]},
    {"name": "nicnet", "model": "isolated", "bridge": "nicbr1", "subnets": ["10.64.150.0/24"]},
    {"name": "nicnet2", "model": "isolated", "bridge": "nicbr2", "subnets": ["10.64.151.0/24"]},
]
#: In docs/virsh.md.
EXAMPLE = "edit, of a guest's interface"
MAC, MAC2 = "52:54:00:00:15:01", "52:54:00:00:15:02"
FOLDER = "/var/lib/libvirt/images"
NIC = (
    "<interface type='bridge'><mac address='52:54:00:00:15:01'/><source bridge='nicbr0'/><model type='virtio'/>"
    "<boot order='1'/></interface>"
)


def settled(host):
    """Wait until VM0 has booted: before that it does not let go of a NIC."""
    deadline = time.monotonic() + 60
    while host.run("virsh qemu-agent-command VM0 '{\"execute\":\"guest-ping\"}'").rc != 0:
        assert time.monotonic() < deadline, "VM0 does not boot"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def made(host):
    """A domain VM0 of somebody else on a bridge of somebody else, with a system in it; and networks of ours."""

    def run(name, **arguments):
        result = host.ansible(f"virtnet.kvm.{name}", json.dumps(arguments), check=False, become=False)
        assert "actions" in result, result

    run("virt_net_model", networks=NETWORKS)
    host.run_test("ip link add nicbr0 type bridge && ip link set nicbr0 up")
    # The tiny guest's kernel and initrd make a domain that can run; its own definition is then gone.
    run("guest_vm", guests=[{"name": "nicsrc", "state": "stopped"}])
    xml = host.check_output("virsh dumpxml nicsrc")
    for path in re.findall(r"/var/cache/virtnet/[^<]+", xml):
        host.run_test("cp %s %s", path, f"{FOLDER}/nic-{path.rsplit('/', 1)[1]}")
    xml = re.sub(r"/var/cache/virtnet/[^<]+/", f"{FOLDER}/nic-", xml).replace("<name>nicsrc", "<name>VM0")
    xml = re.sub(r"(?s)<metadata>.*</metadata>|<uuid>.*?</uuid>", "", xml).replace("</devices>", NIC + "</devices>")
    xml = xml.replace("<boot dev='hd'/>", "")
    run("guest_vm", guests=[{"name": "nicsrc", "state": "absent"}])
    host.run_test("printf %s > /tmp/VM0.xml && virsh define /tmp/VM0.xml && rm /tmp/VM0.xml", xml)
    host.run_test("virsh start VM0")
    settled(host)
    yield
    host.run("virsh destroy VM0; virsh undefine VM0; ip link del nicbr0; rm -f /var/lib/libvirt/images/nic-*")
    run("guest_nic", nics=[{"guest": "VM0", "state": "absent"}])  # what was bound of it is forgotten
    host.run("rm -f /var/log/libvirt/qemu/VM0.log /var/log/libvirt/qemu/nicsrc*")
    run("virt_net_model", networks=[{"name": one["name"], "state": "absent"} for one in NETWORKS])


def interfaces(host, *flags):
    tree = ElementTree.fromstring(host.check_output("virsh dumpxml VM0 " + " ".join(flags)))
    return {node.find("mac").get("address"): node for node in tree.iter("interface")}


def where(host, mac):
    """Return the link of a running NIC and the bridge that it is really in."""
    dev = interfaces(host)[mac].find("target").get("dev")
    return dev, host.check_output("basename $(readlink /sys/class/net/%s/master)", dev)


def cycle(modules, **arguments):
    """Run it as predicted, really, and again; return the plan."""
    predicted = modules.run("guest_nic", check=True, **arguments)
    real = modules.run("guest_nic", **arguments)
    again = modules.run("guest_nic", **arguments)
    assert predicted["changed"] and predicted["actions"] == real["actions"] and predicted["nics"] == real["nics"] == again["nics"]
    assert not again["changed"] and again["actions"] == []
    # What is bound to a port is test_spoofing.py's.
    return [(one["op"], one["note"], one["effect"]) for one in real["actions"] if one["op"] not in ("bind", "unbind")]


def edited(before, after):
    """Whether an element of the type bridge has become one of the network natnet, and is otherwise as it was."""
    assert (before.get("type"), before.find("source").get("bridge")) == ("bridge", "nicbr0")
    assert (after.get("type"), after.find("source").get("network")) == ("network", "natnet")
    for tag in ("mac", "model", "boot", "address"):
        assert after.find(tag).attrib == before.find(tag).attrib
    return True


def test_the_articles_edit(host, modules, document, made):
    ((_module, arguments),) = document.tasks[EXAMPLE]
    before = interfaces(host, "--inactive")[MAC]
    assert where(host, MAC)[1] == "nicbr0"
    assert cycle(modules, **arguments) == [("update", "stored", "none"), ("update", "running", "replug")]
    assert edited(before, interfaces(host, "--inactive")[MAC]) and edited(before, interfaces(host)[MAC])
    assert where(host, MAC)[1] == "natbr0"
    assert host.check_output("virsh -q domiflist VM0").split()[1:3] == ["network", "natnet"]
    assert MAC in host.check_output("for port in $(virsh -q net-port-list natnet); do virsh net-port-dumpxml natnet $port; done")


def test_the_articles_edit_of_a_guest_that_is_off(host, modules, document, made):
    """As somebody else defined it, on a bridge again; and at its next start it is on the network."""
    ((_module, arguments),) = document.tasks[EXAMPLE]
    host.run_test("virsh destroy VM0")
    xml = host.check_output("virsh dumpxml --inactive VM0")
    xml = re.sub("<interface type='network'>", "<interface type='bridge'>", xml)
    xml = re.sub("<source network='natnet'/>", "<source bridge='nicbr0'/>", xml)
    host.run_test("printf %s > /tmp/VM0.xml && virsh define /tmp/VM0.xml && rm /tmp/VM0.xml", xml)
    before = interfaces(host, "--inactive")[MAC]
    try:
        assert cycle(modules, **arguments) == [("update", "stored", "none")]
        assert edited(before, interfaces(host, "--inactive")[MAC])
    finally:
        host.run_test("virsh start VM0")
    assert where(host, MAC)[1] == "natbr0"
    settled(host)


def test_another_network_and_the_cable(host, modules, made):
    done = cycle(modules, nics=[{"guest": "VM0", "index": 0, "network": "nicnet2", "link": "down"}])
    assert done == [("update", "stored", "none"), ("update", "running", "replug")]
    assert where(host, MAC)[1] == "nicbr2"
    assert cycle(modules, nics=[{"guest": "VM0", "alias": "net0", "link": "up"}])[1] == ("update", "running", "live")
    assert interfaces(host)[MAC].find("link").get("state") == "up"


def test_another_name_of_the_link_takes_it_out_and_in(host, modules, made):
    nics = [{"guest": "VM0", "mac": MAC, "dev": "nictap0"}]
    assert "re-creates" in modules.refused("guest_nic", disruption="live_only", nics=nics)
    assert [one[:2] for one in cycle(modules, nics=nics)] == [("update", "stored"), ("detach", "running"), ("attach", "running")]
    assert where(host, MAC) == ("nictap0", "nicbr2")


def test_deferred(host, modules, made):
    nics = [{"guest": "VM0", "mac": MAC, "network": "nicnet"}]
    assert cycle(modules, disruption="defer", nics=nics) == [("update", "stored", "none")]
    assert where(host, MAC)[1] == "nicbr2"
    assert modules.run("guest_nic", disruption="defer", nics=nics)["nics"][0]["pending"] == ["source"]
    assert cycle(modules, nics=nics) == [("update", "running", "replug")]


def test_add_and_remove(host, modules, made):
    added = [{"guest": "VM0", "mac": MAC2, "network": "nicnet", "link": "down"}]
    assert cycle(modules, nics=added) == [("attach", "stored", "none"), ("attach", "running", "live")]
    assert set(interfaces(host)) == set(interfaces(host, "--inactive")) == {MAC, MAC2}
    assert "2 NICs" in modules.refused("guest_nic", nics=[{"guest": "VM0", "link": "up"}])
    done = cycle(modules, nics=[{"guest": "VM0", "mac": MAC2, "state": "absent"}])
    assert done == [("detach", "running", "recreate"), ("detach", "stored", "none")]
    assert set(interfaces(host)) == set(interfaces(host, "--inactive")) == {MAC}


def test_drift_of_the_running_guest_is_mended(host, modules, made):
    xml = f"<interface type='network'><mac address='{MAC2}'/><source network='nicnet'/><model type='virtio'/></interface>"
    host.run_test("printf %s > /tmp/nic.xml && virsh attach-device VM0 /tmp/nic.xml --live; rm /tmp/nic.xml", xml)
    assert cycle(modules, nics=[{"guest": "VM0", "mac": MAC2}]) == [("attach", "stored", "none")]
    cycle(modules, nics=[{"guest": "VM0", "mac": MAC2, "state": "absent"}])


def test_a_stopped_guest_and_its_next_start(host, modules, made):
    host.run_test("virsh destroy VM0")
    try:
        assert cycle(modules, nics=[{"guest": "VM0", "network": "nicnet2"}]) == [("update", "stored", "none")]
    finally:
        host.run_test("virsh start VM0")
    assert where(host, MAC) == ("nictap0", "nicbr2")


def test_a_filter_of_libvirts(host, modules, made):
    """It comes and goes under a running guest, whose NIC stays where it is."""
    there_before = where(host, MAC)
    held = f"ebtables -t nat -L | grep -c -w {there_before[0]}"
    assert host.run(held).stdout.strip() == "0"
    declared = {"name": "clean-traffic", "parameters": {"IP": ["10.64.150.2", "10.64.150.3"]}}
    for wish, there in ((declared, True), ({"name": "allow-arp"}, True), ({}, False)):
        done = cycle(modules, nics=[{"guest": "VM0", "mac": MAC, "filter": wish}])
        assert done == [("update", "stored", "none"), ("update", "running", "live")]
        assert (host.run(held).stdout.strip() != "0") == there
        for found in (interfaces(host), interfaces(host, "--inactive")):
            node = found[MAC].find("filterref")
            assert (node is not None) == there and (node is None or node.get("filter") == wish["name"])
    assert where(host, MAC) == there_before
    assert "called nosuch" in modules("guest_nic", nics=[{"guest": "VM0", "filter": {"name": "nosuch"}}])["msg"]


def test_another_model(host, modules, made):
    settled(host)
    for model in ("e1000", "virtio"):
        nics = [{"guest": "VM0", "mac": MAC, "model": model}]
        assert "re-creates" in modules.refused("guest_nic", disruption="live_only", nics=nics)
        done = [one[:2] for one in cycle(modules, nics=nics)]
        assert done == [("update", "stored"), ("detach", "running"), ("attach", "running")]
        assert {found[MAC].find("model").get("type") for found in (interfaces(host), interfaces(host, "--inactive"))} == {model}
        assert where(host, MAC) == ("nictap0", "nicbr2")


def test_limits(host, modules, made):
    """The kernel of these hosts has no HTB: a running guest cannot have them, and then its stored definition has none either."""
    limits = {"average": 100, "peak": 200, "burst": 50}
    nics = [{"guest": "VM0", "mac": MAC, "bandwidth": {"inbound": limits}}]
    before = host.check_output("virsh dumpxml --inactive VM0")
    result = modules("guest_nic", nics=nics)
    assert result["failed"] and "running NIC" in result["msg"], result
    assert host.check_output("virsh dumpxml --inactive VM0") == before
    host.run_test("virsh destroy VM0")
    try:
        assert cycle(modules, nics=nics) == [("update", "stored", "none")]
        found = interfaces(host, "--inactive")[MAC].find("bandwidth/inbound").attrib
        assert found == {key: str(value) for key, value in limits.items()}
        assert cycle(modules, nics=[{"guest": "VM0", "mac": MAC, "bandwidth": {}}]) == [("update", "stored", "none")]
        assert host.check_output("virsh dumpxml --inactive VM0") == before
    finally:
        host.run_test("virsh start VM0")


def test_refusals(host, modules, made):
    assert "no libvirt network nosuch" in modules("guest_nic", nics=[{"guest": "VM0", "network": "nosuch"}])["msg"]
    assert "no domain of that name" in modules("guest_nic", nics=[{"guest": "nobody", "network": "nicnet"}])["msg"]
    assert "no NIC number 7" in modules.refused("guest_nic", nics=[{"guest": "VM0", "index": 7, "network": "nicnet"}])
    assert "both select" in modules.refused("guest_nic", nics=[{"guest": "VM0", "index": 0, "mac": MAC}])
    assert "vnet" in modules.refused("guest_nic", nics=[{"guest": "VM0", "dev": "vnet7"}])
