# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs docs/article.md: its tasks on kvm1, its commands where each block says, and compares what they print with the page.

A block of commands says where it is run: `console kvm1`, `console outside1`, and `console VM0` through the guest agent of kvm1's
guest; a plain `console` is not run, it only has to name what is there. A shown line must be printed, in the order of the page,
but for what is another number every time; a line that is '…' stands for any number of lines, one that ends in '…' for those that
begin so. ARTICLE_WRITE=1 writes what was printed into the page, for trimming by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import testinfra
import yaml
from guest_agent import in_guest

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "docs" / "article.md"
INVENTORY = f"/var/lib/virtnet-lab/{os.environ.get('VIRTNET_TEST_LAB') or 'mol'}/inventory.yml"
#: What differs from host to host, or from time to time.
MASKS = [
    (r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", "MAC"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r"fe80::[0-9a-f:]+", "LINK-LOCAL"),
    (r"[0-9.]+ ?ms\b", "MS"),
    (r"= [0-9./]*MS", "= MS"),
    (r"packets \d+ bytes \d+", "COUNTER"),
    (r"@if\d+|^\d+: |\bvnet\d+|\bpid \d+", "N"),
    (r"\b(valid_lft|preferred_lft) \w+", "LFT"),
    (r"[-─]{3,}", "---"),
    (r"\s+", " "),
]


def chapters():
    """Return {heading: [(kind, place, text)]} of the page's code blocks."""
    found = {}
    for section in re.split(r"(?m)^## ", PAGE.read_text(encoding="utf-8"))[1:]:
        heading, body = section.split("\n", 1)
        blocks = [(kind, place.strip(), text) for kind, place, text in re.findall(r"(?ms)^```(\w+)([^\n]*)\n(.*?)^```", body)]
        if blocks:
            found[heading] = blocks
    return found


def commands(text):
    """Return [(command, [shown lines])] of a block of commands."""
    return [(part.split("\n", 1)[0], part.split("\n")[1:-1]) for part in re.split(r"(?m)^\$ ", text)[1:]]


def masked(line):
    for pattern, word in MASKS:
        line = re.sub(pattern, word, line)
    return line.strip()


def missing(shown, printed):
    """Return the first shown line that was not printed after those before it; None if all were."""
    rest = [masked(line) for line in printed.splitlines() if line.strip()]
    for line in shown:
        want = masked(line)
        if want in ("", "…"):
            continue
        for number, have in enumerate(rest):
            if have == want or (want.endswith("…") and have.startswith(want[:-1].strip())):
                rest = rest[number + 1 :]
                break
        else:
            return line
    return None


class Lab:
    def __init__(self, folder):
        self.folder = folder
        names = ["kvm1", "outside1", "gateway1"]
        self.hosts = {name: testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}") for name in names}

    def tasks(self, text):
        book = self.folder / "tasks.yml"
        play = {"name": "The page's tasks", "hosts": "kvm1", "become": True, "gather_facts": False, "tasks": yaml.safe_load(text)}
        book.write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
        done = subprocess.run(["ansible-playbook", "-i", INVENTORY, book], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr

    def run(self, place, command):
        """Return all that a command prints."""
        if place in self.hosts:
            done = self.hosts[place].run("exec 2>&1; " + command)
            return done.stdout
        return in_guest(self.hosts["kvm1"], place, "sh", "-c", "exec 2>&1; " + command)[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("article"))


@pytest.mark.parametrize("heading", list(chapters()))
def test_a_chapter(heading, lab):
    """The chapters stand on one another, so they are run in their order."""
    wrong, page = [], PAGE.read_text(encoding="utf-8")
    for kind, place, text in chapters()[heading]:
        if kind == "yaml":
            lab.tasks(text)
        elif place:
            written = ""
            for command, shown in commands(text):
                printed = lab.run(place, command)
                written += f"$ {command}\n{printed.rstrip()}\n" if printed.strip() else f"$ {command}\n"
                line = missing(shown, printed)
                if line is not None:
                    wrong.append(f"{place}$ {command}\n  not printed: {line}\n  but: {printed}")
            page = page.replace(f"```{kind} {place}\n{text}```", f"```{kind} {place}\n{written}```", 1)
    if os.environ.get("ARTICLE_WRITE"):
        PAGE.write_text(page, encoding="utf-8")
    else:
        assert not wrong, "\n".join(wrong)


def test_what_is_named_is_there():
    """Playbooks, make's targets, links to files."""
    text = PAGE.read_text(encoding="utf-8")
    for model in re.findall(r"make lab MODEL=(\w+)", text):
        assert (ROOT / "playbooks" / f"{model.replace('all', 'four_models')}_lab.yml").is_file()
    for name in re.findall(r"virtnet\.kvm\.(\w+)", text):
        assert any((ROOT / place).exists() for place in (f"plugins/modules/{name}.py", f"roles/{name}", f"playbooks/{name}.yml"))
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (PAGE.parent / link).exists(), link


def test_a_difference_would_be_found():
    assert missing(["rtt = 1.0/2.5/3 ms"], "rtt = 7/8.0/9.1 ms\n") is None
    printed = "a 1.5 ms\n52:54:00:00:00:01 x\nc\n"
    assert missing(["a 2 ms", "…", "c"], printed) is None
    assert missing(["52:54:00:aa:00:01 …"], printed) is None
    assert missing(["c", "a 1 ms"], printed) == "a 1 ms"
    assert missing(["b"], printed) == "b"
