# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks that say of themselves `ansible-playbook -i host, …`: with nothing but a host's name, twice, and away again.

There is no group, no machine outside and no variable then. The scenario compares the hosts in the end.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
LAB = Path("/var/lib/virtnet-lab", os.environ.get("VIRTNET_TEST_LAB") or "mol")
BOOKS = sorted(
    path.stem for path in ROOT.glob("playbooks/*.yml") if f"-i host, virtnet.kvm.{path.stem}" in path.read_text(encoding="utf-8")
)
HOSTS = ("kvm1", "kvm2")


def changed(name, book, *options):
    """Run a playbook as a stranger does; return how many tasks changed something."""
    # How the lab's host is reached by its name is the reader's own ssh_config(5).
    done = subprocess.run(
        ["ansible-playbook", "-i", f"{name},", f"virtnet.kvm.{book}", *options], check=False, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, env={**os.environ, "ANSIBLE_SSH_ARGS": f"-F {LAB}/ssh/config"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    [found] = re.findall(rf"^{name}\s+: ok=\d+\s+changed=(\d+)", done.stdout, flags=re.MULTILINE)
    return int(found)


@pytest.mark.parametrize(("book", "name"), [(book, HOSTS[place % 2]) for place, book in enumerate(BOOKS)])
def test_a_host_by_its_name(book, name):
    try:
        assert changed(name, book, "--check", "--diff") > 0
        assert changed(name, book) > 0
        assert changed(name, book) == 0
    finally:
        assert changed(name, "teardown") > 0
    assert changed(name, "teardown") == 0


def test_there_are_such():
    assert len(BOOKS) >= 4
