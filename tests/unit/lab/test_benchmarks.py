# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""benchmarks/lab.py: the lab is taken down, however the measurements end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
PROGRAM = """
import signal, sys
import lab

class Told(lab.Lab):
    def command(self, *arguments):
        print(*arguments, flush=True)
        if sys.argv[1] in arguments:
            signal.raise_signal(int(sys.argv[2]))

lab.OUT = lab.Path(sys.argv[3])
lab.end_as_asked()
with Told("bench", "bookworm").there(keep=sys.argv[4:] == ["keep"]) as there:
    there.command("measure")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(("when", "said"), [("up", ["preflight", "up"]), ("measure", ["preflight", "up", "measure"])])
def test_the_lab_goes_when_the_measurements_are_ended(tmp_path, number, when, said):
    command = [sys.executable, "-c", PROGRAM, when, str(int(number)), str(tmp_path)]
    for keep in ([], ["keep"]):
        done = subprocess.run([*command, *keep], cwd=BENCHMARKS, check=False, capture_output=True, text=True)
        assert done.returncode != 0
        assert done.stdout.split() == [*said, *([] if keep else ["down"])]
