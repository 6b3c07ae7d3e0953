# `make train` and `make test` need nothing but Python 3.10 or newer: they set up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

# Tests run in a few processes, each with few threads; `make test JOBS=0` runs them in one.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && echo 4 || echo $$n)
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
# A run folder of its own each time: training never overwrites a result.
RUN := runs/quickstart-$(shell date +%Y%m%d-%H%M%S)

.PHONY: help install train test verify test-slow check lint format fix types docs bench clean

help:
	@echo "make train      set up, then train a deep reversible network on a generated graph (about 2 minutes on 2 cores)"
	@echo "make test       set up, then the default tests; TESTS=tests/ops narrows them"
	@echo "make verify     the tests that take long, with more than 100,000 generated cases (12 minutes on 2 cores)"
	@echo "make check      what CI runs: lint, format, types, test"
	@echo "make fix        let ruff mend lint and format"
	@echo "make docs       the documentation site, in docs/_build/html"
	@echo "make bench      kernels, strategies and the training step; python -m benchmarks lists all benchmarks"
	@echo "make clean      remove caches and build folders (runs/ and .venv stay)"

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "revgnn needs Python 3.10 or newer, but '$(PYTHON)' is $$($(PYTHON) -V); try: make install PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(READY)
	$(BIN)/revgnn train synthetic --preset quickstart --out $(RUN)

TESTS ?= tests benchmarks/tests
test: $(READY)
	$(PYTEST) $(TESTS)

verify: $(READY)
	$(PYTEST) -m slow --timeout 3600 $(TESTS)

# The name that it had before.
test-slow: verify

# The documentation site, in docs/_build/html. Any warning is an error: a link that leads nowhere, a page without a place.
docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

check: lint format types docs test

lint: $(READY)
	$(BIN)/ruff check .

format: $(READY)
	$(BIN)/ruff format --check .

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/pyright

bench: $(READY)
	$(BIN)/python -m benchmarks kernels
	$(BIN)/python -m benchmarks strategies
	$(BIN)/python -m benchmarks step

clean:
	rm -rf build dist docs/_build .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +
