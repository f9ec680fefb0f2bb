#!/usr/bin/env python
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plain libvirt-python loop, as people write it: one connection, libvirt's own nat networks.

usage: libvirt_python.py present|absent NETWORKS.json
"""

from __future__ import annotations

import json
import sys

import libvirt


def main():
    state, path = sys.argv[1:]
    with open(path, encoding="utf-8") as handle:
        rows = json.load(handle)
    libvirt.registerErrorHandler(lambda context, error: None, None)
    connection = libvirt.open("qemu:///system")
    for row in rows:
        try:
            network = connection.networkLookupByName(row["name"])
        except libvirt.libvirtError:
            network = None
        if state == "absent":
            if network is not None:
                if network.isActive():
                    network.destroy()
                network.undefine()
            continue
        if network is None:
            network = connection.networkDefineXML(row["xml"])
        if not network.isActive():
            network.create()
        if not network.autostart():
            network.setAutostart(1)


main()
