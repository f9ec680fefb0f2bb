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

playbook() {
    as_root env "PATH=$VENV/bin:$PATH" "ANSIBLE_CONFIG=$ROOT/ansible.cfg" \
        "ANSIBLE_COLLECTIONS_PATH=$BUILD${ANSIBLE_COLLECTIONS_PATH:+:$ANSIBLE_COLLECTIONS_PATH}" \
        "$VENV/bin/ansible-playbook" -i "/var/lib/virtnet-lab/$LAB/inventory.yml" "$@"
}

graphviz() {
    local apt=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300)
    command -v dot >/dev/null && return
    mkdir -p "$BUILD/logs"
    {
        "${apt[@]}" install --no-install-recommends graphviz ||
            { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends graphviz; }
    } >"$BUILD/logs/graphviz.log" 2>&1 </dev/null && command -v dot >/dev/null
}

# A picture of what is there now. The lab is worth as much without one.
picture() {
    local file=/var/lib/virtnet-lab/$LAB/topology
    if ! graphviz; then
        say "no picture of it: Graphviz (dot) is not here and could not be installed; the end of $BUILD/logs/graphviz.log says why"
    elif phase "drawing the networks" playbook "$ROOT/playbooks/topology.yml" -e "topology_file=$file" \
        -e "topology_proof=$1" -e "topology_title='Lab $LAB'"; then
        say "the picture: $file.html, and as SVG alone $file.svg"
    else
        say "no picture of it: see above"
    fi
}

play() {
    local model=$1 file began=$SECONDS status=0
    local proof=/var/lib/virtnet-lab/$LAB/proof.json
    shift
    if [ "$model" = all ]; then model=four_models; fi
    file=$ROOT/playbooks/${model}_lab.yml
    [ -f "$file" ] || die "there is no playbook for MODEL=$model; there are:$(
        cd "$ROOT/playbooks" && for name in *_lab.yml; do printf ' %s' "${name%_lab.yml}"; done
    ); all is four_models."
    "$ROOT/tools/venv.sh" lab
    python=$VENV/bin/python
    virtnet_lab preflight
    virtnet_lab up ${HOSTS:+--kvm-hosts "$HOSTS"}
    say "ansible-playbook playbooks/${file##*/} on the lab's hosts"
    # What a proof found to be wrong is what one wants to see in the picture.
    playbook "$file" -e "reachability_json=$proof" "$@" || status=$?
    picture "$proof"
    if [ "$status" -ne 0 ]; then return "$status"; fi
    say "done in $((SECONDS - began)) s; the proof, cell by cell, is in $proof too"
    say "the lab '$LAB' is up: make lab-shell HOST=kvm1, make lab-status; make lab-down removes it"
}

case $verb in
    play) play "$@" ;;
    down | status | shell | exec) virtnet_lab "$verb" "$@" ;;
    *) die "'$verb' is not one of play, down, status, shell, exec." ;;
esac
