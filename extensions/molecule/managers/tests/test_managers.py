# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The uplink into a bridge and out again under each manager of links and kind of addressing, pinged from outside meanwhile; and
links that have nothing to do with it.
"""

from __future__ import annotations

import contextlib
import re

import pytest
from controllers import controller, kill, open_change, said, until
from lab_side import console, deaf_to, lab, look, pinged

MANAGERS = ("networkd", "netplan-networkd", "NetworkManager", "netplan-NetworkManager", "ifupdown")
ADDRESSINGS = ("static", "dhcp")
IN = {"bridges": [{"name": "mgrbr0", "ports": ["eth0"], "take_over": True}]}
OUT = {"bridges": [{"name": "mgrbr0", "state": "absent"}]}
WINDOW_S = 10
#: The manager's own files, and who answers for names.
FILES = (
    "find /etc/systemd/network /etc/netplan /etc/NetworkManager /etc/network /etc/sysctl.d /run/systemd/network -type f"
    " 2> /dev/null | sort | xargs -r md5sum; resolvectl dns 2> /dev/null; cat /etc/resolv.conf"
)
JOURNAL = re.compile(r"\w+ +/var/lib/virtnet/baseline\.json")
#: What is there on some days and not on others. Where networkd has a link: that a gateway in a subnet that came by DHCP is on it.
#: Where NetworkManager has it: routes that the kernel made, or took from the router, before NetworkManager told it not to; the
#: source of the default route, which is the only address; and whose the route to an address's subnet is.
OF_CHANCE = (
    re.compile("(?<=proto static) onlink"),
    re.compile(
        r"^(default .* proto ra metric 1024|f[de][78][70]::/64 .* proto kernel metric 256) *\n|(?<=proto dhcp) src \S+"
        r"|(?<=global) noprefixroute",
        re.MULTILINE,
    ),
)


@pytest.fixture(scope="module", params=[(one, other) for one in MANAGERS for other in ADDRESSINGS], ids="-".join)
def kept(request, host):
    """The host, made anew with its uplink in a manager's hands; a (manager, addressing)."""
    manager, addressing = request.param
    lab(host, "remake", host.backend.host, "--manager", manager, "--addressing", addressing)
    yield request.param
    lab(host, "remake", host.backend.host, "--manager", "networkd", "--addressing", "static")


def seen(host, kept):
    """Return what there is of links, addresses, routes, and the text of all files of theirs."""
    # What netplan makes for NetworkManager of an IPv6 address asks no router.
    found = look(host, router=kept != ("netplan-NetworkManager", "static"))
    found = OF_CHANCE[kept[0].endswith("NetworkManager")].sub("", found)
    return f"{found}\n{console(host, FILES)}"


def test_taken_over_restarted_and_given_back(host, modules, kept, figure):
    before = seen(host, kept)
    predicted = modules.run("host_bridge", check=True, **IN)
    assert seen(host, kept) == before
    # netplan writes its files again at every daemon-reload; the next reload of networkd has the uplink set up anew.
    host.run("touch -c /run/systemd/network/*.network")
    with pinged(host, f"{'-'.join(kept)}, into the bridge", figure):
        real = modules.run("host_bridge", **IN)
    assert real["guard"]["state"] == "confirmed" and real["bridges"] == predicted["bridges"]
    assert not modules.run("host_bridge", **IN)["changed"]
    figure(f"away for at most {real['guard']['away_s']} s")
    taken = seen(host, kept)
    assert "master mgrbr0" in console(host, "ip link show eth0")
    lab(host, "reboot", host.backend.host)
    assert seen(host, kept) == taken
    assert not modules.run("host_bridge", **IN)["changed"]
    with pinged(host, f"{'-'.join(kept)}, out of the bridge", figure):
        assert modules.run("host_bridge", **OUT)["guard"]["state"] == "confirmed"
    assert seen(host, kept) == before
    lab(host, "reboot", host.backend.host)
    assert seen(host, kept) == before


