# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks over two hosts, looked at with the hosts' own tools; the proof of the converge play has tried who reaches whom."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
import testinfra
from controllers import until
from guest_agent import BUSYBOX, in_guest, ping

DEVICES = {
    "vxiso": ("vx6d4751dd", "vn6d4751dd", 4711),
    "vxown": ("vxbef463bb", "vxownbr0", 4712),
    "vxrt": ("vx0c5a576c", "vxrtbr0", 4713),
}
GATEWAY = "10.64.162.1"
MTU = 1450
HOSTILE = "10.64.160.66"


@pytest.fixture
def place(host):
    return int(host.check_output("uname -n")[-1]) - 1


def machine(request, name):
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=request.config.getoption("--ansible-inventory"))


@pytest.fixture
def other(request, place):
    """The other host."""
    return machine(request, f"kvm{2 - place}")


@pytest.fixture
def outside(request):
    return machine(request, "outside1")


@pytest.fixture
def lan(host):
    return lan_of(host)


def lan_of(host):
    return json.loads(host.check_output("ip -j -4 address show dev eth0"))[0]["addr_info"][0]["local"]


def address_of(host, guest):
    """A guest's IPv4 address, as it says itself."""
    text = in_guest(host, guest, BUSYBOX, "ip", "-4", "-o", "address", "show", "dev", "eth0")[1]
    return text.split(" inet ")[1].split("/")[0]


def attached(host, name):
    device, bridge, _vni = DEVICES[name]
    return host.file(f"/sys/class/net/{bridge}/brif/{device}").exists


@pytest.mark.parametrize("name", DEVICES)
def test_each_network_has_its_device(host, other, lan, name):
    device, bridge, vni = DEVICES[name]
    [row] = json.loads(host.check_output(f"ip -j -d link show dev {device}"))
    data = row["linkinfo"]["info_data"]
    assert (data["id"], data["local"], data["port"], data["learning"]) == (vni, lan, 4789, True)
    assert (row["master"], row["mtu"], row["ifalias"]) == (bridge, MTU, "virtnet.kvm")
    assert "inet6" not in host.check_output(f"ip -6 address show dev {device}; true")
    rows = json.loads(host.check_output(f"bridge -j fdb show dev {device}"))
    assert [row["dst"] for row in rows if row["mac"] == "00:00:00:00:00:00"] == [lan_of(other)]
    assert json.loads(host.check_output(f"ip -j link show dev {bridge}"))[0]["mtu"] == MTU


def test_guests_have_the_mtu(host, place):
    for guest in (f"vi{place}", f"vr{place}"):
        assert f"mtu {MTU}" in in_guest(host, guest, BUSYBOX, "ip", "link", "show", "dev", "eth0")[1]


def test_a_packet_of_full_size_passes_and_no_larger_one(host, other, place, lan):
    """28 bytes of it are IP and ICMP; nothing of it is fragmented on its way."""
    to = address_of(other, f"vr{1 - place}")
    full = f"ping -M do -c 2 -W 2 -I {lan} {to} -s"
    assert host.run(f"{full} {MTU - 28}").rc == 0
    assert host.run(f"{full} {MTU - 27}").rc != 0
    # The link between the hosts has no room for more.
    assert json.loads(host.check_output("ip -j link show dev eth0"))[0]["mtu"] == MTU + 50


def test_one_host_serves_dhcp(host, other, place):
    for name, guests in (("vxiso", "vi"), ("vxrt", "vr")):
        leases = host.check_output(f"virsh -q net-dhcp-leases {name}")
        here = [address_of(host, f"{guests}{place}"), address_of(other, f"{guests}{1 - place}")]
        assert [one in leases for one in here] == ([True, True] if place == 0 else [False, False])
    served = [line for line in host.check_output("ss -Hlun sport = :67").splitlines() if "vxrtbr0" in line]
    assert bool(served) == (place == 0)


def test_a_lease_is_renewed_at_the_host_that_serves(host, other, place):
    """To a guest elsewhere its server has the gateway's address, which its own host has, too."""
    if place == 0:
        pytest.skip("here it is served")
    address = address_of(host, "vr1")

    def expiry():
        found = json.loads(other.check_output("cat /var/lib/libvirt/dnsmasq/vxrtbr0.status"))
        return next(one["expiry-time"] for one in found if one["ip-address"] == address)

    before = expiry()
    time.sleep(1.1)
    in_guest(host, "vr1", BUSYBOX, "sh", "-c", f"kill -USR1 $({BUSYBOX} pidof udhcpc)")
    until(lambda: expiry() > before, 15)
    assert address_of(host, "vr1") == address


