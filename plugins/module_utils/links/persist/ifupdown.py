# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ifupdown as the keeper of links: its files, and the moment at which it adopts links that ip(8) has set up."""

from __future__ import annotations

import glob
import os
import shutil

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_adopt as shell
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_files as texts
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_stanzas as read


class Ifupdown:
    """Writes C(/etc/network/interfaces.d/virtnet-*) and enters links into ifupdown's state as ifup(8) would have left them."""

    name = "ifupdown"
    #: Kinds of links that it must have made itself.
    makes = ("bridge",)
    #: Ports are moved by ip(8).
    moves = False

    def __init__(self, host):
        self._host = host
        self._files = {}
        self._stanzas = []
        self._sources = []
        self._states = {}
        self._leased = []

    @staticmethod
    def available(host):
        if shutil.which("ifup", path="/usr/sbin:/sbin") is None:
            return False
        if set(read.states(files.read(read.STATE) or "")) - {"lo"}:
            return True
        return host.run(["systemctl", "is-enabled", "--quiet", "networking.service"], check=False)[0] == 0

    # -- reading --------------------------------------------------------------------------------------------------

    def gather(self):
        """Read all files of ifupdown's, its state and its DHCP client's leases once."""
        self._files = {path: files.read(path) or "" for path in sorted(glob.glob(texts.path("*")))}
        self._states = read.states(files.read(read.STATE) or "")
        self._leased = [
            route for path in glob.glob(f"{read.LEASES}/dhclient.*.leases") for route in read.leased(files.read(path) or "")
        ]
        self._stanzas, self._sources = [], []
        seen, todo = set(), [read.MAIN]
        while todo:
            path = todo.pop(0)
            if path in seen or not os.path.isfile(path):
                continue
            seen.add(path)
            stanzas = read.parse(files.read(path) or "")
            patterns = read.sources(stanzas)
            self._sources += patterns
            for pattern in patterns:
                found = sorted(glob.glob(pattern + "*" if pattern.endswith("/") else pattern))
                todo += [one for one in found if read.is_sourced(one, [pattern])]
            if path not in self._files or texts.HEADER not in self._files[path]:
                self._stanzas += stanzas

    def own(self, name):
        """Return {path: text} of our file for a link; one in its place that is not ours is a Conflict."""
        path = texts.path(name)
        text = self._files.get(path)
        if text is None:
            return {}
        if texts.HEADER not in text:
            raise Conflict(f"{path} is not one of virtnet.kvm's", name, cure="Move it away.")
        return {path: text}

    def made(self, name):
        """Whether our file says that we made the link."""
        return any(map(texts.is_made, self.own(name).values()))

    def managed(self):
        """Return the names of all links that ifup has set up."""
        return set(self._states) - {"lo"}

    def base(self, name):
        """Return the text of the stanzas that a link has; None if there are none, or ifup has not set it up."""
        return (self._start(name) or None) if name in self._states else None

    def dns(self, name):
        """Return the DNS servers that our file names."""
        return self.dns_of(self._files.get(texts.path(name), ""))

    @staticmethod
    def dns_of(text):
        """Return the DNS servers that a file names."""
        return texts.File(text).dns

    def ageing(self, name):
        """Return the ageing time of a bridge that our file names, in seconds; None without one."""
        return texts.ageing(self._files.get(texts.path(name), ""))

    def remembered(self, name):
        """Return what our file has of a link that is down, as part of a form; None if there is no such file."""
        text = self._files.get(texts.path(name))
        if text is None:
            return None
        file = texts.File(text)
        gateway, routes, metrics = forms.split_gateways(file.routes)
        return {"addresses": file.addresses, "gateway": gateway, "metrics": metrics, "routes": routes}

    # -- what shall be written ------------------------------------------------------------------------------------

    def _place(self, name):
        """Return the path of our file for a link; raise Unsupported where ifupdown would not read it."""
        path = texts.path(name)
        if not read.is_sourced(path, self._sources):
            raise Unsupported(
                f"{read.MAIN} does not source {path}", name, option="manager",
                cure=f"Add the line 'source {texts.FOLDER}/*' to it, or say manager: none.",
            )
        return path

    def _undeclared(self, form, text):
        """Return a form without the routes that a DHCP client has made, which dhclient leaves unmarked."""
        if not texts.File(text).dynamic:
            return form
        gateway = [one for one in form["gateway"] if {"to": "0.0.0.0/0", "via": one, "metric": None} not in self._leased]
        return {**form, "gateway": gateway, "routes": [one for one in form["routes"] if one not in self._leased]}

    def link_files(self, form, base=None, dns=None):
        """Return {path: text} of a link that we made: a bridge, a tap or a tun.

        :param base: text to start from, instead of our own file of before.
        """
        path = self._place(form["name"])
        start = base if base is not None else self._files.get(path, "")
        return {path: texts.link(self._undeclared(form, start), start, dns)}

    def successor(self, port):
        """Return the text a bridge's file starts from when it takes the place of a port; None if ifup has not set that up."""
        base = self.base(port.name)
        if base is None:
            return None
        metric = next((row["metric"] for row in port.dynamic_routes if row.get("protocol") == "dhcp" and row.get("metric")), None)
        return texts.successor(base, port.name, metric, link_local=port.row.get("inet6_addr_gen_mode") != "none")

    def _logical(self, name, is_port=False):
        """Return the logical name of a link whose stanzas stand in a file of ours; raise Unsupported if others map it."""
        if read.is_mapped(self._stanzas, name):
            raise Unsupported(
                f"{read.MAIN}, or a file it sources, has a mapping of it", name, option="manager",
                cure="Give the link a stanza of its own name, or say manager: none for a change until the next boot.",
            )
        aliases = sorted(one for one in self._states if one.startswith(f"{name}:"))
        if aliases:
            raise Unsupported(
                f"ifup gives it the addresses of {', '.join(aliases)} too", name, option="manager",
                cure="Write them as further iface stanzas of the link itself (interfaces(5)), or say manager: none.",
            )
        return texts.logical(name, self._states.get(name, ""), is_port)

    def _user(self, name):
        """Return the text of a link's stanzas that are not ours, whether ifup has set it up or not."""
        return "\n".join(one.text() for one in self._stanzas if one.kind == "iface" and one.name == name)

    def _start(self, name):
        """Return the text that a file of ours for a link starts from: the one of before, or its user's stanzas."""
        return self._files.get(texts.path(name)) or self._user(name)

    def existing_files(self, form, declared, added=(), removed=()):
        """Return {path: text} of a link that is there without us: none if its own stanzas say all that is declared.

        :param added: routes that the file has beside its others, unless C(declared) has the routes; C(removed), the contrary.
        """
        name = form["name"]
        path = texts.path(name)
        own, user = self._files.get(path), self._user(name)
        start = own or user
        if own is not None and texts.is_made(own):
            return self._made_files(form, declared, own, added, removed)
        form = self._undeclared(form, start)
        is_port = own is not None and texts.is_port(own)
        text = texts.existing(
            form, self._logical(name, is_port), start, declared, read.brought_up(self._stanzas, name), added, removed
        )
        if own is None and name in self._states and texts.same(text, user):
            return {}
        return {self._place(name): text}

    def _made_files(self, form, declared, own, added, removed):
        """Return {path: text} of a link that host_bridge or tap_iface made, with other routes."""
        before = texts.File(own).routes
        if "routes" not in declared:
            wanted = [one for one in before if one not in removed]
            wanted += [one for one in added if one not in wanted]
            return {texts.path(form["name"]): texts.with_routes(own, form["name"], wanted)}
        return {texts.path(form["name"]): texts.with_routes(own, form["name"], forms.all_routes(self._undeclared(form, own)))}

    def port_files(self, name, bridge, uplink=False, options=None):
        """Return {path: text} of a bridge's port; with C(options) what is declared of it; the rest of our file stays."""
        text = texts.port(
            name, bridge, self._logical(name, is_port=True), self._start(name), read.brought_up(self._stanzas, name), options
        )
        return {self._place(name): text}

    @staticmethod
    def seeds(name, changes):
        """Return those of {path: text} by which a link is made."""
        path = texts.path(name)
        text = changes.get(path)
        return {path: text} if text is not None and texts.is_made(text) else {}

    # -- effects --------------------------------------------------------------------------------------------------

    def write(self, changes):
        """Write {path: text}; None removes the file."""
        for path, text in changes.items():
            if text is None:
                files.remove(path)
            else:
                files.write(path, text, mode=0o644)

    def _shell(self, lines, what):
        script = "\n".join([shell.functions(), *lines, "true"])
        self._host.run(["/bin/sh", "-c", script], what=what)

    def make(self, seeds):
        """Make links as their files say, {name: files}, with what must be set before they are up; they have no ports yet."""
        for one in seeds.values():
            self.write(one)
        names = [name for name, one in seeds.items() if one]
        self._shell([shell.making(name) for name in names], "making the links")
        for name in names:
            if not os.path.exists(f"/sys/class/net/{name}"):
                raise CommandFailed("it could not be made", name, cure=f"See the pre-up lines of {texts.path(name)}.")

    def let_go(self, names):
        """Stop the DHCP clients of links whose addresses are about to move: they would give them back, or ask for others."""
        self._shell(shell.letting_go(names), "stopping the DHCP client")

    @staticmethod
    def reload_lines(names):
        """Return the shell's commands for C(renew): what a host without its controller does."""
        return ["\n".join([shell.functions(), *map(shell.making, names)]), *shell.adoption(names, afresh=True)]

    def renew(self, names):
        """Have ifupdown take links for its own, and ask for their addresses anew."""
        self._shell(shell.adoption(names, afresh=True), "having ifupdown adopt the links")

    def restart(self, names):
        """As reload: ifupdown keeps nothing in mind."""
        self.reload(names)

    def reload(self, names):
        """Have ifupdown take links for its own as they are."""
        self._shell(shell.adoption(names), "having ifupdown adopt the links")
