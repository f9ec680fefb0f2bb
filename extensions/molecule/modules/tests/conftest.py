# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest


class Modules:
    """Calls modules of the collection on a host, as a user's task does."""

    def __init__(self, host):
        self.host = host

    def __call__(self, name, check=False, become=False, **arguments):
        result = self.host.ansible(f"virtnet.kvm.{name}", json.dumps(arguments), check=check, become=become)
        # testinfra keeps `failed` to itself; every success of ours has its plan.
        return dict(result, failed="actions" not in result)

    def run(self, name, **arguments):
        result = self(name, **arguments)
        assert not result["failed"], result.get("msg")
        return result

    def refused(self, name, **arguments):
        """Call a module that must refuse, in check mode and really, with one and the same message; return it."""
        predicted, real = self(name, check=True, **arguments), self(name, **arguments)
        assert predicted["failed"] and real["failed"], real
        assert "Traceback" not in json.dumps(real)
        assert predicted["msg"] == real["msg"]
        return real["msg"]


@pytest.fixture
def modules(host):
    return Modules(host)
