#!/usr/bin/env python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print all of a host that the collection could change, as JSON, so that before and after can be compared.

What is left out here is what docs/architecture.md lists under "What absent cannot bring back", and what changes by
itself (counters, lifetimes, random numbers).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess

FOLDERS = ("/etc", "/usr/local", "/opt", "/root", "/var/lib", "/var/spool", "/run/virtnet")
IGNORED = re.compile(
    r"/root/\.ansible|/var/lib/libvirt/dnsmasq/|/var/lib/libvirt/qemu/|/var/lib/systemd/(random-seed|timers|timesync|coredump)"
    r"|/var/lib/(dpkg|apt|private|logrotate|dbus)/|/etc/resolv\.conf$|/etc/\.pwd\.lock|/run/virtnet/(lock|kvm\.json)$|__pycache__"
    r"|/etc/libvirt/(secrets|storage)/|/var/lib/virtnet/guests$|/root/\.history_frr$|/var/lib/frr/"
)
SYSCTL = re.compile(
    r"^net\.(ipv[46]\.(ip_forward|conf\.[^.]+\.(forwarding|mc_forwarding|accept_ra|rp_filter|disable_ipv6|proxy_arp|proxy_ndp"
    r"|accept_redirects|send_redirects|arp_ignore|arp_announce|force_forwarding)) |bridge\.)"
)


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout


def ip(*arguments):
    return json.loads(run("ip", "-j", *arguments) or "[]")


def links():
    rows = {}
    for row in ip("-d", "link"):
        info = row.get("linkinfo", {})
        rows[row["ifname"]] = {
            "mtu": row.get("mtu"),
            "mac": row.get("address"),
            "master": row.get("master"),
            "up": "UP" in row.get("flags", []),
            "kind": info.get("info_kind"),
            "alias": row.get("ifalias"),
        }
    return rows


def addresses():
    return {
        row["ifname"]: sorted(f"{one['local']}/{one['prefixlen']}" for one in row.get("addr_info", ())) for row in ip("address")
    }


def routes():
    rows = []
    for family in ("-4", "-6"):
        for row in ip(family, "route", "show", "table", "all"):
            for key in ("expires", "flags", "metrics", "cache", "hoplimit", "pref", "nhid"):
                row.pop(key, None)
            rows.append(json.dumps(row, sort_keys=True))
    return sorted(rows)


def ruleset():
    """The nft ruleset, without libvirt's own chains where they are empty."""
    lines = []
    for line in run("nft", "-s", "list", "ruleset").splitlines():
        line = re.sub(r"counter packets \d+ bytes \d+", "counter", line).rstrip()
        lines.append(line)
    text = "\n".join(lines)
    text = re.sub(r"\n?\tchain LIBVIRT_\w+ \{\s*\}\n?", "\n", text)
    text = re.sub(r"\n[^\n]*jump LIBVIRT_\w+", "", text)
    text = re.sub(r"\tchain (INPUT|FORWARD|OUTPUT|PREROUTING|POSTROUTING) \{\s*type [^\n]*policy accept;\s*\}\n?", "", text)
    text = re.sub(r"#[^\n]*\n", "\n", text)
    text = re.sub(r"table \w+ \w+ \{\s*\}", "", text)
    return [line for line in text.splitlines() if line.strip()]


def files():
    rows = {}
    for top in FOLDERS:
        for folder, names, entries in os.walk(top):
            names[:] = [name for name in names if not IGNORED.search(os.path.join(folder, name) + "/")]
            for name in sorted(entries + [name for name in names if os.path.islink(os.path.join(folder, name))]):
                path = os.path.join(folder, name)
                if IGNORED.search(path):
                    continue
                try:
                    status = os.lstat(path)
                    if os.path.islink(path):
                        content = "-> " + os.readlink(path)
                    elif os.path.isfile(path):
                        with open(path, "rb") as handle:
                            content = hashlib.sha256(handle.read()).hexdigest()[:16]
                    else:
                        content = "special"
                except OSError:
                    continue
                rows[path] = f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"
    return rows


def sysctls():
    return sorted(line for line in run("sysctl", "-a").splitlines() if SYSCTL.match(line))


def units():
    """The unit files of the system and of this boot, as their paths; those in /etc are among the files.

    systemd itself takes half as long as all else here to tell them. Transient units are login sessions and the like; we make
    none that stays.
    """
    tops = ("/run/systemd/system", "/run/systemd/generator", "/usr/lib/systemd/system", "/usr/local/lib/systemd/system")
    return sorted(os.path.join(folder, name) for top in tops for folder, _names, entries in os.walk(top) for name in entries)


def main():
    snapshot = {
        "links": links(),
        "addresses": addresses(),
        "routes": routes(),
        "ruleset": ruleset(),
        "sysctls": sysctls(),
        "files": files(),
        "networks": sorted(run("virsh", "-q", "net-list", "--all").splitlines()),
        "guests": sorted(run("virsh", "-q", "list", "--all").splitlines()),
        "units": units(),
        "processes": sorted(line for line in run("ps", "-eo", "comm=").split() if line.startswith(("qemu", "dnsmasq", "nft"))),
    }
    print(json.dumps(snapshot, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
