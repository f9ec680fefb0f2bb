# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One connection to a libvirt daemon, and libvirt's errors turned into ours; networks and domains build on it."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import urllib.parse

try:
    import libvirt
except ImportError:  # pragma: no cover - deps.require() answers for it
    libvirt = None

from ansible_collections.virtnet.kvm.plugins.module_utils import libvirt_files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, ConnectionLost, MissingDependency

#: For how long a daemon may take to let somebody in, in seconds.
OPEN_S = 30
#: How often a daemon is asked whether it is alive, in seconds, and how many times without an answer before it counts as gone. A
#: daemon that is busy answers all the same (virConnectSetKeepAlive).
KEEPALIVE = (5, 5)


@functools.cache
def _event_loop():
    """Run libvirt's event loop beside us, once: without one it asks nobody whether they are alive."""
    libvirt.virEventRegisterDefaultImpl()

    def loop():
        with contextlib.suppress(libvirt.libvirtError):
            while True:
                libvirt.virEventRunDefaultImpl()

    threading.Thread(target=loop, name="libvirt's events", daemon=True).start()


def _open(uri, read_only):
    """Return a connection; raise libvirtError, or MissingDependency if nothing comes of it for OPEN_S."""
    answer = []

    def ask():
        try:
            answer.append(libvirt.openReadOnly(uri) if read_only else libvirt.open(uri))
        except libvirt.libvirtError as error:
            answer.append(error)

    # What hangs in libvirt's code can be left, but not interrupted.
    asking = threading.Thread(target=ask, name="libvirt's answer", daemon=True)
    asking.start()
    asking.join(OPEN_S)
    if not answer:
        hangs = "It hangs. Look at its journal; guests go on running while it is restarted: systemctl restart libvirtd"
        raise MissingDependency(
            f"libvirt at {uri} has not let us in within {OPEN_S} s", "libvirt", None,
            "Is that host reached from here, by the same URI with virsh -c?" if is_remote(uri) else hangs,
        )  # fmt: skip
    if isinstance(answer[0], libvirt.libvirtError):
        raise answer[0]
    return answer[0]


class Daemon:
    """A libvirt daemon.

    :param uri: libvirt URI, such as C(qemu:///system).
    :param read_only: only look, which more users may.
    :raises MissingDependency: no daemon, or no permission.
    """

    #: one of libvirt_files' folders
    folder = ""

    def __init__(self, uri, read_only=False):
        # libvirt prints each error to stderr unless told not to; they come back as exceptions anyway.
        libvirt.registerErrorHandler(lambda context, error: None, None)
        _event_loop()
        try:
            self.connection = _open(uri, read_only)
        except libvirt.libvirtError as error:
            raise refused(uri, error.get_error_message()) from error
        # Not every driver of libvirt's has it; those without a daemon need none.
        with contextlib.suppress(libvirt.libvirtError):
            self.connection.setKeepAlive(*KEEPALIVE)
        self.uri = uri

    @property
    def remote(self):
        """Whether the daemon is another machine's, whose links and files are not to be seen from here."""
        return is_remote(self.uri)

    @property
    def unprivileged(self):
        """Whether it is a user's own daemon, which may make no links (libvirt's "session" mode)."""
        return is_session(self.uri) and os.geteuid() != 0

    @property
    def system(self):
        """Whether it is the daemon of this host, whose definitions are in C(folder)."""
        return is_system(self.uri)

    @contextlib.contextmanager
    def doing(self, what, subject):
        """Turn an error of libvirt's into CommandFailed: C(what) failed, on C(subject)."""
        try:
            yield
        except libvirt.libvirtError as error:
            raise self.failure(what, subject, error) from error

    def _handle(self, name):
        """Return libvirt's own object of that name."""
        raise NotImplementedError

    def set_autostart(self, name, value):
        """Have C(name), a network or guest as this class is about, start with libvirt, or no longer."""
        if value and self.system:
            libvirt_files.unlink_autostart(self.folder, name)
        with self.doing("setting its autostart", name):
            self._handle(name).setAutostart(int(value))

    def failure(self, what, subject, error):
        """Return a libvirtError as CommandFailed, or as ConnectionLost if the daemon is gone."""
        code = {"libvirt_error": error.get_error_code()}
        if not self.connection.isAlive():
            return ConnectionLost(
                f"libvirt went away while {what}: {error.get_error_message()}", subject, None,
                "When the daemon is back, run it again: it goes on from what is there.", **code,
            )  # fmt: skip
        text = error.get_error_message()
        return CommandFailed(f"{what} failed: {text}", subject, None, cure(text), **code)


def cure(text):
    """Return what cures an operation that failed with the message C(text), or None. Pure."""
    if "No chain/target/match by that name" in text:
        return (
            "Somebody has flushed the firewall, and libvirt's own chains with it, which it makes anew only when it is restarted; "
            "guests go on running: systemctl restart libvirtd"
        )
    return None


def is_remote(uri):
    """Return whether a libvirt URI names another host (https://libvirt.org/uri.html). Pure."""
    return bool(urllib.parse.urlsplit(uri).hostname)


def is_session(uri):
    """Return whether a libvirt URI is that of the calling user's own daemon. Pure."""
    return urllib.parse.urlsplit(uri).path.rstrip("/").endswith("/session")


def is_system(uri):
    """Return whether a libvirt URI is that of the daemon of this host, whose files are in /etc/libvirt/qemu. Pure."""
    parts = urllib.parse.urlsplit(uri)
    return not parts.hostname and parts.scheme.partition("+")[0] == "qemu" and parts.path.rstrip("/") == "/system"


def refused(uri, text):
    """Return the error for a connection that libvirt refused with the message C(text). Pure."""
    low = text.lower()
    if "permission" in low or "authentication" in low or "access denied" in low or "polkit" in low:
        return MissingDependency(
            f"no permission to use libvirt at {uri}: {text}", "libvirt", None, "Use become: true, or a user of the group libvirt."
        )
    if "no such file" in low or "connection refused" in low or "failed to connect" in low:
        return MissingDependency(
            f"libvirt does not answer at {uri}: {text}",
            "libvirt",
            None,
            "Start libvirtd (or virtnetworkd and virtqemud), or run the role virtnet.kvm.kvm_host.",
        )
    return MissingDependency(f"libvirt cannot be used at {uri}: {text}", "libvirt", None, "Look at the daemon's journal.")
