# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which option does not fit its argument spec, where it stands, and what would fit.

Ansible checks all of them, and of a list of forty networks it says that a name is missing "in networks". Here is what that
does not say. Argument specs: https://docs.ansible.com/ansible/latest/dev_guide/developing_program_flow_modules.html
"""

from __future__ import annotations

import difflib

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtnet.kvm.plugins.module_utils.errors import InvalidInput

#: Of a rule, what concerns its options among themselves.
_WITHIN = {
    "options", "apply_defaults", "mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by",
}  # fmt: skip


#: What Ansible's check itself fails with where options are expected and something else is there, such as C(dhcp: true).
UNEXPECTED = (AttributeError, KeyError, TypeError, ValueError)


def checked(spec, given):
    """Return C(given) with the types and defaults of an argument spec; raise InvalidInput for the first that does not fit."""
    try:
        found = ArgumentSpecValidator(spec).validate(given)
    except UNEXPECTED:
        wrong = first_wrong(spec, given)
        if wrong is None:
            raise
        raise wrong from None
    if found.error_messages:
        raise first_wrong(spec, given) or InvalidInput(found.error_messages[0])
    return found.validated_parameters


def first_wrong(spec, given):
    """Return InvalidInput for the first option, however deep, that does not fit an argument spec; None if each does by itself."""
    return _in_options(spec, given, "", None)


def _in_options(spec, given, path, subject):
    names = set(spec).union(*(rule.get("aliases", ()) for rule in spec.values()))
    # What Ansible itself gives to a module begins with its name.
    unknown = [str(key) for key in given if key not in names and not (not path and str(key).startswith("_ansible"))]
    if unknown:
        close = difflib.get_close_matches(unknown[0], names, n=1)
        known = f"Of {len(names)} options these" if len(names) > 1 else "This"
        cure = f"Did you mean {close[0]}?" if close else f"{known} can be set: {', '.join(sorted(names))}."
        others = f", nor {', '.join(unknown[1:])}" if unknown[1:] else ""
        return InvalidInput(f"there is no such option{others}", option=f"{path}{unknown[0]}", subject=subject, cure=cure)
    for key, rule in spec.items():
        value = given.get(key)
        if value is None:
            if rule.get("required"):
                cure = f"Give it, such as {_sample(rule)}." if _sample(rule) else "Give it."
                return InvalidInput("it is required, and missing", option=f"{path}{key}", subject=subject, cure=cure)
            continue
        wrong = _in_value(rule, value, f"{path}{key}", subject)
        if wrong:
            return wrong
    return None


def _sample(rule):
    """Return a value that fits, if there are but a few."""
    return rule["choices"][0] if rule.get("choices") else None


def _in_value(rule, value, path, subject):
    kind = rule.get("type", "str")
    if rule.get("choices") and kind == "str" and value not in rule["choices"]:
        return _no_choice(rule, value, path, subject)
    inner = _WITHIN | {"elements", "choices"} if kind == "list" else _WITHIN
    flat = {name: what for name, what in rule.items() if name not in inner}
    # It makes a dictionary of a text such as C(name=lab), and a list of C(a,b).
    taken, told = _taken(flat, value)
    if told:
        return InvalidInput(_in_short(told, rule, value), option=path, subject=subject)
    if kind == "list":
        one = {name: what for name, what in rule.items() if name not in ("elements", "default")}
        one["type"] = rule.get("elements", "raw")
        found = (_in_value(one, item, f"{path}[{place}]", _name_of(item) or subject) for place, item in enumerate(taken))
        wrong = next((wrong for wrong in found if wrong), None)
        if wrong and wrong.option == f"{path}[0]" and not isinstance(value, (list, tuple)):
            # There is no item; it was made of what stands for the whole list.
            return InvalidInput(_in_short("convert", rule, value), option=path, subject=subject)
        return wrong
    if kind == "dict" and rule.get("options"):
        wrong = _in_options(rule["options"], taken, f"{path}.", subject)
        if wrong:
            return wrong
        _taken_too, told = _taken(rule, taken)
        if told:
            return InvalidInput(told.replace(" found in it", ""), option=path, subject=subject)
    return None


def _taken(rule, value):
    """Return what Ansible makes of one value, and what it says against it, where it is called C(it)."""
    found = ArgumentSpecValidator({"it": {**rule, "required": False}}).validate({"it": value})
    return found.validated_parameters["it"], (found.error_messages or [None])[0]


def _name_of(item):
    """Return what an item of a list is called, for the reader."""
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) and name else None


def _no_choice(rule, value, path, subject):
    choices = [str(choice) for choice in rule["choices"]]
    close = difflib.get_close_matches(str(value), choices, n=1)
    cure = f"Did you mean {close[0]}? It takes" if close else "It takes"
    return InvalidInput(f"it cannot be {value!r}", option=path, subject=subject, cure=f"{cure} {', '.join(choices)}.")


def _in_short(told, rule, value):
    """Return what Ansible says of a value that is of another type; not the value where a secret may be in it."""
    kind = rule.get("type", "str")
    if "convert" not in told and not rule.get("no_log"):
        return told
    if rule.get("no_log") or rule.get("options") or isinstance(value, (dict, list, tuple)):
        return f"it must be of type {kind}, not {type(value).__name__}"
    return f"it must be of type {kind}, and {value!r} is not"
