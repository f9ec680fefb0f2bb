# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A capture of the kernel's trace: begun, read and ended, and nothing of it left behind.

A process of its own holds it: it makes the table, lets C(nft monitor trace) write to a file, and takes the table away when it
is told to or when its time is over, whatever became of the module. What is left of one that was killed the next one removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import shutil
import signal
import subprocess
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import Busy, CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.explain import trace_text
from ansible_collections.virtnet.kvm.plugins.module_utils.host import RUN

#: Seconds that a capture lives at most.
LIFETIME_S = 60
READY_S = 5
SETTLE_S = 0.2
#: Bytes of a capture that are read.
CAPTURE_MAX = 8 << 20
LOCK, FOLDERS = f"{RUN}/trace.lock", f"{RUN}/trace-"
#: Arguments: the folder, seconds. The lock is open in it, and is free when it ends.
WATCH = """
cd "$1" || exit 1
nft -f remove.nft
nft -f table.nft 2> error || exit 1
timeout "$2" nft monitor trace > capture 2> error &
trap 'kill $!' TERM
echo $! > state
wait
wait
nft -f remove.nft
"""
#: NETLINK_NETFILTER and the bit of NFNLGRP_NFTRACE (linux/netlink.h, linux/netfilter/nfnetlink.h).
NETFILTER, TRACE_GROUP = "12", 1 << 8


def _listens():
    """Return whether anybody here is told of traces."""
    rows = [line.split() for line in (files.read("/proc/net/netlink") or "").splitlines()[1:]]
    return any(row[1] == NETFILTER and int(row[3], 16) & TRACE_GROUP for row in rows)


@contextlib.contextmanager
def _locked():
    """Hold the lock that a capture holds as long as it lives; what is yielded is its file, or None where somebody has it."""
    os.makedirs(RUN, mode=0o755, exist_ok=True)
    while True:
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            if not _is_at(lock, LOCK):
                continue  # who had it has removed it meanwhile, and somebody else may hold the new one
            yield lock
            return
        finally:
            os.close(lock)


def _is_at(handle, path):
    """Return whether an open file is still the one at C(path)."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)


class Capture:
    """The capture of one session.

    :param host: module_utils.host.Host.
    :param session: text of this explanation.
    """

    def __init__(self, host, session):
        self.host = host
        self.folder = FOLDERS + session

    def _file(self, name):
        return f"{self.folder}/{name}"

    def begin(self, text):
        """Begin with the table C(text); return when every packet of it is seen."""
        with _locked() as lock:
            if lock is None:
                raise Busy("somebody else looks for a packet here", cure="Wait a minute, and ask again.")
            self._forget()
            os.mkdir(self.folder, mode=0o700)
            files.write_all({self._file("table.nft"): text, self._file("remove.nft"): trace_text.removal()})
            self.host.run(["nft", "-c", "-f", self._file("table.nft")], what="trying the table that traces")
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function  # it goes on while others work
                ["sh", "-c", WATCH, "sh", self.folder, str(LIFETIME_S)], pass_fds=(lock,), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        files.write(self._file("pid"), str(process.pid))
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and process.poll() is None:
            if files.read(self._file("state")) and _listens():
                return
            time.sleep(0.02)
        error = (files.read(self._file("error")) or "").strip()
        self.end()
        raise CommandFailed(f"nft does not trace: {error or 'no message'}")

    @staticmethod
    def _forget():
        """Remove what captures left that were killed; to be called with the lock."""
        for folder in glob.glob(f"{FOLDERS}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def end(self):
        """End it, if it goes on; its table is gone then."""
        pid = (files.read(self._file("pid")) or "").strip()
        # Only the one that has our folder in its words: numbers are used again.
        if pid and self.folder in (files.read(f"/proc/{pid}/cmdline") or "").split("\0"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with _locked() as lock:
                if lock is not None:
                    # It has taken its table away itself, unless somebody killed it.
                    self.host.run(["nft", "-f", "-"], data=trace_text.removal(), what="removing the table that traces")
                    shutil.rmtree(self.folder, ignore_errors=True)
                    os.unlink(LOCK)
                    return
            time.sleep(0.02)

    def finish(self):
        """End it and return {direction: [Visit as a dictionary, ...]} of the packets that got farthest."""
        # What the kernel has told of is on its way to the file.
        time.sleep(SETTLE_S)
        try:
            _rc, out, _err = self.host.run(["nft", "-j", "list", "chains"], what="listing the kernel's chains")
            text = ""
            if os.path.exists(self._file("capture")):
                with open(self._file("capture"), encoding="utf-8", errors="replace") as handle:
                    text = handle.read(CAPTURE_MAX)
        finally:
            self.end()
        listing = json.loads(out)
        seen = trace_text.packets_of(text, trace_text.hooks_of(listing))
        directions = (trace_text.ASK, trace_text.REPLY, trace_text.ERROR, trace_text.NEIGHBOUR)
        return {one: trace_text.plain(trace_text.farthest(seen, one), listing) for one in directions}
