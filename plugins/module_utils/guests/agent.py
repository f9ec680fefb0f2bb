# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of the QEMU guest agent, over libvirt.

One Agent is one guest; many threads may ask many guests over one connection (libvirt answers them side by side),
and in_parallel() does just that. Whatever a guest answers is untrusted: its size is bounded, its types are checked,
and each call ends by itself. Protocol: https://qemu-project.gitlab.io/qemu/interop/qemu-ga-ref.html
"""

from __future__ import annotations

import base64
import binascii
import concurrent.futures
import ipaddress
import json
import re
import time
from dataclasses import dataclass

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, VirtnetError

try:
    import libvirt
    import libvirt_qemu
except ImportError:  # deps.require() tells, before anything of this is used
    libvirt = libvirt_qemu = None

#: What libvirt waits for one answer, seconds; the agent answers within milliseconds, a guest under TCG within a second.
ANSWER_S = 10
PATIENCE_S = 30
#: Bytes of output that one command in a guest may give, and of a file that is read.
OUTPUT_MAX = 8 * 1024 * 1024
#: Bytes that one guest-file-read or -write carries: the agent needs a multiple of it, and a tiny guest has little.
CHUNK = 64 * 1024
#: Links of a guest, and addresses of a link, beyond which an answer is nonsense.
LINKS_MAX = 256
ADDRESSES_MAX = 256
WORKERS = 32

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


class AgentSilent(CommandFailed):
    """The guest agent did not answer in time: the guest is booting, has no agent, or hangs."""


class GuestOff(CommandFailed):
    """The guest does not run, so waiting is in vain."""


class AgentNonsense(CommandFailed):
    """The guest answered what the protocol does not allow."""


@dataclass(frozen=True)
class Result:
    """What a command in a guest came to: C(rc) (128 + N when signal N ended it), C(out) and C(err) as bytes."""

    rc: int
    out: bytes = b""
    err: bytes = b""
    truncated: bool = False

    @property
    def text(self):
        """Standard output as text; what is not UTF-8 is shown as escapes."""
        return self.out.decode("utf-8", "backslashreplace")


class Agent:
    """The agent of one guest.

    :param connection: libvirt.virConnect, not read-only.
    :param name: name of the domain.
    :param command: how a message is sent, (domain, text, seconds, flags) → text; for tests.
    """

    def __init__(self, connection, name, command=None):
        self.connection = connection
        self.name = name
        self._command = command or libvirt_qemu.qemuAgentCommand
        self._domain = None

    # -- the wire ---------------------------------------------------------------------------------------------------

    def call(self, execute, arguments=None, timeout_s=ANSWER_S):
        """Send one command and return what is under C(return).

        Raise AgentSilent without an answer in C(timeout_s) seconds (whole ones), CommandFailed when the agent refuses.
        """
        message = {"execute": execute}
        if arguments:
            message["arguments"] = arguments
        answer = self._send(json.dumps(message), execute, max(1, int(timeout_s)))
        try:
            return json.loads(answer)["return"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._nonsense(execute) from error

    def _send(self, text, execute, timeout_s):
        """Return the agent's answer. A command that never reached a busy agent is sent again for PATIENCE_S seconds."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self._domain is None:
                    self._domain = self.connection.lookupByName(self.name)
                return self._command(self._domain, text, timeout_s, 0)
            except libvirt.libvirtError as error:
                # libvirt says unsynced when its greeting before the command was not answered: the command was not sent.
                unsent = error.get_error_code() == libvirt.VIR_ERR_AGENT_UNSYNCED and execute != "guest-ping"
                if not unsent or time.monotonic() >= deadline:
                    raise self._translated(error, execute) from error
                time.sleep(0.2)

    def _translated(self, error, execute):
        code, text = error.get_error_code(), error.get_error_message() or str(error)
        if code == libvirt.VIR_ERR_NO_DOMAIN:
            return CommandFailed("there is no such guest", subject=self.name)
        if code == libvirt.VIR_ERR_OPERATION_INVALID:
            return GuestOff(f"the guest does not run: {text}", subject=self.name)
        silent = [libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED, libvirt.VIR_ERR_OPERATION_TIMEOUT]
        silent.append(getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", None))  # since libvirt 6.8
        if code in silent:
            return AgentSilent(f"the guest agent does not answer: {text}", subject=self.name)
        return CommandFailed(f"{execute} was refused: {text}", subject=self.name)

    def _nonsense(self, execute):
        return AgentNonsense(f"the guest agent's answer to {execute} makes no sense", subject=self.name)

    def _bytes(self, text, execute):
        """Decode base64 of at most OUTPUT_MAX bytes."""
        if not isinstance(text, str) or len(text) > OUTPUT_MAX * 2:
            raise self._nonsense(execute)
        try:
            return base64.b64decode(text, validate=True)[:OUTPUT_MAX]
        except (binascii.Error, ValueError) as error:
            raise self._nonsense(execute) from error

    def _number(self, value, execute):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
            raise self._nonsense(execute)
        return value

    # -- is it there ------------------------------------------------------------------------------------------------

    def ping(self, timeout_s=ANSWER_S):
        """Raise AgentSilent unless the agent answers."""
        self.call("guest-ping", timeout_s=timeout_s)

    def wait(self, timeout_s):
        """Wait until the agent answers, C(timeout_s) seconds at most; return the seconds that it took."""
        start = time.monotonic()
        while True:
            left = timeout_s - (time.monotonic() - start)
            try:
                self.ping(timeout_s=min(2, max(1, left)))
                return time.monotonic() - start
            except AgentSilent:
                if time.monotonic() - start >= timeout_s:
                    raise
                time.sleep(0.1)

    # -- commands ---------------------------------------------------------------------------------------------------

    def start(self, path, args=(), data=None, env=None, capture=True):
        """Start a program in the guest, without a shell; return its process number for status().

        :param args: its arguments, without its own name.
        :param data: bytes (or text) for its standard input.
        :param env: list of C(NAME=value).
        """
        arguments = {"path": path, "arg": [str(arg) for arg in args], "capture-output": bool(capture)}
        if data is not None:
            data = data.encode() if isinstance(data, str) else data
            arguments["input-data"] = base64.b64encode(data).decode()
        if env:
            arguments["env"] = list(env)
        answer = self.call("guest-exec", arguments)
        if not isinstance(answer, dict):
            raise self._nonsense("guest-exec")
        return self._number(answer.get("pid"), "guest-exec")

    def status(self, pid):
        """Return the Result of a started program, or None while it runs. It can be had once: the agent forgets it."""
        what = "guest-exec-status"
        answer = self.call(what, {"pid": pid})
        if not isinstance(answer, dict) or not isinstance(answer.get("exited"), bool):
            raise self._nonsense(what)
        if not answer["exited"]:
            return None
        if "signal" in answer:
            code = 128 + self._number(answer["signal"], what)
        else:
            code = self._number(answer.get("exitcode", 0), what)
        out, err = (self._bytes(answer.get(key, ""), what) for key in ("out-data", "err-data"))
        cut = bool(answer.get("out-truncated") or answer.get("err-truncated")) or OUTPUT_MAX in (len(out), len(err))
        return Result(code, out, err, cut)

    def finish(self, pid, timeout_s):
        """Wait until a started program ended, C(timeout_s) seconds at most, and return its Result; else kill it."""
        deadline = time.monotonic() + timeout_s
        pause = 0.02
        while True:
            result = self.status(pid)
            if result is not None:
                return result
            if time.monotonic() >= deadline:
                self._kill(pid)
                raise AgentSilent(f"the command did not end within {timeout_s} s, and was killed", subject=self.name)
            time.sleep(pause)
            pause = min(0.2, pause * 1.5)

    def _kill(self, pid):
        """End a program that takes too long; a guest that cannot even do that is told of by the caller's error."""
        try:
            self.start("/bin/kill", ["-9", str(pid)], capture=False)
        except VirtnetError:
            return

    def run(self, path, args=(), data=None, timeout_s=30, env=None):
        """Run a program in the guest and return its Result, whatever its C(rc)."""
        return self.finish(self.start(path, args, data, env), timeout_s)

    # -- files ------------------------------------------------------------------------------------------------------

    def write_file(self, path, data):
        """Write C(data) (bytes or text) to a file in the guest."""
        data = data.encode() if isinstance(data, str) else data
        handle = self._number(self.call("guest-file-open", {"path": path, "mode": "w"}), "guest-file-open")
        try:
            while data:
                part = base64.b64encode(data[:CHUNK]).decode()
                answer = self.call("guest-file-write", {"handle": handle, "buf-b64": part})
                count = self._number(answer.get("count") if isinstance(answer, dict) else None, "guest-file-write")
                if count == 0 or count > len(data):
                    raise self._nonsense("guest-file-write")
                data = data[count:]
        finally:
            self.call("guest-file-close", {"handle": handle})

    def read_file(self, path, limit=OUTPUT_MAX):
        """Return the first C(limit) bytes of a file in the guest."""
        handle = self._number(self.call("guest-file-open", {"path": path, "mode": "r"}), "guest-file-open")
        data = b""
        try:
            while len(data) < limit:
                answer = self.call("guest-file-read", {"handle": handle, "count": min(CHUNK, limit - len(data))})
                if not isinstance(answer, dict):
                    raise self._nonsense("guest-file-read")
                part = self._bytes(answer.get("buf-b64", ""), "guest-file-read")
                data += part
                if not part or answer.get("eof"):
                    break
        finally:
            self.call("guest-file-close", {"handle": handle})
        return data[:limit]

    # -- the network ------------------------------------------------------------------------------------------------

    def interfaces(self):
        """Return the guest's links but for C(lo): [{name, mac, addresses: ['10.0.0.2/24', 'fe80::1/64']}]."""
        what = "guest-network-get-interfaces"
        answer = self.call(what)
        if not isinstance(answer, list) or len(answer) > LINKS_MAX:
            raise self._nonsense(what)
        links = []
        for link in answer:
            if not isinstance(link, dict):
                raise self._nonsense(what)
            name, mac = str(link.get("name", ""))[:64], str(link.get("hardware-address", "")).lower()
            addresses = link.get("ip-addresses") or []
            if not isinstance(addresses, list) or len(addresses) > ADDRESSES_MAX:
                raise self._nonsense(what)
            if MAC.match(mac) and name != "lo":
                links.append({"name": name, "mac": mac, "addresses": sorted(self._address(one) for one in addresses)})
        return sorted(links, key=lambda link: link["name"])

    def _address(self, one):
        try:
            return str(ipaddress.ip_interface(f"{one['ip-address']}/{int(one['prefix'])}"))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise self._nonsense("guest-network-get-interfaces") from error


def in_parallel(calls, workers=WORKERS):
    """Carry out C(calls), {key: function without arguments}, side by side; return {key: its value, or its VirtnetError}.

    Other exceptions are bugs, and are raised.
    """
    if not calls:
        return {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(workers, len(calls))) as pool:
        pending = {key: pool.submit(call) for key, call in calls.items()}
        results = {}
        for key, future in pending.items():
            try:
                results[key] = future.result()
            except VirtnetError as error:
                results[key] = error
    return results
