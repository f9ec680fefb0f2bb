#!/usr/bin/env bash
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# venv.sh lab|test|bench: make the virtual environment that these need, or do nothing if it is there.
# lab and test share .venv (test has more in it); bench has its own, for the PyPI package `ansible` hides our collection.

# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kind=${1:-lab}
case $kind in
    lab) requirements=requirements-lab.txt need=150 ;;
    test) requirements=requirements-test.txt need=600 ;;
    bench) requirements=requirements-bench.txt need=1500 VENV=$BUILD/venv-bench ;;
    *) die "there is no set of packages '$kind': lab, test or bench." ;;
esac
cd "$ROOT"

# A stamp says what the environment was made from, its place included: a moved checkout has dead scripts.
digest=$({ printf '%s\n' "$ROOT"; sed -e '/^#/d' requirements.txt requirements-lab.txt "$requirements"; } | sha256sum)
digest=${digest%% *}
stamp=$VENV/.stamp-$kind
fresh() { [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ] && [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -c ''; }

link_collection
if fresh; then exit 0; fi

exec 9>"$BUILD/venv.lock"
flock 9
if fresh; then exit 0; fi

modern() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
whole() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
    local name
    for name in ${PYTHON:-python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11}; do
        if modern "$name"; then
            command -v "$name"
            return
        fi
    done
    die "no Python 3.11 or newer is here: install one, or name it with PYTHON=/path/to/python3."
}

# The package that holds ensurepip and venv for an interpreter; Debian and Ubuntu keep it apart.
install_venv() {
    local python=$1 package apt
    root_ready
    if command -v apt-get >/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        apt=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y)
        # A fresh machine has no lists, an old one's name packages that the mirror no longer has.
        if ! apt-cache show "$package" >/dev/null 2>&1 ||
            ! "${apt[@]}" install --no-install-recommends "$package" >/dev/null 2>&1 </dev/null; then
            phase "updating the package lists" "${apt[@]}" update
            phase "installing $package" "${apt[@]}" install --no-install-recommends "$package"
        fi
    elif command -v dnf >/dev/null; then
        phase "installing python3-pip" as_root dnf -y install python3-pip
    else
        die "$python lacks the module venv, and no package manager that this knows (apt, dnf) is here to install it."
    fi
    whole "$python" || die "$python still cannot make virtual environments: its modules venv and ensurepip are missing."
}

room=$(room_mib "$VENV")
[ "$room" -ge "$need" ] || die "no room on disk: $VENV needs $need MiB, $room MiB are free."

digest_place=$(cat "$VENV/.place" 2>/dev/null || true)
if [ "$digest_place" != "$ROOT" ] || ! modern "$VENV/bin/python"; then
    python=$(find_python)
    whole "$python" || install_venv "$python"
    phase "making a virtual environment with $("$python" -V)" "$python" -m venv --clear "$VENV"
    printf '%s' "$ROOT" >"$VENV/.place"
fi
phase "installing the Python packages for $kind" "$VENV/bin/python" -m pip install --upgrade-strategy only-if-needed \
    -r "$requirements"
printf '%s' "$digest" >"$stamp"
