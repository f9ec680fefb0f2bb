# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nft on the host: load in one transaction, read back, and tell what the kernel holds from what it should.

What it should hold is what nft itself makes of our text: the text is loaded into an empty network namespace and listed
there, by the same nft and kernel, so no two spellings of one rule are ever taken for two rules. Its digest is kept under
/run (lost with a reboot, no harm). So is the generation of the kernel's rules that had what we loaded, or was found to: while it
is the same nobody has changed anything, and nothing needs to be listed.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import re
import shutil

from ansible_collections.virtnet.kvm.plugins.module_utils import files
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, Conflict, MissingDependency
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import drift, generation
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.nfttext import LEARNT, MARK
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.ruleset import FAMILIES, NAME, replacement
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall.spoofing import LINK_LOCALS, SOURCE6
from ansible_collections.virtnet.kvm.plugins.module_utils.host import RUN

EXPECTED = os.path.join(RUN, "nft-expected.json")
#: Made once: json.dumps() with options makes one a call, and a table may have ten thousand elements.
_encode = json.JSONEncoder(sort_keys=True).encode
#: Key in that file of the last listing of the kernel's that was as declared: [key of the text, digest of the listing].
LISTING = "listing"
#: Key for the generation that was as declared: [key of the text, generation.current()].
GENERATION = "generation"
#: Protocols as numbers: for a name nft looks into /etc/protocols, once for each of ten thousand elements.
LIST = ["nft", "-p", "-j", "list", "table"]
_FAR_LINES = 8
#: IPv6 addresses of this network namespace, a line each: digits, link's index, prefix's length, scope (20 is link), flags, link.
ADDRESSES = "/proc/net/if_inet6"
LINKS = "/sys/class/net"
#: An IPv6 address in a pair with a MAC address.
_ADDRESS = re.compile(r"(?<=:[0-9a-f]{2} \. )0x[0-9a-f]{32}\b")


def canonical(listing):
    """Return {table: {object: value}} of an C(nft -j list) without handles and with sets in one order. Pure."""
    tables = {}
    for one in listing.get("nftables", ()):
        kind, body = next(iter(one.items()))
        if kind == "metainfo":
            continue
        body = {key: value for key, value in body.items() if key != "handle"}
        if kind == "table":
            table = tables.setdefault(f"{body['family']} {body['name']}", {})
            if body.get("flags"):
                table["flags"] = body["flags"]  # a dormant one has all of its rules and none in force
            continue
        table = tables.setdefault(f"{body['family']} {body['table']}", {})
        if kind == "rule":
            table.setdefault(f"rules of chain {body['chain']}", []).append(
                {key: value for key, value in body.items() if key not in ("family", "table", "chain")}
            )
            continue
        if kind == "set" and body["name"].startswith(LEARNT):
            body.pop("elem", None)
        if "elem" in body:
            body["elem"] = sorted(body["elem"], key=_encode)
        table[f"{kind} {body['name']}"] = {
            key: value for key, value in body.items() if key not in ("family", "table", "name")
        }
    return tables


def digest(tables):
    """Return a digest of the canonical form. Pure."""
    return hashlib.sha256(_encode(tables).encode()).hexdigest()


def readable(listing):
    """Return an C(nft list) as nft reads it. Pure.

    1.1 has a name for the field of an advertisement, but lists its values in pairs as numbers; and nft lists bytes by the name
    of the field that they are, which in a set of bytes it then refuses.
    """
    for field, bytes_ in (("ip6 saddr", SOURCE6), ("icmpv6 taddr", "@th,64,128")):
        listing = listing.replace(f"{field} @{LINK_LOCALS}", f"{bytes_} @{LINK_LOCALS}")
    listing = listing.replace(f"update @{LINK_LOCALS} {{ ip6 saddr }}", f"update @{LINK_LOCALS} {{ {SOURCE6} }}")
    if "icmpv6 taddr" not in listing:
        return listing
    return _ADDRESS.sub(lambda found: str(ipaddress.IPv6Address(int(found[0], 16))), listing)


@contextlib.contextmanager
def _shown(text):
    """Have an error of nft bring the text that nft refused."""
    try:
        yield
    except CommandFailed as error:
        error.details["rendered"] = text if len(text) < 20000 else text[:20000] + "…"
        raise


