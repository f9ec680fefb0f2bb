# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What frr_bgp converges: our part of FRR's BGP on one host, running and in its files."""

from __future__ import annotations

import ipaddress
import json
import os

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import frr_text
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import speaker as speakers
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp.frr import CONF, Frr
from ansible_collections.virtnet.kvm.plugins.module_utils.engine import Room
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Conflict, Unsupported, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.host import ETC
from ansible_collections.virtnet.kvm.plugins.module_utils.plan import Op, Plan
from ansible_collections.virtnet.kvm.plugins.module_utils.safety import journal

STORE = os.path.join(ETC, "bgp.json")
NAME = "bgp"
#: What was there before us: whether the BGP instance was, whether bgpd was started, whether the unit was enabled and ran,
#: whether there was a frr.conf.
_INSTANCE, _BGPD, _SERVICE, _CONF = "frr:instance", "frr:bgpd", "frr:service", "frr:conf"
#: That nobody had VXLAN segments told to others.
_EVPN = "frr:evpn"
_REMEMBERED = (_INSTANCE, _BGPD, _SERVICE, _CONF, _EVPN)


def _plain(text):
    """Return an address or a prefix as FRR prints it, however somebody wrote it."""
    for kind in (ipaddress.ip_address, ipaddress.ip_network):
        try:
            return str(kind(text))
        except ValueError:
            continue
    return text


