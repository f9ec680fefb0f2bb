# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from virtnet_lab.config import ADDRESSINGS, MANAGERS, check_lab_name, parse, read_raw, with_kvm_hosts
from virtnet_lab.paths import LabPaths
from virtnet_lab.proc import LabError, Reporter

EPILOG = "Everything is reached through namespaces: no address of the lab is ever one of this machine's own."


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="virtnet_lab", description="Real KVM hosts on one machine.", epilog=EPILOG)
    parser.add_argument("--lab", metavar="NAME", help="which lab; labs live side by side (default: lab)")
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="variables of the role lab_hosts as YAML or JSON; - is the standard input"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("preflight", help="check this machine, install the packages that are missing")
    commands.add_parser("image", help="build the base images that are not there")
    up = commands.add_parser("up", help="have the lab as configured; quick if it is up already")
    up.add_argument("--kvm-hosts", metavar="N", type=int, help="how many KVM hosts, kvm1 to kvmN, of the releases in turn")
    down = commands.add_parser("down", help="remove every trace of the lab")
    down.add_argument("--purge", action="store_true", help="the cached images too")
    commands.add_parser("status", help="the hosts and their states; fails unless all are running")
    commands.add_parser("inventory", help="print the Ansible inventory")
    for name, text in (
        ("reboot", "reboot a host, wait until it is back"),
        ("kill", "cut a host's power; it stays off, its disk stays"),
        ("start", "boot a host that is off"),
        ("shell", "a shell on a host, by SSH"),
    ):
        commands.add_parser(name, help=text).add_argument("host", metavar="HOST")
    remake = commands.add_parser("remake", help="make a host anew, its uplink in the hands of another manager if named")
    remake.add_argument("host", metavar="HOST")
    remake.add_argument("--manager", choices=MANAGERS)
    remake.add_argument("--addressing", choices=ADDRESSINGS)
    execute = commands.add_parser("exec", help="run a command in a host past its network: works when SSH does not")
    execute.add_argument("host", metavar="HOST")
    execute.add_argument("argv", metavar="-- CMD", nargs=argparse.REMAINDER)
    commands.add_parser("_supervise").add_argument("host")
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    # Modes are given where they matter; everything else is as on a stock system, whatever the user's shell prefers.
    os.umask(0o022)
    # su(1) without a dash keeps a user's PATH, without the folders of modprobe, nft and their like.
    os.environ["PATH"] = ":".join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    signal.signal(signal.SIGINT, _interrupted)
    try:
        return _dispatch(arguments)
    except LabError as error:
        print(f"virtnet_lab: {error}", file=sys.stderr, flush=True)
        return 1


def _interrupted(signal_number: int, frame: object) -> None:
    """Go at once: an exception would first wait for every thread's work to end, a build's minute or a boot's."""
    print("virtnet_lab: interrupted; the next 'up' or 'down' cleans what is half done", file=sys.stderr, flush=True)
    os._exit(130)


def _dispatch(arguments: argparse.Namespace) -> int:
    # Imported here, so that --help needs nothing.
    from virtnet_lab import host, image, lab, machine

    report = Reporter()
    command = arguments.command
    if command == "_supervise":
        host.supervise(LabPaths(arguments.lab).host(arguments.host))
        return 0
    if command in ("preflight", "image", "up"):
        machine.require_root()
        raw = read_raw(arguments.config, arguments.lab)
        if getattr(arguments, "kvm_hosts", None) is not None:
            raw = with_kvm_hosts(raw, arguments.kvm_hosts)
        config = parse(raw)
        if command == "up":
            report.say("changed" if lab.up(raw, report) else "unchanged")
        else:
            machine.preflight(config, report)
            report.say("this machine has what the lab needs")
            if command == "image":
                image.ensure_images(config, report)
        return 0
    machine.require_root()
    name = check_lab_name(arguments.lab if arguments.lab is not None else "lab")
    if command == "down":
        report.say("changed" if lab.down(name, arguments.purge, report) else "unchanged")
        return 0
    return _with_lab(arguments, LabPaths(name), report)


def _with_lab(arguments: argparse.Namespace, paths: LabPaths, report: Reporter) -> int:
    """The commands on a lab that is there."""
    from virtnet_lab import host, lab

    command = arguments.command
    if command == "status":
        states = lab.status(paths)
        for item, state in states:
            print(f"{item.name:15} {item.kind:8} {item.release:9} {item.address.ip!s:15} {item.address6.ip!s:20} {state}")
        return 0 if all(state == "running" for _host, state in states) else 1
    if command == "inventory":
        sys.stdout.write(lab.inventory_text(paths))
    elif command == "reboot":
        lab.reboot(paths, arguments.host, report)
    elif command == "kill":
        lab.cut_power(paths, arguments.host, report)
    elif command == "start":
        lab.start(paths, arguments.host, report)
    elif command == "remake":
        given = {"manager": arguments.manager, "addressing": arguments.addressing}
        lab.remake(paths, arguments.host, {key: value for key, value in given.items() if value}, report)
    elif command == "shell":
        lab.saved(paths).host(arguments.host)
        os.execvp("ssh", ["ssh", "-F", str(paths.ssh / "config"), arguments.host])  # noqa: S606
    elif command == "exec":
        lab.saved(paths).host(arguments.host)
        words = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
        return subprocess.call(host.inside(paths.host(arguments.host), *(words or ["bash", "--login"])))
    return 0
