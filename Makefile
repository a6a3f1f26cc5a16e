# The commands a person runs are the ones CI runs. Each makes the virtual environment by itself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 4
STAMP := $(VENV)/.installed

.PHONY: help demo test conformance lint format bench test-public test-oldest test-all clean
help:            ## say what there is
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## run the main job: real servers, real OTLP, every request accounted for
	$(BIN)/python examples/demo.py

test: $(STAMP)  ## unit tests, one row per server, storms of 20
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

conformance: $(STAMP)  ## every row of the server table; writes docs/conformance.md
	$(BIN)/python -m tests.conformance.report

lint: $(STAMP)  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff put the files in order
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(STAMP)  ## compare with the peers
	$(BIN)/python -m benchmarks

test-public: $(STAMP)  ## the unit tests with the public names of OpenTelemetry alone
	OTELFORK_PUBLIC_NAMES_ONLY=true $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not private_names" tests/unit

test-oldest:     ## the unit tests with the oldest OpenTelemetry that is supported, in an environment of their own
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check --constraint tests/oldest.txt --editable '.[dev]'
	.venv-oldest/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow" tests/unit

# An interpreter of pyenv is found though its shim is not active.
interpreter = $(firstword $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python$(1)) python$(1))
test-%:          # the tests on one version of Python: make test-3.12
	$(MAKE) test PYTHON=$(call interpreter,$*) VENV=.venv-$*

test-all:        ## the tests on every supported Python; all of them have to be on this machine
	$(MAKE) test-3.10 && $(MAKE) test-3.11 && $(MAKE) test-3.12 && $(MAKE) test-3.13

clean:           ## remove what the other commands made
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache dist
