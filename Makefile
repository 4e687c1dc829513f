# One entry for each thing that one does with this repository. `make help` lists them.
# VENV and PYTHON may be set on the command line: make demo VENV=.venv-small PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt Makefile

# Stamps inside the environment say what it already holds.
CORE := $(VENV)/.holds-demo
TEST := $(VENV)/.holds-test
ALL := $(VENV)/.holds-all

# The build of PyTorch without CUDA; plain on macOS, where no other exists.
TORCH := torch==$(shell sed -n 's/^torch==//p' constraints.txt)
CPU_INDEX := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-no-torch lint format docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
	  while IFS='|' read -r target what; do printf 'make %-14s %s\n' "$$target" "$$what"; done

demo: $(CORE) ## install without PyTorch, segment four photographs into demo/
	$(BIN)/python scripts/demo.py

test: $(ALL) ## install everything, run the tests that take seconds
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-all: $(ALL) ## every test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-no-torch: $(TEST) ## the tests of what runs without PyTorch, in an environment that lacks it
	$(BIN)/python -c "import importlib.util as u, sys; sys.exit('PyTorch is installed in $(VENV)' if u.find_spec('torch') else 0)"
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

lint: $(ALL) ## ruff, mypy, and the import contracts of the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(ALL) ## let ruff lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(CORE) ## write again what is generated: docs/cli.md, docs/results.md, docs/performance.md, the tree in CONTRIBUTING.md
	$(BIN)/python scripts/docs.py

clean: ## remove environments, caches and results
	rm -rf .venv .venv-* demo out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests scripts -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: mobileyolact needs Python 3.11 or newer, but '$(PYTHON)' is" \
	    "$$($(PYTHON) -V 2>&1 || true); name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(CORE): $(INPUTS) | $(BIN)/python
	$(PIP) --editable '.[demo]'
	@touch $@

$(TEST): $(INPUTS) | $(BIN)/python
	$(PIP) --editable '.[test]'
	@touch $(CORE) $@

# PyTorch goes first and alone, so that nothing else draws in a build with CUDA.
$(ALL): $(INPUTS) | $(BIN)/python
ifeq ($(shell uname -s),Darwin)
	$(PIP) --no-deps '$(TORCH)'
else
	$(BIN)/python -c "import torch" 2>/dev/null || \
	  $(PIP) --no-deps --timeout 15 --retries 0 --index-url $(CPU_INDEX) '$(TORCH)+cpu' || \
	  $(PIP) --no-deps '$(TORCH)+cpu'
endif
	$(PIP) --editable '.[train,eval,export,demo,test,dev]'
	@touch $(CORE) $(TEST) $@
