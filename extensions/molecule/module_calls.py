# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calling modules of the collection on a lab host, and holding them to what every module promises.

pyproject.toml has this folder in pytest's path: `from module_calls import Modules`.
"""

from __future__ import annotations

import json
import time


class Modules:
    """Calls modules of the collection on a host, as a user's task does."""

    def __init__(self, host):
        self.host = host

    def __call__(self, name, check=False, become=False, become_user="root", **arguments):
        # Testinfra cannot pass on that there are no arguments: the default of one, said.
        arguments = arguments or {"uri": "qemu:///system"}
        options = {"become": become, "become_user": become_user} if become else {}
        result = self.call(name, arguments, check, options)
        # testinfra keeps `failed` to itself; every success of ours has its plan, or the facts it was asked for.
        return dict(result, failed="msg" in result and "actions" not in result)

    def call(self, name, arguments, check, options):
        """Return what a module tells."""
        return self.host.ansible(f"virtnet.kvm.{name}", json.dumps(arguments), check=check, **options)

    def run(self, name, **arguments):
        result = self(name, **arguments)
        assert not result["failed"], result.get("msg")
        return result

    def step(self, name, key, again=True, **arguments):
        """What check mode predicts is what a run gives, and a second run is unchanged; return the run's result."""
        predicted, real = self.run(name, check=True, **arguments), self.run(name, **arguments)
        assert predicted["changed"] and real["changed"], arguments
        assert predicted["actions"] == real["actions"], arguments
        assert predicted[key] == real[key], arguments
        if again:
            repeated = self.run(name, **arguments)
            assert not repeated["changed"] and repeated["actions"] == [] and repeated[key] == real[key], (arguments, repeated)
        return real

    def timed(self, name, **arguments):
        started = time.monotonic()
        self.run(name, **arguments)
        return round(time.monotonic() - started, 2)

    @property
    def name(self):
        return self.host.backend.host

    def links(self):
        """Return {name: row of ip -j -d link}."""
        return {row["ifname"]: row for row in json.loads(self.host.check_output("ip -j -d link"))}

    def static(self, name):
        """Return the addresses of a link that neither the kernel nor DHCP gave."""
        rows = json.loads(self.host.check_output(f"ip -j address show {name}"))[0]["addr_info"]
        return [f"{one['local']}/{one['prefixlen']}" for one in rows if one["scope"] == "global" and not one.get("dynamic")]

    def refused(self, name, **arguments):
        """Call a module that must refuse, in check mode and really, with one and the same message; return it."""
        predicted, real = self(name, check=True, **arguments), self(name, **arguments)
        assert predicted["failed"] and real["failed"], real
        assert "Traceback" not in json.dumps(real)
        assert predicted["msg"] == real["msg"]
        return real["msg"]
