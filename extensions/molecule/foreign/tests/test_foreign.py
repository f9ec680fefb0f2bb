# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""net_policy beside firewalls of others, real ones, with packets of guests that are network namespaces."""

from __future__ import annotations

import re

import pytest
import testinfra
from lab_side import console, lab, variables
from module_calls import Modules

#: A unit like Debian's netfilter-persistent, whose package asks questions.
PERSISTENT = "/etc/systemd/system/netfilter-persistent.service"
RESTORING = """[Unit]
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=iptables-restore /etc/forsave.iptables
ExecStart=ip6tables-restore /etc/forsave.ip6tables
[Install]
WantedBy=multi-user.target
"""
BACKEND = "sed -i 's/^FirewallBackend=.*/FirewallBackend=%s/' /etc/firewalld/firewalld.conf"
#: What each is: how it comes, how it is loaded anew, how somebody damages our opening in it, how it goes; what has it come with
#: the host's boot, and what takes that back.
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
        "boot": "for t in iptables ip6tables; do $t-save | sed '/VIRTNET_\\|LIBVIRT_/d' > /etc/forsave.$t; done; "
        f"cat > {PERSISTENT} << 'END'\n{RESTORING}END\nsystemctl -q enable netfilter-persistent",
        "no boot": f"systemctl -q disable netfilter-persistent; rm {PERSISTENT} /etc/forsave.*",
    },
    "nftables": {
        "start": "nft -f /var/tmp/forsite.nft",
        "reload": "nft delete table inet site; nft -f /var/tmp/forsite.nft",
        "damage": "nft -a list chain inet site forward | sed -n 's/.*virtnet.kvm\" # handle \\([0-9]*\\)$/\\1/p' | head -n 1 | "
        "xargs nft delete rule inet site forward handle",
        "stop": "nft delete table inet site",
        "boot": "cp -p /etc/nftables.conf /etc/forkept; (echo flush ruleset; cat /var/tmp/forsite.nft) > /etc/nftables.conf; "
        "systemctl -q enable nftables",
        "no boot": "systemctl -q disable nftables; mv /etc/forkept /etc/nftables.conf",
    },
    "docker": {
        # It sets that policy itself where it was the one to switch forwarding on.
        "start": "iptables -P FORWARD DROP; systemctl start docker",
        "reload": "systemctl restart docker",
        "damage": "iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN",
        "stop": "systemctl stop docker docker.socket containerd; ip link del docker0; iptables-save -t filter | "
        "sed '/DOCKER/d; /docker0/d; s/^:FORWARD DROP/:FORWARD ACCEPT/' | iptables-restore; "
        "iptables -t nat -F; iptables -t nat -X",
        # It sets the policy only where nobody else has switched forwarding on; somebody else's unit does it here.
        "boot": "printf '[Service]\\nExecStartPre=iptables -P FORWARD DROP\\n' > /run/fordrop; "
        "mkdir -p /etc/systemd/system/docker.service.d; mv /run/fordrop /etc/systemd/system/docker.service.d/fordrop.conf; "
        "systemctl -q enable docker",
        "no boot": "systemctl -q disable docker docker.socket containerd; rm -r /etc/systemd/system/docker.service.d",
    },
    "firewalld": {
        "start": "systemctl start firewalld",
        "reload": "firewall-cmd --reload",
        "damage": "firewall-cmd --zone=virtnet-nat --remove-service=dhcp",
        "stop": "systemctl stop firewalld",
        "boot": "systemctl -q enable firewalld",
        "no boot": "systemctl -q disable firewalld",
    },
    "firewalld, by iptables": {
        "start": f"{BACKEND % 'iptables'}; systemctl start firewalld",
        "reload": "firewall-cmd --reload",
        "damage": "firewall-cmd --zone=virtnet-routed --remove-interface=forrou0",
        "stop": f"systemctl stop firewalld; {BACKEND % 'nftables'}",
    },
    "ufw": {
        "start": "ufw allow 22/tcp; ufw --force enable",
        "reload": "ufw reload",
        "damage": "iptables -F VIRTNET_FORWARD",
        "stop": "ufw --force disable; ufw --force delete allow 22/tcp",
        "boot": "systemctl -q enable ufw",
        "no boot": "systemctl -q disable ufw",
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


def asked(host, where, commands):
    """Run them beside each other on a machine of the lab's, from its console; return {what: whether it succeeded}."""
    lines = [f"( ({command}) > /dev/null 2>&1; echo '{key}='$? ) &" for key, command in commands.items()]
    told = lab(host, "exec", where, "--", "sh", "-c", "\n".join([*lines, "wait"]))
    found = dict(line.rsplit("=", 1) for line in told.splitlines())
    assert set(found) == set(commands), told
    return {key: code == "0" for key, code in found.items()}


class Site:
    """Two networks, a guest in each, and an outside machine that knows the way to both."""

    def __init__(self, host, modules):
        number = 120 if host.backend.host == "kvm1" else 122
        self.host, self.modules = host, modules
        self.outside = testinfra.get_host("ansible://outside1", ansible_inventory=host.backend.ansible_runner.inventory_file)
        self.nat, self.routed = f"10.64.{number}", f"10.64.{number + 1}"
        self.nat6, self.routed6 = f"fd64:{number}:", f"fd64:{number + 1}:"
        self.networks = [
            {"name": name, "model": model, "bridge": f"{name}0", "addresses": [f"{subnet}.1/24", f"{subnet6}:1/64"],
             "dhcp": {"ranges": [{"start": f"{subnet}.100", "end": f"{subnet}.120"}]}, "autostart": True}
            for name, model, subnet, subnet6 in (
                ("fornat", "nat", self.nat, self.nat6), ("forrou", "routed", self.routed, self.routed6)
            )
        ]
        self.gone = [{"name": one["name"], "state": "absent"} for one in self.networks]

    def up(self):
        self.modules.run("ip_forward", ipv4=True, ipv6=True)
        self.modules.run("net_policy", networks=self.networks)
        self.modules.run("nat_rule", networks=self.networks)
        self.modules.run("virt_net_model", networks=self.networks)
        known = variables(self.host)
        address, address6 = (known[key].split("/")[0] for key in ("lab_hosts_address", "lab_hosts_address6"))
        for subnet, subnet6 in ((self.nat, self.nat6), (self.routed, self.routed6)):
            self.outside.run(f"ip route replace {subnet}.0/24 via {address}; ip -6 route replace {subnet6}:/64 via {address6}")
        self.wire()

    def wire(self):
        """Put the guests in: what a boot of the host takes away."""
        for name, subnet, subnet6 in (("fornat", self.nat, self.nat6), ("forrou", self.routed, self.routed6)):
            self.host.check_output(
                f"ip netns add {name} && ip link add {name}g type veth peer name eth0 netns {name} && "
                f"ip link set {name}g master {name}0 up && ip -n {name} link set lo up && ip -n {name} link set eth0 up && "
                f"ip -n {name} address add {subnet}.2/24 dev eth0 && ip -n {name} route add default via {subnet}.1 && "
                f"ip -n {name} address add {subnet6}:2/64 dev eth0 nodad && ip -n {name} route add default via {subnet6}:1"
            )
        # Without this command's own channels, else it would wait for them.
        for name in ("fornat", "forrou"):
            for file, flags in (("tcp", "-l"), ("udp", "-u -l"), ("tcp6", "-6 -l"), ("udp6", "-6 -u -l")):
                self.host.check_output(
                    f"ip netns exec {name} setsid -f nc -k {flags} {7006 if '6' in file else 7000} < /dev/null "
                    f"> /tmp/{name}.{file} 2>&1"
                )
        # The bridges have carrier from now on, and their IPv6 addresses are tried first.
        tried = "ip -6 address show tentative | grep -q inet6 || exit 0"
        self.host.run_test(f"for again in $(seq 50); do {tried}; sleep 0.2; done; exit 1")

    def down(self):
        for name, subnet, subnet6 in (("fornat", self.nat, self.nat6), ("forrou", self.routed, self.routed6)):
            self.host.run(f"ip netns pids {name} | xargs -r kill; ip netns del {name}; ip link del {name}g")
            self.outside.run(f"ip route del {subnet}.0/24; ip -6 route del {subnet6}:/64")
        self.modules("virt_net_model", networks=self.gone)
        self.modules("nat_rule", networks=self.gone)
        self.modules("net_policy", networks=self.gone)
        self.modules("ip_forward", state="absent")

    def seen(self):
        """What passes: all questions at once, then whose datagrams have come."""
        near, near6 = f"{self.routed}.2", f"{self.routed6}:2"
        far, far6 = (variables(self.outside)[key].split("/")[0] for key in ("lab_hosts_address", "lab_hosts_address6"))
        console(self.host, "for file in /tmp/fornat.* /tmp/forrou.*; do truncate -s 0 $file; done")
        found = asked(self.host, self.outside.backend.host, {
            "outside to routed, tcp": f"nc -z -w 1 {near} 7000",
            "outside to routed, tcp6": f"nc -z -w 1 {near6} 7006",
            "outside to nat, tcp": f"nc -z -w 1 {self.nat}.2 7000",
            "outside to nat, tcp6": f"nc -z -w 1 {self.nat6}:2 7006",
            **{
                f"sent to {address}": f"echo out | nc -u -w 1 {address} {port}"
                for address, port in ((near, 7000), (near6, 7006), (f"{self.nat}.2", 7000), (f"{self.nat6}:2", 7006))
            },
        })  # fmt: skip
        within = "ip netns exec"
        found.update(asked(self.host, self.host.backend.host, {
            "nat to outside, icmp": f"{within} fornat ping -c 1 -W 2 {far}",
            "nat to outside, icmp6": f"{within} fornat ping -c 1 -W 2 {far6}",
            "nat to outside, tcp": f"{within} fornat nc -z -w 2 {far} 22",
            "nat to outside, tcp6": f"{within} fornat nc -z -w 2 {far6} 22",
            "nat to routed, icmp": f"{within} fornat ping -c 1 -W 2 {near}",
            "nat to routed, tcp": f"{within} fornat nc -z -w 2 {near} 7000",
            "nat to routed, tcp6": f"{within} fornat nc -z -w 2 {near6} 7006",
            "routed to outside, icmp": f"{within} forrou ping -c 1 -W 2 {far}",
            "routed to outside, icmp6": f"{within} forrou ping -c 1 -W 2 {far6}",
            "nat to host, icmp": f"{within} fornat ping -c 1 -W 2 {self.nat}.1",
            "nat to host, icmp6": f"{within} fornat ping -c 1 -W 2 {self.nat6}:1",
            "nat to host, dns": f"{within} fornat timeout 6 busybox nslookup www.example.test {self.nat}.1",
            "nat to host, dns6": f"{within} fornat timeout 6 busybox nslookup www.example.test {self.nat6}:1",
            "nat to host, dhcp": f"{within} fornat busybox udhcpc -i eth0 -n -q -t 3 -T 3 -s /bin/true",
            "routed to nat, icmp": f"{within} forrou ping -c 1 -W 1 {self.nat}.2",
            "routed to nat, icmp6": f"{within} forrou ping -c 1 -W 1 {self.nat6}:2",
            **{
                f"sent to {address}": f"echo udp | {within} fornat nc -u -w 1 {address} {port}"
                for address, port in ((near, 7000), (near6, 7006))
            },
        }))  # fmt: skip
        found.update(asked(self.host, self.host.backend.host, {
            "nat to routed, udp": "grep udp /tmp/forrou.udp",
            "nat to routed, udp6": "grep udp /tmp/forrou.udp6",
            "outside to routed, udp": "grep out /tmp/forrou.udp",
            "outside to routed, udp6": "grep out /tmp/forrou.udp6",
            "outside to nat, udp": "grep out /tmp/fornat.udp",
            "outside to nat, udp6": "grep out /tmp/fornat.udp6",
        }))  # fmt: skip
        return {key: passed for key, passed in found.items() if not key.startswith("sent")}

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
    host.check_output(f"cat > /var/tmp/forsite.nft << 'END'\n{SITE}END")
    made.up()
    yield made
    made.down()
    left = console(
        host,
        "nft list ruleset; iptables-save; ip6tables-save; cat /etc/ufw/*.rules; ls /etc /etc/sysctl.d /etc/systemd/system;"
        " ls /etc/firewalld/zones /etc/firewalld/policies 2> /dev/null; ip -br link; virsh net-list --all",
    )
    assert "chain" in left and not re.search("virtnet|fornat|forrou", left, re.IGNORECASE), left


def names(result):
    return [one["name"] for one in result["foreign"]]


@pytest.fixture(params=list(FIREWALLS))
def firewall(site, host, modules, request):
    """One of them, which drops what it knows nothing of; (its name in results, what it is)."""
    assert modules.run("net_policy", networks=site.networks)["foreign"] == []
    site.holds("without any other")
    one = FIREWALLS[request.param]
    host.run(one["start"])
    try:
        assert site.wrong() != [], "it drops nothing: nothing would be shown"
        yield request.param.partition(",")[0], one
    finally:
        host.run(one["stop"])


def test_a_firewall_of_others(site, host, modules, firewall):
    name, one = firewall
    wanted = {"networks": site.networks}
    before = site.theirs()
    told = modules.step("net_policy", "foreign", **wanted)
    assert name in names(told), told["foreign"]
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
    assert name in names(modules.step("net_policy", "foreign", **wanted))
    site.holds("it was there before ours")
    host.run(one["stop"])
    # One that is stopped, but still installed, keeps what its next start needs.
    assert names(modules.run("net_policy", **wanted)) == (["firewalld"] if name == "firewalld" else [])
    site.holds("it is gone")
    assert modules.run("net_policy", networks=site.gone)["foreign"] == []
    assert not host.run("find /etc/firewalld -name 'virtnet-*'").stdout


@pytest.mark.parametrize("firewall", [kind for kind, one in FIREWALLS.items() if "boot" in one], indirect=True)
def test_after_a_boot(site, host, modules, firewall):
    """Both come with the host, and nobody runs a play."""
    _name, one = firewall
    wanted = {"networks": site.networks}
    told = modules.step("net_policy", "foreign", **wanted)["foreign"]
    host.run_test(one["boot"])
    try:
        lab(host, "reboot", host.backend.host)
        host.run("systemctl is-system-running --wait")
        site.wire()
        site.holds("after the boot")
        again = modules.run("net_policy", **wanted)
        assert again["foreign"] == told and not again["changed"], again["actions"]
    finally:
        host.run(one["no boot"])
        host.run(one["stop"])
        # firewalld would keep what its next start needs.
        modules.run("net_policy", networks=site.gone)
        modules.run("net_policy", **wanted)


@pytest.mark.parametrize("action", ["nftables", "iptables-multiport"])
def test_one_that_bans_addresses(site, host, modules, action):
    """fail2ban drops nothing of ours: nothing is opened, and who is banned stays so."""
    jail = (
        f"[DEFAULT]\nbanaction = {action}\n[sshd]\nenabled = false\n"
        "[forjail]\nenabled = true\nfilter = sshd\nbackend = polling\nlogpath = /tmp/forjail.log\nport = 7999\n"
    )
    wanted = {"networks": site.networks}
    address, outside = (variables(one)["lab_hosts_address"].split("/")[0] for one in (host, site.outside))

    def banned():
        return site.outside.run(f"nc -z -w 1 {address} 7999").rc != 0

    host.run_test("touch /tmp/forjail.log; printf %%s %s > /etc/fail2ban/jail.d/forsite.local", jail)
    host.check_output("systemd-run -q -u forlisten nc -k -l 7999")
    try:
        host.run_test("systemctl start fail2ban")
        host.run_test("for again in $(seq 50); do fail2ban-client status forjail > /dev/null 2>&1 && break; sleep 0.2; done")
        assert not banned()
        host.run_test("fail2ban-client set forjail banip %s", outside)
        before = site.theirs()
        assert banned() and outside in host.check_output("nft list ruleset")
        site.holds("who is banned asks for nothing but what is forbidden him")
        assert not modules.run("net_policy", **wanted)["changed"]
        modules.step("net_policy", "foreign", networks=site.gone)
        assert modules.step("net_policy", "foreign", **wanted)["foreign"] == []
        assert banned() and site.theirs() == before
    finally:
        host.run("fail2ban-client unban --all; systemctl stop fail2ban forlisten")
        host.run("rm -f /etc/fail2ban/jail.d/forsite.local /tmp/forjail.log")
    site.holds("it is gone")
