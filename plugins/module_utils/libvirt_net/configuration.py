# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where libvirt keeps the definitions of its networks, and whether there is room for more.

A running network whose new definition it cannot write libvirt makes a transient one, and says so itself (networkDefineXMLFlags in
network/bridge_driver.c); one that does not run it forgets. Both end with its own restart, for the old file is still there.
"""

from __future__ import annotations

from ansible_collections.virtnet.kvm.plugins.module_utils import files

FOLDER = "/etc/libvirt/qemu/networks"
#: For how many files room is tried one by one; for the rest, for their sum.
ONE_BY_ONE = 64


def claim_room(texts):
    """Raise CommandFailed if libvirt could not write definitions such as C(texts)."""
    # It writes them indented, and each beside the old one.
    sizes = [2 * len(text) + 4096 for text in texts]
    rest = sum(sizes[ONE_BY_ONE:])
    try:
        files.claim_room(FOLDER, [*sizes[:ONE_BY_ONE], *([rest] if rest else [])])
    except OSError as error:
        raise files.error_of(error, f"making room for {len(texts)} networks in {FOLDER}") from error


def claim_removal(names):
    """Raise CommandFailed on a read-only disk, where libvirt cannot remove definitions of C(names).

    It says so itself, but has stopped the network by then, and forgotten that it is started with it (virNetworkObjDeleteConfig
    in conf/virnetworkobj.c).
    """
    for name in names:
        files.claim_writable([f"{FOLDER}/{name}.xml"], name)