def test_the_gateway_is_each_guests_own_host(host, place):
    """It answers when the way to the other host is cut, and has the same MAC address everywhere."""
    guest = f"vr{place}"
    mac = json.loads(host.check_output("ip -j link show dev vxrtbr0"))[0]["address"]
    host.run_test("ip link set dev %s down", DEVICES["vxrt"][0])
    try:
        assert ping(host, guest, GATEWAY) and ping(host, guest, "fd00:64:162::1")
    finally:
        host.run_test("ip link set dev %s up", DEVICES["vxrt"][0])
    assert f"{GATEWAY} dev eth0 lladdr {mac}" in in_guest(host, guest, BUSYBOX, "ip", "neigh")[1]
    # No duplicate was found among the hosts, and no bridge complains of frames that seem its own.
    assert "dadfailed" not in host.check_output("ip address show dev vxrtbr0")
    assert mac == "02:" + ":".join(host.check_output("printf 'gateway\\0vxrt' | sha256sum")[i : i + 2] for i in range(0, 10, 2))


def test_guests_reach_each_other(host, other, place):
    for guest in ("vi", "vo", "vr"):
        assert ping(host, f"{guest}{place}", address_of(other, f"{guest}{1 - place}"))


@pytest.mark.parametrize("version", [4, 6])
def test_an_answer_may_come_in_at_the_other_host(host, other, outside, place, version):
    """The outside has one route to the network, by whichever host: guests of both are reached, and get answers."""
    subnet, via = {4: ("10.64.162.0/24", lan_of(host)), 6: ("fd00:64:162::/64", None)}[version]
    if version == 6:
        rows = json.loads(host.check_output("ip -j -6 address show dev eth0 scope global"))[0]["addr_info"]
        via = next(one["local"] for one in rows if not one.get("temporary"))
    far = f"vr{1 - place}"
    outside.run_test("ip route replace %s via %s", subnet, via)
    try:
        if version == 4:
            to = address_of(other, far)
        else:
            text = in_guest(other, far, BUSYBOX, "ip", "-6", "-o", "address", "show", "dev", "eth0")[1]
            to = next(word.split("/")[0] for word in text.split() if word.startswith("fd00:64:162:"))
        assert outside.run("ping -c 3 -W 2 %s", to).rc == 0
        assert "SSH-2.0-" in outside.check_output(f"timeout 10 ssh-keyscan -T 5 {to} 2>&1; true")
        rows = json.loads(outside.check_output(f"ip -j -{version} address show dev eth0 scope global"))[0]["addr_info"]
        assert ping(other, far, rows[0]["local"])
    finally:
        outside.run_test("ip route del %s", subnet)


# -- a machine on the LAN that is no host of the network ---------------------------------------------------------


@contextlib.contextmanager
def intruding(outside, host, vni, address):
    """A machine on the LAN has the network's identifier, and sends what it has to this host."""
    outside.check_output(
        f"ip link add vxbad type vxlan id {vni} local {lan_of(outside)} dstport 4789 && ip address add {address}/24 dev vxbad"
        f" && bridge fdb append 00:00:00:00:00:00 dev vxbad dst {lan_of(host)} && ip link set vxbad up"
    )
    try:
        yield
    finally:
        outside.check_output("ip link delete vxbad")


def received(host, device):
    return json.loads(host.check_output(f"ip -j -s link show dev {device}"))[0]["stats64"]["rx"]["packets"]


def test_nobody_else_on_the_lan_sends_into_a_network(host, outside, place):
    guest, to = f"vi{place}", address_of(host, f"vi{place}")
    assert "@th,96,24" in host.check_output("nft list chain inet virtnet underlay")
    in_guest(host, guest, BUSYBOX, "ip", "neigh", "flush", "dev", "eth0")
    with intruding(outside, host, 4711, HOSTILE):
        assert outside.run("ping -c 2 -W 1 %s", to).rc != 0
        assert f"{HOSTILE} dev eth0 lladdr" not in in_guest(host, guest, BUSYBOX, "ip", "neigh")[1]
        # It is that rule and nothing else.
        host.run_test("nft flush chain inet virtnet underlay")
        try:
            assert outside.run("ping -c 2 -W 2 %s", to).rc == 0
            assert f"{HOSTILE} dev eth0 lladdr" in in_guest(host, guest, BUSYBOX, "ip", "neigh")[1]
        finally:
            host.run_test("systemctl reload virtnet-firewall.service")
        assert outside.run("ping -c 2 -W 1 %s", to).rc != 0


