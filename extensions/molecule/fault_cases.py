# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the scenario faults asks of modules while it breaks things: each that changes a host, and how all of it goes again.

pyproject.toml has this folder in pytest's path: `from fault_cases import CASES`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field


@dataclass
class Case:
    """What a module is asked for, one call after the other, and how all of it is taken back."""

    module: str
    steps: list
    absent: dict
    before: list = field(default_factory=list)  # commands that make what it needs
    after: list = field(default_factory=list)  # commands that remove it


def net(name, number, model="nat", **more):
    return {"name": name, "model": model, "bridge": f"flt{number}", "addresses": [f"10.88.{number}.1/24"], **more}


def gone(*names, **more):
    return [{"name": name, "state": "absent", **more} for name in names]


NETS = [
    net("flta", 1, dhcp={"ranges": [{"start": "10.88.1.100", "end": "10.88.1.200"}]}), net("fltb", 2, "isolated", dhcp={}),
    net("fltc", 3, "routed"),
]  # fmt: skip
CHANGED = [
    {**NETS[0], "dhcp": {"ranges": [{"start": "10.88.1.50", "end": "10.88.1.99"}], "lease_time": "2h"}},
    {**NETS[1], "mtu": 1400}, {**NETS[2], "addresses": ["10.88.13.1/24", "fd00:88:13::1/64"]},
]
POLICY = [
    {"name": f"fp{number}", "model": model, "bridge": f"flp{number}", "addresses": [f"10.88.2{number}.1/24"], "dhcp": {}}
    for number, model in enumerate(("isolated", "routed", "nat"))
]
#: A link of somebody else's, with a file of systemd-networkd; the same one when it is made again after a boot.
VETH = (
    "ip link add fltveth address 02:00:00:00:88:01 type veth peer name fltvethp address 02:00:00:00:88:02"
    " && ip link set fltvethp up && printf"
    " '[Match]\\nName=fltveth\\n\\n[Network]\\nAddress=10.88.50.1/24\\nIPv6AcceptRA=no\\n'"
    " > /etc/systemd/network/60-fltveth.network && networkctl reload && networkctl up fltveth && sleep 3"
)
NO_VETH = ["rm -f /etc/systemd/network/60-fltveth.network; ip link del fltveth; networkctl reload"]
CASES = {
    "networks": Case("virt_net_model", [{"networks": NETS}, {"networks": CHANGED}], {"networks": gone("flta", "fltb", "fltc")}),
    "policies": Case(
        "net_policy",
        [
            {"networks": POLICY},
            {"networks": [*POLICY[:2], {**POLICY[2], "policy": {"allow_to": [{"network": "fp1"}], "deny_host": True}}]},
        ],
        {"networks": [{**one, "state": "absent"} for one in POLICY]},
    ),
    "rules": Case(
        "nat_rule",
        [
            {"rules": [{"name": "m", "type": "masquerade", "source": "10.88.30.0/24"}]},
            {
                "rules": [
                    {"name": "m", "type": "masquerade", "source": "10.88.31.0/24"},
                    {
                        "name": "f", "type": "dnat", "protocol": "tcp", "listen": {"ports": "8080"},
                        "to": {"address": "10.88.31.9", "ports": "80"},
                    },
                ]
            },
        ],
        {"rules": [], "purge": True},
    ),
    "iptables": Case(
        "nat_rule",
        [{"backend": "iptables", "rules": [{"name": "m", "type": "masquerade", "source": "10.88.30.0/24"}]}],
        {"backend": "iptables", "rules": [], "purge": True},
    ),
    "taps": Case(
        "tap_iface",
        [
            {"taps": [{"name": "flttap0"}, {"name": "flttap1", "owner": "nobody"}]},
            {"taps": [{"name": "flttap0", "mtu": 1400}, {"name": "flttap1", "multi_queue": True}]},
        ],
        {"taps": gone("flttap0", "flttap1")},
    ),
    "bridges": Case(
        "host_bridge",
        [
            {
                "bridges": [
                    {"name": "fltbr0", "addresses": ["10.88.40.1/24"], "ports": ["fltveth"]}, {"name": "fltbr1", "stp": True},
                ]
            },
            {"bridges": [{"name": "fltbr0", "addresses": ["10.88.41.1/24"], "ports": []}, {"name": "fltbr1", "mtu": 1400}]},
        ],
        {"bridges": gone("fltbr0", "fltbr1")},
        [VETH.replace("Address=10.88.50.1/24", "LinkLocalAddressing=no")], NO_VETH,
    ),
    "interfaces": Case(
        "host_iface",
        [
            {"interfaces": [{"name": "fltveth", "mtu": 1400, "addresses": ["10.88.51.1/24"]}]},
            {
                "interfaces": [
                    {"name": "fltveth", "addresses": ["10.88.51.1/24"], "routes": [{"to": "10.88.60.0/24", "via": "10.88.51.9"}]}
                ]
            },
        ],
        {"interfaces": gone("fltveth")},
        [VETH], NO_VETH,
    ),
    "forwarding": Case("ip_forward", [{"ipv4": True}, {"ipv4": True, "ipv6": True}], {"state": "absent"}),
    "vxlans": Case(
        "vxlan_iface",
        [
            {"vxlans": [{"name": "fltvx0", "vni": 4788, "local": "{lan}", "peers": ["10.77.0.99"], "bridge": "fltbr9"}]},
            {"vxlans": [{"name": "fltvx0", "peers": ["10.77.0.98"], "mtu": 1400}]},
        ],
        {"vxlans": gone("fltvx0")},
        ["ip link add fltbr9 address 02:00:00:00:88:09 type bridge"], ["ip link del fltbr9"],
    ),
    "bgp": Case(
        "frr_bgp",
        [
            {"asn": 64512, "announce": [{"name": "x/y", "prefixes": ["10.88.70.0/24"]}]},
            {
                "asn": 64512, "vnis": [{"name": "x/z", "vnis": [7]}],
                "neighbors": [{"name": "none", "asn": 64512, "addresses": ["10.77.0.99"], "evpn": True}],
            },
        ],
        {"state": "absent"},
    ),
}  # fmt: skip


def filled(arguments, lan):
    """Return arguments with the host's own address in them."""
    return json.loads(json.dumps(arguments).replace("{lan}", lan))


def differences(before, after, path=""):
    """Return what differs of two snapshots, as lines."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line for key in sorted({*before, *after}) for line in differences(before.get(key), after.get(key), f"{path}/{key}")
        ]
    if isinstance(before, list) and isinstance(after, list):
        gone, come = [one for one in before if one not in after], [one for one in after if one not in before]
        return [f"{path}: -{one}" for one in gone] + [f"{path}: +{one}" for one in come]
    return [] if before == after else [f"{path}: {str(before)[:300]} -> {str(after)[:300]}"]


def settled(snapshot):
    """Return a snapshot of a host on which nothing happens any more: links that have just come get their addresses later."""
    found, before = snapshot(), None
    for _second in range(20):
        if found == before:
            break
        time.sleep(2)
        found, before = snapshot(), found
    return found


def left(before, snapshot, chance=None):
    """Return what differs of a snapshot and of what is there now; what a router tells of comes again within seconds.

    :param chance: compiled pattern of lines that tell nothing.
    """
    deadline = time.monotonic() + 20
    while True:
        found = [line for line in differences(before, snapshot()) if not (chance and chance.search(line))]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(1)


def taken_back(case, modules, absent):
    modules.run(case.module, **absent)
    # libvirt forwards packets for its networks; what was before is given back by whoever is asked for it.
    if case.module == "virt_net_model":
        modules.run("ip_forward", state="absent")
