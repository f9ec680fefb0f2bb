# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules of iptables that others have: whether they would drop our packets, and ours among them. Pure.

Ours are two chains, each led to by one jump: from the head of FORWARD or INPUT, or from the place that Docker or ufw has for
the rules of others.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from ansible_collections.virtnet.kvm.plugins.module_utils import model_stretch
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.foreign import needs

CHAINS = {needs.FORWARD: "VIRTNET_FORWARD", needs.INPUT: "VIRTNET_INPUT"}
HOOKS = {needs.FORWARD: "FORWARD", needs.INPUT: "INPUT"}
#: Chains of others that we jump from, where they are the ones to do it.
DOCKER = "DOCKER-USER"
UFW = {
    (4, needs.FORWARD): "ufw-before-forward", (6, needs.FORWARD): "ufw6-before-forward",
    (4, needs.INPUT): "ufw-before-input", (6, needs.INPUT): "ufw6-before-input",
}
#: A chain of firewalld's backend iptables.
FIREWALLD = "INPUT_direct"
#: Whose drops are for links of their own, or for what is not the host's.
_KNOWN = ("LIBVIRT_", "DOCKER-", "VIRTNET_", "ufw-not-local", "ufw6-not-local")
_RULE = re.compile(r"-A (\S+) ?(.*)$")


@dataclass
class Saved:
    """The table filter of an iptables-save."""

    policies: dict = field(default_factory=dict)  # {chain: DROP, ACCEPT or -}
    rules: dict = field(default_factory=dict)  # {chain: [what comes after -A CHAIN]}


def parse(text):
    """Return what is Saved in the output of C(iptables-save -t filter)."""
    saved = Saved()
    for line in text.splitlines():
        rule = _RULE.match(line)
        if line.startswith(":"):
            chain, _space, rest = line[1:].partition(" ")
            saved.policies[chain] = rest.partition(" ")[0]
            saved.rules.setdefault(chain, [])
        elif rule:
            saved.rules.setdefault(rule[1], []).append(rule[2])
    return saved


def would_drop(saved, hook):
    """Return whether packets that no rule names would be dropped at a hook."""
    chain = HOOKS[hook]
    if chain not in saved.rules:
        return False
    return (_fate(saved, chain, saved.rules[chain], (chain,)) or saved.policies.get(chain)) in ("DROP", "REJECT")


def _fate(saved, chain, rules, path):
    """Return what a chain does to a packet that no rule names: DROP, REJECT, ACCEPT or None, it goes through."""
    for rule in rules:
        target = _target_of_all(rule)
        if target in ("DROP", "REJECT", "ACCEPT"):
            return target
        if target == "RETURN":
            return None
        if target in saved.rules and target not in path and not target.startswith(_KNOWN):
            fate = _fate(saved, target, saved.rules[target], (*path, target))
            if fate is not None:
                return fate
    return None


def _target_of_all(rule):
    """Return a rule's target, or None if it is for some packets only. What names a link or an address is meant for that."""
    try:
        words = shlex.split(rule)
        while words:
            word = words.pop(0)
            negated = word == "!"
            if negated:
                word = words.pop(0)
            if word in ("-j", "-g"):
                return words.pop(0)  # what follows belongs to the target
            if not _harmless(word, words.pop(0), negated):
                return None
    except (ValueError, IndexError):
        pass  # words of a match that this does not understand
    return None


def _harmless(word, value, negated):
    """Return whether a condition holds for packets that are nobody's in particular."""
    if negated:
        return word in ("-i", "-o")
    if word == "-m":
        return value in ("comment", "conntrack", "state")
    return word == "--comment" or (word in ("--ctstate", "--state") and "NEW" in value.split(","))


# --- ours ---


def _matches(what, version):
    """Return the conditions of a Need, each a rule; none where it has no meaning in an IP version."""
    if what == needs.ANY:
        return [""]
    if what == needs.ANSWERS:
        return [" -m conntrack --ctstate RELATED,ESTABLISHED"]
    if what == needs.FORWARDED:
        return [" -m conntrack --ctstate DNAT"]
    if what == needs.DNS:
        return [f" -p {protocol} -m {protocol} --dport 53" for protocol in ("udp", "tcp")]
    if what == needs.VXLAN:
        return [f" -p udp -m udp --dport {model_stretch.PORT}"]
    if what == needs.ICMP:
        return [" -p icmp" if version == 4 else " -p ipv6-icmp"]
    of_version = {needs.DHCP: (4, [" -p udp -m udp --dport 67"]), needs.DHCP6: (6, [" -p udp -m udp --dport 547"])}
    of_version[needs.ND] = (6, [f" -p ipv6-icmp -m icmp6 --icmpv6-type {number}" for number in (133, 135, 136)])
    only, found = of_version[what]
    return found if version == only else []


