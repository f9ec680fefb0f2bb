# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An uplink on its way into a bridge or out of it: moved by ip(8) or its manager, its gateway asked, put back if that fails."""

from __future__ import annotations

import time

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.links import iproute2, neighbours
from ansible_collections.virtnet.kvm.plugins.module_utils.links.room import GATEWAY_S, MOVES, LinkRoom


class MovingRoom(LinkRoom):
    """Links of which some take others' addresses over; bridges.BridgeRoom plans that."""

    def apply(self, op):
        if op.kind == "manager":
            super().apply(op)
            for one in self._queue:
                if one.name in self._done:
                    self._await_gateway(one)
            return
        self._prepare(op)
        if op.op in MOVES or op.args["moves"]:
            self._move(op)
        super().apply(op)

    def _move(self, op):
        """Move the uplink, or what else the manager moves by itself, and wait for its gateway."""
        self._set_sysctls({key: value for key, value in op.args["sysctls"].items() if value == 0})
        began = time.monotonic()
        try:
            if op.args["moves"]:
                self.manager.write(op.args["files"])
                self.manager.move(op.args["moves"], op.name)
            else:
                self.manager.let_go([op.name, *op.args["names"]])
                began = time.monotonic()
                iproute2.batch(self.host, op.args["lines"], "moving the uplink", op.name)
                self._done.add(op.name)
        except VirtnetError as error:
            self._take_back(op, error, self._put_back)
            raise
        if op.args["gateways"]:
            self._await_gateway(op)
            self._away_s = time.monotonic() - began

    def _await_gateway(self, op):
        """Look whether the gateway answers through the link that has the addresses now; else put all of it back."""
        for gateway in op.args["gateways"]:
            link = op.name if op.op == "take_over" else op.args["names"][0]
            if op.op != "take_over":
                link = next(name for name in op.args["names"] if self._journal[f"port:{name}"].get("taken"))
            if neighbours.answers(self.host, link, gateway, GATEWAY_S):
                continue
            error = self.silent(gateway, link, op.name)
            self._take_back(op, error, self._put_back)
            self._done.discard(op.name)
            raise error

    def _put_back(self, op):
        self.revert(op)
        if op.args["files"]:
            self._renew(op)

    def _renew(self, op):
        self.manager.renew([op.name, *op.args["names"]])
