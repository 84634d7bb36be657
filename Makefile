# Every target sets up .venv by itself when needed: `make demo` on a fresh clone is enough.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COVERAGE := --cov=qatexp --cov-fail-under=90

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint ui clean distclean

help:  ## Show this list
	@echo "usage: make TARGET [ARGS=...]"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "PYTHON=$(PYTHON) (3.11 or newer) creates VENV=$(VENV), with CONSTRAINTS=$(CONSTRAINTS)."

setup: $(STAMP)  ## Create .venv and install qatexp with its development tools

demo: $(STAMP)  ## Sweep bits, LR scale and QAT epochs on the digits set, and compare (minutes)
	@$(BIN)/qatexp -m sweep=demo $(ARGS)

test: $(STAMP)  ## Run all tests; ARGS goes to pytest: make test ARGS="-k quantizer -x"
	@$(BIN)/python -m pytest $(ARGS)

# Tests come last: pytest's closing line is the last line of a run that succeeds.
check: lint  ## Run everything that a change has to pass: lint, then all tests with coverage
	@$(BIN)/python -m pytest $(COVERAGE) $(ARGS)

lint: $(STAMP)  ## Check style, types, layers and the Dockerfile, without running anything
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint docker/Dockerfile

ui: $(STAMP)  ## Open the MLflow page of all runs
	@$(BIN)/qatexp ui $(ARGS)

clean:  ## Delete what runs and tools wrote: runs, stage cache, MLflow store, caches (not .venv)
	@find multirun -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	@find qatexp tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@rm -rf .coverage .coverage.* htmlcov build dist

distclean: clean  ## Delete the same, and .venv
	@rm -rf $(VENV)

# Written last, so that an installation that was interrupted is done again. PIP_CONSTRAINT and
# PIP_BUILD_CONSTRAINT together fix the versions of build backends too, in old and new pip.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  command -v "$(PYTHON)" >/dev/null \
	    || { echo "make: no '$(PYTHON)' found; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "make: qatexp needs Python 3.11 or newer, but '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); name a newer one: make PYTHON=python3.12" >&2; exit 1; }; \
	  "$(PYTHON)" -m venv --clear $(VENV); }
	@echo "Installing qatexp into $(VENV): about 3 GB to download the first time, which takes some minutes ..."
	@PIP_CONSTRAINT=$(CONSTRAINTS) PIP_BUILD_CONSTRAINT=$(CONSTRAINTS) $(BIN)/python -m pip install \
	  --quiet --quiet --no-input --disable-pip-version-check --use-pep517 --editable '.[dev]'
	@touch $@
