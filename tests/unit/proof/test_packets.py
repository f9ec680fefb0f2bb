# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import struct

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import packets

FOUR = socket.inet_pton(socket.AF_INET, "10.64.100.2"), socket.inet_pton(socket.AF_INET, "10.77.0.50")
SIX = socket.inet_pton(socket.AF_INET6, "fd00:64::2"), socket.inet_pton(socket.AF_INET6, "fd00:77::50")
TOKENS = [0, 1, 0x12345678, 0xFFFFFFFF]
CASES = [(ends, protocol, token) for ends in (FOUR, SIX) for protocol in ("icmp", "tcp", "udp") for token in TOKENS]


def test_the_checksum_is_that_of_the_rfc():
    # RFC 1071, section 3: the words 0001 f203 f4f5 f6f7 have the sum ddf2.
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f700")) == 0xFFFF - 0xDDF2


def test_the_checksum_of_a_known_header():
    assert packets.checksum(bytes.fromhex("45000073000040004011 0000 c0a80001c0a800c7")) == 0xB861


@pytest.mark.parametrize(("ends", "protocol", "token"), CASES)
def test_checksums_and_lengths_hold(ends, protocol, token):
    data = packets.packet(*ends, protocol, token, 20001, 46464)
    version, number, source, target, body = packets.split(data)
    assert (source, target) == ends
    if version == 4:
        assert packets.checksum(data[:20]) == 0
        assert struct.unpack("!H", data[2:4])[0] == len(data)
    else:
        assert struct.unpack("!H", data[4:6])[0] == len(data) - 40
    start = b"" if number == packets.ICMP else packets.pseudo(source, target, number, len(body))
    assert packets.checksum(start + body) == 0


@pytest.mark.parametrize(("ends", "protocol", "token"), CASES)
def test_what_is_built_is_understood(ends, protocol, token):
    version, number, _source, _target, body = packets.split(packets.packet(*ends, protocol, token, 20001, 46464))
    assert packets.meaning(version, number, body) == ("ask", protocol, token)


@pytest.mark.parametrize("ends", [FOUR, SIX])
def test_replies_are_known_by_their_token(ends):
    version = 4 if len(ends[0]) == 4 else 6
    syn_ack = struct.pack("!HHIIBBHHH", 46464, 20001, 99, 1001, 5 << 4, packets.SYN | packets.ACK, 1000, 0, 0)
    reset = struct.pack("!HHIIBBHHH", 46464, 20001, 0, 1001, 5 << 4, packets.RST | packets.ACK, 0, 0, 0)
    assert packets.meaning(version, packets.TCP, syn_ack) == ("said", "tcp", 1000)
    assert packets.meaning(version, packets.TCP, reset) == ("refused", "tcp", 1000)
    answer = struct.pack("!HHHH", 46464, 20001, 16, 0) + packets.SAID + struct.pack("!I", 1000)
    assert packets.meaning(version, packets.UDP, answer) == ("said", "udp", 1000)
    number, body = packets.segment(*ends, "icmp", 1000)
    reply = bytes([packets.ECHO[version][1]]) + body[1:]
    assert packets.meaning(version, number, reply) == ("said", "icmp", 1000)


@pytest.mark.parametrize("ends", [FOUR, SIX])
@pytest.mark.parametrize("protocol", ["icmp", "tcp", "udp"])
def test_a_refusal_names_what_it_refuses(ends, protocol):
    version = 4 if len(ends[0]) == 4 else 6
    kind = packets.UNREACHABLE[version][0]
    refusal = struct.pack("!BBHI", kind, 3, 0, 0) + packets.packet(*ends, protocol, 4711, 20001, 46464)
    number = packets.ICMP if version == 4 else packets.ICMP6
    assert packets.meaning(version, number, refusal) == ("refused", protocol, 4711)


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x45" * 19, b"\x60" * 39, b"\0" * 60, b"\x45\0\0\x14\0\0\0\x01" + b"\0" * 12])
def test_what_is_no_packet_is_none(data):
    assert packets.split(data) is None


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("number", [packets.TCP, packets.UDP, packets.ICMP, packets.ICMP6, 47])
@pytest.mark.parametrize("data", [b"", b"\x03", b"\x03" * 8, b"\x01" * 9, b"\0" * 7, b"\x03" * 30, b"\x08\0\0\0\0\0\0\0VNP"])
def test_what_is_short_or_foreign_is_no_probe(version, number, data):
    found = packets.meaning(version, number, data)
    assert found is None or found[1] == "tcp"


def dns(token, flags=0x8180, answers=(("10.77.0.50", 1),), name=b"\3www\3lab\0"):
    data = struct.pack("!HHHHHH", token & 0xFFFF, flags, 1, len(answers), 0, 0) + name + struct.pack("!HH", 1, 1)
    for text, kind in answers:
        value = socket.inet_pton(socket.AF_INET if kind == 1 else socket.AF_INET6, text)
        data += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(value)) + value
    return data


def test_a_dns_query_is_that_of_the_rfc():
    head = bytes.fromhex("abcd 0100 0001 0000 0000 0000")
    assert packets.dns_query(0x1234ABCD, "www.lab.", 1) == head + b"\3www\3lab\0\0\1\0\1"


def test_dns_answers():
    assert packets.dns_answer(7, dns(7)) == (0, ["10.77.0.50"])
    assert packets.dns_answer(7, dns(7, answers=(("10.77.0.50", 1), ("fd00::1", 28)))) == (0, ["10.77.0.50", "fd00::1"])
    assert packets.dns_answer(7, dns(7, flags=0x8183, answers=())) == (3, [])
    assert packets.dns_answer(8, dns(7)) is None
    assert packets.dns_answer(7, dns(7, flags=0x0100)) is None


@pytest.mark.parametrize("cut", range(len(dns(7))))
def test_a_cut_dns_answer_is_none_or_shorter(cut):
    found = packets.dns_answer(7, dns(7)[:cut])
    assert found is None or found[1] == []


def test_a_dns_name_that_points_to_itself_ends():
    assert packets.dns_answer(7, struct.pack("!HHHHHH", 7, 0x8180, 9, 9, 0, 0) + b"\xc0\x0c" * 40) in (None, (0, []))