def test_a_guest_does_not_send_as_its_host(host, other, place):
    """The packet of a routed guest is dropped on its own host: a counter there sees it, and it never leaves."""
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        f"[s.sendto(b'\\x08\\0\\0\\0' + (4711).to_bytes(3, 'big') + b'\\0' + b'\\xff' * 60, ('{lan_of(other)}', port)) "
        "for port in (4789, 4790)]"
    )
    other.run_test("nft add table inet looked; nft add chain inet looked c '{ type filter hook prerouting priority -400; }'")
    try:
        for port in (4789, 4790):
            other.run_test(f"nft add rule inet looked c ip saddr {address_of(host, f'vr{place}')} udp dport {port} counter")
        assert in_guest(host, f"vr{place}", "/usr/bin/python3", "-c", code)[0] == 0
        text = other.check_output("nft list table inet looked")
        # The control has arrived.
        assert [line.split("packets ")[1][0] for line in text.splitlines() if "counter" in line] == ["0", "1"], text
    finally:
        other.run_test("nft delete table inet looked")


def test_the_vxlan_of_others_stays_as_it_is(host, outside):
    ends = ((host, lan_of(outside), "10.99.0.1"), (outside, lan_of(host), "10.99.0.2"))
    for end, peer, address in ends:
        end.check_output(
            f"ip link add vxmine type vxlan id 99 local {lan_of(end)} remote {peer} dstport 4789"
            f" && ip address add {address}/24 dev vxmine && ip link set vxmine up"
        )
    try:
        assert host.run("ping -c 2 -W 2 10.99.0.2").rc == 0
    finally:
        for end, _peer, _address in ends:
            end.check_output("ip link delete vxmine")


# -- bridges come and go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vxiso", "vxrt"])
def test_a_network_that_is_started_anew_has_its_device_again(host, other, place, name, figure):
    device, bridge, _vni = DEVICES[name]
    guest = f"{name[:1]}{name[2]}{place}"
    tap = host.check_output("virsh -q domiflist %s", guest).split()[0]
    host.run_test("virsh net-destroy %s", name)
    assert not host.file(f"/sys/class/net/{bridge}").exists and host.file(f"/sys/class/net/{device}").exists
    host.run_test("virsh net-start %s", name)
    started = time.monotonic()
    until(lambda: attached(host, name), 10)
    figure(f"{name} has its VXLAN device again {time.monotonic() - started:.1f} s after its start")
    # A guest's link is libvirt's business, which forgets it.
    host.run_test("ip link set dev %s master %s", tap, bridge)
    until(lambda: ping(host, guest, address_of(other, f"{guest[:2]}{1 - place}")), 10)


def test_a_device_that_left_its_bridge_is_put_back(host):
    host.run_test("ip link set dev %s nomaster", DEVICES["vxown"][0])
    until(lambda: attached(host, "vxown"), 10)


def test_the_unit_makes_them_at_boot(host):
    unit = host.service("virtnet-vxlan.service")
    assert unit.is_enabled and unit.is_running
    order = host.check_output("systemctl show -p Before virtnet-vxlan.service")
    assert "libvirtd.service" in order


# -- the module --------------------------------------------------------------------------------------------------

SPARE = "vx-spare"


@pytest.fixture
def spare(host, modules, lan):
    """A device of its own in a bridge of its own."""
    host.check_output("ip link add name vxsparebr type bridge && ip link set vxsparebr up")
    yield {"name": SPARE, "vni": 77, "local": lan, "peers": ["192.0.2.1", "192.0.2.2"], "bridge": "vxsparebr"}
    modules.run("vxlan_iface", vxlans=[{"name": SPARE, "state": "absent"}])
    # A test that has failed may have left one that is not ours.
    host.run(f"ip link delete {SPARE}")
    host.run("ip link delete vxsparebr")


