# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of an option that does not fit: where it stands, of which object, and what would fit."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.virtnet.kvm.plugins.module_utils import argspec, options
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[3]
NETWORKS = {"networks": {"type": "list", "elements": "dict", "required": True, "options": argspec.network_options()}}
GUESTS = {"guests": {"type": "list", "elements": "dict", "options": argspec.guest_options()}}
LAB = {"name": "lab", "model": "nat", "addresses": ["10.1.2.1/24"]}


def networks(*items):
    return {"networks": list(items)}


MODELS = "It takes isolated, routed, nat, bridged."
NO_SUCH = "there is no such option."
FIXED = "networks[0].dhcp.reservations[0].ip4"
ALL = "Of 4 options these can be set: address, duid, mac, name."
GUEST_OPTIONS = "Of 8 options these can be set: host, image, memory_mb, name, nics, state, user_data, vcpus."
#: What is wrong in one network, LAB but for this: the option, and what is said of it.
WRONG_IN_LAB = [
    ({"model": "natt"}, "model", f"it cannot be 'natt'. Did you mean nat? {MODELS}"),
    ({"model": ["nat"]}, "model", f"it cannot be ['nat']. Did you mean nat? {MODELS}"),
    ({"mtu": "large"}, "mtu", "it must be of type int, and 'large' is not"),
    ({"stp": "perhaps"}, "stp", "it must be of type bool, and 'perhaps' is not"),
    ({"dhcp": {"ranges": [{"start": "10.1.2.9"}]}}, "dhcp.ranges[0].end", "it is required, and missing. Give it."),
    ({"dhcp": {"ranges": {"start": "a", "end": "b"}}}, "dhcp.ranges", "it must be of type list, not dict"),
    ({"dhcp": [1]}, "dhcp", "it must be of type dict, not list"),
    ({"dhcp": True}, "dhcp", "it must be of type dict, not bool"),
    ({"dhcp": [None]}, "dhcp", "it must be of type dict, not list"),
]
WRONG = [
    *((NETWORKS, networks({**LAB, **more}), f"networks[0].{option}: lab: {says}") for more, option, says in WRONG_IN_LAB),
    (NETWORKS, networks(LAB, {**LAB, "adresses": 1}), f"networks[1].adresses: lab: {NO_SUCH} Did you mean addresses?"),
    (NETWORKS, networks({**LAB, "mtuu": 1, "x": 2}), "networks[0].mtuu: lab: there is no such option, nor x. Did you mean mtu?"),
    (NETWORKS, networks(LAB, {"model": "nat"}), "networks[1].name: it is required, and missing. Give it."),
    (NETWORKS, {}, "networks: it is required, and missing. Give it."),
    (NETWORKS, networks(LAB, 7), "networks[1]: it must be of type dict, not int"),
    (NETWORKS, {"networks": 7}, "networks: it must be of type list, not int"),
    (NETWORKS, networks({**LAB, "dhcp": {"reservations": [{"name": "vm0", "ip4": "x"}]}}), f"{FIXED}: vm0: {NO_SUCH} {ALL}"),
    (GUESTS, {"guests": [{"name": "vm0", "memory": 1}]}, f"guests[0].memory: vm0: {NO_SUCH} Did you mean memory_mb?"),
    (GUESTS, {"guests": [{"name": "vm0", "zzz": 1}]}, f"guests[0].zzz: vm0: {NO_SUCH} {GUEST_OPTIONS}"),
    (GUESTS, {"guests": {"name": "vm0", "user_data": "password: geheim"}}, "guests: it must be of type list, not dict"),
    (GUESTS, {"guests": "geheim"}, "guests: it must be of type list, not str"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "given", "says"), WRONG, ids=[says for _spec, _given, says in WRONG])
def test_it_names_the_place_the_object_and_the_cure(spec, given, says):
    untouched = copy.deepcopy(given)
    with pytest.raises(InvalidInput) as caught:
        options.checked(copy.deepcopy(spec), given)
    assert str(caught.value) == says
    assert given == untouched or "list" in str(given), "what was given is as it was"
    assert "geheim" not in str(caught.value.as_result())


def test_what_fits_gets_types_and_defaults():
    found = options.checked(copy.deepcopy(NETWORKS), networks({**LAB, "mtu": "1400", "stp": "yes"}))["networks"][0]
    assert (found["mtu"], found["stp"], found["state"]) == (1400, True, "active")


def test_rules_between_the_options_of_an_item_say_which_item():
    spec = {"items": {"type": "list", "elements": "dict", "options": {"a": {}, "b": {}}, "mutually_exclusive": [("a", "b")]}}
    with pytest.raises(InvalidInput, match=r"^items\[1\]: parameters are mutually exclusive: a\|b$"):
        options.checked(spec, {"items": [{"a": 1}, {"a": 1, "b": 2}]})


def test_rules_of_a_module_are_in_no_option():
    assert options.first_wrong({"a": {}, "b": {}}, {"a": 1, "b": 2}) is None


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")))
def test_every_module_says_it(name):
    """As a process of its own, as Ansible has it: what comes out is what Ansible shows."""
    told = called(name, {"no_such_option": 1})
    assert told["error"]["option"] == "no_such_option"
    assert told["msg"].startswith("no_such_option: there is no such option.")


@pytest.mark.parametrize("dhcp", [True, 7, [None], [1], "x", "a=b"])
def test_what_ansible_itself_stumbles_over_is_said_too(dhcp):
    told = called("virt_net_model", networks({**LAB, "dhcp": dhcp}))
    assert told["msg"].startswith("networks[0].dhcp"), told
    assert "exception" not in told or "Traceback" not in told["exception"]


def test_what_ansibles_check_makes_of_it_hides_nothing():
    """It writes an empty list where it could make none."""
    told = called("guest_vm", {"guests": [{"name": "vm0", "nics": True}]})
    assert told["msg"] == "guests[0].nics: vm0: it must be of type list, not bool"


@pytest.mark.parametrize("nics", [[], True])
@pytest.mark.parametrize("listed", [True, False])
def test_no_secret_is_shown_with_it(nics, listed):
    guest = {"name": "vm0", "vcpus": "many", "nics": nics, "user_data": "geheim"}
    guests = [guest] if listed else guest
    told = called("guest_vm", {"guests": guests})
    assert told["error"]["option"].startswith("guests")
    assert "geheim" not in json.dumps(told)


def called(name, given):
    """Run a module with options that it refuses; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.virtnet.kvm.plugins.modules.{name}"], capture_output=True, text=True,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}), check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "geheim" not in done.stderr
    told = json.loads(done.stdout[done.stdout.index("{"):])
    assert told["failed"]
    return told
