# `make demo` and `make test` work on a machine that has only Python 3.11, git and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MYPY_CACHE ?= .mypy_cache
NO_PLUGINS := -p no:xdist -p no:napari -p no:napari-plugin-engine -p no:npe2

BENCH := -o addopts="--import-mode=importlib $(NO_PLUGINS)" -q -s
PREFECT_DASK := build/prefect-dask

.PHONY: help install demo test lint bench bench-scale science-ssl science-isl test-faults clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(READY)  ## create the environment in .venv

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: DEMO := build/demo/demo.zarr
demo: TRUTH := --truth build/demo/demo_truth.zarr
demo: $(READY)  ## simulate a plate, train networks, analyse it by both methods, score it
	rm -rf build/demo
	$(BIN)/hcs simulate $(DEMO) --wells 24 --frames 6 --size 512
	$(BIN)/hcs train docs/training/stain.yaml -o build/demo/nuclear_stain.safetensors --monitor none
	$(BIN)/hcs annotate make $(DEMO) --stain nuclei --kind nuclei --field B/02/0 \
		--output build/demo/annotations
	$(BIN)/hcs train docs/training/nuclei.yaml -o build/demo/nuclei.safetensors --monitor none
	$(BIN)/hcs run $(DEMO) --method ssl --weights build/demo/nuclear_stain.safetensors \
		--weights build/demo/nuclei.safetensors
	$(BIN)/hcs evaluate $(DEMO) $(TRUTH) --label ssl_cells
	$(BIN)/hcs evaluate $(DEMO) $(TRUTH) --label isl_nuclei --without B/02 --without B/03
	$(BIN)/hcs evaluate $(DEMO) --stains nuclear_stain --frame 0 --frame 5 --without B/02 --without B/03
	$(BIN)/hcs overlay $(DEMO) B/04/0 --frames 0,2,5 $(TRUTH) --label ssl_cells -o build/demo/ssl.png
	$(BIN)/hcs overlay $(DEMO) B/04/0 --frames 0,2,5 $(TRUTH) --label isl_nuclei -o build/demo/isl.png

lint: $(READY)  ## format check, lint, import contracts, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy --cache-dir $(MYPY_CACHE)

test: lint  ## lint, then tests and doctests
	@# sorted by how many tests they have, files with few and long ones came last, one processor idle
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(READY)  ## ratios of ours to the plain way, also in build/bench.json
	@# only to be compared with; its requirements are here already
	test -d $(PREFECT_DASK) || $(BIN)/python -m pip install --quiet --no-deps --target $(PREFECT_DASK) prefect-dask==0.3.7 \
		|| echo "prefect-dask cannot be had: compared without it"
	PYTHONPATH=$(PREFECT_DASK) OMP_NUM_THREADS=1 $(BIN)/pytest $(BENCH) tests/benchmarks

bench-scale: $(READY)  ## HCS_WELLS (1000) wells that do nothing through flow, scheduler and server
	OMP_NUM_THREADS=1 $(BIN)/pytest $(BENCH) tests/benchmarks/test_scale.py

science-ssl: $(READY)  ## pixel F1 of every real set under HCS_DATA, by the documented commands
	HCS_SETS=all $(BIN)/pytest tests/integration/test_real_ssl.py -q -rP

science-isl: $(READY)  ## does ISL reproduce? within 2 hours on 2 cores, resumable; tables in build/
	$(BIN)/python -m tests.benchmarks.science

test-faults: $(READY)  ## a hundred kills, corruptions, deaths of each kind: hours; HCS_FAULTS=n others
	HCS_FAULTS=$${HCS_FAULTS:-100} $(BIN)/pytest tests/faults -q

clean:  ## remove what the other targets made
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis
