# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables as lines that a person reads. Pure."""

from __future__ import annotations


def lines(grid, ruled=False):
    """Return rows of texts, the first of them the heads, as lines whose columns stand below one another.

    :param ruled: whether a line parts the heads from the rest.
    """
    widths = [max(len(row[number]) for row in grid) for number in range(len(grid[0]))]
    found = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in grid]
    if ruled:
        found.insert(1, "  ".join("-" * width for width in widths))
    return found
