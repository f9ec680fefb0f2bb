#!/usr/bin/env bash
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# bench.sh [options of benchmarks/run]: its virtual environment first, then the measurements.

# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ -x "$ROOT/benchmarks/run" ] || die "there is no benchmarks/run in this checkout."
root_ready
"$ROOT/tools/venv.sh" bench
as_root env "PATH=$BUILD/venv-bench/bin:$PATH" "ANSIBLE_CONFIG=$ROOT/ansible.cfg" "ANSIBLE_COLLECTIONS_PATH=$BUILD" \
    "$BUILD/venv-bench/bin/python" "$ROOT/benchmarks/run" "$@"
