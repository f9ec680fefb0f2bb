#!/usr/bin/env bash
# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# lab.sh play MODEL [ansible-playbook's options]: boot the lab, run the model's playbook on its hosts, leave it up
# lab.sh down [--purge] | status | shell HOST | exec HOST -- COMMAND
# The lab is the one that LAB names; HOSTS is how many KVM hosts it has, if not those of the role's defaults.

# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LAB=${LAB:-lab}
verb=${1:?play, down, status, shell or exec}
shift

[ "$(uname -s)" = Linux ] || die "the lab needs Linux (network namespaces, systemd-nspawn, nftables); this is $(uname -s)."
root_ready

# `down` must work when the virtual environment is gone: the lab program needs only Python's own library.
python=$VENV/bin/python
[ -x "$python" ] || python=python3

virtnet_lab() {
    as_root env "PYTHONPATH=$ROOT/roles/lab_hosts/files" PYTHONDONTWRITEBYTECODE=1 \
        "$python" -m virtnet_lab --lab "$LAB" "$@"
}

play() {
    local model=$1 playbook inventory=/var/lib/virtnet-lab/$LAB/inventory.yml began=$SECONDS
    local proof=/var/lib/virtnet-lab/$LAB/proof.json
    shift
    if [ "$model" = all ]; then model=four_models; fi
    playbook=$ROOT/playbooks/${model}_lab.yml
    [ -f "$playbook" ] || die "there is no playbook for MODEL=$model; there are:$(
        cd "$ROOT/playbooks" && for name in *_lab.yml; do printf ' %s' "${name%_lab.yml}"; done
    ); all is four_models."
    "$ROOT/tools/venv.sh" lab
    python=$VENV/bin/python
    virtnet_lab preflight
    virtnet_lab up ${HOSTS:+--kvm-hosts "$HOSTS"}
    say "ansible-playbook playbooks/${playbook##*/} on the lab's hosts"
    as_root env "PATH=$VENV/bin:$PATH" "ANSIBLE_CONFIG=$ROOT/ansible.cfg" \
        "ANSIBLE_COLLECTIONS_PATH=$BUILD${ANSIBLE_COLLECTIONS_PATH:+:$ANSIBLE_COLLECTIONS_PATH}" \
        "$VENV/bin/ansible-playbook" -i "$inventory" "$playbook" -e "reachability_json=$proof" "$@"
    say "done in $((SECONDS - began)) s; the proof, cell by cell, is in $proof too"
    say "the lab '$LAB' is up: make lab-shell HOST=kvm1, make lab-status; make lab-down removes it"
}

case $verb in
    play) play "$@" ;;
    down | status | shell | exec) virtnet_lab "$verb" "$@" ;;
    *) die "'$verb' is not one of play, down, status, shell, exec." ;;
esac
