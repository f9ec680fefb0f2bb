# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""connections.py GUEST ADDRESS PORT: new TCP connections a second between two network namespaces, as JSON.

One is a guest with the address GUEST, which answers on port 80; the other is outside. Asked for are the guest itself (direct,
routed by this host), and port PORT of this host's ADDRESS, from where a forward leads to the guest (null if none does).
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import subprocess
import sys
import time

SECONDS = 2
FORWARDING = "/proc/sys/net/ipv4/ip_forward"


def run(*command):
    subprocess.run(command, check=True)


def serve():
    with socket.create_server(("", 80), backlog=4096) as server:
        print("ready", flush=True)
        while True:
            server.accept()[0].close()


def ask(address, port):
    """Print how many connections a second were made; the client ends each with a reset, so that no port is left waiting."""
    count, began = 0, time.monotonic()
    while time.monotonic() < began + SECONDS:
        with socket.socket() as one:
            one.settimeout(2)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                one.connect((address, int(port)))
            except OSError:
                break
            count += 1
    print(round(count / (time.monotonic() - began)) if count else "null")


def within(namespace, *arguments, **options):
    command = ["ip", "netns", "exec", namespace, sys.executable, __file__, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def main(guest, address, port):
    gateway = str(ipaddress.ip_interface(f"{guest}/24").network.network_address + 1)
    outside = str(ipaddress.ip_interface(f"{address}/24").network.network_address + 2)
    with open(FORWARDING, encoding="ascii") as handle:
        before = handle.read()
    server = None
    try:
        for name, own, other in (("bncguest", gateway, guest), ("bncout", address, outside)):
            run("ip", "netns", "add", name)
            run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "address", "add", f"{own}/24", "dev", name)
            run("ip", "link", "set", name, "up")
            run("ip", "-n", name, "address", "add", f"{other}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "route", "add", "default", "via", own)
        with open(FORWARDING, "w", encoding="ascii") as handle:
            handle.write("1")
        server = within("bncguest", "serve")
        server.stdout.readline()
        found = {}
        for what, target in (("direct", (guest, "80")), ("forward", (address, port))):
            found[what] = json.loads(within("bncout", "ask", *target).communicate()[0])
        print(json.dumps(found))
    finally:
        if server is not None:
            server.kill()
            server.wait()
        for name in ("bncguest", "bncout"):
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)
        with open(FORWARDING, "w", encoding="ascii") as handle:
            handle.write(before)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    elif sys.argv[1] == "ask":
        ask(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
