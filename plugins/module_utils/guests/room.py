# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room of guests: converges the declared guests of one host."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import time
from typing import Any

from ansible_collections.virtnet.kvm.plugins.module_utils import libvirt_files
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, InvalidInput, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import bound, domain, images, kvm_probe, storage
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.agent import Agent, AgentSilent, in_parallel
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan

#: Seconds that a guest is away when it is restarted. A template's has SHUTDOWN_S to end; a Debian then boots in 60 s
#: without KVM on a processor of its own.
RESTART_S = 10.0
RESTART_TEMPLATE_S = 120.0


class GuestRoom(Room):
    """Brings guests to what was declared.

    :param guests: list of spec.Guest.
    :param client: client.Domains.
    :param host: host.Host.
    :param accelerator: C(auto), C(kvm) or C(tcg).
    :param restart: whether a running guest may be restarted for a change that needs it.
    :param wait: what a running guest must have before the call ends: C(address), C(agent) or C(none).
    :param wait_s: for how many seconds at most, all guests side by side.
    :param ports: firewall.ports.Ports, or None where the guests' links are not this host's.
    """

    key = "guests"

    def __init__(self, guests, client, host, accelerator="auto", restart=False, wait="address", wait_s=120, ports=None):
        self.guests = {guest.name: guest for guest in guests}
        self.client = client
        self.host = host
        self.asked = accelerator
        self.restart = restart
        self.wait = wait
        self.wait_s = wait_s
        self.bound = bound.Bound("guest", ports)
        self.found = {}
        self.image: Any = None  # images.Builtin, once a built-in guest is to be defined
        self.interfaces = {}
        self._pending_starts = []
        self._started = None
        self._defined = set()
        self._stopped = set()
        self._ipv6_only = set()

    # -- what is there ------------------------------------------------------------------------------------------------

    def gather(self):
        self.found = self.client.gather()
        self.bound.gather()
        return {name: self._form(self.found[name]) for name in self.guests if name in self.found}

    def _form(self, found):
        stored = _definition(found.main, running=False)
        pending = domain.differences(stored, _definition(found.live)) if found.active else []
        return {
            "name": found.name,
            "state": "running" if found.active else "stopped",
            "autostart": found.autostart,
            **stored,
            "pending": pending,
            "bound": bound.told(self.bound.of(found.name)),
        }

    @functools.cached_property
    def accelerator(self):
        """How guests run here, a kvm_probe.Answer; found out once."""
        if self.asked != "auto":
            return kvm_probe.Answer(self.asked, "asked for")
        answer = kvm_probe.recall() or kvm_probe.probe()
        if answer.accelerator == "kvm" and "kvm" not in self.client.types():
            return kvm_probe.Answer("tcg", "libvirt does not offer KVM; restart its daemon if /dev/kvm is new")
        return answer

    # -- what to do ---------------------------------------------------------------------------------------------------

    def plan(self, before):
        plan = Plan(after={})
        wanted = [guest for guest in self.guests.values() if guest.state != "absent"]
        for guest in self.guests.values():
            found = self.found.get(guest.name)
            if found and domain.mark_of(domain.load(found.main)) is None:
                raise Conflict(
                    "the host has a domain of that name that is not ours", guest.name, f"{guest.option}.name",
                    "Choose another name, or undefine that domain.",
                )  # fmt: skip
        self._check_taken(wanted)
        preparations, starts, ends = [], [], []
        for guest in list(self.guests.values()):
            form = before.get(guest.name)
            if guest.state == "absent":
                preparations += self._removal(guest, form)
            else:
                if guest.authorized_keys is None:
                    keys = tuple(form["authorized_keys"]) if form else ()
                    guest = self.guests[guest.name] = dataclasses.replace(guest, authorized_keys=keys)
                prepare, start, end = self._operations(guest, form, plan)
                preparations += prepare
                starts += start
                ends += end
        if any(op.op == "define" and self.guests[op.name].builtin for op in preparations):
            plan.ops += self._image_operations(plan)
        plan.ops += preparations + starts + ends
        self._bind(plan)
        self._check_networks([self.guests[op.name] for op in starts], plan)
        self._pending_starts = [op.name for op in starts]
        if self.client.system:
            libvirt_files.claim_removal(libvirt_files.GUESTS, [op.name for op in preparations if op.op == "undefine"])
        return plan

    def _bind(self, plan):
        """Put what binds the guests' ports before all else, and what frees them at the end."""
        restarted = {op.name for op in plan.ops if op.op == "stop"}
        for guest in self.guests.values():
            nics = []
            if guest.state != "absent":
                nics += [nic.declared for nic in guest.nics]
                found = self.found.get(guest.name)
                if found and found.live and guest.name not in restarted:
                    # Those that it keeps until its next start.
                    nics += _definition(found.live)["nics"]
            wanted = self.bound.want(guest.name, guest.name, nics)
            if guest.name in plan.after:
                plan.after[guest.name]["bound"] = bound.told(wanted)
        self.bound.plan(plan, self.found)

    def _check_taken(self, wanted):
        """Raise Conflict if another guest of this host has a MAC or a link's name that is wanted."""
        taken = {}
        for name, found in self.found.items():
            if name not in self.guests:
                for mac, dev in domain.macs_and_links(found.main):
                    taken[mac] = taken[dev] = name
        taken.pop("", None)
        for guest in wanted:
            for nic in guest.nics:
                for key, value in (("mac", nic.mac), ("dev", nic.dev)):
                    if value in taken:
                        raise Conflict(
                            f"{value} is that of the guest {taken[value]} on this host", guest.name, f"{nic.option}.{key}",
                            "Choose another one.",
                        )  # fmt: skip

    def _check_networks(self, guests, plan):
        networks = self.client.networks() if guests else {}
        for guest in guests:
            for nic in guest.nics:
                if nic.network not in networks:
                    problem = f"the host has no libvirt network {nic.network}"
                elif not networks[nic.network].active:
                    problem = f"the libvirt network {nic.network} is not active"
                else:
                    continue
                cure = "Declare it with virtnet.kvm.virt_net_model first."
                plan.unmet.append(InvalidInput(problem, guest.name, f"{nic.option}.network", cure))

    def _image_operations(self, plan):
        try:
            self.image = images.Builtin()
        except VirtnetError as error:
            plan.unmet.append(error)
            return [Op("image", "builtin", "build")]
        return [] if self.image.ready() else [Op("image", "builtin", "build", note=self.image.kernel.version)]

    def _removal(self, guest, form):
        name = guest.name
        ops = []
        if form:
            if form["state"] == "running":
                ops.append(Op("guest", name, "destroy", "recreate", (name,)))
            ops.append(Op("guest", name, "undefine"))
        if form or storage.left(name):
            ops.append(Op("guest", name, "remove"))
        return ops

    def _operations(self, guest, form, plan):
        """Return the operations of one guest: before any guest starts, starts, and after them."""
        name = guest.name
        wanted = domain.desired(guest, self.accelerator.accelerator)
        stored = {key: form[key] for key in wanted} if form else None
        prepare, start, end = [], [], []
        if not guest.builtin:
            prepare += self._disk_operations(guest, form, plan)
        elif form and not str(form["image"]).startswith("builtin"):
            _refuse_image(guest, form)
        if stored != wanted:
            note = "" if form is None else "changes " + ", ".join(domain.differences(wanted, stored))
            prepare.append(Op("guest", name, "define", note=note))
        running = bool(form and form["state"] == "running")
        pending = []
        if running and guest.state == "stopped":
            prepare.append(Op("guest", name, "stop", "recreate", (name,)))
        elif running:
            live = _definition(self.found[name].live)
            pending = domain.differences(wanted, live)
            nics = _live_nics(guest, wanted, live) if "nics" in pending else None
            if nics is not None and not (self.restart and pending != ["nics"]):
                prepare += nics
                pending.remove("nics")
            if pending and self.restart:
                note = "for " + ", ".join(pending)
                outage = RESTART_S if guest.builtin else RESTART_TEMPLATE_S
                prepare.append(Op("guest", name, "stop", "recreate", (name,), outage, note))
                start.append(Op("guest", name, "start"))
                pending = []
            elif pending:
                plan.warnings.append(
                    f"{name}: {', '.join(pending)} will be as declared after its next start; restart: true does it now."
                )
        elif guest.state == "running":
            start.append(Op("guest", name, "start"))
        autostart = guest.state == "running"
        if autostart != (form["autostart"] if form else False):
            end.append(Op("guest", name, "autostart", note="on" if autostart else "off"))
        plan.after[name] = {"name": name, "state": guest.state, "autostart": autostart, **wanted, "pending": pending}
        return prepare, start, end

    def _disk_operations(self, guest, form, plan):
        if form and form["image"] != guest.image and not str(form["image"]).startswith("builtin"):
            _refuse_image(guest, form)
        ops = []
        if not storage.has_disk(guest.name):
            try:
                storage.check_template(guest, self.host)
            except VirtnetError as error:
                plan.unmet.append(error)
            ops.append(Op("guest", guest.name, "disk", note=guest.image))
        elif form is None or form["image"] != guest.image:
            # Its domain was undefined by hand, and the disk is still there.
            image = storage.template_of(guest.name, self.host)
            if image != guest.image:
                _refuse_image(guest, {"image": image})
        if not (form and form["seed"] == guest.seed and storage.has_seed(guest.name)):
            try:
                storage.iso_maker()
            except VirtnetError as error:
                plan.unmet.append(error)
            ops.append(Op("guest", guest.name, "seed"))
        return ops

    # -- doing it -----------------------------------------------------------------------------------------------------

    def apply(self, op):
        try:
            if op.kind == "image":
                self.image.build()
            elif op.op in bound.OPS:
                self.bound.apply(op)
            else:
                getattr(self, "_do_" + op.op)(op)
        except VirtnetError:
            self.bound.failed.add(op.name)
            raise
        except OSError as error:
            self.bound.failed.add(op.name)
            raise CommandFailed(f"{op.op} failed: {error}", op.name) from error

    def _do_disk(self, op):
        storage.make_disk(self.guests[op.name], self.host)

    def _do_seed(self, op):
        storage.make_seed(self.guests[op.name], self.host)

    def _do_define(self, op):
        guest = self.guests[op.name]
        if guest.builtin:
            if not self.image.ready():
                raise CommandFailed("its image could not be built", op.name)
            paths = {"kernel": self.image.vmlinuz, "initrd": self.image.initrd}
        else:
            paths = {"disk": storage.disk(op.name), "seed": storage.seed(op.name)}
            if storage.readable_by_all(guest.image):
                paths["template"] = guest.image
        paths["console"] = storage.console(op.name)
        found = self.found.get(op.name)
        accelerator = self.accelerator.accelerator
        self.client.define(
            op.name, domain.render(guest, accelerator, paths, self.client.version, found.uuid if found else None)
        )
        self._defined.add(op.name)

    def _do_update_nic(self, op):
        xml = domain.changed_interface(self.client.live_xml(op.name), op.args["nic"])
        if xml is None:
            raise CommandFailed(f"its NIC {op.args['nic'].mac} is gone", op.name)
        self.client.update_nic(op.name, xml)

    def _do_stop(self, op):
        if self.guests[op.name].builtin:
            self.client.destroy(op.name)  # it has nothing that it could lose
        else:
            self.client.shutdown(op.name)

    def _do_destroy(self, op):
        self.client.destroy(op.name)

    def _do_start(self, op):
        """Start all guests side by side at the first one's turn; then each turn tells of its own."""
        if self._started is None:
            names = [name for name in self._pending_starts if name not in self.bound.failed]
            self._started = in_parallel({name: functools.partial(self.client.start, name) for name in names})
        if isinstance(self._started[op.name], VirtnetError):
            raise self._started[op.name]

    def _do_autostart(self, op):
        self.client.set_autostart(op.name, op.note == "on")

    def _do_undefine(self, op):
        self.client.undefine(op.name)

    def _do_remove(self, op):
        storage.remove(op.name)

    def revert(self, op):
        if op.op in bound.OPS:
            self.bound.revert(op)
            return
        found = self.found.get(op.name)
        if op.op == "define":
            if found is None:
                self.client.undefine(op.name)
            else:
                self.client.define(op.name, found.main)
            if op.name in self._stopped:
                self.client.start(op.name)
        elif op.op == "disk" and found is None:
            storage.remove(op.name)
        elif op.op == "start":
            self.client.destroy(op.name)
        elif op.op == "stop":
            # Its definition is put back first, if that was changed; operations are taken back from the last one on.
            if op.name in self._defined:
                self._stopped.add(op.name)
            else:
                self.client.start(op.name)

    def finish(self, plan):
        # The image goes with the last guest that starts from it; making it again takes half a second.
        used = [domain.kernel_of(domain.load(xml))[0] for one in self.found.values() for xml in (one.live, one.stored) if xml]
        images.tidy(used)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def settle(self, plan):
        """Wait, all guests side by side, until each running one has what C(wait) says."""
        if "accelerator" in self.__dict__ and self.accelerator.fresh:
            kvm_probe.remember(self.accelerator)
        if self.wait == "none":
            return
        running = [name for name, form in plan.after.items() if form["state"] == "running"]
        self._ipv6_only = {name for name, network in self.client.networks().items() if not network.ipv4} if running else set()
        results = in_parallel({name: functools.partial(self._await, name, plan.after[name]) for name in running})
        silent = {name: value for name, value in results.items() if isinstance(value, VirtnetError)}
        self.interfaces = {name: value for name, value in results.items() if name not in silent}
        if silent:
            name, error = next(iter(silent.items()))
            error.subject = error.subject or name
            error.details["consoles"] = {name: storage.console_tail(name) for name in silent}
            error.details["failures"] = [{"kind": "guest", "name": one, "msg": str(err)} for one, err in silent.items()]
            if len(silent) > 1:
                error.problem += f" (and so with {', '.join(list(silent)[1:])})"
            raise error

    def _await(self, name, form):
        deadline = time.monotonic() + self.wait_s
        agent = Agent(self.client.connection, name)
        agent.wait(self.wait_s)
        while True:
            try:
                links = agent.interfaces()
            except AgentSilent:
                # One that answered may fall silent again: a guest that reboots itself once cloud-init is through.
                if time.monotonic() >= deadline:
                    raise
                continue
            # What waits for a restart cannot come yet.
            lacking = [] if self.wait == "agent" or form["pending"] else _lacking(form["nics"], links, self._ipv6_only)
            if not lacking:
                return links
            if time.monotonic() >= deadline:
                raise CommandFailed(
                    f"no address after {self.wait_s} s on {', '.join(lacking)}", name,
                    cure="Look at the network's DHCP, at the guest's console (virsh console) and its log.", interfaces=links,
                )  # fmt: skip
            time.sleep(0.15)

    def extra(self, after):
        result = {"guests": [{**form, "interfaces": self.interfaces.get(name, [])} for name, form in after.items()]}
        if "accelerator" in self.__dict__:
            result["accelerator"] = self.accelerator.accelerator
            result["accelerator_reason"] = self.accelerator.reason
        return result


