#!/usr/bin/env bash
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# docs.sh: the documentation of plugins and roles as HTML, in .build/docs/html. Sphinx lives in an environment of its own.

# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/tools/venv.sh" test
site=$BUILD/docs
sphinx=$BUILD/venv-docs
rm -rf "$site"
mkdir -p "$site"
chmod 0755 "$site"
export ANSIBLE_COLLECTIONS_PATH=$BUILD PATH=$VENV/bin:$PATH
phase "making the pages' sources" antsibull-docs sphinx-init --use-current --squash-hierarchy --fail-on-error \
    --dest-dir "$site" virtnet.kvm
# Nothing is fetched while the pages are made: no links into other projects' inventories.
sed -i '/^intersphinx_mapping = {/,/^}/d' "$site/conf.py"
if [ ! -x "$sphinx/bin/sphinx-build" ]; then
    phase "making an environment for Sphinx" "$VENV/bin/python" -m venv "$sphinx"
    phase "installing Sphinx" "$sphinx/bin/python" -m pip install -r "$site/requirements.txt"
fi
render() {
    antsibull-docs collection --use-current --squash-hierarchy --dest-dir "$site/rst" virtnet.kvm
    "$sphinx/bin/sphinx-build" -M html "$site/rst" "$site/build" -c "$site" -q --keep-going
}
phase "making the pages" render
rm -rf "$site/html"
cp -r "$site/build/html" "$site/html"
say "$site/html/index.html"
