# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which MAC address is behind which link of a guest: told by those who wire guests, kept and rendered with all else."""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils.daemon import is_remote, is_session
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import stored


def of_daemon(host, uri):
    """Return the Ports of the guests of a libvirt daemon; None if their links are not this host's, or make no bridge ports."""
    return None if is_remote(uri) or is_session(uri) else Ports(host)


class Ports:
    """The ports of this host's guests; to be changed under the host's lock.

    Everywhere they are {(link, MAC): {C(guest), C(network)}}.
    """

    def __init__(self, host):
        self._host = host

    @staticmethod
    def load():
        """Return the ports."""
        return stored.ports()

    def change(self, gone, new):
        """Take the keys C(gone) out and put C(new) in; in the kernel too, where a network of theirs wants it.

        Either all of it happens, or an error is raised and nothing has changed.
        """
        # The renderer and all that it needs take a while to import, and most calls change no port.
        from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import ports_room

        ports_room.change(self._host, gone, new)
