# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command on a host outside of a play, over the connection that a play would have: Ansible's own plugins, its variables.

And the way on from there: the arguments with which SSH goes through that host.
"""

from __future__ import annotations

import os
import shlex
import threading
import time

from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader


class HostShell:
    """A connection to one host.

    :param name: its name in the inventory.
    :param variables: its variables, C(ansible_host) and the like; values that are templates are resolved.
    :param templar: what resolves them.
    :param become: whether to become root; None is what the variables say.
    """

    def __init__(self, name, variables, templar, become=None):
        self.name = name
        self._variables = {**variables, "inventory_hostname": name}
        self._templar = templar
        templar.available_variables = self._variables
        kind = self._value("ansible_connection") or constants.config.get_config_value("DEFAULT_TRANSPORT")
        self.kind = "ssh" if kind in ("smart", "ansible.builtin.ssh") else kind.rpartition("ansible.builtin.")[2]
        context = PlayContext()
        context.remote_addr = self._value("ansible_host") or name
        # What connection plugins of older collections take without saying so.
        self.connection = connection_loader.get(
            self.kind, context, new_stdin=None, task_uuid="", ansible_playbook_pid=str(os.getpid())
        )
        if self.connection is None:
            raise AnsibleError(f"the connection plugin {self.kind} is not here")
        self._set_options("connection", self.connection)
        self._become = None
        if boolean(self._value("ansible_become") or False) if become is None else become:
            method = self._value("ansible_become_method") or constants.config.get_config_value("DEFAULT_BECOME_METHOD")
            self._become = become_loader.get(method)
            if self._become is None:
                raise AnsibleError(f"the become plugin {method} is not here")
            self._set_options("become", self._become)
            self.connection.set_become_plugin(self._become)
            context.become, context.become_method = True, method

    def _value(self, key):
        return self._templar.template(self._variables[key]) if key in self._variables else None

    def _set_options(self, kind, plugin):
        known = constants.config.get_plugin_vars(kind, plugin._load_name)
        plugin.set_options(var_options={key: self._value(key) for key in known if key in self._variables})

    def run(self, command, data):
        """Run C(command), a list, with the bytes C(data) as its input; return (rc, stdout, stderr) as texts."""
        line = shlex.join(command)
        if self._become:
            line = self._become.build_become_command(line, self.connection._shell)
        try:
            rc, out, err = self.connection.exec_command(line, in_data=data, sudoable=self._become is not None)
        finally:
            self.connection.close()
        return rc, out.decode(errors="replace"), err.decode(errors="replace")

    def jump(self):
        """Return the command, a list, with which SSH is led through this host, or None if it is not reached by SSH."""
        if self.kind != "ssh":
            return None
        keys = (
            "ssh_executable", "ssh_args", "ssh_common_args", "ssh_extra_args", "host_key_checking", "port", "private_key_file",
            "remote_user", "timeout",
        )  # fmt: skip
        return jump_command(self.connection.get_option("host"), {key: self.connection.get_option(key) for key in keys})


def jump_command(host, options):
    """Return the command for C(options) of Ansible's ssh plugin. Pure, but for the home folder in a key's path."""
    # The first value that ssh(1) gets is the one that counts. Here it can ask nobody for anything, and shares no connection.
    command = [options["ssh_executable"], "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    for key in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        command += shlex.split(options[key] or "")
    if options["host_key_checking"] is False:
        command += ["-o", "StrictHostKeyChecking=no"]
    if options["port"] is not None:
        command += ["-o", f"Port={options['port']}"]
    if options["private_key_file"]:
        command += ["-o", f'IdentityFile="{os.path.expanduser(options["private_key_file"])}"']
    if options["remote_user"]:
        command += ["-o", f'User="{options["remote_user"]}"']
    return [*command, "-o", f"ConnectTimeout={options['timeout']}", "-W", "[%h]:%p", host]


def through(command):
    """Return ssh's arguments, a list, that lead through a jump_command(). Pure."""
    # ssh(1) replaces %h and %p, and whatever of the kind stands in the arguments of the way there.
    words = [shlex.quote(word if word == "[%h]:%p" else word.replace("%", "%%")) for word in command]
    return ["-o", "ProxyCommand=" + " ".join(words).replace("'[%h]:%p'", "[%h]:%p")]


def in_parallel(calls, workers, seconds):
    """Carry out C(calls), {key: function}, side by side; return {key: its value or its Exception}.

    What has not ended after C(seconds) is left to itself, and is a TimeoutError: a connection that hangs holds nobody up.
    """
    results, waiting, lock = {}, list(calls.items()), threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                key, call = waiting.pop(0)
            try:
                value = call()
            except Exception as error:  # noqa: BLE001  # told of by the caller; connection plugins raise what they like
                value = error
            results[key] = value

    threads = [threading.Thread(target=work, daemon=True) for _number in range(min(workers, len(calls)))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return {key: results.get(key, TimeoutError(f"it did not answer within {seconds} s")) for key in calls}
