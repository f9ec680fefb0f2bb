# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks that people wrote, defined with virsh: told, taken over, changed in one thing; nothing else of them changes."""

from __future__ import annotations

import re

import pytest
from networks_by_hand import BY_HAND

ROWS = [(f"hand{number}", number, one) for number, one in enumerate(BY_HAND.values(), 1)]


def words(xml):
    """Return the lines of a definition without our mark and without quotes, sorted."""
    xml = re.sub(r"<metadata>.*?</metadata>\n?", "", xml, flags=re.S)
    return sorted(line.strip().replace("'", "").replace('"', "") for line in xml.splitlines() if line.strip())


@pytest.fixture
def by_hand(host):
    """All of them, defined with one call of virsh."""
    script = "set -e; cd /tmp\n"
    for name, number, one in ROWS:
        script += f"cat > {name}.xml <<'END'\n{one.xml(name, number)}\nEND\n"
        script += f"virsh -q net-define {name}.xml > /dev/null; rm {name}.xml\n"
    assert host.run("sh -c %s", script).rc == 0
    yield {name: (number, one) for name, number, one in ROWS}
    host.run("for net in $(virsh -q net-list --all --name); do case $net in hand*) virsh -q net-undefine $net;; esac; done")


def told(modules, names):
    return {one["name"]: one for one in modules("virt_net_info", names=list(names))["networks"]}


def test_taken_over_without_a_loss_then_one_thing_changed(host, modules, by_hand):
    before = told(modules, by_hand)
    for name, (_number, one) in by_hand.items():
        found = before[name]
        if one.model is None:
            assert found["model"] is None and "forward mode" in found["model_differs"][0], name
            continue
        assert found["model"]["model"] == one.model, (name, found["model_differs"])
        assert (tuple(found["model_differs"]), tuple(found["model_lacks"])) == (one.differs, one.lacks), name
    models = {name: one["model"] for name, one in before.items() if one["model"] and not one["model_differs"]}
    predicted = modules.run("virt_net_model", networks=list(models.values()), adopt=True, check=True)
    result = modules.run("virt_net_model", networks=list(models.values()), adopt=True)
    assert predicted["actions"] == result["actions"] and predicted["networks"] == result["networks"]
    assert [(one["name"], one["op"], one.get("note")) for one in result["actions"]] == [(name, "adopt", None) for name in models]
    assert modules.run("virt_net_model", networks=list(models.values()), adopt=True)["actions"] == []
    adopted = told(modules, models)
    for name, model in models.items():
        assert words(adopted[name]["xml_inactive"]) == words(before[name]["xml_inactive"]), name
        assert adopted[name]["owned"] and adopted[name]["model"] == model, name
    changed = {name: {**models[name], **by_hand[name][1].changed(by_hand[name][0])} for name in models if by_hand[name][1].change}
    result = modules.run("virt_net_model", networks=list(changed.values()))
    assert [(one["name"], one["op"], one.get("note")) for one in result["actions"]] == [
        (name, "define", ", ".join(by_hand[name][1].change)) for name in changed
    ]
    assert modules.run("virt_net_model", networks=list(changed.values()))["actions"] == []
    after = told(modules, changed)
    for name in changed:
        old, new = (set(words(one[name]["xml_inactive"])) for one in (adopted, after))
        one = by_hand[name][1]
        assert one.gone in " ".join(old - new) and one.come in " ".join(new - old), name
        assert after[name]["model_lacks"] == adopted[name]["model_lacks"], name
