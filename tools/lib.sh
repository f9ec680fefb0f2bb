# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# What the scripts in tools/ share: sourced, not run.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$ROOT/.build
# shellcheck disable=SC2034  # for those who source this
VENV=$ROOT/.venv
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# With it Python reads a module that Ansible pipes to it byte by byte: seconds a task on connection local.
unset PYTHONUNBUFFERED

# One sentence that says what is wrong, and the end.
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

say() { printf '==> %s\n' "$*"; }

# Run a command as root: as it is for root, else through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        if [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
    else
        die "this needs root: run it as root, or install sudo."
    fi
}

# Ask for sudo's password now, while somebody is there to type it, not in the middle of a phase.
root_ready() {
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "this needs root: run it as root, or install sudo."
        if [ -t 0 ]; then sudo -v; else sudo -n true; fi || die "this needs root, and sudo refused."
    fi
}

# phase TITLE COMMAND...: run it with its output in .build/logs/, show the time that passes, and the output's end if
# it fails.
phase() {
    local title=$1 log began last now pid status=0
    shift
    mkdir -p "$BUILD/logs"
    log=$BUILD/logs/$(printf '%s' "$title" | tr -cs 'A-Za-z0-9\n' '-').log
    began=$SECONDS
    last=$began
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    # shellcheck disable=SC2064  # the id of now
    trap "kill $pid 2>/dev/null || true; trap - INT TERM; exit 130" INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        now=$SECONDS
        if [ -t 1 ]; then
            printf '\r==> %s … %d s ' "$title" $((now - began))
        elif [ $((now - last)) -ge 15 ]; then
            printf '==> %s … %d s\n' "$title" $((now - began))
            last=$now
        fi
        sleep 0.2
    done
    wait "$pid" || status=$?
    trap - INT TERM
    if [ -t 1 ]; then printf '\r'; fi
    if [ "$status" -eq 0 ]; then
        printf '==> %s: %d s\033[K\n' "$title" $((SECONDS - began)) | if [ -t 1 ]; then cat; else sed 's/\x1b\[K//'; fi
    else
        printf '==> %s: failed after %d s; the end of %s:\n' "$title" $((SECONDS - began)) "$log"
        tail -n 25 "$log" | sed 's/^/    /'
    fi
    return "$status"
}

# Free room in MiB of the file system that holds a path (or will hold it).
room_mib() {
    local path=$1
    while [ ! -e "$path" ]; do path=$(dirname "$path"); done
    df -Pm "$path" | awk 'NR == 2 { print $4 }'
}

# Ansible finds the collection only at …/ansible_collections/virtnet/kvm: a link there leads to the checkout.
link_collection() {
    local link=$BUILD/ansible_collections/virtnet/kvm
    if [ "$(readlink "$link" 2>/dev/null)" != "$ROOT" ]; then
        mkdir -p "${link%/*}"
        ln -sfn "$ROOT" "$link"
    fi
}
