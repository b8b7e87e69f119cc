# One virtual environment, made when it is needed; every target sets up what it uses.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Test files at once. Most tests wait for processes that they started.
JOBS ?= 2
STAMP := $(VENV)/.installed-

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench docs clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fairlead needs Python 3.11 or newer; call: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(STAMP)demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(STAMP)dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)demo $@

demo: $(STAMP)demo  ## train, register, convert, serve; ARGS='--exit --json' and so on; LOOP=1: the whole loop
	@$(BIN)/fairlead demo $(if $(LOOP),--loop --exit) $(ARGS)

test: $(STAMP)dev  ## every test that can run on this machine
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP)dev  ## format, lint, types, import contracts, house rules
	$(BIN)/ruff format --check src tests bench docs
	$(BIN)/ruff check src tests bench docs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/house

format: $(STAMP)dev  ## format and sort in place
	$(BIN)/ruff format src tests bench docs
	$(BIN)/ruff check --fix src tests bench docs

bench: $(STAMP)dev  ## side by side with plain FastAPI, onnxruntime in process and the floor
	$(BIN)/python -m bench $(ARGS)

docs: $(STAMP)dev  ## regenerate what is generated in docs/
	$(BIN)/python docs/generate.py

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info src/*.egg-info
