# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's answer to the question for the generation of its rules, and what is no such answer."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import generation


def message(kind=10 << 8 | 15, attributes=((1, b"\0\0\0\x4d"), (3, b"nft\0")), length=None):
    body = b"\0\0\0\0"
    for number, value in attributes:
        body += struct.pack("=HH", len(value) + 4, number) + value + b"\0" * (-len(value) % 4)
    return struct.pack("=LHHLL", 16 + len(body) if length is None else length, kind, 0, 1, 0) + body


def test_the_number():
    assert generation.parse(message()) == 77
    assert generation.parse(message(attributes=((2, b"1234"), (3, b"x\0"), (1, b"\xff" * 4)))) == 0xFFFFFFFF


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\0" * 15, message(kind=2), message(attributes=()), message(attributes=((2, b"1234"),)),
        message(attributes=((1, b"12"),)), message(length=4000), message()[:22], message(length=22),
        message()[:20] + struct.pack("=HH", 0, 1) + b"\0\0\0\1",
    ],
)  # fmt: skip
def test_what_is_no_answer(answer):
    assert generation.parse(answer) is None