def test_other_links(host, modules, kept):
    """A bridge, a tap in it, and a link that was there: made, changed while they are up, the same after a boot, and gone."""
    before = seen(host, kept)
    tap = {"name": "mgrtap0", "owner": "nobody", "mtu": 1400, "vnet_hdr": True}
    bridge = {
        "name": "mgrbr1", "ports": ["mgrtap0"], "addresses": ["10.9.1.1/24", "fd09:1::1/64"], "stp": True, "forward_delay": 4,
        "routes": [{"to": "10.9.2.0/24", "via": "10.9.1.2"}], "port_options": [{"name": "mgrtap0", "cost": 77}],
    }
    route = {"to": "10.9.3.0/24", "via": "10.77.0.1"}
    modules.step("tap_iface", "taps", taps=[tap])
    modules.step("host_bridge", "bridges", bridges=[bridge])
    sets = [{"name": "eth0", "state": "present", "route_sets": [{"name": "mgr", "routes": [route]}]}]
    modules.step("host_iface", "interfaces", interfaces=sets)
    changed = {**bridge, "addresses": ["10.9.1.1/24", "10.9.4.1/24"], "ageing": 100, "mtu": 1400, "routes": []}
    with tap_watched(host):
        modules.step("host_bridge", "bridges", bridges=[changed])
    made = seen(host, kept)
    assert "10.9.3.0/24" in made and "10.9.4.1/24" in made and "fd09:1::1" not in made and "10.9.2.0" not in made
    lab(host, "reboot", host.backend.host)
    assert seen(host, kept) == made
    for name, arguments in (
        ("tap_iface", {"taps": [{**tap, "bridge": "mgrbr1"}]}),
        ("host_bridge", {"bridges": [changed]}),
        ("host_iface", {"interfaces": sets}),
    ):
        assert not modules.run(name, **arguments)["changed"], name
    # Routes that others ask for, on a bridge of ours: after a boot only its files may say that it is ours.
    asked = {"name": "mgr", "routes": [{"to": "10.9.5.0/24", "via": "10.9.1.2"}]}
    others = {"name": "mgrbr1", "state": "present", "route_sets": [asked]}
    with tap_watched(host):
        modules.step("host_iface", "interfaces", interfaces=[others])
    assert not modules.run("host_bridge", bridges=[changed])["changed"]
    with tap_watched(host):
        modules.step("host_iface", "interfaces", interfaces=[{**others, "route_sets": [{**asked, "routes": []}]}])
    assert seen(host, kept) == made
    # What somebody deletes is made anew, although all files of it are there; NetworkManager may do so by itself.
    host.run_test("ip link del mgrbr1")
    modules.run("host_bridge", bridges=[changed])
    assert not modules.run("host_bridge", bridges=[changed])["changed"]
    assert not modules.run("tap_iface", taps=[{**tap, "bridge": "mgrbr1"}])["changed"]
    # But for what is remembered of the tap, which was by itself for a moment.
    assert JOURNAL.sub("", seen(host, kept)) == JOURNAL.sub("", made)
    # A tap of another kind is another tap.
    modules.step("tap_iface", "taps", taps=[{**tap, "multi_queue": True}])
    modules.step("host_iface", "interfaces", interfaces=[{"name": "eth0", "state": "absent"}])
    modules.step("host_bridge", "bridges", bridges=[{"name": "mgrbr1", "state": "absent"}])
    modules.step("tap_iface", "taps", taps=[{"name": "mgrtap0", "state": "absent"}])
    assert seen(host, kept) == before
    lab(host, "reboot", host.backend.host)
    assert seen(host, kept) == before


