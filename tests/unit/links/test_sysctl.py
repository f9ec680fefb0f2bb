# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forwarding, sysctl


def test_rendered_text_reads_back():
    settings = {"net.ipv4.ip_forward": "1", sysctl.link_key("eth0.5", "accept_ra"): "2"}
    text = sysctl.render(settings)
    assert text == f"{sysctl.HEADER}\nnet.ipv4.ip_forward = 1\nnet.ipv6.conf.eth0/5.accept_ra = 2\n"
    assert sysctl.parse(text) == settings


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("# a = 1\n; b = 2\n\n   \n", {}),
        ("net.ipv4.ip_forward=0", {"net.ipv4.ip_forward": "0"}),
        ("  -net.ipv4.ip_forward   =  1  \n", {"net.ipv4.ip_forward": "1"}),
        ("net/ipv4/ip_forward = 1", {"net.ipv4.ip_forward": "1"}),
        ("net/ipv6/conf/eth0.5/accept_ra = 2", {"net.ipv6.conf.eth0/5.accept_ra": "2"}),
        ("net.ipv4.tcp_rmem = 4096 87380 6291456", {"net.ipv4.tcp_rmem": "4096 87380 6291456"}),
        ("a.b = 1\na.b = 2", {"a.b": "2"}),
        ("no value", {}),
        ("-net.ipv4.conf.excluded", {}),
    ],
)
def test_parse(text, settings):
    assert sysctl.parse(text) == settings


def test_files_that_are_read_later():
    files = {
        "10-before.conf": "net.ipv4.ip_forward = 0", "60-virtnet.conf": "net.ipv4.ip_forward = 1",
        "99-sysctl.conf": "net/ipv4/ip_forward = 0", "99-x.conf": "kernel.panic = 1",
    }
    assert sysctl.later(files, "60-virtnet.conf", "net.ipv4.ip_forward") == [("99-sysctl.conf", "0")]
    assert sysctl.later(files, "60-virtnet.conf", "net.ipv6.conf.all.forwarding") == []


@pytest.mark.parametrize(
    ("accept_ra", "advertised", "ours", "kept"),
    [
        ("1", True, False, True),  # the kernel's: forwarding would flush its routes
        ("1", False, False, False),
        ("0", True, False, False),  # a daemon's
        ("2", True, False, False),  # somebody saw to it
        ("2", True, True, True),
        ("2", False, True, True),  # ours, and quiet for the moment
        ("1", False, True, True),  # ours, and set back by hand
        ("0", True, True, False),  # ours, but a daemon took over since
    ],
)
def test_links_whose_advertisements_must_be_kept(accept_ra, advertised, ours, kept):
    settings = {sysctl.link_key("eth0", "accept_ra"): "2"} if ours else {}
    links = sysctl.links_to_keep({"eth0": accept_ra, "lo": "1"}, {"eth0"} if advertised else set(), settings)
    assert links == (["eth0"] if kept else [])


@pytest.mark.parametrize(
    ("status", "ipv4", "ipv6"),
    [
        ("<network><forward mode='nat'><nat/></forward><bridge name='a'/><ip address='10.0.0.1'/></network>", True, False),
        ("<network><forward mode='open'/><bridge name='a'/><ip family='ipv6' address='fd00::1'/></network>", True, True),
        ("<network><forward dev='eth0' mode='route'/><bridge name='a'/></network>", True, False),
        ("<network><forward/><bridge name='a'/></network>", True, False),
        ("<network><forward mode='bridge'/><bridge name='br0'/></network>", False, False),
        ("<network><bridge name='a'/></network>", False, False),
        ("<network><forward mode='passthrough'><interface dev='e'/></forward></network>", False, False),
        ("", False, False),
    ],
)
def test_which_networks_of_libvirt_need_forwarding(status, ipv4, ipv6):
    assert forwarding.libvirt_forwards(status, False) is ipv4
    assert forwarding.libvirt_forwards(status, True) is ipv6


class Host:
    """Sysctls of a dictionary, an eth0 with or without advertised routes."""

    def __init__(self, sysctls, advertised=False):
        self.sysctls = sysctls
        self.advertised = advertised

    def sysctl(self, key):
        return self.sysctls.get(key)

    def set_sysctl(self, key, value):
        self.sysctls[key] = value

    def run(self, command, data=None, check=True, what=None, subject=None):
        if "route" in command:
            return 0, '[{"dst": "default", "nexthops": [{"dev": "eth0"}]}]' if self.advertised else "", ""
        return 0, "[{}]", ""


