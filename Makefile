# `make demo` and `make test` work on a machine that has only Python 3.11, git and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MYPY_CACHE ?= .mypy_cache
NO_PLUGINS := -p no:xdist -p no:napari -p no:napari-plugin-engine -p no:npe2

.PHONY: help install demo test lint bench science-ssl clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(READY)  ## create the environment in .venv

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY)  ## simulate a plate, analyse it, score it against the truth
	rm -rf build/demo
	$(BIN)/hcs simulate build/demo/demo.zarr --wells 24 --frames 10 --size 512
	$(BIN)/hcs run build/demo/demo.zarr
	$(BIN)/hcs evaluate build/demo/demo.zarr --truth build/demo/demo_truth.zarr
	$(BIN)/hcs overlay build/demo/demo.zarr B/02/0 --frames 0,4,9 \
		--truth build/demo/demo_truth.zarr --output build/demo/overlay.png

lint: $(READY)  ## format check, lint, import contracts, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy --cache-dir $(MYPY_CACHE)

test: lint  ## lint, then tests and doctests
	$(BIN)/pytest -n 2 --dist loadfile

bench: $(READY)  ## ratios of ours to the plain way, also in build/bench.json
	OMP_NUM_THREADS=1 $(BIN)/pytest -o addopts="--import-mode=importlib $(NO_PLUGINS)" tests/benchmarks -q -s

science-ssl: $(READY)  ## pixel F1 of every real set under HCS_DATA, by the documented commands
	HCS_SETS=all $(BIN)/pytest tests/integration/test_real_ssl.py -q -rP

clean:  ## remove what the other targets made
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis
