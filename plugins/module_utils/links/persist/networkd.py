# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemd-networkd as the keeper of links: its files, and the moment at which it adopts them."""

from __future__ import annotations

import glob
import json
import os
import shlex
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, iproute2, sysctl
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import networkd_files as texts
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import units

UNIT = "systemd-networkd.service"
_FOLDERS = ("/etc/systemd/network", "/run/systemd/network", "/usr/lib/systemd/network", "/lib/systemd/network")
_LEASES = "/run/systemd/netif/leases"
_BUSY = ("pending", "initialized", "configuring")
_DEAF = ("off", "no-carrier")
WAIT_S = 30
#: After a reload networkd has begun to set links up anew within so many seconds.
ANEW_S = 1.5


class Networkd:
    """Writes C(/etc/systemd/network/00-virtnet-*) and has networkd adopt them."""

    name = "networkd"
    #: Kinds of links that it must have made itself.
    makes = ("bridge",)
    #: Ports are moved by ip(8).
    moves = False

    def __init__(self, host):
        self._host = host
        self._files = {}
        self._listed = None

    # -- reading --------------------------------------------------------------------------------------------------

    def gather(self):
        """Read all of our files once."""
        self._listed = None
        self._files = {
            path: files.read(path) or ""
            for pattern in (f"{texts.FOLDER}/{texts.PREFIX}*", texts.sysctl_path("*"))
            for path in sorted(glob.glob(pattern))
        }

    def own(self, name):
        """Return {path: text} of our files for a link; one in our place that is not ours is a Conflict."""
        found = {}
        for path in (*(texts.path(name, suffix) for suffix in ("link", "netdev", "network")), texts.sysctl_path(name)):
            text = self._files.get(path)
            if text is None:
                continue
            if texts.HEADER not in text:
                raise Conflict(f"{path} is not one of virtnet.kvm's", name, cure="Move it away.")
            found[path] = text
        return found

    def made(self, name):
        """Whether our files say that we made the link."""
        return any(path.endswith(".netdev") for path in self.own(name))

    @staticmethod
    def dns_of(text):
        """Return the DNS servers that a .network file names."""
        return texts.Network(text).values("Network", "DNS")

    def _links(self):
        if self._listed is None:
            _rc, out, err = self._host.run(["networkctl", "--json=short", "list"], check=False)
            try:
                rows = json.loads(out)["Interfaces"]
            except (ValueError, KeyError) as error:
                raise Unsupported(
                    f"networkctl --json=short list answered no JSON: {(err or out).strip()[:200]}",
                    cure="systemd 250 or newer is needed, or say manager: none.",
                ) from error
            self._listed = {row["Name"]: row for row in rows}
        return self._listed

    def managed(self):
        """Return the names of all links that networkd manages."""
        return {name for name, row in self._links().items() if row.get("AdministrativeState") != "unmanaged"}

    def base(self, name):
        """Return the text of the .network file, drop-ins included, that networkd has for a link; None if it has none."""
        row = self._links().get(name, {})
        path = row.get("NetworkFile")
        if not path or row.get("AdministrativeState") == "unmanaged":
            return None
        parts = [files.read(path) or ""]
        drop_ins = {}
        for folder in reversed(_FOLDERS):
            for one in glob.glob(f"{folder}/{os.path.basename(path)}.d/*.conf"):
                drop_ins[os.path.basename(one)] = one
        parts += [files.read(drop_ins[one]) or "" for one in sorted(drop_ins)]
        return "\n".join(parts)

    def iaid(self, link):
        """Return the IAID of a link's DHCPv4 lease, None without one."""
        return texts.iaid(files.read(f"{_LEASES}/{link.row['ifindex']}") or "")

    # -- what shall be written ------------------------------------------------------------------------------------

    def link_files(self, form, base=None, dns=None):
        """Return {path: text} of a link that we made: a bridge, a tap or a tun.

        :param base: text to start from, instead of our own file of before.
        """
        name = form["name"]
        start = base if base is not None else self._files.get(texts.path(name, "network"), "")
        found = {
            texts.path(name, "link"): texts.link(form),
            texts.path(name, "netdev"): texts.netdev(form),
            texts.path(name, "network"): texts.network(form, start, dns=dns, carrier_needed=False),
        }
        if not form.get("ipv6", True):
            found[texts.sysctl_path(name)] = texts.sysctls({sysctl.link_key(name, "disable_ipv6"): 1})
        return found

    def dns(self, name):
        """Return the DNS servers that our file names."""
        return self.dns_of(self._files.get(texts.path(name, "network"), ""))

    def ageing(self, name):
        """Return the ageing time of a bridge that our file names, in seconds; None without one."""
        value = texts.Network(self._files.get(texts.path(name, "netdev"), "")).get("Bridge", "AgeingTimeSec")
        return int(value) if value else None

    def successor(self, port):
        """Return the text a bridge's file starts from when it takes the place of a port; None if networkd has none."""
        base = self.base(port.name)
        return None if base is None else texts.successor(base, self.iaid(port))

    def existing_files(self, form, declared, added=(), removed=()):
        """Return {path: text} of a link that is there without us: none if its own file says all that is declared.

        :param added: routes that the file has beside its others, unless C(declared) has the routes; C(removed), the contrary.
        """
        path = texts.path(form["name"], "network")
        own, base = self._files.get(path), self.base(form["name"])
        text = texts.network(form, own or base or "", declared)
        if "routes" not in declared:
            text = texts.with_routes(text, added, removed)
        return {} if own is None and base is not None and texts.same(text, base) else {path: text}

    def remembered(self, name):
        """Return what our file has of a link that is down, as part of a form; None if there is no such file."""
        text = self._files.get(texts.path(name, "network"))
        if text is None:
            return None
        file = texts.Network(text)
        gateway, routes, metrics = forms.split_gateways(file.routes)
        return {"addresses": file.addresses, "gateway": gateway, "metrics": metrics, "routes": routes}

    def port_files(self, name, bridge, uplink=False, options=None):
        """Return {path: text} of a bridge's port; with C(options) what is declared of it; the rest of our file stays."""
        own = self._files.get(texts.path(name, "network"))
        return {texts.path(name, "network"): texts.port(name, bridge, own or self.base(name) or "", uplink, options)}

    @staticmethod
    def seeds(name, changes):
        """Return those of {path: text} from which networkd makes a link."""
        return {path: text for path, text in changes.items() if path in (texts.path(name, "link"), texts.path(name, "netdev"))}

    # -- effects --------------------------------------------------------------------------------------------------

    def write(self, changes):
        """Write {path: text}; None removes the file."""
        for path, text in changes.items():
            if text is None:
                files.remove(path)
            else:
                files.write(path, text, mode=0o644)

    def make(self, seeds):
        """Have networkd make links: {name: files}. One that it has not made itself it never takes for its own (systemd 257)."""
        for one in seeds.values():
            self.write(one)
        before = self._got(self._stale())
        self._host.run(["networkctl", "reload"], what="having systemd-networkd make the links")
        deadline = time.monotonic() + WAIT_S
        while missing := [name for name in seeds if not os.path.exists(f"/sys/class/net/{name}")]:
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"systemd-networkd did not make it within {WAIT_S} s", missing[0], cure="See journalctl -u systemd-networkd."
                )
            time.sleep(0.05)
        self._await_anew(before, deadline)

    def _stale(self):
        """Return the links that a reload sets up anew, for somebody has written their file since networkd read it.

        netplan does so at every daemon-reload. When networkd has read a file nobody knows, but when it was started.
        """
        self._listed = None
        started = units.since(UNIT)
        if started is None:
            return []
        files_of = {
            name: row.get("NetworkFile") or "" for name, row in self._links().items()
            if row.get("AdministrativeState") == "configured"
        }  # fmt: skip
        others = {name: path for name, path in files_of.items() if not os.path.basename(path).startswith(texts.PREFIX)}
        return [name for name, path in others.items() if os.path.exists(path) and os.stat(path).st_mtime > started]

    def _got(self, names):
        """Return {link: its addresses and routes, those that came by DHCP or router advertisement too}."""
        links = iproute2.read(self._host) if names else {}
        return {
            name: {
                *links[name].form["addresses"], *(row["local"] for row in links[name].dynamic),
                *(str(one) for one in forms.all_routes(links[name].form)),
                *(str(forms.route(row)) for row in links[name].dynamic_routes),
            }
            for name in names if name in links
        }  # fmt: skip

    def _await_anew(self, before, deadline):
        """Wait until links that networkd sets up anew, at its leisure, have again what they had: till then nothing can be moved.

        :param before: {link: what it had}.
        """
        patience = time.monotonic() + ANEW_S
        while before and time.monotonic() < deadline:
            time.sleep(0.1)
            self._listed = None
            busy = any(self._links().get(name, {}).get("AdministrativeState") in _BUSY for name in before)
            if time.monotonic() < patience or busy:
                continue
            now = self._got(before)
            if all(now.get(name, had) >= had for name, had in before.items()):
                return

    def let_go(self, names):
        """Nothing: networkd reads its files only when it is told to, and what it asked for by DHCP moves without it."""

    def _read_again(self):
        """Have networkd read its files; one that has just died (257 can, of a bridge that goes) is started again by systemd."""
        for again in range(20):
            if self._host.run(["networkctl", "reload"], check=again == 19, what="having systemd-networkd read its files")[0] == 0:
                return
            time.sleep(0.25)

    @staticmethod
    def reload_lines(names):
        """Return the shell's commands for C(renew): what a host without its controller does."""
        again = " ".join(map(str, range(20)))
        return [
            f"for again in {again}; do networkctl reload > /dev/null 2>&1 && break; sleep 0.25; done",
            *(f"networkctl reconfigure {shlex.quote(name)} > /dev/null 2>&1" for name in names),
        ]

    def renew(self, names):
        """Have networkd set links up anew, once it has read its files."""
        self._read_again()
        present = [name for name in names if os.path.exists(f"/sys/class/net/{name}")]
        if present:
            self._host.run(["networkctl", "reconfigure", *present], check=False)

    def restart(self, names):
        """As reload, but from scratch: networkd then takes links that are there for its own."""
        self._host.run(["systemctl", "restart", "systemd-networkd.service"], what="restarting systemd-networkd")
        self.reload(names)

    def reload(self, names):
        """Have networkd read its files and wait until it has done with the links C(names)."""
        self._read_again()
        again = set()
        # Links without a carrier stay 'configuring', since nobody can say whether their IPv6 addresses are free.
        patience = time.monotonic() + 0.5
        deadline = time.monotonic() + WAIT_S
        while True:
            self._listed = None
            busy = [name for name in names if self._unsettled(name, time.monotonic() > patience, again)]
            if not busy:
                return
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"systemd-networkd was not done with {', '.join(busy)} after {WAIT_S} s", busy[0],
                    cure=f"See networkctl status {busy[0]}.",
                )
            time.sleep(0.1)

    def _unsettled(self, name, patient, again):
        """Whether networkd is still busy with a link; C(again) are those it was asked to begin anew with."""
        row = self._links().get(name)
        if row is None:
            return False
        if row.get("AdministrativeState") == "failed" and row.get("CarrierState") == "off":
            # systemd 252 tries to set the routes of a link that is to be down, and calls that failed. What it has is read back.
            return False
        if row.get("AdministrativeState") == "failed" and name not in again:
            # Of a link that has failed once, for what reason ever, a reload alone leaves it so.
            again.add(name)
            self._host.run(["networkctl", "reconfigure", name], check=False)
            return True
        ours = texts.path(name, "network")
        if (row.get("NetworkFile") == ours) != os.path.exists(ours):
            return True
        if row.get("AdministrativeState") in _BUSY:
            return not (patient and row["AdministrativeState"] == "configuring" and row.get("CarrierState") in _DEAF)
        if row.get("AdministrativeState") == "failed":
            raise CommandFailed("systemd-networkd could not configure it", name, cure=f"See networkctl status {name}.")
        return False
