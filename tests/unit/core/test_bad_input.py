# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Input made by machine, for every module: names with XML, nft, shell and Jinja in them, other scripts, huge lists and numbers.

Each module is called as Ansible calls it, its argument spec included, up to the moment at which it looks at the host. Until then
it has either refused with one error of ours, or taken the input for good; what it took makes no element and no rule of its own.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib
import re
from types import SimpleNamespace

import module_specs
import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtnet.kvm.plugins.module_utils import daemon, deps, engine, models
from ansible_collections.virtnet.kvm.plugins.module_utils import options as wrong_options
from ansible_collections.virtnet.kvm.plugins.module_utils.argspec import network_options
from ansible_collections.virtnet.kvm.plugins.module_utils.bgp import speaker
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput, VirtnetError
from ansible_collections.virtnet.kvm.plugins.module_utils.firewall import ruleset
from ansible_collections.virtnet.kvm.plugins.module_utils.libvirt_net.definition import network as definition
from ansible_collections.virtnet.kvm.plugins.module_utils.links import declared, taps
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

NASTY = (
    "", " ", "a b", "\n", "x\ny", "\0", "<inj/>", '"/><inj/>', "]]>", "&inj;", "'; inj #",
    '"; flush ruleset; add table inet inj; #', "$(inj)", "`inj`", "{{ inj }}", "{% inj %}", "../../etc/inj", "/etc/inj", "-inj",
    "--inj", "%s%n", "Ünïcode", "网络", "\u202einj", "a", "a", "a", "0", "-1", "1e9", "٣", "None", "true", "null", ".", "..", "*",
    "x,y", "x=y", "x:y", "@x",
)  # fmt: skip
USUAL = (
    "lab", "vm0", "br0", "eth0", "virnet0", "10.1.2.1/24", "10.1.2.0/24", "10.1.2.9", "10.1.2.100", "10.1.2.200",
    "fd00:1::1/64", "fd00:1::/64", "fd00:1::9", "0.0.0.0/0", "::/0", "0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1",
    "fe80::1", "::ffff:10.1.2.3", "10.1.2.1/33", "10.1.2.1/0", "010.1.2.1", "52:54:00:00:00:01", "ff:ff:ff:ff:ff:ff",
    "00:00:00:00:00:00", "80", "80-90", "90-80", "8000-8099", "tcp", "udp", "dhcp", "example.org", "a.b.c", "1h", "infinite",
    "default", "qemu:///system", "10.20.0.0/16 le 24", "4711", "present", "absent",
)  # fmt: skip
NUMBERS = (-(2**63), -1, 0, 1, 2, 67, 80, 68, 576, 1280, 1500, 4094, 4095, 4711, 65535, 65536, 2**24, 2**31, 2**32, 2**63, 2**200)
TEXTS = st.one_of(st.sampled_from(USUAL), st.sampled_from(USUAL), st.sampled_from(NASTY), st.text(max_size=20))
#: Modules that call run_module() or plan_module(), or have effects of another kind; the rest only look.
MODULES = (
    "frr_bgp", "guest_nic", "guest_vm", "host_bridge", "host_iface", "ip_forward", "nat_rule", "net_plan", "net_policy",
    "packet_trace", "tap_iface", "virt_net_model", "vxlan_iface",
)  # fmt: skip
#: What Ansible says of rules between options, which belong to none of them.
RULES = re.compile(r"mutually exclusive|one of the following is required|required together|missing parameter|but a(ll|ny) of")


class Refused(Exception):
    """A module's fail_json: what it said."""


class Looked(Exception):
    """The module has taken its input, and is about to look at the host."""


class Host:
    """A host that nobody may look at."""

    def __getattr__(self, name):
        raise Looked(name)


def value(rule):
    """Return a strategy for one option, of its argument spec."""
    kind = rule.get("type", "str")
    if rule.get("choices") and kind != "list":
        return st.one_of(st.sampled_from(rule["choices"]), st.sampled_from(rule["choices"]), st.sampled_from(NASTY))
    if kind == "dict" and "options" in rule:
        # Ansible's own check fails for some of these.
        return st.one_of(*[options(rule["options"])] * 7, st.sampled_from((True, 7, "x", [], [None], [7], {})))
    if kind == "list":
        inner = {key: one for key, one in rule.items() if key in ("options", "choices")}
        return st.lists(value({"type": rule.get("elements", "str"), **inner}), max_size=3)
    return {
        "bool": st.one_of(st.booleans(), st.booleans(), st.sampled_from(("yes", "", "inj", 7))),
        "int": st.one_of(st.sampled_from(NUMBERS), st.integers(), st.sampled_from(("7", "x", "", "1.5"))),
        "dict": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "raw": st.one_of(TEXTS, st.integers(), st.none(), st.lists(TEXTS, max_size=2)),
    }.get(kind, TEXTS)


