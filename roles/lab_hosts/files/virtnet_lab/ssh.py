# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH to the hosts: keys of this lab alone, a strict known_hosts, a client configuration, and the Ansible inventory."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any

from virtnet_lab.config import Config, Host
from virtnet_lab.hostfiles import HostKeys
from virtnet_lab.paths import NETNS, LabPaths
from virtnet_lab.proc import run, write_atomically


def ensure_keys(config: Config, paths: LabPaths) -> dict[str, HostKeys]:
    """Every host's keys; made once per lab, so that a host that is made anew keeps its identity."""
    (paths.ssh / "cp").mkdir(parents=True, exist_ok=True)
    paths.ssh.chmod(0o700)
    user = _key(paths.ssh / "id_ed25519", f"lab {config.lab}")
    keys = {}
    for host in config.hosts:
        key = _key(paths.ssh / f"host_{host.name}", host.name)
        keys[host.name] = HostKeys(authorized=_public(user), private=key.read_text(encoding="ascii"), public=_public(key))
    write_atomically(paths.ssh / "known_hosts", known_hosts(config, keys))
    write_atomically(paths.ssh / "config", client_config(config, paths))
    return keys


def _key(path: Path, comment: str) -> Path:
    if not path.with_suffix(".pub").exists():
        path.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path)
    return path


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text(encoding="ascii")


def known_hosts(config: Config, keys: dict[str, HostKeys]) -> str:
    return "".join(f"{host.name},{host.address.ip},{host.address6.ip} {keys[host.name].public}" for host in config.hosts)


def client_config(config: Config, paths: LabPaths) -> str:
    """For 'ssh -F FILE kvm1', and for Ansible, which adds it to every connection. Each connection goes through the
    controller's namespace, so no address of the lab is ever one of the machine's own."""
    lines = ["Host *"]
    options = {
        "User": "root",
        "IdentityFile": paths.ssh / "id_ed25519",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": paths.ssh / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ProxyCommand": f"nsenter --net={NETNS / paths.controller_netns} nc %h %p",
        # A host whose power was cut says no goodbye.
        "ServerAliveInterval": 5,
        "ServerAliveCountMax": 3,
        "ConnectTimeout": 10,
        "LogLevel": "ERROR",
    }
    lines += [f"    {name} {value}" for name, value in options.items()]
    for host in config.hosts:
        lines += [f"Host {host.name}", f"    HostName {host.address.ip}"]
    return "\n".join(lines) + "\n"


def inventory(config: Config, paths: LabPaths) -> dict[str, Any]:
    """The hosts as Ansible wants them."""
    groups: dict[str, Any] = {group: {"hosts": {}} for group in config.groups.values()}
    for host in config.hosts:
        groups[config.groups[host.kind]]["hosts"][host.name] = _hostvars(config, host)
    common = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(paths.ssh / "id_ed25519"),
        "ansible_ssh_common_args": f"-F {paths.ssh / 'config'}",
        # Two labs have hosts of the same address: without a folder of its own, one lab would be given the other's
        # connection. The name is plain so that a connection to a host that went away can be found and ended.
        "ansible_control_path_dir": str(paths.ssh / "cp"),
        "ansible_control_path": "%(directory)s/%%h-%%p-%%r",
        "ansible_python_interpreter": "/usr/bin/python3",
        **config.inventory_vars,
    }
    return {"all": {"vars": common, "children": groups}}


def _hostvars(config: Config, host: Host) -> dict[str, Any]:
    return {
        "ansible_host": str(host.address.ip),
        "lab_hosts_lab": config.lab,
        "lab_hosts_kind": host.kind,
        "lab_hosts_release": host.release,
        "lab_hosts_address": str(host.address.ip),
        "lab_hosts_address6": str(host.address6.ip),
        "lab_hosts_mac": host.mac,
    }


def answers(paths: LabPaths, host: Host, timeout: float) -> bool:
    """Whether a real login works: network, host key, user key."""
    command = ["ssh", "-F", str(paths.ssh / "config"), "-o", "BatchMode=yes", host.name, "true"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=timeout, check=False).returncode == 0
    return False


def end_connections(paths: LabPaths, host: Host | None = None) -> None:
    """End the shared connections that Ansible keeps open: all, or those to a host that is going away. Otherwise the next
    play would talk into a dead one."""
    pattern = f"{host.address.ip}-*" if host else "*"
    for socket in (paths.ssh / "cp").glob(pattern):
        command = ["ssh", "-F", "/dev/null", "-O", "exit", "-o", f"ControlPath={socket}", "lab"]
        subprocess.run(command, capture_output=True, timeout=10, check=False)
        socket.unlink(missing_ok=True)
