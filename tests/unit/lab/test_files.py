# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import struct

import pytest
from virtnet_lab import image, ssh, tapnodes
from virtnet_lab.config import ADDRESSINGS, MANAGERS, parse, read_raw
from virtnet_lab.host import fingerprint
from virtnet_lab.hostfiles import HostKeys, host_files, machine_id
from virtnet_lab.machine import mirror_in
from virtnet_lab.paths import LabPaths

HOSTS = [
    {"name": "gw", "kind": "gateway"},
    {"name": "pc", "kind": "outside"},
    {"name": "kvm1"},
    {"name": "kvm2", "release": "trixie", "addressing": "dhcp"},
]
KEYS = HostKeys(authorized="user-key\n", private="private\n", public="public\n")


def config(**changes):
    changes = {"hosts": HOSTS, **changes}
    return parse({**read_raw(None, None), **{f"lab_hosts_{name}": value for name, value in changes.items()}})


def files(name, devices=None, **changes):
    lab = config(**changes)
    return host_files(lab, lab.host(name), KEYS, devices or {})


def network(name):
    return files(name)["etc/systemd/network/50-lab-eth0.network"].text


def test_a_host_has_exactly_these_files():
    assert sorted(files("kvm1")) == [
        "etc/hostname",
        "etc/hosts",
        "etc/lab/tapnodes.py",
        "etc/machine-id",
        "etc/resolv.conf",
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssh/ssh_host_ed25519_key.pub",
        "etc/systemd/network/50-lab-eth0.network",
        "etc/systemd/system/lab-tapnodes.service",
        "etc/systemd/system/multi-user.target.wants/lab-tapnodes.service",
        "etc/tmpfiles.d/lab-devices.conf",
        "root/.ssh/authorized_keys",
    ]


def test_secrets_are_for_root_only():
    assert files("kvm1")["etc/ssh/ssh_host_ed25519_key"].mode == 0o600


def test_only_kvm_hosts_run_libvirt():
    assert files("pc")["etc/systemd/system/libvirtd.socket"].link == "/dev/null"
    assert not any("libvirt" in name for name in files("kvm1"))
    assert not any("tapnodes" in name for name in files("pc"))


def test_a_static_host_has_one_global_ipv6_address_and_its_router_from_ra():
    text = network("kvm1")
    assert "Address=10.77.0.11/24\nAddress=fd77::11/64\nGateway=10.77.0.1\nIPv6AcceptRA=yes\n" in text
    assert "UseAutonomousPrefix=no" in text


def test_a_dhcp_host_gets_the_same_addresses_as_a_static_one_would():
    assert "DHCP=ipv4" in network("kvm2")
    assert "Token=static:::12\n" in network("kvm2")
    mac = config().host("kvm2").mac
    assert files("gw")["etc/lab/dhcp-hosts"].text == f"{mac},10.77.0.12,kvm2\n"
    assert "dhcp-hostsfile=/etc/lab/dhcp-hosts\n" in files("gw")["etc/lab/dnsmasq.conf"].text


@pytest.mark.parametrize("addressing", ADDRESSINGS)
@pytest.mark.parametrize("manager", MANAGERS)
def test_the_uplink_is_in_the_hands_of_one_manager(manager, addressing):
    hosts = [HOSTS[0], {"name": "kvm1", "manager": manager, "addressing": addressing}]
    found = files("kvm1", hosts=hosts)
    places = {"etc/systemd/network/", "etc/NetworkManager/", "etc/network/", "etc/netplan/"}
    own = [(place, name) for place in places for name in found if name.startswith(place)]
    assert len(own) == 1, own
    text = found[own[0][1]].text
    assert ("10.77.0.11/24" in text) == (addressing == "static")
    assert "eth0" in text
    masked = found.get("etc/systemd/system/systemd-networkd.service")
    assert (masked is None) == manager.endswith("networkd")
    wanted = {name.rpartition("/")[2] for name in found if "multi-user.target.wants" in name} - {"lab-tapnodes.service"}
    runs = {"NetworkManager": "NetworkManager.service", "netplan-NetworkManager": "NetworkManager.service"}
    assert wanted == {{**runs, "ifupdown": "networking.service"}[manager]} if masked else not wanted


def test_the_gateway_accepts_no_router_and_forwards():
    assert "IPv6AcceptRA=no" in network("gw")
    assert "Gateway=" not in network("gw")
    assert "net.ipv4.ip_forward = 1" in files("gw")["etc/sysctl.d/lab.conf"].text


def test_the_gateway_serves_dhcp_ra_and_dns():
    lines = files("gw")["etc/lab/dnsmasq.conf"].text.splitlines()
    for line in (
        "dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,1h",
        "dhcp-range=fd77::,ra-only,64,1h",
        "enable-ra",
        "host-record=kvm1.lab.test,10.77.0.11,fd77::11",
        "host-record=www.example.test,10.77.0.2,fd77::2",
        'txt-record=www.example.test,"virtnet.kvm lab"',
        "host-record=v4only.example.test,10.77.0.2",
        "no-resolv",
    ):
        assert line in lines