def options(spec):
    """Return a strategy for a dictionary of options: the required, and some of the others."""
    must = {key: value(rule) for key, rule in spec.items() if rule.get("required")}
    may = {key: value(rule) for key, rule in spec.items() if not rule.get("required")}
    if not may:
        return st.fixed_dictionaries(must)
    # A few at a time, or the first that is wrong hides all others.
    few = st.lists(st.sampled_from(sorted(may)), max_size=5, unique=True)
    return few.flatmap(lambda keys: st.fixed_dictionaries({**must, **{key: may[key] for key in keys}}))


class Module:
    """Stands for AnsibleModule: it checks the arguments as that does, with Ansible's own code."""

    given: dict = {}
    spec: dict = {}

    def __init__(self, argument_spec, supports_check_mode=False, **rules):
        type(self).spec = argument_spec
        try:
            found = ArgumentSpecValidator(argument_spec, **rules).validate(copy.deepcopy(type(self).given))
        except wrong_options.UNEXPECTED:
            self.fail_json(msg=str(wrong_options.first_wrong(argument_spec, copy.deepcopy(type(self).given))))
        if found.error_messages:
            wrong = wrong_options.first_wrong(argument_spec, copy.deepcopy(type(self).given))
            # What is left are rules between options.
            assert wrong or RULES.search(found.error_messages[0]), found.error_messages
            self.fail_json(msg=str(wrong) if wrong else found.error_messages[0])
        self.params, self.check_mode, self._diff = found.validated_parameters, False, False
        self.no_log_values = set()

    def run_command(self, command, **_more):
        raise Looked(command)

    def fail_json(self, msg, **more):
        raise Refused(msg, more)


@pytest.fixture
def call(monkeypatch):
    """A function call(name, arguments) that returns what became of a module's call: refused, with the message, or taken."""
    monkeypatch.setattr(deps, "require", lambda module, *names: None)
    monkeypatch.setattr(daemon, "libvirt", Host())

    def until_it_looks(module, build, *_parts):
        try:
            build(Host())
        except VirtnetError as error:
            module.fail_json(**error.as_result())
        raise Looked("it is built")

    for name in ("run_module", "plan_module"):
        monkeypatch.setattr(engine, name, until_it_looks)

    def once(name, arguments):
        code = importlib.import_module(f"ansible_collections.virtnet.kvm.plugins.modules.{name}")
        kind = type("Called", (Module,), {"given": arguments})
        for attribute in ("GuestModule", "Module"):
            if hasattr(code, attribute):
                monkeypatch.setattr(code, attribute, kind)
        for attribute in ("run_module", "plan_module"):
            if hasattr(code, attribute):
                monkeypatch.setattr(code, attribute, until_it_looks)
        try:
            code.main()
        except Refused as refusal:
            return refusal.args
        except Looked:
            return None
        raise AssertionError("it neither refused nor looked at the host")

    return once


def spec_of(name):
    """Return a module's argument spec, without what names files of this machine, which are not to be read."""
    spec, _rules = module_specs.spec_of(name)
    return {key: rule for key, rule in spec.items() if key not in ("src", "user_data")}


HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=80, deadline=None, suppress_health_check=HEALTH, derandomize=True)
@given(data=st.data())
def test_a_module_refuses_or_takes_what_it_is_given(call, name, data):
    arguments = data.draw(options(spec_of(name)))
    refused = call(name, arguments)
    event("taken" if refused is None else "refused")
    if refused is not None:
        assert isinstance(refused[0], str) and refused[0] and "Traceback" not in refused[0]


@functools.cache
def networks():
    return network_options()


def plausible(item):
    """Return a network that has what every network needs, so that more of the rest is looked at."""
    return {"addresses": ["10.1.2.1/24"], "name": "lab", **copy.deepcopy(item)}


@settings(max_examples=200, deadline=None, suppress_health_check=HEALTH, derandomize=True)
@given(item=st.deferred(lambda: options({key: one for key, one in networks().items() if key not in ("state", "addresses")})))
def test_what_a_network_takes_makes_no_element_and_no_rule_of_its_own(item):
    event("taken" if _outputs(plausible({**item, "model": item.get("model") or "nat"})) else "refused")


@pytest.mark.parametrize("text", [*NASTY, *USUAL])
@pytest.mark.parametrize("name", MODULES)
def test_every_text_in_every_place(call, name, text):
    """Each text in each option that is a text, one at a time, the required ones beside it."""
    for arguments in placed(spec_of(name), text):
        refused = call(name, arguments)
        assert refused is None or "Traceback" not in refused[0]


@pytest.mark.parametrize("text", NASTY)
def test_no_text_of_a_network_makes_an_element_or_a_rule(text):
    for item in placed(networks(), text):
        _outputs(plausible({**item, "model": item.get("model") or "nat"}))


