# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps: those that need no host one after another, beside them those on hosts, one at a time in each lab."""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import signal
import subprocess
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from suite.commands import LAB, LOGS, STATE, Counts, Log, Step, StepFailedError, fingerprint, running, stop, stopping
from suite.hosts import INFRASTRUCTURE, kept, lab_program, labs, labs_of, measured, print_coverage
from suite.report import gist, tables


class Runner:
    def __init__(self, steps: list[Step], options: argparse.Namespace) -> None:
        self.steps = steps
        self.options = options
        self.results: dict[str, Counts] = {}
        self.gists: dict[str, list[str]] = {}
        self.current: dict[str, tuple[float, Log]] = {}
        self.threads = ThreadPoolExecutor(1 + len(labs))
        self.lock = threading.Lock()
        self.end = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
        self.fingerprint = fingerprint()
        self.remembered: dict[str, list[int]] = {}
        if STATE.is_file():
            with contextlib.suppress(ValueError):
                state = json.loads(STATE.read_text())
                if state.get("fingerprint") == self.fingerprint:
                    self.remembered = state["passed"]

    def remember(self, step: Step, counts: Counts) -> None:
        if step.name in INFRASTRUCTURE or counts.failed:
            self.remembered.pop(step.name, None)
        else:
            self.remembered[step.name] = [counts.passed, counts.failed, counts.skipped]
        temporary = STATE.with_suffix(".tmp")
        temporary.write_text(json.dumps({"fingerprint": self.fingerprint, "passed": self.remembered}))
        temporary.replace(STATE)

    def say(self, step: Step, end: str, detail: str, seconds: float | None = None) -> None:
        number = [one.name for one in self.steps].index(step.name) + 1
        took = "" if seconds is None else f"{seconds:6.1f} s"
        print(f"[{number:2}/{len(self.steps)}] {step.name:<16} {end:<7} {took:>9}  {detail}".rstrip(), flush=True)

    def one(self, step: Step, lab: str = LAB) -> Counts:
        if stopping.is_set() and step.name != "lab-down":
            return Counts()
        if kept and step.lab:
            return self.leave_out(step, Counts(skipped=1), "left", "the hosts are kept")
        began = time.monotonic()
        log = Log(step.name, min(began + step.limit, max(self.end, began + 60)), lab)
        with self.lock:
            self.current[step.name] = (began, log)
        trouble = ""
        try:
            if began > self.end and step.name != "lab-down":
                raise StepFailedError("no time left for it")
            counts = step.run(log) or Counts(passed=1)
        except StepFailedError as error:
            trouble, counts = str(error), Counts(failed=1)
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            trouble, counts = f"{type(error).__name__}: {error}", Counts(failed=1)
        if stopping.is_set() and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        if trouble:
            log.write(trouble)
        seconds = time.monotonic() - began
        with self.lock:
            del self.current[step.name]
            self.results[step.name] = counts
            if not (stopping.is_set() and counts.failed):
                self.remember(step, counts)
            self.say(step, "FAILED" if counts.failed else "ok", str(counts), seconds)
            if counts.failed:
                self.gists[step.name] = gist(log.text())
                lines = log.text().strip().splitlines()[-self.options.lines:]
                print("\n".join(f"    | {line}" for line in lines) + f"\n    | all of it: {log.path}", flush=True)
        return counts

    def lane(self, steps: list[Step]) -> None:
        """Run steps that need no hosts, or remove them, one after another."""
        for step in steps:
            self.one(step)

    def leave_out(self, step: Step, counts: Counts, end: str, why: str) -> Counts:
        with self.lock:
            self.results[step.name] = counts
            self.say(step, end, why)
        return counts

    def on_hosts(self, steps: list[Step]) -> None:
        """Run steps on the shared labs, one at a time in each, the dearest first; wait for the last one."""
        queue = collections.deque(sorted(steps, key=lambda step: -step.cost) if len(labs) > 1 else steps)

        def work(lab: str) -> None:
            while True:
                try:
                    step = queue.popleft()
                except IndexError:
                    return
                self.one(step, lab)

        self.wait_for([self.threads.submit(work, lab) for lab in labs])

    @staticmethod
    def wait_for(futures: list[Future[None]]) -> None:
        """Wait so that an interruption comes through; raise what one of them ended with, a fault of this program."""
        for future in futures:
            while not future.done():
                with contextlib.suppress(TimeoutError):
                    future.exception(0.2)
        for future in futures:
            future.result()
        if stopping.is_set():
            raise KeyboardInterrupt

    def heartbeat(self, done: threading.Event) -> None:
        while not done.wait(30):
            with self.lock:
                for name, (began, log) in self.current.items():
                    if time.monotonic() - began > 25:
                        print(f"        {name} … {time.monotonic() - began:.0f} s  {log.last_line()}", flush=True)

    def run(self) -> int:
        todo = []
        for step in self.steps:
            if self.options.resume and step.name in self.remembered:
                self.results[step.name] = Counts(*self.remembered[step.name])
                self.say(step, "ok", f"{self.results[step.name]} (from an earlier run)")
                with contextlib.suppress(OSError):
                    print("".join(f"    | {line}\n" for line in tables((LOGS / f"{step.name}.log").read_text())), end="")
            else:
                todo.append(step)
        if not any(step.lab and step.name not in INFRASTRUCTURE for step in todo) and not self.options.only:
            todo = [step for step in todo if step.name not in INFRASTRUCTURE]
        static = [step for step in todo if not step.lab and step.name != "newcomer"]
        first, last = ([step for step in todo if step.name in names] for names in (("lab-image", "lab-up"), ("lab-down",)))
        rest = [step for step in todo if step not in [*static, *first, *last]]
        done = threading.Event()
        threading.Thread(target=self.heartbeat, args=(done,), daemon=True).start()
        try:
            checks = self.threads.submit(self.lane, static)
            broken = ""
            for step in first:
                if broken:
                    self.leave_out(step, Counts(failed=1), "FAILED", broken)
                elif self.one(step).failed:
                    broken = {"lab-image": "there is no host image", "lab-up": "the lab is not up"}[step.name]
            for step in [step for step in rest if broken and step.lab]:
                self.leave_out(step, Counts(failed=1), "FAILED", broken)
                rest.remove(step)
            self.on_hosts(rest)
            self.lane(last)
            self.wait_for([checks])
        except KeyboardInterrupt:
            stopping.set()
            print("\ninterrupted: ending what runs, removing the lab", flush=True)
            for process in list(running):
                stop(process)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            for lab in labs_of(todo):
                if lab not in labs or not self.options.keep_lab:
                    subprocess.run(lab_program("down", lab=lab), check=False, stdin=subprocess.DEVNULL)
            return 130
        finally:
            done.set()
        total = sum(self.results.values(), Counts())
        failed = [name for name, counts in self.results.items() if counts.failed]
        for name, lines in self.gists.items():
            print(f"--- {name} failed, in short")
            print("\n".join(f"    | {line}" for line in lines))
        if failed:
            print(f"failed: {', '.join(failed)}")
        if measured and self.results.get("coverage", Counts()).passed:
            print_coverage()
        print("".join(f"{line}\n" for line in kept) + str(total))
        return 1 if total.failed or not total.passed else 0
