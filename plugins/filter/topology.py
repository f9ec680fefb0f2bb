# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of the role topology: what is drawn, in Graphviz's language, as SVG and as a page."""

from __future__ import annotations

import json

from ansible.errors import AnsibleFilterError
from ansible_collections.virtnet.kvm.plugins.module_utils.topology import dot, machines, page, svg
from ansible_collections.virtnet.kvm.plugins.plugin_utils.plain import plain
from ansible_collections.virtnet.kvm.plugins.plugin_utils.telling import telling

#: What is taken of each network; the definitions as XML are long.
_NETWORK = ("name", "state", "bridge", "owned", "leases", "model")
_HOST = ("memory_mb", "processors", "interfaces", "networks", "guests", "forwards", "forwards_total", "bgp")


_NO_PROOF = "virtnet.kvm.topology: topology_proof is no proof of the role reachability"
_CURE = "Give the file that it wrote with reachability_json, or none."


def _state(result):
    """Return (state, why) of a task's result on one host."""
    if result.get("unreachable"):
        return "unreachable", str(result.get("msg") or "")
    if result.get("failed") or "interfaces" not in result:
        return "failed", str(result.get("msg") or "")
    return "reached", None


def _found(host, looked, networks, kvm):
    looked, networks = looked.get(host), networks.get(host)
    if looked is None:
        return {"state": "left_out", "why": None, "kvm": kvm, "host": None, "networks": None}
    state, why = _state(looked)
    found = {"state": state, "why": why, "kvm": kvm, "host": None, "networks": None}
    if state == "reached":
        found["host"] = plain({key: looked[key] for key in _HOST if key in looked})
        found["networks"] = plain([{key: one[key] for key in _NETWORK} for one in (networks or {}).get("networks") or []])
    return found


def _proof(text):
    """Return a proof, given as such or as its JSON; None where there is none."""
    if not text:
        return None
    if isinstance(text, str):
        try:
            text = json.loads(text)
        except ValueError as error:
            raise AnsibleFilterError(f"{_NO_PROOF}: {error}. {_CURE}") from error
    if not isinstance(text, dict) or not isinstance(text.get("cells"), list):
        raise AnsibleFilterError(f"{_NO_PROOF}: it has no cells. {_CURE}")
    return plain(text)


def topology(looked, networks, hosts, kvm_hosts=(), proof=None, title="Virtual networks", told=""):
    """Return all that is drawn of hosts; C(looked) and C(networks) are the results of kvm_host_info and virt_net_info."""
    kvm = {str(one) for one in kvm_hosts}
    with telling("topology", "what was found"):
        found = {str(host): _found(host, looked, networks, str(host) in kvm) for host in hosts}
        return machines.picture(found, _proof(proof), str(title), str(told))


def topology_dot(shown):
    """Return a picture in Graphviz's language."""
    with telling("topology_dot", "this is no picture, it"):
        return dot.text(plain(shown))


def topology_svg(text, shown):
    """Return a picture as SVG; C(text) is what Graphviz made of it."""
    with telling("topology_svg", "what dot gave"):
        return svg.render(str(text), plain(shown))


def topology_page(text, shown):
    """Return a picture as a page of HTML; C(text) is its SVG."""
    with telling("topology_page", "this is no picture, it"):
        return page.render(str(text), plain(shown))


class FilterModule:
    """The collection's filters about the picture of networks."""

    def filters(self):
        return {
            "topology": topology, "topology_dot": topology_dot, "topology_svg": topology_svg, "topology_page": topology_page,
        }  # fmt: skip