class Room(forwarding.ForwardingRoom):
    def _accept_ra(self):
        return {"eth0": self._host.sysctl(sysctl.link_key("eth0", "accept_ra"))}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(forwarding, "FILE", str(tmp_path / "60-virtnet.conf"))
    monkeypatch.setattr(forwarding, "_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(forwarding, "_LIBVIRT", str(tmp_path / "libvirt"))
    monkeypatch.setattr(forwarding.journal, "PATH", str(tmp_path / "baseline.json"))
    monkeypatch.setattr(forwarding.store, "NETWORKS", str(tmp_path / "networks.d"))
    monkeypatch.setattr(forwarding.store, "RULES", str(tmp_path / "rules.d"))
    return tmp_path


def run(host, ipv4, ipv6, absent=False):
    """What the engine does, without its lock."""
    room = Room(host, ipv4, ipv6, absent)
    before = room.gather()
    plan = room.plan(before)
    if plan.changed:
        forwarding.journal.record(room.baseline(before, plan))
        for op in plan.ops:
            room.apply(op)
        assert room.gather() == plan.after
        room.finish(plan)
    return plan


RA = "net.ipv6.conf.eth0.accept_ra"


def test_on_and_back(files):
    host = Host({sysctl.IPV4: "0", sysctl.IPV6: "0", RA: "1"}, advertised=True)
    before = dict(host.sysctls)
    plan = run(host, True, True)
    assert [(op.name, op.op) for op in plan.ops] == [("ipv4", "enable"), ("ipv6", "enable")]
    assert host.sysctls == {sysctl.IPV4: "1", sysctl.IPV6: "1", RA: "2"}
    assert sysctl.parse((files / "60-virtnet.conf").read_text()) == host.sysctls
    assert not run(host, True, True).changed
    assert run(host, None, None, absent=True).changed
    assert host.sysctls == before
    assert not list(files.glob("*.*"))
    assert not run(host, None, None, absent=True).changed


@pytest.mark.parametrize("fails", ["file", "kernel"])
def test_what_fails_halfway_is_put_back(files, monkeypatch, fails):
    host = Host({sysctl.IPV4: "0", sysctl.IPV6: "0", RA: "1"}, advertised=True)
    run(host, True, None)
    before, text = dict(host.sysctls), (files / "60-virtnet.conf").read_text()
    if fails == "file":
        monkeypatch.setattr(forwarding.files, "write", refuse)
    else:
        real = host.set_sysctl
        host.set_sysctl = lambda key, value: refuse() if (key, value) == (sysctl.IPV6, "1") else real(key, value)
    with pytest.raises(CommandFailed):
        run(host, None, True)
    assert host.sysctls == before
    assert (files / "60-virtnet.conf").read_text() == text


def refuse(*_rest, **_more):
    raise CommandFailed("no")


def test_accept_ra_is_raised_before_forwarding_and_lowered_after(files):
    host = Host({sysctl.IPV4: "0", sysctl.IPV6: "0", RA: "1"}, advertised=True)
    assert list(run(host, None, True).ops[0].args["running"]) == [RA, sysctl.IPV6]
    assert list(run(host, None, True, absent=True).ops[0].args["running"]) == [sysctl.IPV6, RA]


def test_one_version_and_the_other(files):
    host = Host({sysctl.IPV4: "0", sysctl.IPV6: "0", RA: "0"}, advertised=True)
    run(host, True, None)
    run(host, None, True)
    assert host.sysctls == {sysctl.IPV4: "1", sysctl.IPV6: "1", RA: "0"}
    run(host, None, True, absent=True)
    assert host.sysctls == {sysctl.IPV4: "1", sysctl.IPV6: "0", RA: "0"}
    assert sysctl.parse((files / "60-virtnet.conf").read_text()) == {sysctl.IPV4: "1"}


def test_it_was_on_before(files):
    host = Host({sysctl.IPV4: "1", sysctl.IPV6: "0"})
    run(host, True, None)
    run(host, True, None, absent=True)
    assert host.sysctls[sysctl.IPV4] == "1"
    assert not list(files.glob("*.*"))


def test_others_need_it(files):
    host = Host({sysctl.IPV4: "0", sysctl.IPV6: "0"})
    run(host, True, None)
    (files / "libvirt").mkdir()
    (files / "libvirt" / "default.xml").write_text("<network><forward mode='nat'/><bridge name='virbr0'/></network>")
    plan = run(host, True, None, absent=True)
    assert plan.warnings == [
        "ipv4 forwarding stays on, though no longer by virtnet.kvm: libvirt's network default need it."
    ]
    assert host.sysctls[sysctl.IPV4] == "1"
    assert not (files / "60-virtnet.conf").exists()
    assert not run(host, True, None, absent=True).changed
    (files / "libvirt" / "default.xml").unlink()
    run(host, True, None, absent=True)
    assert host.sysctls[sysctl.IPV4] == "0"


def test_a_host_without_ipv6(files):
    host = Host({sysctl.IPV4: "0"})
    assert [op.name for op in run(host, True, True).ops] == ["ipv4"]


def test_a_later_file_that_says_otherwise(files):
    (files / "99-sysctl.conf").write_text("net.ipv4.ip_forward = 0\n")
    assert "99-sysctl.conf is read after" in run(Host({sysctl.IPV4: "0"}), True, None).warnings[0]


def test_a_file_that_is_not_ours(files):
    (files / "60-virtnet.conf").write_text("net.ipv4.ip_forward = 0\n")
    with pytest.raises(forwarding.Conflict):
        run(Host({sysctl.IPV4: "0"}), True, None)


@pytest.mark.parametrize(
    ("version", "link", "key", "of_link"),
    [
        ("ipv4", None, "net.ipv4.ip_forward", False),
        ("ipv6", None, "net.ipv6.conf.all.forwarding", False),
        ("ipv4", "eth0.5", "net.ipv4.conf.eth0/5.forwarding", True),
        ("ipv6", "br0", "net.ipv6.conf.br0.force_forwarding", True),
    ],
)
def test_forwarding_of_all_links_or_of_one(version, link, key, of_link):
    assert sysctl.forward_key(version, link) == key
    assert sysctl.is_of_link(key) is of_link
    assert not sysctl.is_of_link("net.ipv6.conf.br0.accept_ra")
