# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""net_policy beside firewalls of others, real ones, with packets of guests that are network namespaces."""

from __future__ import annotations

import re

import pytest
import testinfra
from module_calls import Modules

#: What each is: how it comes, how it is loaded anew, how somebody damages our opening in it, how it goes.
FIREWALLS = {
    "iptables": {
        "start": "for t in iptables ip6tables; do $t -A INPUT -i lo -j ACCEPT; $t -A INPUT -p tcp --dport 22 -j ACCEPT; "
        "$t -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; $t -A INPUT -i eth0 -p ipv6-icmp -j ACCEPT; "
        "$t -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; $t -P INPUT DROP; $t -P FORWARD DROP; "
        # What a restore makes of empty chains is there beforehand.
        "$t -P OUTPUT ACCEPT; done; iptables-save > /tmp/forsave; iptables-restore /tmp/forsave",
        "reload": "iptables-save > /tmp/forsave; sed -i '/VIRTNET_/d' /tmp/forsave; iptables-restore /tmp/forsave",
        "damage": "iptables -F VIRTNET_FORWARD",
        "stop": "for t in iptables ip6tables; do $t -P INPUT ACCEPT; $t -P FORWARD ACCEPT; $t -F INPUT; "
        "$t -D FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; done",
    },
    "nftables": {
        "start": "nft -f /tmp/forsite.nft",
        "reload": "nft delete table inet site; nft -f /tmp/forsite.nft",
        "damage": "nft -a list chain inet site forward | sed -n 's/.*virtnet.kvm\" # handle \\([0-9]*\\)$/\\1/p' | head -n 1 | "
        "xargs nft delete rule inet site forward handle",
        "stop": "nft delete table inet site",
    },
    "docker": {
        # It sets that policy itself where it was the one to switch forwarding on.
        "start": "iptables -P FORWARD DROP; systemctl start docker",
        "reload": "systemctl restart docker",
        "damage": "iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN",
        "stop": "systemctl stop docker docker.socket containerd; ip link del docker0; iptables-save -t filter | "
        "sed '/DOCKER/d; /docker0/d; s/^:FORWARD DROP/:FORWARD ACCEPT/' | iptables-restore; "
        "iptables -t nat -F; iptables -t nat -X",
    },
    "firewalld": {
        "start": "systemctl start firewalld",
        "reload": "firewall-cmd --reload",
        "damage": "firewall-cmd --zone=virtnet-nat --remove-service=dhcp",
        "stop": "systemctl stop firewalld",
    },
    "ufw": {
        "start": "ufw allow 22/tcp; ufw --force enable",
        "reload": "ufw reload",
        "damage": "iptables -F VIRTNET_FORWARD",
        "stop": "ufw --force disable; ufw --force delete allow 22/tcp",
    },
}
SITE = """table inet site {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname "lo" accept
        tcp dport 22 accept
        iifname "eth0" meta l4proto ipv6-icmp accept
    }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established,related accept
        jump rest
    }
    chain rest {
        drop
    }
}
"""


