# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rooms of links have in common: one reading, one ip -batch for a whole plan, the files of the manager."""

from __future__ import annotations

import contextlib
import os

from ansible_collections.virtnet.kvm.plugins.module_utils import engine, files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import (
    CommandFailed,
    Conflict,
    InvalidInput,
    Unsupported,
    VirtnetError,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.links import (
    batch,
    declared,
    forms,
    iproute2,
    management,
    neighbours,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import keepers as persist
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import guard, guard_text, journal

#: How long the gateway may be silent after the uplink has changed; then everything goes back.
GATEWAY_S = 5
#: Operations in which addresses move between links, and a DHCP client with them; they go alone.
MOVES = ("take_over", "give_back")


class LinkRoom(engine.Room):
    """Converges links.

    :param items: list of declared.Item.
    :param manager: who brings them back after a boot, from persist.choose.
    :param adopt: take over a link of that name that is not ours.
    """

    kind = "link"
    #: the fields of the normal form, beside C(owned) and C(files)
    fields: tuple[str, ...] = ()

    def __init__(self, host, items, manager, adopt=False):
        self.host = host
        self.items = items
        self.manager = manager
        self.adopt = adopt
        #: seconds that the controller has to come in anew after a change of its way to this host; 0 for no such switch
        self.window_s = 0
        self.links = {}
        self._guarded = []
        self._silent = set()
        self._away_s = None
        self._journal = {}
        self._prepared = set()
        self._made_already = set()
        self._queue = []
        self._done = set()
        self._failed = {}
        #: links that went and that the manager had files of
        self._gone = set()

    def extra(self, after):
        if not self._guarded:
            return {"manager": self.manager.name}
        away = {} if self._away_s is None else {"away_s": round(self._away_s, 2)}
        return {"manager": self.manager.name, "guard": guard.planned(self._guarded, self.window_s, **away)}

    # -- what is there --------------------------------------------------------------------------------------------

    def gather(self):
        self.links = self.read_links()
        self.manager.gather()
        self._journal = journal.load()
        return {
            item.name: self.normal(self.form(self.links[item.name]), self.manager.own(item.name))
            for item in self.items
            if item.name in self.links and self.present(item)
        }

    def read_links(self):
        return iproute2.read(self.host)

    def present(self, item):
        return True

    def owned(self, link):
        return link.alias == forms.ALIAS or self.manager.made(link.name)

    def form(self, link):
        """Return all that is known of a link, as batch and manager take it."""
        form = {**link.form, "owned": self.owned(link)}
        if self.manager.made(link.name):
            # The file is the mark too; a host without udev does not set the alias at boot.
            form["description"] = forms.ALIAS
        return form

    def full(self, link):
        """Return the form with what the kernel forgets of a link that is down, as far as the manager has it."""
        form = self.form(link)
        if form["state"] == "down":
            form.update(self.manager.remembered(link.name) or {})
        return form

    def normal(self, form, texts):
        """Return what the result shows of a form, and its files."""
        shown = {key: form[key] for key in self.fields}
        if "addresses" in shown:
            shown["addresses"] = sorted(shown["addresses"], key=forms.address_key)
        return {**shown, "owned": form["owned"], "files": texts}

    # -- what shall be --------------------------------------------------------------------------------------------

    def refuse_foreign(self, item):
        link = self.links.get(item.name)
        if link is not None and not self.adopt and not self.owned(link):
            raise Conflict(
                "a link of that name is there and is not ours", item.name, f"{item.option}.name",
                "Choose another name, or take it over with adopt: true.",
            )

    def check_ways(self, item, link, target):
        """Refuse addresses with which a route of the link would lose its gateway; the kernel drops it, or refuses the rest."""
        if "addresses" not in item.values:
            return
        dynamic = [f"{row['local']}/{row['prefixlen']}" for row in link.dynamic] if link else []
        lost = forms.lost_routes(target, dynamic)
        if lost:
            raise InvalidInput(
                f"no address is left in whose subnet the gateway {lost[0]['via']} to {lost[0]['to']} is", item.name,
                f"{item.option}.addresses", "Declare an address of that subnet too, or other routes and gateways.",
            )

    @contextlib.contextmanager
    def asked_of_manager(self, item):
        """Name the item's own option in what the manager refuses of it."""
        try:
            yield
        except (Conflict, Unsupported) as error:
            if error.option != "manager":
                error.option = f"{item.option}.{error.option or 'name'}"
            raise

    def journal_key(self, name):
        """Return the journal's key of a link."""
        return f"{self.kind}:{name}"

    def op(self, item, current, after, texts, **more):
        """Return the Op between two effective forms, or None if nothing differs."""
        own = more.get("own", self.manager.own(item.name))
        changes = self._changes(own, texts)
        lines, undo = more.get("lines") or (batch.between(current, after), batch.between(after, current))
        if not lines and not changes and not more.get("always"):
            return None
        early, verb = more.get("early", {}), more.get("verb") or self._verb(current, after, lines)
        again = verb == "recreate" and after["type"] in self.manager.makes
        if self.manager.moves and (after is None or again):
            # It would make the link anew as soon as that is gone.
            early = changes if after is None else dict.fromkeys(own)
        if again:
            lines, undo = (batch.create({**self.for_ip(one), "made": True}) for one in (after, current))
        elif current is None and after and after.get("made") and "lines" not in more:
            lines = batch.create(self.for_ip(after))
        return Op(
            self.kind, item.name, verb, more.get("effect", "none"),
            note=self._note(current, after, changes),
            args={
                "lines": lines, "undo": undo, "files": changes,
                "old_files": {path: own.get(path) for path in changes}, "baseline": more.get("baseline", {}),
                "sysctls": more.get("sysctls", {}), "gateways": more.get("gateways", []), "names": more.get("names", []),
                "early": early, "seeds": self.manager.seeds(item.name, texts),
                "create": (current is None and after is not None) or again,
                "delete": (current is not None and after is None) or again, "after": after, "moves": more.get("moves", []),
            },
        )

    def for_ip(self, form):
        """Return the form as far as ip(8) is to set it up: what the manager makes or moves has its addresses from there."""
        if form is None or not self.manager.moves:
            return form
        return {**form, "addresses": [], "gateway": [], "routes": []}

    @staticmethod
    def _changes(own, texts):
        return {path: texts.get(path) for path in {**own, **texts} if own.get(path) != texts.get(path)}

    @staticmethod
    def _verb(current, after, lines):
        if after is None:
            return "delete"
        if current is None:
            return "create"
        if lines and lines[0].startswith("link delete"):
            return "recreate"
        return "change" if lines else "store"

    def _note(self, current, after, changes):
        if current is None or after is None:
            return ""
        fields = [key for key in self.fields if current[key] != after[key]]
        return ", ".join(fields) or ", ".join(sorted(changes))

    def adopted(self, item):
        """Return {journal key: form} if a link that is not ours is about to become ours."""
        link = self.links.get(item.name)
        return {} if link is None or self.owned(link) else {self.journal_key(item.name): self.full(link)}

    def finished(self, plan, ops, restart=False):
        """Add the operations to a plan, and at their end that the manager reads its files."""
        plan.ops += [op for op in ops if op is not None]
        for op in plan.ops:
            # A link that is gone comes back by its files only.
            files.claim_writable(op.args["files"], op.name)
        if any(op.args["files"] for op in plan.ops):
            touched = sorted({name for op in plan.ops for name in (op.name, *op.args["names"])})
            plan.ops.append(
                Op(
                    "manager", self.manager.name, "restart" if restart else "reload",
                    args={"names": touched, "baseline": {}, "files": {}, "old_files": {}, "restart": restart},
                    follows=True,
                )
            )
        self._foresee(plan)
        return plan

    # -- never cut off ------------------------------------------------------------------------------------------------

    def _foresee(self, plan):
        """Note which links a plan changes that the controller's way leads through, or may lead through then."""
        ops = [op for op in plan.ops if op.kind == self.kind and (op.args["lines"] or op.args["files"])]
        if not self.window_s or not ops:
            return
        way, ends = management.way(self.host, self.links)
        for op in ops:
            names = {op.name, *op.args["names"]}
            if names & way or management.leads_elsewhere(op.args["lines"], ends):
                self._guarded = sorted(names | set(self._guarded))

    def guarded_files(self):
        """Return the paths of files that a change may write beside those of its operations."""
        return [journal.PATH]

    def arm(self, plan):
        if not self._guarded:
            return None
        ops = [op for op in plan.ops if op.kind == self.kind]
        paths = {path for op in ops for key in ("files", "early", "old_files") for path in op.args[key]}
        sysctls = {self.host.sysctl_path(key): self.host.sysctl(key) for op in ops for key in op.args["sysctls"]}
        undo = [line for op in reversed(ops) for line in op.args["undo"]]
        change = guard_text.Change(
            links=self._guarded,
            kernel=iproute2.batches(undo),
            files={path: os.path.exists(path) for path in sorted({*paths, *self.guarded_files()})},
            sysctls={path: value for path, value in sysctls.items() if value is not None},
            seeds={op.name: sorted(self._seeds_back(op)) for op in ops if self._seeds_back(op)},
            reload=self.manager.reload_lines(sorted({name for op in ops for name in (op.name, *op.args["names"])})),
            made=[op.name for op in ops if op.args["create"] and op.name not in self.links],
            ports={
                link.name: link.form["bridge"] for link in self.links.values()
                if link.form["bridge"] and {link.name, link.form["bridge"]} & set(self._guarded)
            },
        )  # fmt: skip
        self._silent = {
            gateway for name in self._guarded if name in self.links
            for gateway in forms.default_gateways(self.links[name].form)
            if not neighbours.answers(self.host, name, gateway, 1)
        }
        return guard.armed(self.host, change, self.window_s)

    def _seeds_back(self, op):
        """Return {path: text} of what the manager makes a link of that an operation has removed."""
        if not op.args["delete"]:
            return {}
        return {path: text for path, text in self.manager.seeds(op.name, op.args["old_files"]).items() if text is not None}

    def prove(self, plan):
        """Look whether the gateways on the changed links of the controller's way answer, if they did before."""
        for op in plan.ops:
            if op.kind != self.kind or op.name not in self._guarded or not op.args["after"]:
                continue
            for gateway in forms.default_gateways(op.args["after"]):
                if gateway not in self._silent and not neighbours.answers(self.host, op.name, gateway, GATEWAY_S):
                    raise self.silent(gateway, op.name, op.name)

    @staticmethod
    def silent(gateway, link, subject):
        return CommandFailed(
            f"the gateway {gateway} did not answer on {link} within {GATEWAY_S} s; everything was put back", subject,
            cure="Look whether the gateway is right, and whether the port is the one that leads to it.", changed=True,
        )

    def plan(self, before):
        raise NotImplementedError

    def machine(self):
        return (files.read("/etc/machine-id") or "").strip()

    # -- doing it -------------------------------------------------------------------------------------------------

    def baseline(self, before, plan):
        self._queue = [op for op in plan.ops if op.kind == self.kind]
        found = {}
        for op in plan.ops:
            found.update(op.args["baseline"])
        return found

    def apply(self, op):
        if op.kind == "manager":
            (self.manager.restart if op.args["restart"] else self.manager.reload)(op.args["names"])
            self._remove_again()
            return
        self._prepare(op)
        try:
            # Before, what allows (0); after, what forbids.
            self._set_sysctls({key: value for key, value in op.args["sysctls"].items() if value == 0})
            self._run_with_the_next(op)
            self._set_sysctls(op.args["sysctls"])
            self.manager.write(op.args["files"])
            if op.args["after"] is None and self._seeds_back(op):
                self._gone.add(op.name)
        except VirtnetError as error:
            if op.name in self._done:
                self._done.discard(op.name)
                self._failed[op.name] = error
                self._take_back(op, error, self._put_back)
            elif op.name in self._failed:
                self._forget(op)  # ip's own part is as it was
            raise

    def _remove_again(self):
        """Remove links that the manager has made anew: one that starts just then has read its files before they were gone.

        It answers once it has made all of them. The next run could not tell such a link from somebody else's.
        """
        back = sorted(name for name in self._gone if os.path.exists(f"/sys/class/net/{name}"))
        if back:
            iproute2.batch(self.host, [f"link delete dev {name}" for name in back], "removing it again", back[0], force=True)

    def _prepare(self, op):
        """Do what the manager must know or do before ip(8); once for each operation."""
        if op.name in self._prepared:
            return
        self._prepared.add(op.name)
        try:
            if op.args["early"] and not op.args["moves"]:
                self.manager.write(op.args["early"])
                self.manager.reload(op.args["names"])
            self._have_made(op)
        except VirtnetError as error:
            self._take_back(op, error, self._unmake)
            raise

    def _have_made(self, op):
        """Have the manager make this link if it must be its own, and with it all of the plan that were not there before."""
        seeds = {}
        for one in self._queue:
            if one.name in self._made_already or not one.args["create"] or one.args["moves"]:
                continue
            if one.args["after"]["type"] in self.manager.makes and (one is op or not one.args["delete"]):
                # All that it makes the link of, not what differs: a link that is gone may have its files still.
                seeds[one.name] = one.args["seeds"]
        self._made_already |= set(seeds)
        seeds = {name: found for name, found in seeds.items() if found}
        if seeds:
            self.manager.make(seeds)

    def _unmake(self, op):
        """Take back what the manager was told of a link to be made."""
        self.manager.write(op.args["old_files"])
        self.manager.reload([])
        self._forget(op)

    def _set_sysctls(self, sysctls):
        for key, value in sysctls.items():
            if self.host.sysctl(key) not in (None, str(value)):
                self.host.set_sysctl(key, value)

    def revert(self, op):
        if op.kind == "manager":
            return
        self._gone.discard(op.name)
        try:
            self._revert(op)
        except VirtnetError:
            # A manager that does not answer finds its files as they were when it is back.
            self.manager.write(op.args["old_files"])
            raise

    def _revert(self, op):
        if self.manager.moves and op.args["create"]:
            self.manager.write(dict.fromkeys(self.manager.seeds(op.name, op.args["files"])))
            self.manager.reload([])
        seeds = self._seeds_back(op)
        if seeds and not os.path.exists(f"/sys/class/net/{op.name}"):
            self.manager.make({op.name: seeds})
        if op.args["undo"]:
            iproute2.batch(self.host, op.args["undo"], "putting it back", op.name, force=True)
        self.manager.write(op.args["old_files"])
        if self.manager.moves:
            self.manager.renew([*op.args["names"], op.name])
        self._forget(op)

    @staticmethod
    def _take_back(op, error, how):
        """Take what was done of an operation back before C(error) is raised; the first error is the one to tell."""
        try:
            how(op)
        except VirtnetError as second:
            error.details.setdefault("not_reverted", []).append(f"{op.op}: {second}")

    def _put_back(self, op):
        self.revert(op)

    def _forget(self, op):
        """Forget what was journaled for an operation in this run; its object is as it was before."""
        journal.forget([key for key in op.args["baseline"] if key not in self._journal])

    def _run_with_the_next(self, op):
        """Carry out the lines of an operation, and in the same ip(8) those of all that follow it.

        A line that fails ends that process: the operations before it are done, its own is put back and raises when its
        turn comes, the ones after it go with the next.
        """
        if op.name in self._failed:
            raise self._failed[op.name]
        if op.name in self._done or not op.args["lines"]:
            return
        ahead = [one for one in self._queue[self._queue.index(op) :] if one.name not in self._done | set(self._failed)]
        ahead = [one for one in ahead if one is op or not (one.args["early"] or one.args["moves"] or one.op in MOVES)]
        for one in ahead:
            if one.args["delete"] and not one.args["create"] and not os.path.exists(f"/sys/class/net/{one.name}"):
                one.args["lines"] = [line for line in one.args["lines"] if not line.startswith("link delete ")]
        lines = [line for one in ahead for line in one.args["lines"]]
        together = batch.grouped(lines)
        try:
            iproute2.batch(self.host, together, "setting up the link")
        except CommandFailed as error:
            if together is not lines:
                # It can no longer be said whose line it was: one after the other then.
                self._one_by_one(ahead)
            else:
                self._blame(ahead, error)
        else:
            self._done |= {one.name for one in ahead}
        if op.name in self._failed:
            raise self._failed[op.name]
        if op.name not in self._done:
            self._run_with_the_next(op)

    def _one_by_one(self, ahead):
        for one in ahead:
            try:
                iproute2.batch(self.host, one.args["lines"], "removing the link", one.name)
                self._done.add(one.name)
            except CommandFailed as error:
                self._failed[one.name] = error

    def _blame(self, ahead, error):
        passed = 0
        for one in ahead:
            count = len(one.args["lines"])
            if error.details["line"] < passed + count:
                if error.details["line"] > passed:
                    # Not if its first line failed: what is there of that name then is not our doing.
                    iproute2.batch(self.host, one.args["undo"], "putting it back", one.name, force=True)
                error.subject = one.name
                self._failed[one.name] = error
                return
            passed += count
            self._done.add(one.name)
        raise error

    def finish(self, plan):
        gone = [item.name for item in self.items if not item.wanted]
        journal.forget([self.journal_key(name) for name in gone])


def run(module, room, kind):
    """Run a module of links with the option C(kind)."""

    def build(host):
        # The declaration is checked before the host is looked at.
        items = declared.parse(module.params[kind], kind)
        manager = persist.choose(host, module.params["manager"])
        found = room(host, items, manager, module.params.get("adopt", False))
        found.window_s = guard.window(module.params)
        return found

    engine.run_module(module, build)
