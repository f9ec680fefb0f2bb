# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VLANs of a bridge's port, or of the bridge itself: bridge(8), vlan; net/bridge/br_vlan.c. Pure.

The normal form is C({pvid, untagged, tagged}): the VLAN of frames that come in without a tag (None, such frames are
dropped), and the VLANs whose frames leave without their tag and with it, as numbers and ranges in text.
"""

from __future__ import annotations

import re

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

#: 0 and 4095 are reserved (IEEE 802.1Q, linux/if_vlan.h).
LAST = 4094
NONE = {"pvid": None, "untagged": [], "tagged": []}
_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")


def number(value, option, subject, least=1):
    """Return a VLAN's number."""
    if not least <= value <= LAST:
        raise InvalidInput(f"{value} is no VLAN", subject, option, f"Use {least} to {LAST}.")
    return value


def _numbers(texts, option, subject):
    found = set()
    for index, text in enumerate(texts):
        match, where = _RANGE.fullmatch(text.strip()), f"{option}[{index}]"
        first = int(match.group(1)) if match else 0
        last = int(match.group(2) or first) if match else 0
        if not 1 <= first <= last <= LAST:
            raise InvalidInput(f"{text!r} is no VLAN and no range of them", subject, where, f"Use 1 to {LAST}, or 10-19.")
        found |= set(range(first, last + 1))
    return found


def _ranges(numbers):
    """Return numbers as text, those in a row as one range."""
    rows = []
    for one in sorted(numbers):
        if rows and rows[-1][1] == one - 1:
            rows[-1][1] = one
        else:
            rows.append([one, one])
    return [str(first) if first == last else f"{first}-{last}" for first, last in rows]


def _form(pvid, untagged, tagged):
    return {"pvid": pvid, "untagged": _ranges(untagged), "tagged": _ranges(tagged)}


def parse(item, option, subject):
    """Return the normal form of what is declared; frames of the PVID leave without a tag unless it is among C(tagged)."""
    untagged = _numbers(item.get("untagged") or [], f"{option}.untagged", subject)
    tagged = _numbers(item.get("tagged") or [], f"{option}.tagged", subject)
    if untagged & tagged:
        raise InvalidInput(
            f"{_ranges(untagged & tagged)[0]} is both tagged and untagged", subject, f"{option}.tagged", "Give it once."
        )
    pvid = item.get("pvid")
    if pvid is not None:
        number(pvid, f"{option}.pvid", subject)
        untagged |= {pvid} - tagged
    return _form(pvid, untagged, tagged)


def table(form):
    """Return {VLAN: (whether it is the PVID, whether its frames leave untagged)} of a normal form."""
    return {
        one: (one == form["pvid"], key == "untagged") for key in ("untagged", "tagged") for one in _numbers(form[key], key, None)
    }


def of_rows(rows):
    """Return {link: normal form} of C(bridge -j vlan show)."""
    found = {}
    for row in rows:
        pvid, kinds = None, {True: set(), False: set()}
        for one in row.get("vlans", ()):
            flags = one.get("flags", ())
            kinds["Egress Untagged" in flags] |= set(range(one["vlan"], one.get("vlanEnd", one["vlan"]) + 1))
            pvid = one["vlan"] if "PVID" in flags else pvid
        found[row["ifname"]] = _form(pvid, kinds[True], kinds[False])
    return found


def default(pvid):
    """Return the normal form of a port that has just joined a bridge with that default PVID; 0 is none."""
    return _form(pvid, {pvid}, ()) if pvid else NONE


def with_default(form, old, new):
    """Return what becomes of a form when the bridge's default PVID changes (__br_vlan_set_default_pvid of net/bridge/br_vlan.c).

    A port takes part in the change if the old default is its PVID, or there was none; and not if it has the new one already.
    """
    known = table(form)
    if new == old or (old and known.get(old) != (True, True)) or new in known:
        return form
    untagged = {one for one, (_pvid, bare) in known.items() if bare and one != old} | ({new} if new else set())
    tagged = {one for one, (_pvid, bare) in known.items() if not bare}
    return _form(new or None, untagged, tagged)


def check(declared, filtering, default_pvid, option, subject):
    """Refuse VLANs that the bridge would not look at, or that a port would not have for itself.

    :param declared: {option: normal form} of the bridge and of its ports.
    :param filtering: whether the bridge will look at VLANs, C(default_pvid) the VLAN that it puts every port into, 0 for none.
    :param option: the path of the bridge's own options.
    """
    if declared and not filtering:
        raise InvalidInput(
            "VLANs are declared, but it does not look at them", subject, f"{option}.vlan_filtering", "Say vlan_filtering: true."
        )
    for where, form in declared.items():
        if default_pvid and default_pvid not in table(form):
            # Every port is in it from its first moment, and neither networkd nor NetworkManager takes it out.
            raise InvalidInput(
                f"the bridge puts every port into VLAN {default_pvid}, and it is not among these", subject, where,
                f"Say vlan_default_pvid: 0, or give it VLAN {default_pvid}, too.",
            )


def kept(former, default_pvid):
    """Return the normal form of a bridge's own VLANs that nobody declares.

    :param former: (normal form, default PVID) that it has, None if it looks at no VLANs yet.
    """
    if former is None:
        return default(default_pvid)
    form, old = former
    return with_default(form, old, default_pvid)


def words(form):
    """Return the form as [(numbers in text, words of bridge(8))], the PVID by itself."""
    groups = {}
    for one, (pvid, bare) in table(form).items():
        groups.setdefault(" ".join((["pvid"] if pvid else []) + (["untagged"] if bare else [])), set()).add(one)
    return [(text, key) for key in sorted(groups) for text in _ranges(groups[key])]


def lines(name, before, after, of_the_bridge=False):
    """Return the lines of bridge -batch that lead from one form to another.

    :param of_the_bridge: C(name) is a bridge, and the VLANs are those in which its host takes part.
    """
    old, new = table(before), table(after)
    more = " self" if of_the_bridge else ""
    changed = {one for one in new if new[one] != old.get(one)}
    gone = _ranges(set(old) - set(new))
    found = [f"vlan del dev {name} vid {text}{more}" for text in gone]
    rest = {one: new[one] for one in changed}
    part = _form(
        next((one for one, (pvid, _bare) in rest.items() if pvid), None),
        {one for one, (_pvid, bare) in rest.items() if bare}, {one for one, (_pvid, bare) in rest.items() if not bare},
    )  # fmt: skip
    return found + [f"vlan add dev {name} vid {text}{' ' if flags else ''}{flags}{more}" for text, flags in words(part)]


def is_line(line):
    """Return whether a line is one for bridge(8), of VLANs or of a VXLAN device's peers; all others are for ip(8)."""
    return line.startswith(("vlan ", "fdb "))
