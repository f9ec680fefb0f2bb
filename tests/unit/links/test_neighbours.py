# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Frames that tell of an address, as octets that were written down by hand from the RFCs."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils.links import neighbours

MAC = bytes.fromhex("020000000001")


def test_an_arp_announcement():
    frame = neighbours._arp(MAC, ipaddress.ip_address("10.64.0.1"))
    assert frame.hex() == (
        "ffffffffffff" "020000000001" "0806" "0001" "0800" "06" "04" "0001"
        "020000000001" "0a400001" "000000000000" "0a400001"
    )  # fmt: skip


def test_a_neighbour_advertisement():
    frame = neighbours._advertisement(MAC, ipaddress.ip_address("fd00::1"))
    assert frame[:14].hex() == "333300000001" "020000000001" "86dd"  # fmt: skip
    assert frame[14:22].hex() == "60000000" "0020" "3a" "ff"  # fmt: skip
    source, target, body = frame[22:38], frame[38:54], frame[54:]
    assert ipaddress.ip_address(source) == ipaddress.ip_address("fd00::1")
    assert ipaddress.ip_address(target) == ipaddress.ip_address("ff02::1")
    assert body[:2].hex() == "8800" and body[4:8].hex() == "a0000000"
    assert body[8:].hex() == source.hex() + "0201" + MAC.hex()
    # RFC 4443, 2.3: over the pseudo-header and the whole message, its own field included, the sum is all ones.
    whole = source + target + len(body).to_bytes(4, "big") + (58).to_bytes(4, "big") + body
    total = sum(int.from_bytes(whole[number : number + 2], "big") for number in range(0, len(whole), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
