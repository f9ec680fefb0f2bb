# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the sources of the documentation site out of the checkout: python tools/docs/stage.py FOLDER

The pages are plain Markdown that reads well on a code-hosting site. Here they get what only Sphinx understands: a table of
contents made of index.md's lists, tables of roles' variables made of their argument specs, the list of playbooks, and links
that lead to other pages of the site instead of files of the checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
#: Files outside of docs that are pages of the site, and where.
PAGES = {"CONTRIBUTING.md": "contributing.md", "CODE_OF_CONDUCT.md": "conduct.md", "README.zh.md": "readme.zh.md",
         "CHANGELOG.rst": "changelog.rst"}  # fmt: skip
#: What stands in for pages that the site has in another form.
INSTEAD = {"README.md": "index.md"}
#: Where a link to a file of these kinds leads: to its page made by ansible-doc.
DOCUMENTED = (
    (r"plugins/modules/(\w+)\.py", r"reference/\1_module.rst"),
    (r"plugins/filter/(\w+)\.yml", r"reference/\1_filter.rst"),
    (r"plugins/inventory/(\w+)\.py", r"reference/\1_inventory.rst"),
    (r"roles/(\w+)/(?:meta/argument_specs|defaults/main)\.yml", r"reference/\1_role.rst"),
    (r"playbooks/\w+\.yml", r"reference/playbooks.md"),
)
#: Words of Ansible's own that the pages from ansible-doc refer to by label; its documentation is elsewhere.
TERMS = """\
# Terms of Ansible

(common_return_values)=
## Common return values

What every module returns: `changed`, `failed`, `msg`, `skipped`, `warnings`, `invocation` and the like.

(action_plugins)=
## Action plugins

The half of a module that runs on the controller, before and after the module itself runs on the managed host.

(ansible_configuration_settings)=
## Configuration settings

What `ansible.cfg` and environment variables set; `ansible-config list` shows all of it.
"""
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(?ms)^( *)```.*?^ *```[^\n]*\n")
CONSOLE = re.compile(r"(?ms)^( *```)console([^\n]*\n)(.*?)(?=^ *```)")


def page_of(path: str) -> str | None:
    """Return where in the site the page of a file of the checkout is, None for a file that is no page."""
    if path in PAGES or path in INSTEAD:
        return PAGES.get(path) or INSTEAD[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    role = re.fullmatch(r"roles/(\w+)/README\.md", path)
    if role:
        return f"roles/{role[1]}.md"
    for pattern, page in DOCUMENTED:
        if re.fullmatch(pattern, path):
            return re.sub(pattern, page, path)
    return None


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, page: str, text: str) -> None:
        path = self.folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def relinked(self, text: str, source: str, page: str) -> str:
        """Return a page's text with its links as they are from its place in the site; code stays as it is."""

        def link(match: re.Match[str]) -> str:
            target, _, anchor = match[2].partition("#")
            if not target or re.match(r"\w+:", target):
                return match[0]
            path = os.path.normpath(Path(source).parent / target)
            place = page_of(path)
            if place is None:
                if not (ROOT / path).is_file():
                    raise SystemExit(f"{source}: the link {match[2]} leads nowhere")
                # A file: the reader gets a copy of it.
                place = f"files/{path}"
                (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, self.folder / place)
            there = os.path.relpath(place, Path(page).parent)
            # A playbook or a module has a page of its own, whose parts are called otherwise.
            kept = f"#{anchor}" if anchor and not place.startswith("reference/") else ""
            if place == "reference/playbooks.md":
                kept = f"#{Path(path).stem}"
            return f"{match[1]}{there}{kept}{match[3]}"

        parts, end = [], 0
        for fence in FENCE.finditer(text):
            parts += [LINK.sub(link, text[end : fence.start()]), fence[0]]
            end = fence.end()
        return "".join([*parts, LINK.sub(link, text[end:])])

    def page(self, source: str, page: str) -> None:
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"<!-- variables: (\w+) -->", lambda match: variables(match[1]), text)
        text = CONSOLE.sub(coloured, text)
        if source == "docs/index.md":
            text = with_contents(text)
        self.write(page, self.relinked(text, source, page) if source.endswith(".md") else text)

    def make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for path in sorted((ROOT / "docs").rglob("*")):
            source = str(path.relative_to(ROOT))
            if path.suffix == ".md":
                self.page(source, source.removeprefix("docs/"))
            elif path.suffix == ".svg":
                self.write(source.removeprefix("docs/"), path.read_text(encoding="utf-8"))
        for source, page in PAGES.items():
            if (ROOT / source).is_file():
                self.page(source, page)
        for path in sorted(ROOT.glob("roles/*/README.md")):
            role = path.parent.name
            self.page(f"roles/{role}/README.md", f"roles/{role}.md")
        self.write("reference/playbooks.md", playbooks())
        self.write("reference/terms.md", TERMS)
        for name in ("conf.py", "site.css"):
            self.write("static/" * name.endswith(".css") + name, (HERE / name).read_text(encoding="utf-8"))


