# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What programs answer on hosts of others, made odd by machine: no reader of it fails but with an error of ours."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import frr_text
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import iptables, nft
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign import nft_text, xtables_text
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from ansible_collections.virtnet.kvm.plugins.module_utils.links import forms, sysctl
from ansible_collections.virtnet.kvm.plugins.module_utils.links.persist import ifupdown_stanzas, networkd_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

FRR = Path(__file__).parents[1] / "bgp" / "running" / "both-10.3.conf"
#: What they answer, and files that people write.
ODD = Path(__file__).with_name("odd")
IPTABLES = (ODD / "iptables-save.conf").read_text()
NETWORK = (ODD / "network.xml").read_text()
HOOKS = tuple(xtables_text.HOOKS)


def _all_of(file):
    return file.routes, file.addresses, file.dynamic, file.values("Network", "DNS"), file.text()


LINES = {
    "frr": (FRR.read_text(), lambda text: frr_text.merged(frr_text.read(text).rest, ["x"])),
    "frr, ours": (FRR.read_text(), lambda text: frr_text.read(text, frr_text.Own(True, True))),
    "iptables, ours": (IPTABLES, iptables.canonical),
    "iptables, others": (IPTABLES, lambda text: [xtables_text.would_drop(xtables_text.parse(text), hook) for hook in HOOKS]),
    "interfaces": ((ODD / "interfaces.conf").read_text(), lambda text: ifupdown_stanzas.sources(ifupdown_stanzas.parse(text))),
    "networkd": ((ODD / "networkd.conf").read_text(), lambda text: _all_of(networkd_files.Network(text))),
    "sysctl": ((ODD / "sysctl.conf").read_text(), sysctl.parse),
}  # fmt: skip
RULESET, LINKS, ADDRESSES, ROUTES = (
    json.loads((ODD / f"{name}.json").read_text()) for name in ("nft", "ip-link", "ip-address", "ip-route")
)
HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
MANY = settings(max_examples=120, deadline=None, suppress_health_check=HEALTH, derandomize=True)


def mutated_text(data, text):
    """Return a text with lines gone, twice, swapped or cut, and words of others in it."""
    lines = text.splitlines()
    for _time in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, max(0, len(lines) - 1)))
        kind = data.draw(st.sampled_from(("gone", "twice", "swap", "cut", "word", "new", "join")))
        if not lines or kind == "new":
            lines.insert(place, data.draw(st.text(max_size=30)))
        elif kind == "gone":
            del lines[place]
        elif kind == "twice":
            lines.insert(place, lines[place])
        elif kind == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == "cut":
            lines[place] = lines[place][: data.draw(st.integers(0, len(lines[place])))]
        elif kind == "join" and place + 1 < len(lines):
            lines[place : place + 2] = [lines[place] + lines[place + 1]]
        else:
            words = lines[place].split(" ")
            known = st.sampled_from(("", "!", "-j", '"', "exit", "no", "=", "[", "]", "\t", "::"))
            words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.one_of(known, st.text(max_size=6)))
            lines[place] = " ".join(words)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("kind", LINES)
@MANY
@given(data=st.data())
def test_texts(kind, data):
    text, read = LINES[kind]
    read(text)
    read(mutated_text(data, text))


def places(tree, path=()):
    """Return the paths to all keys of a tree of JSON that others may leave out."""
    found = []
    for key, one in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        found += [(*path, key), *places(one, (*path, key))]
    return found


def without_some(data, tree, kept):
    """Return a tree of JSON with members gone, or unknown ones in it; C(kept) are keys that every version has."""
    tree = copy.deepcopy(tree)
    for _time in range(data.draw(st.integers(1, 4))):
        paths = [one for one in places(tree) if one[-1] not in kept]
        if not paths:
            break
        path = data.draw(st.sampled_from(paths))
        at = tree
        for key in path[:-1]:
            at = at[key]
        if data.draw(st.booleans()):
            del at[path[-1]]
        elif isinstance(at, dict):
            unheard_of = [one for one in ("new", "newer", "comment", "policy") if one not in at] or ["newest"]
            at[data.draw(st.sampled_from(unheard_of))] = data.draw(st.sampled_from((None, "x", 7, [], ["x"], {}, {"x": 1}, True)))
    return tree


#: Of what nft lists: what makes it an object of nft at all.
OF_NFT = (
    "nftables", "metainfo", "family", "table", "name", "chain", "rule", "set", "map", "expr", "op", "left", "right", "target",
    "match", "counter", "jump", "log", "reject", "drop", "vmap",
)  # fmt: skip


@MANY
@given(data=st.data())
def test_rulesets(data):
    listing = without_some(data, RULESET, OF_NFT)
    nft.digest(nft.canonical(listing))
    nft_text.has_iptables(listing)
    for _family, _table, chain, _hook in nft_text.base_chains(listing):
        nft_text.would_drop(listing, chain)


#: Of what ip(8) tells of links, addresses and routes: what each of them has.
OF_IP = ("ifname", "addr_info", "local", "prefixlen", "family", "dst", "dev", 0, 1, 2, 3, 4, 5)


@MANY
@given(data=st.data())
def test_links(data):
    rows = [without_some(data, one, OF_IP) for one in (LINKS, ADDRESSES, ROUTES)]
    for link in forms.links(*rows).values():
        assert link.kind and link.name


def mutated_tree(data, text):
    tree = etree.fromstring(text)
    for _time in range(data.draw(st.integers(1, 4))):
        nodes = [node for node in tree.iter() if node is not tree and isinstance(node.tag, str)]
        if not nodes:
            break
        node = data.draw(st.sampled_from(nodes))
        kind = data.draw(st.sampled_from(("gone", "twice", "attribute", "new", "comment", "text")))
        if kind == "gone":
            node.getparent().remove(node)
        elif kind == "twice":
            node.getparent().append(copy.deepcopy(node))
        elif kind == "attribute":
            node.set("unheard-of", "x")
        elif kind == "comment":
            node.append(etree.Comment("by hand"))
        elif kind == "text":
            node.text = "  \n "
        else:
            etree.SubElement(node, "{http://example.org/x}thing", of="others")
    return tree


@MANY
@given(data=st.data())
def test_definitions_of_networks(data):
    tree = mutated_tree(data, NETWORK)
    try:
        form = definition.parse(tree)
    except VirtnetError:
        return
    json.dumps(form)
