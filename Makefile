# make train | test | lint | …: each does its own set-up, in .venv, from hash-locked requirements.
VENV ?= .venv
PYTHON ?= python3
WORKDIR ?= runs/leaves
BIN := $(VENV)/bin
READY := $(VENV)/ready
PEERS ?= .venv-bench

PYTEST_WORDS := -m pytest --numprocesses=2 --dist=loadgroup --no-loadscope-reorder
PYTEST := $(BIN)/python $(PYTEST_WORDS)
COVERAGE := $(BIN)/python -m coverage

.PHONY: train test-quick test storm durations coverage lint format bench notebook pictures docs lock clean

train: $(READY)  ## train the embedded default; the same command again resumes
	$(BIN)/graft train --workdir=$(WORKDIR)

test-quick: $(READY)  ## what starts no process and trains nothing
	$(PYTEST) --tier=quick

test: $(READY)  ## what a change can break, each story once; two files at a time
	$(PYTEST)

storm: $(READY)  ## before a release: random kills, faults, matrices; GRAFT_STORM_ROUNDS=1
	$(PYTEST) --tier=storm

durations: $(READY)  ## make test, with the seconds and processes of each test in build/
	$(PYTEST) --durations_json=build/durations.json

coverage: export COVERAGE_FILE := $(CURDIR)/build/coverage/lines
coverage: $(READY)  ## lines of trainer/ run by make test, and by the storm besides
	rm -rf build/coverage
	status=0; for tier in test storm; do \
	  $(COVERAGE) run $(PYTEST_WORDS) --tier=$$tier || status=1; \
	  $(COVERAGE) combine --append --quiet; \
	  echo "lines of trainer/ run up to tier $$tier:"; $(COVERAGE) report | tail -n 1; done; exit $$status

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## without PyTorch and ONNX Runtime where they cannot be installed (6 GB)
	-$(MAKE) $(PEERS)/ready
	$(BIN)/python -m benchmarks.run

notebook: $(READY)  ## executes examples/own_pictures.ipynb anew
	$(BIN)/python -m tests.processes.notebooks examples/own_pictures.ipynb

pictures: $(READY)  ## of the report, TensorBoard and a terminal, for the README; needs chromium
	PYTHONPATH=. $(BIN)/python docs/pictures/take.py

docs: $(READY)  ## docs/flags.md, from the table of settings
	PYTHONPATH=. $(BIN)/python docs/make_flags.py

lock:  ## needs uv; writes no address of a package index
	cd requirements && for name in runtime dev bench; do \
	  uv pip compile --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate --quiet --override lock-overrides.txt $$name.in -o $$name.txt; done
	cd requirements && uv pip compile --universal --python-version 3.10 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet --constraint runtime.txt \
	  --override gpu-overrides.txt gpu.in -o gpu.txt

clean:
	rm -rf $(VENV) $(PEERS) build

$(READY): requirements/dev.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

$(PEERS)/ready: requirements/bench.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --require-hashes --no-deps -r requirements/bench.txt
	touch $@
