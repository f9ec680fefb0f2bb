# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The errors of the collection: what failed, on which object, at which option, and what cures it.

Effects raise these; only a module's C(main()) turns one into C(fail_json).
"""

from __future__ import annotations


class VirtnetError(Exception):
    """Base of all errors that an administrator can act upon.

    :param problem: what is wrong, a sentence without the names below.
    :param subject: the object it is about, such as C(natnet).
    :param option: path of the option that caused it, such as C(networks[3].addresses[0]).
    :param cure: what to do about it, a sentence.
    :param details: facts for the machine, such as C(cmd), C(rc), C(stderr).
    """

    def __init__(self, problem, subject=None, option=None, cure=None, **details):
        super().__init__(problem)
        self.problem = problem
        self.subject = subject
        self.option = option
        self.cure = cure
        self.details = details

    def __str__(self):
        where = ": ".join(str(part) for part in (self.option, self.subject) if part)
        text = f"{where}: {self.problem}" if where else self.problem
        if self.cure:
            text = f"{text.rstrip('.')}. {self.cure}"
        return text

    def as_result(self):
        """Return what C(fail_json) takes: C(msg), C(error) and the details."""
        error = {"kind": type(self).__name__, "problem": self.problem}
        for key in ("subject", "option", "cure"):
            if getattr(self, key) is not None:
                error[key] = getattr(self, key)
        return {"msg": str(self), "error": error, **self.details}


class InvalidInput(VirtnetError):
    """An option holds what cannot be meant; nothing was touched."""


class Conflict(VirtnetError):
    """The host holds something of that name or address that is not ours; nothing was touched."""


class MissingDependency(VirtnetError):
    """A program, library, daemon or permission on the host is missing."""


class Unsupported(VirtnetError):
    """The host's libvirt, kernel or tool is too old for what was asked."""


class CommandFailed(VirtnetError):
    """A tool or a daemon refused an operation."""


class ConnectionLost(CommandFailed):
    """The daemon went away in the middle; nothing more can be done, nor be put back, before it is there again."""


class VerificationFailed(VirtnetError):
    """What was read back is not what was planned."""


class Busy(VirtnetError):
    """Another run holds the host's lock."""
