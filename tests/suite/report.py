# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown of a step's log: tables that tests made, and of a failed step the gist."""

from __future__ import annotations

import itertools
import re

# How many lines of each failed step are said again at the very end, beside the names of all failed tests: a CI may keep no more
# than the tail of what was printed.
GIST_LINES = 16


def tables(text: str) -> list[str]:
    """Return the lines of the tables that tests show (fixture `table`), as a scenario's log has them."""
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if re.match(r"=+ .* =+$", line):
            inside = bool(re.match(r"=+ table: ", line))
        if inside:
            found.append(line)
    return found


def gist(text: str) -> list[str]:
    """Return what a failed step's log says of the failure itself: all failed tests; assertions, errors, failed Ansible tasks.

    Of the latter each has its share of GIST_LINES, its beginning and its end.
    """
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()
    tests: dict[str, None] = {}
    found: dict[int, str] = {}
    for number, line in enumerate(lines):
        if re.match(r"(FAILED|ERROR) \S+\.py\b", line):
            tests[line[:300]] = None
        elif re.match(r"(fatal|failed): \[", line):
            task = next((one for one in reversed(lines[:number]) if one.startswith("TASK [")), "")
            # What the callback says of it stands indented below, one key a line.
            below = itertools.takewhile(lambda one: one.startswith(" "), lines[number + 1 :])
            found |= dict(enumerate([f"{task.rstrip(' *')} {line}".strip(), *below], number))
        elif re.match(r"E   |FAILED |ERROR |\[ERROR\]", line):
            found[number] = line
    if not tests and not found:
        return [line[:300] for line in lines[-GIST_LINES:]]
    blocks: list[list[str]] = []
    for number in sorted(found):
        if number - 1 not in found:
            blocks.append([])
        blocks[-1].append(found[number][:300])
    part = max(2, GIST_LINES // max(1, len(blocks)))
    short = [block if len(block) <= part else block[: part - part // 2] + block[-(part // 2) :] for block in blocks]
    # One that is said twice, by a test that ran on two hosts, is said once.
    said = dict.fromkeys("\n".join(block) for block in short)
    return [*tests, *"\n".join(said).splitlines()[-4 * GIST_LINES :]]
