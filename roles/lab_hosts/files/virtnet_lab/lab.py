# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab as a whole: up, down, and what is asked of it in between."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from virtnet_lab import cgroups, host, image, machine, network, ssh
from virtnet_lab.config import PREFIX, Config, Host, load_saved, parse
from virtnet_lab.hostfiles import DHCP_HOSTS, GATEWAY_SERVICE, Entry, dhcp_hosts, host_files
from virtnet_lab.paths import CACHE, MACHINE_LOCK, STATE, LabPaths
from virtnet_lab.proc import LabError, Reporter, locked, run, write_atomically

# Device nodes a KVM host needs, if the machine has them: name below /dev -> mode and group in the host.
DEVICES = {"kvm": "0660 kvm", "vhost-net": "0660 kvm"}


def saved(paths: LabPaths) -> Config:
    """The configuration of a lab that is there."""
    try:
        return load_saved(paths.config)
    except FileNotFoundError:
        raise LabError(f"there is no lab '{paths.lab}' on this machine; 'up' makes one.") from None


def up(raw: Mapping[str, Any], report: Reporter) -> bool:
    """Have the lab as configured; True if anything had to be done."""
    config = parse(raw)
    paths = LabPaths(config.lab)
    machine.preflight(config, report)
    with _lab_locked(paths):
        image.ensure_images(config, report)
        with locked(MACHINE_LOCK, "waiting for another lab's command"):
            paths.root.mkdir(parents=True, exist_ok=True)
            paths.root.chmod(0o700)
            machine.raise_limits(config, report)
            cgroups.mount_tree()
        changed = _drop_strangers(config, paths, report)
        # Written before anything is made: a later 'down' finds all that an interrupted 'up' left.
        write_atomically(paths.config, json.dumps(raw, indent=1))
        if network.ensure_lan(config, paths):
            # The hosts' cables went with the old switch.
            for name in paths.hosts():
                host.cut_power(paths.host(name))
            changed = True
        keys = ssh.ensure_keys(config, paths)
        devices = machine_devices()
        _write_inventory(config, paths)

        def ensure(item: Host) -> bool:
            files = host_files(config, item, keys[item.name], devices)
            base = image.image_path(config, item.release)
            place = paths.host(item.name)
            made = host.is_made_from(place, host.fingerprint(base, item, files))
            if made and host.is_on(place):
                state = host.system_state(place)
                if state in host.SETTLED:
                    report.say(f"{item.name}: up already ({state})")
                    return False
            else:
                if not made:
                    host.create(place, base, item, files)
                ssh.end_connections(paths, item)
                report.say(f"{item.name}: booting ({item.kind}, Debian {item.release}, {item.address.ip})")
                host.power_on(place)
            _await(config, paths, item, report)
            place.ready.touch()
            return True

        changed = any(_in_parallel(ensure, config.hosts)) or changed
    report.say(f"lab '{config.lab}' is up: {len(config.hosts)} hosts; inventory: {paths.inventory}")
    return changed


def down(lab: str, purge: bool, report: Reporter) -> bool:
    """Remove every trace of the lab; works on whatever an interrupted command or a killed one left."""
    machine.require_root()
    paths = LabPaths(lab)
    with locked(paths.lock, f"waiting for another command on lab '{lab}'", remove=True):
        # Its folder is the first thing that a lab has and the last that goes. Without one, namespaces of the lab's names
        # are somebody else's.
        existed = paths.root.exists()
        if existed:
            report.say(f"lab '{lab}': going down")
            ssh.end_connections(paths)
            for name in paths.hosts():
                _end_processes_in(paths.host(name).netns)
            _in_parallel(lambda name: host.destroy(paths.host(name)), paths.hosts())
            cgroups.end(paths.cgroup)
            for netns in (paths.controller_netns, paths.lan_netns):
                _end_processes_in(netns)
                network.delete_netns(netns)
            shutil.rmtree(paths.root)
    with locked(MACHINE_LOCK, "waiting for another lab's command", remove=True):
        if not any(STATE.glob("*/")):
            machine.restore_limits(report)
            cgroups.unmount_tree()
            if STATE.exists():
                shutil.rmtree(STATE)
        if purge:
            _purge(report)
    report.say(f"lab '{lab}' is gone" if existed else f"there was no lab '{lab}'")
    return existed


def reboot(paths: LabPaths, name: str, report: Reporter) -> None:
    """An orderly reboot, asked for by ctrl-alt-del: it needs no network, no D-Bus and no logind in good health."""
    config = saved(paths)
    item, place = config.host(name), paths.host(name)
    before = host.leader(place)
    if before is None:
        raise LabError(f"host '{name}' is off.")
    report.say(f"{name}: rebooting")
    os.kill(before, signal.SIGINT)
    deadline = time.monotonic() + config.boot_timeout
    while host.leader(place) in (before, None):
        if time.monotonic() > deadline or not cgroups.populated(place.cgroup):
            raise LabError(f"{name} did not reboot within {config.boot_timeout} s.\n{host.evidence(place)}")
        time.sleep(0.05)
    ssh.end_connections(paths, item)
    _await(config, paths, item, report)


