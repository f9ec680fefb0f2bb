# Copyright (c) 2026, the virtnet.kvm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/bash
.DEFAULT_GOAL := help

# What the lab runs: MODEL=nat is playbooks/nat_lab.yml. LAB names the lab: two may be up side by side.
MODEL ?= nat
LAB ?= lab
HOST ?= kvm1
# How many KVM hosts make lab boots, if not the two of the role lab_hosts.
HOSTS ?=
# Passed on to the command behind the target: make lab ARGS='--check --diff', make test ARGS='--only units'.
ARGS ?=
PURGE ?=
# make test SCENARIO=nat runs what is in extensions/molecule/nat, on hosts of its own; with KEEP=1 they stay if it fails.
SCENARIO ?=
KEEP ?=

lab_down_args = $(if $(filter-out 0 no false,$(PURGE)),--purge) $(filter-out $(if $(filter-out 0 no false,$(PURGE)),--purge),$(ARGS))
export LAB HOSTS

test_args = $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(filter-out 0 no false,$(KEEP)),--keep) $(ARGS)

.PHONY: help lab lab-down lab-shell lab-status test test-quick test-full coverage faults bench lint sanity units docs changelog build venv clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: MODEL=nat HOSTS=3 LAB=lab HOST=kvm1 PURGE=1 SCENARIO=nat KEEP=1 ARGS='…' (options for the command behind the target)"

lab: ## Boot the lab's KVM hosts, run the playbook of MODEL on them, show the proof
	@tools/lab.sh play $(MODEL) $(ARGS)

lab-down: ## Remove every trace of the lab (PURGE=1: the cached host image too)
	@tools/lab.sh down $(lab_down_args)

lab-shell: ## Open a shell on a host of the lab (HOST=kvm1)
	@tools/lab.sh shell $(HOST)

lab-status: ## Show the lab's hosts
	@tools/lab.sh status $(ARGS)

test: ## Everything CI checks; SCENARIO=nat, KEEP=1; ARGS='--list', '--only units,ruff', '--resume'
	@tests/run $(test_args)

test-quick: ## In two minutes: style, types, YAML, headers, the unit tests on all processors
	@tests/run --quick $(ARGS)

test-full: ## What takes longer too; ARGS='--resume', '--shard 1/3'
	@tests/run --full $(test_args)

coverage: ## How much of module_utils the unit tests run; SCENARIO=nat,modules: and modules on hosts
	@tests/run --only coverage --coverage $(test_args)

faults: ## Break it on purpose: modules killed after each effect, daemons and disks that fail, 200 cycles
	@tests/run --full $(if $(findstring --only,$(ARGS)),,--only matrix-faults) $(ARGS)

bench: ## Measure against libvirt-python and community.libvirt, in a lab host; charts in .build/bench
	@tools/bench.sh $(ARGS)

lint: ## ruff, mypy, yamllint, ansible-lint, changelog, licence headers
	@tests/run --only lint $(ARGS)

sanity: ## ansible-test sanity, without containers
	@tests/run --only sanity $(ARGS)

units: ## The unit tests
	@tests/run --only units $(ARGS)

docs: ## The documentation site in .build/docs/html
	@tools/docs.sh $(ARGS)

build: ## The collection as a tarball in .build/dist
	@tests/run --only build $(ARGS)

venv: ## The virtual environment .venv with all that developers need
	@tools/venv.sh test

clean: ## Remove what the targets made in the checkout (not the lab: lab-down)
	@rm -rf .build .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .ansible tests/output
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