class Nft:
    """Effects of nft on one host."""

    def __init__(self, host):
        self._host = host
        self._expected = None
        self._good = {}

    def _listed(self):
        """Return what nft lists of our tables, each that is there as JSON."""
        texts = []
        for family in FAMILIES:
            rc, out, err = self._host.run([*LIST, family, NAME], check=False)
            if rc != 0:
                if "No such file or directory" in err:
                    continue
                raise CommandFailed(
                    f"the kernel's rules could not be listed: {err.strip()}", f"table {family} {NAME}", rc=rc, stderr=err
                )
            texts.append(out)
        return texts

    def found(self):
        """Return the canonical form of our tables in the kernel; raise Conflict if one is not ours."""
        return self._canonical(self._listed())

    @staticmethod
    def _canonical(listed):
        tables = {}
        for text in listed:
            tables.update(canonical(json.loads(text)))
        for name, objects in tables.items():
            if f"chain {MARK}" not in objects:
                raise Conflict(
                    f"the nftables table {name} is not one of virtnet.kvm's", f"table {name}",
                    cure=f"Rename it, or remove it with: nft delete table {name}",
                )
        return tables

    def state(self, text):
        """Return (whether any table of ours is there, what is not as C(text) says); raise Conflict if one is not ours.

        A generation of the kernel's rules that was found to be as this text says is so still; a listing, handles and all, is so
        again: it need not be taken apart.
        """
        key, now = self._key(text), generation.current()
        good = {} if now is None else {GENERATION: [key, now]}
        if good and good[GENERATION] in (self._good.get(GENERATION), self._cache().get(GENERATION)):
            self._good = good
            return text_has_tables(text), []
        listed = self._listed()
        good[LISTING] = [key, hashlib.sha256("".join(listed).encode()).hexdigest()]
        if listed and self._cache().get(LISTING) == good[LISTING]:
            self._good = good
            return True, []
        found = self._canonical(listed)
        lines = self.drift(text, found)
        self._good = {} if lines else good
        return bool(found), lines

    def expected(self, text):
        """Return the canonical form that the kernel gives our text, tried out in an empty network namespace."""
        if not text_has_tables(text):
            return {}
        trial = ["unshare", "--net", "sh", "-c", "nft -f - && nft -p -j list ruleset"]
        try:
            with _shown(text):
                _rc, out, _err = self._host.run(trial, data=text, what="trying the ruleset")
        except MissingDependency as error:
            error.cure = "Install util-linux, which has unshare."
            raise
        return canonical(json.loads(out))

    def expected_digest(self, text):
        """Return the digest of expected(text), from the cache if this nft has been asked before."""
        if not text_has_tables(text):
            return digest({})
        key = self._key(text)
        if key not in self._cache():
            self._cache()[key] = digest(self.expected(text))
        return self._cache()[key]

    def remember(self, text):
        """Keep what is known of the text that is in force now, and of no other."""
        if not text_has_tables(text):
            files.remove(EXPECTED)
            return
        key, known = self._key(text), self._cache()
        kept = {key: known[key]} if key in known else {}
        for what in (LISTING, GENERATION):
            found = self._good.get(what, known.get(what))
            if found is not None and found[0] == key:
                kept[what] = found
        if files.read(EXPECTED) != json.dumps(kept):
            files.write(EXPECTED, json.dumps(kept))

    def _cache(self):
        if self._expected is None:
            try:
                self._expected = json.loads(files.read(EXPECTED) or "{}")
            except ValueError:
                self._expected = {}
        return self._expected

    @staticmethod
    def stamp():
        """Return what tells this nft and kernel from others."""
        path = shutil.which("nft") or "nft"
        stamp = ""
        if os.path.exists(path):
            status = os.stat(path)
            stamp = f"{status.st_mtime_ns} {status.st_size}"
        return f"{os.uname().release} {stamp}"

    def _key(self, text):
        """Return a name for this text under this nft and kernel."""
        return hashlib.sha256(f"{self.stamp()}\n{text}".encode()).hexdigest()

    def proof(self, text):
        """Return what proves, as long as unchanged() takes it, that the kernel has what C(text) says; None if nothing does."""
        found = self._good.get(GENERATION)
        return found if found is not None and found == [self._key(text), generation.current()] else None

    def unchanged(self, proof):
        """Return whether nobody has changed anything since."""
        return proof[1] == generation.current() and self._cache().get(GENERATION) == proof

    def load(self, text):
        """Replace our tables by C(text) in one transaction: all of it, or the old ones stay."""
        before = generation.current()
        with _shown(text):
            self._host.run(["nft", "-f", "-"], data=text + self._known(text), what="loading the ruleset")
        after = generation.current()
        # Ours alone: then the kernel has what it took from us, until somebody else comes.
        alone = before is not None and after is not None and after == [before[0], before[1] + 1]
        self._good = {GENERATION: [self._key(text), after]} if alone else {}

    @staticmethod
    def _known(text):
        """Return what the set LINK_LOCALS of a text begins with: the addresses of bridges that are there, and may be silent."""
        if f"set {LINK_LOCALS} {{" not in text:
            return ""
        rows = [line.split() for line in (files.read(ADDRESSES) or "").splitlines()]
        own = [row for row in rows if row[3] == "20" and os.path.isdir(os.path.join(LINKS, row[5], "bridge"))]
        numbers = sorted({f"0x{row[0]}" for row in own})
        return f"add element bridge {NAME} {LINK_LOCALS} {{ {', '.join(numbers)} }}\n" if numbers else ""

    def as_it_is(self, text, drifted):
        """Return a transaction after which the kernel has what it has now.

        :param text: what was declared; it is that, unless it has C(drifted).
        """
        if not drifted:
            return text
        listed = [self._host.run(["nft", "--stateless", "list", "table", family, NAME], check=False)[1] for family in FAMILIES]
        found = replacement(map(readable, listed))
        try:
            self.expected(found)
        except CommandFailed as error:
            error.problem = f"what was changed by hand in the rules could not be kept, to be taken back to: {error.problem}"
            error.cure = "Have the rules as they were declared first, or do it with confirm: false."
            raise
        return found

    def drift(self, text, found):
        """Return what in the kernel is not as C(text) says, as sentences; an empty list if nothing."""
        if digest(found) == self.expected_digest(text):
            return []
        lines = drift.differences(self.expected(text), found, text)
        if len(lines) > _FAR_LINES:
            lines = [*lines[:_FAR_LINES], f"and {len(lines) - _FAR_LINES} more"]
        return lines


def text_has_tables(text):
    """Return whether the transaction leaves any table behind. Pure."""
    return "\ntable " in text
