# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input: one clear error, the option named, before anything is touched. The unit tests have the pure cases."""

from __future__ import annotations

import pytest


def net(**changes):
    return {"name": "badnet", "model": "nat", "bridge": "badbr0", "addresses": ["10.64.120.1/24"], **changes}


@pytest.mark.parametrize("name", ["virt_net_model", "net_policy", "nat_rule"])
def test_every_module_refuses_a_bad_network_alike(modules, name):
    message = modules.refused(name, networks=[net(), net(name="a<b>")])
    assert message.startswith("networks[1].name: a<b>: 'a<b>' cannot be a name")


def test_what_the_host_has_already(host, modules):
    own = next(iter(host.interface("eth0").addresses))
    prefix = own.rsplit(".", 1)[0]
    assert "eth0" in modules.refused("virt_net_model", networks=[net(addresses=[f"{prefix}.1/25"])])
    host.run_test("ip link add badbr1 type bridge")
    host.run_test("ip route add 10.64.125.0/24 via %s", f"{prefix}.1")
    try:
        assert "badbr1 is there already" in modules.refused("virt_net_model", networks=[net(bridge="badbr1")])
        assert "10.64.125.0/24" in modules.refused("virt_net_model", networks=[net(addresses=["10.64.125.1/24"])])
    finally:
        host.run_test("ip link del badbr1")
        host.run_test("ip route del 10.64.125.0/24")


def test_unknown_words(modules):
    assert "bogus" in modules.refused("virt_net_model", networks=[net(model="bogus")])
    assert "colour" in modules.refused("virt_net_model", networks=[net(colour="red")])


def test_no_daemon_says_so(host, modules):
    host.run_test("systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service")
    try:
        message = modules.refused("virt_net_model", networks=[net()])
        assert "libvirt does not answer" in message and "Start libvirtd" in message
    finally:
        host.run_test("systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket")


def test_no_bindings_say_so(host, modules):
    folder = "/usr/lib/python3/dist-packages"
    host.run_test(f"mv {folder}/libvirt.py {folder}/libvirt.py.away && rm -f {folder}/__pycache__/libvirt.*")
    try:
        message = modules.refused("virt_net_model", networks=[net()])
        assert "python3-libvirt" in message
    finally:
        host.run_test(f"mv {folder}/libvirt.py.away {folder}/libvirt.py")


def forward(ports, **listen):
    return {"name": "f", "type": "dnat", "listen": {"ports": ports, **listen}, "to": {"address": "10.64.120.9", "ports": "22"}}


def test_nobody_is_led_past_the_host(host, modules):
    """A forward of the port by which the controller comes in would be its last."""
    address = str(next(iter(host.interface("eth0").addresses)))
    whole = {"type": "one_to_one", "source": "10.64.120.0/24", "listen": {"address": address}, "to": {"address": "10.64.120.9"}}
    for rule in (forward("22"), forward("20-30", address=address), forward("22", interface="eth0"), {"name": "f", **whole}):
        message = modules.refused("nat_rule", set="refused", rules=[rule])
        assert message.startswith("rules[0]: refused/f: "), message
        assert f"by {address} port 22 this very connection came in" in message, message
    for rule in (forward("2222"), forward("22", interface="lo"), {**forward("22"), "sources": ["192.0.2.0/24"]}):
        assert modules.run("nat_rule", check=True, set="refused", rules=[rule])["changed"]
    assert not host.file("/etc/virtnet").exists


def test_what_the_kernel_refuses_changes_nothing(host, modules):
    """The transaction has a line that the kernel does not take: of the others none is taken either, and no file is written."""
    nft = "/usr/local/bin/nft"
    wrapper = (
        '#!/bin/sh\n[ "$1" = -f ] && [ -e /run/nft-refuses ] || exec /usr/sbin/nft "$@"\n'
        "{ cat; echo 'add rule inet virtnet nowhere accept'; } | /usr/sbin/nft -f -\n"
    )
    # From the start: another nft's word is not taken for what the first one had loaded.
    host.run_test("printf %%s %s > %s && chmod 755 %s", wrapper, nft, nft)
    modules.run("nat_rule", set="refused", rules=[forward("2222")])
    state = (
        "nft --stateless list ruleset; find /etc/virtnet /etc/systemd/system/virtnet* -type f | sort | xargs md5sum;"
        " systemctl show -p ActiveEnterTimestamp virtnet-firewall.service; ls /run/virtnet"
    )
    before = host.check_output(state)
    try:
        host.run_test("touch /run/nft-refuses")
        for rules in ([forward("2223")], [{"name": "f", "state": "absent"}, {**forward("2224"), "name": "g"}]):
            result = modules("nat_rule", set="refused", rules=rules)
            assert result["failed"] and result["msg"].startswith("virtnet: loading the ruleset failed: "), result
            assert len(result["failures"]) == 1 and "more failed" not in result["msg"]
            assert "nowhere" in result["msg"] and "table inet virtnet" in result["rendered"]
            predicted = modules("nat_rule", check=True, set="refused", rules=rules)
            assert predicted["failed"] and predicted["msg"].startswith("trying the ruleset failed: "), predicted
            assert host.check_output(state) == before
    finally:
        host.run("rm -f /run/nft-refuses")
        unchanged = not modules("nat_rule", set="refused", rules=[forward("2222")]).get("changed")
        modules("nat_rule", set="refused", rules=[], purge=True)
        host.run("rm -f %s", nft)
    assert unchanged
    assert not host.file("/etc/virtnet").exists
