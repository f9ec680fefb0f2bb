# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes of one host and its guests: started, told what to send, asked what they saw, ended.

Guests and host are spoken to alike, through three things that both have: run a program, write a file, read a file.
"""

from __future__ import annotations

import base64
import importlib.util
import marshal
import os
import sys
import time

from ansible_collections.virtnet.kvm.plugins.module_utils import host as managed
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import agent as guest_agent
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import answers, kernel, packets, probe_agent

PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/local/bin/python3")
#: Port of the proof, so that a firewall of a guest or an outside machine can let it in; another if it is taken.
PORT = 46464
#: A probe ends by itself after so long, by its own clock; a guest's may be fast (seen: 8 times, emulated under load).
LIFETIME_S = 300
#: Bounds, not waits: eight emulated guests on one busy core have taken 20 s to start a probe each.
START_S = 60
ANSWER_S = 45


def program():
    """Return the probe's source: its parts as one module."""

    def source(module):
        # AnsiballZ imports from a zip file: its loader has the text, and no file does.
        text = module.__spec__.loader.get_source(module.__name__)
        skipped = ("from __future__", "from ansible_collections")
        return "\n".join(line for line in text.splitlines() if not line.startswith(skipped))

    joint = "import sys\nkernel = packets = sys.modules[__name__]"
    return "\n".join([source(packets), source(kernel), joint, source(probe_agent), ""])


def script(config):
    """Return what a Python interpreter reads: the probe, and the call.

    An emulated guest compiles for a quarter of a second, so the code goes along, for a guest of this host's Python.
    """
    text = program()
    code = base64.b64encode(marshal.dumps(compile(text, "probe", "exec")))  # agents refuse what is over 128 KiB or so
    return (
        "import binascii, marshal, _frozen_importlib_external as own\n"
        f"same = own.MAGIC_NUMBER == {importlib.util.MAGIC_NUMBER!r}\n"
        f"exec(marshal.loads(binascii.a2b_base64({code!r})) if same else compile({text!r}, 'probe', 'exec'))\n"
        f"main({config!r})\n"
    )


def line_of(item):
    """Return the line that tells a probe what to send."""
    words = [item.get(key) for key in probe_agent.SEND]
    return " ".join("-" if word is None else str(int(word) if isinstance(word, bool) else word) for word in words)


class HostChannel:
    """The managed host itself.

    :param host: module_utils.host.Host.
    """

    name = "host"
    pythons = (sys.executable,)
    folder = managed.RUN

    def __init__(self, host):
        self._host = host

    def run(self, command, data):
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        return self._host.run(command, data=data, what="starting the probe", subject=self.name)[1]

    def write(self, path, text):
        # The probe takes a command once its last line is there; the folder is its own, and goes with it.
        try:
            with open(path, "w", encoding="utf-8") as handle:
                handle.write(text)
        except FileNotFoundError as error:
            raise CommandFailed("the probe is not there any more", subject=self.name) from error

    @staticmethod
    def read(path):
        try:
            with open(path, "rb") as handle:
                return handle.read(answers.ANSWER_MAX + 1)
        except FileNotFoundError:
            return None


class GuestChannel:
    """A guest, through its agent.

    :param agent: guests.agent.Agent.
    """

    pythons = PYTHONS
    folder = "/tmp"  # noqa: S108 - the probe makes a folder of a random name there, or fails

    def __init__(self, agent):
        self.agent = agent
        self.name = agent.name

    def run(self, command, data):
        result = self.agent.run(command[0], command[1:], data=data, timeout_s=START_S)
        if result.rc != 0:
            message = answers.last_line(result.err)
            raise CommandFailed(f"the probe did not start: {message}", subject=self.name, rc=result.rc)
        return result.out

    def write(self, path, text):
        try:
            self.agent.write_file(path, text)
        except guest_agent.AgentSilent:
            raise
        except CommandFailed as error:
            raise CommandFailed("the probe is not there any more", subject=self.name) from error

    def read(self, path):
        try:
            return self.agent.read_file(path, answers.ANSWER_MAX + 1)
        except guest_agent.AgentSilent:
            raise
        except CommandFailed:  # the agent has no other word for a file that is not there
            return None


class Probe:
    """One process that listens, sends and looks: see probe_agent.

    :param channel: HostChannel or GuestChannel.
    :param session: text of this proof, the same for all three steps.
    """

    def __init__(self, channel, session):
        self.channel = channel
        self.folder = f"{channel.folder}/.virtnet-proof-{session}"

    def _nonsense(self, error):
        return guest_agent.AgentNonsense(f"the probe's answer makes no sense: {error}", subject=self.channel.name)

    def start(self, mode, ports=(), port=PORT, lifetime_s=LIFETIME_S):
        """Begin to listen; return {port, families, problems}."""
        text = script(
            {"folder": self.folder, "mode": mode, "port": port, "ports": list(ports), "lifetime_s": lifetime_s}
        )
        failure = None
        for python in self.channel.pythons:
            try:
                out = self.channel.run([python, "-I", "-S", "-"], text)
            except guest_agent.AgentSilent:
                raise
            except CommandFailed as error:
                if "guest-exec was refused" not in error.problem:
                    raise
                failure = failure or error  # no such program, or none may be run
                continue
            try:
                return answers.ready(answers.parse(out))
            except answers.Nonsense as error:
                raise self._nonsense(error) from error
        raise CommandFailed(
            f"the probe did not start: {failure and failure.problem}", self.channel.name,
            cure="The guest needs Python, and its agent must allow guest-exec.",
        ) from failure

    def _tell(self, number, *lines):
        self.channel.write(f"{self.folder}/{number}", "\n".join([*lines, "end", ""]))

    def _answer(self, number):
        deadline = time.monotonic() + ANSWER_S
        while True:
            text = self.channel.read(f"{self.folder}/{number}.out")
            if text is not None:
                try:
                    return answers.parse(text)
                except answers.Nonsense as error:
                    raise self._nonsense(error) from error
            if time.monotonic() > deadline:
                raise guest_agent.AgentSilent(f"the probe did not answer within {ANSWER_S} s", self.channel.name)
            time.sleep(0.03)

    def send(self, tokens, items):
        """Send C(items) and wait for the replies; return when nothing more is to be expected."""
        self._tell(1, f"send {tokens[0]} {tokens[1]}", *(line_of(item) for item in items))
        self._answer(1)

    def collect(self, tokens):
        """Return {arrivals, sends} and end the probe."""
        self._tell(2, "report")
        found = self._answer(2)
        self._tell(3, "bye")
        try:
            return answers.result(found, *tokens)
        except answers.Nonsense as error:
            raise self._nonsense(error) from error
