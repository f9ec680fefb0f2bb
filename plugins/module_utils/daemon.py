# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One connection to a libvirt daemon, and libvirt's errors turned into ours; networks and domains build on it."""

from __future__ import annotations

import contextlib
import os
import urllib.parse

try:
    import libvirt
except ImportError:  # pragma: no cover - deps.require() answers for it
    libvirt = None

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, ConnectionLost, MissingDependency


class Daemon:
    """A libvirt daemon.

    :param uri: libvirt URI, such as C(qemu:///system).
    :raises MissingDependency: no daemon, or no permission.
    """

    def __init__(self, uri):
        # libvirt prints each error to stderr unless told not to; they come back as exceptions anyway.
        libvirt.registerErrorHandler(lambda context, error: None, None)
        try:
            self.connection = libvirt.open(uri)
        except libvirt.libvirtError as error:
            raise refused(uri, error.get_error_message()) from error
        self.uri = uri

    @property
    def remote(self):
        """Whether the daemon is another machine's, whose links and files are not to be seen from here."""
        return is_remote(self.uri)

    @property
    def unprivileged(self):
        """Whether it is a user's own daemon, which may make no links (libvirt's "session" mode)."""
        return is_session(self.uri) and os.geteuid() != 0

    @contextlib.contextmanager
    def doing(self, what, subject):
        """Turn an error of libvirt's into CommandFailed: C(what) failed, on C(subject)."""
        try:
            yield
        except libvirt.libvirtError as error:
            raise self.failure(what, subject, error) from error

    def failure(self, what, subject, error):
        """Return a libvirtError as CommandFailed, or as ConnectionLost if the daemon is gone."""
        code = {"libvirt_error": error.get_error_code()}
        if not self.connection.isAlive():
            return ConnectionLost(
                f"libvirt went away while {what}: {error.get_error_message()}", subject, None,
                "When the daemon is back, run it again: it goes on from what is there.", **code,
            )  # fmt: skip
        return CommandFailed(f"{what} failed: {error.get_error_message()}", subject, **code)


def is_remote(uri):
    """Return whether a libvirt URI names another host (https://libvirt.org/uri.html). Pure."""
    return bool(urllib.parse.urlsplit(uri).hostname)


def is_session(uri):
    """Return whether a libvirt URI is that of the calling user's own daemon. Pure."""
    return urllib.parse.urlsplit(uri).path.rstrip("/").endswith("/session")


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
