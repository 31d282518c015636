# make run    set everything up and start the whole product on this machine
# make test   set everything up and run all tests
# The others: soak, bench, demo, lint, clean. All share one .venv; a second run starts in seconds.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := $(wildcard relo_ingest/_fast/*.pyx relo_ingest/_fast/*.pxd relo_ingest/_fast/*.h)
PIP    := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := run
.PHONY: run test soak bench bench-full bench-micro demo lint clean system-test-packages system-bench-packages

run: $(VENV)/installed
	@exec $(BIN)/relo up

demo: $(VENV)/installed
	@exec $(BIN)/relo demo

test: $(VENV)/installed-test system-test-packages
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

# The fault tests with long loads and many rounds.
soak: $(VENV)/installed-test system-test-packages
	@RELO_SOAK=1 $(BIN)/python -m pytest tests/faults --timeout=1800 --durations=0 $(PYTEST_ARGS)

# bench writes bench/RESULTS.md in about five minutes; bench-full takes its time; bench-micro is pytest-benchmark.
bench: $(VENV)/installed-bench system-bench-packages
	@$(BIN)/python -m bench

bench-full: $(VENV)/installed-bench system-bench-packages
	@$(BIN)/python -m bench --full

bench-micro: $(VENV)/installed-bench
	@$(BIN)/python -m pytest bench/bench_*.py --benchmark-only -p no:cacheprovider

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" cython-lint relo_ingest/_fast

clean:
	rm -rf $(VENV) build *.egg-info relo_ingest/_fast/*.so relo_ingest/_fast/*.c relo_ingest/_fast/*.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "relo_ingest needs Python 3.11 or newer: set PYTHON=…"; exit 1; }
	@command -v cc >/dev/null || { echo "relo_ingest needs a C compiler: apt-get install gcc python3-dev"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }

# The package is installed in place; what it needs to build (Cython) comes through pip's build isolation.
$(VENV)/installed: pyproject.toml setup.py $(SOURCES) | $(BIN)/python
	@echo "installing relo_ingest (the first time takes a minute or two) …"
	@$(PIP) install --editable '.[embedded]'
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "installing what the tests need …"
	@$(PIP) install --editable '.[embedded,test]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed-test
	@$(PIP) install --editable '.[embedded,test,bench]'
	@touch $@

# Real servers for the tests: installed through apt as root, named otherwise.
system-test-packages:
	@missing=""; command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing …"; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; } >/dev/null; \
	  else \
	    echo "the tests need these programs: run  sudo apt-get install$$missing"; exit 1; \
	  fi; \
	fi

# The load generator.
system-bench-packages:
	@command -v wrk >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing wrk …"; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk; } >/dev/null; \
	  else \
	    echo "the benchmarks need wrk: run  sudo apt-get install wrk"; exit 1; \
	  fi; \
	}
