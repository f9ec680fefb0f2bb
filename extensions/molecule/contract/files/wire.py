# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends given packets from network namespaces of this host, and says what of them came where. The standard library only.

wire.py run FILE: FILE is JSON, {node: {"netns": its name, or null for the host itself, "groups": [[multicast group, link], ...],
"rounds": [[send, ...], ...]}}; all nodes begin a round together. A send is {"token", "frame"}, a whole frame in hex for eth0, or
{"token", "packet"}, an IP packet that goes by the host's own routes. Prints
{node: {"seen": [[token, kind, source address], ...], "arp": [addresses that said where they are], "errors": {token: errno}}}.

A namespace is heard at its wire, before any filter of its own; the host behind its filter, by raw sockets. What is known again is
the token: a magic word and four bytes, wherever they stand in the frame. Kinds: ask; reply, of the servers here, of ping and of
TCP; error, which a machine on the way made of the packet.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import socket
import struct
import subprocess
import sys
import threading
import time

MAGIC, MADE, ANSWER = b"VNQ?", b"VNX?", b"VNR!"
PORTS = (5000, 6001)
#: First sequence number of TCP is this and the token; it is how an answer, that bears no data, is known.
SEQUENCE = 0x5A000000
#: Protocols that the host hears by raw sockets.
HEARD = (1, 2, 4, 6, 17, 41, 47, 58, 132, 136, 253)
ICMP_ERRORS = {1: (3, 5, 11, 12), 58: (1, 2, 3, 4, 137)}
ECHO_REPLIES = {1: 0, 58: 129}
SO_RCVBUFFORCE = 33
BUFFER = 64 << 20
#: Seconds that nothing more may come before all is taken to have come.
SILENCE = 0.7


class Seen:
    """What a node heard."""

    def __init__(self):
        self.rows, self.arp, self.last = set(), set(), time.monotonic()

    def add(self, token, kind, source):
        self.rows.add((token, kind, source))
        self.last = time.monotonic()

    def frame(self, data):
        """Take a frame from the wire; tags before what it carries are passed over."""
        kind, at = data[12:14], 14
        while kind in (b"\x81\x00", b"\x88\xa8"):
            kind, at = data[at + 2 : at + 4], at + 4
        if kind == b"\x08\x06" and data[at + 6 : at + 8] == b"\0\2":
            self.arp.add(socket.inet_ntoa(data[at + 14 : at + 18]))
        if kind == b"\x08\x00":
            self.ipv4(data[at:])
        elif kind == b"\x86\xdd":
            body = data[at:]
            self.segment(body[6], body[40:], socket.inet_ntop(socket.AF_INET6, body[8:24]))
        else:
            self.segment(0, data[at:], "")

    def ipv4(self, body):
        self.segment(body[9], body[(body[0] & 15) * 4 :], socket.inet_ntoa(body[12:16]))

    def segment(self, protocol, data, source):
        if protocol == 6 and len(data) >= 14 and data[13] & 0x12 == 0x12:
            number = ((struct.unpack("!I", data[8:12])[0] - 1) & 0xFFFFFFFF) - SEQUENCE
            if 0 <= number < 1 << 24 and MAGIC not in data:
                self.add(number, "reply", source)
        for magic in (MAGIC, MADE, ANSWER):
            place = data.find(magic)
            if 0 <= place <= len(data) - 8:
                kind = "ask"
                if magic == ANSWER or (magic == MAGIC and protocol in ECHO_REPLIES and data[0] == ECHO_REPLIES[protocol]):
                    kind = "reply"
                elif magic == MAGIC and data[0] in ICMP_ERRORS.get(protocol, ()):
                    kind = "error"
                self.add(struct.unpack("!I", data[place + 4 : place + 8])[0], kind, source)
                return


def join(groups):
    """Join multicast groups, so that the host itself hears them; return the sockets that hold them."""
    held = []
    for group, link in groups:
        family = socket.AF_INET6 if ":" in group else socket.AF_INET
        index = struct.pack("@I" if ":" in group else "@i", socket.if_nametoindex(link))
        one = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + bytes(4) + index)
        else:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(family, group) + index)
        held.append(one)
    return held


