# Everything here sets the machine up first (`make setup`), asks nothing and may be interrupted and repeated.
#   make table1              fetch the cached artifacts, roll out 3 initial states a task for every arm, show the table beside the full one
#   make table1 TRIALS=50    the same with all 50 states
#   make table1 FRESH=1      recompute everything from nothing, in fresh/ (hours; resumable)
#   make test                every check and test
#   make bench               measured speed against plain references, and the agreement of batch sizes
#   make image               containers/dtr.sif by Apptainer; make test-cluster tries it, alone and under Slurm (root, Debian; docs/cluster.md)
#   make lint                linters and type checker only

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.PHONY: setup table1 test test-cluster image bench lint store
.DEFAULT_GOAL := table1

CONFIG ?= config/embedded.yaml
TRIALS ?= 3
CORES ?= $(shell nproc)
IMAGE ?= containers/dtr.sif
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
SNAKEMAKE = snakemake --cores $(CORES) --configfile $(CONFIG)

setup:
	@envs/setup.sh

table1: setup
	@if [ ! -e "$(CONFIG)" ]; then
	    echo "there is no configuration $(CONFIG): name one of $$(echo config/*.yaml)." >&2
	    exit 2
	fi
	if [ "$(FRESH)" = 1 ]; then
	    mkdir -p fresh/results
	    ln -sfn ../../results/reported fresh/results/reported
	    $(SNAKEMAKE) --directory fresh -- results/table1.csv
	    dtr table --show fresh/results/table1.csv
	else
	    dtr store pull
	    $(SNAKEMAKE) -- results/live-n$(TRIALS)/table1.csv
	    dtr table --show results/live-n$(TRIALS)/table1.csv
	    full=results/$(basename $(notdir $(CONFIG)))/table1.csv
	    if [ -e $$full ]; then dtr table --compare results/live-n$(TRIALS)/table1.csv $$full; fi
	fi

lint: setup
	@ruff check src tests && ruff format --check src tests
	mypy
	snakefmt --check Snakefile rules
	snakemake --lint
	snakemake --configfile config/smoke.yaml --lint

# Two workers, each with a file at a time: what a file makes is made once, and only one of them brings up a cluster.
test: lint
	@pytest -n 2 --dist loadfile --no-loadscope-reorder

# Not part of `make test`: it takes Apptainer from Debian's development branch.
test-cluster: setup
	@tests/cluster/install_slurm.sh
	mkdir -p work
	pytest -v -s --no-header -m containers tests/cluster | sed -u 's#$(CURDIR)#.#g' | tee work/test-cluster.log
	mkdir -p docs/measurements
	if grep -q ' passed' work/test-cluster.log; then cp work/test-cluster.log docs/measurements/; fi

image: setup
	@if ! command -v apptainer >/dev/null; then
	    echo "there is no apptainer on the PATH: load its module or install it, or run without containers." >&2
	    exit 2
	fi
	export APPTAINER_CACHEDIR=$(CURDIR)/work/cache/apptainer
	mkdir -p "$$APPTAINER_CACHEDIR"
	apptainer build --force --bind "$(CURDIR):/srv" $(IMAGE_OPTIONS) $(IMAGE) containers/dtr.def

bench: setup
	@dtr bench

# Maintainers: write dvc.yaml from the sheets and put all that they name into the store that is committed with the repository (docs/cache.md).
store: setup
	@dtr store push