def _outputs(item):
    """Look at what the module would tell libvirt and the kernel of a network; return whether it was taken."""
    try:
        spec = {"networks": {"type": "list", "elements": "dict", "options": networks()}}
        taken = wrong_options.checked(spec, {"networks": [item]})
        [network] = models.parse_networks(taken["networks"])
        tree = definition.edit(network)
        texts = ruleset.tables([network], {})
    except VirtnetError:
        return False
    assert not [node.tag for node in tree.iter() if "inj" in str(node.tag)]
    # Of a rule nothing is left but words between quotation marks, which end with their line.
    for line in "\n".join(texts).splitlines():
        bare = re.sub(r'"[^"]*"', "", re.sub(r"#.*", "", line))
        assert "inj" not in bare and bare.count('"') == 0, line
    return True


#: Options that are words for a file, a command's input or a configuration, read line by line.
LINE_BY_LINE = (("taps", "tap_iface"), ("bridges", "host_bridge"), ("interfaces", "host_iface"), ("vxlans", "vxlan_iface"))


def _words(found):
    if isinstance(found, dict):
        return [word for key, one in found.items() for word in (*_words(key), *_words(one))]
    if isinstance(found, (list, tuple, set)):
        return [word for one in found for word in _words(one)]
    if dataclasses.is_dataclass(found):
        return _words([getattr(found, one.name) for one in dataclasses.fields(found)])
    return [found] if isinstance(found, str) else []


@pytest.mark.parametrize("text", NASTY)
def test_what_goes_into_lines_has_no_end_of_line(text):
    for kind, name in LINE_BY_LINE:
        for arguments in placed(spec_of(name), text):
            with contextlib.suppress(VirtnetError):
                for item in declared.parse(_validated(name, arguments).get(kind, []), kind):
                    # Users and groups are looked up before they get anywhere.
                    for key in ("owner", "group"):
                        item.values.pop(key, None)
                    assert not [word for word in _words(item) if CONTROL.search(word)], (name, arguments)
    for arguments in placed(spec_of("frr_bgp"), text):
        with contextlib.suppress(VirtnetError):
            found = speaker.parse({"state": "present", **_validated("frr_bgp", {**arguments, "asn": 64512})})
            assert not [word for word in _words(found) if CONTROL.search(word) or "inj" in word], arguments


#: Control characters, and what some take for an end of line.
CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


def _validated(name, arguments):
    """Return the arguments as the module would see them; none if Ansible would not let them through."""
    found = ArgumentSpecValidator(spec_of(name)).validate(copy.deepcopy(arguments))
    return {} if found.error_messages else found.validated_parameters


def placed(spec, text):
    """Yield arguments with a text in one place."""
    must = {key: usual(rule, key) for key, rule in spec.items() if rule.get("required")}
    for key, rule in spec.items():
        kind, elements = rule.get("type", "str"), rule.get("elements", "str")
        if kind in ("str", "raw"):
            yield {**must, key: text}
        elif kind == "list" and elements in ("str", "raw"):
            yield {**must, key: [text]}
        elif "options" in rule:
            for inner in placed(rule["options"], text):
                yield {**must, key: [inner] if kind == "list" else inner}


def usual(rule, key):
    """Return a usual value of a required option."""
    if rule.get("choices"):
        return rule["choices"][0]
    kind = rule.get("type", "str")
    if kind == "list":
        inner = {one: usual(each, one) for one, each in rule.get("options", {}).items() if each.get("required")}
        return [inner] if "options" in rule else [usual({"type": rule.get("elements", "str")}, key)]
    words = {"name": "lab0", "network": "lab", "to": "10.1.3.0/24", "mac": "52:54:00:00:00:01", "address": "10.1.2.9"}
    return {"int": 7, "bool": True, "dict": {}}.get(kind, words.get(key, "10.1.2.9"))


@pytest.mark.parametrize("text", [one for one in (*NASTY, "9" * 30, "\ud800") if one not in ("", "0", "٣")])
def test_a_user_or_group_that_is_none(text):
    for look_up, what in ((taps._user, "user"), (taps._group, "group")):
        with pytest.raises(InvalidInput, match=f"there is no {what} "):
            look_up(text, "taps[0]", "tap0")


def test_huge_lists(call):
    many = [
        {"name": f"n{number}", "model": "nat", "addresses": [f"10.{number // 250}.{number % 250}.1/24"]} for number in range(3000)
    ]
    assert call("virt_net_model", {"networks": many}) is None
    refused = call("virt_net_model", {"networks": [*many, dict(many[0])]})
    assert refused and refused[0].startswith("networks[3000].name: n0")
    assert call("tap_iface", {"taps": [{"name": f"t{number}"} for number in range(3000)]}) is None


def test_the_harness_sees_a_traceback(call, monkeypatch):
    monkeypatch.setattr(models, "parse_networks", lambda *_: SimpleNamespace().missing)
    with pytest.raises(AttributeError):
        call("virt_net_model", {"networks": []})
