# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions asked one by one, without a contract: whom does this guest reach? Pure."""

from __future__ import annotations

import ipaddress

from ansible_collections.virtnet.kvm.plugins.module_utils import values
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput
from ansible_collections.virtnet.kvm.plugins.module_utils.proof import matrix
from ansible_collections.virtnet.kvm.plugins.module_utils.proof.ends import VERSIONS, family, interfaces, versions


def names_of(probes):
    """Return the guests and other ends that probes speak of, in order, each once; addresses are none."""
    found = dict.fromkeys(one[key] for one in probes for key in ("from", "to"))
    return [one for one in found if not _address(one)]


def _address(text):
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def everything(names):
    """Return the probes from each end to each other end."""
    return [{"from": src, "to": dst} for src in names for dst in names if src != dst]


def _addresses(end, bridges=()):
    links = [link for link in end.get("links") or [] if link["name"] not in bridges]
    return versions(str(one) for link in links for one in interfaces(link))


def _near(sources, targets):
    """Return the first target in a subnet of one of the sources, else the first of all."""
    for target in targets:
        if any(target in one.network for one in sources if one.version == target.version):
            return target
    return targets[0]


def _target(src, dst, version):
    """Return the address of C(dst) that C(src) asks: one in a subnet that both have, if there is one."""
    own = [one for link in src.get("links") or [] for one in interfaces(link)]
    found = [ipaddress.ip_address(text) for text in _addresses(dst)[version]]
    return str(_near(own, found)) if found else None


def plan(session, host, endpoints, probes):
    """Return the plan, as matrix.plan() does, of questions.

    :param host: name of the managed host in the plan.
    :param endpoints: of the step listen.
    :param probes: [{from, to, protocol, family, port, name, expected}], all but the first two optional.
    """
    base = matrix.token_base([session])
    cells = []
    for number, probe in enumerate(probes):
        option = f"probes[{number}]"
        if probe["from"] not in endpoints:
            raise InvalidInput(f"{probe['from']!r} is no end", option=f"{option}.from", cure="Name a guest, or host.")
        address = _address(probe["to"])
        if probe.get("protocol") == "dns" and not probe.get("name"):
            raise InvalidInput("a DNS probe without a name", option=f"{option}.name", cure="Give the name to resolve.")
        if probe.get("name"):
            values.domain(probe["name"], f"{option}.name")
        protocols = [probe["protocol"]] if probe.get("protocol") else matrix.PROTOCOLS
        for version in VERSIONS:
            if probe.get("family") not in (None, family(version)):
                continue
            if address and address.version != version:
                continue
            for protocol in protocols:
                cell = _cell(host, endpoints, probe, version, protocol, address)
                if cell["address"] is None and not cell["problem"] and probe.get("family") is None:
                    continue
                if not cell["problem"]:
                    cell["token"] = base + len(cells)
                    cell["how"] = {"name": probe["name"]} if protocol == "dns" else {}
                cells.append(cell)
    return matrix.finish(base, cells, [])


def _cell(host, endpoints, probe, version, protocol, address):
    src, dst = endpoints[probe["from"]], endpoints.get(probe["to"]) or {}
    problems = [f"{one}: {endpoints[one]['error']}" for one in (probe["from"], probe["to"])
                if (endpoints.get(one) or {}).get("error")]
    problem = problems[0] if problems else None
    target = str(address) if address else _target(src, dst, version)
    sources = _addresses(src)[version]
    if not problem and probe.get("family"):
        if target is None:
            problem = f"{probe['to']} has no {family(version)} address"
        elif not sources:
            problem = f"{probe['from']} has no {family(version)} address"
    elif not problem and not sources:
        target = None  # one of the two does not speak it: no question
    port = probe.get("port") or (matrix.DNS_PORT if protocol == "dns" else dst.get("port"))
    if not problem and target and port is None and protocol in ("tcp", "udp"):
        raise InvalidInput(f"{protocol} to {probe['to']} without a port", option="probes.port", cure="Give port.")
    mark = f" {probe['name']}" if protocol == "dns" else ""
    mark = f"/{port}{mark}" if probe.get("port") else mark
    return {
        "name": f"{probe['from']} → {probe['to']} {family(version)} {protocol}{mark}", "from": probe["from"],
        "to": probe["to"], "family": family(version), "protocol": protocol, "expected": probe.get("expected"),
        "contract": "asked for", "address": target, "port": port, "source_expected": None, "reply": True,
        "control": False, "token": None, "problem": problem, "via": None, "forward": None, "sender": [host, probe["from"]],
        "receiver": [host, probe["to"]] if dst else None,
    }
