# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps on the lab's hosts: boot them, a scenario on them, evidence if it fails, `make lab` as a newcomer has it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import yaml

from suite import host_coverage
from suite.commands import (
    BUILD,
    JUNIT,
    LAB,
    LOGS,
    ROOT,
    SCENARIOS,
    Counts,
    Log,
    Step,
    StepFailedError,
    junit_counts,
    pytest_step,
    stopping,
)
from suite.report import tables
from suite.static import INSTALLED, install

NEW_LAB = f"{LAB}new"

# Scenarios that only `--full` runs; all others are the covering set.
LONG_SCENARIOS: frozenset[str] = frozenset(
    {
        "article", "explain", "fleet", "foreign", "guides", "include_in_play", "isolated", "links", "live", "multi_host",
        "readme", "template", "vlans", "vxlan",
    }
)
# Seconds that a scenario may take, where the usual do not do. The host of vlans is a guest without KVM, which restarts a dozen
# times.
LIMITS = {
    "explain": 2700, "faults": 3600, "foreign": 2400, "guides": 3600, "modules": 2400, "readme": 2700, "vlans": 4500,
    "vxlan": 2400,
}
# Scenarios whose tests are a matrix, of which they choose a covering set themselves unless VIRTNET_TEST_MATRIX is set: seconds
# that the whole of it may take.
MATRICES = {"bridged": 1500, "contract": 600, "faults": 14400, "guard": 1500, "managers": 4500, "modules": 4500, "routed": 1500}
# Matrices of hours: each file of tests is a step of its own, in a group of the matrix' name, for --resume and --shard.
PARTED = frozenset({"faults"})

# Scenarios that run on one of the KVM hosts, unless the whole matrix is asked for: four_models has their models on both, and
# what is between two hosts.
ONE_HOST = {"bridged": "kvm2", "routed": "kvm1"}

# Seconds on two processors, where a scenario's are not the usual 300, or those of a part of a matrix not one part of half of its
# limit: the dearest begins first, so that no lab waits for another at the end.
COSTS = {
    "article": 600, "bridged": 250, "contract": 70, "faults": 140, "four_models": 370, "guard": 380, "kvm_host": 40,
    "managers": 400, "modules": 485, "readme": 900, "routed": 400, "vlans": 1800,
    "matrix-faults-daemons": 800, "matrix-faults-disks": 1500, "matrix-faults-killed": 3600, "matrix-faults-long_life": 480,
    "matrix-faults-security": 200, "matrix-faults-together": 200, "matrix-faults-uplink": 200,
}


def own_lab(lab: str = LAB) -> str:
    """The lab of a scenario that has hosts of its own, which stand in its vars/hosts.yml (variables of the role lab_hosts).

    `lab` is the shared one whose turn it is.
    """
    return f"{lab}own"


# Steps after which the hosts are not as before, through no fault of ours: the next one gets new ones.
USED_UP = frozenset({"molecule-foreign", "matrix-faults-uplink"})

# Scenarios that make the hosts anew for their tests, which are not measured then (--coverage).
REMAKES_HOSTS = frozenset({"managers"})

# Scenarios that run from the installed tarball, all others from the checkout.
FROM_ARTIFACT = frozenset({"nat"})

# How much of a host's state after a failure is printed; all of it is in a file, which a CI machine may not keep.
EVIDENCE_LINES = 600

INFRASTRUCTURE = ("lab-image", "lab-up", "lab-down")


# What of the modules' code runs on the hosts, if that was asked for: of how many runs.
measured: list[int] = []


# The labs whose hosts the scenarios share, each of which has one scenario at a time: a scenario mostly waits, for guests to boot
# and for SSH, so that two take the processors that one leaves idle.
labs: list[str] = [LAB]
# Memory that a lab with its guests may take, MiB.
LAB_MIB = 6144
# A scenario that failed may have left the hosts of its lab in any state: the next one gets new ones.
spoilt: set[str] = set()
# With --keep they are for somebody to look at, and nothing runs on them any more.
keeping = threading.Event()
kept: list[str] = []


def print_coverage() -> None:
    """What units and hosts together run of module_utils; the table is a file, what is below 90 % is printed."""
    table = host_coverage.combine([str(BUILD / "venv-coverage" / "bin/python")], BUILD, ROOT / "plugins" / "module_utils")
    (BUILD / "coverage.txt").write_text(table)
    little = [line for line in table.splitlines() if re.match(r"TOTAL |\S+\.py .*\s[0-8]?\d%$", line)]
    print(f"module_utils, by the unit tests and by {sum(measured)} runs of modules on hosts:")
    print("".join(f"    | {line}\n" for line in little) + f"    | all of it: {BUILD / 'coverage.txt'}", flush=True)