def rules(wanted, hook, version):
    """Return the rules of a hook's chain, as C(-A) takes them after its name."""
    found = []
    for need in wanted:
        if need.hook == hook:
            links = " ".join(f"{word} {link}" for word, link in (("-i", need.iif), ("-o", need.oif)) if link)
            if need.source is not None:
                if need.source.version != version:
                    continue
                links = f"-s {need.source}/{need.source.max_prefixlen}"
            found += [f"{links}{match} -j ACCEPT" for match in _matches(need.what, version)]
    return found


def jumps(saved, chain):
    """Return [(chain, place among its rules)] of the jumps to a chain of ours."""
    return [(one, place) for one, lines in saved.rules.items() for place, line in enumerate(lines) if line == f"-j {chain}"]


def holder(saved, hook, version, ufw):
    """Return (whose it is, the chain to jump from), or None where nothing of ours is dropped or firewalld sees to it.

    :param ufw: whether ufw is enabled for that IP version.
    """
    if FIREWALLD in saved.rules or not would_drop(saved, hook):
        return None
    if ufw and UFW[version, hook] in saved.rules:
        return "ufw", UFW[version, hook]
    if hook == needs.FORWARD and any(line == f"-j {DOCKER}" for line in saved.rules["FORWARD"]):
        return "docker", DOCKER
    return "iptables", HOOKS[hook]


def name_of(chain):
    """Return whose a chain is that we jump from."""
    if chain == DOCKER:
        return "docker"
    return "ufw" if chain in UFW.values() else "iptables"


def too_late(saved, chain, place):
    """Return whether the rule at a place comes after one that drops everything."""
    return _fate(saved, chain, saved.rules[chain][:place], (chain,)) is not None


def first_place(saved, chain):
    """Return where a jump goes in, from 1: at the head, but behind libvirt's, which close networks that are not ours."""
    if chain in UFW.values():
        return len(saved.rules[chain]) + 1  # where ufw itself will put it at its next start
    of_libvirt = [
        place for place, line in enumerate(saved.rules[chain]) if (_target_of_all(line) or "").startswith("LIBVIRT_")
    ]
    place = of_libvirt[-1] + 1 if of_libvirt else 0
    return 1 if too_late(saved, chain, place) else place + 1


def transaction(saved, wanted):
    """Return what iptables-restore --noflush reads, so that our chains are as C(wanted) has them.

    :param wanted: {hook: (the chain to jump from, its rules)}; a hook that is not in it shall have no chain.
    """
    head, lines, gone = [], [], []
    for hook, chain in CHAINS.items():
        found = jumps(saved, chain)
        origin, ours = wanted.get(hook, (None, []))
        kept = next((one for one in found if one[0] == origin and not too_late(saved, *one)), None)
        lines += [f"-D {one[0]} -j {chain}" for one in found if one != kept]
        if origin is not None:
            head.append(f":{chain} - [0:0]")
            lines += [f"-A {chain} {rule}" for rule in ours]
            if kept is None:
                rest = Saved(saved.policies, {
                    name: [line for line in of_chain if line != f"-j {chain}"] for name, of_chain in saved.rules.items()
                })
                lines.append(f"-I {origin} {first_place(rest, origin)} -j {chain}")
        elif chain in saved.rules:
            gone += [f"-F {chain}", f"-X {chain}"]
    body = [*head, *lines, *gone]
    return "\n".join(["*filter", *body, "COMMIT", ""]) if body else ""


# --- ufw's own files ---

BEGIN, END = "# begin of virtnet.kvm", "# end of virtnet.kvm"


def block(text):
    """Return the lines of our block in a file of ufw's, as they are."""
    lines = text.splitlines()
    return lines[lines.index(BEGIN) + 1 : lines.index(END)] if BEGIN in lines and END in lines else []


def with_block(text, lines):
    """Return a file of ufw's with our block as the last of its table filter; without one if C(lines) is empty."""
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        inside = inside or line.rstrip("\n") == BEGIN
        if not inside:
            kept.append(line)
        inside = inside and line.rstrip("\n") != END
    if not lines:
        return "".join(kept)
    start = next((place for place, line in enumerate(kept) if line.strip() == "*filter"), None)
    if start is None:
        return "".join(kept)
    place = next((place for place in range(start, len(kept)) if kept[place].strip() == "COMMIT"), len(kept))
    ours = [f"{line}\n" for line in (BEGIN, *lines, END)]
    return "".join([*kept[:place], *ours, *kept[place:]])


def block_lines(wanted):
    """Return the lines of our block for C(wanted), as transaction() has it."""
    lines = []
    for hook, (origin, ours) in wanted.items():
        chain = CHAINS[hook]
        lines += [f":{chain} - [0:0]", *(f"-A {chain} {rule}" for rule in ours), f"-A {origin} -j {chain}"]
    return lines
