# Every command sets itself up: a fresh clone needs python3 and make, nothing else.
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
WORKERS ?= auto
export VENV

.PHONY: help demo test check fix clients test-all test-real apiserver bench bench-full lock clean setup-run setup-dev setup-bench
.DEFAULT_GOAL := help

help:  ## what there is to run
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup-run  ## two tenants' kubectl, answered by two replicas from the store (a minute)
	@$(BIN)/python -m larder.demo

test: check  ## the checks, then every test that needs no real cluster (minutes)
	$(PYTEST) -n $(WORKERS) --dist loadfile

check: setup-dev  ## format, lint, types and import rules; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: setup-dev  ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clients: setup-dev  ## build the Go and Node programs that tests/interop runs, where go and npm are installed
	$(BIN)/python -m tests.interop.built

test-all: check clients  ## also the long ones: soak, chaos, a real API server (long)
	$(PYTEST) -n $(WORKERS) --dist loadfile -m ""

test-real: setup-dev  ## the same bytes as real kube-apiservers, each that is found (or KUBEBUILDER_ASSETS)
	$(PYTEST) -m real

apiserver: setup-dev  ## build a recent kube-apiserver (VERSION=…) and etcd for test-real, where Go is (10 minutes)
	$(BIN)/python -m tests.real.build $(VERSION)

bench: setup-bench  ## latency, throughput, sizes and time to sync beside upstream (minutes; needs wrk)
	$(BIN)/python -m benchmarks

bench-full: setup-bench  ## every scenario, longer, with more watchers (half an hour)
	$(BIN)/python -m benchmarks --full

lock: setup-bench  ## write the versions that are installed now to requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable > requirements.lock

clean:  ## remove the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

setup-run:
	@python3 .ci/bootstrap.py
setup-dev:
	@python3 .ci/bootstrap.py dev
setup-bench:
	@python3 .ci/bootstrap.py dev,bench