def newcomer(log: Log) -> Counts:
    """What the README promises: `make lab` twice, the second time without a change, and `make lab-down` leaves nothing."""
    name = NEW_LAB
    make = ["make", "--no-print-directory", f"LAB={name}"]
    counts = Counts()
    # A newcomer has none that an earlier run left.
    log.command(*lab_program("down", lab=name))
    try:
        log.command(*make, "lab")
        counts.passed += 1
        log.command(*make, "lab")
        recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", log.text().rpartition("PLAY RECAP")[2], flags=re.MULTILINE)
        changed = [host for host, number in recap if number != "0"]
        log.write(f"changed on the second run: {changed or 'nothing'}")
        counts += Counts(int(bool(recap) and not changed), int(not recap or bool(changed)))
    finally:
        log.command(*make, "lab-down", check=False, at_least=120)
    left = leftovers(name)
    log.write("\n".join(left) or "nothing is left")
    return counts + Counts(int(not left), int(bool(left)))


def lab_program(*arguments: str, lab: str = LAB) -> list[str]:
    path = ROOT / "roles/lab_hosts/files"
    return ["env", f"PYTHONPATH={path}", sys.executable, "-m", "virtnet_lab", "--lab", lab, *arguments]


def labs_of(steps: Iterable[Step]) -> set[str]:
    """The labs that such steps boot hosts in."""
    found = set()
    for step in steps:
        own = (SCENARIOS / step.name.removeprefix("molecule-") / "vars" / "hosts.yml").is_file()
        found |= set(labs) if step.lab else set()
        found |= ({own_lab(lab) for lab in labs} if own else set()) | ({NEW_LAB} if step.name == "newcomer" else set())
    return found


