# Everything starts from a fresh machine with Python 3.11 or newer:
#   make run      the broker on tcp://127.0.0.1:5570, its data in ./msgqueue-data
#   make cluster  three brokers and an etcd, their data in ./msgqueue-cluster
#   make test     the whole test suite
# A stamp in .venv remembers what is installed, so a second call starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
ROUNDS ?= 20
MINUTES ?= 60
SEED ?= 1
SEEDS ?= 1..5000
# Half of a test's time it waits for processes; a file's tests stay together for what they share.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help run cluster test check format docs bench bench-features bench-due bench-fanout bench-backlog bench-cluster
.PHONY: bench-calls chaos simulate soak clean

help:
	@sed -n 's/^#   //p' Makefile
	@echo "also: check format docs bench bench-features bench-due bench-fanout bench-calls"
	@echo "      bench-backlog bench-cluster"
	@echo "      chaos simulate soak clean"

# An environment that someone else made is taken as it is.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed-run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,schedules]'
	@touch $@

$(VENV)/.installed-cluster: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,cluster,schedules]'
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed-run $(VENV)/.installed-cluster

run: $(VENV)/.installed-run
	$(BIN)/python -m broker $(ARGS)

cluster:
	./run_cluster.sh $(ARGS)

test: $(VENV)/.installed-dev
	$(PYTEST) $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/tidy
	$(PYTEST) --ignore=tests/tidy $(ARGS)

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The reference of what users import.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m tests.tidy.reference docs/api

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench $(ARGS)

bench-features: $(VENV)/.installed-dev
	$(BIN)/python -m bench features $(ARGS)

bench-due: $(VENV)/.installed-dev
	$(BIN)/python -m bench due $(ARGS)

bench-fanout: $(VENV)/.installed-dev
	$(BIN)/python -m bench fanout $(ARGS)

bench-calls: $(VENV)/.installed-dev
	$(BIN)/python -m bench calls $(ARGS)

bench-backlog: $(VENV)/.installed-dev
	$(BIN)/python -m bench backlog $(ARGS)

bench-cluster: $(VENV)/.installed-dev
	$(BIN)/python -m bench cluster $(ARGS)

chaos: $(VENV)/.installed-dev
	$(BIN)/python -m tests.chaos kill9 --rounds $(ROUNDS) $(ARGS)
	$(BIN)/python -m tests.chaos cluster $(ARGS)
	$(BIN)/python -m tests.chaos transfers
	$(BIN)/python -m tests.chaos fanout --rate 50000 --seconds 30
	$(BIN)/python -m tests.chaos.calls
	$(BIN)/python -m tests.chaos.calls --brokers 3 --seconds 60

simulate: $(VENV)/.installed-dev
	$(BIN)/python -m broker.testing --seed $(SEED) $(ARGS)

soak: $(VENV)/.installed-dev
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -o faulthandler_timeout=0 \
	  tests/node/test_node_model.py tests/node/test_queue_settings_model.py
	$(BIN)/python -m broker.testing --seeds $(SEEDS)
	$(BIN)/python -m tests.chaos kill9 --minutes $(MINUTES) $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
