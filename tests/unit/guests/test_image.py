# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import subprocess

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import MissingDependency, Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import images, tiny
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.cpio import Archive
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.kernel import Kernel, depends


def unpacked(data):
    """Read a newc archive back: {path: (mode, content)}."""
    found, place = {}, 0
    while True:
        assert data[place : place + 6] == b"070701"
        fields = [int(data[place + 6 + 8 * number : place + 14 + 8 * number], 16) for number in range(13)]
        name = data[place + 110 : place + 110 + fields[11] - 1].decode()
        place += 110 + fields[11]
        place += -place % 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], data[place : place + fields[6]])
        place += fields[6]
        place += -place % 4


def test_an_archive_is_read_back():
    archive = Archive()
    archive.file("/usr/bin/x", b"123", 0o755)
    archive.link("bin", "usr/bin")
    archive.node("dev/console", 5, 1)
    archive.folder("tmp", 0o1777)
    found = unpacked(b"".join(archive.chunks()))
    assert list(found) == ["bin", "dev", "dev/console", "tmp", "usr", "usr/bin", "usr/bin/x"]
    assert found["usr/bin/x"] == (stat.S_IFREG | 0o755, b"123")
    assert found["bin"] == (stat.S_IFLNK | 0o777, b"usr/bin")
    assert stat.S_ISCHR(found["dev/console"][0])
    assert found["tmp"][0] == stat.S_IFDIR | 0o1777


def test_an_archive_is_the_same_whatever_the_order():
    texts = []
    for order in ([1, 2, 3], [3, 1, 2]):
        archive = Archive()
        for number in order:
            archive.file(f"a/{number}", b"x" * number)
        texts.append(b"".join(archive.chunks()))
    assert texts[0] == texts[1]


# -- kernels ------------------------------------------------------------------------------------------------------


def module(*needs):
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0vermagic=6.1\0"


def make_kernel(root, version, modules=(), builtin=""):
    (root / "boot").mkdir(exist_ok=True)
    (root / "boot" / f"vmlinuz-{version}").write_bytes(b"kernel")
    folder = root / "lib/modules" / version / "kernel/drivers"
    folder.mkdir(parents=True)
    for name, data in modules:
        (folder / name).write_bytes(data)
    (root / "lib/modules" / version / "modules.builtin").write_text(builtin)


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (["6.1.0-9-amd64", "6.1.0-10-amd64"], "6.1.0-10-amd64"),
        (["6.12.1-amd64", "6.1.0-50-cloud-amd64"], "6.1.0-50-cloud-amd64"),
        (["5.14.0-427.el9.x86_64", "5.14.0-70.el9.x86_64"], "5.14.0-427.el9.x86_64"),
        (["6.8.0-31-generic", "6.8.0-9-generic"], "6.8.0-31-generic"),
    ],
)
def test_newest_kernel(tmp_path, versions, newest):
    for version in versions:
        make_kernel(tmp_path, version)
    (tmp_path / "boot" / "vmlinuz-9.9.9-without-modules").write_bytes(b"")
    assert Kernel.newest(str(tmp_path)).version == newest


def test_no_kernel(tmp_path):
    with pytest.raises(MissingDependency, match="needs a kernel"):
        Kernel.newest(str(tmp_path))


def test_modules_come_after_those_they_need(tmp_path):
    make_kernel(
        tmp_path,
        "6.1",
        [
            ("virtio_net.ko.xz", lzma.compress(module("net_failover", "virtio"))),
            ("net-failover.ko", module("failover")),
            ("failover.ko.gz", gzip.compress(module())),
            ("virtio.ko", module()),
        ],
        "kernel/net/packet/af_packet.ko\n",
    )
    order = Kernel.newest(str(tmp_path)).load_order(("virtio_net", "af_packet"), ("virtio_rng",), None)
    assert [name for name, _data in order] == ["failover", "net_failover", "virtio", "virtio_net"]
    assert all(data.startswith(b"\x7fELF") for _name, data in order)


def test_a_kernel_without_what_is_needed(tmp_path):
    make_kernel(tmp_path, "6.1")
    with pytest.raises(Unsupported, match="lacks virtio_net"):
        Kernel.newest(str(tmp_path)).load_order(("virtio_net",), (), None)


def test_zstd_is_asked_of_the_host(tmp_path):
    make_kernel(tmp_path, "6.8", [("virtio.ko.zst", b"packed")])
    asked = []
    order = Kernel.newest(str(tmp_path)).load_order(("virtio",), (), lambda command: asked.append(command) or module())
    assert [name for name, _data in order] == ["virtio"]
    assert asked[0][:2] == ["zstd", "-dc"]


@pytest.mark.parametrize(
    ("data", "names"), [(module("a", "b-c"), ["a", "b_c"]), (module(), []), (b"nothing", []), (b"\0depends=x\0", ["x"])]
)
def test_depends(data, names):
    assert depends(data) == names


# -- the guest's own text -----------------------------------------------------------------------------------------