def listen(on_host, seen):
    """Open all sockets; return {socket: what to do with it}."""
    found = {}

    def heard(one, take):
        one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        one.setblocking(False)
        found[one] = take

    if on_host:
        for protocol in HEARD:
            heard(socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol), lambda data, _source: seen.ipv4(data))
            heard(
                socket.socket(socket.AF_INET6, socket.SOCK_RAW, protocol),
                lambda data, source, protocol=protocol: seen.segment(protocol, data, source[0].partition("%")[0]),
            )
    else:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        wire.bind(("eth0", 3))
        heard(wire, lambda data, source: source[2] == socket.PACKET_OUTGOING or seen.frame(data))
    for port in PORTS:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            one = socket.socket(socket.AF_INET6, kind)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            one.bind(("::", port))
            one.setblocking(False)
            if kind == socket.SOCK_STREAM:
                one.listen(4096)
                found[one] = None
            else:
                found[one] = one
    return found


def answer(one, data, source):
    if data[:4] == MAGIC:
        with contextlib.suppress(OSError):
            one.sendto(ANSWER + data[4:], source)


def hear(sockets, stop):
    while not stop.is_set():
        for one in select.select(list(sockets), [], [], 0.1)[0]:
            take = sockets[one]
            with contextlib.suppress(BlockingIOError, ConnectionError):
                if take is None:
                    one.accept()[0].close()
                    continue
                for _frame in range(500):
                    data, source = one.recvfrom(2048)
                    if take is one:
                        answer(one, data, source)
                    else:
                        take(data, source)


def send_all(sends):
    """Send them, twenty a ms at most, for a queue that overflows loses some; return {token: errno}."""
    errors, sockets = {}, {}

    def opened(link, family):
        key = (link, family)
        if key not in sockets:
            if family == socket.AF_PACKET:
                one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                one.bind((link, 0))
            else:
                one = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            sockets[key] = one
        return sockets[key]

    for number, row in enumerate(sends):
        try:
            if "frame" in row:
                opened("eth0", socket.AF_PACKET).send(bytes.fromhex(row["frame"]))
            else:
                packet = bytes.fromhex(row["packet"])
                old = packet[0] >> 4 == 4
                target = (
                    socket.inet_ntop(socket.AF_INET, packet[16:20]) if old else socket.inet_ntop(socket.AF_INET6, packet[24:40])
                )
                opened(row.get("link"), socket.AF_INET if old else socket.AF_INET6).sendto(packet, (target, 0))
        except OSError as error:
            errors[str(row["token"])] = errno.errorcode.get(error.errno, str(error))
        if number % 20 == 19:
            time.sleep(0.001)
    return errors


def node():
    """One node, in its namespace: lines on standard input say what to do."""
    job, seen, stop = json.loads(sys.stdin.readline()), Seen(), threading.Event()
    sockets, _held = listen(job["netns"] is None, seen), join(job["groups"])
    ears = threading.Thread(target=hear, args=(sockets, stop))
    ears.start()
    errors = {}
    for sends in (None, *job["rounds"]):
        if sends is not None:
            errors.update(send_all(sends))
        seen.last = time.monotonic()
        # What the others sent meanwhile may still be on its way.
        while sends is not None and time.monotonic() - seen.last < SILENCE / 2:
            time.sleep(0.02)
        print("ready", flush=True)
        sys.stdin.readline()
    seen.last = time.monotonic()
    while time.monotonic() - seen.last < SILENCE:
        time.sleep(0.05)
    stop.set()
    ears.join()
    print(json.dumps({"seen": sorted(seen.rows), "arp": sorted(seen.arp), "errors": errors}), flush=True)


def run(path):
    with open(path) as handle:
        jobs = json.load(handle)
    nodes = {}
    for name, job in jobs.items():
        inside = ("ip", "netns", "exec", job["netns"]) if job["netns"] else ()
        one = subprocess.Popen(
            [*inside, sys.executable, sys.argv[0], "node"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        nodes[name] = one
        threading.Thread(target=tell, args=(one, json.dumps(job)), daemon=True).start()
    for _round in range(1 + max(len(job["rounds"]) for job in jobs.values())):
        for name, one in nodes.items():
            said = one.stdout.readline().strip()
            if said != "ready":
                sys.exit(f"{name} said {said!r} instead of ready")
        for one in nodes.values():
            tell(one, "go")
    print(json.dumps({name: json.loads(one.stdout.readline()) for name, one in nodes.items()}))


def tell(one, line):
    one.stdin.write(line + "\n")
    one.stdin.flush()


if __name__ == "__main__":
    {"node": node, "run": lambda: run(sys.argv[2])}[sys.argv[1]]()
