# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What we write belongs to root and nobody else may change it; who is not root is told so, or becomes root by sudo."""

from __future__ import annotations

import pytest
from controllers import controller, result
from fault_cases import CASES, filled, left, taken_back

OURS = (
    "/etc/virtnet /run/virtnet /var/lib/virtnet /var/cache/virtnet /etc/systemd/system /etc/systemd/network /etc/sysctl.d"
    " /etc/nftables.conf /etc/frr /etc/NetworkManager /run/systemd/network"
)
USER = "fltadmin"
#: Changes of each kind of file, and what they are asked for.
KINDS = ["networks", "policies", "rules", "iptables", "taps", "interfaces", "vxlans", "forwarding"]


@pytest.mark.parametrize("case", KINDS)
def test_files_are_roots(host, modules, lan, case):
    """Owner, mode, and no leftovers of an atomic write; a module that is called with the widest of umasks writes no other."""
    case = CASES[case]
    for command in case.before:
        host.run_test(command)
    try:
        # What a network of before has left on is remembered already.
        modules.run("ip_forward", state="absent")
        host.run_test("touch /run/flt-began; sleep 0.1")
        for step in case.steps:
            modules.run(case.module, **filled(step, lan))
        new = host.run(f"find {OURS} -newer /run/flt-began ! -type l ! -type d").stdout.split()
        assert new
        bad = host.run(f"find {' '.join(new)} \\( ! -user root -o ! -group root -o -perm /022 \\) -exec ls -ld {{}} +").stdout
        bad += host.run("find /etc/virtnet /run/virtnet /var/lib/virtnet -type d \\( ! -user root -o -perm /022 \\)").stdout
        assert bad == "", bad
        # What a file is written under before it has its name.
        assert host.run(f"find {OURS} -name '.*.????????' -newer /run/flt-began").stdout == ""
        # Nobody else can have our runs wait.
        assert host.run("runuser -u nobody -- flock -n /run/virtnet/lock true").rc != 0
    finally:
        modules(case.module, **filled(case.absent, lan))
        host.run("rm /run/flt-began")
        for command in case.after:
            host.run(command)


@pytest.fixture
def user(host):
    """A user with the same key as root, who may become root by sudo(8) without a password."""
    backups = "passwd- group- shadow- gshadow- subuid- subgid-"  # useradd(8) makes them
    host.run_test(f"cd /etc; tar -cf /run/flt-users.tar $(ls {backups} 2> /dev/null)")
    host.run_test(
        f"useradd -m -s /bin/bash {USER} && install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh"
        f" && install -m 600 -o {USER} -g {USER} /root/.ssh/authorized_keys /home/{USER}/.ssh/"
        f" && echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}"
    )
    yield USER
    host.run(f"pkill -KILL -u {USER}; sleep 0.5; userdel -r {USER}; rm /etc/sudoers.d/{USER}")
    host.run(f"cd /etc; rm -f {backups}; tar -xf /run/flt-users.tar; rm /run/flt-users.tar")


@pytest.mark.parametrize("case", ["networks", "policies", "rules", "taps", "forwarding"])
def test_a_user_becomes_root(host, modules, snapshot, user, lan, case):
    """The SSH user is nobody; with become all is as for root, without it one clear error says what is missing."""
    case = CASES[case]
    before = snapshot()
    try:
        for step in [*case.steps, case.absent]:
            wanted = filled(step, lan)
            with controller(host, case.module, wanted, ansible_user=user) as call:
                told = result(call)
            assert told["failed"], told
            assert "become: true" in told["msg"] or "root" in told["msg"], told["msg"]
            with controller(host, case.module, wanted, ansible_user=user, ansible_become=True) as call:
                done = result(call)
            assert not done["failed"], done["msg"]
            assert not modules.run(case.module, **wanted)["changed"]
        taken_back(case, modules, case.absent)
        assert left(before, snapshot) == []
    finally:
        modules(case.module, **filled(case.absent, lan))