def coloured(match: re.Match[str]) -> str:
    """Return a block of commands, as those of a shell where they have no prompt: else all of it is output to the highlighter."""
    return match[0] if re.search(r"(?m)^ *\$ ", match[3]) else f"{match[1]}bash{match[2]}{match[3]}"


def with_contents(text: str) -> str:
    """Return the first page with a table of contents: each list of links below a heading is a chapter of it."""
    added = []
    for section in re.split(r"(?m)^## ", text)[1:]:
        heading, _, body = section.partition("\n")
        pages = re.findall(r"(?m)^- \[([^\]]+)\]\(([^)#:\s]+)\)", body)
        if pages:
            lines = []
            for title, target in pages:
                page = page_of(os.path.normpath(f"docs/{target}")) or target
                lines.append(f"{title} <{re.sub(r'[.](md|rst)$', '', page)}>")
            if "reference" in heading:
                lines = ["Modules, filters, roles <reference/index>", *lines, "reference/terms"]
            added.append("\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *dict.fromkeys(lines), "```"]))
    return text + "\n" + "\n\n".join(added) + "\n"


def rows(options: dict[str, Any]) -> Iterator[str]:
    yield "| variable | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, option in options.items():
        told = option["description"]
        meaning = " ".join(told) if isinstance(told, list) else told
        if option.get("choices"):
            meaning += f" One of {', '.join(f'`{one}`' for one in option['choices'])}."
        # What Ansible's own markup says with C(...) and the like is code here.
        meaning = re.sub(r"\b[CVOIBM]\(([^)]*)\)", r"`\1`", meaning).replace("|", "\\|").replace("\n", " ")
        kind = option.get("type", "str") + (f" of {option['elements']}" if option.get("elements") else "")
        default = f"`{yaml.safe_dump(option['default'], default_flow_style=True).splitlines()[0]}`" if "default" in option else ""
        yield f"| `{name}` | {kind} | {default} | {meaning} |"


def variables(role: str) -> str:
    """Return the table of a role's variables, made of its argument spec."""
    spec = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return "\n".join(rows(spec["argument_specs"]["main"]["options"]))


def playbooks() -> str:
    """Return the page of the playbooks: what stands at the head of each."""
    parts = ["# Playbooks", "Run them by their full name: `ansible-playbook -i INVENTORY virtnet.kvm.NAME`."]
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        head = [
            line.removeprefix("#").removeprefix(" ")
            for line in text.splitlines()
            if line.startswith("#") and not re.match(r"# (Copyright|GNU|SPDX)", line)
        ]
        plays = [f"- {play['name']} (`{play.get('hosts') or play.get('import_playbook')}`)"
                 if "{{" not in str(play.get("hosts")) else f"- {play['name']}" for play in yaml.safe_load(text)]  # fmt: skip
        parts += [f"## {path.stem}", "```text\n" + "\n".join(head).strip() + "\n```", "Its plays:", "\n".join(plays)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    Site(Path(sys.argv[1])).make()
