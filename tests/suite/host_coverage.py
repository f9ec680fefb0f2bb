# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much of module_utils the modules run on the lab's hosts, beside what the unit tests do.

Ansible starts coverage.py in a module's process itself, as ansible-test has it do: for hosts with the variable OPTIONS.
The hosts reach no package index, so coverage.py is brought to them, for their own Python; a module that is killed is not counted.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

#: On a host: the configuration, and a file for each module's run.
PLACE = "/var/tmp/virtnet-coverage"
OPTIONS = {"_ansible_ansiballz_coverage_config": {"config": f"{PLACE}/config", "output": f"{PLACE}/data/module"}}
CONFIG = "[run]\nbranch = true\nparallel = true\ninclude = */plugins/module_utils/*\n"
#: In a module's process the files are in Ansible's archive, which has some that Ansible makes up.
PATHS = "[run]\nbranch = true\n[paths]\nsource =\n    {utils}\n    */plugins/module_utils\n[report]\nignore_errors = true\n"


class Hosts:
    """The hosts of a lab, over the lab's own SSH."""

    def __init__(self, lab: str, build: Path, pip: list[str]) -> None:
        self.folder, self.build, self.pip = Path("/var/lib/virtnet-lab") / lab, build, pip

    def names(self) -> Iterator[str]:
        groups = yaml.safe_load((self.folder / "inventory.yml").read_text())["all"]["children"]
        for group in groups.values():
            yield from group["hosts"]

    def run(self, host: str, command: str, data: bytes = b"") -> bytes:
        argv = ["ssh", "-F", str(self.folder / "ssh" / "config"), host, command]
        return subprocess.run(argv, input=data, stdout=subprocess.PIPE, check=True).stdout

    def prepare(self) -> None:
        """Bring coverage.py to the hosts, and have their modules measured."""
        for host in self.names():
            ask = "import site, sys; print(*sys.version_info[:2], site.getsitepackages()[0])"
            major, minor, place = self.run(host, f'python3 -c "{ask}"').decode().split()
            package = self.package(f"{major}.{minor}")
            tar = subprocess.run(["tar", "-cf", "-", "-C", str(package), "coverage"], stdout=subprocess.PIPE, check=True).stdout
            self.run(host, f"mkdir -p {place} && tar -xf - -C {place}", tar)
            self.run(host, f"mkdir -p {PLACE}/data && cat > {PLACE}/config", CONFIG.encode())
            # Beside the inventory, which is written anew; the controller is none of them.
            variables = self.folder / "host_vars"
            variables.mkdir(exist_ok=True)
            (variables / f"{host}.yml").write_text(yaml.safe_dump(OPTIONS))

    def leave_alone(self) -> None:
        """Have nothing measured on the hosts until they are prepared again."""
        shutil.rmtree(self.folder / "host_vars", ignore_errors=True)

    def package(self, version: str) -> Path:
        """Return a folder with coverage.py for that Python."""
        place = self.build / f"coverage-{version}"
        if not (place / "coverage").is_dir():
            what = ["--quiet", "--target", str(place), "--python-version", version, "--only-binary=:all:", "coverage>=7"]
            subprocess.run([*self.pip, "install", *what], check=True, stdin=subprocess.DEVNULL)
        return place

    def fetch(self) -> int:
        """Take what was measured from the hosts; return of how many runs."""
        before = len(list((self.build / "coverage-hosts").rglob("module=*")))
        for host in self.names():
            target = self.build / "coverage-hosts" / host
            target.mkdir(parents=True, exist_ok=True)
            tar = self.run(host, f"cd {PLACE}/data && tar -cf - . && rm -rf {PLACE}/data/*")
            subprocess.run(["tar", "-xf", "-", "-C", str(target)], input=tar, check=True)
        return len(list((self.build / "coverage-hosts").rglob("module=*"))) - before


def combine(python: list[str], build: Path, utils: Path) -> str:
    """Put what the units and the hosts ran together; return coverage.py's table, the least covered first."""
    config, data = build / "coverage-paths", build / "coverage-all"
    config.write_text(PATHS.format(utils=utils))
    found = [str(path) for path in [build / "coverage", *sorted((build / "coverage-hosts").rglob("module=*"))]]
    coverage = [*python, "-m", "coverage"]
    options = [f"--rcfile={config}", f"--data-file={data}"]
    subprocess.run([*coverage, "combine", *options, "--keep", "-q", *found], check=True)
    return subprocess.run(
        [*coverage, "report", *options, "--sort=cover", "--skip-empty"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
