# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe: one process that listens, sends and looks, in a guest or on a host.

This file's source is what runs there (C(python3 -I -S -), Python 3.7 and newer, the standard library's core only);
session.script() puts packets and kernel before it. It opens its sockets, prints one line of JSON, and
goes on in the background. Commands are files in its folder: C(1), C(2), ... each answered by C(1.out), ...; after
C(bye), or when its lifetime is over, it removes the folder and ends.

A packet is known at its receiver by its token, a number of 32 bits, whatever translation did to its addresses: the
sequence number of a TCP SYN, the payload of UDP and of an ICMP echo. Where it is looked for depends on the end:

- C(wire), guests and outside machines: AF_PACKET sockets for IPv4 and IPv6. They see what reached the machine before
  its rp_filter or firewall drops it, which is what "nothing arrived" must mean there, and nothing that it sent itself.
- C(socket), KVM hosts: raw sockets, which get their copy behind the INPUT hook. A frame on the host's side of a tap
  has not reached the host; what its firewall let in has.

TCP, UDP and ICMP are answered by the real listeners and the kernel, so a reply means that the machine takes part.

An emulated guest needs a quarter of a second for an import such as json, re or enum (and socket and signal need enum).
So nothing but C modules is imported, commands are lines of words, and answers are JSON by hand.
"""

from __future__ import annotations

import _signal as signal
import _socket as socket
import errno
import os
import select
import struct
import sys
import time

from ansible_collections.virtnet.kvm.plugins.module_utils.proof import kernel, packets

ETHERTYPES = {4: 0x0800, 6: 0x86DD}
# linux/in.h and linux/in6.h; Python's socket lacks some of these names before 3.14.
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO, SO_RCVBUFFORCE = 8, 49, 50, 33

#: The words of a line that says what to send.
SEND = ("token", "to", "family", "protocol", "port", "sport", "wanted", "via", "dev", "source", "name")
RECORDS_MAX = 65536
COMMAND_MAX = 4 << 20
POLL_S = 0.02
#: Seconds after the first attempt at which what was not answered is sent again.
RETRY_S = (0.3, 0.8)
#: What was expected to stay unanswered is given so long, seconds after its last attempt; all else so long at most.
QUIET_S, WAIT_S = 0.4, 2.0


def encode(value):
    """Return C(value) as JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(encode(key) + ": " + encode(one) for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(encode(one) for one in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(char if " " <= char <= "~" and char not in '"\\' else "?" for char in value) + '"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def decode(line):
    """Return the send of a line: token, to, family, protocol, port, sport, wanted, then via, dev, source, name or -."""
    words = line.split()
    item = dict(zip(SEND, words))
    for key in ("token", "family", "port", "sport", "wanted"):
        item[key] = int(item[key])
    return {key: value for key, value in item.items() if value != "-"}


class Probe:
    def __init__(self, config):
        self.folder = config["folder"]
        self.mode = config["mode"]
        self.end = time.monotonic() + config["lifetime_s"]
        self.handlers = {}  # socket: what to call when it is readable
        self.problems = []
        self.families = []
        self.port = None
        self.asked = {}  # (protocol, token): where from, how often
        self.first, self.last = 0, 0xFFFFFFFF
        self.sends = {}
        self.raws = {}

    # -- listening

    def _note(self, what, error):
        self.problems.append(f"{what}: {errno.errorcode.get(error.errno or 0, error)}")

    def open(self, port, more):
        for version in (4, 6):
            try:
                self._listen(version, port)
                self.families.append(f"ipv{version}")
            except OSError as error:
                self._note(f"ipv{version}", error)
                continue
            for extra in more:
                try:
                    self._listen_tcp(version, extra)
                    self._listen_udp(version, extra)
                except OSError:
                    continue  # somebody listens there already: as good
        try:
            for version in (4, 6):
                self._watch(version)
        except OSError as error:
            self._note(self.mode, error)
            self.families = []

    def _listen(self, version, port):
        """Listen on C(port), for TCP and UDP; on another that is free if it is taken. IPv6 follows IPv4."""
        for wanted in [self.port] if self.port else [port, 0]:
            try:
                made = self._listen_tcp(version, wanted)
                taken = made.getsockname()[1]
                self._listen_udp(version, taken)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or wanted != port or self.port:
                    raise
            else:
                self.port = taken
                return

    def _socket(self, version, kind, port):
        sock = socket.socket(kernel.family(version), kind)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        try:
            sock.bind(("", port))
        except OSError:
            sock.close()
            raise
        return sock

    def _listen_tcp(self, version, port):
        sock = self._socket(version, socket.SOCK_STREAM, port)
        sock.listen(128)

        def hang_up():
            os.close(sock._accept()[0])

        self.handlers[sock] = hang_up
        return sock

    def _listen_udp(self, version, port):
        sock = self._socket(version, socket.SOCK_DGRAM, port)
        level, wanted, given = (
            (socket.IPPROTO_IP, IP_PKTINFO, IP_PKTINFO) if version == 4
            else (socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, IPV6_PKTINFO)
        )
        sock.setsockopt(level, wanted, 1)

        def answer():
            data, extra, _flags, peer = sock.recvmsg(64, 256)
            if packets.token_of(data, packets.ASK) is None:
                return
            # From the address that was asked: a host has many, and its routes would choose another.
            info = [value for its_level, kind, value in extra if (its_level, kind) == (level, given)]
            if version == 4:  # struct in_pktinfo: the link is left to the routes
                info = [struct.pack("=i", 0) + value[4:8] + b"\0\0\0\0" for value in info]
            elif not peer[0].startswith("fe80"):  # struct in6_pktinfo
                info = [value[:16] + struct.pack("=I", 0) for value in info]
            sock.sendmsg([packets.SAID + data[4:8]], [(level, given, value) for value in info], 0, peer)

        self.handlers[sock] = answer

    def _watch(self, version):
        if self.mode == "wire":
            self._add_wire(ETHERTYPES[version])
            return
        if f"ipv{version}" in self.families:
            for number in (packets.TCP, packets.UDP, packets.ICMP if version == 4 else packets.ICMP6):
                self._add_raw(version, number)

    def _add_wire(self, ethertype):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ethertype))
        self._add(sock, lambda: self._on_wire(sock))

    def _add_raw(self, version, number):
        sock = socket.socket(kernel.family(version), socket.SOCK_RAW, number)
        self._add(sock, lambda: self._on_socket(sock, version, number))

    def _add(self, sock, handler):
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.handlers[sock] = handler

    def _on_wire(self, sock):
        data, where = sock.recvfrom(2048)
        parts = packets.split(data)
        if parts and where[2] not in (3, 4):  # PACKET_OTHERHOST, PACKET_OUTGOING: linux/if_packet.h
            self._seen(parts[0], parts[1], parts[2], parts[4], where[0])

    def _on_socket(self, sock, version, number):
        data, peer = sock.recvfrom(2048)
        if version == 6:  # a raw IPv6 socket gives no header (RFC 3542)
            self._seen(6, number, socket.inet_pton(socket.AF_INET6, peer[0].partition("%")[0]), data, None)
            return
        parts = packets.split(data)
        if parts:
            self._seen(4, number, parts[2], parts[4], None)

    def _seen(self, version, number, source, data, dev):
        found = packets.meaning(version, number, data)
        if found is None:
            return
        what, protocol, token = found
        if what == "ask":
            if self.first <= token <= self.last and ((protocol, token) in self.asked or len(self.asked) < RECORDS_MAX):
                row = self.asked.setdefault((protocol, token), {"source": source, "dev": dev, "count": 0})
                row["count"] += 1
            return
        send = self.sends.get(token)
        if send is None or send["item"]["protocol"] != protocol:
            return
        if what == "said" and send["replied"] is None:
            send["replied"] = time.monotonic() - send["at"]
            send["reply_from"] = source
        elif what == "refused" and send["refused"] is None:
            kind = "reset" if number == packets.TCP else f"ICMP type {data[0]} code {data[1]}"
            send["refused"] = f"{kind} by {socket.inet_ntop(kernel.family(version), source)}"

    # -- sending

    def _raw(self, version, dev):
        if (version, dev) not in self.raws:
            sock = socket.socket(kernel.family(version), socket.SOCK_RAW, 255)  # IPPROTO_RAW: the header is ours
            kernel.bind_device(sock, dev)
            self.raws[(version, dev)] = sock
        return self.raws[(version, dev)]

    def _prepare(self, item):
        version, dev, via = item["family"], item.get("dev"), item.get("via")
        target = socket.inet_pton(kernel.family(version), item["to"])
        if item["protocol"] == "dns":
            return self._prepare_dns(item)
        where = kernel.next_hop(version, via, dev) if via else None
        if item.get("source"):
            source = socket.inet_pton(kernel.family(version), item["source"])
        else:
            source = kernel.source_of(version, via if where and not dev else item["to"], dev)
        data = packets.packet(source, target, item["protocol"], item["token"], item["sport"], item["port"])
        if where:
            if None not in self.raws:
                self.raws[None] = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            sock = self.raws[None]
            return lambda: sock.sendto(data, (where[0], ETHERTYPES[version], 0, 0, where[1]))
        sock = self._raw(version, dev)
        return lambda: sock.sendto(data, (item["to"], 0))

    def _prepare_dns(self, item):
        sock = socket.socket(kernel.family(item["family"]), socket.SOCK_DGRAM)
        kernel.bind_device(sock, item.get("dev"))
        sock.connect((item["to"], item["port"]))
        sock.setblocking(False)
        send = self.sends[item["token"]]

        def answered():
            found = packets.dns_answer(item["token"], sock.recv(4096))
            if found and send["replied"] is None:
                send["replied"] = time.monotonic() - send["at"]
                send["rcode"], send["answers"] = found

        self.handlers[sock] = answered
        query = packets.dns_query(item["token"], item["name"], 1)
        return lambda: sock.send(query)

    def _attempt(self, send):
        send["at"] = send["at"] or time.monotonic()
        try:
            if send["go"] is None:
                send["go"] = self._prepare(send["item"])
            send["go"]()
            send["sent"] += 1
        except OSError as error:
            send["error"] = errno.errorcode.get(error.errno or 0, f"error {error.errno}")

    def send(self, first, last, items):
        """Send C(items); return when no more replies are to be expected. The proof's tokens are C(first) to C(last)."""
        self.first, self.last = first, last
        self.asked = {key: row for key, row in self.asked.items() if first <= key[1] <= last}
        for item in items:
            self.sends[item["token"]] = {
                "item": item, "go": None, "sent": 0, "error": None, "replied": None, "reply_from": None,
                "refused": None, "at": None, "rcode": None, "answers": None,
            }
        rounds = [0.0, *RETRY_S]
        start = time.monotonic()
        last = start
        while True:
            now = time.monotonic()
            waiting = [send for send in self.sends.values() if send["replied"] is None]
            if rounds and now - start >= rounds[0]:
                rounds.pop(0)
                for send in waiting:
                    # What must not arrive is tried twice, what must arrive until it does.
                    if send["item"]["wanted"] or len(rounds) >= len(RETRY_S) - 1:
                        self._attempt(send)
                        self.turn(0)
                        last = time.monotonic()
                continue
            wanted = any(send["item"]["wanted"] for send in waiting)
            if (not rounds and now - last >= WAIT_S - RETRY_S[-1]) or now >= self.end:
                return
            if not wanted and (not waiting or (len(rounds) < len(RETRY_S) and now - last >= QUIET_S)):
                return
            self.turn(POLL_S)

    def result(self):
        return {
            "arrivals": [
                {"protocol": key[0], "token": key[1], **row, "source": kernel.text(row["source"])}
                for key, row in self.asked.items()
            ],
            "sends": [
                {
                    "token": token, "sent": send["sent"], "error": send["error"],
                    "reply_from": kernel.text(send["reply_from"]),
                    "replied_ms": None if send["replied"] is None else round(send["replied"] * 1000, 1),
                    "refused": send["refused"], "rcode": send["rcode"], "answers": send["answers"],
                }
                for token, send in self.sends.items()
            ],
        }

    # -- living

    def turn(self, wait_s):
        """Serve what is readable."""
        ready = select.select(list(self.handlers), [], [], wait_s)[0]
        for sock in ready:
            for _burst in range(256):
                try:
                    self.handlers[sock]()
                except BlockingIOError:
                    break
                except OSError:
                    break  # an ICMP error on a UDP socket, a connection that went away: nothing to us

    def _command(self, number):
        """Return the lines of the next command once its file is whole, else None."""
        try:
            with open(os.path.join(self.folder, str(number))) as handle:
                lines = handle.read(COMMAND_MAX).splitlines()
        except OSError:
            return None
        return lines[:-1] if lines and lines[-1] == "end" else None

    def _say(self, number, answer):
        path = os.path.join(self.folder, f"{number}.out")
        with open(path + ".new", "w") as handle:
            handle.write(encode(answer))
        os.rename(path + ".new", path)

    def serve(self):
        number = 1
        while time.monotonic() < self.end:
            self.turn(POLL_S)
            lines = self._command(number)
            if lines is None:
                continue
            words = lines[0].split()
            if words[0] == "bye":
                return
            if words[0] == "send":
                self.send(int(words[1]), int(words[2]), [decode(line) for line in lines[1:]])
                self._say(number, {})
            else:
                self._say(number, self.result())
            number += 1

    def clean(self):
        for name in os.listdir(self.folder):
            os.unlink(os.path.join(self.folder, name))
        os.rmdir(self.folder)


def stop(_number, _frame):
    raise SystemExit(1)  # on its way out, main() tidies up


def main(config):
    os.umask(0o077)
    os.mkdir(config["folder"])
    probe = Probe(config)
    signal.signal(signal.SIGTERM, stop)
    try:
        kernel.settle(config.get("settle_s", 2))
        probe.open(config["port"], config.get("ports") or [])
        ready = {"port": probe.port, "families": probe.families, "problems": probe.problems}
        sys.stdout.write(encode(ready) + "\n")
        sys.stdout.flush()
        child = os.fork()
        if child:
            os._exit(0)
        os.setsid()
        # Whatever happens below, the kernel ends this process.
        signal.alarm(int(config["lifetime_s"]) + 10)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        probe.serve()
    finally:
        probe.clean()
