# make run    set everything up and start the whole product on this machine
# make test   set everything up and run all tests
# The others: soak, oracle, bench, load, demo, lint, clean. All share one .venv; a second run starts in seconds.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := $(wildcard relo_ingest/_fast/*.pyx relo_ingest/_fast/*.pxd relo_ingest/_fast/*.h relo_ingest/pixel/r.js)
PIP    := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := run
.PHONY: run test soak oracle bench bench-full bench-micro load profile demo lint sanitize fuzz clean system-test-packages system-bench-packages

run: $(VENV)/installed
	@exec $(BIN)/relo up

demo: $(VENV)/installed
	@exec $(BIN)/relo demo

# Three at a time on two cores: many tests wait, for a flush or for a process to be replaced.
test: $(VENV)/installed-test system-test-packages
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# The fault tests with long loads and many rounds: about ten minutes on two cores.
soak: $(VENV)/installed-test system-test-packages
	@RELO_SOAK=1 $(BIN)/python -m pytest tests/faults --numprocesses 2 --dist load --timeout=1800 --durations=12 $(PYTEST_ARGS)

# Payments against a model of what was really paid, and the worker against one of who earns what: many more histories
# and worlds than the suite tries, others each time.
oracle: $(VENV)/installed-test
	@RELO_ORACLE_HISTORIES=$${RELO_ORACLE_HISTORIES:-20000} RELO_ORACLE_WORLDS=$${RELO_ORACLE_WORLDS:-6000} \
	  RELO_ORACLE_SEED=$${RELO_ORACLE_SEED:-$$(date +%s)} \
	  $(BIN)/python -m pytest tests/ingest/stripe/test_conversion_oracle.py tests/worker/test_oracle.py $(PYTEST_ARGS)

# bench writes bench/RESULTS.md in six minutes, on a slow machine in up to twenty; bench-full takes its time; bench-micro is pytest-benchmark.
bench: $(VENV)/installed-bench system-bench-packages
	@$(BIN)/python -m bench

bench-full: $(VENV)/installed-bench system-bench-packages
	@$(BIN)/python -m bench --full

bench-micro: $(VENV)/installed-bench
	@$(BIN)/python -m pytest bench/bench_*.py --benchmark-only -p no:cacheprovider \
	  --benchmark-min-time=0.001 --benchmark-columns=min,median,iqr,rounds,iterations $(PYTEST_ARGS)

# A minute of believable traffic against the running product (or one of its own), and then the books.
load: $(VENV)/installed-bench
	@$(BIN)/python -m bench.traffic $(LOAD_ARGS)

# build/profile.svg: a flame graph of the ingest under load.
profile: $(VENV)/installed-bench system-bench-packages
	@$(BIN)/python -m bench.profile

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" cython-lint relo_ingest/_fast

# Both work on a copy of the tree, because what they build must not be run by anything else.
copy = rm -rf $(1) && mkdir -p $(1) && cp -r relo_ingest tests setup.py pyproject.toml README.md LICENSE $(1) && \
  find $(1) \( -name '*.so' -o -name '*.c' -path '*_fast*' -o -name __pycache__ \) -prune -exec rm -rf {} +

# sanitize: tests/fast on extensions built with AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize: $(VENV)/installed-test
	@$(PIP) install setuptools
	@$(call copy,build/sanitize)
	@echo "building the extensions with sanitizers …"
	@cd build/sanitize && RELO_BUILD_SANITIZE=1 $(abspath $(BIN))/python setup.py --quiet build_ext --inplace >/dev/null
	@cd build/sanitize && LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc \
	  $(abspath $(BIN))/python -m pytest tests/fast -p no:cacheprovider $(PYTEST_ARGS)

# fuzz: 60 s of libFuzzer on what reads a stranger's bytes; the copy's extensions tell it which code an input reached.
FUZZ_TARGETS := beacon query signature segment texts
FUZZ_SECONDS := 12

fuzz: $(VENV)/installed-test
	@$(PIP) install setuptools 'atheris>=3,<4'
	@$(call copy,build/fuzz)
	@cc -shared -fPIC -O2 -o build/fuzz/coverage.so tests/fuzz/coverage.c
	@echo "building the extensions with coverage …"
	@cd build/fuzz && CFLAGS=-fsanitize-coverage=trace-pc $(abspath $(BIN))/python setup.py --quiet build_ext --inplace >/dev/null
	@cd build/fuzz && for target in $(FUZZ_TARGETS); do \
	  LD_PRELOAD=$(CURDIR)/build/fuzz/coverage.so PYTHONPATH=. $(abspath $(BIN))/python tests/fuzz/fuzz.py $$target \
	    -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1 > $$target.log 2>&1 \
	    || { tail -40 $$target.log; echo "fuzz $$target: a finding, see build/fuzz"; exit 1; }; \
	  echo "fuzz $$target: $$(sed -n 's/^stat::number_of_executed_units: *//p' $$target.log) inputs, no finding"; \
	done

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
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$$missing libfaketime"; \
	command -v valgrind >/dev/null || missing="$$missing valgrind"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing …"; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; } >/dev/null; \
	  else \
	    echo "the tests need these programs: run  sudo apt-get install$$missing"; exit 1; \
	  fi; \
	fi

# The load generator, the contenders that are no Python, and Redis.
system-bench-packages:
	@missing=""; PATH="$$PATH:/usr/sbin"; \
	for need in wrk:wrk nginx:nginx-light node:nodejs redis-server:redis-server; do \
	  command -v $${need%%:*} >/dev/null || missing="$$missing $${need##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing …"; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; } >/dev/null; \
	  else \
	    echo "the benchmarks need these programs: run  sudo apt-get install$$missing"; exit 1; \
	  fi; \
	fi
