#!/usr/bin/env bash
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# docs.sh: the documentation site, in .build/docs/html: the pages of docs/ and the reference of plugins and roles. Nothing is
# fetched for it; any warning ends it.

# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/tools/venv.sh" test
site=$BUILD/docs
export ANSIBLE_COLLECTIONS_PATH=$BUILD PATH=$VENV/bin:$PATH ANSIBLE_CONFIG=$ROOT/ansible.cfg
rm -rf "$site/src"
mkdir -p "$site/src"

reference() {
    # antsibull-docs asks for folders that others cannot write to.
    mkdir -p "$site/src/reference"
    chmod -R go-w "$site"
    antsibull-docs collection --use-current --squash-hierarchy --fail-on-error --dest-dir "$site/src/reference" virtnet.kvm
    # The theme has each page's contents beside it.
    sed -i '/^\.\. contents::/,/^$/d' "$site"/src/reference/*.rst
}
render() {
    sphinx-build -b html -j auto -W --keep-going -n -q -d "$site/doctrees" "$site/src" "$site/html"
}
phase "gathering the pages" python "$ROOT/tools/docs/stage.py" "$site/src"
phase "making the reference" reference
rm -rf "$site/html"
phase "making the site" render
say "$site/html/index.html"