class BgpRoom(Room):
    """The host's part in BGP.

    :param wish: speaker.Wish.
    :param wait: for how many seconds to wait for the sessions.
    """

    key = "bgp"

    def __init__(self, host, wish, wait=0):
        self._wish = wish
        self._wait = wait
        self._frr = Frr(host)
        self._kept = None
        self._journal = {}

    # --- what is there ---

    def gather(self):
        text = files.read(STORE)
        self._kept = None if text is None else speakers.from_stored(json.loads(text))
        self._journal = journal.load()
        frr = self._frr
        self._conf, self._list = frr.conf(), frr.daemons()
        self._enabled, self._active = frr.service() if self._list else (False, False)
        self._daemons, self._running = frr.running() if self._active else (set(), None)
        texts = [one for one in (self._conf, self._running) if one]
        # Nobody has one: the instance will be ours.
        found = [frr_text.read(one) for one in texts]
        self._own = frr_text.Own(
            _INSTANCE in self._journal or all(one.asn is None for one in found),
            _EVPN in self._journal or not any(one.evpn for one in found),
        )
        self._file_read = frr_text.read(self._conf or "", self._own)
        self._run_read = frr_text.read(self._running or "", self._own)
        if self._kept is None and not (self._file_read.ours or self._run_read.ours):
            return {}
        return {NAME: self._form(self._kept)}

    def _form(self, speaker):
        """Return the normal form, and whether FRR has all of it."""
        if speaker is None:
            asn = next(one.asn for one in (self._file_read, self._run_read) if one.ours)
            return {**speakers.form(speakers.Speaker(asn or 0)), "running": False, "persistent": False}
        return {
            **speakers.form(speaker),
            "running": "bgpd" in self._daemons and self._has(self._run_read, speaker),
            "persistent": self._has(self._file_read, speaker) and frr_text.starts(self._list) and self._enabled,
        }

    def _has(self, read, speaker):
        lines = frr_text.lines_of(speaker, self._own)
        return read.asn == speaker.asn and read.ours == frr_text.wanted(lines, read.rest, self._own)

    # --- what shall be ---

    def plan(self, before):
        speaker = self._wish.on(self._kept)
        if speaker is None:
            return self._plan_absent(before)
        missing = self._frr.missing()
        unmet = [missing] if missing else []
        if not missing and self._frr.separate():
            cure = "Set 'service integrated-vtysh-config' in vtysh.conf."
            unmet.append(Unsupported("FRR keeps a file for each daemon here", CONF, None, cure))
        self._refuse(speaker)
        after = {NAME: {**speakers.form(speaker), "running": True, "persistent": True}}
        if after == before:
            return Plan(after, [], self._told(), unmet)
        lines = frr_text.lines_of(speaker, self._own)
        texts = {
            "conf": frr_text.merged(self._file_read.rest, lines),
            "daemons": frr_text.with_daemon(self._list, True),
            "store": json.dumps(speakers.stored(speaker), indent=2) + "\n",
        }
        ops, now = [], before.get(NAME)
        if not now or not now["persistent"] or self._kept != speaker:
            ops.append(Op(NAME, NAME, "write", "none", args={**texts, "lines": lines}))
        if not now or not now["running"] or self._kept != speaker:
            ops.append(self._run_op(speaker, lines))
        return Plan(after, ops, self._told(), unmet)

    def _run_op(self, speaker, lines):
        """Return the operation that makes the running FRR do it, with what others notice."""
        args = {"lines": lines}
        if not self._active:
            return Op(NAME, NAME, "start", "live", note="starts FRR", args=args)
        if "bgpd" not in self._daemons:
            return Op(NAME, NAME, "enable", "live", note="starts bgpd; FRR's other daemons go on", args=args)
        if self._run_read.asn not in (None, speaker.asn):
            note = f"AS {self._run_read.asn} becomes {speaker.asn}: all sessions begin anew"
            return Op(NAME, NAME, "reload", "live", outage_s=float(2 * frr_text.CONNECT_S), note=note, args=args)
        anew = self._anew(speaker)
        if anew:
            note = f"sessions with {', '.join(anew)} begin anew"
            return Op(NAME, NAME, "reload", "live", outage_s=float(2 * frr_text.CONNECT_S), note=note, args=args)
        return Op(NAME, NAME, "reload", "live", note="sessions go on", args=args)

    def _anew(self, speaker):
        """Return the neighbours whose sessions shall carry something else than now, which only a new one can say."""
        known = self._kept.neighbors if self._kept else {}
        return sorted(
            name for name, one in speaker.neighbors.items()
            if name in known and (known[name].evpn, known[name].asn) != (one.evpn, one.asn)
        )  # fmt: skip

    def _refuse(self, speaker):
        """Raise Conflict if others have what was asked for, or another AS number."""
        for where, read in (("FRR's running configuration", self._run_read), (CONF, self._file_read)):
            if read.asn not in (None, speaker.asn) and not (self._own.instance and read.alone):
                raise Conflict(
                    f"BGP has the AS number {read.asn} in {where}, not {speaker.asn}, by somebody else's hand", NAME, "asn",
                    f"Give {read.asn}, or take that configuration away.",
                )  # fmt: skip
            theirs = {_plain(one) for one in read.neighbors}
            for name, one in sorted(speaker.neighbors.items()):
                for address in one.addresses:
                    if address in theirs:
                        raise Conflict(
                            f"{address} is a neighbour in {where} already, by somebody else's hand", name, "neighbors",
                            "Leave it out here, or take it away there.",
                        )  # fmt: skip
            theirs = {_plain(one) for one in read.networks}
            for name, prefixes in sorted(speaker.announce.items()):
                for prefix in prefixes:
                    if prefix in theirs:
                        raise Conflict(
                            f"{prefix} is announced in {where} already, by somebody else's hand", name, "announce",
                            "Leave it out here, or take it away there.",
                        )  # fmt: skip

    def _told(self):
        """Return warnings about what others have configured."""
        warnings = []
        if not (self._run_read.import_check and self._file_read.import_check):
            warnings.append(
                "Somebody else has set 'no bgp network import-check': networks are announced even while they are down."
            )
        off = [line for line in ("no ip forwarding", "no ipv6 forwarding") if line in (self._conf or "").splitlines()]
        if off:
            warnings.append(f"{CONF} says '{off[0]}': FRR switches forwarding off when it starts.")
        return warnings

    def _plan_absent(self, before):
        if not before and not self._left():
            return Plan({}, [])
        warnings, stop, args = [], None, {}
        theirs = [
            read for read in (self._file_read, self._run_read)
            if read.asn is not None and not (self._own.instance and read.alone)
        ]  # fmt: skip
        args["daemons"] = self._list
        if self._journal.get(_BGPD, "yes") != "yes":
            if theirs:
                warnings.append("bgpd stays on, for somebody else's configuration of BGP.")
            else:
                args["daemons"] = frr_text.with_daemon(self._list, False)
                stop = "bgpd"
        was_enabled, was_active = self._journal.get(_SERVICE, (True, True))
        others = frr_text.others_start(self._list) + (["bgpd"] if stop is None else [])
        if not was_active and self._active:
            if others:
                warnings.append(f"FRR stays up, for {', '.join(others)}.")
            else:
                stop = "FRR"
        conf = None if self._conf is None else self._file_read.rest
        if self._journal.get(_CONF, True) is False and not (conf or "").strip():
            conf = None
        # Also where it does not run any more: somebody, or a run that failed, has stopped it.
        args.update(conf=conf, stop=stop, disable=self._enabled and not was_enabled and (was_active or not others))
        notes = {"FRR": "stops FRR", "bgpd": "stops bgpd; FRR's other daemons go on"}
        return Plan({}, [Op(NAME, NAME, "remove", "live", note=notes.get(stop or "", ""), args=args)], warnings)

    def _left(self):
        return any(key in self._journal for key in _REMEMBERED)

    def rehearse(self, plan):
        if plan.ops and not plan.unmet:
            self._check(plan.ops[0].args)

    def _check(self, args):
        """Let FRR read what is to be, before anything is touched."""
        if self._frr.missing():
            return
        texts = [args["conf"]] if args.get("conf") else []
        if self._running is not None and "lines" in args:
            texts.append(frr_text.merged(self._run_read.rest, args["lines"]))
        for text in texts:
            self._frr.check(text)

    # --- effects ---

    def baseline(self, before, plan):
        speaker = self._wish.on(self._kept)
        if speaker is None:
            return {}
        entries = {
            _BGPD: "yes" if frr_text.starts(self._list) else "no", _SERVICE: [self._enabled, self._active],
            _CONF: self._conf is not None,
        }  # fmt: skip
        entries.update({_INSTANCE: "none"} if self._own.instance else {})
        return {**entries, _EVPN: "none"} if self._own.evpn and speaker.vnis else entries

    def apply(self, op):
        getattr(self, f"_{op.op}")(op.args)

    def _write(self, args):
        self._check(args)
        files.write(STORE, args["store"])
        self._frr.write_conf(args["conf"])
        self._frr.write_daemons(args["daemons"])
        if not self._enabled:
            self._frr.systemctl("--quiet", "enable")

    def _start(self, args):
        self._frr.systemctl("start")
        self._complete(self._frr.wait_for_bgpd(), args["lines"])

    def _enable(self, args):
        self._frr.start_and_stop_daemons(self._running)
        self._complete(self._frr.wait_for_bgpd(), args["lines"])

    def _reload(self, args):
        if self._running is None:
            self._running = self._frr.wait_for_bgpd()
        # What others have changed since we looked is theirs, and stays.
        self._complete(self._frr.running()[1] or self._running, args["lines"])

    def _complete(self, text, lines):
        """Make the running configuration what it shall be; as it was, if that fails."""
        read = frr_text.read(text, self._own)
        if read.rest == text if not lines else read.ours == frr_text.wanted(lines, read.rest, self._own):
            return
        try:
            self._frr.load(frr_text.merged(read.rest, lines))
        except VirtnetError as error:
            try:
                self._frr.load(text)
            except VirtnetError as second:
                error.details["not_reverted"] = [str(second)]
            raise
        if lines:
            self._frr.refilter(frr_text.groups_in(frr_text.wanted(lines, read.rest, self._own)))
        self._frr.wait_for_departure(self._departing())

    def _departing(self):
        """Return the identifiers of VXLAN segments that the host tells of no more."""
        left = self._wish.on(self._kept)
        return set(self._kept.segments if self._kept else ()) - set(left.segments if left else ())

    def _remove(self, args):
        self._check(args)
        if self._running is not None and args["stop"] != "FRR" and (self._run_read.ours or self._own.instance):
            self._complete(self._running, [])
        if args["conf"] != self._conf:
            self._frr.write_conf(args["conf"])
        self._frr.write_daemons(args["daemons"])
        if args["stop"] == "FRR":
            self._frr.systemctl("stop")
        elif args["stop"] == "bgpd" and "bgpd" in self._daemons and self._active:
            self._frr.start_and_stop_daemons(self._frr.running()[1] or self._running)
        if args["disable"]:
            self._frr.systemctl("--quiet", "disable")
        files.remove(STORE)
        files.remove_empty_folders(ETC, ETC)

    def revert(self, op):
        """Put the files back; what runs was put back where it failed."""
        if op.op != "write":
            return
        if self._kept is None:
            files.remove(STORE)
            files.remove_empty_folders(ETC, ETC)
            journal.forget(key for key in _REMEMBERED if key not in self._journal)
        else:
            files.write(STORE, json.dumps(speakers.stored(self._kept), indent=2) + "\n")
        self._frr.write_conf(self._conf)
        self._frr.write_daemons(self._list)
        if not self._enabled:
            self._frr.systemctl("--quiet", "disable")

    def finish(self, plan):
        if not plan.after:
            journal.forget(_REMEMBERED)
        elif not plan.after[NAME]["vnis"]:
            journal.forget([_EVPN])

    def settle(self, plan):
        if self._wait and plan.after:
            names = self._wish.neighbors
            sessions = {address: name for name, one in names.items() for address in one.addresses}
            self._frr.wait_for(sessions, self._wait)
