# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of `make test`, each with its log in .build/logs; a failure does not stop the others.

Static checks run one after another, beside the building of the lab's host image and beside what runs on hosts. Of that, one step
at a time runs in each of two labs, if the machine has room for two. They are removed at the end, however that comes. The last
line counts tests: pytest's and testinfra's, sanity's, Molecule's actions; every other check is one.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import re
import shutil
import signal
import sys

from suite import full, hosts, static
from suite.commands import BUILD, COLLECTION, JUNIT, LOGS, ROOT, SCENARIOS, Step
from suite.runner import Runner


def all_steps() -> list[Step]:
    steps = [
        Step("ruff", "Python style and likely bugs", static.ruff, 2, ("lint", "quick", "static")),
        Step("mypy", "types", static.mypy, 20, ("lint", "quick", "static")),
        Step("yamllint", "YAML", static.yamllint, 3, ("lint", "quick", "static")),
        Step("scripts", "shell scripts parse", static.scripts, 1, ("lint", "quick", "static")),
        Step("headers", "every file says its licence", static.headers, 1, ("lint", "quick", "static")),
        Step("changelog", "changelog fragments", static.changelog, 2, ("lint", "quick", "static")),
        Step("roles", "roles are whole, playbooks parse", static.roles, 10, ("lint", "static")),
        Step("ansible-lint", "production profile", static.ansible_lint, 30, ("lint", "static")),
        Step("docs", "documentation of plugins and roles, the site", static.docs, 60, ("static",)),
        Step("build", "tarball, installed, imported", static.build, 15, ("static",)),
        Step("units", "unit tests", static.units, 60, ("quick", "static"), limit=1800),
        Step("sanity", "ansible-test sanity", static.sanity, 90, ("static",), limit=900),
        Step("units-slow", "unit tests marked slow", full.units_slow, 60, ("static",), full=True, limit=1800),
        Step("sanity-targets", "import and compile on other Pythons", full.sanity_targets, 120, ("static",), full=True,
             limit=1800),
        Step("core-2.16", "units and playbooks under ansible-core 2.16", functools.partial(full.other_core, version="2.16"), 60,
             ("static",), full=True),
        Step("core-2.18", "units and playbooks under ansible-core 2.18", functools.partial(full.other_core, version="2.18"), 60,
             ("static",), full=True),
        Step("sanity-2.16", "ansible-test sanity of ansible-core 2.16",
             functools.partial(full.sanity_of_core, core="ansible-core==2.16.*", oldest=10, newest=12), 240, ("static",),
             full=True, limit=1800),
        Step("sanity-newest", "ansible-test sanity of the newest ansible-core",
             functools.partial(full.sanity_of_core, core="ansible-core", oldest=12, newest=14), 240, ("static",), full=True,
             limit=1800),
        Step("coverage", "what of module_utils the unit tests run", full.coverage, 120, ("static",), full=True, limit=1800),
        Step("importer", "Galaxy's import", full.importer, 90, ("static",), full=True, limit=900),
        Step("nox", "the checks of antsibull-nox", full.nox, 240, ("static",), full=True, limit=1800),
        Step("execution-env", "ansible-builder takes the definition", full.execution_environment, 60, ("static",), full=True),
        Step("lab-image", "the hosts' root file systems", hosts.lab_image, 120, ("lab",), lab=True, limit=1200),
        Step("lab-up", "boot the hosts", hosts.lab_up, 40, ("lab",), lab=True, limit=900),
    ]
    for folder in sorted(SCENARIOS.glob("*/molecule.yml")):
        name = folder.parent.name
        if name != "default":
            run = functools.partial(hosts.molecule, scenario=name)
            long = name in hosts.LONG_SCENARIOS
            says, limit = f"scenario {name} on the hosts", hosts.LIMITS.get(name, 1500)
            cost = hosts.COSTS.get(name, 300)
            steps.append(Step(f"molecule-{name}", says, run, cost, ("molecule",), full=long, lab=True, limit=limit))
            files = [path.stem for path in sorted(folder.parent.glob("tests/test_*.py"))] if name in hosts.PARTED else [""]
            for file in files if name in hosts.MATRICES else []:
                run = functools.partial(hosts.molecule, scenario=name, whole=True, file=file)
                says, limit = f"the whole matrix of scenario {name}" + (f", {file}.py" if file else ""), hosts.MATRICES[name]
                step = "-".join(["matrix", name, *filter(None, [file.removeprefix("test_")])])
                groups = ("molecule", f"matrix-{name}") if file else ("molecule",)
                cost = hosts.COSTS.get(step, limit // 2 // len(files))
                steps.append(Step(step, says, run, cost, groups, full=True, lab=True, limit=limit))
    if any((ROOT / "tests/integration").glob("**/test_*.py")):
        steps.append(Step("integration", "tests/integration on the hosts", hosts.lab_tests, 120, ("lab",), lab=True, limit=1500))
    steps.append(Step("lab-down", "remove the hosts, look for leftovers", hosts.lab_down, 15, ("lab",), lab=True, limit=300))
    steps.append(Step("newcomer", "make lab, again, make lab-down", hosts.newcomer, 90, limit=1500))
    return steps


def choose(options: argparse.Namespace) -> list[Step]:
    steps = all_steps()
    known = {step.name for step in steps} | {group for step in steps for group in step.groups}
    for name in [*options.only, *options.skip]:
        if name not in known:
            sys.exit(f"tests/run: there is no step or group '{name}'; --list shows them.")
    if options.only:
        steps = [step for step in steps if step.wanted(options.only, options.full)]
    elif not options.full:
        steps = [step for step in steps if not step.full or (options.coverage and step.name == "coverage")]
    steps = [step for step in steps if step.name not in options.skip and not set(step.groups) & set(options.skip)]
    if options.shard:
        steps = share(steps, *options.shard)
    # What runs on the hosts needs them; hosts that nothing runs on are not booted, unless asked for.
    on_hosts = [step for step in steps if step.lab and step.name not in hosts.INFRASTRUCTURE]
    asked = [step for step in steps if step.name in hosts.INFRASTRUCTURE] if options.only else []
    steps = [step for step in steps if step.name not in hosts.INFRASTRUCTURE]
    if on_hosts or asked:
        names = set(hosts.INFRASTRUCTURE) if on_hosts else {step.name for step in asked} | {"lab-down"}
        if options.keep_lab:
            names.discard("lab-down")
        steps += [step for step in all_steps() if step.name in names]
    if options.keep_lab:
        again = functools.partial(hosts.lab_up, anew=False)
        steps = [dataclasses.replace(step, run=again) if step.name == "lab-up" else step for step in steps]
    order = [step.name for step in all_steps()]
    return sorted(steps, key=lambda step: order.index(step.name))


def share(steps: list[Step], number: int, shards: int) -> list[Step]:
    """The steps of one shard: the dearest first, each to the shard that has least to do."""
    loads = [0] * shards
    mine = set()
    shared = (step for step in steps if step.name not in hosts.INFRASTRUCTURE)
    for step in sorted(shared, key=lambda step: (-step.cost, step.name)):
        shard = loads.index(min(loads))
        loads[shard] += step.cost
        if shard == number - 1:
            mine.add(step.name)
    return [step for step in steps if step.name in mine]


def shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError("say i/n, with i from 1 to n")
    return int(match[1]), int(match[2])


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="show the steps")
    parser.add_argument("--only", type=names, default=[], metavar="NAME,…", help="these steps or groups")
    parser.add_argument("--skip", type=names, default=[], metavar="NAME,…", help="all but these steps or groups")
    parser.add_argument("--scenario", type=names, default=[], metavar="NAME,…", help="these scenarios: nat is step molecule-nat")
    parser.add_argument("--quick", action="store_true", help="the group quick, its unit tests on all processors")
    parser.add_argument("--coverage", action="store_true", help="how much of module_utils the units, and modules on hosts, run")
    parser.add_argument("--keep", action="store_true", help="leave the hosts of a scenario that fails as they are, and end there")
    parser.add_argument("--full", action="store_true", help="what takes longer, too")
    parser.add_argument("--shard", type=shard, metavar="i/n", help="the i-th of n parts")
    parser.add_argument("--resume", action="store_true", help="leave out what passed before with the same files")
    parser.add_argument("--keep-lab", action="store_true", help="leave the test lab up at the end, begin with it if it is up")
    parser.add_argument("--labs", type=int, choices=(1, 2), help="how many labs the scenarios share (else what fits)")
    parser.add_argument("--minutes", type=float, default=0, metavar="N", help="begin nothing new after that, end what runs then")
    parser.add_argument("--lines", type=int, default=40, metavar="N", help="how much of a failed step's log to show")
    options = parser.parse_args()
    options.only += [f"molecule-{name}" for name in options.scenario] + (["quick"] if options.quick else [])
    if options.coverage:
        hosts.measured.append(0)
        shutil.rmtree(BUILD / "coverage-hosts", ignore_errors=True)
    if options.keep:
        hosts.keeping.set()
    steps = choose(options)
    on_hosts = [step for step in steps if step.name not in hosts.INFRASTRUCTURE and step.lab]
    # What is measured or kept is of one lab.
    if len(on_hosts) > 1 and not (options.keep_lab or options.keep or options.coverage):
        hosts.labs += [f"{hosts.LAB}{number}" for number in range(2, (options.labs or hosts.labs_that_fit()) + 1)]
    if options.quick:
        quick = functools.partial(static.units, workers=os.cpu_count() or 1)
        steps = [dataclasses.replace(step, run=quick) if step.name == "units" else step for step in steps]
    if options.list:
        for step in steps if options.only or options.shard else all_steps():
            print(f"  {step.name:<16} {'full' if step.full else '':<5} {' '.join(step.groups):<12} {step.says}")
        return 0
    if any(step.lab or step.name == "newcomer" for step in steps) and os.geteuid() != 0:
        if not shutil.which("sudo"):
            sys.exit("tests/run: the lab's hosts need root: run it as root, or install sudo; '--only static' needs none.")
        os.execvp("sudo", ["sudo", "-E", sys.executable, __file__, *sys.argv[1:]])
    for folder in (LOGS, JUNIT, BUILD / "ansible_collections" / "virtnet", BUILD / "ansible-tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    link = BUILD / COLLECTION
    if not link.exists():
        link.symlink_to(ROOT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    return Runner(steps, options).run()


if __name__ == "__main__":
    sys.exit(main())
