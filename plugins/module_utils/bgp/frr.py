# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""FRR on this host: its configuration, running and in files, and its daemons."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import frr_text
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import (
    CommandFailed,
    InvalidInput,
    MissingDependency,
    VerificationFailed,
)
from ansible_collections.virtnet.kvm.plugins.module_utils.host import STATE, own_run

CONF = "/etc/frr/frr.conf"
DAEMONS = "/etc/frr/daemons"
UNIT = "frr.service"
#: The configuration while another text has its place for the moment of a reload.
ASIDE = os.path.join(STATE, "frr.conf")
_VTYSH_CONF = "/etc/frr/vtysh.conf"
_OLD = "/etc/frr/bgpd.conf"
_RELOAD = ("/usr/lib/frr/frr-reload.py", "/usr/libexec/frr/frr-reload.py")
_VTYSH = ("/usr/bin/vtysh", "/usr/sbin/vtysh")
#: What vtysh says of daemons that are not there.
_UNREACHED = "failed to connect to any daemons"
#: For how long FRR may take to remove what it has put into the kernel.
DEPARTURE_S = 5
#: For how long a daemon may take to start.
START_S = 20


def _first(paths):
    return next((path for path in paths if os.path.exists(path)), None)


class Frr:
    """FRR's own tools: vtysh, frr-reload.py, and systemd for its unit."""

    def __init__(self, host):
        self._host = host

    def _run(self, command, **how):
        """Run one of FRR's tools; what an administrator has typed into vtysh stays his own history."""
        return self._host.run(["env", "VTYSH_HISTFILE=/dev/null", *command], **how)

    # --- what is there ---

    @staticmethod
    def missing():
        """Return what must be installed first, as an error, or None."""
        lacking = [package for package, paths in (("frr", _VTYSH), ("frr-pythontools", _RELOAD)) if _first(paths) is None]
        if not lacking and not os.path.exists(DAEMONS):
            lacking = ["frr"]
        if lacking:
            return MissingDependency(
                f"not installed: {', '.join(lacking)}", "FRR", None, "Install it, or run the role virtnet.kvm.route_exchange."
            )
        return None

    @staticmethod
    def separate():
        """Return whether FRR keeps a file for each daemon, instead of one for all."""
        one_for_all = "no service integrated-vtysh-config" not in (files.read(_VTYSH_CONF) or "")
        return not one_for_all or (not os.path.exists(CONF) and os.path.exists(_OLD))

    @staticmethod
    def conf():
        """Return the text of frr.conf, or None; what a run that was cut off had put aside is the true one."""
        aside = files.read(ASIDE)
        return files.read(CONF) if aside is None else aside

    @staticmethod
    def daemons():
        return files.read(DAEMONS) or ""

    def service(self):
        """Return (whether the unit starts at boot, whether it runs)."""
        _rc, out, _err = self._host.run(["systemctl", "show", "-p", "UnitFileState,ActiveState", UNIT], check=False)
        found = dict(line.partition("=")[::2] for line in out.splitlines())
        return found.get("UnitFileState", "") == "enabled", found.get("ActiveState", "") in ("active", "reloading", "activating")

    def running(self):
        """Return (names of the daemons that run, the running configuration); the second is None if FRR does not answer."""
        path = _first(_VTYSH)
        if path is None:
            return set(), None
        rc, out, _err = self._run([path, "-c", "show daemons", "-c", "show running-config"], check=False)
        head, _heading, _rest = out.partition("Building configuration")
        daemons = set(head.split())
        return (daemons, frr_text.shown(out)) if rc == 0 and "zebra" in daemons else (daemons, None)

    # --- effects ---

    def check(self, text):
        """Raise InvalidInput if FRR does not understand a configuration; nothing is changed."""
        with self._file(text) as path:
            rc, out, err = self._run([_first(_VTYSH), "-C", "-f", path], check=False)
        # FRR 8.4 ends with 0 where it has stopped early.
        wrong = [line.strip() for line in (out + err).splitlines() if "% " in line or "Warning[" in line or "failure" in line]
        if rc or wrong:
            raise InvalidInput(
                f"FRR refuses the configuration: {'; '.join(wrong[:3]) or (out + err).strip()}", CONF, None,
                "Nothing was changed. vtysh -C -f /etc/frr/frr.conf shows what is wrong without ours.", rc=rc,
            )  # fmt: skip

    def load(self, text):
        """Make the running configuration C(text); what does not differ is not touched, no session of it either.

        After any file but frr.conf the tool saves what runs, which costs people their comments.
        """
        command = [_first(_RELOAD), "--reload", "--stdout", "--log-level", "error", CONF]
        with self._in_place_of_conf(text):
            rc, out, err = self._run(command, check=False)
            if rc and (_UNREACHED in err or self.running()[1] is None):
                # It is just being restarted, by an upgrade, say.
                self.wait_for_bgpd()
                rc, out, err = self._run(command, check=False)
        if rc:
            told = _without_frames((err or out).strip())
            raise CommandFailed(
                f"frr-reload.py failed: {told or 'no message'}", "FRR", cure="See journalctl -u frr.", cmd=command, rc=rc,
                stderr=told,
            )

    def refilter(self, groups):
        """Have neighbours send and get their routes anew, without a new session: FRR does not look at changed lists by itself."""
        words = [
            word for group, families in sorted(groups.items()) for family in families
            for word in ("-c", f"clear bgp {family} peer-group {group} soft")
        ]  # fmt: skip
        if words:
            self._run([_first(_VTYSH), *words], what="filtering the routes anew", subject="FRR")

    def wait_for_departure(self, vnis):
        """Wait until the kernel has none of the peers any more that FRR has given to VXLAN devices of these segments."""
        deadline = time.monotonic() + DEPARTURE_S
        while vnis and time.monotonic() < deadline:
            _rc, out, _err = self._run([_first(_VTYSH), "-c", "show evpn vni json"], check=False)
            try:
                known = json.loads(out or "{}")
            except ValueError:
                return
            if not any(known.get(str(vni), {}).get("numRemoteVteps") for vni in vnis):
                return
            time.sleep(0.1)

    def write_conf(self, text):
        """Replace frr.conf; it keeps its owner and mode. None: there shall be none."""
        if text is None:
            files.remove(CONF)
        elif text != files.read(CONF):  # a full disk takes nothing, not even what is there
            _write(CONF, text)
        files.remove(ASIDE)

    def write_daemons(self, text):
        if text != self.daemons():
            _write(DAEMONS, text)

    def systemctl(self, *words):
        self._host.run(["systemctl", *words, UNIT], what=f"systemctl {' '.join(words)}", subject="FRR")

    def start_and_stop_daemons(self, running):
        """Have the unit reloaded: daemons that are switched on or off since are started and stopped, others go on.

        The unit's reload loads frr.conf, too, which may differ from what runs, and for which FRR would set IP forwarding that
        nobody speaks of. So the running configuration takes its place meanwhile.
        """
        with self._in_place_of_conf(running):
            self.systemctl("reload")

    @contextlib.contextmanager
    def _in_place_of_conf(self, text):
        conf = self.conf()
        if conf is not None:
            files.write(ASIDE, conf)
        try:
            _write(CONF, text)
            yield
        finally:
            self.write_conf(conf)

    def wait_for_bgpd(self):
        """Return the running configuration once bgpd is there."""
        deadline = time.monotonic() + START_S
        while True:
            daemons, text = self.running()
            if "bgpd" in daemons and text is not None:
                return text
            if time.monotonic() > deadline:
                raise CommandFailed(f"bgpd does not answer after {START_S} s", "FRR", None, "See journalctl -u frr.")
            time.sleep(0.2)

    def wait_for(self, sessions, patience_s):
        """Wait until these sessions are established.

        :param sessions: {address: the neighbour's name}.
        """
        deadline = time.monotonic() + patience_s
        while True:
            states = self._states()
            lacking = {address: states.get(address, "unknown") for address in sessions if states.get(address) != "Established"}
            if not lacking:
                return
            if time.monotonic() > deadline:
                told = ", ".join(f"{sessions[one]} ({one}: {state})" for one, state in sorted(lacking.items()))
                raise VerificationFailed(
                    f"no BGP session after {patience_s} s with {told}", "FRR", "wait",
                    "Do firewalls between them pass TCP port 179, and does the neighbour know this host?",
                )  # fmt: skip
            time.sleep(0.3)

    def _states(self):
        return {address: peer.get("state") for summary in self._summaries() for address, peer in summary["peers"].items()}

    def _summaries(self):
        """Return the summaries of all address families as FRR tells them; none if it does not answer."""
        _rc, out, _err = self._run([_first(_VTYSH), "-c", "show bgp summary json"], check=False)
        try:
            families = json.loads(out or "{}")
        except ValueError:
            return []
        return [one for _family, one in sorted(families.items()) if isinstance(one, dict) and "peers" in one]

    def sessions(self):
        """Return {asn, sessions: [{address, name, asn, state}]} of this host's BGP, whoever configured it; None without any."""
        if _first(_VTYSH) is None:
            return None
        summaries = self._summaries()
        found: dict = {}
        for address, peer in (pair for one in summaries for pair in one["peers"].items()):
            row = {"address": address, "name": peer.get("desc"), "asn": peer.get("remoteAs"), "state": peer.get("state")}
            found.setdefault(address, row)
        if not summaries:
            return None
        return {"asn": summaries[0].get("as"), "sessions": [row for _address, row in sorted(found.items())]}

    @contextlib.contextmanager
    def _file(self, text):
        """Give a file with a configuration, which may have passwords of others in it, for as long as it is needed."""
        path = os.path.join(own_run(), "frr.conf")
        files.write(path, text)
        try:
            yield path
        finally:
            files.remove(path)


def _without_frames(text):
    """Return what a program of Python's says without where in its text that was: the last line of a traceback is the error."""
    kept, inside = [], False
    for line in text.splitlines():
        inside = line.startswith("Traceback (") or (inside and line.startswith(" "))
        kept += [] if inside else [line]
    return "\n".join(kept)


def _write(path, text):
    """Replace one of FRR's files; a new one belongs to FRR's user."""
    try:
        known = os.stat(path)
        owner, mode = (known.st_uid, known.st_gid), known.st_mode & 0o7777
    except FileNotFoundError:
        user = pwd.getpwnam("frr")
        owner, mode = (user.pw_uid, user.pw_gid), 0o640
    files.write(path, text, mode, owner)
