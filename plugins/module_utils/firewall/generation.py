# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether anybody has changed rules of nft since: the kernel counts the transactions of a network namespace.

A listing of ten thousand elements takes nft a third of a second, this question nothing. What the packet path adds to sets is no
transaction. (Linux, include/uapi/linux/netfilter/nf_tables.h, NFT_MSG_GETGEN.)
"""

from __future__ import annotations

import os
import socket
import struct

_NETLINK_NETFILTER = 12
_REQUEST = 1  # NLM_F_REQUEST
_GETGEN = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_NEWGEN = 10 << 8 | 15
_GEN_ID = 1  # NFTA_GEN_ID, a number of 32 bits in network order
_HEADER = struct.Struct("=LHHLL")  # nlmsghdr: length, type, flags, sequence, port
_FAMILY = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)  # nfgenmsg
_WAIT_S = 2


def parse(message):
    """Return the number of the generation in a message of netlink, or None. Pure."""
    if len(message) < _HEADER.size:
        return None
    length, kind, _flags, _sequence, _port = _HEADER.unpack_from(message)
    if kind != _NEWGEN or length > len(message):
        return None
    place = _HEADER.size + len(_FAMILY)
    while place + 4 <= length:
        size, attribute = struct.unpack_from("=HH", message, place)
        if size < 4:
            return None
        if attribute == _GEN_ID and size == 8 and place + 8 <= length:
            return struct.unpack_from(">L", message, place + 4)[0]
        place += (size + 3) & ~3
    return None


def current():
    """Return [network namespace, number of its generation], or None where the kernel does not say."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as channel:
            channel.settimeout(_WAIT_S)
            channel.bind((0, 0))
            channel.send(_HEADER.pack(_HEADER.size + len(_FAMILY), _GETGEN, _REQUEST, 1, 0) + _FAMILY)
            number = parse(channel.recv(8192))
        return None if number is None else [os.stat("/proc/self/ns/net").st_ino, number]
    except OSError:
        return None