def test_what_networkmanager_cannot_keep(host, modules, kept):
    if not kept[0].endswith("NetworkManager"):
        pytest.skip("others can")
    before = seen(host, kept)
    isolated = {"ports": ["eth0"], "take_over": True, "port_options": [{"name": "eth0", "isolated": True}]}
    for bridge, where in (
        ({"state": "down"}, "bridges[0].state: mgrbr1: NetworkManager sets up every link"),
        ({"forward_delay": 4}, "bridges[0].forward_delay: mgrbr1: NetworkManager sets it only with the spanning tree"),
        (isolated, "bridges[0].port_options: eth0: NetworkManager cannot keep a port isolated"),
    ):
        message = modules.refused("host_bridge", bridges=[{"name": "mgrbr1", **bridge}])
        assert message.startswith(where), message
    message = modules.refused("tap_iface", taps=[{"name": "mgrtap0", "state": "down"}])
    assert message.startswith("taps[0].state: mgrtap0"), message
    message = modules.refused("tap_iface", taps=[{"name": "mgrtap0"}], manager="networkd")
    assert message.startswith("manager: networkd sets up no links here"), message
    assert seen(host, kept) == before


@contextlib.contextmanager
def tap_watched(host):
    """The bridge's port does not leave it meanwhile, not for a moment: guests hang on such ports."""
    console(host, "bridge monitor link > /tmp/mgrmonitor 2>&1 & echo $! > /tmp/mgrmonitor.pid")
    yield
    said_so = console(host, "kill $(cat /tmp/mgrmonitor.pid); cat /tmp/mgrmonitor; rm /tmp/mgrmonitor*")
    assert "Deleted" not in said_so, said_so


def test_taken_back_without_a_word(host, modules, kept):
    before = seen(host, kept)
    with controller(host, "host_bridge", {**IN, "confirm_timeout": WINDOW_S}) as process:
        until(lambda: open_change(host))
        with deaf_to(host, "ctl"):
            until(lambda: not open_change(host))
        text = said(process)
    assert process.returncode != 0 and "was taken back" in text, text
    assert seen(host, kept) == before


def test_given_back_without_a_word(host, modules, kept):
    before = seen(host, kept)
    modules.run("host_bridge", **IN)
    taken = seen(host, kept)
    with controller(host, "host_bridge", {**OUT, "confirm_timeout": WINDOW_S}) as process:
        until(lambda: open_change(host))
        with deaf_to(host, "ctl"):
            until(lambda: not open_change(host))
        text = said(process)
    assert process.returncode != 0 and "was taken back" in text, text
    # networkd sets the link up anew, with its addresses in an order of its own.
    assert sorted(seen(host, kept).splitlines()) == sorted(taken.splitlines())
    modules.run("host_bridge", **OUT)
    assert seen(host, kept) == before


def test_the_controller_dies(host, kept):
    before = seen(host, kept)
    with controller(host, "host_bridge", {**IN, "confirm_timeout": WINDOW_S}) as process:
        until(lambda: open_change(host))
        kill(process)
    assert "mgrbr0" in console(host, "ip -br link")
    until(lambda: not open_change(host))
    assert seen(host, kept) == before


def test_the_host_restarts_in_the_middle(host, kept):
    before = seen(host, kept)
    with controller(host, "host_bridge", {**IN, "confirm_timeout": 120}) as process:
        until(lambda: open_change(host))
        with deaf_to(host, "ctl"):
            until(lambda: "master mgrbr0" in console(host, "ip link show eth0") and "virtnet-eth0" in console(host, FILES))
            lab(host, "kill", host.backend.host)
        lab(host, "start", host.backend.host)
        text = said(process)
    assert process.returncode != 0 and ("was taken back" in text or "UNREACHABLE" in text), text
    assert seen(host, kept) == before


def test_a_wrong_gateway_is_not_waited_for(host, modules, kept):
    before = seen(host, kept)
    result = modules("host_iface", interfaces=[{"name": "eth0", "gateway": ["10.77.0.253"]}])
    assert result["failed"] and "10.77.0.253 did not answer on eth0" in result["msg"] and "put back" in result["msg"], result
    assert not open_change(host) and seen(host, kept) == before