def test_boot_data():
    nics = [
        {"mac": "52:54:00:00:00:01", "addresses": ["dhcp", "10.0.0.2/24"], "gateway": []},
        {"mac": "52:54:00:00:00:02", "addresses": ["fd00::2/64"], "gateway": ["fd00::1"]},
    ]
    assert tiny.boot_data("vm0", ["ssh-ed25519 AAAA me"], nics) == (
        "hostname vm0\nkey ssh-ed25519 AAAA me\nnic 52:54:00:00:00:01\ndhcp\naddress 10.0.0.2/24\n"
        "nic 52:54:00:00:00:02\naddress fd00::2/64\ngateway fd00::1\n"
    )


@pytest.mark.parametrize("text", [tiny.INIT, tiny.DHCP, tiny.PYTHON])
def test_scripts_are_shell(text):
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_the_init_reads_what_boot_data_writes():
    for word in ("hostname", "key", "nic", "dhcp", "address", "gateway"):
        assert f"\n    {word})" in tiny.INIT
    assert tiny.FW_CFG in tiny.INIT
    assert tiny.AGENT_PORT in tiny.INIT


@pytest.mark.parametrize(
    ("environment", "commands"),
    [
        (
            {"ip": "10.0.0.5", "mask": "24", "broadcast": "10.0.0.255", "router": "10.0.0.1 10.0.0.2"},
            ["address replace 10.0.0.5/24 broadcast 10.0.0.255 dev eth0", "route replace default via 10.0.0.1 dev eth0"],
        ),
        (
            {
                "ip": "10.0.0.5", "mask": "24", "mtu": "1400", "router": "10.0.0.1",
                "staticroutes": "10.9.0.0/16 10.0.0.9 10.8.0.0/16 0.0.0.0",
            },
            [
                "address replace 10.0.0.5/24 dev eth0", "link set eth0 mtu 1400",
                "route replace 10.9.0.0/16 via 10.0.0.9 dev eth0", "route replace 10.8.0.0/16 dev eth0",
            ],
        ),
    ],
)  # fmt: skip
def test_dhcp_script(tmp_path, environment, commands):
    fake = tmp_path / "ip"
    fake.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/log\n')
    fake.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(tiny.DHCP)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", str(script), "bound"], env={"PATH": path, "interface": "eth0", **environment}, check=True)
    assert (tmp_path / "log").read_text().splitlines() == commands


# -- the image ----------------------------------------------------------------------------------------------------


def test_tidy_keeps_what_is_used_and_what_is_not_ours(tmp_path):
    for name in ("builtin-1", "builtin-2", ".builtin-x", "other"):
        (tmp_path / name).mkdir()
    images.tidy([str(tmp_path / "builtin-1" / "vmlinuz"), ""], str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["builtin-1", "other"]


def test_tidy_leaves_no_empty_cache(tmp_path):
    cache = tmp_path / "cache"
    (cache / "builtin-1").mkdir(parents=True)
    images.tidy([], str(cache))
    images.tidy([], str(cache))
    assert not cache.exists()


def have_programs():
    return all(any(shutil.which(path) for path in candidates) for _name, candidates, _package in images.PROGRAMS)


@pytest.mark.skipif(not have_programs(), reason="this machine lacks the programs of the built-in guest")
def test_an_image_is_built_once_and_the_same(tmp_path):
    needed = [name for name in tiny.MODULES if name not in ("af_packet", "ipv6")]
    builtin = "kernel/net/packet/af_packet.ko\nkernel/net/ipv6/ipv6.ko\n"
    make_kernel(tmp_path, "6.1-cloud", [(f"{name}.ko", module()) for name in needed], builtin)
    one, two = (images.Builtin(str(tmp_path), str(tmp_path / cache)) for cache in ("one", "two"))
    assert not one.ready()
    for image in (one, two):
        image.build()
    assert os.path.basename(one.path) == os.path.basename(two.path)
    with open(one.initrd, "rb") as first, open(two.initrd, "rb") as second:
        data = first.read()
        assert data == second.read()
    found = unpacked(gzip.decompress(data))
    extras = unpacked(gzip.decompress(found["usr/lib/virtnet-extras"][1]))
    assert {"init", "usr/bin/busybox", "usr/bin/ip", "usr/sbin/qemu-ga", "usr/lib/virtnet/virtio_net.ko"} <= set(found)
    assert "usr/sbin/dropbear" in extras
    assert found["usr/lib/virtnet-modules"][1].split() == [name.encode() for name in needed]
    assert any(path.endswith("/os.pyc") for path in extras)
    assert not set(extras) & {path for path, (mode, _data) in found.items() if stat.S_ISREG(mode)}
    built = os.stat(one.initrd).st_mtime_ns
    one.build()
    assert os.stat(one.initrd).st_mtime_ns == built
    assert os.listdir(tmp_path / "one") == [os.path.basename(one.path)]
    (tmp_path / "boot/vmlinuz-6.1-cloud").write_bytes(b"another kernel")
    assert images.Builtin(str(tmp_path), str(tmp_path / "one")).path != one.path
