# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VLANs of a bridge and its ports, on a machine whose kernel has them; what the kernel says of them is read by hand."""

from __future__ import annotations

import json
import time

import pytest
import testinfra
import yaml
from controllers import until
from lab_side import variables
from module_calls import Modules

ADDRESS = "10.64.122.2"
#: What has to be there for each manager of links, and what is put back after it.
IFUPDOWN = "source /etc/network/interfaces.d/*\\nauto lo\\niface lo inet loopback\\n"
MANAGERS = {
    "none": ("true", "true"),
    "networkd": ("true", "true"),
    "NetworkManager": (
        "printf '[main]\\nno-auto-default=*\\n' > /etc/NetworkManager/conf.d/test.conf; systemctl -q enable --now NetworkManager",
        "systemctl -q disable --now NetworkManager && rm /etc/NetworkManager/conf.d/test.conf",
    ),
    "ifupdown": (
        f"printf '{IFUPDOWN}' > /etc/network/interfaces; systemctl -q enable --now networking", "systemctl -q disable networking",
    ),
}  # fmt: skip
FREE = (
    "python3 -c 'import glob, yaml; path, = glob.glob(\"/etc/netplan/*.yaml\"); tree = yaml.safe_load(open(path));"
    " links = tree[\"network\"][\"ethernets\"]; eth0 = {key: one for key, one in links.items() if one[\"set-name\"] == \"eth0\"};"
    " tree[\"network\"][\"ethernets\"] = eth0; yaml.safe_dump(tree, open(path, \"w\"))'"
)
TRUNK = {"tagged": ["10", "20-29"]}
FIRST = {
    "name": "vbr0", "ports": ["eth1", "eth2"], "addresses": ["10.93.40.1/24"],
    "vlan_filtering": True, "vlan_default_pvid": 0, "vlans": {"pvid": 10},
    "port_options": [{"name": "eth1", "vlans": TRUNK}, {"name": "eth2", "cost": 50, "vlans": {"pvid": 10}}],
}  # fmt: skip
#: The host on its own VLAN tagged, one port moved to another VLAN and with a hole in its range, the other as it was.
SECOND = {
    **FIRST, "vlans": {"pvid": 20, "tagged": ["10"]},
    "port_options": [
        {"name": "eth1", "vlans": {"pvid": 1, "tagged": ["10", "20-24", "26-29"]}}, {"name": "eth2", "vlans": {"pvid": 20}},
    ],
}  # fmt: skip
KERNEL = {
    "first": {
        "vbr0": {10: "PVID Egress Untagged"}, "eth2": {10: "PVID Egress Untagged"},
        "eth1": dict.fromkeys([10, *range(20, 30)], ""),
    },
    "second": {
        "vbr0": {20: "PVID Egress Untagged", 10: ""}, "eth2": {20: "PVID Egress Untagged"},
        "eth1": {1: "PVID Egress Untagged", **dict.fromkeys([10, 20, 21, 22, 23, 24, 26, 27, 28, 29], "")},
    },
}


@pytest.fixture(scope="module")
def machine(host, tmp_path_factory):
    """The guest, as a host of the modules: reached through the lab's host with the lab's key."""
    lab = variables(host)["ansible_ssh_private_key_file"].rpartition("/")[0]
    options = "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -o ConnectTimeout=60"
    # What hangs when the machine restarts ends soon.
    options += " -o ControlMaster=no -o ServerAliveInterval=5 -o ServerAliveCountMax=4"
    proxy = f"-o ProxyCommand='ssh -F {lab}/config -W %h:%p {host.backend.host}'"
    inventory = tmp_path_factory.mktemp("vlans") / "inventory.yml"
    guest = {
        "ansible_host": ADDRESS, "ansible_user": "root", "ansible_ssh_private_key_file": f"{lab}/id_ed25519",
        "ansible_ssh_common_args": f"{options} {proxy}", "ansible_python_interpreter": "/usr/bin/python3", "ansible_timeout": 60,
    }  # fmt: skip
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"vlnhost": guest}}}))
    found = testinfra.get_host(f"ansible://vlnhost?ansible_inventory={inventory}")
    came_in(found)
    # Its two other links are nobody's: each manager of links gets them in its turn. And it restarts in half the time.
    for number in (1, 2):
        text = f"[Match]\\nMACAddress=52:54:00:64:22:0{number}\\n[Link]\\nName=eth{number}\\n"
        found.check_output(f"printf '{text}' > /etc/systemd/network/10-eth{number}.link")
    found.check_output(f"touch /etc/cloud/cloud-init.disabled && {FREE}")
    for _before, after in MANAGERS.values():
        found.run(after)
    rebooted(found)
    return found


