# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A capture of the kernel's trace: begun, read and ended, and nothing of it left behind.

A process of its own holds it: it makes the table, lets C(nft monitor trace) write to a file, and takes the table away when it
is told to or when its time is over, whatever became of the module. What is left of one that was killed the next one removes.
"""

from __future__ import annotations

import fcntl
import json
import os
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
LOCK, FOLDER = f"{RUN}/trace.lock", f"{RUN}/trace"
#: Arguments: the folder, seconds. The lock is open in it, and is free when it ends.
WATCH = """
cd "$1" || exit 1
nft -f remove.nft
nft -f table.nft 2> error || { echo failed > state; exit 1; }
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


def begin(host, text):
    """Begin a capture with the table C(text); return when it sees every packet."""
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy("somebody else looks for a packet here", cure="Wait a minute, and ask again.") from error
        for name in ("state", "error", "capture"):
            files.remove(f"{FOLDER}/{name}")
        files.write_all({f"{FOLDER}/table.nft": text, f"{FOLDER}/remove.nft": trace_text.removal()})
        host.run(["nft", "-c", "-f", f"{FOLDER}/table.nft"], what="trying the table that traces")
        process = subprocess.Popen(
            ["sh", "-c", WATCH, "sh", FOLDER, str(LIFETIME_S)], pass_fds=(lock,), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
    finally:
        os.close(lock)
    files.write(f"{FOLDER}/pid", str(process.pid))
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        state = files.read(f"{FOLDER}/state")
        if state and state.strip() != "failed" and _listens():
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    end()
    raise CommandFailed(f"nft does not trace: {(files.read(FOLDER + '/error') or 'no message').strip()}")


def end():
    """End the capture, if there is one; the table is gone then."""
    pid = (files.read(f"{FOLDER}/pid") or "").strip()
    if pid:
        try:
            # Only the one that has our folder in its words: numbers are used again.
            words = (files.read(f"/proc/{pid}/cmdline") or "").split("\0")
            if FOLDER in words:
                os.kill(int(pid), signal.SIGTERM)
        except ProcessLookupError:
            pass
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and not _free():
        time.sleep(0.02)


def _free():
    """Return whether no capture is going on."""
    try:
        lock = os.open(LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def finish(host):
    """End the capture and return {direction: [Visit as a dictionary, ...]} of the packets that got farthest."""
    # What the kernel has told of is on its way to the file.
    time.sleep(SETTLE_S)
    _rc, out, _err = host.run(["nft", "-j", "list", "chains"], what="listing the kernel's chains")
    end()
    path = f"{FOLDER}/capture"
    text = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as handle:
            text = handle.read(CAPTURE_MAX)
    host.run(["nft", "-f", "-"], data=trace_text.removal(), what="removing the table that traces")
    for name in ("state", "error", "capture", "table.nft", "remove.nft", "pid"):
        files.remove(f"{FOLDER}/{name}")
    files.remove_empty_folders(FOLDER, FOLDER)
    listing = json.loads(out)
    seen = trace_text.packets_of(text, trace_text.hooks_of(listing))
    directions = (trace_text.ASK, trace_text.REPLY, trace_text.ERROR, trace_text.NEIGHBOUR)
    return {one: trace_text.plain(trace_text.farthest(seen, one), listing) for one in directions}