class Site:
    """Two networks, a guest in each, and an outside machine that knows the way to both."""

    def __init__(self, host, modules):
        number = 120 if host.backend.host == "kvm1" else 122
        self.host, self.modules = host, modules
        self.outside = testinfra.get_host("ansible://outside1", ansible_inventory=host.backend.ansible_runner.inventory_file)
        self.nat, self.routed = f"10.64.{number}", f"10.64.{number + 1}"
        self.networks = [
            {"name": name, "model": model, "bridge": f"{name}0", "addresses": [f"{subnet}.1/24"],
             "dhcp": {"ranges": [{"start": f"{subnet}.100", "end": f"{subnet}.120"}]}}
            for name, model, subnet in (("fornat", "nat", self.nat), ("forrou", "routed", self.routed))
        ]
        self.gone = [{"name": one["name"], "state": "absent"} for one in self.networks]

    def up(self):
        self.modules.run("ip_forward", ipv4=True)
        self.modules.run("net_policy", networks=self.networks)
        self.modules.run("nat_rule", networks=self.networks)
        self.modules.run("virt_net_model", networks=self.networks)
        address = self.host.backend.ansible_runner.get_variables(self.host.backend.host)["lab_hosts_address"].split("/")[0]
        for name, subnet in (("fornat", self.nat), ("forrou", self.routed)):
            self.host.check_output(
                f"ip netns add {name} && ip link add {name}g type veth peer name eth0 netns {name} && "
                f"ip link set {name}g master {name}0 up && ip -n {name} link set lo up && ip -n {name} link set eth0 up && "
                f"ip -n {name} address add {subnet}.2/24 dev eth0 && ip -n {name} route add default via {subnet}.1"
            )
            self.outside.run(f"ip route replace {subnet}.0/24 via {address}")
        # Without this command's own channels, else it would wait for them.
        for name in ("fornat", "forrou"):
            for file, flags in (("tcp", "-l"), ("udp", "-u -l")):
                self.host.check_output(
                    f"ip netns exec {name} setsid -f nc -k {flags} 7000 < /dev/null > /tmp/{name}.{file} 2>&1"
                )

    def down(self):
        for name, subnet in (("fornat", self.nat), ("forrou", self.routed)):
            self.host.run(f"ip netns pids {name} | xargs -r kill; ip netns del {name}; ip link del {name}g")
            self.outside.run(f"ip route del {subnet}.0/24")
        self.modules("virt_net_model", networks=self.gone)
        self.modules("nat_rule", networks=self.gone)
        self.modules("net_policy", networks=self.gone)
        self.modules("ip_forward", state="absent")

    def seen(self):
        """What passes. All of it in three commands: a connection costs more than the question."""
        near = f"{self.routed}.2"
        self.host.run("truncate -s 0 /tmp/fornat.* /tmp/forrou.*")
        outside = {
            "outside to routed, tcp": f"nc -z -w 1 {near} 7000",
            "outside to nat, tcp": f"nc -z -w 1 {self.nat}.2 7000",
            "": f"echo out | nc -u -w 1 {near} 7000; echo out | nc -u -w 1 {self.nat}.2 7000",
        }
        inside = {
            "nat to outside, icmp": "ip netns exec fornat ping -c 1 -W 2 10.77.0.2",
            "nat to outside, tcp": "ip netns exec fornat nc -z -w 2 10.77.0.2 22",
            "nat to routed, icmp": f"ip netns exec fornat ping -c 1 -W 2 {near}",
            "nat to routed, tcp": f"ip netns exec fornat nc -z -w 2 {near} 7000",
            "nat to routed, udp": f"echo udp | ip netns exec fornat nc -u -w 1 {near} 7000; grep udp /tmp/forrou.udp",
            "routed to outside, icmp": "ip netns exec forrou ping -c 1 -W 2 10.77.0.2",
            "outside to routed, udp": "grep out /tmp/forrou.udp",
            "nat to host, icmp": f"ip netns exec fornat ping -c 1 -W 2 {self.nat}.1",
            "nat to host, dns": f"ip netns exec fornat timeout 6 busybox nslookup www.example.test {self.nat}.1",
            "nat to host, dhcp": "ip netns exec fornat busybox udhcpc -i eth0 -n -q -t 3 -T 3 -s /bin/true",
            "outside to nat, udp": "grep out /tmp/fornat.udp",
            "routed to nat, icmp": f"ip netns exec forrou ping -c 1 -W 1 {self.nat}.2",
        }
        found = {}
        for where, asked in ((self.outside, outside), (self.host, inside)):
            done = where.run("\n".join(f"({command}) > /dev/null 2>&1; echo '{key}='$?" for key, command in asked.items()))
            found.update(line.rsplit("=", 1) for line in done.stdout.splitlines())
        return {key: code == "0" for key, code in found.items() if key}

    def wrong(self):
        shut = ("outside to nat", "routed to nat")
        return [f"{key}: {passed}" for key, passed in self.seen().items() if passed == key.startswith(shut)]

    def holds(self, when):
        assert self.wrong() == [], when

    def theirs(self):
        """All rules but ours and libvirt's, and the files of those who have some."""
        text = self.host.check_output("nft -s list ruleset") + "\n"
        text = re.sub(r"^table (inet|bridge) virtnet \{.*?^\}\n", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"#.*|\[\d+:\d+\]|counter packets \d+ bytes \d+|elements = .*", "", text)
        more = self.host.run("find /etc/firewalld /etc/ufw /etc/default/ufw -type f | sort | xargs md5sum").stdout
        # The order of tables and chains is that of their making, which their owner's restart changes.
        rows, table, chain = [], "", ""
        for line in text.splitlines():
            table, chain = (line, "") if line.startswith("table ") else (table, line if line.startswith("\tchain ") else chain)
            if line.strip(" \t}") and "LIBVIRT_" not in line:
                rows.append((table, chain, line.strip()))
        return sorted(rows, key=lambda row: row[:2]), more


@pytest.fixture(scope="module")
def site(host):
    made = Site(host, Modules(host))
    host.check_output(f"cat > /tmp/forsite.nft << 'END'\n{SITE}END")
    made.up()
    yield made
    made.down()


def names(result):
    return [one["name"] for one in result["foreign"]]


@pytest.mark.parametrize("kind", list(FIREWALLS))
def test_a_firewall_of_others(site, host, modules, kind):
    one = FIREWALLS[kind]
    wanted = {"networks": site.networks}
    assert modules.run("net_policy", **wanted)["foreign"] == []
    site.holds("without any other")
    host.run(one["start"])
    try:
        assert site.wrong() != [], "it drops nothing: nothing would be shown"
        before = site.theirs()
        told = modules.step("net_policy", "foreign", **wanted)
        assert kind in names(told), told["foreign"]
        assert {op["kind"] for op in told["actions"]} == {"opening"}
        site.holds("it came after ours")
        host.run(one["reload"])
        modules.run("net_policy", **wanted)
        site.holds("it was loaded anew")
        assert not modules.run("net_policy", **wanted)["changed"]
        host.run(one["damage"])
        assert modules.step("net_policy", "foreign", **wanted)["foreign"] == told["foreign"]
        site.holds("our opening was damaged")
        modules.step("net_policy", "foreign", networks=site.gone)
        assert site.theirs() == before
        assert kind in names(modules.step("net_policy", "foreign", **wanted))
        site.holds("it was there before ours")
    finally:
        host.run(one["stop"])
    # One that is stopped, but still installed, keeps what its next start needs.
    assert names(modules.run("net_policy", **wanted)) == (["firewalld"] if kind == "firewalld" else [])
    site.holds("it is gone")
    assert modules.run("net_policy", networks=site.gone)["foreign"] == []
    assert not host.run("find /etc/firewalld -name 'virtnet-*'").stdout
