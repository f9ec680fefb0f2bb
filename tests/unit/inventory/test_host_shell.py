# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way through a host, and commands on hosts outside of a play."""

from __future__ import annotations

import shlex
import threading

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.virtnet.kvm.plugins.plugin_utils import host_shell

OPTIONS = {
    "ssh_executable": "ssh", "ssh_args": "-C -o ControlMaster=auto -o ControlPersist=60s", "ssh_common_args": "",
    "ssh_extra_args": "", "host_key_checking": True, "port": None, "private_key_file": None, "remote_user": None, "timeout": 10,
}  # fmt: skip


def proxy(**options):
    """Return the words of the ProxyCommand as the shell that ssh(1) starts sees them, for 10.0.0.2:22."""
    option, value = host_shell.through(host_shell.jump_command("192.0.2.11", {**OPTIONS, **options}))
    assert option == "-o"
    name, _sign, command = value.partition("=")
    assert name == "ProxyCommand"
    # What ssh(1) does with its tokens.
    command = command.replace("%%", "\0").replace("%h", "10.0.0.2").replace("%p", "22").replace("\0", "%")
    return shlex.split(command)


def test_through_a_host():
    words = proxy()
    assert words[0] == "ssh"
    assert words[-3:] == ["-W", "[10.0.0.2]:22", "192.0.2.11"]
    # The first one counts, so the shared connection of ssh_args is none.
    assert words.index("ControlMaster=no") < words.index("ControlMaster=auto")
    assert "BatchMode=yes" in words
    assert not any(word.startswith(("User", "Port", "IdentityFile", "StrictHostKeyChecking")) for word in words)


def test_through_a_host_with_all_that_it_takes_to_get_there():
    words = proxy(
        ssh_common_args="-F '/etc/a lab/config'", ssh_extra_args="-o ProxyCommand='nsenter --net=/run/netns/x nc %h %p'",
        host_key_checking=False, port=2222, private_key_file="/keys/my key", remote_user="admin", timeout=5,
    )  # fmt: skip
    assert words[words.index("-F") + 1] == "/etc/a lab/config"
    # The tokens of the way to the host are left to the ssh that goes there.
    assert "ProxyCommand=nsenter --net=/run/netns/x nc %h %p" in words
    for word in ("StrictHostKeyChecking=no", "Port=2222", 'IdentityFile="/keys/my key"', 'User="admin"', "ConnectTimeout=5"):
        assert word in words


def shell(variables, **options):
    return host_shell.HostShell("kvm1", variables, Templar(loader=DataLoader()), **options)


def test_ssh_options_are_those_of_the_variables():
    command = shell(
        {
            "ansible_host": "192.0.2.11", "ansible_port": 2222, "ansible_user": "admin",
            "ansible_ssh_common_args": "-o Compression=no",
            "ansible_ssh_private_key_file": "/keys/one",
        }
    ).jump()  # fmt: skip
    assert command[-1] == "192.0.2.11"
    for word in ("Port=2222", 'User="admin"', "Compression=no", 'IdentityFile="/keys/one"'):
        assert word in command


def test_a_name_is_enough():
    assert shell({}).jump()[-1] == "kvm1"


def test_the_machine_itself_is_no_way_through():
    here = shell({"ansible_connection": "local"})
    assert here.jump() is None
    assert here.run(["cat"], b"what came in")[:2] == (0, "what came in")
    rc, _out, err = here.run(["sh", "-c", "echo no >&2; exit 3"], b"x")
    assert (rc, err.strip()) == (3, "no")


def test_becoming_root_is_ansibles_own_plugin():
    here = shell({"ansible_connection": "local", "ansible_become_method": "sudo"}, become=True)
    assert "sudo" in here._become.build_become_command("true", here.connection._shell)
    assert shell({"ansible_connection": "local", "ansible_become": False})._become is None
    assert shell({"ansible_connection": "local", "ansible_become": "yes"})._become is not None


def test_side_by_side():
    hangs = threading.Event()

    def fails():
        raise ValueError("no")

    try:
        found = host_shell.in_parallel({"a": lambda: 1, "b": fails, "c": hangs.wait, "d": lambda: 4}, 3, 1)
    finally:
        hangs.set()
    assert (found["a"], found["d"]) == (1, 4)
    assert isinstance(found["b"], ValueError)
    assert isinstance(found["c"], TimeoutError)
    assert host_shell.in_parallel({}, 5, 1) == {}


@pytest.mark.parametrize("kind", ["ssh", "ansible.builtin.ssh", "smart"])
def test_ssh_has_many_names(kind):
    assert shell({"ansible_connection": kind}).kind == "ssh"