def cut_power(paths: LabPaths, name: str, report: Reporter) -> None:
    """The plug is pulled: nothing inside gets to know. The disk stays; 'start' or 'up' boots from it."""
    item = saved(paths).host(name)
    with _lab_locked(paths):
        host.cut_power(paths.host(name))
        ssh.end_connections(paths, item)
    report.say(f"{name}: off")


def start(paths: LabPaths, name: str, report: Reporter) -> None:
    config = saved(paths)
    item, place = config.host(name), paths.host(name)
    with _lab_locked(paths):
        if host.is_on(place):
            report.say(f"{name}: on already")
            return
        report.say(f"{name}: booting")
        host.power_on(place)
        _await(config, paths, item, report)


def remake(paths: LabPaths, name: str, changes: Mapping[str, str], report: Reporter) -> None:
    """Give one host a new disk and boot it; C(changes) of its variables are the lab's from then on."""
    saved(paths).host(name)
    with _lab_locked(paths):
        raw = json.loads(paths.config.read_text(encoding="utf-8"))
        next(item for item in raw[f"{PREFIX}hosts"] if item["name"] == name).update(changes)
        config = parse(raw)
        item, place = config.host(name), paths.host(name)
        keys, devices = ssh.ensure_keys(config, paths), machine_devices()

        def files(one: Host) -> dict[str, Entry]:
            return host_files(config, one, keys[one.name], devices)

        write_atomically(paths.config, json.dumps(raw, indent=1))
        ssh.end_connections(paths, item)
        report.say(f"{name}: made anew ({item.manager}, {item.addressing})")
        host.create(place, image.image_path(config, item.release), item, files(item))
        gateway = config.gateway
        if gateway.name != name and host.is_on(paths.host(gateway.name)):
            # It leases the host its own address, or no more.
            text = dhcp_hosts(config)
            read_again = f"systemctl kill --signal=HUP {GATEWAY_SERVICE}"
            run(*host.inside(paths.host(gateway.name), "sh", "-c", f"cat > /{DHCP_HOSTS} && {read_again}"), text=text)
            host.note(paths.host(gateway.name), image.image_path(config, gateway.release), gateway, files(gateway))
        host.power_on(place)
        _await(config, paths, item, report)
        place.ready.touch()


def status(paths: LabPaths) -> list[tuple[Host, str]]:
    """Every host and the state its systemd is in."""
    hosts = saved(paths).hosts
    return list(zip(hosts, _in_parallel(lambda item: host.system_state(paths.host(item.name)), hosts), strict=True))


def machine_devices() -> dict[str, str]:
    devices = {}
    for name, rights in DEVICES.items():
        with contextlib.suppress(FileNotFoundError):
            number = os.stat(f"/dev/{name}").st_rdev
            devices[name] = f"{rights} {os.major(number)}:{os.minor(number)}"
    return devices


def _lab_locked(paths: LabPaths) -> contextlib.AbstractContextManager[None]:
    return locked(paths.lock, f"waiting for another command on lab '{paths.lab}'")


def _in_parallel(function: Any, items: Any) -> list[Any]:
    """All are tried; then the first failure is raised with the texts of all of them."""
    with ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
        futures = [pool.submit(function, item) for item in items]
    failures = [str(future.exception()) for future in futures if isinstance(future.exception(), LabError)]
    if failures:
        raise LabError("\n".join(failures))
    return [future.result() for future in futures]


def _await(config: Config, paths: LabPaths, item: Host, report: Reporter) -> None:
    place = paths.host(item.name)
    began = time.monotonic()
    deadline = began + config.boot_timeout
    state = host.wait_until_up(place, deadline)
    if state != "running":
        raise LabError(f"{item.name} did not come up, its state is '{state}'.\n{host.evidence(place)}")
    while not ssh.answers(paths, item, timeout=15):
        if time.monotonic() > deadline:
            raise LabError(f"{item.name} runs but SSH does not answer.\n{host.evidence(place)}")
        time.sleep(0.1)
    report.say(f"{item.name}: running, SSH answers, {time.monotonic() - began:.1f} s")


def _drop_strangers(config: Config, paths: LabPaths, report: Reporter) -> bool:
    """Hosts that an earlier configuration had and this one has not."""
    strangers = [name for name in paths.hosts() if all(item.name != name for item in config.hosts)]
    for name in strangers:
        report.say(f"{name}: no longer configured, removing it")
        host.destroy(paths.host(name))
    return bool(strangers)


def _write_inventory(config: Config, paths: LabPaths) -> None:
    import yaml

    text = yaml.safe_dump(ssh.inventory(config, paths), sort_keys=False)
    write_atomically(paths.inventory, f"---\n# Made by virtnet_lab for lab '{config.lab}'.\n{text}")


def _end_processes_in(netns: str) -> None:
    """What still runs in a namespace of the lab: connections' nc, a forgotten tcpdump. They would keep it alive."""
    if network.netns_exists(netns):
        with contextlib.suppress(LabError):
            for pid in run("ip", "netns", "pids", netns).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def _purge(report: Reporter) -> None:
    """The cached images, unless a lab stands on them."""
    if STATE.exists():
        report.say("the cached images stay: another lab uses them")
    elif CACHE.exists():
        shutil.rmtree(CACHE)
        report.say(f"removed the cached images ({CACHE})")


def inventory_text(paths: LabPaths) -> str:
    saved(paths)
    return Path(paths.inventory).read_text(encoding="utf-8")