def labs_that_fit(most: int = 2) -> int:
    """How many labs this machine has processors and free memory for, one at least."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free_mib = int(meminfo["MemAvailable"].split()[0]) // 1024
    return max(1, min(most, os.cpu_count() or 1, free_mib // LAB_MIB))


def molecule_environment(scenario: str, lab: str = LAB) -> dict[str, str]:
    """A folder of its own for each scenario: with a shared one Molecule prepares only the first."""
    folder = BUILD / "molecule" / lab / scenario
    folder.mkdir(parents=True, exist_ok=True)
    # Where the labs' playbooks write their proof: scenarios of two labs run side by side.
    return {"MOLECULE_EPHEMERAL_DIRECTORY": str(folder), "PWD": str(folder)}


def lab_image(log: Log) -> None:
    log.command(*lab_program("preflight"))
    log.command(*lab_program("image"))


def lab_up(log: Log, anew: bool = True) -> None:
    """Boot the hosts of all shared labs."""
    for lab in labs:
        boot(log, lab, anew)


def boot(log: Log, lab: str, anew: bool = True) -> None:
    """Boot the hosts of a lab; `anew` without what an earlier run that was killed has left on them, its networks and all."""
    if anew:
        log.command(*lab_program("down", lab=lab))
    # What Molecule remembers is of that run, too.
    shutil.rmtree(BUILD / "molecule" / lab, ignore_errors=True)
    log.command("molecule", "create", "-s", "default", env=molecule_environment("default", lab) | {"VIRTNET_TEST_LAB": lab})


def keep(scenario: str, lab: str) -> None:
    """Leave the hosts of a scenario that failed as they are, if that was asked for; say how to get at them."""
    if keeping.is_set() and not kept:
        kept.append(
            f"the hosts of molecule-{scenario} are as it left them: make lab-shell LAB={lab} HOST=kvm1; inventory: "
            f"/var/lib/virtnet-lab/{lab}/inventory.yml; make lab-down LAB={lab} removes them"
        )


def molecule(log: Log, scenario: str, whole: bool = False, file: str = "") -> Counts:
    hosts = SCENARIOS / scenario / "vars" / "hosts.yml"
    if hosts.is_file():
        return molecule_with_own_lab(log, scenario, hosts)
    if log.lab in spoilt:
        boot(log, log.lab)
        spoilt.discard(log.lab)
    env = molecule_environment(scenario, log.lab)
    if scenario in FROM_ARTIFACT:
        install(log)
        env["ANSIBLE_COLLECTIONS_PATH"] = str(INSTALLED)
    if whole:
        env |= {"VIRTNET_TEST_MATRIX": "whole", "VIRTNET_TEST_FILE": file}
    elif scenario in ONE_HOST:
        env["VIRTNET_TEST_INVENTORY"] = inventory_with(ONE_HOST[scenario], log.lab)
    hosts_measured = host_coverage.Hosts(log.lab, BUILD, [sys.executable, "-m", "pip"]) if measured else None
    if hosts_measured and scenario in REMAKES_HOSTS:
        hosts_measured = hosts_measured.leave_alone()
    if hosts_measured:
        hosts_measured.prepare()
    counts = run_scenario(log, scenario, env)
    if hosts_measured:
        measured.append(hosts_measured.fetch())
        log.write(f"measured on hosts: {measured[-1]} runs of modules")
    if counts.failed:
        evidence(log, scenario, log.lab)
        keep(scenario, log.lab)
    if counts.failed or log.path.stem in USED_UP:
        spoilt.add(log.lab)
    return counts


def inventory_with(host: str, lab: str) -> str:
    """Write the lab's inventory with one of its KVM hosts only, beside it; return the file's name."""
    folder = Path("/var/lib/virtnet-lab") / lab
    tree = yaml.safe_load((folder / "inventory.yml").read_text())
    hosts = tree["all"]["children"]["kvm_hosts"]["hosts"]
    tree["all"]["children"]["kvm_hosts"]["hosts"] = {host: hosts[host]}
    path = folder / f"inventory-{host}.yml"
    path.write_text(yaml.safe_dump(tree))
    return path.name


def molecule_with_own_lab(log: Log, scenario: str, hosts: Path) -> Counts:
    """Run a scenario on hosts of its own, which are there for it alone; the shared ones stay up, and idle."""
    own = own_lab(log.lab)
    log.command(*lab_program("down", lab=own))
    shutil.rmtree(BUILD / "molecule" / own, ignore_errors=True)
    # Molecule has the scenario 'default' make the hosts, which reads who they are.
    env = molecule_environment(scenario, own) | {"VIRTNET_TEST_LAB": own, "VIRTNET_TEST_HOSTS": str(hosts)}
    try:
        log.command("molecule", "create", "-s", "default", env=env)
        counts = run_scenario(log, scenario, env)
        if counts.failed:
            evidence(log, scenario, own)
            keep(scenario, own)
    finally:
        if not kept:
            log.command(*lab_program("down", lab=own), check=False, at_least=120)
    left = [] if kept else leftovers(own)
    log.write("\n".join(left) or "nothing is left")
    return counts + Counts(int(not left), int(bool(left)))


def run_scenario(log: Log, scenario: str, env: dict[str, str]) -> Counts:
    # Two parts of one scenario's matrix may run side by side.
    report = JUNIT / f"{log.path.stem}.xml"
    report.unlink(missing_ok=True)
    env = env | {"PYTEST_ADDOPTS": f"--junit-xml={report} -o junit_family=xunit2"}
    status = log.command("molecule", "test", "-s", scenario, "--destroy=never", env=env, check=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.text())
    print("".join(f"    | {line}\n" for line in tables(text)), end="", flush=True)
    ended = re.findall(rf"\[{re.escape(scenario)} \S (\w+)\] Executed: (\w+)", text)
    actions = [(action, end) for action, end in ended if action != "verify"]
    tests = junit_counts(report)
    counts = tests + Counts(
        sum(end == "Successful" for _action, end in actions), sum(end == "Failed" for _action, end in actions)
    )
    if status and not counts.failed:
        counts.failed = 1
    if not status and not tests.passed and (SCENARIOS / scenario / "tests").is_dir():
        log.write("no test ran on the hosts: the verifier found none, or its inventory is empty")
        counts.failed += 1
    return counts


def evidence(log: Log, scenario: str, lab: str) -> None:
    """Keep, and print, what the hosts are like now that a scenario has failed on them; SSH may be what failed."""
    status = lab_program("status", lab=lab)
    listing = subprocess.run(status, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    script = (ROOT / "tests/evidence.sh").read_text()
    for line in listing.stdout.splitlines():
        name, kind = line.split()[:2]
        if kind != "kvm":
            continue
        path = LOGS / f"evidence-{log.path.stem.removeprefix('molecule-')}-{name}.log"
        with path.open("wb") as handle, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                lab_program("exec", name, "--", "bash", "-c", script, lab=lab), check=False, stdin=subprocess.DEVNULL,
                stdout=handle, stderr=subprocess.STDOUT, timeout=120,
            )
        print(f"--- {name} after molecule-{scenario} failed (also in {path})")
        print("\n".join(f"    | {one}" for one in path.read_text(errors="replace").splitlines()[:EVIDENCE_LINES]), flush=True)


def lab_tests(log: Log) -> Counts:
    inventory = f"/var/lib/virtnet-lab/{log.lab}/inventory.yml"
    return pytest_step(log, "integration", "-q", "tests/integration", env={"VIRTNET_LAB_INVENTORY": inventory})


def leftovers(name: str) -> list[str]:
    """What a lab that was taken down has left: namespaces, mounts, state, processes."""
    left = []
    with contextlib.suppress(FileNotFoundError):
        left += [f"namespace {entry}" for entry in os.listdir("/run/netns") if re.match(rf"{re.escape(name)}([-.]|$)", entry)]
    state = f"/var/lib/virtnet-lab/{name}"
    left += [f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines() if f"{state}/" in line]
    if os.path.exists(state):
        left.append(f"folder {state}")
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{state}/" in line and folder.name != str(os.getpid()):
                left.append(f"process {folder.name}: {line[:120]}")
    return left


def lab_down(log: Log) -> None:
    """Remove the hosts of all shared labs; raise if anything of them is left."""
    left = []
    for lab in labs:
        if (SCENARIOS / "default" / "destroy.yml").is_file() and not stopping.is_set():
            env = molecule_environment("default", lab) | {"VIRTNET_TEST_LAB": lab}
            log.command("molecule", "destroy", "-s", "default", env=env, check=False)
        log.command(*lab_program("down", lab=lab))
        shutil.rmtree(BUILD / "molecule" / lab, ignore_errors=True)
        left += leftovers(lab)
    if left:
        raise StepFailedError("the lab left something behind:\n" + "\n".join(left))
