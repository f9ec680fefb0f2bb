# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was seen, cell by cell. Pure.

C(yes): it arrived, from the address that the contract says, and its reply came back. C(no): it was sent, nothing
arrived, and the same listener heard something else in the same run. All else is C(unknown), and no proof.
"""

from __future__ import annotations

#: errno of a sender whose own kernel refuses: there is no way, or the host's filter stands in it. Both are the network.
NO_WAY = {
    "ENETUNREACH": "no route",
    "EHOSTUNREACH": "no route",
    "ENETDOWN": "no route",
    "EPERM": "refused by the sender's own filter",
    "EACCES": "refused by the sender's own filter",
}
COPIED = ("name", "from", "to", "address", "family", "protocol", "port", "expected", "contract", "forward")
DNS_ERRORS = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class Evidence:
    """What all probes of a proof saw.

    :param results: {host: {process: {arrivals, sends} or {error}}}.
    """

    def __init__(self, results):
        self.arrivals, self.sends, self.errors = {}, {}, {}
        for host, processes in results.items():
            for process, found in processes.items():
                end = (host, process)
                if found.get("error"):
                    self.errors[end] = found["error"]
                for one in found.get("arrivals") or []:
                    self.arrivals[(end, one["protocol"], one["token"])] = one
                for one in found.get("sends") or []:
                    self.sends[(end, one["token"])] = one

    def arrival(self, cell):
        return self.arrivals.get((tuple(cell["receiver"]), cell["protocol"], cell["token"]))

    def sent(self, cell):
        return self.sends.get((tuple(cell["sender"]), cell["token"]))

    def silent(self, *ends):
        """Return the error of the first of these probes that gave none of its evidence."""
        for end in ends:
            if tuple(end) in self.errors:
                return self.errors[tuple(end)]
        return None


def _listener(cell):
    return cell["to"], cell["protocol"], cell["family"]


def _controls(cells, evidence):
    """Return {listener: whom it heard}; somebody else is a better control than the listener itself."""
    found = {}
    for cell in cells:
        if cell["expected"] == "no" or cell["token"] is None or not cell["receiver"] or not evidence.arrival(cell):
            continue
        if cell["from"] == cell["to"]:
            found.setdefault(_listener(cell), "itself only")
        elif found.get(_listener(cell), "itself only") == "itself only":
            found[_listener(cell)] = cell["from"]
    return found


def _path(cell, sent):
    if not sent["sent"] and sent["error"] and not cell["via"]:
        return NO_WAY.get(sent["error"], sent["error"])
    return f"via {cell['via']}" if cell["via"] else "by the sender's routes"


def _dns(cell, sent):
    if sent["replied_ms"] is None:
        # That a name is not to be resolved is the server's to say: one that is dead proves nothing.
        return "unknown" if cell["expected"] == "no" else "no", "no answer" + (f", {sent['refused']}" if sent["refused"] else "")
    if sent["rcode"]:
        return "no", DNS_ERRORS.get(sent["rcode"], f"rcode {sent['rcode']}")
    return ("yes", "answered") if sent["answers"] else ("no", "answered, with no address")


def _arrived(cell, sent, source):
    """Return (seen, why) of a cell whose packet arrived."""
    if cell["expected"] == "no":
        return "yes", f"it arrived, from {source}"
    if cell["source_expected"] is not None and source not in cell["source_expected"]:
        wanted = " or ".join(cell["source_expected"][:3]) or "an address of the host"
        return "unknown", f"it arrived from {source}, not from {wanted}"
    if sent["replied_ms"] is None:
        if cell["reply"]:
            refused = f" ({sent['refused']})" if sent["refused"] else ""
            return "unknown", f"it arrived, but no reply came back{refused}"
        return "yes", "it arrived; no way back was declared, and no reply came"
    return "yes", "it arrived and was answered"


def _not_arrived(cell, sent, controls):
    """Return (seen, why) of a cell whose packet did not arrive."""
    if not cell["receiver"]:  # nobody of ours listens there: the reply is all there is
        if sent["replied_ms"] is not None:
            return "yes", "it was answered"
        return "unknown", sent["refused"] or "no reply; nobody listens there for the proof"
    if sent["replied_ms"] is not None:
        return "unknown", "it was answered, but the receiver did not see it"
    control = controls.get(_listener(cell))
    if control is None:
        return "unknown", "nothing arrived, and nothing else was heard by that listener either"
    how = f"nothing arrived; control: {control}"
    return "no", how + (f"; {sent['refused']}" if sent["refused"] else "")


def _seen(cell, evidence, controls):
    """Return (seen, why, path, source) of a cell."""
    if cell["problem"]:
        return "unknown", cell["problem"], None, None
    ends = [cell["sender"], *([cell["receiver"]] if cell["receiver"] else [])]
    error = evidence.silent(*ends)
    sent = evidence.sent(cell)
    if error or sent is None:
        return "unknown", error or "the sender did not say what it sent", None, None
    path = _path(cell, sent)
    if cell["protocol"] == "dns":
        return (*_dns(cell, sent), path, ", ".join(str(one) for one in sent["answers"] or []) or None)
    arrival = evidence.arrival(cell) if cell["receiver"] else None
    if arrival:
        return (*_arrived(cell, sent, arrival["source"]), path, arrival["source"])
    if not sent["sent"] and (cell["via"] or sent["error"] not in NO_WAY):
        return "unknown", f"it could not be sent: {sent['error']}", path, None
    return (*_not_arrived(cell, sent, controls), path, None)


def judge(plan, results):
    """Return the proof: {ok, cells, controls, notes, differences}.

    :param plan: of matrix.plan().
    :param results: {host: {process: {arrivals, sends} or {error}}}.
    """
    evidence = Evidence(results)
    controls = _controls(plan["cells"], evidence)
    judged = []
    for cell in plan["cells"]:
        seen, why, path, source = _seen(cell, evidence, controls)
        sent = evidence.sent(cell) if cell["token"] is not None else None
        row = {key: cell[key] for key in COPIED}
        row["networks"] = cell.get("networks", [])
        row.update(
            seen=seen, ok=cell["expected"] in (None, seen), why=why, path=path, source_seen=source,
            source_expected=cell["source_expected"], replied=bool(sent and sent["replied_ms"] is not None),
            replied_ms=sent["replied_ms"] if sent else None, control=cell["control"],
        )
        judged.append(row)
    cells = [row for row in judged if not row["control"]]
    wrong = [row for row in cells if not row["ok"]]
    notes = list(plan["notes"])
    if not cells:
        notes.append("There is nothing to prove: no guest of a running network takes part.")
    return {
        "ok": not wrong, "cells": cells, "controls": [row for row in judged if row["control"]], "notes": notes,
        "differences": [difference(row) for row in wrong],
    }


def difference(row):
    """Return the sentence on a cell that is not as the contract says."""
    return f"{row['name']}: expected {row['expected']} ({row['contract']}), seen {row['seen']}: {row['why']}"
