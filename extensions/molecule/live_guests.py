# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario live: its networks, its guests, who ping ten times a second while something is changed, and what they lost of it.

pyproject.toml has this folder in pytest's path: `from live_guests import network`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable

from guest_agent import BUSYBOX, in_guest
from network_properties import BASES, filled

INTERVAL_S = 0.1
PYTHON = "/usr/bin/python3"

#: Pings all targets until it is told to end, and leaves {target: [pings, numbers of those without a reply]}. Busybox's ping gives
#: its sockets room for some twenty packets, and every one of them gets those of all others: with many it loses what came.
PINGER = f"""
import json, os, select, signal, socket, struct, sys, time

def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

class Target:
    def __init__(self, address):
        self.six = ":" in address
        family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if self.six else (socket.AF_INET, socket.IPPROTO_ICMP)
        self.socket = socket.socket(family, socket.SOCK_RAW, protocol)
        self.socket.setblocking(False)
        self.socket.connect((address, 0))
        self.sent, self.got = 0, set()

    def ask(self):
        words = (128 if self.six else 8, 0, 0, 4711, self.sent)
        packet = struct.pack("!BBHHH", *words)
        if not self.six:
            packet = struct.pack("!BBHHH", words[0], 0, checksum(packet), *words[3:])
        self.sent += 1
        try:
            self.socket.send(packet)
        except OSError:
            pass

    def hear(self):
        try:
            data = self.socket.recv(2048)
        except OSError:
            return
        data = data if self.six else data[(data[0] & 15) * 4:]
        kind, _code, _sum, number, sequence = struct.unpack("!BBHHH", data[:8])
        if (kind, number) == (129 if self.six else 0, 4711):
            self.got.add(sequence)

targets = {{address: Target(address) for address in sys.argv[1:]}}
sockets = {{one.socket: one for one in targets.values()}}
if os.fork():
    os._exit(0)
os.setsid()
for number in range(3):
    os.dup2(os.open("/dev/null", os.O_RDWR), number)
ending = []
signal.signal(signal.SIGTERM, lambda number, frame: ending.append(1))
with open("/tmp/pings.pid", "w") as handle:
    handle.write(str(os.getpid()))

def listen(end, stop):
    while time.monotonic() < end and not stop:
        for one in select.select(list(sockets), [], [], max(0, end - time.monotonic()))[0]:
            sockets[one].hear()

tick = time.monotonic()
while not ending:
    for one in targets.values():
        one.ask()
    tick += {INTERVAL_S}
    listen(tick, ending)
# What was asked last may be answered late.
listen(time.monotonic() + 1, [])
with open("/tmp/pings.part", "w") as handle:
    json.dump({{key: [one.sent, sorted(set(range(one.sent)) - one.got)] for key, one in targets.items()}}, handle)
os.rename("/tmp/pings.part", "/tmp/pings.json")
"""
STOP = (
    "kill $(cat /tmp/pings.pid); while [ ! -e /tmp/pings.json ]; do sleep 0.1; done; cat /tmp/pings.json; rm /tmp/pings.*"
)


@dataclasses.dataclass(frozen=True)
class Pings:
    """What became of the pings to one target."""

    sent: int
    lost: int
    longest: int  # pings that were lost one after the other

    @property
    def longest_s(self):
        """For how long nothing came, in seconds."""
        return round(self.longest * INTERVAL_S, 2)


def judge(sent, missing):
    """Return the Pings of how many were sent and the numbers of those without a reply."""
    longest = run = 0
    for number in range(sent):
        run = run + 1 if number in missing else 0
        longest = max(longest, run)
    return Pings(sent, len(missing), longest)


@contextlib.contextmanager
def pinging(host, guest, targets, settle_s=1.0):
    """Let a guest ping C(targets) meanwhile; the dictionary that is yielded has {target: Pings} afterwards.

    :param settle_s: how long it goes on afterwards, in seconds.
    """
    result = {}
    rc, out = in_guest(host, guest, PYTHON, "-I", "-S", "-c", PINGER, *targets)
    assert rc == 0, out
    time.sleep(1.0)
    try:
        yield result
        time.sleep(settle_s)
    finally:
        _rc, out = in_guest(host, guest, BUSYBOX, "sh", "-c", STOP)
    found = json.loads(out)
    assert sorted(found) == sorted(targets)
    result.update((target, judge(*row)) for target, row in found.items())


#: The kinds of the networks, in which each of the guests has a NIC; network number n is C(live{n}).
LANES = ("routed", "routed", "routed", "routed", "article", "bridged")
GUESTS = ("vm0", "vm1")
HOST_BRIDGE = "livebr6"


def network(number, **values):
    """Return network number C(number) with C(values) declared besides."""
    base = {"name": f"live{number}", "bridge": f"livebr{number}", "state": "active", "autostart": False}
    if LANES[number - 1] != "bridged":
        base["stp"] = False
    return filled({**base, **BASES[LANES[number - 1]], **values}, number)


def guest(name):
    last = GUESTS.index(name) + 2
    nics = [
        {"network": f"live{number}", "addresses": [f"10.65.{number}.{last}/24", f"fd00:65:{number}::{last}/64"]}
        for number in range(1, len(LANES) + 1)
    ]
    return {"name": name, "nics": nics}


def targets(number):
    """Return whom vm0 pings in a network: its gateway in both IP versions, and the other guest."""
    gateway = [f"10.65.{number}.1", f"fd00:65:{number}::1"] if LANES[number - 1] != "bridged" else []
    return [*gateway, f"10.65.{number}.3"]


#: A line for each NIC of the guests, with the bridge that its link is really in, and one for each network with its ports.
LOOK = (
    f"for guest in {' '.join(GUESTS)}; do virsh -q domiflist $guest | while read link rest; do"
    ' echo "$link $rest $(basename $(readlink /sys/class/net/$link/master || echo none))"; done; done;'
    f" for n in $(seq {len(LANES)}); do echo live$n $(virsh -q net-port-list live$n); done"
)


@dataclasses.dataclass
class Bench:
    """A host with the guests on it."""

    host: object
    modules: object
    version: tuple
    figure: Callable[[str], None] | None = None  # of the test that is running

    def plugged(self):
        """Return {MAC: (network, link, the bridge it is really in)} of the guests' NICs, and {network's number: its ports}."""
        links, ports = {}, {}
        for line in self.host.check_output(LOOK).splitlines():
            if line.startswith("live"):
                name, *uuids = line.split()
                ports[int(name.removeprefix("live"))] = sorted(uuids)
            else:
                link, _kind, source, _model, mac, master = line.split()
                links[mac] = (source, link, master)
        return links, ports

    def pinging(self, numbers, settle_s=1.0):
        return pinging(self.host, "vm0", [target for number in numbers for target in targets(number)], settle_s)

    def tell(self, what, action, pings, number, declared=None):
        """Tell what was foretold and lost as a figure; return the Pings of the targets that are to be there.

        :param declared: the network's item, if it has other addresses.
        """
        addresses = {one.partition("/")[0] for one in (declared or network(number)).get("addresses", ())}
        mine = [pings[target] for target in targets(number) if target in addresses or target == targets(number)[-1]]
        effect = action["effect"] if action else "none"
        outage = action["outage_s"] if action else 0
        lost, longest = max(one.lost for one in mine), max(one.longest_s for one in mine)
        self.figure(
            f"{what:<44} {effect:<8} lost {lost:>3} pings, one each {INTERVAL_S} s; {outage:>4} s foretold, {longest:.1f} s found"
        )
        return mine