def test_check_mode_says_what_comes(host, modules, spare):
    [made] = modules.step("vxlan_iface", "vxlans", vxlans=[spare])["vxlans"]
    assert (made["mtu"], made["attached"], made["peers"], made["owned"]) == (MTU, True, ["192.0.2.1", "192.0.2.2"], True)
    assert host.file(f"/etc/virtnet/vxlan.d/{SPARE}").exists
    changed = {**spare, "peers": ["192.0.2.3"]}
    assert modules.step("vxlan_iface", "vxlans", vxlans=[changed])["actions"][0]["op"] == "change"
    changed["vni"] = 78
    assert modules.step("vxlan_iface", "vxlans", vxlans=[changed])["actions"][0]["op"] == "recreate"
    # By hand.
    host.check_output(f"bridge fdb append 00:00:00:00:00:00 dev {SPARE} dst 192.0.2.9")
    assert modules.step("vxlan_iface", "vxlans", vxlans=[changed])["vxlans"][0]["peers"] == ["192.0.2.3"]
    host.check_output(f"ip link delete {SPARE}")
    modules.step("vxlan_iface", "vxlans", vxlans=[changed])
    host.check_output("systemctl disable --now virtnet-vxlan.service")
    result = modules.step("vxlan_iface", "vxlans", vxlans=[changed])
    assert [one["kind"] for one in result["actions"]] == ["manager"] and result["vxlans"][0]["service"] == "running"
    assert host.service("virtnet-vxlan.service").is_enabled
    modules.step("vxlan_iface", "vxlans", vxlans=[{"name": SPARE, "state": "absent"}])
    assert not host.file(f"/etc/virtnet/vxlan.d/{SPARE}").exists and not host.file(f"/sys/class/net/{SPARE}").exists
    # The others' are kept.
    assert host.service("virtnet-vxlan.service").is_running


def test_a_device_waits_for_its_bridge(host, modules, spare):
    host.check_output("ip link delete vxsparebr")
    [made] = modules.step("vxlan_iface", "vxlans", vxlans=[spare])["vxlans"]
    assert (made["bridge"], made["attached"]) == ("vxsparebr", False)
    host.check_output("ip link add name vxsparebr type bridge")
    until(lambda: host.file(f"/sys/class/net/vxsparebr/brif/{SPARE}").exists, 10)
    assert not modules.run("vxlan_iface", vxlans=[spare])["changed"]


def test_the_underlay_may_be_of_ipv6(host, modules, spare):
    rows = json.loads(host.check_output("ip -j -6 address show dev eth0 scope global"))[0]["addr_info"]
    local = next(one["local"] for one in rows if one["local"].startswith("fd77:") and not one.get("dynamic"))
    six = {**spare, "local": local, "peers": ["fd77::98", "fd77::99"]}
    [made] = modules.step("vxlan_iface", "vxlans", vxlans=[six])["vxlans"]
    assert (made["mtu"], made["local"], made["peers"]) == (MTU - 20, local, ["fd77::98", "fd77::99"])


def test_what_is_refused(host, modules, spare):
    assert "Use at most 1450" in modules.refused("vxlan_iface", vxlans=[{**spare, "mtu": 1451}])
    assert "no link of this host has the address" in modules.refused("vxlan_iface", vxlans=[{**spare, "local": "192.0.2.7"}])
    assert "has the network identifier 4711 already" in modules.refused("vxlan_iface", vxlans=[{**spare, "vni": 4711}])
    host.check_output(f"ip link add {SPARE} type vxlan id 79 local {spare['local']} dstport 4789")
    try:
        assert "is not ours" in modules.refused("vxlan_iface", vxlans=[spare])
    finally:
        host.check_output(f"ip link delete {SPARE}")
    assert not host.file(f"/etc/virtnet/vxlan.d/{SPARE}").exists


def test_one_that_was_taken_over_is_given_back(host, modules, spare):
    host.check_output(f"ip link add {SPARE} mtu 1400 type vxlan id 77 local {spare['local']} dstport 4789")
    before = json.loads(host.check_output(f"ip -j -d link show dev {SPARE}"))[0]
    modules.step("vxlan_iface", "vxlans", vxlans=[spare], adopt=True)
    modules.step("vxlan_iface", "vxlans", vxlans=[{"name": SPARE, "state": "absent"}])
    after = json.loads(host.check_output(f"ip -j -d link show dev {SPARE}"))[0]
    for key in ("mtu", "flags", "ifalias", "master"):
        assert before.get(key) == after.get(key), key
    host.check_output(f"ip link delete {SPARE}")
