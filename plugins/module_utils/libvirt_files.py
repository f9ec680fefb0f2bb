# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where libvirt keeps definitions of networks and guests, and whether its disk takes what libvirt is about to do there.

A running network whose new definition it cannot write libvirt makes a transient one, and says so itself (networkDefineXMLFlags in
network/bridge_driver.c); one that does not run it forgets. Both end with its own restart, for the old file is still there.
"""

from __future__ import annotations

import os

from ansible_collections.virtnet.kvm.plugins.module_utils import files

NETWORKS = "/etc/libvirt/qemu/networks"
GUESTS = "/etc/libvirt/qemu"
#: For how many files room is tried one by one; for the rest, for their sum.
ONE_BY_ONE = 64


def claim_room(folder, texts):
    """Raise CommandFailed if libvirt could not write definitions such as C(texts)."""
    # It writes them indented, and each beside the old one.
    sizes = [2 * len(text) + 4096 for text in texts]
    rest = sum(sizes[ONE_BY_ONE:])
    claimed = [*sizes[:ONE_BY_ONE], *([rest] if rest else [])]
    files.claim_room(folder, claimed, f"making room for {len(texts)} definitions in {folder}")


def claim_removal(folder, names):
    """Raise CommandFailed on a read-only disk, where libvirt cannot remove definitions of C(names).

    It says so itself, but what they define is stopped by then, and libvirt has forgotten that it starts with it
    (virNetworkObjDeleteConfig in conf/virnetworkobj.c, virDomainDeleteConfig in conf/domain_conf.c).
    """
    if names:
        files.claim_writable([f"{folder}/{names[0]}.xml"], names[0])


def unlink_autostart(folder, name):
    """Remove the link by which C(name) would start with libvirt, while libvirt says that it does not.

    It stays when a definition is removed by hand or cannot be written. libvirt makes its own with symlink(2), which fails then,
    and so does all of virNetworkSetAutostart() or virDomainSetAutostart().
    """
    path = f"{folder}/autostart/{name}.xml"
    if os.path.islink(path):
        files.remove(path)