def _definition(xml, running=True):
    """Return the normal form of a domain's XML. A stopped guest cannot start once its image is gone, so that shows."""
    form = domain.parse(xml)
    if not running and form["image"] == "builtin" and not images.is_image(*domain.kernel_of(domain.load(xml))):
        form["image"] = "builtin, gone"
    return form


def _refuse_image(guest, form):
    raise InvalidInput(
        f"its disk was made from {form['image']}", guest.name, f"{guest.option}.image",
        "A disk is not thrown away on the quiet: remove the guest first (state: absent).",
    )  # fmt: skip


def _live_nics(guest, wanted, live):
    """Return the operations that make a running guest's NICs as wanted, or None if that takes a restart."""
    now = {nic["mac"]: nic for nic in live["nics"]}
    if [nic["mac"] for nic in wanted["nics"]] != list(now):
        return None
    ops = []
    for nic, form in zip(guest.nics, wanted["nics"]):
        parts = set(domain.differences(form, now[nic.mac]))
        if not parts <= {"network", "link"}:
            return None
        if parts:
            effect = "replug" if "network" in parts else "live"
            note = f"{nic.mac}: {', '.join(sorted(parts))}"
            ops.append(Op("guest", guest.name, "update_nic", effect, (guest.name,), note=note, args={"nic": nic}))
    return ops


def _lacking(nics, links, ipv6_only=()):
    """Return what is missing, as text: of each NIC that is up its static addresses, and one more for C(dhcp).

    DHCP means an IPv4 address, but on a network that has none: there a router advertisement brings one.
    """
    seen = {link["mac"]: link["addresses"] for link in links}
    lacking = []
    for nic in nics:
        if nic["link"] == "down":
            continue
        have = {ipaddress.ip_interface(text) for text in seen.get(nic["mac"], [])}
        static = {ipaddress.ip_interface(text) for text in nic["addresses"] if text != "dhcp"}
        missing = [str(one) for one in sorted(static - have, key=str)]
        if "dhcp" in nic["addresses"]:
            version = 6 if nic["network"] in ipv6_only else 4
            if not any(one.version == version and not one.is_link_local for one in have - static):
                missing.append("dhcp")
        if missing:
            lacking.append(f"{nic['mac']} ({nic['network']}: {', '.join(missing)})")
    return lacking