def test_devices_are_made_by_the_host_with_its_own_groups():
    text = files("kvm1", {"kvm": "0660 kvm 10:232"})["etc/tmpfiles.d/lab-devices.conf"].text
    assert text == "c /dev/kvm 0660 root kvm - 10:232\n"


def message(kind, index, *attributes):
    body = struct.pack("=BxHiII", 0, 1, index, 0, 0) + b"".join(
        struct.pack("=HH", 4 + len(value), key) + value + b"\0" * (-len(value) % 4) for key, value in attributes
    )
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_the_kernel_says_which_links_come_and_go():
    data = message(16, 7, (4, b"\x00\x05\x00\x00"), (3, b"macvtap0\0")) + message(17, 8, (3, b"odd\0")) + message(24, 9)
    assert tapnodes.messages(data) == [(16, 7, "macvtap0"), (17, 8, "odd")]
    assert tapnodes.messages(data[:-1])[:2] == tapnodes.messages(data)
    assert tapnodes.messages(b"\0" * 40) == tapnodes.messages(b"short") == []


def test_nodes_of_links_that_are_gone_are_removed(tmp_path, monkeypatch):
    links, dev = tmp_path / "net", tmp_path / "dev"
    (links / "macvtap0" / "tap7").mkdir(parents=True)
    (links / "macvtap0" / "ifindex").write_text("7\n")
    (links / "macvtap0" / "tap7" / "dev").write_text("240:3\n")
    (links / "eth0").mkdir()
    (links / "eth0" / "ifindex").write_text("2\n")
    dev.mkdir()
    for name in ("tap7", "tap9", "tape"):
        (dev / name).touch()
    made = []
    monkeypatch.setattr(tapnodes, "LINKS", links)
    monkeypatch.setattr(tapnodes, "DEV", dev)
    monkeypatch.setattr(tapnodes.os, "mknod", lambda path, mode, number: made.append((path.name, oct(mode), number)))
    tapnodes.look()
    assert made == [("tap7", "0o20600", os.makedev(240, 3))]
    assert [one.name for one in dev.iterdir()] == ["tape"]


def test_machine_ids_are_unique_and_stable():
    lab, other = config(), config(lab="other")
    ids = {machine_id(item, host) for item in (lab, other) for host in item.hosts}
    assert len(ids) == 8
    assert all(len(item) == 32 and int(item, 16) for item in ids)


def test_a_fingerprint_follows_the_image_and_the_files():
    lab, place = config(), image.CACHE / "bookworm-1"
    host = lab.host("kvm1")
    first = fingerprint(place, host, files("kvm1"))
    assert first == fingerprint(place, host, files("kvm1"))
    assert first != fingerprint(image.CACHE / "bookworm-2", host, files("kvm1"))
    assert first != fingerprint(place, host, files("kvm1", domain="other.test"))


def test_an_image_follows_its_packages_but_not_its_mirror():
    path = image.image_path(config(release_packages={}), "bookworm")
    assert path != image.image_path(config(release_packages={"bookworm": ["bird2"]}), "bookworm")
    assert path == image.image_path(config(release_packages={}, mirror="http://mirror.test/debian"), "bookworm")
    assert path == image.image_path(config(release_packages={"trixie": ["bird2"]}), "bookworm")
    assert path != image.image_path(config(extra_packages=["bird2"]), "bookworm")
    assert path != image.image_path(config(guest_kernel="linux-image-amd64"), "bookworm")
    assert path.name.startswith("bookworm-")


def test_known_hosts_and_inventory():
    lab, paths = config(lab="two"), LabPaths("two")
    known = ssh.known_hosts(lab, {host.name: KEYS for host in lab.hosts}).splitlines()
    assert "kvm1,10.77.0.11,fd77::11 public" in known
    tree = ssh.inventory(lab, paths)["all"]
    assert {name: list(group["hosts"]) for name, group in tree["children"].items()} == {
        "kvm_hosts": ["kvm1", "kvm2"],
        "outside": ["pc"],
        "gateway": ["gw"],
    }
    assert tree["children"]["kvm_hosts"]["hosts"]["kvm1"]["lab_hosts_address6"] == "fd77::11"
    assert tree["vars"]["ansible_control_path_dir"] == "/var/lib/virtnet-lab/two/ssh/cp"
    assert tree["vars"]["reachability_dns_names"] == ["www.example.test"]
    client = ssh.client_config(lab, paths)
    assert "ProxyCommand nsenter --net=/run/netns/two-ctl nc %h %p" in client
    assert "StrictHostKeyChecking yes" in client


def test_the_mirror_is_the_one_of_debian_itself():
    listing = (
        "Vendor Vendor main http://vendor.test/debian/\n"
        "Debian Debian-Security main http://mirror.test/debian-security/\n"
        "Debian Debian contrib http://mirror.test/contrib/\n"
        "Debian Debian main http://mirror.test/debian/\n"
    )
    assert mirror_in(listing) == "http://mirror.test/debian/"
    assert mirror_in("Ubuntu Ubuntu main http://mirror.test/ubuntu/\n") is None
    assert mirror_in("") is None
