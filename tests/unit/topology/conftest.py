# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules returned on the hosts of a lab, recorded there (make lab HOSTS=2 MODEL=fleet), and states made of it."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.virtnet.kvm.plugins.filter import topology as filters

DATA = Path(__file__).parent / "data"


class State:
    """What the filter topology takes, and what comes of it."""

    def __init__(self, looked, networks, hosts, kvm_hosts, proof=None):
        self.looked, self.networks, self.hosts, self.kvm_hosts, self.proof = looked, networks, hosts, kvm_hosts, proof

    def copy(self):
        return copy.deepcopy(self)

    def shown(self, **more):
        proof = more.pop("proof", self.proof)
        return filters.topology(self.looked, self.networks, self.hosts, self.kvm_hosts, proof, **more)

    def guests(self, host):
        return self.looked[host]["guests"]


@pytest.fixture
def lab():
    return State(**json.loads((DATA / "lab.json").read_text(encoding="utf-8")))


def _numbered(value, number, own):
    """Return the facts of a host as those of its twin with another number: other addresses."""
    text = json.dumps(value)
    text = text.replace(f"10.77.0.{own}/", f"10.77.0.{100 + number}/").replace(f"fd77::{own}/", f"fd77::{100 + number}/")
    return json.loads(re.sub(r"10\.80\.([1-4])\.", lambda found: f"10.80.{number * 4 + int(found[1])}.", text))


@pytest.fixture
def many(lab):
    """A function many(count): as many KVM hosts, twins of those of the lab by turns, and the lab's other machines."""

    def make(count):
        hosts = ["outside1", "gateway1"]
        state = State({name: lab.looked[name] for name in hosts}, {}, hosts, [], {"ok": True, "notes": [], "cells": []})
        names = [f"kvm{number}" for number in range(1, count + 1)]
        for number, name in enumerate(names, 1):
            twin, own = (("kvm1", 11), ("kvm2", 12))[number % 2]
            state.looked[name] = _numbered(lab.looked[twin], number, own)
            state.looked[name]["bgp"]["sessions"] = [
                {"address": f"10.77.0.{100 + place}", "name": other, "asn": 64512, "state": "Established"}
                for place, other in enumerate(names, 1) if other != name
            ]  # fmt: skip
            state.networks[name] = _numbered(lab.networks[twin], number, own)
            for cell in lab.proof["cells"]:
                ends = {text.rpartition("@")[2] for text in (cell["from"], cell["to"])}
                if twin in ends and len(ends & {"kvm1", "kvm2"}) == 1:
                    state.proof["cells"].append(json.loads(json.dumps(cell).replace(twin, name)))
        state.hosts += names
        state.kvm_hosts += names
        return state

    return make


@pytest.fixture
def dot():
    """Graphviz itself."""
    if shutil.which("dot") is None:
        pytest.skip("Graphviz (dot) is not on this machine")

    def run(text):
        done = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def recorded():
    """What dot made of the lab's picture."""
    return (DATA / "lab.svg").read_text(encoding="utf-8")