def came_in(machine, seconds=600):
    """Wait until the machine has booted, and return its number of that boot."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = machine.run("systemctl is-system-running --wait > /dev/null; cat /proc/sys/kernel/random/boot_id")
            if found.rc == 0:
                return found.stdout
        except RuntimeError:  # testinfra's, of a connection that fails
            pass
        assert time.monotonic() < deadline, "the machine is not reached"
        time.sleep(3)


def rebooted(machine):
    before = came_in(machine)
    machine.run("systemd-run --on-active=1s --timer-property=AccuracySec=100ms systemctl reboot")
    deadline = time.monotonic() + 600
    while came_in(machine) == before:
        assert time.monotonic() < deadline, "it does not restart"
        time.sleep(2)


def of_kernel(machine, *names):
    """Return {link: {VLAN: flags}} of some links, as bridge(8) says it."""
    found = {}
    for row in json.loads(machine.check_output("bridge -j vlan show")):
        for one in row.get("vlans", ()):
            for number in range(one["vlan"], one.get("vlanEnd", one["vlan"]) + 1):
                found.setdefault(row["ifname"], {})[number] = " ".join(one.get("flags", ()))
    return {name: found.get(name, {}) for name in names}


def looked(machine):
    """Return what is to be as before."""
    return machine.check_output(
        # The kernel looks for others with an address for a moment, which is no difference.
        "for again in $(seq 50); do [ -n \"$(ip -o address show tentative)\" ] || break; sleep 0.2; done;"
        " ip -o link | sed 's/^[0-9]*: //; s/qdisc .*//'; ip -o address show scope global | sed 's/^[0-9]*: //; s/valid_lft.*//;"
        # Whoever gives an address its lifetime says these anew with the router's next word.
        " s/ \\(nodad\\|dynamic\\|mngtmpaddr\\|noprefixroute\\)//g';"
        " bridge vlan show; ls /etc/systemd/network /etc/network/interfaces.d /etc/NetworkManager/system-connections"
    )


@pytest.fixture(params=MANAGERS)
def manager(machine, request):
    before, after = MANAGERS[request.param]
    # NetworkManager would have them up, sooner or later.
    machine.run_expect([0], f"{before}; ip link set eth1 up; ip link set eth2 up")
    yield request.param
    Modules(machine)("host_bridge", bridges=[{"name": "vbr0", "state": "absent"}], manager=request.param)
    machine.run(after)


def test_under_each_manager(machine, manager, figure):
    """Made, changed, restarted, taken away; each step as foreseen, and nothing to do the second time."""
    modules = Modules(machine)
    before = looked(machine)
    began = time.monotonic()
    result = modules.step("host_bridge", "bridges", bridges=[FIRST], manager=manager)
    figure(f"{manager}: check mode, run and second run in {time.monotonic() - began:.0f} s")
    assert of_kernel(machine, *KERNEL["first"]) == KERNEL["first"]
    assert result["bridges"][0]["vlans"] == {"pvid": 10, "untagged": ["10"], "tagged": []}
    modules.step("host_bridge", "bridges", bridges=[SECOND], manager=manager)
    assert of_kernel(machine, *KERNEL["second"]) == KERNEL["second"]
    facts = {one["name"]: one["vlans"] for one in Modules(machine)("host_iface_info")["interfaces"]}
    assert facts["eth2"] == {"pvid": 20, "untagged": ["20"], "tagged": []} and facts["eth0"] is None
    if manager != "none":
        rebooted(machine)
        # A system that is running may have a manager of links that is not done yet.
        until(lambda: of_kernel(machine, *KERNEL["second"]) == KERNEL["second"], 180)
        again = modules.run("host_bridge", bridges=[SECOND], manager=manager)
        assert not again["changed"], again["actions"]
    modules.step("host_bridge", "bridges", bridges=[{"name": "vbr0", "state": "absent"}], manager=manager)
    assert looked(machine) == before


def test_what_is_not_declared_stays(machine):
    modules = Modules(machine)
    try:
        first = {**FIRST, "vlan_default_pvid": 1, "vlans": {"pvid": 1}, "port_options": []}
        modules.run("host_bridge", bridges=[first], manager="none")
        plain = {1: "PVID Egress Untagged"}
        assert of_kernel(machine, "vbr0", "eth1", "eth2") == {"vbr0": plain, "eth1": plain, "eth2": plain}
        machine.check_output("bridge vlan add dev eth1 vid 7")
        assert not modules.run("host_bridge", bridges=[{"name": "vbr0", "ports": ["eth1", "eth2"]}], manager="none")["changed"]
        # Another default: what had the old one as its own has the new one, what somebody added stays.
        other = {"name": "vbr0", "ports": ["eth1", "eth2"], "vlan_default_pvid": 5}
        modules.step("host_bridge", "bridges", bridges=[other], manager="none")
        new = {5: "PVID Egress Untagged"}
        assert of_kernel(machine, "vbr0", "eth1", "eth2") == {"vbr0": new, "eth1": {**new, 7: ""}, "eth2": new}
        modules.step("host_bridge", "bridges", bridges=[{"name": "vbr0", "vlan_filtering": False}], manager="none")
    finally:
        modules.run("host_bridge", bridges=[{"name": "vbr0", "state": "absent"}], manager="none")


def test_refusals(machine):
    modules = Modules(machine)
    bridge = {"name": "vbr0", "ports": ["eth1"], "vlan_filtering": True}
    options = [{"name": "eth1", "vlans": {"pvid": 10}}]
    for item, message in (
        ({**bridge, "port_options": options}, "bridges[0].port_options[0].vlans: vbr0: the bridge puts every port into VLAN 1"),
        ({**bridge, "vlans": {"pvid": 10}}, "bridges[0].vlans: vbr0: the bridge puts every port into VLAN 1"),
        ({**bridge, "vlan_filtering": False, "vlans": {"pvid": 1}}, "bridges[0].vlan_filtering: vbr0: VLANs are declared"),
        ({**bridge, "vlan_default_pvid": 4095}, "bridges[0].vlan_default_pvid: vbr0: 4095 is no VLAN"),
    ):
        assert message in modules.refused("host_bridge", bridges=[item], manager="none")


def test_packets(machine):
    """Two machines in a VLAN, one in another, and one at a trunk that is in both."""
    modules = Modules(machine)
    ports = {"va": {"pvid": 10}, "vb": {"pvid": 10}, "vc": {"pvid": 20}, "vt": {"tagged": ["10", "20"]}}
    lines = ["modprobe 8021q"]
    for number, name in enumerate(ports, 1):
        lines += [
            f"ip netns add {name}", f"ip link add {name} type veth peer name eth0 netns {name}", f"ip -n {name} link set eth0 up",
        ]
        if name == "vt":
            for tag in (10, 20):
                lines += [
                    f"ip -n vt link add link eth0 name v{tag} type vlan id {tag}", f"ip -n vt link set v{tag} up",
                    f"ip -n vt address add 10.93.{tag}.4/24 dev v{tag}",
                ]
        else:
            lines += [f"ip -n {name} address add 10.93.{tag}.{number}/24 dev eth0" for tag in (10, 20)]
    try:
        machine.check_output(" && ".join(lines))
        bridge = {**FIRST, "ports": list(ports), "addresses": ["10.93.10.9/24"]}
        bridge["port_options"] = [{"name": name, "vlans": of_port} for name, of_port in ports.items()]
        modules.run("host_bridge", bridges=[bridge], manager="none")
        reached = {
            (name, address): machine.run(f"ip netns exec {name} ping -q -c 2 -i 0.3 -W 2 {address}").rc == 0
            for name in ports for address in ("10.93.10.2", "10.93.20.3", "10.93.10.4", "10.93.20.4", "10.93.10.9")
            if (name, address) not in {("vb", "10.93.10.2"), ("vc", "10.93.20.3"), ("vt", "10.93.10.4"), ("vt", "10.93.20.4")}
        }
        yes = {
            ("va", "10.93.10.2"), ("va", "10.93.10.4"), ("va", "10.93.10.9"), ("vb", "10.93.10.4"), ("vb", "10.93.10.9"),
            ("vc", "10.93.20.4"), ("vt", "10.93.10.2"), ("vt", "10.93.20.3"), ("vt", "10.93.10.9"),
        }
        assert {pair for pair, answered in reached.items() if answered} == yes
    finally:
        modules.run("host_bridge", bridges=[{"name": "vbr0", "state": "absent"}], manager="none")
        machine.run(f"for one in {' '.join(ports)}; do ip netns del $one; done")


def test_the_uplink(machine, figure):
    """Into a VLAN over the very connection; into the wrong one, and all is put back."""
    modules = Modules(machine)
    # As they are after a restart, for nobody's they are by now.
    machine.check_output("ip link set eth1 down; ip link set eth2 down")
    before = looked(machine)
    bridge = {
        "name": "vbr0", "ports": ["eth0"], "take_over": True,
        "vlan_filtering": True, "vlan_default_pvid": 0, "vlans": {"pvid": 10},
    }  # fmt: skip
    wrong = modules(
        "host_bridge", bridges=[{**bridge, "port_options": [{"name": "eth0", "vlans": {"tagged": ["10"]}}]}], confirm_timeout=120
    )
    assert wrong["failed"] and "did not answer" in wrong["msg"], json.dumps(wrong, indent=1)
    assert looked(machine) == before
    right = [{**bridge, "port_options": [{"name": "eth0", "vlans": {"pvid": 10}}]}]
    try:
        moved = modules.step("host_bridge", "bridges", bridges=right, confirm_timeout=120)
        assert moved["guard"]["state"] == "confirmed"
        figure(f"uplink into a bridge with VLANs: away {moved['guard']['away_s']} s")
        rebooted(machine)
        assert not modules.run("host_bridge", bridges=right)["changed"]
    finally:
        modules.run("host_bridge", bridges=[{"name": "vbr0", "state": "absent"}], confirm_timeout=120)
    assert looked(machine) == before
