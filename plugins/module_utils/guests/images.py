# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The built-in guest's kernel and initial RAM file system, built from what the host's own packages put there.

An image is a folder C(builtin-<hash>) in the cache; the hash covers the recipe and every program that goes in, so an
updated package makes a new image and guests that run keep theirs.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile

from ansible_collections.virtnet.kvm.plugins.module_utils.errors import CommandFailed, MissingDependency, Unsupported
from ansible_collections.virtnet.kvm.plugins.module_utils.guests import tiny
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.cpio import Archive
from ansible_collections.virtnet.kvm.plugins.module_utils.guests.kernel import Kernel
from ansible_collections.virtnet.kvm.plugins.module_utils.host import CACHE

PREFIX = "builtin-"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Programs of the image: (name in it, names on the host in order of preference, the package that brings it).
PROGRAMS = (
    ("usr/bin/busybox", ("/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/usr/sbin/busybox"), "busybox-static"),
    ("usr/sbin/qemu-ga", ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga"), "qemu-guest-agent"),
    ("usr/sbin/dropbear", ("/usr/sbin/dropbear", "/usr/bin/dropbear"), "dropbear-bin"),
    ("usr/bin/python3", ("/usr/bin/python3", "/usr/libexec/platform-python"), "python3"),
)
#: Those that the guest unpacks only once it has started, as it does Python: it has little room until then.
EXTRAS = ("usr/sbin/dropbear",)
APPLETS_UNWANTED = {"busybox", "init", "linuxrc"}

#: Run by the host's own Python: imports the modules, and writes byte code of all files that this needed.
#: The byte code carries no time and no docstrings (PEP 552, unchecked hash), so that it is the same each time.
COLLECT = r"""
import importlib, importlib.util, json, marshal, os, sys, sysconfig
target, names = sys.argv[1], sys.argv[2:]
for name in names:
    importlib.import_module(name)
seen = {"os", "codecs", "io", "abc", "site", "encodings"} | set(sys.modules)
files = {}
for name in sorted(seen - {"__main__", "importlib", "importlib.util"} | {"importlib"}):
    spec = importlib.util.find_spec(name)
    path = getattr(sys.modules.get(name), "__file__", None) or (spec.origin if spec else None)
    if not path or not os.path.isfile(path):
        continue
    if path.endswith(".py"):
        with open(path, "rb") as handle:
            code = compile(handle.read(), path, "exec", dont_inherit=True, optimize=2)
        out = os.path.join(target, str(len(files)))
        with open(out, "wb") as handle:
            handle.write(importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code))
        files[path + "c"] = out
    else:
        files[path] = path
print(json.dumps({"files": files, "folders": [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]}))
"""


def _run(command):
    """Return a command's standard output as bytes; raise CommandFailed or MissingDependency."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # run_command has no time limit
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60,
            env={"PATH": PATH, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MissingDependency(f"the command {command[0]} is not there", subject="builtin") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{command[0]} did not end within 60 s", subject="builtin") from error
    if done.returncode != 0:
        message = done.stderr.decode("utf-8", "replace").strip()
        raise CommandFailed(f"{command[0]} failed: {message}", subject="builtin", cmd=command, rc=done.returncode)
    return done.stdout


def libraries(path):
    """Return the shared libraries that a program of this host loads (ldd(1)), its loader included."""
    text = subprocess.run(  # pylint: disable=ansible-bad-function  # run_command has no time limit
        ["ldd", path], capture_output=True, check=False, text=True, timeout=60, env={"PATH": PATH, "LC_ALL": "C"}
    ).stdout
    if "=> not found" in text:
        raise MissingDependency(f"{path} lacks a library: {text.strip()}", subject="builtin")
    found = re.findall(r"(?:=>\s*|^\s*)(/\S+)(?:\s+\(0x)", text, re.MULTILINE)
    # Variants for newer processors would not run on the guest's plain one.
    plain = [re.sub(r"/glibc-hwcaps/[^/]+/", "/", name) for name in found]
    return [name if os.path.exists(name) else found[number] for number, name in enumerate(plain)]


class Builtin:
    """The image that this host's packages make now.

    :param root: where /boot and /lib/modules are looked for; for tests.
    """

    def __init__(self, root="/", cache=CACHE):
        if os.uname().machine != "x86_64":
            raise Unsupported(
                f"the built-in guest is for x86_64, and this host is {os.uname().machine}", subject="builtin",
                cure="Use a template.",
            )
        self.cache = cache
        self.kernel = Kernel.newest(root)
        self.programs = {}
        missing = []
        for name, candidates, package in PROGRAMS:
            path = next((path for path in candidates if os.access(path, os.X_OK)), None)
            if path is None:
                missing.append((name, package))
            else:
                self.programs[name] = os.path.realpath(path)
        if missing:
            raise MissingDependency(
                "the built-in guest is made from programs that this host lacks: "
                + ", ".join(os.path.basename(name) for name, _package in missing),
                subject="builtin",
                cure=f"Run the role virtnet.kvm.kvm_host, or install {', '.join(package for _name, package in missing)}.",
            )
        self.path = os.path.join(cache, PREFIX + self._hash())

    def _hash(self):
        """Return 12 digits that change when anything changes which the image is made from."""
        recipe = [
            tiny.RECIPE, tiny.MODULES, tiny.OPTIONAL_MODULES, tiny.PYTHON_MODULES, tiny.PYTHON,
            sorted(tiny.TEXTS.items()), COLLECT,
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(recipe).encode())
        for path in [self.kernel.image, *self.programs.values()]:
            facts = os.stat(path)
            digest.update(f"\0{path}\0{facts.st_size}\0{facts.st_mtime_ns}".encode())
        return digest.hexdigest()[:12]

    @property
    def vmlinuz(self):
        return os.path.join(self.path, "vmlinuz")

    @property
    def initrd(self):
        return os.path.join(self.path, "initrd")

    def ready(self):
        return is_image(self.vmlinuz, self.initrd)

    def build(self):
        """Make the image if it is not in the cache. A reader, or another build, sees the whole of it or nothing."""
        if self.ready():
            return
        os.makedirs(self.cache, exist_ok=True)
        work = tempfile.mkdtemp(dir=self.cache, prefix="." + PREFIX)
        try:
            # QEMU runs as another user: the umask must be an ordinary one (guest_vm sees to that).
            made = os.path.join(work, "image")
            os.mkdir(made)
            shutil.copyfile(self.kernel.image, os.path.join(made, "vmlinuz"))
            # Packed: unpacking costs a guest under TCG nothing that shows, and saves memory while it starts.
            with gzip.GzipFile(os.path.join(made, "initrd"), "wb", compresslevel=6, mtime=0) as handle:
                for chunk in self._archive(work).chunks():
                    handle.write(chunk)
            try:
                os.rename(made, self.path)
            except OSError:
                if not self.ready():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _archive(self, work):
        archive = Archive()
        for folder in ("bin", "sbin", "lib", "lib64"):
            archive.folder("usr/" + folder)
            archive.link(folder, "usr/" + folder)
        for path, mode in tiny.FOLDERS.items():
            archive.folder(path, mode)
        # The kernel opens it for init before init could mount /dev.
        archive.node("dev/console", 5, 1)
        archive.node("dev/null", 1, 3, 0o666)
        for path, (text, mode) in tiny.TEXTS.items():
            archive.file(path, text.encode(), mode)
        modules = self.kernel.load_order(tiny.MODULES, tiny.OPTIONAL_MODULES, _run)
        for name, data in modules:
            archive.file(f"usr/lib/virtnet/{name}.ko", data)
        archive.file("usr/lib/virtnet-modules", (" ".join(name for name, _data in modules) + "\n").encode())
        archive.file("usr/bin/busybox", _read(self.programs["usr/bin/busybox"]), 0o755)
        self._applets(archive)
        self._program(archive, archive, "usr/sbin/qemu-ga", self.programs["usr/sbin/qemu-ga"])
        extras = Archive()
        for name in EXTRAS:
            self._program(extras, archive, name, self.programs[name])
        self._python(extras, archive, work)
        archive.file("usr/lib/virtnet-extras", gzip.compress(b"".join(extras.chunks()), 6, mtime=0))
        return archive

    def _applets(self, archive):
        busybox = self.programs["usr/bin/busybox"]
        found = set(_run([busybox, "--list"]).decode().split())
        missing = [name for name in tiny.APPLETS if name not in found]
        if missing:
            raise Unsupported(
                f"{busybox} lacks {', '.join(missing)}, which the built-in guest needs", subject="builtin",
                cure="Install busybox-static.",
            )  # fmt: skip
        if libraries(busybox):
            raise Unsupported(f"{busybox} needs shared libraries", subject="builtin", cure="Install busybox-static.")
        for name in sorted(found - APPLETS_UNWANTED):
            archive.link("usr/bin/" + name, "busybox")

    def _program(self, archive, base, name, path):
        """Add a program and its libraries to C(archive), but for those that are in C(base) already."""
        archive.file(name, _read(path), 0o755)
        self._libraries(archive, base, path)

    @staticmethod
    def _libraries(archive, base, path):
        for library in libraries(path):
            # /lib is a link to /usr/lib in the image, as it is on every distribution of today.
            place = library if library.startswith("/usr/") else "/usr" + library
            if place not in archive and place not in base:
                archive.file(place, _read(library), 0o755)

    def _python(self, archive, base, work):
        """Add Python with the modules that a probe script needs; it finds its library by the folder of os.pyc."""
        python = self.programs["usr/bin/python3"]
        place = os.path.join(work, "python")
        os.mkdir(place)
        found = json.loads(_run([python, "-I", "-S", "-c", COLLECT, place, *tiny.PYTHON_MODULES]))
        for path, source in found["files"].items():
            archive.file(path, _read(source), 0o755 if path.endswith(".so") else 0o644)
            if path.endswith(".so"):
                self._libraries(archive, base, path)
        for folder in found["folders"]:
            archive.folder(os.path.join(folder, "lib-dynload"))
        self._program(archive, base, python, python)
        base.file("usr/bin/python3", (tiny.PYTHON % python).encode(), 0o755)
        shutil.rmtree(place)


def _read(path):
    with open(path, "rb") as handle:
        return handle.read()


def is_image(kernel, initrd):
    """Return whether both are files of one image in a cache."""
    folder = os.path.dirname(kernel)
    return (
        os.path.basename(folder).startswith(PREFIX)
        and os.path.dirname(initrd) == folder
        and os.path.isfile(kernel)
        and os.path.isfile(initrd)
    )


def tidy(used, cache=CACHE):
    """Remove the images that no guest uses, and the cache itself once it is empty.

    :param used: paths of kernels that guests of this host name.
    """
    if not os.path.isdir(cache):
        return
    keep = {os.path.dirname(path) for path in used}
    for name in os.listdir(cache):
        path = os.path.join(cache, name)
        if name.lstrip(".").startswith(PREFIX) and path not in keep:
            shutil.rmtree(path, ignore_errors=True)
    try:
        os.rmdir(cache)
    except OSError:
        return  # something of somebody else's is in it
