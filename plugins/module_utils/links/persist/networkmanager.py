# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NetworkManager as the keeper of links: its profiles, and how it comes to use them without a flap (nmcli(1)).

It moves an uplink by itself, addresses, DHCP client and DNS servers with it: faster than it would notice that somebody else
has. A profile is never activated on a bridge that is there already: NetworkManager would throw the guests' taps out of it.
"""

from __future__ import annotations

import glob
import grp
import json
import os
import pwd
import re
import shlex
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import networkmanager_files as texts

UNIT = "NetworkManager.service"
WAIT_S = 30
_RUN = "/run/NetworkManager/devices"
_EXTERNAL = "(externally)"
#: What a profile for a link that has none is to be of, by nmcli's types of devices
_TYPES = {"ethernet": "ethernet", "veth": "ethernet", "dummy": "dummy", "vlan": "vlan"}
#: nm-settings(5) calls them so in its own files, and in those of older versions
_PROFILE_TYPES = {"ethernet", "802-3-ethernet", "dummy", "vlan"}


class NetworkManager:
    """Writes C(/etc/NetworkManager/system-connections/virtnet-*) and has NetworkManager use them."""

    name = "NetworkManager"
    #: Kinds of links that it must have made itself.
    makes = ("bridge", "tap", "tun")
    #: It takes ports into a bridge and out again by itself.
    moves = True

    def __init__(self, host):
        self._host = host
        self._files = {}
        self._listed = None
        self._profiles = None
        self._machine = (files.read("/etc/machine-id") or "").strip()

    # -- reading --------------------------------------------------------------------------------------------------

    def gather(self):
        """Read all of our profiles once."""
        self._listed = self._profiles = None
        self._files = {path: files.read(path) or "" for path in sorted(glob.glob(texts.path("*")))}

    def own(self, name):
        """Return {path: text} of our profile of a link; one in its place that is not ours is a Conflict."""
        path = texts.path(name)
        text = self._files.get(path)
        if text is None:
            return {}
        if texts.HEADER not in text:
            raise Conflict(f"{path} is not one of virtnet.kvm's", name, cure="Move it away.")
        return {path: text}

    def made(self, name):
        """Whether our profile says that we made the link."""
        return texts.Keyfile(self._own(name)).type in ("bridge", "tun")

    def _own(self, name):
        return self._files.get(texts.path(name), "")

    def _nmcli(self, *arguments, **options):
        return self._host.run(["nmcli", *arguments], **{"what": "asking NetworkManager", **options})

    @staticmethod
    def _rows(text):
        """Return the rows of nmcli --terse: fields with a colon between, a colon of their own escaped."""
        for line in text.splitlines():
            yield [re.sub(r"\\(.)", r"\1", one) for one in re.split(r"(?<!\\):", line)]

    def _devices(self):
        """Return {name: (type, state, UUID of its profile)} of all links that NetworkManager knows."""
        if self._listed is None:
            _rc, out, _err = self._nmcli("--terse", "--fields", "DEVICE,TYPE,STATE,CON-UUID", "device")
            self._listed = {row[0]: tuple(row[1:4]) for row in self._rows(out)}
        return self._listed

    def _active(self, name):
        """Return the UUID of the profile that a link has; None without one of its own."""
        _type, state, uuid = self._devices().get(name, ("", "", ""))
        return None if _EXTERNAL in state else uuid or None

    def managed(self):
        """Return the names of all links that NetworkManager manages."""
        return {name for name, (_type, state, _uuid) in self._devices().items() if not state.startswith("unmanaged")}

    def _profile(self, name):
        """Return (text, UUID) of the profile that a link has now, (None, None) without one."""
        uuid = self._active(name)
        if uuid is None:
            return None, None
        if self._profiles is None:
            _rc, out, _err = self._nmcli("--terse", "--fields", "UUID,FILENAME", "connection", "show")
            self._profiles = {row[0]: row[1] for row in self._rows(out) if row[1:]}
        path = self._profiles.get(uuid) or ""
        if not path.endswith(".nmconnection"):
            raise Unsupported(
                f"its profile {uuid} is no keyfile, but {path or 'nowhere on the disk'}", name,
                cure=f"nmcli connection migrate {uuid} makes it one.",
            )
        return files.read(path) or "", uuid

    def base(self, name):
        """Return the text of the profile that a link has; None without one."""
        return self._profile(name)[0]

    def dns(self, name):
        """Return the DNS servers that our profile names."""
        return self.dns_of(self._own(name))

    @staticmethod
    def dns_of(text):
        return texts.Keyfile(text).dns

    def ageing(self, name):
        """Return the ageing time of a bridge that our profile names, in seconds; None without one."""
        value = texts.Keyfile(self._own(name)).get("bridge", "ageing-time")
        return int(value) if value else None

    # -- what shall be written ------------------------------------------------------------------------------------

    def _uuid(self, name):
        return texts.own_uuid(self._machine, name)

    @staticmethod
    def _refuse(form, option="state"):
        name = form["name"]
        if form["state"] == "down":
            raise Unsupported(
                "NetworkManager sets up every link that it manages: it cannot keep one that is down", name, option,
                "Say state: up, or manager: none for a change until the next boot.",
            )
        if form["type"] == "bridge" and not form.get("stp"):
            odd = [key for key in texts.WITH_STP if form.get(key, forms.BRIDGE_OPTIONS[key][1]) != forms.BRIDGE_OPTIONS[key][1]]
            if odd:
                raise Unsupported(
                    f"NetworkManager sets it only with the spanning tree, to {form[odd[0]]} here", name, odd[0],
                    "Say stp: true, or leave it as it is.",
                )
        NetworkManager._refuse_port(name, form.get("port"))

    @staticmethod
    def _refuse_port(name, options):
        if (options or {}).get("isolated"):
            raise Unsupported(
                "NetworkManager cannot keep a port isolated", name, "port_options",
                "Say manager: none for a change until the next boot.",
            )

    def link_files(self, form, base=None, dns=None):
        """Return {path: text} of a link that we made: a bridge, a tap or a tun.

        :param base: text to start from, instead of our own profile of before.
        """
        self._refuse(form)
        name = form["name"]
        if form["type"] != "bridge":
            form = {**form, "owner": _number(form["owner"], pwd), "group": _number(form["group"], grp)}
        return {texts.path(name): texts.made(form, self._uuid(name), self._own(name) if base is None else base, dns)}

    def successor(self, port):
        """Return the text a bridge's profile starts from when it takes the place of a port; None if that has none."""
        base = self.base(port.name)
        if base is None:
            return None
        state = files.read(f"{_RUN}/{port.row['ifindex']}") or ""
        client = re.search(r"^dhcp4\.dhcp_client_identifier=(.+)$", state, re.MULTILINE)
        own = [row["local"] for row in port.dynamic if row["family"] == "inet6" and row["prefixlen"] == 64]
        return texts.successor(base, self._metric(port.row["ifindex"]), client and client[1], own)

    @staticmethod
    def _metric(index):
        """Return the metric that NetworkManager has chosen for a link's routes; None if it has not."""
        found = re.search(r"^route-metric-default-effective=(\d+)$", files.read(f"{_RUN}/{index}") or "", re.MULTILINE)
        return int(found[1]) if found else None

    def existing_files(self, form, declared, added=(), removed=()):
        """Return {path: text} of a link that is there without us: none if its own profile says all that is declared.

        :param added: routes that the profile has beside its others, unless C(declared) has them; C(removed), the contrary.
        """
        name = form["name"]
        self._refuse(form)
        own = self._own(name)
        base, former = (own, None) if own else self._profile(name)
        if self.made(name):
            # The profile that makes it has its routes, too.
            more = {"declared": declared, "added": added, "removed": removed}
            return {texts.path(name): texts.existing(form, self._uuid(name), own, **more)}
        kind, metric = self._kind(name, base), self._metric((files.read(f"/sys/class/net/{name}/ifindex") or "").strip())
        text = texts.existing(form, self._uuid(name), base or "", former, kind, metric, declared, added, removed)
        return {} if not own and base is not None and texts.says_the_same(text, base) else {texts.path(name): text}

    def _kind(self, name, base):
        """Return the type of a link's profile; refuse what no second profile can stand in for."""
        kind = texts.Keyfile(base or "").type or _TYPES.get(self._devices().get(name, ("",))[0])
        if kind not in _PROFILE_TYPES:
            raise Unsupported(
                f"NetworkManager has it as {kind or 'something that it does not manage'}, of which there can be one profile only",
                name, cure="Change it there, or say manager: none for a change until the next boot.",
            )
        return kind

    def remembered(self, name):
        """Return what our profile has of a link that is down, as part of a form; None if there is no such profile."""
        if not self._own(name):
            return None
        file = texts.Keyfile(self._own(name))
        gateway, routes, metrics = forms.split_gateways(file.routes)
        return {"addresses": file.addresses, "gateway": gateway, "metrics": metrics, "routes": routes}

    def port_files(self, name, bridge, uplink=False, options=None):
        """Return {path: text} of a bridge's port; with C(options) what is declared of it; the rest of our profile stays."""
        del uplink
        self._refuse_port(name, options)
        own = self._own(name)
        base, former = (own, None) if own else self._profile(name)
        kind = self._kind(name, base)
        return {texts.path(name): texts.port(name, self._uuid(name), bridge, base or "", former, kind, options)}

    @staticmethod
    def seeds(name, changes):
        """Return those of {path: text} from which NetworkManager makes a link."""
        path = texts.path(name)
        made = texts.Keyfile(changes.get(path) or "").type in ("bridge", "tun")
        return {path: changes[path]} if made else {}

    # -- effects --------------------------------------------------------------------------------------------------

    @staticmethod
    def write(changes):
        """Write {path: text}; None removes the file."""
        for path, text in changes.items():
            if text is None:
                files.remove(path)
            else:
                files.write(path, text, mode=0o600)

    def _read_again(self):
        """Have NetworkManager read the profiles that we write, and forget those that are gone."""
        present = sorted(glob.glob(texts.path("*")))
        gone = {path: text for path, text in self._files.items() if path not in present}
        ours = [name for name in map(texts.name_of, gone) if self.made(name)]
        going = [name for name in ours if self._active(name) == self._uuid(name)]
        if present:
            self._nmcli("connection", "load", *present, what="having NetworkManager read its profiles")
        if gone:
            self._nmcli("connection", "reload", what="having NetworkManager read its profiles")
        for name in going:
            self._await("did not remove it", name, lambda name=name: not os.path.exists(f"/sys/class/net/{name}"))
        for name in ours:
            # If it was restarted meanwhile it takes the link for somebody else's.
            if name not in going and os.path.exists(f"/sys/class/net/{name}"):
                self._host.run(["ip", "link", "delete", "dev", name], check=False, subject=name)
        self._files = {path: files.read(path) or "" for path in present}
        self._listed = self._profiles = None

    def _await(self, what, name, done):
        deadline = time.monotonic() + WAIT_S
        while not done():
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"NetworkManager {what} within {WAIT_S} s", name, cure="See journalctl -u NetworkManager, and nmcli device."
                )
            time.sleep(0.05)
            self._listed = None

    def make(self, seeds):
        """Have NetworkManager make links: {name: files}. It does so by itself when it reads them."""
        for one in seeds.values():
            self.write(one)
        self._read_again()
        for name in seeds:
            self._await("did not make it", name, lambda name=name: self._is_set_up(name))
            self._await_addresses(name)

    def _await_addresses(self, name):
        """Wait until a link has the addresses of its profile: NetworkManager looks first whether somebody else has them."""
        wanted = set(texts.Keyfile(self._own(name) or self.base(name) or "").addresses)

        def there():
            _rc, out, _err = self._host.run(["ip", "-j", "address", "show", "dev", name], check=False)
            found = [one for row in json.loads(out or "[]") for one in row.get("addr_info", ()) if "local" in one]
            return wanted <= {f"{one['local']}/{one['prefixlen']}" for one in found}

        if wanted:
            self._await("did not give it its addresses", name, there)

    def _is_set_up(self, name):
        """Whether a link has its profile; without a carrier it goes on waiting for one for a while."""
        state = self._devices().get(name, ("", "", ""))[1]
        return os.path.exists(f"/sys/class/net/{name}") and (state == "connected" or "IP configuration" in state)

    def let_go(self, names):
        """Nothing: it moves DHCP clients by itself."""

    def move(self, names, bridge):
        """Have NetworkManager take ports into a bridge, or out of one: all profiles are written."""
        former = {name: texts.Keyfile(self._own(name)).former for name in names}
        self._read_again()
        for name in names:
            if self._own(name):
                self._up(name, self._uuid(name))
        for name in names:
            if not self._own(name):
                self._back(name, former[name])
        if self._active(bridge) == self._uuid(bridge):
            self._reapply(bridge)
            self._await_addresses(bridge)

    def _up(self, name, uuid):
        if self._active(name) != uuid:
            self._nmcli(
                "--wait", str(WAIT_S), "connection", "up", "uuid", uuid, "ifname", name, subject=name,
                what="having NetworkManager take the link",
            )
            self._listed = None

    def _back(self, name, former):
        """Have a link on the profile that it had before ours, C(former) its UUID if it had one."""
        if former is None:
            return
        until = time.monotonic() + 2
        while self._active(name) != former and time.monotonic() < until:
            time.sleep(0.05)
            self._listed = None
        self._up(name, former)
        self._await("did not set it up", name, lambda: self._devices().get(name, ("", ""))[1] == "connected")
        self._await_addresses(name)

    def reload(self, names):
        """Have NetworkManager read its profiles and use them for the links C(names), which are as they say."""
        former = {name: texts.Keyfile(self._own(name)).former for name in names}
        before = dict(self._files)
        self._read_again()
        for name in names:
            if not os.path.exists(f"/sys/class/net/{name}"):
                continue
            own, active = self._own(name), self._active(name)
            if own and active == self._uuid(name):
                self._reapply(name)
            elif own and active and texts.is_reapplied(own) and not texts.Keyfile(own).get("connection", "master"):
                # Another profile would take the link down for a moment. At the next boot ours is the first.
                self._nmcli("device", "modify", name, *texts.modification(own), subject=name)
            elif not own and texts.path(name) in before:
                if active is None or active != former[name]:
                    self._back(name, former[name])
                else:
                    self._reapply(name)
            if self._active(name) and not texts.Keyfile(own).get("connection", "master"):
                self._await_addresses(name)

    def _reapply(self, name):
        """Have NetworkManager use the profile of a link as it is now."""
        if not texts.is_reapplied(self._own(name) or self.base(name) or ""):
            return
        # What it cannot take over this way, it has when the link comes up the next time; the link itself is so already.
        rc, _out, _err = self._nmcli("device", "reapply", name, check=False)
        if rc and texts.Keyfile(self._own(name)).get("connection", "master"):
            # A port of a bridge since a moment ago: it would keep its link-local address.
            self._nmcli("device", "modify", name, "ipv4.method", "disabled", "ipv6.method", "disabled", check=False)

    restart = reload

    def renew(self, names):
        """Have links as the profiles say, after something of them was put back."""
        former = {name: texts.Keyfile(self._own(name)).former for name in names}
        self._read_again()
        for name in names:
            if self._own(name):
                if texts.Keyfile(self._own(name)).type != "bridge":
                    self._up(name, self._uuid(name))
            elif former[name]:
                self._back(name, former[name])
        for name in names:
            if os.path.exists(f"/sys/class/net/{name}") and self._active(name):
                self._reapply(name)

    def reload_lines(self, names):
        """Return the shell's commands for C(renew): what a host without its controller does."""
        lines = [
            # It may be on its way back.
            "for again in 1 2 3 4 5 6 7 8 9 10; do nmcli general > /dev/null 2>&1 && break; sleep 0.5; done",
            "nmcli connection reload > /dev/null 2>&1",
        ]
        for name in sorted(names, key=lambda one: texts.Keyfile(self._own(one)).type == "bridge"):
            uuid = self._active(name)
            if uuid is None:
                continue
            device = shlex.quote(name)
            has = f'[ "$(nmcli --get-values GENERAL.CON-UUID device show {device} 2> /dev/null)" = {uuid} ]'
            lines += [
                f"for again in 1 2 3 4 5 6 7 8 9 10; do {has} && break; sleep 0.2; done",
                f"{has} || nmcli --wait {WAIT_S} connection up uuid {uuid} ifname {device} > /dev/null 2>&1",
            ]
            if texts.is_reapplied(self._own(name) or self.base(name) or ""):
                lines.append(f"nmcli device reapply {device} > /dev/null 2>&1")
        return lines


def _number(account, database):
    """Return the number of a user or group, which NetworkManager wants instead of the name."""
    if account is None:
        return None
    try:
        return database.getpwnam(account).pw_uid if database is pwd else database.getgrnam(account).gr_gid
    except KeyError:
        return int(account)
