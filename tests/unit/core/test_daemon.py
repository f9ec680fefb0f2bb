# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import daemon

# Messages as libvirt 9.0 and 11.3 give them.
MESSAGES = [
    ("Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory", "Start libvirtd"),
    ("Failed to connect socket to '/var/run/libvirt/libvirt-sock': Connection refused", "Start libvirtd"),
    ("Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied", "become: true"),
    ("authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'", "become: true"),
    ("no connection driver available for bogus:///system", "journal"),
]


@pytest.mark.parametrize(("message", "cure"), MESSAGES)
def test_a_refused_connection_says_what_cures_it(message, cure):
    error = daemon.refused("qemu:///system", message)
    assert message in str(error)
    assert cure in error.cure


def test_a_flushed_firewall_is_cured_by_a_restart():
    """As libvirt 9.0 and 11.3 say it."""
    for words in ("apply firewall rules /usr/sbin/", "run firewall command "):
        text = f"internal error: Failed to {words}iptables -w --table filter --insert LIBVIRT_INP --in-interface br0"
        assert "restart libvirtd" in daemon.cure(f"{text}: iptables: No chain/target/match by that name.")
    assert daemon.cure("internal error: Network is already in use by interface br0") is None


@pytest.mark.parametrize(
    ("uri", "remote", "session", "system"),
    [
        ("qemu:///system", False, False, True),
        ("qemu:///session", False, True, False),
        ("qemu+unix:///session?socket=/run/user/1000/libvirt/libvirt-sock", False, True, False),
        ("qemu+ssh://root@kvm2.example.com:2222/system?keyfile=/root/key", True, False, False),
        ("qemu+ssh://[fd00::1]/system", True, False, False),
        ("qemu+tls://kvm2/session", True, True, False),
        ("qemu+unix:///system", False, False, True),
        ("test:///default", False, False, False),
        ("lxc:///system", False, False, False),
    ],
)
def test_a_uri_says_whose_daemon_it_is(uri, remote, session, system):
    assert (daemon.is_remote(uri), daemon.is_session(uri), daemon.is_system(uri)) == (remote, session, system)
